//! The state of a channel, and the two operations on it.
//!
//! One lock guards a queue of messages and the lists of those who wait. After Go's `hchan`:
//!
//! 1. Receivers wait only while there is no message, senders only while there is no room. So at most one of
//!    the two lists has somebody in it whose wait has not ended.
//! 2. A message goes straight to a waiting receiver, and a freed place straight to the sender that has
//!    waited longest: nobody who was woken finds that another was faster.
//! 3. A waiter's outcome is decided under the lock, or else (deadline, shutdown) it takes the lock to
//!    withdraw. So an entry is never touched after its owner has gone.
//! 4. Sleepers are woken after the lock is released; a routine that goes to sleep releases it in the commit
//!    step, after it has left its stack.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::wait_list::{Entry, WaitList};
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, park, unwind_canceled};

/// The message changed hands.
const DONE: Outcome = Outcome::FIRST;
/// The other side has gone.
const DISCONNECTED: Outcome = Outcome(Outcome::FIRST.0 + 1);

/// See the [module docs](self).
#[derive(Debug)]
pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
    /// `None` is unbounded, zero rendezvous.
    pub(super) capacity: Option<usize>,
    pub(super) senders: AtomicUsize,
    pub(super) receivers: AtomicUsize,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<T>,
    waiting_senders: WaitList<T>,
    waiting_receivers: WaitList<T>,
    disconnected: bool,
}

/// How long to wait for the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    No,
    Until(Option<Instant>),
}

/// Why no message changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It would have had to wait.
    WouldBlock,
    /// The deadline passed.
    TimedOut,
    /// The other side has gone.
    Disconnected,
}

impl<T> Shared<T> {
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            state: Mutex::new(State {
                messages: VecDeque::new(),
                waiting_senders: WaitList::new(),
                waiting_receivers: WaitList::new(),
                disconnected: false,
            }),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    /// Sends `message`, or gives it back.
    pub(super) fn send(&self, message: T, wait: Wait) -> Result<(), (Failure, T)> {
        let mut state = self.state.lock();
        if state.disconnected {
            return Err((Failure::Disconnected, message));
        }
        if let Some(receiver) = state.waiting_receivers.claim_first(DONE) {
            drop(state);
            receiver.give_message(message);
            receiver.wake();
            return Ok(());
        }
        if self.capacity.is_none_or(|capacity| state.messages.len() < capacity) {
            state.messages.push_back(message);
            return Ok(());
        }
        let Wait::Until(deadline) = wait else { return Err((Failure::WouldBlock, message)) };
        let entry = Entry::new(Some(message));
        // SAFETY: `wait_for` returns only when the entry is out of the list.
        unsafe { state.waiting_senders.push(&entry) };
        let outcome = self.wait_for(&entry, state, WaitReason::ChannelSend, deadline);
        match (outcome, entry.message.into_inner()) {
            (Ok(()), _) => Ok(()),
            (Err(failure), Some(message)) => Err((failure, message)),
            (Err(_), None) => unreachable!("only a receiver that reports success takes it"),
        }
    }

    /// Receives a message.
    pub(super) fn receive(&self, wait: Wait) -> Result<T, Failure> {
        let mut state = self.state.lock();
        if let Some(message) = state.messages.pop_front() {
            // There is room again, for the sender that has waited longest.
            if let Some(sender) = state.waiting_senders.claim_first(DONE) {
                state.messages.extend(sender.take_message());
                drop(state);
                sender.wake();
            }
            return Ok(message);
        }
        if let Some(sender) = state.waiting_senders.claim_first(DONE) {
            drop(state);
            let message = sender.take_message();
            sender.wake();
            return message.ok_or(Failure::Disconnected);
        }
        if state.disconnected {
            return Err(Failure::Disconnected);
        }
        let Wait::Until(deadline) = wait else { return Err(Failure::WouldBlock) };
        let entry = Entry::new(None);
        // SAFETY: `wait_for` returns only when the entry is out of the list.
        unsafe { state.waiting_receivers.push(&entry) };
        self.wait_for(&entry, state, WaitReason::ChannelReceive, deadline)?;
        entry.message.into_inner().ok_or(Failure::Disconnected)
    }

    /// Waits until `entry`, which is in a list of `state`, was claimed, and sees to it that it is in none
    /// afterwards.
    #[inline]
    fn wait_for(
        &self,
        entry: &Entry<T>,
        state: MutexGuard<'_, State<T>>,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        let outcome = park(&entry.waiter, reason, Patience::from(deadline), move || {
            drop(state);
            Commit::Park
        });
        match outcome {
            Some(DONE) => return Ok(()),
            Some(DISCONNECTED) => return Err(Failure::Disconnected),
            _ => {}
        }
        let mut state = self.state.lock();
        // It is in one of them, or has been taken out by somebody who then lost its claim.
        match reason {
            WaitReason::ChannelSend => state.waiting_senders.remove(entry),
            _ => state.waiting_receivers.remove(entry),
        }
        drop(state);
        if outcome == Some(Outcome::TIMED_OUT) {
            return Err(Failure::TimedOut);
        }
        unwind_canceled();
        // Unwinding already: to a destructor it looks as if the other side had gone.
        Err(Failure::Disconnected)
    }

    /// The last handle of one side has gone.
    fn disconnect(&self, discard: bool) {
        let mut state = self.state.lock();
        state.disconnected = true;
        // Nobody will receive these. Their destructors run outside the lock.
        let discarded = if discard { std::mem::take(&mut state.messages) } else { VecDeque::new() };
        while let Some(sender) = state.waiting_senders.claim_first(DISCONNECTED) {
            sender.wake();
        }
        while let Some(receiver) = state.waiting_receivers.claim_first(DISCONNECTED) {
            receiver.wake();
        }
        drop(state);
        drop(discarded);
    }

    pub(super) fn drop_sender(&self) {
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.disconnect(false);
        }
    }

    pub(super) fn drop_receiver(&self) {
        if self.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.disconnect(true);
        }
    }

    /// Messages in the queue.
    pub(super) fn len(&self) -> usize {
        self.state.lock().messages.len()
    }
}
