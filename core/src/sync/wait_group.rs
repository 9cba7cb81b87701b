//! Waiting until all have finished.

use std::fmt;
use std::sync::Arc;

use crate::brief::Brief;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::primitive::{AtomicUsize, Ordering};
use crate::unwinding::unwind_canceled;
use crate::wait_list::{Entry, WaitList};

const FINISHED: Outcome = Outcome::FIRST;

/// `crossbeam_utils::sync::WaitGroup` for routines and threads: whoever takes part holds a clone, and
/// [`wait`](Self::wait) returns when all of them have been dropped.
///
/// ```
/// use rust_routines_core::sync::WaitGroup;
///
/// let group = WaitGroup::new();
/// for _ in 0..4 {
///     let group = group.clone();
///     std::thread::spawn(move || {
///         // Some work, and then:
///         drop(group);
///     });
/// }
/// group.wait();
/// ```
pub struct WaitGroup(Arc<Inner>);

struct Inner {
    /// Clones that were not dropped. It never rises again once it is zero, since only a clone makes clones.
    count: AtomicUsize,
    waiters: Brief<WaitList>,
}

impl WaitGroup {
    /// A group with one member: the caller.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { count: AtomicUsize::new(1), waiters: Brief::new(WaitList::new()) }))
    }

    /// Leaves the group, and waits until everybody else has.
    pub fn wait(self) {
        let inner = self.0.clone();
        drop(self);
        let mut patience = Patience::Patient;
        while inner.count.load(Ordering::Acquire) != 0 {
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, FINISHED);
            let mut waiters = inner.waiters.lock();
            // The last one counts down before it looks for waiters under the lock.
            if inner.count.load(Ordering::Acquire) == 0 {
                return;
            }
            // SAFETY: it is out of the list when this loop goes on or ends: claimed, or removed below.
            unsafe { waiters.push(&entry) };
            let outcome = park(&waiter, WaitReason::WaitGroup, patience, move || {
                drop(waiters);
                Commit::Park
            });
            if outcome == Some(FINISHED) {
                return;
            }
            inner.waiters.lock().remove(&entry);
            unwind_canceled();
            // A destructor waits while unwinding: for the others' sake, to the end.
            patience = patience.of_destructor();
        }
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> Self {
        // No overflow: the `Arc` aborts before.
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        // Release: what this member did comes before the end of the wait.
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            let finished = self.0.waiters.lock().claim_all();
            finished.wake();
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl std::panic::UnwindSafe for WaitGroup {}
impl std::panic::RefUnwindSafe for WaitGroup {}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.count.load(Ordering::Relaxed);
        f.debug_struct("WaitGroup").field("count", &count).finish()
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::model;
    use loom::thread::spawn;

    /// Fails (by loom's deadlock detection) if the last one to leave passes by one who is about to wait.
    #[test]
    fn loom_last_one_wakes_all_who_wait() {
        model(|| {
            let group = WaitGroup::new();
            let (one, other) = (group.clone(), group.clone());
            let waits = spawn(move || one.wait());
            let leaves = spawn(move || drop(other));
            group.wait();
            waits.join().unwrap();
            leaves.join().unwrap();
        });
    }
}
