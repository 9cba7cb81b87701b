//! What a select knows of an operation: how to choose it, wait for it, and give it up.
//!
//! Channels of any message type look the same from here; the messages stay with them.

use std::time::Instant;

use crate::park::Waiter;
use crate::wait_list::Entry;

/// What was chosen, for the channel to complete.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    /// Nothing after all.
    Nothing,
    /// The other side has gone: the operation fails.
    Disconnected,
    /// A message, by the ticket under which the channel keeps it.
    Message(usize),
    /// Room for a message.
    Place,
    /// A receiver that sleeps until it is given a message.
    Receiver(*const Entry),
    /// A sender that sleeps until it is asked for its message, since it waits in a select itself. To be turned
    /// into a message by [`Case::fetch`].
    Sender(*const Entry),
    /// A moment that has come.
    Moment(Instant),
}

/// How an operation took part in a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Enlisted {
    /// Its entry waits.
    Waiting,
    /// It need not wait; the waiter's claim was spent on it. The entry is in no list.
    Chosen(Token),
    /// Another operation has won the claim already. The entry is in no list.
    ChosenElsewhere,
}

/// An operation that a select can choose: one side of a channel.
///
/// `enlist` and `watch` are called in the commit step of `me`, after it has left its stack.
pub(crate) trait Case {
    /// Chooses the operation if it need not wait.
    fn choose(&self) -> Option<Token>;

    /// When it need not wait any more, if time alone decides that.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Has `entry` wait for the operation, unless it need not wait.
    ///
    /// # Safety
    ///
    /// The entry and its waiter stay until the entry was chosen or [`withdraw`](Self::withdraw) has returned.
    unsafe fn enlist(&self, entry: &Entry, me: &Waiter) -> Enlisted;

    /// Turns what `enlist` has chosen into what can be completed. Back on the stack of its owner.
    fn fetch(&self, token: Token) -> Token {
        token
    }

    /// Ends what `enlist` began.
    fn withdraw(&self, entry: &Entry);

    /// What an entry that was chosen was given.
    fn given(&self, entry: &Entry) -> Token;

    /// Gives up what was chosen.
    fn abandon(&self, token: Token);

    /// Whether the operation need not wait.
    fn is_ready(&self) -> bool;

    /// Has `entry` wait until the operation is ready, unless it is.
    ///
    /// # Safety
    ///
    /// As for `enlist`, with [`unwatch`](Self::unwatch).
    unsafe fn watch(&self, entry: &Entry, me: &Waiter) -> Enlisted;

    /// Ends what `watch` began.
    fn unwatch(&self, entry: &Entry);
}
