//! Waiting for what nobody will tell of: one looks again and again, after longer and longer sleeps.

use std::time::{Duration, Instant};

use crate::sleep;

/// How long the first sleep is. Each further one is twice as long as the last.
const FIRST: Duration = Duration::from_micros(500);

/// The longest sleep: short for a person.
const LONGEST: Duration = Duration::from_millis(50);

/// The sleeps of one wait.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// Sleeps before one looks again, but not beyond the deadline. Says whether that had not passed yet.
    pub(crate) fn sleep(&mut self, deadline: Option<Instant>) -> bool {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return false;
        }
        sleep(left.map_or(self.next, |left| left.min(self.next)));
        self.next = (self.next * 2).min(LONGEST);
        true
    }
}
