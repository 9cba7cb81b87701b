//! The word on which everybody who could end a wait competes.
//!
//! A blocked routine or thread may be ended by a sender, a closing channel, its deadline or the
//! shutdown of its runtime, and with select by several channels at once. Each of them tries to write
//! its outcome into the claim; the first wins and owes exactly one wake-up, the others leave the
//! sleeper alone. The data that belongs to the outcome may be written between the claim and the
//! wake-up, since the sleeper looks at nothing before it was woken.
//!
//! The claim lies on the sleeper's stack. Whoever claims must therefore know that the sleeper cannot
//! have left: by holding the lock under which the sleeper enlisted and must withdraw (channels,
//! locks), by being the sleeper's own worker (deadlines, shutdown), or by the hand-shake of
//! [`Completion`](crate::routine::completion::Completion).

use crate::primitive::{AtomicUsize, Ordering};

/// How a wait ended. Values from [`Outcome::FIRST`] on belong to the primitive that blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) usize);

impl Outcome {
    /// Still waiting.
    const WAITING: Outcome = Outcome(0);
    /// The deadline passed.
    pub(crate) const TIMED_OUT: Outcome = Outcome(1);
    /// The runtime is being shut down and unwinds the routine.
    pub(crate) const CANCELED: Outcome = Outcome(2);
    /// The first value that a primitive may use, and all that most of them need.
    pub(crate) const FIRST: Outcome = Outcome(3);

    /// Whether this is the value of an open claim.
    pub(crate) fn is_waiting(self) -> bool {
        self == Outcome::WAITING
    }
}

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Claim(AtomicUsize);

impl Claim {
    /// Nobody has claimed yet.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(Outcome::WAITING.0))
    }

    /// A claim that is not open: `outcome` stands in it.
    pub(crate) fn with(outcome: Outcome) -> Self {
        Self(AtomicUsize::new(outcome.0))
    }

    /// Opens the claim for a new wait if it holds `from`.
    #[must_use]
    pub(crate) fn open(&self, from: Outcome) -> bool {
        self.0
            .compare_exchange(from.0, Outcome::WAITING.0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Writes `outcome` whatever stands there, and says what did. Whoever replaces an open claim has
    /// won it.
    pub(crate) fn replace(&self, outcome: Outcome) -> Outcome {
        Outcome(self.0.swap(outcome.0, Ordering::AcqRel))
    }

    /// Ends the wait with `outcome` unless somebody else was first. The winner must wake the sleeper.
    #[must_use]
    pub(crate) fn claim(&self, outcome: Outcome) -> bool {
        debug_assert_ne!(outcome, Outcome::WAITING);
        // Release: what the winner did before is visible to the sleeper that reads the outcome.
        // Acquire: a loser sees what the winner did.
        self.0
            .compare_exchange(Outcome::WAITING.0, outcome.0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// How the wait ended, or `None` while it goes on.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let outcome = Outcome(self.0.load(Ordering::Acquire));
        (outcome != Outcome::WAITING).then_some(outcome)
    }
}
