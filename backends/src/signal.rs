//! The three states of a driver that may be asleep, so that waking one that is awake costs no system
//! call.
//!
//! ```text
//!            notify: nothing to do            fall_asleep: refused
//!         +-------------------------> NOTIFIED ----------------+
//!         |                            ^    |                  |
//!       AWAKE <------ wake_up ---------|----+ <----------------+
//!         |                            |
//!         +-- fall_asleep --> ASLEEP --+ notify: wake the sleeper
//! ```
//!
//! Why no wake is lost: all three transitions are atomic read-modify-writes of one word, so they have
//! one order. Take a `notify` and the driver's next transition after it.
//!
//! 1. It is `fall_asleep`: refused, the driver does not sleep.
//! 2. It is `wake_up`: the driver is about to return from `wait`, which is what was asked for.
//!
//! Where `notify` found `ASLEEP` its caller also wakes the sleeper. Should that caller be delayed
//! between the two steps, the driver sleeps on until it goes on, or wakes by itself and is woken once
//! more for nothing later; calls that come in between merge into the delayed one.
//!
//! Everything is `AcqRel`: what a caller wrote before `notify` is visible after the driver's next
//! transition, whichever of several merged calls it was, since each of them continues the release
//! sequence.

use std::sync::atomic::{AtomicU8, Ordering};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

/// See the [module docs](self).
#[derive(Debug, Default)]
pub(crate) struct Signal(AtomicU8);

impl Signal {
    /// Ends the current or the next sleep, and says whether the caller must wake a sleeper.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
    }

    /// Whether the driver may now sleep; not if it was notified since it last [woke](Self::wake_up).
    #[must_use]
    pub(crate) fn fall_asleep(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The driver is awake and about to return from `wait`.
    pub(crate) fn wake_up(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }
}
