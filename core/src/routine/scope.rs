//! Routines that borrow from their spawner's stack.
//!
//! The stack of a routine neither moves nor ends before the routine does, so borrowing works as in
//! `std::thread::scope`: the scope does not return, by whatever way, before all its routines have
//! ended and their results are dropped or taken.

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::builder::{Builder, refused};
use super::handle::Routine;
use super::join::Handle;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park, suspend};
use crate::routine::fiber::Suspend;
use crate::runtime::Handle as RuntimeHandle;
use crate::runtime::worker::Worker;
use crate::unwinding::resume;

/// A scope to spawn borrowing routines in. Made by [`RuntimeHandle::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    pub(crate) state: Arc<ScopeState>,
    pub(crate) runtime: RuntimeHandle,
    /// Invariant over both lifetimes, as `std::thread::Scope` is and for the same reason: a scope must
    /// not pass for one that ends earlier or later.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Nothing that a panic could leave in disorder is reached through it, as through std's.
impl RefUnwindSafe for Scope<'_, '_> {}

/// Owns the result of a scoped routine, as `std::thread::ScopedJoinHandle` does that of a thread.
pub struct ScopedJoinHandle<'scope, T> {
    pub(crate) handle: Handle<T>,
    pub(crate) scope: PhantomData<&'scope mut &'scope ()>,
}

/// What the routines of a scope and its owner share.
#[derive(Debug)]
pub(crate) struct ScopeState {
    running: AtomicUsize,
    panicked: AtomicBool,
    /// One of the routines is frozen: the scope will never end.
    hopeless: AtomicBool,
    /// The owner at the end of its scope. The lock keeps it there while somebody wakes it.
    owner: Mutex<Option<OwnerRef>>,
}

/// Points to the waiter on the owner's stack.
#[derive(Clone, Copy, Debug)]
struct OwnerRef(*const Waiter);

// SAFETY: `Waiter` is `Sync`, and the pointer is used only under the lock it stands in.
unsafe impl Send for OwnerRef {}

impl ScopeState {
    fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            hopeless: AtomicBool::new(false),
            owner: Mutex::new(None),
        }
    }

    /// Counts a routine that is about to be spawned.
    pub(crate) fn enter(&self) {
        // Overflow would take 2^64 live routines.
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A routine, or the attempt to spawn one, has ended.
    pub(crate) fn leave(&self, unhandled_panic: bool) {
        if unhandled_panic {
            self.note_panic();
        }
        // Release: what the routine did, and the end of its borrows, comes before the owner goes on.
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake_owner();
        }
    }

    /// A routine is left suspended for ever. Its owner, if a routine, shares its fate.
    pub(crate) fn abandon(&self) {
        self.hopeless.store(true, Ordering::Relaxed);
        self.wake_owner();
    }

    fn wake_owner(&self) {
        if let Some(OwnerRef(owner)) = self.owner.lock().take() {
            // SAFETY: the owner waits steadfastly until it is woken here, once: it was taken out. Its
            // claim cannot be won by anybody else.
            unsafe {
                if (*owner).claim(Outcome::FIRST) {
                    Waiter::wake(owner);
                }
            }
        }
    }

    pub(crate) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    /// Blocks until every routine has left.
    fn wait(&self) {
        let routine = Worker::current_routine();
        let is_hopeless = || routine.is_some() && self.hopeless.load(Ordering::Relaxed);
        while self.running.load(Ordering::Acquire) != 0 {
            if let (Some(link), true) = (routine, is_hopeless()) {
                suspend(link, Suspend::Freeze);
            }
            let waiter = Waiter::new();
            park(&waiter, WaitReason::Scope, Patience::Steadfast, || {
                let mut owner = self.owner.lock();
                // `leave` decrements before it looks for the owner under this lock.
                if self.running.load(Ordering::Acquire) == 0 || is_hopeless() {
                    return Commit::Resume;
                }
                *owner = Some(OwnerRef(&waiter));
                Commit::Park
            });
        }
    }
}

/// The place of a routine that is being spawned. It is left again if that fails, and be it by unwinding: what a refused
/// closure owns may panic as it is dropped.
struct Member<'a>(&'a ScopeState);

impl<'a> Member<'a> {
    fn new(scope: &'a ScopeState) -> Self {
        scope.enter();
        Self(scope)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.0.leave(false);
    }
}

impl RuntimeHandle {
    /// Runs `f` with a scope whose routines may borrow from around it, and returns when all of them
    /// have ended.
    ///
    /// # Panics
    ///
    /// With the payload of `f` if that panics, else if a routine panicked that was not joined.
    #[track_caller]
    pub fn scope<'env, F, T>(&self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        let scope = Scope {
            state: Arc::new(ScopeState::new()),
            runtime: self.clone(),
            scope: PhantomData,
            env: PhantomData,
        };
        // Unwinding out of `f` must not pass by the wait: the routines borrow what would be dropped.
        let result: Result<T, Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        scope.state.wait();
        match result {
            Err(payload) => resume(payload),
            Ok(_) if scope.state.panicked.load(Ordering::Relaxed) => {
                panic!("a scoped routine panicked and was not joined")
            }
            Ok(result) => result,
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a routine that may borrow from outside the scope.
    ///
    /// If the runtime is shutting down by force, the closure is dropped, and joining it gives
    /// [`Canceled`](crate::Canceled).
    ///
    /// # Panics
    ///
    /// If there is no room for another routine; [`Builder::spawn_scoped`] returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().spawn_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => ScopedJoinHandle { handle: refused(error), scope: PhantomData },
        }
    }
}

impl Builder {
    /// Spawns a routine in a scope.
    ///
    /// # Errors
    ///
    /// As for [`spawn_on`](Self::spawn_on).
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let member = Member::new(&scope.state);
        // SAFETY: `F` and `T` are `Send`. What they borrow lives for `'scope`, which ends only after
        // `ScopeState::wait` has seen the routine leave; it leaves after its result was stored or
        // dropped, and a stored one is reachable through the handle alone, which is bound to `'scope`.
        let handle = unsafe { self.spawn_unchecked(&scope.runtime, Some(scope.state.clone()), f) }?;
        mem::forget(member);
        Ok(ScopedJoinHandle { handle, scope: PhantomData })
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the routine and returns what it returned.
    ///
    /// # Errors
    ///
    /// The payload of the panic that ended the routine; [`Canceled`](crate::Canceled) if the shutdown
    /// of its runtime did.
    #[track_caller]
    pub fn join(self) -> thread::Result<T> {
        self.handle.join()
    }

    /// Whether the routine has finished, so that [`join`](Self::join) would not block.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// The routine.
    pub fn routine(&self) -> &Routine {
        &self.handle.routine
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &self.state.running.load(Ordering::Relaxed))
            .field("panicked", &self.state.panicked.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").field("routine", self.routine()).finish_non_exhaustive()
    }
}
