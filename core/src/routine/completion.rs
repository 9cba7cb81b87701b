//! How the end of a routine meets the one who joins it.
//!
//! One word per routine, `RUNNING` at first:
//!
//! ```text
//!   RUNNING ── enlist ──► sleeper ── finish ──► LOCKED ──► DONE
//!      │  ▲                  │
//!      │  └──── withdraw ────┘
//!      ├── finish ───────────────────────────────────────► DONE
//!      └── detach ──► DETACHED                    (the routine drops its result itself)
//! ```
//!
//! 1. The result is written before `finish` and read after `DONE` was seen.
//! 2. The sleeper's claim lies on the joiner's stack. `finish` touches it only in `LOCKED`, and a
//!    joiner that gave up (deadline, shutdown) waits for `DONE` if it finds `LOCKED`. That wait is a
//!    handful of instructions of the finishing thread.
//! 3. After the sleeper was woken nothing of it is touched, as it may be gone.

use crate::park::Waiter;
use crate::primitive::{AtomicPtr, Ordering, spin_loop};
use std::ptr;

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Completion<W = Waiter> {
    state: AtomicPtr<W>,
}

fn locked<W>() -> *mut W {
    ptr::without_provenance_mut(1)
}

fn done<W>() -> *mut W {
    ptr::without_provenance_mut(2)
}

fn detached<W>() -> *mut W {
    ptr::without_provenance_mut(3)
}

/// Who drops the result of a finished routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum ResultOwner {
    /// The join handle still exists and takes it.
    Handle,
    /// The handle is gone.
    Routine,
}

/// One who can be told that the routine has finished.
pub(crate) trait Joiner {
    /// Claims the joiner's wait; `false` if it has ended otherwise.
    fn claim(&self) -> bool;

    /// Wakes the joiner, whose claim the caller won.
    ///
    /// # Safety
    ///
    /// The joiner is valid and claimed by the caller, who does not use it again.
    unsafe fn wake(this: *const Self);
}

impl<W: Joiner> Completion<W> {
    /// The state of a routine that has not finished.
    pub(crate) fn new() -> Self {
        Self { state: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether the routine has finished and its result can be taken.
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == done()
    }

    /// Asks to be woken at the end. `false` if that has come already.
    #[must_use]
    pub(crate) fn enlist(&self, joiner: &W) -> bool {
        // Release publishes the joiner, Acquire the result if there is one.
        self.state
            .compare_exchange(
                ptr::null_mut(),
                ptr::from_ref(joiner).cast_mut(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// Takes `joiner` back after its wait ended otherwise; afterwards nobody touches it. `false` if
    /// the routine has finished meanwhile.
    pub(crate) fn withdraw(&self, joiner: &W) -> bool {
        let joiner = ptr::from_ref(joiner).cast_mut();
        if self
            .state
            .compare_exchange(joiner, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            return true;
        }
        while self.state.load(Ordering::Acquire) == locked() {
            #[cfg(rr_loom)]
            loom::thread::yield_now();
            spin_loop();
        }
        false
    }

    /// Gives up the join handle. `Routine` if the routine will drop its result, `Handle` if it has
    /// finished and the caller must.
    pub(crate) fn detach(&self) -> ResultOwner {
        match self.state.compare_exchange(
            ptr::null_mut(),
            detached(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => ResultOwner::Routine,
            Err(_) => ResultOwner::Handle,
        }
    }

    /// Announces that the result is there and wakes the joiner.
    pub(crate) fn finish(&self) -> ResultOwner {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let next = if state.is_null() || state == detached() { done() } else { locked() };
            // Release publishes the result, Acquire the joiner.
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state.is_null() {
            return ResultOwner::Handle;
        }
        if state == detached() {
            return ResultOwner::Routine;
        }
        // SAFETY: `state` is the joiner that enlisted; it does not return before it sees `DONE`,
        // unless it is woken, which is up to us once we have claimed it.
        let claimed = unsafe { (*state).claim() };
        self.state.store(done(), Ordering::Release);
        if claimed {
            // SAFETY: claimed, hence still asleep and valid; not used afterwards.
            unsafe { W::wake(state) };
        }
        ResultOwner::Handle
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::claim::{Claim, Outcome};
    use crate::primitive::model;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Condvar, Mutex};

    /// A joiner whose validity loom can check: `alive` is written when the joiner's frame ends.
    struct TestJoiner {
        claim: Claim,
        alive: UnsafeCell<bool>,
        alarm: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Joiner for TestJoiner {
        fn claim(&self) -> bool {
            // SAFETY: loom reports a race if the frame can have ended.
            assert!(self.alive.with(|alive| unsafe { *alive }));
            self.claim.claim(Outcome::FIRST)
        }
        unsafe fn wake(this: *const Self) {
            // SAFETY: the caller says it is valid.
            let alarm = unsafe { (*this).alarm.clone() };
            *alarm.0.lock().unwrap() = true;
            alarm.1.notify_one();
        }
    }

    fn joiner() -> TestJoiner {
        TestJoiner {
            claim: Claim::new(),
            alive: UnsafeCell::new(true),
            alarm: Arc::new((Mutex::new(false), Condvar::new())),
        }
    }

    fn sleep(joiner: &TestJoiner) {
        let mut woken = joiner.alarm.0.lock().unwrap();
        while !*woken {
            woken = joiner.alarm.1.wait(woken).unwrap();
        }
    }

    /// Ends the joiner's frame as far as loom is concerned.
    fn end(joiner: TestJoiner) {
        // SAFETY: loom reports a race if somebody may still look.
        joiner.alive.with_mut(|alive| unsafe { *alive = false });
    }

    /// Fails if the end of the routine can pass by a joiner that is just lying down.
    #[test]
    fn loom_finish_wakes_joiner() {
        model(|| {
            let shared = Arc::new((Completion::<TestJoiner>::new(), UnsafeCell::new(0)));
            let routine = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    // SAFETY: nobody reads before `finish`; loom checks it.
                    shared.1.with_mut(|result| unsafe { *result = 7 });
                    assert_eq!(shared.0.finish(), ResultOwner::Handle);
                })
            };
            let joiner = joiner();
            if shared.0.enlist(&joiner) {
                sleep(&joiner);
            }
            assert!(shared.0.is_done());
            // SAFETY: done, so the routine does not write any more; loom checks it.
            assert_eq!(shared.1.with(|result| unsafe { *result }), 7);
            end(joiner);
            routine.join().unwrap();
        });
    }

    /// Fails if a finishing routine can touch a joiner that gave up and left.
    #[test]
    fn loom_withdrawn_joiner_is_not_touched() {
        model(|| {
            let shared = Arc::new(Completion::<TestJoiner>::new());
            let routine = {
                let shared = shared.clone();
                loom::thread::spawn(move || assert_eq!(shared.finish(), ResultOwner::Handle))
            };
            let joiner = joiner();
            if shared.enlist(&joiner) {
                // The deadline: claimed by the joiner's own worker.
                if joiner.claim.claim(Outcome::TIMED_OUT) {
                    shared.withdraw(&joiner);
                } else {
                    sleep(&joiner);
                }
            }
            end(joiner);
            routine.join().unwrap();
            assert!(shared.is_done());
        });
    }

    /// Fails if both sides, or neither, end up with the result.
    #[test]
    fn loom_detached_result_has_one_owner() {
        model(|| {
            let shared = Arc::new(Completion::<TestJoiner>::new());
            let routine = {
                let shared = shared.clone();
                loom::thread::spawn(move || shared.finish())
            };
            let by_handle = shared.detach();
            let by_routine = routine.join().unwrap();
            assert_eq!(by_handle, by_routine);
        });
    }
}
