//! Many readers or one writer.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

use super::const_fn;
use super::poison::{Before, Flag, LockResult, PoisonError, TryLockError, TryLockResult};
use super::raw_rw_lock::RawRwLock;
use crate::park::Patience;

/// `std::sync::RwLock` for routines and threads.
///
/// Neither side starves the other: readers that come while a writer waits queue up behind it, and a writer that
/// unlocks lets in all readers that wait. See [the module](super#mutual-exclusion).
///
/// A routine that reads and locks again to read may therefore find a writer between the two, and deadlock; one that
/// locks to write while it holds the lock always does. A forced shutdown ends that too.
///
/// ```
/// use rust_routines_core::sync::RwLock;
///
/// let prices = RwLock::new(vec![3, 4]);
/// {
///     let (one, other) = (prices.read().unwrap(), prices.read().unwrap());
///     assert_eq!(one.len(), other.len());
/// }
/// prices.write().unwrap().push(5);
/// assert_eq!(*prices.read().unwrap(), [3, 4, 5]);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one writer, who may be on any thread, or by readers.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: as above; readers on several threads share it.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// The right to read the value of an [`RwLock`]; unlocks it when dropped.
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    /// The lock's value, which the guard borrows. Not a reference: while the guard is being dropped, a writer may come. It
    /// makes the guard covariant, and not `Send`, as std's is.
    value: NonNull<T>,
    raw: &'a RawRwLock,
}

/// The right to the value of an [`RwLock`]; unlocks it when dropped.
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    before: Before,
    /// Not `Send`, as std's.
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives access to a shared value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// An unlocked lock.
        pub fn new(value: T) -> Self {
            Self { raw: RawRwLock::unlocked(), poison: Flag::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// With the value, if the lock is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        let Self { poison, value, .. } = self;
        poison.wrap(value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it to read, and waits until that is possible.
    ///
    /// # Errors
    ///
    /// With the guard, if the lock is poisoned: somebody panicked while writing.
    ///
    /// # Panics
    ///
    /// If there are more readers than a word can count, which takes forgotten guards.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.read(Patience::Patient);
        self.read_guard()
    }

    /// Locks it to read if that is possible at once.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if a writer holds it, or waits while readers hold it;
    /// [`TryLockError::Poisoned`] with the guard if it is poisoned.
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.raw.try_read() { Ok(self.read_guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Locks it to write, and waits until that is possible.
    ///
    /// # Errors
    ///
    /// With the guard, if the lock is poisoned: somebody panicked while writing.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.write(Patience::Patient);
        self.write_guard()
    }

    /// Locks it to write if that is possible at once.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if somebody holds it, [`TryLockError::Poisoned`] with the guard if it is poisoned.
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.raw.try_write() { Ok(self.write_guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Whether somebody panicked while writing.
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
    /// With the value, if the lock is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { poison, value, .. } = self;
        poison.wrap(value.get_mut())
    }

    /// A guard for who has locked it to read.
    #[inline]
    fn reader(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY: the cell's pointer is not null.
        let value = unsafe { NonNull::new_unchecked(self.value.get()) };
        RwLockReadGuard { value, raw: &self.raw }
    }

    #[inline]
    fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.poison.wrap(self.reader())
    }

    #[inline]
    fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let before = Flag::before();
        self.poison.wrap(RwLockWriteGuard { lock: self, before, stays: PhantomData })
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on as a reader, without a writer in between. Waiting readers are let in too.
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let lock = guard.lock;
        lock.poison.after(&guard.before);
        mem::forget(guard);
        lock.raw.turn_to_read();
        lock.reader()
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.raw.unlock_read();
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.after(&self.before);
        self.lock.raw.unlock_write();
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock to read, and borrows it.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock to write.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock to write.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        match self.try_read().map_err(|error| match error {
            TryLockError::Poisoned(error) => Some(PoisonError::into_inner(error)),
            TryLockError::WouldBlock => None,
        }) {
            Ok(guard) | Err(Some(guard)) => debug.field("data", &&*guard),
            Err(None) => debug.field("data", &format_args!("<locked>")),
        };
        debug.field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
