//! The seam to I/O: one [`IoDriver`] per worker, shaped around completion.
//!
//! The scheduler *submits* an [`Operation`](super::Operation) when a routine blocks on it, the driver
//! hands it back when it has finished, and the scheduler wakes the routine. Readiness selectors and
//! completion rings both fit, since readiness can be turned into completion but not the other way
//! round.
//!
//! # Contract
//!
//! 1. **One thread.** A driver is made on its worker's thread and every method is called there, from
//!    the worker's own stack and never re-entrantly. Only the [`DriverWaker`] crosses threads.
//! 2. **The operation is borrowed.** It lives on the stack of the parked routine, as do the buffers it
//!    points to. From the moment `submit` answers [`Submitted::Pending`] until the driver pushes the
//!    operation to [`Completions`], the scheduler neither frees, unwinds nor resumes that stack. From
//!    that push on, the driver (and every thread and kernel object behind it) must not touch the
//!    operation or its buffers again. This is why the trait is unsafe to implement, and why a plain
//!    `&mut [u8]` is a sound buffer even for a ring.
//! 3. **Handed back once.** Every pending operation comes back exactly once: finished, failed, or
//!    cancelled (`ECANCELED`). Not before: an operation that answered `Done` is never pushed.
//! 4. **Wakes are hints.** `wait` may return early and empty-handed, but it must return promptly once
//!    the waker has been called since the last `wait` returned.
//! 5. **No blocking.** Only `wait` may block. A driver must not call what parks a routine; it acts for none.
//! 6. **The end.** A driver is dropped on its worker's thread after all its operations were handed
//!    back. Its waker may outlive it and then does nothing.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::operation::OpRef;

/// What became of a submitted operation.
#[derive(Debug)]
pub enum Submitted {
    /// It is finished; the driver keeps no trace of it.
    Done(io::Result<usize>),
    /// The driver holds it and will push it to [`Completions`].
    Pending,
}

/// Collects the operations that a driver hands back.
#[derive(Debug, Default)]
pub struct Completions {
    finished: Vec<(OpRef, io::Result<usize>)>,
}

impl Completions {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands `op` back with its result. The driver must not touch it afterwards.
    pub fn push(&mut self, op: OpRef, result: io::Result<usize>) {
        self.finished.push((op, result));
    }

    /// How many operations have been handed back and not yet drained.
    pub fn len(&self) -> usize {
        self.finished.len()
    }

    /// Whether nothing has been handed back.
    pub fn is_empty(&self) -> bool {
        self.finished.is_empty()
    }

    /// Takes out what was handed back, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = (OpRef, io::Result<usize>)> + '_ {
        self.finished.drain(..)
    }
}

/// Ends a driver's `wait` from any thread.
pub trait DriverWaker: Send + Sync + fmt::Debug {
    /// Makes the current, or else the next, `wait` of the driver return.
    ///
    /// May be called at any time from any thread, also when the driver is gone. Several calls before
    /// one `wait` may merge into one.
    fn wake(&self);
}

/// Performs the I/O of one worker. See the [module docs](self) for the contract.
///
/// # Safety
///
/// The implementer owes points 2 and 3 of the contract: an operation and its buffers are touched
/// only between a `submit` that answers `Pending` and the push that hands it back, and that push
/// happens only when neither another thread nor the kernel can touch them any more.
pub unsafe trait IoDriver: fmt::Debug {
    /// Starts an operation.
    ///
    /// What can be done at once without blocking the thread should be: sockets that are ready and
    /// files whose data is cached ([`OpRef::attempt`] tries exactly that).
    fn submit(&mut self, op: OpRef) -> Submitted;

    /// Asks for a pending operation to be given up. May be called again for the same one: by its deadline,
    /// then by shutdown.
    ///
    /// It is handed back by a later `wait` all the same: with `ECANCELED`
    /// ([`canceled`](super::operation::canceled)), or with its real result where that came first or
    /// where it cannot be stopped (a file read that a pool thread is already in).
    fn cancel(&mut self, op: OpRef);

    /// Collects finished operations, waiting until there is at least one, the waker was called, or
    /// `timeout` has passed. `None` waits without limit, zero only looks.
    ///
    /// # Errors
    ///
    /// Only if the driver can no longer work at all; the runtime then aborts, since its routines
    /// could never be woken. `EINTR` is not an error here.
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()>;

    /// A handle that ends a `wait` from any thread.
    fn waker(&self) -> Arc<dyn DriverWaker>;
}

/// What the runtime tells a backend about itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IoConfig {
    /// The most threads a backend may use for operations that block, and the most for closures that do
    /// ([lasting](crate::driver::Action::Run::lasting) ones).
    pub pool_threads: usize,
    /// Prefix for the names of threads that the backend starts.
    pub thread_name: String,
}

impl IoConfig {
    /// A configuration with `pool_threads` threads at most and the given thread name prefix.
    pub fn new(pool_threads: usize, thread_name: impl Into<String>) -> Self {
        Self { pool_threads, thread_name: thread_name.into() }
    }
}

/// A moment's view of a backend's thread pool. Counters start at zero with the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Threads alive now.
    pub threads: usize,
    /// The most threads that were ever alive at once. Where there are several kinds, the sum of the most of each.
    pub threads_peak: usize,
    /// Operations that wait for a thread now.
    pub queued: usize,
    /// Operations handed to the pool so far.
    pub handed_over: u64,
}

/// Makes one [`IoDriver`] per worker and owns what they share.
///
/// A backend value belongs to one runtime and is dropped after the last of its drivers; it must have
/// ended the threads it started by the time its `drop` returns.
pub trait IoBackend: Send + Sync + 'static {
    /// A short name for tables and logs, such as `"mio"`.
    fn name(&self) -> &'static str;

    /// Makes the driver of one worker. Called on that worker's thread as it starts, with the same
    /// `config` for all workers of the runtime.
    ///
    /// # Errors
    ///
    /// Whatever the operating system refuses (file descriptors, threads); building the runtime then
    /// fails with that error.
    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>>;

    /// The state of the backend's thread pool; all zero where it has none.
    fn pool_metrics(&self) -> PoolMetrics {
        PoolMetrics::default()
    }
}
