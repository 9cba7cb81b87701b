//! Waiting for a condition.
//!
//! A waiter enlists, and unlocks its mutex after it has left its stack; so whoever locks the mutex afterwards finds
//! it in the list, and no notification passes it by.
//!
//! `notify_all` simply wakes all. Moving them to the list of the mutex instead, as some do, saves thread switches
//! that end at a locked mutex. A routine's cost little: those of one worker run one after the other, so that at
//! most one per worker meets another at the mutex, and then waits there once, in its order.

use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use super::poison::{LockResult, PoisonError, map};
use super::{MutexGuard, const_fn};
use crate::brief::Brief;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::unwinding::{is_unwinding, unwind_canceled};
use crate::wait_list::{Entry, WaitList};

const NOTIFIED: Outcome = Outcome::FIRST;

/// `std::sync::Condvar` for routines and threads.
///
/// Waits are not spurious here, but portable code does not rely on it. Those who wait are notified in their order. Unlike
/// std's, it may be used with several mutexes, also at a time.
///
/// ```
/// use rust_routines_core::sync::{Condvar, Mutex};
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *ready.lock().unwrap() = true;
///         changed.notify_one();
///     });
///     let guard = changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap();
///     assert!(*guard);
/// });
/// ```
pub struct Condvar {
    waiters: Brief<WaitList>,
}

/// Whether a wait with a timeout ended by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over before a notification came.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const_fn! {
        /// A condition variable for which nobody waits.
        #[must_use]
        pub fn new() -> Self {
            Self { waiters: Brief::new(WaitList::new()) }
        }
    }

    /// Unlocks the mutex, waits for a notification, and locks it again.
    ///
    /// # Errors
    ///
    /// With the guard, if the mutex is poisoned when it is locked again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        map(self.wait_until(guard, None), |(guard, _)| guard)
    }

    /// Waits as long as `condition` holds.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// The same as [`wait`](Self::wait), for `timeout` at the longest; it may take longer to lock the mutex again.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, Some(Instant::now().checked_add(timeout)))
    }

    /// Waits as long as `condition` holds, for `timeout` at the longest. If it says that the time was over, the
    /// condition still held then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = Instant::now().checked_add(timeout);
        let mut timed_out = false;
        while condition(&mut *guard) {
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (again, result) = self.wait_until(guard, Some(deadline))?;
            (guard, timed_out) = (again, result.timed_out());
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    /// Wakes the one that has waited longest. Nothing happens, and nothing is remembered, if nobody waits.
    pub fn notify_one(&self) {
        let notified = self.waiters.lock().claim_first();
        if let Some(notified) = notified {
            notified.wake();
        }
    }

    /// Wakes all that wait now.
    pub fn notify_all(&self) {
        let notified = self.waiters.lock().claim_all();
        notified.wake();
    }

    /// `limit` is `None` for a wait without timeout, `Some(None)` for one that is beyond the clock.
    fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Option<Option<Instant>>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mut patience = Patience::from(limit.flatten());
        // From here on there is no guard that would unlock the mutex if the wait is unwound.
        let mutex = guard.forget();
        let mut held = true;
        let mut looked = false;
        let mut list = self.waiters.lock();
        let timed_out = loop {
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, NOTIFIED);
            // SAFETY: it is out of the list when this loop goes on or ends: claimed, or removed below.
            unsafe {
                // A destructor that has looked whether it must give up has waited longest, or nearly so.
                match looked {
                    true => list.push_front(&entry),
                    false => list.push(&entry),
                }
            }
            let outcome = park(&waiter, WaitReason::Condvar, patience, || {
                drop(list);
                // We may have been notified already; our frame stays until this returns, as it runs either
                // on our thread or on the worker that alone can resume us.
                if mem::take(&mut held) {
                    mutex.release();
                }
                Commit::Park
            });
            if outcome == Some(NOTIFIED) {
                break false;
            }
            let unwinding = outcome == Some(Outcome::CANCELED) && is_unwinding();
            list = self.waiters.lock();
            let missed_none = list.remove(&entry);
            if outcome == Some(Outcome::TIMED_OUT) {
                drop(list);
                break true;
            }
            if !unwinding {
                drop(list);
                unwind_canceled();
                // Not reached by a routine that is not unwinding; to others it is a wake-up like any.
                break false;
            }
            // A destructor waits while unwinding. One without a timeout waits on, if it has not been
            // passed over by a notification meanwhile.
            if limit.is_some() || !missed_none {
                drop(list);
                break limit.is_some();
            }
            looked = matches!(patience, Patience::SteadfastUntil(_));
            patience = patience.of_destructor();
        };
        let result = WaitTimeoutResult(timed_out);
        // From here on it is up to this one to see what the notification was about.
        let pass_on = (!timed_out).then(|| PassOn(self));
        let locked = mutex.lock();
        mem::forget(pass_on);
        match locked {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }
}

/// Passes a notification on if who has got it is unwound before it has the mutex back.
struct PassOn<'a>(&'a Condvar);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl std::panic::UnwindSafe for Condvar {}
impl std::panic::RefUnwindSafe for Condvar {}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::super::Mutex;
    use super::*;
    use crate::primitive::model;
    use loom::sync::Arc;
    use loom::thread::spawn;

    fn shared() -> Arc<(Mutex<bool>, Condvar)> {
        Arc::new((Mutex::new(false), Condvar::new()))
    }

    /// Fails (by loom's deadlock detection) if a notification gets lost between unlocking and waiting.
    #[test]
    fn loom_notification_meets_who_waits() {
        model(|| {
            let shared = shared();
            let other = shared.clone();
            let notifier = spawn(move || {
                *other.0.lock().unwrap() = true;
                other.1.notify_one();
            });
            let (ready, changed) = &*shared;
            assert!(*changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap());
            notifier.join().unwrap();
        });
    }

    /// Fails if one who gives up takes a notification along that it does not know of.
    #[test]
    fn loom_who_gives_up_takes_no_notification() {
        model(|| {
            let shared = shared();
            let (one, other) = (shared.clone(), shared.clone());
            let impatient = spawn(move || {
                let (ready, changed) = &*one;
                let guard = ready.lock().unwrap();
                if *guard {
                    return;
                }
                let (guard, result) = changed.wait_timeout(guard, Duration::ZERO).unwrap();
                drop(guard);
                if !result.timed_out() {
                    changed.notify_one();
                }
            });
            let patient = spawn(move || {
                let (ready, changed) = &*other;
                drop(changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap());
            });
            *shared.0.lock().unwrap() = true;
            shared.1.notify_one();
            impatient.join().unwrap();
            patient.join().unwrap();
        });
    }
}
