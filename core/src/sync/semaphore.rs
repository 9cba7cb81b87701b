//! A number of permits.
//!
//! Everything happens under one short lock, which each operation takes once and releases with its last access. So
//! one who has acquired a permit may free the semaphore, whoever has just added it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::const_fn;
use super::permits::{OwnedPermit, Permit, Permits};
use crate::brief::{Brief, BriefGuard};
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::wait_list::{AllClaimed, Entry, WaitList};

/// The wait ended because of the permits, or of the end of the semaphore.
const DECIDED: Outcome = Outcome::FIRST;

/// Stands in the tag of an entry, instead of the permits that it needs, once it has got them.
const GRANTED: usize = 0;

/// Permits that routines and threads acquire and give back.
///
/// First come, first served: one who waits for many permits is not passed by others who want few. So an
/// [`acquire_many`](Self::acquire_many) of more permits than there are waits, and all who come after it, until
/// [`add_permits`](Self::add_permits) makes up for it or the semaphore is [closed](Self::close).
///
/// ```
/// use rust_routines_core::sync::Semaphore;
///
/// let connections = Semaphore::new(2);
/// let one = connections.acquire().unwrap();
/// let other = connections.acquire().unwrap();
/// assert!(connections.try_acquire().is_err());
/// drop(one);
/// assert_eq!(connections.available_permits(), 1);
/// # drop(other);
/// ```
pub struct Semaphore {
    state: Brief<State>,
}

struct State {
    permits: usize,
    closed: bool,
    /// While somebody waits here, there are fewer permits than the first one needs.
    waiters: WaitList,
}

/// The semaphore is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquireError(());

/// Why permits were not there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryAcquireError {
    /// The semaphore is closed.
    Closed,
    /// There are too few, or others wait for them.
    NoPermits,
}

/// Why permits did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireTimeoutError {
    /// The semaphore is closed.
    Closed,
    /// The time was over first.
    Timeout,
}

impl Semaphore {
    /// The most permits that a semaphore can have. (Tokio's number.)
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    const_fn! {
        /// A semaphore with so many permits; zero is a number like any, for [`add_permits`](Self::add_permits) to change.
        ///
        /// # Panics
        ///
        /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[must_use]
        #[track_caller]
        pub fn new(permits: usize) -> Self {
            assert!(permits <= Self::MAX_PERMITS, "more permits than Semaphore::MAX_PERMITS");
            Self { state: Brief::new(State { permits, closed: false, waiters: WaitList::new() }) }
        }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, or becomes so.
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Waits until there are so many permits at a time. Zero are always there.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, or becomes so.
    pub fn acquire_many(&self, permits: usize) -> Result<Permit<'_>, AcquireError> {
        self.wait(permits, Patience::Patient).map_err(|_| AcquireError(()))
    }

    /// Takes a permit if there is one and nobody waits.
    ///
    /// # Errors
    ///
    /// See [`TryAcquireError`].
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes so many permits if they are there and nobody waits.
    ///
    /// # Errors
    ///
    /// See [`TryAcquireError`].
    pub fn try_acquire_many(&self, permits: usize) -> Result<Permit<'_>, TryAcquireError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(TryAcquireError::Closed);
        }
        if state.take(permits) {
            drop(state);
            return Ok(Permits::new(self, permits));
        }
        Err(TryAcquireError::NoPermits)
    }

    /// Waits for a permit that keeps the semaphore.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use rust_routines_core::sync::Semaphore;
    ///
    /// let room = Arc::new(Semaphore::new(2));
    /// for connection in 0..5 {
    ///     let permit = room.acquire_owned().unwrap();
    ///     std::thread::spawn(move || {
    ///         println!("{connection} is served");
    ///         drop(permit);
    ///     });
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, or becomes so.
    pub fn acquire_owned(self: &Arc<Self>) -> Result<OwnedPermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// Waits until there are so many permits at a time, which then keep the semaphore.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed, or becomes so.
    pub fn acquire_many_owned(
        self: &Arc<Self>,
        permits: usize,
    ) -> Result<OwnedPermit, AcquireError> {
        self.acquire_many(permits).map(|permit| permit.kept_by(self.clone()))
    }

    /// Takes a permit that keeps the semaphore, if there is one and nobody waits.
    ///
    /// # Errors
    ///
    /// See [`TryAcquireError`].
    pub fn try_acquire_owned(self: &Arc<Self>) -> Result<OwnedPermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// Takes so many permits that keep the semaphore, if they are there and nobody waits.
    ///
    /// # Errors
    ///
    /// See [`TryAcquireError`].
    pub fn try_acquire_many_owned(
        self: &Arc<Self>,
        permits: usize,
    ) -> Result<OwnedPermit, TryAcquireError> {
        self.try_acquire_many(permits).map(|permit| permit.kept_by(self.clone()))
    }

    /// Waits for a permit, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// See [`AcquireTimeoutError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, AcquireTimeoutError> {
        self.acquire_many_deadline(1, Instant::now().checked_add(timeout))
    }

    /// Waits for a permit, until `deadline` at the latest. One that has passed is no reason to refuse a permit
    /// that is there.
    ///
    /// # Errors
    ///
    /// See [`AcquireTimeoutError`].
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Permit<'_>, AcquireTimeoutError> {
        self.acquire_many_deadline(1, Some(deadline))
    }

    fn acquire_many_deadline(
        &self,
        permits: usize,
        deadline: Option<Instant>,
    ) -> Result<Permit<'_>, AcquireTimeoutError> {
        self.wait(permits, Patience::from(deadline))
    }

    /// Adds permits, also beyond those that it was made with.
    ///
    /// # Panics
    ///
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn add_permits(&self, permits: usize) {
        let mut state = self.state.lock();
        let sum = state.permits.checked_add(permits).filter(|&sum| sum <= Self::MAX_PERMITS);
        let Some(sum) = sum else {
            drop(state);
            panic!("more permits than Semaphore::MAX_PERMITS");
        };
        state.permits = sum;
        Self::serve(state);
    }

    /// How many permits could be acquired now.
    pub fn available_permits(&self) -> usize {
        self.state.lock().permits
    }

    /// Ends it: those who wait get an error, as does whoever comes later. Permits that were acquired stay valid.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        // Their entries are not marked as granted.
        let waiting = state.waiters.claim_all();
        drop(state);
        waiting.wake();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    fn wait(
        &self,
        permits: usize,
        mut patience: Patience,
    ) -> Result<Permit<'_>, AcquireTimeoutError> {
        let mut looked = false;
        loop {
            let mut state = self.state.lock();
            if state.closed {
                return Err(AcquireTimeoutError::Closed);
            }
            if state.take(permits) {
                drop(state);
                return Ok(Permits::new(self, permits));
            }
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, DECIDED);
            entry.tag.set(permits);
            // SAFETY: it is out of the list when this loop goes on or ends: claimed, or removed below.
            unsafe {
                // A destructor that has looked whether it must give up has waited longest, or nearly so.
                match looked {
                    true => state.waiters.push_front(&entry),
                    false => state.waiters.push(&entry),
                }
            }
            let outcome = park(&waiter, WaitReason::Semaphore, patience, move || {
                drop(state);
                Commit::Park
            });
            if outcome == Some(DECIDED) {
                return match entry.tag.get() {
                    GRANTED => Ok(Permits::new(self, permits)),
                    _ => Err(AcquireTimeoutError::Closed),
                };
            }
            let mut state = self.state.lock();
            state.waiters.remove(&entry);
            // What was too little for us may do for the next.
            Self::serve(state);
            looked = matches!(patience, Patience::SteadfastUntil(_));
            patience = patience.after(outcome).ok_or(AcquireTimeoutError::Timeout)?;
        }
    }

    /// Gives permits to those who have waited longest, as far as they go.
    fn serve(mut state: BriefGuard<'_, State>) {
        let mut served = AllClaimed::new();
        loop {
            let permits = state.permits;
            let Some(next) = state.waiters.claim_first_if(|entry| entry.tag.get() <= permits)
            else {
                break;
            };
            state.permits -= next.entry().tag.replace(GRANTED);
            served.push(next);
        }
        drop(state);
        served.wake();
    }
}

impl State {
    fn take(&mut self, permits: usize) -> bool {
        if permits == 0 {
            return true;
        }
        let enough = permits <= self.permits && self.waiters.is_empty();
        if enough {
            self.permits -= permits;
        }
        enough
    }
}

impl std::panic::UnwindSafe for Semaphore {}
impl std::panic::RefUnwindSafe for Semaphore {}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (permits, closed) = (state.permits, state.closed);
        drop(state);
        f.debug_struct("Semaphore")
            .field("permits", &permits)
            .field("closed", &closed)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the semaphore is closed",
            Self::NoPermits => "the semaphore has too few permits",
        })
    }
}

impl fmt::Display for AcquireTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the semaphore is closed",
            Self::Timeout => "timed out while acquiring a semaphore",
        })
    }
}

impl Error for AcquireError {}
impl Error for TryAcquireError {}
impl Error for AcquireTimeoutError {}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::model;
    use loom::sync::Arc;
    use loom::thread::spawn;

    /// Fails if a permit goes to one who has given up, and is lost.
    #[test]
    fn loom_permit_or_timeout() {
        model(|| {
            let semaphore = Arc::new(Semaphore::new(0));
            let (one, other) = (semaphore.clone(), semaphore.clone());
            let impatient = spawn(move || one.acquire_deadline(Instant::now()).is_ok());
            let patient = spawn(move || other.acquire().is_ok());
            semaphore.add_permits(1);
            impatient.join().unwrap();
            assert!(patient.join().unwrap());
            assert_eq!(semaphore.available_permits(), 1);
        });
    }

    /// Fails if one who wants few goes on waiting behind one who wanted many and has given up.
    #[test]
    fn loom_who_gives_up_lets_others_pass() {
        model(|| {
            let semaphore = Arc::new(Semaphore::new(1));
            let (one, other) = (semaphore.clone(), semaphore.clone());
            let greedy = spawn(move || one.acquire_many_deadline(2, Some(Instant::now())).is_ok());
            let modest = spawn(move || other.acquire().is_ok());
            assert!(modest.join().unwrap());
            assert!(!greedy.join().unwrap());
            assert_eq!(semaphore.available_permits(), 1);
        });
    }

    /// Fails if closing passes by one who is about to wait.
    #[test]
    fn loom_close_ends_waits() {
        model(|| {
            let semaphore = Arc::new(Semaphore::new(1));
            let permit = semaphore.acquire().unwrap();
            let other = semaphore.clone();
            let waits = spawn(move || other.acquire().map(|permit| permit.permits()));
            semaphore.close();
            assert!(waits.join().unwrap().is_err());
            drop(permit);
        });
    }
}
