//! A value that is written once.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::{Once, const_fn};

/// `std::sync::OnceLock` for routines and threads.
///
/// ```
/// use rust_routines_core::sync::OnceLock;
///
/// static NAME: OnceLock<String> = OnceLock::new();
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "Ada".into()), "Ada");
/// assert_eq!(NAME.set("Grace".into()), Err("Grace".into()));
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Holds a value if and only if `once` is completed.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one, who may be on any thread, before others read it.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: as above; it is shared afterwards, and may be dropped on another thread than it was made on.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe + RefUnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_fn! {
        /// No value yet.
        #[must_use]
        pub fn new() -> Self {
            Self { once: Once::new(), value: UnsafeCell::new(None) }
        }
    }

    /// The value, if it has been written.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: completed, so that nobody changes it while this is shared.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// The value, as soon as somebody has written it.
    pub fn wait(&self) -> &T {
        // An initialization that panics leaves the cell empty, for another one.
        self.once.wait_force();
        self.written()
    }

    /// Writes the value, and waits for whoever is just doing that.
    ///
    /// # Errors
    ///
    /// With `value`, if there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("called once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none yet, the one that `f` makes. Others that want it wait meanwhile.
    ///
    /// # Panics
    ///
    /// If `f` does; the next call tries again.
    #[inline]
    pub fn get_or_init<F>(&self, f: F) -> &T
    where
        F: FnOnce() -> T,
    {
        self.once.call_once_force(|_| {
            let value = f();
            // SAFETY: one closure at a time runs, and nobody reads before it has returned.
            unsafe { *self.value.get() = Some(value) };
        });
        self.written()
    }

    /// The value, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out, so that there is none.
    pub fn take(&mut self) -> Option<T> {
        let value = self.value.get_mut().take()?;
        self.once = Once::new();
        Some(value)
    }

    fn written(&self) -> &T {
        match self.get() {
            Some(value) => value,
            None => unreachable!("the `Once` was seen to be completed"),
        }
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        let lock = Self::new();
        lock.get_or_init(|| value);
        lock
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        self.get().cloned().map_or_else(Self::new, Self::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
