//! The core's runtime, with the default drivers filled in.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::time::Duration;

use rust_routines_core::driver::{IoBackend, TimerBackend};
use rust_routines_core::{self as core, Leftover};

use crate::drivers::{Choice, IO, TIMERS};

/// Workers, their drivers, and the routines on them.
///
/// Several may live in one process. Routines of different runtimes, and plain threads, can share channels.
///
/// ```
/// use rust_routines::Runtime;
///
/// let runtime = Runtime::builder().workers(2).name("crew").build()?;
/// let sum = runtime.spawn(|| (1..=10).sum::<i32>()).join().unwrap();
/// assert_eq!(sum, 55);
/// runtime.shutdown();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Shutdown
///
/// [`shutdown`](Self::shutdown) waits for all routines. [`shutdown_timeout`](Self::shutdown_timeout) waits for
/// a while, then unwinds what is left: each suspended routine, on its own worker, by a panic with the payload
/// [`Canceled`](crate::Canceled) (no panic hook runs), so that its destructors do. Dropping the runtime is
/// `shutdown_timeout` of zero. Every way returns only after all threads of the runtime have ended. A routine
/// that computes without ever blocking cannot be stopped, and is waited for. In a program that is compiled with
/// `panic = "abort"`, what is left is not unwound but left as it is, see [`Leftover::frozen`](crate::Leftover::frozen).
///
/// A runtime that is dropped *inside one of its own routines* cannot wait for itself: it is told to stop, and
/// its threads end on their own. In a routine of another runtime, that one's worker waits while the threads end (their
/// thread-locals' destructors run then), though not while their routines do. On a thread of its pool, in a
/// [`blocking`](crate::blocking) closure of one of its routines, dropping it would wait for its own caller: do not.
pub struct Runtime(core::Runtime);

impl Runtime {
    /// Starts to describe a runtime. All has a default.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Waits until all routines have ended, then ends the runtime.
    ///
    /// Called in a routine of this very runtime it cannot wait for its caller: it returns at once, and that routine
    /// and all others are unwound.
    pub fn shutdown(self) {
        self.0.shutdown();
    }

    /// Waits for `timeout` at the longest until all routines have ended, then unwinds the rest and ends the
    /// runtime. Returns who was left; nobody, and at once, in a routine of this very runtime, see
    /// [`shutdown`](Self::shutdown).
    ///
    /// Routines are unwound where they block. One that computes is waited for until it does, or ends, and one that has
    /// called [`blocking`](crate::blocking) until that returns, however long that takes.
    ///
    /// A routine that catches the unwinding and blocks again is unwound again. One that keeps doing so is given
    /// up after a number of times: it is reported as [`frozen`](Leftover::frozen), and its stack and its
    /// worker's thread remain until the process ends. So is who waits for the end of a scope that it is in, and, after
    /// some seconds in which nothing has happened, the destructors that wait for what only such a routine could give. But
    /// if it is frozen while a `select!` asks it what it sends, who is to receive that waits for ever.
    pub fn shutdown_timeout(self, timeout: Duration) -> Vec<Leftover> {
        self.0.shutdown_timeout(timeout)
    }
}

impl Deref for Runtime {
    type Target = core::Runtime;

    fn deref(&self) -> &core::Runtime {
        &self.0
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Describes a [`Runtime`].
#[must_use = "a builder does nothing until `build`"]
pub struct RuntimeBuilder(core::RuntimeBuilder);

impl Default for RuntimeBuilder {
    fn default() -> Self {
        // Features guarantee that there is one of each.
        let (_, io) = IO[0];
        let (_, timer) = TIMERS[0];
        Self(timer(io(core::RuntimeBuilder::new())))
    }
}

impl RuntimeBuilder {
    /// The number of worker threads. By default what `std::thread::available_parallelism` says, which
    /// respects affinity and cgroup quotas.
    pub fn workers(self, count: usize) -> Self {
        Self(self.0.workers(count))
    }

    /// A prefix for the names of the runtime's threads; `routines` by default.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self(self.0.name(name))
    }

    /// Bytes of address space of a routine's stack, its guard included: 256 KiB by default, 1 MiB in debug builds. Memory is
    /// used only as far as the stack is touched.
    pub fn stack_size(self, bytes: usize) -> Self {
        Self(self.0.stack_size(bytes))
    }

    /// How long a worker without work looks for some before it sleeps: 50 µs by default. Longer reacts faster
    /// and uses more CPU time; zero never spins.
    pub fn spin(self, time: Duration) -> Self {
        Self(self.0.spin(time))
    }

    /// Whether each worker is bound to a processor, in turn; they are not by default.
    ///
    /// The kernel moves threads to where it takes them to be best off, which for two that share a processor, or pass
    /// work to each other, is often wrong, above all on virtual machines: the workers of a server that are bound
    /// answer more requests in the same processor time there. But they cannot make way for other programs, and
    /// **threads and processes that a routine starts by means of `std` are bound to the same processor**, and told
    /// by [`available_parallelism`](std::thread::available_parallelism) that there is one. What this runtime starts for a
    /// routine is not bound: the threads on which [`blocking`](crate::blocking) runs, children of
    /// [`process`](crate::process), other runtimes with their number of workers given. Where the kernel refuses to bind
    /// them, they are left to it.
    pub fn bind_workers(self, bind: bool) -> Self {
        Self(self.0.bind_workers(bind))
    }

    /// The most threads that the I/O driver may use for [closures that block](crate::blocking), and the most for operations
    /// that do, such as on files that are not cached: 128 by default.
    pub fn pool_threads(self, count: usize) -> Self {
        Self(self.0.pool_threads(count))
    }

    /// The I/O driver: one of [`drivers`](crate::drivers), or one of yours.
    pub fn io(self, backend: impl IoBackend) -> Self {
        Self(self.0.io(backend))
    }

    /// The timer driver: one of [`drivers`](crate::drivers), or one of yours.
    pub fn timer(self, backend: impl TimerBackend) -> Self {
        Self(self.0.timer(backend))
    }

    /// The I/O driver by its name, as one reads it from a command line.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if no driver of that name is compiled in; the message lists those that are.
    pub fn io_named(self, name: &str) -> io::Result<Self> {
        choose(self.0, "I/O driver", IO, name)
    }

    /// The timer driver by its name, as one reads it from a command line.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if no driver of that name is compiled in; the message lists those that are.
    pub fn timer_named(self, name: &str) -> io::Result<Self> {
        choose(self.0, "timer", TIMERS, name)
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a number makes no sense (no workers, more than 65,535, no pool threads, a stack too small to hold
    /// anything) or the name contains a zero byte; `Unsupported` if workers are to be bound elsewhere than on Linux; else what
    /// the operating system says when it refuses threads, file descriptors or memory.
    pub fn build(self) -> io::Result<Runtime> {
        self.0.build().map(Runtime)
    }
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Gives the builder the driver of that name.
fn choose(
    builder: core::RuntimeBuilder,
    kind: &str,
    choices: &[Choice],
    name: &str,
) -> io::Result<RuntimeBuilder> {
    match choices.iter().find(|(known, _)| *known == name) {
        Some((_, give)) => Ok(RuntimeBuilder(give(builder))),
        None => {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            let message = format!(
                "no {kind} is called {name:?}; compiled in: {} (features add others)",
                known.join(", ")
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}
