//! Something that is done once.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::const_fn;
use crate::brief::Brief;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::primitive::{AtomicU32, Ordering};
use crate::unwinding::unwind_canceled;
use crate::wait_list::{Entry, WaitList};

/// Nobody has begun.
const INCOMPLETE: u32 = 0;
/// Somebody has begun and panicked.
const POISONED: u32 = 1;
/// Somebody is at it.
const RUNNING: u32 = 2;
/// It is done. What was written before is visible to whoever reads this with acquire ordering.
const COMPLETE: u32 = 3;

/// The wait ended because the state changed.
const CHANGED: Outcome = Outcome::FIRST;

/// `std::sync::Once` for routines and threads.
///
/// The closure may block, and park its routine; others wait for it meanwhile. If it panics, the `Once` is poisoned, as
/// std's is. If it calls the same `Once`, it waits for itself: a deadlock, as with std.
///
/// ```
/// use rust_routines_core::sync::Once;
///
/// static START: Once = Once::new();
/// for _ in 0..3 {
///     START.call_once(|| println!("printed once"));
/// }
/// assert!(START.is_completed());
/// ```
pub struct Once {
    state: AtomicU32,
    waiters: Brief<WaitList>,
}

/// What a closure of [`Once::call_once_force`] is told.
pub struct OnceState {
    poisoned: bool,
}

/// Ends the attempt of the one who runs the closure, also if that panics.
struct Attempt<'a> {
    once: &'a Once,
    next: u32,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut waiters = self.once.waiters.lock();
        // Under the lock: nobody enlists after having seen that somebody is at it.
        self.once.state.store(self.next, Ordering::Release);
        let woken = waiters.claim_all();
        drop(waiters);
        woken.wake();
    }
}

impl Once {
    const_fn! {
        /// Nothing is done yet.
        #[must_use]
        #[allow(clippy::new_without_default, reason = "std's has none")]
        pub fn new() -> Self {
            Self { state: AtomicU32::new(INCOMPLETE), waiters: Brief::new(WaitList::new()) }
        }
    }

    /// Calls `f` unless some closure was called here before. When this returns, one has returned.
    ///
    /// # Panics
    ///
    /// If `f` does, or an earlier closure did.
    #[inline]
    #[track_caller]
    pub fn call_once<F>(&self, f: F)
    where
        F: FnOnce(),
    {
        if !self.is_completed() {
            self.call(false, |_| f());
        }
    }

    /// The same, but also calls `f` if earlier closures panicked.
    #[inline]
    #[track_caller]
    pub fn call_once_force<F>(&self, f: F)
    where
        F: FnOnce(&OnceState),
    {
        if !self.is_completed() {
            self.call(true, f);
        }
    }

    /// Whether a closure has returned.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until a closure has returned, which somebody else must call.
    ///
    /// # Panics
    ///
    /// If one panicked.
    #[track_caller]
    pub fn wait(&self) {
        self.wait_or_poisoned(false);
    }

    /// The same, but goes on waiting if one panicked.
    pub fn wait_force(&self) {
        self.wait_or_poisoned(true);
    }

    #[cold]
    #[track_caller]
    fn call<F>(&self, force: bool, f: F)
    where
        F: FnOnce(&OnceState),
    {
        let mut patience = Patience::Patient;
        loop {
            let state = self.state.load(Ordering::Acquire);
            match state {
                COMPLETE => return,
                POISONED if !force => poisoned(),
                RUNNING => self.wait_while(&mut patience, |state| state == RUNNING),
                _ => {
                    let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
                    if self.state.compare_exchange(state, RUNNING, acquire, relaxed).is_err() {
                        continue;
                    }
                    let mut attempt = Attempt { once: self, next: POISONED };
                    f(&OnceState { poisoned: state == POISONED });
                    attempt.next = COMPLETE;
                    return;
                }
            }
        }
    }

    #[track_caller]
    fn wait_or_poisoned(&self, force: bool) {
        let mut patience = Patience::Patient;
        loop {
            match self.state.load(Ordering::Acquire) {
                COMPLETE => return,
                POISONED if !force => poisoned(),
                now => self.wait_while(&mut patience, |state| {
                    // A change from incomplete to running is none that wakes anybody.
                    state != COMPLETE && (state != POISONED || now == POISONED)
                }),
            }
        }
    }

    /// Waits for the end of an attempt, unless `goes_on` says that there is nothing to wait for.
    fn wait_while(&self, patience: &mut Patience, goes_on: impl Fn(u32) -> bool) {
        let waiter = Waiter::new();
        let entry = Entry::new(&waiter, CHANGED);
        let mut waiters = self.waiters.lock();
        if !goes_on(self.state.load(Ordering::Acquire)) {
            return;
        }
        // SAFETY: it is out of the list when this returns: claimed, or removed below.
        unsafe { waiters.push(&entry) };
        let outcome = park(&waiter, WaitReason::Once, *patience, move || {
            drop(waiters);
            Commit::Park
        });
        if outcome == Some(CHANGED) {
            return;
        }
        self.waiters.lock().remove(&entry);
        unwind_canceled();
        // A destructor waits while unwinding: it cannot go on without what it waits for.
        *patience = patience.of_destructor();
    }
}

#[cold]
#[track_caller]
fn poisoned() -> ! {
    panic!("Once instance has previously been poisoned");
}

impl OnceState {
    /// Whether an earlier closure panicked.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState").field("poisoned", &self.is_poisoned()).finish()
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::model;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread::spawn;

    struct Shared {
        once: Once,
        value: UnsafeCell<u32>,
    }

    // SAFETY: `value` is written in the closure and read afterwards; loom reports a race otherwise.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn call(&self) {
            // SAFETY: see above.
            self.once.call_once(|| self.value.with_mut(|value| unsafe { *value += 1 }));
            self.check();
        }

        fn check(&self) {
            // SAFETY: see above.
            assert_eq!(self.value.with(|value| unsafe { *value }), 1);
        }
    }

    /// Fails if the closure runs twice, if its end passes by one who is about to wait for it, or if what it
    /// wrote is not seen.
    #[test]
    fn loom_one_calls_and_others_wait() {
        model(|| {
            let shared = Arc::new(Shared { once: Once::new(), value: UnsafeCell::new(0) });
            let (one, other) = (shared.clone(), shared.clone());
            let caller = spawn(move || one.call());
            let waiter = spawn(move || {
                other.once.wait();
                other.check();
            });
            shared.call();
            caller.join().unwrap();
            waiter.join().unwrap();
        });
    }
}
