//! Spawning, with all its options.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use super::cell::{Counted, Identity, allocate};
use super::handle::RoutineId;
use super::join::{Handle, JoinHandle};
use super::scope::ScopeState;
use crate::runtime::Handle as RuntimeHandle;
use crate::runtime::placement::Placement;

/// Options of a routine, as `std::thread::Builder` has them for threads.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<Box<str>>,
    stack_size: Option<usize>,
    placement: Placement,
}

/// Why a runtime takes no more routines.
#[derive(Debug)]
pub(crate) struct ShuttingDown;

impl fmt::Display for ShuttingDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime is shutting down")
    }
}

impl Error for ShuttingDown {}

/// What a spawn that returns no error answers to one: the handle of a routine that was canceled before it started, if
/// the runtime is shutting down.
///
/// # Panics
///
/// In all other cases.
#[track_caller]
pub(crate) fn refused<T>(error: io::Error) -> Handle<T> {
    if !error.get_ref().is_some_and(|error| error.is::<ShuttingDown>()) {
        panic!("failed to spawn a routine: {error}");
    }
    let id = RoutineId(RoutineId::reserve(1));
    let identity = Identity { id, name: None, spawned_at: Location::caller() };
    let never = || -> T { unreachable!("it is discarded") };
    // SAFETY: the closure borrows nothing, and there will be no `T`.
    let (link, counted) = unsafe { allocate(identity, None, None, never) };
    // SAFETY: allocated just now, with this result type.
    let handle = unsafe { Handle::new(counted, None) };
    // SAFETY: allocated just now.
    unsafe { link.discard() };
    handle
}

impl Builder {
    /// The defaults: no name, the runtime's stack size, placed near the spawner.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the routine, for panic messages and statistics.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name.into_boxed_str());
        self
    }

    /// Gives the routine a stack of `bytes` of address space, its guard page included, instead of the
    /// runtime's default. Rounded up to a power of two.
    ///
    /// Memory is used only as far as the stack is touched.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Places the routine on the workers in turn instead of near its spawner.
    ///
    /// For the handlers of an accept loop and for CPU-heavy fan-out, where spreading at once is worth
    /// more than staying together. See the [placement](crate#placement) notes.
    pub fn spread(mut self) -> Self {
        self.placement = Placement::Spread;
        self
    }

    /// Spawns `f` as a routine of `runtime`.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if there is no address space for another stack, `InvalidInput` for a stack size
    /// that cannot be, `Other` if the runtime is shutting down.
    #[track_caller]
    pub fn spawn_on<F, T>(self, runtime: &RuntimeHandle, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `Send` and `'static`.
        unsafe { self.spawn_unchecked(runtime, None, f) }.map(JoinHandle)
    }

    /// Spawns without asking how long `f` and `T` live.
    ///
    /// # Safety
    ///
    /// As for [`allocate`].
    #[track_caller]
    pub(crate) unsafe fn spawn_unchecked<F, T>(
        self,
        runtime: &RuntimeHandle,
        scope: Option<Arc<ScopeState>>,
        f: F,
    ) -> io::Result<Handle<T>>
    where
        F: FnOnce() -> T,
    {
        let spawned_at = Location::caller();
        let admission = runtime.shared().admit(self.stack_size)?;
        let id = RoutineId(admission.id());
        let identity = Identity { id, name: self.name, spawned_at };
        // SAFETY: forwarded.
        let (link, counted): (_, Counted) =
            unsafe { allocate(identity, admission.into_own_stack(), scope.clone(), f) };
        // Before the launch, as the result must have an owner whatever happens.
        // SAFETY: the routine was just allocated with this result type.
        let handle = unsafe { Handle::new(counted, scope) };
        runtime.shared().launch(link, self.placement);
        Ok(handle)
    }
}
