//! Putting a runtime together.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Once, mpsc};
use std::thread;
use std::time::Duration;

use super::idle::MOST_WORKERS;
use super::shared::{Config, Phase, Shared};
use super::worker::Worker;
use super::{Handle, Runtime, spawn_worker};
use crate::driver::{IoBackend, IoConfig, TimerBackend, spawn_thread};
use crate::stack::{StackPool, overflow};
use crate::unwinding::Unwinding;

/// Address space of a routine's stack. Room for formatting, TLS, compression and regular expressions; only what is touched
/// costs memory, and a page table for each two megabytes. Without optimisation frames are several times as large.
const STACK_SIZE: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 10 };

/// How long a worker searches before it sleeps. It must be longer than a lone routine is left alone
/// (`placement::YOUNG`), and about as long as waking a worker takes, so that spinning costs at most as
/// much as it saves.
const SPIN: Duration = Duration::from_micros(50);

/// Threads for work that blocks.
const POOL_THREADS: usize = 128;

/// Describes a [`Runtime`]. The I/O and the timer driver must be given; all else has a default.
#[must_use = "a builder does nothing until `build`"]
pub struct RuntimeBuilder {
    workers: Option<usize>,
    name: String,
    stack_size: usize,
    spin: Duration,
    bind_workers: bool,
    pool_threads: usize,
    io: Option<Arc<dyn IoBackend>>,
    timer: Option<Box<dyn TimerBackend>>,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RuntimeBuilder {
    /// The defaults, without drivers.
    pub fn new() -> Self {
        Self {
            workers: None,
            name: "routines".to_owned(),
            stack_size: STACK_SIZE,
            spin: SPIN,
            bind_workers: false,
            pool_threads: POOL_THREADS,
            io: None,
            timer: None,
        }
    }

    /// The number of worker threads. By default what `std::thread::available_parallelism` says, which
    /// respects affinity and cgroup quotas.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// A prefix for the names of the runtime's threads; `routines` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Bytes of address space of a routine's stack, its guard included: 256 KiB by default, 1 MiB in debug builds. Memory is
    /// used only as far as the stack is touched.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// How long a worker without work looks for some before it sleeps: 50 µs by default. Longer reacts
    /// faster and uses more CPU time; zero never spins.
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// Whether each worker is bound to a processor, in turn; they are not by default. Threads and processes that a
    /// routine starts by means of `std` inherit it; what the runtime and its backends start with
    /// [`spawn_thread`](crate::driver::spawn_thread) does not. Where the kernel refuses to bind them, they are left to it.
    pub fn bind_workers(mut self, bind: bool) -> Self {
        self.bind_workers = bind;
        self
    }

    /// The most threads that the I/O backend may use for [closures that block](crate::blocking), and the most for operations
    /// that do, such as on files that are not cached: 128 by default.
    pub fn pool_threads(mut self, count: usize) -> Self {
        self.pool_threads = count;
        self
    }

    /// The I/O driver.
    pub fn io(mut self, backend: impl IoBackend) -> Self {
        self.io = Some(Arc::new(backend));
        self
    }

    /// The timer driver.
    pub fn timer(mut self, backend: impl TimerBackend) -> Self {
        self.timer = Some(Box::new(backend));
        self
    }

    /// Whether an I/O driver was given.
    pub fn has_io(&self) -> bool {
        self.io.is_some()
    }

    /// Whether a timer driver was given.
    pub fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a driver is missing or a number makes no sense (no workers, more than 65,535, no
    /// pool threads, a stack too small to hold anything) or the name contains a zero byte; else what the
    /// operating system says when it refuses threads, file descriptors or memory. `Unsupported` if workers are to be
    /// bound elsewhere than on Linux.
    pub fn build(self) -> io::Result<Runtime> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let Some(io) = self.io else { return invalid("a runtime needs an I/O driver") };
        let Some(timer) = self.timer else { return invalid("a runtime needs a timer driver") };
        let workers = match self.workers {
            Some(workers) => workers,
            None => thread::available_parallelism()?.get(),
        };
        if workers == 0 || workers > MOST_WORKERS {
            return invalid("a runtime has between 1 and 65535 workers");
        }
        if self.pool_threads == 0 {
            return invalid("the I/O pool needs at least one thread");
        }
        if self.name.contains('\0') {
            return invalid("the name of a thread cannot contain a zero byte");
        }
        if self.bind_workers && !cfg!(target_os = "linux") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        install_hooks();
        let config = Config {
            workers,
            spares: workers,
            io: IoConfig::new(self.pool_threads, self.name.clone()),
            name: self.name,
            spin: self.spin,
            bind_workers: self.bind_workers,
        };
        let stacks = StackPool::new(self.stack_size)?;
        let (shared, deques) = Shared::new(config, stacks, io, timer);
        let shared = Arc::new(shared);
        // From here on, dropping the runtime stops what has been started.
        let runtime = Runtime { handle: Handle(shared.clone()) };
        start(&shared, deques).map(|()| runtime)
    }
}

/// Starts the threads and waits until each worker has its drivers.
fn start(
    shared: &Arc<Shared>,
    deques: Vec<crossbeam_deque::Worker<crate::routine::cell::Link>>,
) -> io::Result<()> {
    let (sender, started) = mpsc::channel();
    for (index, deque) in deques.into_iter().enumerate() {
        let sender = sender.clone();
        let result = spawn_worker(shared, index, move |result| {
            let place = result.is_ok().then_some((index, deque));
            // The receiver is gone if another worker has failed.
            let _ = sender.send(result);
            place
        });
        if result.is_err() {
            settle(shared, &started, index);
            return result;
        }
    }
    drop(sender);
    for index in 0..shared.config.workers {
        if let Err(error) = started.recv().map_err(io::Error::other).flatten() {
            settle(shared, &started, shared.config.workers - index - 1);
            return Err(error);
        }
    }
    let monitored = shared.clone();
    let name = format!("{}-monitor", shared.config.name);
    let monitor = spawn_thread(name, move || monitored.monitor.run(&monitored))?;
    shared.threads.lock().push((None, monitor));
    Ok(())
}

/// Waits until the last of the workers that were started runs, or has failed too: only then does the count
/// that shutdown waits for mean something.
fn settle(shared: &Shared, started: &mpsc::Receiver<io::Result<()>>, outstanding: usize) {
    for _ in 0..outstanding {
        // An error here is the end of the channel, or another worker's failure: all the same.
        let _ = started.recv();
    }
    if shared.workers_alive.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        shared.enter(Phase::Stopped);
        shared.stopped.set();
    }
}

/// Hooks of the process: the report of a stack overflow, and the routine's name in panic messages.
fn install_hooks() {
    static OVERFLOW: Once = Once::new();
    static PANIC: Once = Once::new();
    OVERFLOW.call_once(|| overflow::install(Worker::probe));
    // A thread that unwinds cannot set the hook. The next runtime does.
    if thread::panicking() {
        return;
    }
    PANIC.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Some(link) = Worker::current_routine() {
                link.at_home().unwinding.set(Unwinding::Yes);
                let identity = &link.identity;
                let name = identity.name.as_deref().unwrap_or("<unnamed>");
                // Not `eprintln!`, which panics where this cannot be written.
                let _ = writeln!(
                    io::stderr(),
                    "\nroutine '{name}' (id {}), spawned at {}, panicked:",
                    identity.id,
                    identity.spawned_at
                );
            }
            previous(info);
        }));
    });
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeBuilder")
            .field("workers", &self.workers)
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .field("spin", &self.spin)
            .field("bind_workers", &self.bind_workers)
            .field("pool_threads", &self.pool_threads)
            .field("io", &self.io.as_ref().map(|io| io.name()))
            .field("timer", &self.timer.as_ref().map(|timer| timer.name()))
            .finish()
    }
}
