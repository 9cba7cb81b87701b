//! Mutual exclusion.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::const_fn;
use super::poison::{Before, Flag, LockResult, PoisonError, TryLockError, TryLockResult};
use super::raw_mutex::RawMutex;
use crate::park::Patience;

/// `std::sync::Mutex` for routines and threads.
///
/// Locking is fast as long as nobody else wants the lock; those who wait are served in their order, more or less:
/// see [the module](super#mutual-exclusion).
///
/// Locking it twice from one routine or thread is a deadlock. A forced shutdown ends even that: the routine is
/// unwound in [`lock`](Self::lock).
///
/// ```
/// use rust_routines_core::sync::Mutex;
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
/// std::thread::scope(|scope| {
///     for i in 1..=4 {
///         scope.spawn(move || *TOTAL.lock().unwrap() += i);
///     }
/// });
/// assert_eq!(*TOTAL.lock().unwrap(), 10);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one holder at a time, who may be on any thread.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// Who sees what a panic left behind is told: poisoning.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// The right to the value of a [`Mutex`]; unlocks it when dropped.
#[must_use = "if unused the Mutex will immediately unlock"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    before: Before,
    /// Not `Send`, as std's.
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives access to a shared value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// An unlocked mutex.
        pub fn new(value: T) -> Self {
            Self { raw: RawMutex::unlocked(), poison: Flag::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// With the value, if the mutex is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        let Self { poison, value, .. } = self;
        poison.wrap(value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, and waits until that is possible.
    ///
    /// # Errors
    ///
    /// With the guard, if the mutex is poisoned: somebody panicked while holding it.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.acquire(Patience::Patient);
        self.guard()
    }

    /// Locks it if that is possible at once.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if it is locked, [`TryLockError::Poisoned`] with the guard if it is poisoned.
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_acquire() { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Whether somebody panicked while holding it.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Says that the value is in order again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value: nobody else can have it.
    ///
    /// # Errors
    ///
    /// With the value, if the mutex is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { poison, value, .. } = self;
        poison.wrap(value.get_mut())
    }

    /// The caller has locked it.
    #[inline]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.wrap(MutexGuard { mutex: self, before: Flag::before(), stays: PhantomData })
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex, which stays locked.
    pub(super) fn forget(self) -> &'a Mutex<T> {
        let mutex = self.mutex;
        std::mem::forget(self);
        mutex
    }
}

impl<T: ?Sized> Mutex<T> {
    /// For a condition variable: unlocks it for one who has [forgotten](MutexGuard::forget) his guard.
    pub(super) fn release(&self) {
        self.raw.release();
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.after(&self.before);
        self.mutex.raw.release();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        match self.try_lock().map_err(|error| match error {
            TryLockError::Poisoned(error) => Some(PoisonError::into_inner(error)),
            TryLockError::WouldBlock => None,
        }) {
            Ok(guard) | Err(Some(guard)) => debug.field("data", &&*guard),
            Err(None) => debug.field("data", &"<locked>"),
        };
        debug.field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
