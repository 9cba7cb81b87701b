//! Operations that leave their driver's thread: who may touch them when, and how they come back.
//!
//! # Claims
//!
//! An operation on its way to other threads travels as a [`Task`]. Its claim says who may touch the
//! operation and its buffers:
//!
//! ```text
//!   QUEUED --start--> RUNNING --------------------> finished: pushed to Home, claim never looked at again
//!     |  ^              |   \
//!     |  +---release----+    cancel: STOPPING ----> finished, as above; release is refused
//!     |
//!     +--cancel--> CANCELED: the driver's again, handed back by its next `wait`
//! ```
//!
//! 1. `QUEUED`: nobody touches the operation. `RUNNING`, `STOPPING`: the thread whose `start`
//!    succeeded does. `CANCELED`, and once the result was pushed: only the driver does.
//! 2. Hence exactly one hand-back: either `cancel` took the task out of `QUEUED`, or `start` did and
//!    that thread pushes exactly one result or releases the claim again. Both are one compare-exchange
//!    on one word.
//! 3. A cancelled task may linger in a queue that cannot drop it. That is harmless, and the reason for
//!    the claim to live in an allocation of the task (some 20 ns, next to the 40 µs of a trip to another
//!    thread) and not in [`OpRef::word`]: whoever finds the task later looks at the claim, which it
//!    co-owns, and never at the operation, which is long gone. With the claim in the operation, a
//!    cancelled one could only be handed back by the thread that some day takes it from the queue, and
//!    a deadline would wait for 128 busy threads.
//! 4. The result goes to the [`Home`] queue as the task's key and not as an [`OpRef`]: no other thread
//!    even names the operation after its last use of it.
//!
//! `OpRef::word` holds the task's key plus one, or zero while the operation has no task. Only the
//! driver's thread touches it, and never uses the highest bit, which `uring` has for itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_queue::SegQueue;
#[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
use rust_routines_core::driver::Submitted;
use rust_routines_core::driver::operation::canceled;
use rust_routines_core::driver::{Completions, DriverWaker, OpRef};
use slab::Slab;

#[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
use crate::threads::Crew;
use crate::threads::Job;

/// How many results of other threads one `wait` collects, so that it returns to the scheduler under
/// any load. As many as a reactor takes events.
const FINISHED_PER_WAIT: usize = 256;

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;
const CANCELED: u8 = 3;

/// Who may touch an operation; see the [module docs](self).
#[derive(Debug, Default)]
struct Claim(AtomicU8);

impl Claim {
    #[must_use]
    fn start(&self) -> bool {
        self.step(QUEUED, RUNNING)
    }

    #[cfg(feature = "pool")]
    #[must_use]
    fn release(&self) -> bool {
        self.step(RUNNING, QUEUED)
    }

    #[must_use]
    fn cancel(&self) -> bool {
        loop {
            if self.step(QUEUED, CANCELED) {
                return true;
            }
            // A release in between makes it QUEUED again, hence the loop.
            if self.step(RUNNING, STOPPING) || self.0.load(Ordering::Relaxed) != QUEUED {
                return false;
            }
        }
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// An operation that other threads know of.
#[derive(Debug)]
pub(crate) struct Task {
    claim: Claim,
    op: OpRef,
    /// In the ledger of the driver.
    key: usize,
    home: Arc<Home>,
}

// SAFETY: all but `op` is `Sync`, and `op` is handed out only to the one holder of the claim.
unsafe impl Sync for Task {}

impl Task {
    /// Claims the operation for this thread. `None` if it was cancelled: it may be gone by now.
    pub(crate) fn start(self: Arc<Self>) -> Option<Running> {
        self.claim.start().then(|| Running(self))
    }
}

/// The right to touch the operation of a task.
#[derive(Debug)]
#[must_use]
pub(crate) struct Running(Arc<Task>);

impl Running {
    pub(crate) fn op(&self) -> OpRef {
        self.0.op
    }

    /// The result for the driver, which hands the operation back.
    pub(crate) fn finish(self, result: io::Result<usize>) {
        self.0.home.push(self.0.key, result);
    }

    /// Gives the claim up for a later turn, unless the driver has asked for the operation to be
    /// cancelled.
    #[cfg(feature = "pool")]
    pub(crate) fn release(self) -> Result<Arc<Task>, Self> {
        if self.0.claim.release() { Ok(self.0) } else { Err(self) }
    }
}

/// A task whose operation may simply block whichever thread performs it.
impl Job for Arc<Task> {
    fn run(self) {
        if let Some(running) = self.start() {
            let result = running.op().perform();
            running.finish(result);
        }
    }

    fn fail(self, error: io::Error) {
        if let Some(running) = self.start() {
            running.finish(Err(error));
        }
    }
}

/// Where the results for one driver arrive.
#[derive(Debug)]
struct Home {
    finished: SegQueue<(usize, io::Result<usize>)>,
    waker: Arc<dyn DriverWaker>,
}

impl Home {
    /// The operation may be gone as soon as its result is in the queue; `self` is kept by the task,
    /// which the caller co-owns.
    fn push(&self, key: usize, result: io::Result<usize>) {
        self.finished.push((key, result));
        self.waker.wake();
    }
}

/// The driver's end: which of its operations are on their way, and which are to be handed back.
#[derive(Debug)]
pub(crate) struct Ledger {
    home: Arc<Home>,
    tasks: Slab<Arc<Task>>,
    canceled: Vec<OpRef>,
}

impl Ledger {
    /// A ledger whose driver is woken with `waker` when results arrive.
    pub(crate) fn new(waker: Arc<dyn DriverWaker>) -> Self {
        let home = Home { finished: SegQueue::new(), waker };
        Self { home: Arc::new(home), tasks: Slab::new(), canceled: Vec::new() }
    }

    /// Makes a task of an operation that was just submitted.
    pub(crate) fn open(&mut self, op: OpRef) -> Arc<Task> {
        let entry = self.tasks.vacant_entry();
        let key = entry.key();
        let home = Arc::clone(&self.home);
        let task = Arc::new(Task { claim: Claim::default(), op, key, home });
        entry.insert(Arc::clone(&task));
        op.word().store(key + 1, Ordering::Relaxed);
        task
    }

    /// Has a thread perform an operation that was just submitted.
    #[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
    pub(crate) fn hand_over(&mut self, op: OpRef, crew: &Crew<Arc<Task>>) -> Submitted {
        match crew.of(&op.action()).submit(self.open(op)) {
            Ok(()) => Submitted::Pending,
            Err((task, error)) => {
                self.strike(&task);
                Submitted::Done(Err(error))
            }
        }
    }

    /// Drops the books on a task that could not be handed over and was never seen by another thread.
    pub(crate) fn strike(&mut self, task: &Task) {
        self.close(task.key);
    }

    /// Cancels the task of `op`, if it has one. If no thread has claimed it, the task comes back: no
    /// thread will touch its operation, and the next [`collect`](Self::collect) hands that back.
    /// Otherwise a result will arrive.
    pub(crate) fn cancel(&mut self, op: OpRef) -> Option<Arc<Task>> {
        let key = op.word().load(Ordering::Relaxed).checked_sub(1)?;
        let task = Arc::clone(&self.tasks[key]);
        if !task.claim.cancel() {
            return None;
        }
        self.close(key);
        self.canceled.push(op);
        Some(task)
    }

    /// Lets the next [`collect`](Self::collect) hand back an operation that no other thread knows of.
    #[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
    pub(crate) fn hand_back_canceled(&mut self, op: OpRef) {
        self.canceled.push(op);
    }

    /// Whether [`collect`](Self::collect) would find something.
    pub(crate) fn has_finished(&self) -> bool {
        !self.canceled.is_empty() || !self.home.finished.is_empty()
    }

    /// Hands back what was cancelled and what other threads have finished.
    pub(crate) fn collect(&mut self, done: &mut Completions) {
        for op in self.canceled.drain(..) {
            done.push(op, Err(canceled()));
        }
        for _ in 0..FINISHED_PER_WAIT {
            let Some((key, result)) = self.home.finished.pop() else { return };
            let op = self.close(key);
            done.push(op, result);
        }
    }

    /// Ends the books on a task whose operation is the driver's again.
    fn close(&mut self, key: usize) -> OpRef {
        let op = self.tasks.remove(key).op;
        op.word().store(0, Ordering::Relaxed);
        op
    }
}
