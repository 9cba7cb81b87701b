//! The atomics that loom can take over.
//!
//! Only the modules whose protocol is modelled use these: `runtime::inbox`, `runtime::idle`, `claim`
//! and `routine::completion`. `RUSTFLAGS="--cfg rr_loom" cargo test -p rust-routines-core --lib loom`
//! runs the models.

#[cfg(not(rr_loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence},
};

#[cfg(rr_loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence},
};

#[cfg(not(rr_loom))]
pub(crate) use parking_lot::Mutex;

/// `loom::sync::Mutex` with the interface of parking_lot's.
#[cfg(rr_loom)]
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(rr_loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("models do not panic under a lock")
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
