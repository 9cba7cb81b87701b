//! Sleeping, limits and intervals.
//!
//! All of it is a wait with a deadline, which the routine's worker keeps in its
//! [timer driver](crate::driver::TimerDriver). [`channel::after`](crate::channel::after) and its like are made
//! of the same, for `select!`.

mod interval;
mod timeout;

pub use std::time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH};

use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::unwinding::unwind_canceled;

pub use self::interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use self::timeout::{Elapsed, timeout, timeout_at};

/// Blocks the calling routine or thread for at least `duration`.
///
/// A duration beyond the range of the clock sleeps until the runtime is shut down.
pub fn sleep(duration: Duration) {
    let patience = Patience::from(Instant::now().checked_add(duration));
    wait(patience);
}

/// Blocks the calling routine or thread until `deadline` at the earliest. One that has passed lets the other
/// ready routines run, but does not wait.
pub fn sleep_until(deadline: Instant) {
    if deadline <= Instant::now() {
        return crate::yield_now();
    }
    wait(Patience::Until(deadline));
}

fn wait(patience: Patience) {
    // Nobody else knows of this waiter: only the deadline, or shutdown, ends the wait.
    let waiter = Waiter::new();
    let outcome = park(&waiter, WaitReason::Sleep, patience, || Commit::Park);
    if outcome == Some(Outcome::CANCELED) {
        unwind_canceled();
    }
}
