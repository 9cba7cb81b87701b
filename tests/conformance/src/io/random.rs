//! Random choices that can be repeated.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::hint;
use std::thread;

/// A small generator (xorshift) that prints its seed if the test fails.
#[derive(Debug)]
pub(super) struct Random {
    state: u64,
    seed: u64,
}

impl Random {
    /// Seeded by `RR_SEED`, or else by chance.
    pub(super) fn new() -> Self {
        let seed = std::env::var("RR_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()) | 1;
        Self { state: seed, seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn chance(&mut self) -> bool {
        self.below(2) == 0
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
