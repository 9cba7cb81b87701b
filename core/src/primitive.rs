//! Atomics and locks that a model checker can take over.
//!
//! Everything whose protocol is modelled uses these: the inbox, idleness, claims, wait lists, completions,
//! channels, select and the locks of `sync`. There are three worlds:
//!
//! - the real one;
//! - `--cfg rr_loom`: loom tries every interleaving of small models, the weak memory ones included;
//!   `RUSTFLAGS="--cfg rr_loom" cargo test -p rust-routines-core --release --lib loom`;
//! - `--cfg rr_shuttle`: shuttle tries random schedules of larger ones;
//!   `RUSTFLAGS="--cfg rr_shuttle" cargo test -p rust-routines-core --release --lib shuttle`.
//!
//! Models run on the checker's threads, so everything that blocks takes the path of a plain thread there. A
//! deadline has always passed: whether the wait ends by it or otherwise is up to the schedule.

#[cfg(all(rr_loom, rr_shuttle))]
compile_error!("choose one of rr_loom and rr_shuttle");

pub(crate) use std::sync::atomic::Ordering;

#[cfg(not(any(rr_loom, rr_shuttle)))]
pub(crate) use {
    crossbeam_utils::sync::Parker,
    parking_lot::Mutex,
    std::hint::spin_loop,
    std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, fence},
};

#[cfg(rr_loom)]
use loom as checker;
#[cfg(rr_shuttle)]
use shuttle as checker;

/// The threads of the checker.
#[cfg(all(test, any(rr_loom, rr_shuttle)))]
pub(crate) use checker::thread;

#[cfg(any(rr_loom, rr_shuttle))]
pub(crate) use {
    self::checked::{Mutex, Parker},
    checker::hint::spin_loop,
    checker::sync::MutexGuard,
    checker::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, fence},
};

/// What the checkers lack, or name otherwise.
#[cfg(any(rr_loom, rr_shuttle))]
mod checked {
    use std::time::Instant;

    use super::checker::sync::{self, Arc, Condvar, MutexGuard};

    /// The checker's mutex with the interface of parking_lot's.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("models do not panic under a lock")
        }
    }

    /// Blocks a thread of the checker, as crossbeam's of the same name does a real one.
    #[derive(Debug)]
    pub(crate) struct Parker(Unparker);

    /// Ends the wait of its [`Parker`].
    #[derive(Clone, Debug)]
    pub(crate) struct Unparker(Arc<(sync::Mutex<bool>, Condvar)>);

    impl Parker {
        pub(crate) fn new() -> Self {
            Self(Unparker(Arc::new((sync::Mutex::new(false), Condvar::new()))))
        }

        pub(crate) fn unparker(&self) -> &Unparker {
            &self.0
        }

        pub(crate) fn park(&self) {
            let (token, changed) = &*self.0.0;
            let mut token = token.lock().expect("no panic");
            while !*token {
                token = changed.wait(token).expect("no panic");
            }
            *token = false;
        }

        /// Every deadline has passed.
        pub(crate) fn park_deadline(&self, _: Instant) {}
    }

    impl Unparker {
        pub(crate) fn unpark(&self) {
            let (token, changed) = &*self.0;
            *token.lock().expect("no panic") = true;
            changed.notify_one();
        }
    }
}

/// Runs a model under loom. Three preemptions find nearly every race there is (see loom's documentation), and
/// keep the largest of the models to seconds.
#[cfg(all(test, rr_loom))]
pub(crate) fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Runs a model under shuttle: as many random schedules, with few and with many preemptions.
#[cfg(all(test, rr_shuttle))]
pub(crate) fn explore(schedules: usize, f: impl Fn() + Send + Sync + 'static) {
    let f = std::sync::Arc::new(f);
    let again = f.clone();
    shuttle::check_random(move || f(), schedules / 2);
    shuttle::check_pct(move || again(), schedules / 2, 3);
}
