//! The sending end.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::{Case, Enlisted, Token};
use super::queue::{self, Failure, Queue, Side, Wait};
use super::select::Operation;
use super::{SendError, SendTimeoutError, TrySendError};
use crate::park::Waiter;
use crate::primitive::Ordering;
use crate::wait_list::Entry;

/// The sending side of a channel. Clones send into the same one.
pub struct Sender<T> {
    pub(super) queue: Arc<Queue<T>>,
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> Sender<T> {
    /// Sends a message, and waits until there is room for it.
    ///
    /// # Errors
    ///
    /// With the message, if all receivers have gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.queue.send(message, Wait::Until(None)).map_err(|(_, message)| SendError(message))
    }

    /// Sends a message if that is possible at once.
    ///
    /// # Errors
    ///
    /// With the message, if there is no room, or no receiver that waits in a rendezvous; or if all receivers
    /// have gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.queue.send(message, Wait::No).map_err(|(failure, message)| match failure {
            Failure::Disconnected => TrySendError::Disconnected(message),
            _ => TrySendError::Full(message),
        })
    }

    /// Sends a message, and waits for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// With the message, if the time has passed, or all receivers have gone.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(message, Instant::now().checked_add(timeout))
    }

    /// Sends a message, and waits until `deadline` at the longest.
    ///
    /// # Errors
    ///
    /// With the message, if the deadline has passed, or all receivers have gone.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(message, Some(deadline))
    }

    fn send_until(&self, message: T, deadline: Option<Instant>) -> Result<(), SendTimeoutError<T>> {
        self.queue.send(message, Wait::Until(deadline)).map_err(
            |(failure, message)| match failure {
                Failure::Disconnected => SendTimeoutError::Disconnected(message),
                _ => SendTimeoutError::Timeout(message),
            },
        )
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; always so with capacity zero.
    pub fn is_full(&self) -> bool {
        self.capacity().is_some_and(|capacity| self.len() >= capacity)
    }

    /// Messages in the channel.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The capacity; `None` if unbounded.
    pub fn capacity(&self) -> Option<usize> {
        self.queue.capacity
    }

    /// Whether all receivers have gone.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.queue.receivers.load(Ordering::Relaxed) == 0
    }

    /// Whether both send into the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }

    /// Sending, for `select!`.
    #[doc(hidden)]
    pub fn operation(&self) -> Operation<'_> {
        Operation::new(self, ptr::from_ref(self).cast())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.queue.senders.fetch_add(1, Ordering::Relaxed);
        Self { queue: self.queue.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.queue.drop_sender();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

impl<T> Case for Sender<T> {
    fn choose(&self) -> Option<Token> {
        self.queue.choose(Side::Send)
    }

    unsafe fn enlist(&self, entry: &Entry, me: &Waiter) -> Enlisted {
        // SAFETY: passed on.
        unsafe { self.queue.enlist(Side::Send, entry, me) }
    }

    fn withdraw(&self, entry: &Entry) {
        self.queue.withdraw(Side::Send, entry);
    }

    fn given(&self, entry: &Entry) -> Token {
        queue::given(entry)
    }

    fn abandon(&self, token: Token) {
        self.queue.abandon(token);
    }

    fn is_ready(&self) -> bool {
        self.queue.is_ready(Side::Send)
    }

    unsafe fn watch(&self, entry: &Entry, me: &Waiter) -> Enlisted {
        // SAFETY: passed on.
        unsafe { self.queue.watch(Side::Send, entry, me) }
    }

    fn unwatch(&self, entry: &Entry) {
        self.queue.unwatch(Side::Send, entry);
    }
}
