//! Channels whose messages are moments in time: they need no sender, no thread and no timer of their own. Who
//! receives sleeps until the moment has come.

use std::time::{Duration, Instant};

use crate::brief::Brief;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, checkpoint, end_turn, park};
use crate::unwinding::unwind_canceled;

use super::queue::{Failure, Wait};

/// One moment, or one after the other.
#[derive(Debug)]
pub(super) struct Moments {
    /// The next one; `None` when there will be no more.
    next: Brief<Option<Instant>>,
    /// From one to the next.
    period: Option<Duration>,
}

impl Moments {
    pub(super) fn new(first: Instant, period: Option<Duration>) -> Self {
        Self { next: Brief::new(Some(first)), period }
    }

    /// Takes the next moment if it has come.
    pub(super) fn take(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = self.next.lock();
        let moment = next.filter(|moment| *moment <= now)?;
        *next = self.period.and_then(|period| {
            // In time, so the rhythm stays. What nobody received in time is skipped: there is never more than one.
            moment
                .checked_add(period)
                .filter(|next| *next > now)
                .or_else(|| now.checked_add(period))
        });
        Some(moment)
    }

    /// Gives back what was taken.
    pub(super) fn put_back(&self, moment: Instant) {
        let mut next = self.next.lock();
        *next = Some(next.map_or(moment, |next| next.min(moment)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        *self.next.lock()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.next().is_some_and(|moment| moment <= Instant::now())
    }

    pub(super) fn receive(&self, wait: Wait) -> Result<Instant, Failure> {
        let Wait::Until(deadline) = wait else { return self.take().ok_or(Failure::WouldBlock) };
        // Before a moment is taken.
        checkpoint();
        let mut has_waited = false;
        loop {
            if let Some(moment) = self.take() {
                if !has_waited {
                    // Who is late each time never waits.
                    end_turn();
                }
                return Ok(moment);
            }
            has_waited = true;
            sleep_until([deadline, self.next()].into_iter().flatten().min())?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) && !self.is_ready() {
                return Err(Failure::TimedOut);
            }
        }
    }
}

/// Waits for what never comes.
pub(super) fn receive_never(wait: Wait) -> Failure {
    let Wait::Until(deadline) = wait else { return Failure::WouldBlock };
    match sleep_until(deadline) {
        Ok(()) => Failure::TimedOut,
        Err(failure) => failure,
    }
}

/// Receives nothing until then.
fn sleep_until(until: Option<Instant>) -> Result<(), Failure> {
    let waiter = Waiter::new();
    let reason = WaitReason::ChannelReceive;
    match park(&waiter, reason, Patience::from(until), || Commit::Park) {
        Some(Outcome::TIMED_OUT) => Ok(()),
        _ => {
            unwind_canceled();
            // Unwinding already.
            Err(Failure::Disconnected)
        }
    }
}
