//! Random choices that can be repeated.

use std::hint;
use std::thread;

use fastrand::Rng;

/// A generator that prints its seed if the test fails.
#[derive(Debug)]
pub(super) struct Random {
    dice: Rng,
    seed: u64,
}

impl Random {
    /// Seeded by `RR_SEED`, or else by chance.
    pub(super) fn new() -> Self {
        let seed = std::env::var("RR_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        Self { dice: Rng::with_seed(seed), seed }
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.dice.usize(..limit)
    }

    pub(super) fn chance(&mut self) -> bool {
        self.dice.bool()
    }

    /// Nothing, a few cycles or a change of threads: shifts two sides of a race against each other.
    pub(super) fn pause(&mut self) {
        match self.below(4) {
            0 => {}
            1 => thread::yield_now(),
            _ => (0..self.below(2_000)).for_each(|_| hint::spin_loop()),
        }
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("repeat with RR_SEED={}", self.seed);
        }
    }
}
