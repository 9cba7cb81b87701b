//! Advisory locks on whole files.

use std::fs::TryLockError;
use std::io;

use super::File;
use crate::backoff::Backoff;

/// Locks belong to the open file: handles made by [`try_clone`](File::try_clone) share them, and they
/// go with the last of those, as they do in std.
impl File {
    /// Waits until nobody else has a lock on the file, and takes it alone.
    ///
    /// The kernel has no way to wait for a lock but to block a thread, perhaps for ever. A routine would
    /// hold one of the pool for that long, where neither a deadline nor the shutdown of the runtime could
    /// reach it; and as many waits as the pool has threads would keep the holder from the thread that it
    /// needs to finish. So this asks again and again instead, after sleeps from 0.5 ms, doubling up to
    /// 50 ms: it holds no thread and ends with the runtime, but comes late by up to a sleep, and those who
    /// wait have no order. Routines of one process that contend are better served by a
    /// [`Mutex`](crate::sync::Mutex) around the lock.
    ///
    /// # Errors
    ///
    /// What `flock(2)` reports.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_routines_core::fs::{File, TryLockError};
    ///
    /// let path = std::env::temp_dir().join(format!("lock-{}", std::process::id()));
    /// let (one, other) = (File::create(&path)?, File::open(&path)?);
    /// one.lock()?;
    /// assert!(matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock)));
    /// one.unlock()?;
    /// other.lock_shared()?;
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lock(&self) -> io::Result<()> {
        until_granted(|| self.try_lock())
    }

    /// Waits until nobody has the lock alone, and shares it. See [`lock`](Self::lock) for how it waits.
    ///
    /// # Errors
    ///
    /// What `flock(2)` reports.
    pub fn lock_shared(&self) -> io::Result<()> {
        until_granted(|| self.try_lock_shared())
    }

    /// Takes the lock alone, if nobody has it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if somebody has, or what `flock(2)` reports.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.at_hand(|file| file.try_lock())
    }

    /// Shares the lock, if nobody has it alone.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if somebody has, or what `flock(2)` reports.
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.at_hand(|file| file.try_lock_shared())
    }

    /// Gives the lock up.
    ///
    /// # Errors
    ///
    /// What `flock(2)` reports.
    pub fn unlock(&self) -> io::Result<()> {
        self.at_hand(|file| file.unlock())
    }
}

/// Tries until the answer is another than to wait.
fn until_granted(try_lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    let mut backoff = Backoff::new();
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => backoff.sleep(None)?,
        }
    }
}
