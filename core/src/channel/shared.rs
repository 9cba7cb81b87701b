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

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::brief::{Brief, BriefGuard};
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park, unwind_canceled};
use crate::wait_list::{Claimed, Entry, WaitList};

/// The message changed hands.
const DONE: Outcome = Outcome::FIRST;

/// See the [module docs](self).
#[derive(Debug)]
pub(super) struct Shared<T> {
    state: Brief<State<T>>,
    /// `None` is unbounded, zero rendezvous.
    pub(super) capacity: Option<usize>,
    pub(super) senders: AtomicUsize,
    pub(super) receivers: AtomicUsize,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<T>,
    waiting_senders: WaitList,
    waiting_receivers: WaitList,
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
            state: Brief::new(State {
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
        if let Some(receiver) = state.waiting_receivers.claim_first() {
            drop(state);
            give(&receiver, message);
            receiver.wake();
            return Ok(());
        }
        if self.capacity.is_none_or(|capacity| state.messages.len() < capacity) {
            state.messages.push_back(message);
            return Ok(());
        }
        let Wait::Until(deadline) = wait else { return Err((Failure::WouldBlock, message)) };
        let slot = UnsafeCell::new(Some(message));
        let waiter = Waiter::new();
        let entry = Entry::new(&waiter, DONE);
        entry.slot.set(slot.get().cast());
        // SAFETY: `wait_for` returns only when the entry is out of the list.
        unsafe { state.waiting_senders.push(&entry) };
        let outcome = self.wait_for(&waiter, &entry, state, WaitReason::ChannelSend, deadline);
        match slot.into_inner() {
            None => Ok(()),
            Some(message) => Err((outcome.err().unwrap_or(Failure::Disconnected), message)),
        }
    }

    /// Receives a message.
    pub(super) fn receive(&self, wait: Wait) -> Result<T, Failure> {
        let mut state = self.state.lock();
        if let Some(message) = state.messages.pop_front() {
            // There is room again, for the sender that has waited longest.
            if let Some(sender) = state.waiting_senders.claim_first() {
                state.messages.extend(take(&sender));
                drop(state);
                sender.wake();
            }
            return Ok(message);
        }
        if let Some(sender) = state.waiting_senders.claim_first() {
            drop(state);
            let message = take(&sender);
            sender.wake();
            return message.ok_or(Failure::Disconnected);
        }
        if state.disconnected {
            return Err(Failure::Disconnected);
        }
        let Wait::Until(deadline) = wait else { return Err(Failure::WouldBlock) };
        let slot = UnsafeCell::new(None);
        let waiter = Waiter::new();
        let entry = Entry::new(&waiter, DONE);
        entry.slot.set(slot.get().cast());
        // SAFETY: `wait_for` returns only when the entry is out of the list.
        unsafe { state.waiting_receivers.push(&entry) };
        self.wait_for(&waiter, &entry, state, WaitReason::ChannelReceive, deadline)?;
        slot.into_inner().ok_or(Failure::Disconnected)
    }

    /// Waits until `entry`, which is in a list of `state`, was claimed, and sees to it that it is in none
    /// afterwards.
    #[inline]
    fn wait_for(
        &self,
        waiter: &Waiter,
        entry: &Entry,
        state: BriefGuard<'_, State<T>>,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        let outcome = park(waiter, reason, Patience::from(deadline), move || {
            drop(state);
            Commit::Park
        });
        match outcome {
            Some(DONE) => return Ok(()),
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
        while let Some(sender) = state.waiting_senders.claim_first() {
            sender.wake();
        }
        while let Some(receiver) = state.waiting_receivers.claim_first() {
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

fn give<T>(receiver: &Claimed, message: T) {
    // SAFETY: the entry of a receiver of this channel; claimed and not yet woken, so its slot is ours.
    unsafe { *receiver.entry().slot.get().cast::<Option<T>>() = Some(message) };
}

fn take<T>(sender: &Claimed) -> Option<T> {
    // SAFETY: as above, of a sender.
    unsafe { (*sender.entry().slot.get().cast::<Option<T>>()).take() }
}
