//! Who has waited too long for a lock.
//!
//! There are two kinds. One has come too late, once at least, and is at the front of the list again: the unlock that finds it
//! there hands it the lock. The other was woken and does not come. Mostly it does so within microseconds; but its worker may be busy, even
//! with the very routine that keeps locking and unlocking and never has to wait. Then it would not come for as long
//! as that goes on, and since no other is woken meanwhile, nobody else would either. So an unlock that
//! passes it by looks at the clock now and then, and reserves the lock for it if it is late.

use std::ptr;
use std::time::{Duration, Instant};

use super::const_fn;
use crate::primitive::{AtomicU32, Ordering};
use crate::wait_list::Entry;

/// After this time a waiter must not come too late again. Go's value: long beside a section, short to a person.
const STARVING: Duration = Duration::from_millis(1);

/// After this time the lock is reserved for a woken waiter that has not come. It should be there within some microseconds,
/// and the next in the list is woken only then; but to reserve has all others wait.
const LATE: Duration = Duration::from_micros(200);

/// Models have no clock.
const NO_CLOCK: bool = cfg!(any(rr_loom, rr_shuttle));

/// One call that waits for a lock, however often it is woken and comes too late.
#[derive(Debug)]
pub(super) struct Wait {
    since: Instant,
    lost: bool,
}

impl Wait {
    pub(super) fn begin() -> Self {
        Self { since: Instant::now(), lost: false }
    }

    /// It came too late.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Lets whoever chooses `entry` find this.
    pub(super) fn attach(&self, entry: &Entry) {
        entry.slot.set(ptr::from_ref(self).cast_mut().cast());
    }

    /// Whether the waiter with this entry must not lose any more. In models, nobody loses twice.
    ///
    /// # Safety
    ///
    /// The wait attached to the entry exists and does not change meanwhile: its owner sleeps.
    pub(super) unsafe fn is_starving(entry: &Entry) -> bool {
        // SAFETY: forwarded.
        let wait = unsafe { &*entry.slot.get().cast::<Wait>() };
        wait.lost && (NO_CLOCK || wait.since.elapsed() > STARVING)
    }
}

/// Whether one that was woken then is late. In models it always is.
pub(super) fn is_late(woken_at: Instant) -> bool {
    NO_CLOCK || woken_at.elapsed() > LATE
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
