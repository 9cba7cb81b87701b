//! Values that belong to a routine: `thread_local!`, one level up.
//!
//! A plain `thread_local!` works inside a routine, but is shared by all routines of a worker. A routine
//! local is the routine's own. On a plain thread it is the thread's.
//!
//! Values are created on first use and dropped when the routine ends, in the order in which they were
//! created, on the routine's own stack. A destructor may use other routine locals, and may even create
//! them anew: a bounded number of rounds of destruction follows, as POSIX does for its thread-specific
//! data.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;

use super::cell::Link;
use crate::runtime::worker::Worker;
use crate::unwinding::resume;

/// Declares routine locals, with the syntax of `thread_local!`.
///
/// ```
/// use std::cell::Cell;
/// rust_routines_core::routine_local! {
///     static DEPTH: Cell<u32> = Cell::new(0);
/// }
/// DEPTH.set(DEPTH.get() + 1);
/// assert_eq!(DEPTH.get(), 1);
/// ```
#[macro_export]
macro_rules! routine_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $type:ty = const { $init:expr } $(; $($rest:tt)*)?) => {
        $crate::routine_local!($(#[$attr])* $vis static $name: $type = $init);
        $($crate::routine_local!($($rest)*);)?
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $vis static $name: $crate::LocalKey<$type> = $crate::LocalKey::new(|| $init);
        $($crate::routine_local!($($rest)*);)?
    };
}

/// A routine local, declared by [`routine_local!`].
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// The value cannot be reached: the thread that it belongs to is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the routine locals of this thread are already destroyed")
    }
}

impl std::error::Error for AccessError {}

thread_local! {
    /// The locals of code that runs outside of routines. Without a destructor of their own, so that those
    /// of the values find the others.
    static OF_THREAD: ManuallyDrop<OfThread> = const {
        ManuallyDrop::new(OfThread { locals: RefCell::new(Locals::new()), stage: Cell::new(Stage::Usable) })
    };
    /// Destroys them at the end of the thread.
    static END_OF_THREAD: EndOfThread = const { EndOfThread };
}

/// What a plain thread has.
struct OfThread {
    locals: RefCell<Locals>,
    stage: Cell<Stage>,
}

/// How far a thread has come with its locals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Usable,
    Ending,
    Ended,
}

struct EndOfThread;

impl Drop for EndOfThread {
    fn drop(&mut self) {
        OF_THREAD.with(|of_thread| {
            of_thread.stage.set(Stage::Ending);
            let result = destroy(|| mem::take(&mut of_thread.locals.borrow_mut().0));
            of_thread.stage.set(Stage::Ended);
            // As for `thread_local!`, this aborts the process.
            if let Err(payload) = result {
                resume(payload);
            }
        });
    }
}

impl<T: 'static> LocalKey<T> {
    /// Used by [`routine_local!`].
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init }
    }

    /// Calls `f` with the value, which is created first if need be.
    ///
    /// # Panics
    ///
    /// On a plain thread that is ending; [`try_with`](Self::try_with) returns an error instead.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with_or(self.init, f)
    }

    /// Calls `f` with the value, which is created first if need be.
    ///
    /// In its own destructor too: a value that is used there is created anew, and destroyed in turn. That goes on for a few
    /// rounds only; what is created in the last one is leaked. std's answers with an error there.
    ///
    /// # Errors
    ///
    /// On a plain thread that is ending and has destroyed its values.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        self.try_with_or(self.init, f)
    }

    /// Has `write` put something into the value, or `make` a value of it.
    fn write<V>(&'static self, new: V, make: fn(V) -> T, write: fn(&T, V)) {
        let new = Cell::new(Some(new));
        let make = || make(new.take().expect("nothing has taken it before"));
        self.with_or(make, |value| {
            if let Some(new) = new.take() {
                write(value, new);
            }
        });
    }

    /// Calls `f` with the value, which `make` creates if need be.
    fn with_or<R>(&'static self, make: impl FnOnce() -> T, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with_or(make, f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    fn try_with_or<R>(
        &'static self,
        make: impl FnOnce() -> T,
        f: impl FnOnce(&T) -> R,
    ) -> Result<R, AccessError> {
        let value = match self.find()? {
            Some(value) => value,
            None => {
                // Not under any borrow: what makes it may use routine locals itself, even this one. Then
                // there is a value already, which gives way to this one as with `thread_local!`.
                let value: Rc<dyn Any> = Rc::new(make());
                let before = access(|locals| locals.insert(self.key(), value.clone()))?;
                drop(before);
                value
            }
        };
        // The clone keeps the value alive, whatever `f` and other routines do meanwhile.
        let Some(value) = value.downcast_ref::<T>() else {
            unreachable!("the key is the address of a static with this type")
        };
        Ok(f(value))
    }

    fn find(&'static self) -> Result<Option<Rc<dyn Any>>, AccessError> {
        access(|locals| {
            locals.0.iter().find(|(key, _)| *key == self.key()).map(|(_, value)| value.clone())
        })
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value. If there was none, this is it, and the initialiser does not run.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with) does.
    pub fn set(&'static self, value: T) {
        self.write(value, Cell::new, Cell::set);
    }

    /// A copy of the value.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with) does.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value, and leaves the default.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with) does.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value, and answers the one that was there.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with) does.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with the value, borrowed.
    ///
    /// # Panics
    ///
    /// If it is borrowed mutably, and as [`with`](Self::with) does.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the value, borrowed mutably.
    ///
    /// # Panics
    ///
    /// If it is borrowed, and as [`with`](Self::with) does.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value. If there was none, this is it, and the initialiser does not run.
    ///
    /// # Panics
    ///
    /// If it is borrowed, and as [`with`](Self::with) does.
    pub fn set(&'static self, value: T) {
        self.write(value, RefCell::new, |cell, value| drop(cell.replace(value)));
    }

    /// Takes the value, and leaves the default.
    ///
    /// # Panics
    ///
    /// If it is borrowed, and as [`with`](Self::with) does.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value, and answers the one that was there.
    ///
    /// # Panics
    ///
    /// If it is borrowed, and as [`with`](Self::with) does.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// The values of one routine or thread, oldest first. Few, so a list beats a map.
#[derive(Debug)]
pub(crate) struct Locals(Vec<(usize, Rc<dyn Any>)>);

/// How often values that destructors create are destroyed in turn; the last ones are leaked.
const DESTRUCTOR_ROUNDS: usize = 8;

impl Locals {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts a value in its place, and answers what was there.
    fn insert(&mut self, key: usize, value: Rc<dyn Any>) -> Option<Rc<dyn Any>> {
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some((_, place)) => Some(mem::replace(place, value)),
            None => {
                self.0.push((key, value));
                None
            }
        }
    }

    /// Drops the values of a routine that has come to its end, on its stack: values need not be `Send`. To be
    /// called again when more of the routine's code has run. Answers the first panic of a destructor.
    pub(crate) fn destroy_all(routine: Link) -> thread::Result<()> {
        // SAFETY: on the routine's own stack, and the borrow ends before a destructor runs.
        destroy(|| mem::take(unsafe { &mut (*routine.at_home().locals.get()).0 }))
    }
}

/// Drops what `take` finds, until it finds nothing any more.
fn destroy(mut take: impl FnMut() -> Vec<(usize, Rc<dyn Any>)>) -> thread::Result<()> {
    let mut result = Ok(());
    for _ in 0..DESTRUCTOR_ROUNDS {
        let values = take();
        if values.is_empty() {
            return result;
        }
        // Each on its own: a panic keeps no other from being dropped.
        for (_, value) in values {
            match catch_unwind(AssertUnwindSafe(|| drop(value))) {
                Err(payload) if result.is_ok() => result = Err(payload),
                // The destructor of a payload could panic in turn.
                Err(payload) => mem::forget(payload),
                Ok(()) => {}
            }
        }
    }
    // Nobody else may drop these.
    mem::forget(take());
    result
}

/// The locals of whoever calls. `f` must not run foreign code.
fn access<R>(f: impl FnOnce(&mut Locals) -> R) -> Result<R, AccessError> {
    match Worker::current_routine() {
        // SAFETY: only the routine itself gets here, and `f` does not come back.
        Some(routine) => Ok(f(unsafe { &mut *routine.at_home().locals.get() })),
        None => OF_THREAD.with(|of_thread| {
            match of_thread.stage.get() {
                // Sees to it that they are destroyed.
                Stage::Usable => END_OF_THREAD.try_with(|_| ()).map_err(|_| AccessError)?,
                Stage::Ending => {}
                Stage::Ended => return Err(AccessError),
            }
            Ok(f(&mut of_thread.locals.borrow_mut()))
        }),
    }
}
