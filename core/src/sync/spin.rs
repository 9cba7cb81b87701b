//! A few looks at a lock before its caller parks.
//!
//! Most sections are over before a switch would be. But the holder may itself be parked, on this very worker even,
//! so this is short: some microseconds at most, about what a switch and a wake-up cost.

use crate::primitive::spin_loop;

/// Looks, and spin-loop hints before the first; each next look comes after twice as many. A hint takes 10 to 40 ns.
const LOOKS: u32 = 3;
const FIRST: u32 = 8;

/// How often the caller has looked.
pub(super) struct Spin(u32);

impl Spin {
    pub(super) fn new() -> Self {
        Self(0)
    }

    /// Pauses and answers `true`, or `false` if it is time to park. Models park at once: what they would
    /// see in between, they see in another schedule.
    pub(super) fn again(&mut self) -> bool {
        if cfg!(any(rr_loom, rr_shuttle)) || self.0 == LOOKS {
            return false;
        }
        (0..FIRST << self.0).for_each(|_| spin_loop());
        self.0 += 1;
        true
    }
}
