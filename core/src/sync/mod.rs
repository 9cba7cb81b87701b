//! Locks and the like for routines and threads.
//!
//! [`Mutex`], [`RwLock`], [`Condvar`], [`Barrier`], [`Once`], [`OnceLock`] and [`LazyLock`] are those of `std::sync`,
//! poisoning included, but let a routine that waits leave its worker to others. [`Semaphore`], [`WaitGroup`]
//! and [`CancellationToken`] are what other crates have under these names. [`RawMutex`] and [`RawRwLock`] are for
//! `lock_api`, without poisoning and with timeouts. Routines, of one runtime or several, and plain threads may
//! use one and the same of them.
//!
//! # Mutual exclusion
//!
//! An unlocked [`Mutex`] costs one atomic operation to lock and one to unlock. One who finds it locked looks again
//! for a few microseconds at most and then parks. An unlock wakes the one that has waited longest but does not
//! reserve the lock for it, so that those who run keep running. If it comes too late and has waited for more than a
//! millisecond, though, it is handed the lock; and one that was woken, but whose worker has no time for it, finds the lock
//! reserved. That is the scheme of Go's `sync.Mutex` (`src/internal/sync/mutex.go` in its sources), but that a long list
//! alone is no reason to hand over.
//!
//! In an [`RwLock`] read and write phases alternate while both are wanted: readers that come while a writer waits queue
//! up, and a writer that unlocks lets in all readers that wait; writers among themselves are served as by a
//! mutex. This is known as phase-fair (Brandenburg and Anderson, "Spin-based reader-writer synchronization for
//! multiprocessor real-time systems", 2010), and what Go's `sync.RWMutex` does.
//!
//! A guard may be dropped by one who thereby lets another free the lock: the last access of an unlock to the lock's
//! memory is the one that unlocks it.
//!
//! # Shutdown
//!
//! A forced shutdown of its runtime unwinds a routine that waits here, as in any blocking call, deadlocks included. Locks
//! that it holds become poisoned. If a destructor waits during that, or any other unwinding, it cannot be
//! unwound again: it waits until it has what it waits for, or for as long as its timeout says.

mod barrier;
mod cancellation;
mod condvar;
mod lazy_lock;
mod mutex;
mod once;
mod once_lock;
mod overdue;
mod permits;
mod poison;
#[cfg(not(any(rr_loom, rr_shuttle)))]
mod raw_api;
mod raw_mutex;
mod raw_rw_lock;
mod rw_lock;
mod semaphore;
#[cfg(all(test, rr_shuttle))]
mod shuttle_tests;
mod spin;
mod wait_group;

/// Those of std, since they do not wait.
pub use std::sync::{Arc, Weak, atomic};

pub use self::barrier::{Barrier, BarrierWaitResult};
pub use self::cancellation::{CancellationToken, DropGuard};
pub use self::condvar::{Condvar, WaitTimeoutResult};
pub use self::lazy_lock::LazyLock;
pub use self::mutex::{Mutex, MutexGuard};
pub use self::once::{Once, OnceState};
pub use self::once_lock::OnceLock;
pub use self::permits::{OwnedPermit, Permit, Permits};
pub use self::poison::{LockResult, PoisonError, TryLockError, TryLockResult};
pub use self::raw_mutex::RawMutex;
pub use self::raw_rw_lock::RawRwLock;
pub use self::rw_lock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use self::semaphore::{AcquireError, AcquireTimeoutError, Semaphore, TryAcquireError};
pub use self::wait_group::WaitGroup;

/// A `const fn`, but for models: their atomics are made at run time.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(any(rr_loom, rr_shuttle)))]
        $(#[$attribute])*
        $visibility const fn $($rest)*

        #[cfg(any(rr_loom, rr_shuttle))]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
use const_fn;
