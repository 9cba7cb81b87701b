//! Waiting for the end of a routine.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread;

use super::cell::{Canceled, Counted};
use super::completion::ResultOwner;
use super::handle::Routine;
use super::scope::ScopeState;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::unwinding::unwind_canceled;

/// Owns the result of a routine, as `std::thread::JoinHandle` does that of a thread.
///
/// Dropping it detaches the routine, which goes on and drops its result itself.
pub struct JoinHandle<T>(pub(crate) Handle<T>);

impl<T> JoinHandle<T> {
    /// Waits for the routine and returns what it returned.
    ///
    /// # Errors
    ///
    /// The payload of the panic that ended the routine; [`Canceled`] if the shutdown of its runtime did.
    ///
    /// # Panics
    ///
    /// If a routine joins itself.
    #[track_caller]
    pub fn join(self) -> thread::Result<T> {
        self.0.join()
    }

    /// Whether the routine has finished, so that [`join`](Self::join) would not block.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// The routine.
    pub fn routine(&self) -> &Routine {
        &self.0.routine
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("routine", self.routine()).finish_non_exhaustive()
    }
}

/// What plain and scoped join handles have in common: the right to the result.
pub(crate) struct Handle<T> {
    pub(crate) routine: Routine,
    /// Told when a panic goes unnoticed.
    scope: Option<Arc<ScopeState>>,
    taken: bool,
    result: PhantomData<T>,
}

// SAFETY: the result moves through the handle to the joining thread, which is sound for the `Send`
// results that spawning asks for; all else is a counted reference.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: a shared handle gives access to no result.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Handle<T> {
    /// The handle of a routine.
    ///
    /// # Safety
    ///
    /// The routine's result is a `T`, and this is its only handle.
    pub(crate) unsafe fn new(counted: Counted, scope: Option<Arc<ScopeState>>) -> Self {
        let routine = Routine::from_counted(counted);
        Self { routine, scope, taken: false, result: PhantomData }
    }

    fn counted(&self) -> &Counted {
        self.routine.counted().expect("made from a routine")
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.counted().completion().is_done()
    }

    #[track_caller]
    pub(crate) fn join(mut self) -> thread::Result<T> {
        let completion = self.counted().completion();
        if !completion.is_done() {
            let waiter = Waiter::new();
            assert!(
                !waiter.is_of(self.counted()),
                "a routine cannot join itself: it would wait for ever"
            );
            let outcome = park(&waiter, WaitReason::Join, Patience::Patient, || {
                if completion.enlist(&waiter) { Commit::Park } else { Commit::Resume }
            });
            if outcome == Some(Outcome::CANCELED) && completion.withdraw(&waiter) {
                unwind_canceled();
                // A destructor joins while unwinding: the result is given up with the handle.
                return Err(Box::new(Canceled));
            }
        }
        self.taken = true;
        // SAFETY: the routine is done, its result is a `T` (see `new`) and belongs to its handle,
        // which is consumed and, by the flag above, does not drop it.
        unsafe { self.counted().take_result() }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.taken || self.counted().completion().detach() == ResultOwner::Routine {
            return;
        }
        // SAFETY: the routine is done, and its result belongs to the handle and was not taken.
        let unhandled_panic = unsafe { self.counted().drop_result() };
        if let (true, Some(scope)) = (unhandled_panic, &self.scope) {
            scope.note_panic();
        }
    }
}
