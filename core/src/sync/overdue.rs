//! A waiter that was woken and does not come.
//!
//! Mostly it comes within microseconds. But its worker may be busy, even with the very routine that keeps locking and
//! unlocking and never has to wait: then it would not come for as long as that goes on, and since no other is woken
//! meanwhile, nobody else would either. So an unlock that passes it by looks at the clock now and then, and
//! reserves the lock for it if it is late.

use std::time::{Duration, Instant};

use super::const_fn;
use crate::primitive::{AtomicU32, Ordering};

/// After this time a waiter is handed the lock. Go's value: long beside a section, short to a person.
const STARVING: Duration = Duration::from_millis(1);

/// Whether one who waits since `since` is starving. Models have no clock: there, everybody is.
pub(super) fn is_starving(since: Instant) -> bool {
    cfg!(any(rr_loom, rr_shuttle)) || since.elapsed() > STARVING
}

/// Counts the unlocks that have passed the woken waiter by. Whoever writes here holds the lock that it belongs to,
/// or is one of its last readers: then a lost count does no harm.
#[derive(Debug)]
pub(super) struct Passes(AtomicU32);

impl Passes {
    const_fn! {
        pub(super) fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Another waiter was woken.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Counts one more, and answers whether to look at the clock: rarely, and yet so that what is late is noticed
    /// before twice the time has passed.
    pub(super) fn is_time_to_look(&self) -> bool {
        let passes = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(passes, Ordering::Relaxed);
        passes > 1 && passes.is_power_of_two()
    }
}
