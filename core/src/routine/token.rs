//! The token of `park` and `unpark`.
//!
//! Unlike other waits, this one can be ended at any time by anybody who holds a handle, so its claim
//! lies in the routine's counted allocation instead of on its stack. The word is `EMPTY` or
//! `NOTIFIED` while the routine runs, and an open claim while it is parked.

use std::time::Instant;

use super::cell::Link;
use crate::claim::{Claim, Outcome};
use crate::park::{Commit, park_on_token};
use crate::runtime::worker::Worker;

/// The routine runs and no token is there.
const EMPTY: Outcome = Outcome(Outcome::FIRST.0 + 1);
/// A token is there: the next `park` returns at once.
const NOTIFIED: Outcome = Outcome::FIRST;

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct ParkToken(Claim);

impl ParkToken {
    /// No token.
    pub(crate) fn new() -> Self {
        Self(Claim::with(EMPTY))
    }

    /// Waits for a token and takes it. `false` if the deadline passed first or the runtime shuts down.
    pub(crate) fn wait(&self, routine: Link, deadline: Option<Instant>) -> bool {
        park_on_token(routine, &self.0, deadline, || {
            if self.0.open(EMPTY) { Commit::Park } else { Commit::Resume }
        });
        self.0.replace(EMPTY) == NOTIFIED
    }

    /// Leaves a token, and wakes the routine if it waits for one.
    ///
    /// `routine` is the one this token belongs to.
    pub(crate) fn notify(&self, routine: impl FnOnce() -> Link) {
        if self.0.replace(NOTIFIED).is_waiting() {
            Worker::wake(routine());
        }
    }
}
