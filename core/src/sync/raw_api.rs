//! The raw locks as `lock_api` wants them. Not in models, whose atomics are not constants.

use std::time::{Duration, Instant};

use lock_api::GuardNoSend;

use super::{RawMutex, RawRwLock};
use crate::park::Patience;

/// For ever, if the duration is beyond the clock.
fn within(timeout: Duration) -> Patience {
    Patience::from(Instant::now().checked_add(timeout))
}

/// What a lock operation returns: nothing but the promise to unlock on the same thread.
fn guard(locked: bool) -> Option<GuardNoSend> {
    locked.then_some(GuardNoSend::new())
}

// SAFETY: the state word admits one holder at a time; it is taken with acquire and given back with release
// ordering. An operation unwinds only before it has the lock.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for a constant")]
    const INIT: Self = Self::unlocked();

    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        self.acquire(Patience::Patient);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        guard(self.try_acquire())
    }

    #[inline]
    unsafe fn unlock(&self, _: GuardNoSend) {
        self.release();
    }

    fn is_locked(&self) -> bool {
        self.is_held()
    }
}

// SAFETY: as above; the lock goes from one holder to the next.
unsafe impl lock_api::RawMutexFair for RawMutex {
    unsafe fn unlock_fair(&self, _: GuardNoSend) {
        self.release_fairly();
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawMutexTimed for RawMutex {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, timeout: Duration) -> Option<GuardNoSend> {
        guard(self.acquire(within(timeout)))
    }

    fn try_lock_until(&self, deadline: Instant) -> Option<GuardNoSend> {
        guard(self.acquire(Patience::Until(deadline)))
    }
}

// SAFETY: the state word admits one writer or any number of readers; it is taken with acquire and given back
// with release ordering. An operation unwinds only before it has the lock.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for a constant")]
    const INIT: Self = Self::unlocked();

    type SharedGuard = GuardNoSend;
    type ExclusiveGuard = GuardNoSend;

    #[inline]
    fn lock_shared(&self) -> GuardNoSend {
        self.read(Patience::Patient);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<GuardNoSend> {
        guard(self.try_read())
    }

    #[inline]
    unsafe fn unlock_shared(&self, _: GuardNoSend) {
        self.unlock_read();
    }

    #[inline]
    fn lock_exclusive(&self) -> GuardNoSend {
        self.write(Patience::Patient);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_exclusive(&self) -> Option<GuardNoSend> {
        guard(self.try_write())
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, _: GuardNoSend) {
        self.unlock_write();
    }

    fn is_locked(&self) -> bool {
        self.is_held()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.is_held_to_write()
    }
}

// SAFETY: the word changes from writer to reader in one step.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self, guard: GuardNoSend) -> GuardNoSend {
        self.turn_to_read();
        guard
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_shared_for(&self, timeout: Duration) -> Option<GuardNoSend> {
        guard(self.read(within(timeout)))
    }

    fn try_lock_shared_until(&self, deadline: Instant) -> Option<GuardNoSend> {
        guard(self.read(Patience::Until(deadline)))
    }

    fn try_lock_exclusive_for(&self, timeout: Duration) -> Option<GuardNoSend> {
        guard(self.write(within(timeout)))
    }

    fn try_lock_exclusive_until(&self, deadline: Instant) -> Option<GuardNoSend> {
        guard(self.write(Patience::Until(deadline)))
    }
}
