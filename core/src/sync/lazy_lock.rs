//! A value that is made when it is first needed.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::{Once, const_fn};

/// `std::sync::LazyLock` for routines and threads.
///
/// ```
/// use rust_routines_core::sync::LazyLock;
///
/// static PRIMES: LazyLock<Vec<u32>> =
///     LazyLock::new(|| (2..30).filter(|n| (2..*n).all(|d| n % d != 0)).collect());
/// assert_eq!(PRIMES.last(), Some(&29));
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    /// A value if `once` is completed, else the closure, or nothing after it has panicked.
    state: UnsafeCell<State<T, F>>,
}

enum State<T, F> {
    Closure(F),
    Value(T),
    Nothing,
}

// SAFETY: the closure is called by one, who may be on any thread, and what it makes is shared afterwards. `F` itself is
// never shared.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe + RefUnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_fn! {
        /// The value that `f` will make.
        pub fn new(f: F) -> Self {
            Self { once: Once::new(), state: UnsafeCell::new(State::Closure(f)) }
        }
    }

    /// The value, made now unless it was before. Others that want it wait meanwhile.
    ///
    /// # Panics
    ///
    /// If the closure does, or did before.
    #[inline]
    pub fn force(this: &Self) -> &T {
        this.once.call_once_force(|once| {
            if once.is_poisoned() {
                panic!("LazyLock instance has previously been poisoned");
            }
            // SAFETY: one closure runs, and nobody reads before it has returned. If it panics, the `Once` is
            // poisoned and nobody comes here any more.
            let state = unsafe { &mut *this.state.get() };
            make(state);
        });
        // SAFETY: completed, so that nobody changes it while this is shared.
        match unsafe { &*this.state.get() } {
            State::Value(value) => value,
            _ => unreachable!("the closure has returned"),
        }
    }

    /// The same, to change it.
    ///
    /// # Panics
    ///
    /// If the closure does, or did before.
    pub fn force_mut(this: &mut Self) -> &mut T {
        Self::force(this);
        match this.state.get_mut() {
            State::Value(value) => value,
            _ => unreachable!("the closure has returned"),
        }
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it was made.
    pub fn get(this: &Self) -> Option<&T> {
        if !this.once.is_completed() {
            return None;
        }
        // SAFETY: completed, so that nobody changes it while this is shared.
        match unsafe { &*this.state.get() } {
            State::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The same, to change it.
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        match this.state.get_mut() {
            State::Value(value) => Some(value),
            _ => None,
        }
    }
}

fn make<T, F: FnOnce() -> T>(state: &mut State<T, F>) {
    if let State::Closure(f) = mem::replace(state, State::Nothing) {
        *state = State::Value(f());
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    fn deref_mut(&mut self) -> &mut T {
        Self::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("LazyLock");
        match Self::get(self) {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
