//! Poisoning: a lock remembers that its holder panicked.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::unwinding::panicking;

pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// Whether a holder has panicked. Written under the lock that it belongs to, whose word orders it; so it need not
/// be one of the model checkers' atomics.
#[derive(Debug)]
pub(super) struct Flag(AtomicBool);

/// Whether the holder was panicking when it locked: such a panic is none of the lock's business.
#[derive(Debug)]
pub(super) struct Before(bool);

impl Flag {
    pub(super) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[inline]
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Called after locking.
    #[inline]
    pub(super) fn before() -> Before {
        Before(panicking())
    }

    /// Called before unlocking.
    #[inline]
    pub(super) fn after(&self, before: &Before) {
        if !before.0 && panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// `value`, as an error if poisoned.
    #[inline]
    pub(super) fn wrap<T>(&self, value: T) -> LockResult<T> {
        if self.get() { Err(PoisonError::new(value)) } else { Ok(value) }
    }
}

/// Changes what is in a result, error or not.
pub(super) fn map<T, U>(result: LockResult<T>, f: impl FnOnce(T) -> U) -> LockResult<U> {
    match result {
        Ok(value) => Ok(f(value)),
        Err(error) => Err(PoisonError::new(f(error.into_inner()))),
    }
}
