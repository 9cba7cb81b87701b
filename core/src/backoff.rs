//! Waiting for what nobody will tell of: one looks again and again, after longer and longer sleeps.

use std::io;
use std::time::{Duration, Instant};

use crate::time::sleep_until;

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

    /// Sleeps before one looks again, but not beyond the deadline.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the deadline had passed. Another if the sleep was cut short, as sleeps are in destructors
    /// that run while a routine is unwound by shutdown or by its limit: to look again would turn in circles.
    pub(crate) fn sleep(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let next = deadline.map_or(now + self.next, |deadline| deadline.min(now + self.next));
        sleep_until(next);
        if Instant::now() < next {
            return Err(io::Error::other("cannot wait while the routine is unwound"));
        }
        self.next = (self.next * 2).min(LONGEST);
        Ok(())
    }
}
