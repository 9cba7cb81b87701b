//! The M:N scheduler: runtimes, their workers, and how work finds them.

pub(crate) mod builder;
pub(crate) mod cpu;
pub(crate) mod dump;
pub(crate) mod event;
pub(crate) mod idle;
pub(crate) mod inbox;
pub(crate) mod metrics;
pub(crate) mod monitor;
pub(crate) mod placement;
pub(crate) mod queue;
pub(crate) mod remote;
pub(crate) mod shared;
pub(crate) mod thread;
pub(crate) mod worker;

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker as Deque;

pub use self::builder::RuntimeBuilder;
pub use self::dump::{Dump, RoutineState};
use self::event::Happened;
pub use self::metrics::Metrics;
pub use self::shared::Leftover;
use self::shared::{Phase, Shared};
use self::worker::Worker;
use crate::driver::spawn_thread;
use crate::park::Patience;
use crate::routine::builder::refused;
use crate::routine::cell::Link;
use crate::routine::{Builder, JoinHandle};

/// Workers, their drivers, and the routines on them.
///
/// # Shutdown
///
/// [`shutdown`](Self::shutdown) waits for all routines. [`shutdown_timeout`](Self::shutdown_timeout) waits
/// for a while, then unwinds what is left: each suspended routine, on its own worker, by a panic with
/// the payload [`Canceled`](crate::Canceled) (no panic hook runs), so that its destructors do. Dropping the
/// runtime is `shutdown_timeout` of zero. Every way returns only after all threads of the runtime have
/// ended. A routine that computes without ever blocking cannot be stopped, and is waited for.
///
/// A runtime that is dropped *inside one of its own routines* cannot wait for itself: it is told to stop,
/// and its threads end on their own.
pub struct Runtime {
    handle: Handle,
}

/// Access to a [`Runtime`], to spawn on it from anywhere. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Runtime {
    /// Starts to describe a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    /// Access to this runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Spawns a routine.
    ///
    /// If the runtime has ended, or is shutting down by force, the closure is dropped, and joining it gives
    /// [`Canceled`](crate::Canceled): destructors that spawn may run then.
    ///
    /// # Panics
    ///
    /// If there is no room for another routine; [`Builder::spawn_on`] returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.spawn(f)
    }

    /// What the runtime has done and is doing.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Waits until all routines have ended, then ends the runtime.
    ///
    /// Called from a routine of this very runtime, it returns at once, and the runtime ends when that
    /// routine and all others have been unwound: it cannot wait for its caller.
    pub fn shutdown(self) {
        self.stop(None);
    }

    /// Waits for `timeout` at the longest until all routines have ended, then unwinds the rest and ends the
    /// runtime. Returns who was left.
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
        self.stop(Some(timeout))
    }

    fn stop(&self, timeout: Option<Duration>) -> Vec<Leftover> {
        let shared = &self.handle.0;
        if Worker::current_of(shared).is_some() {
            shared.enter(Phase::Canceling);
            return Vec::new();
        }
        if timeout != Some(Duration::ZERO) {
            let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            shared.watch_for_drain();
            // A routine of another runtime that is itself being shut down waits no longer.
            let _: Happened = shared.drained.wait(Patience::from(deadline));
        }
        shared.enter(Phase::Canceling);
        shared.stopped.wait(Patience::Steadfast);
        // The monitor first: until it has ended, it may start spare workers.
        shared.threads.lock().sort_by_key(|(worker, _)| worker.is_some());
        let frozen = mem::take(&mut *shared.frozen_workers.lock());
        loop {
            let threads = mem::take(&mut *shared.threads.lock());
            if threads.is_empty() {
                break;
            }
            for (worker, thread) in threads {
                if worker.is_none_or(|worker| !frozen.contains(&worker)) {
                    // An error is the panic of a subscriber that the monitor has told something, and was reported.
                    let _ = thread.join();
                }
            }
        }
        // Ends the threads of the backend, which handles must not keep.
        let backend = shared.io.lock().take();
        drop(backend);
        mem::take(&mut *shared.leftovers.lock())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.handle.0.io.lock().is_some() {
            self.stop(Some(Duration::ZERO));
        }
    }
}

impl Handle {
    /// The runtime that the calling routine belongs to. `None` on a plain thread.
    pub fn try_current() -> Option<Self> {
        Worker::current_shared().map(Self)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Spawns a routine.
    ///
    /// If the runtime has ended, or is shutting down by force, the closure is dropped, and joining it gives
    /// [`Canceled`](crate::Canceled): destructors that spawn may run then.
    ///
    /// # Panics
    ///
    /// If there is no room for another routine; [`Builder::spawn_on`] returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match Builder::new().spawn_on(self, f) {
            Ok(handle) => handle,
            Err(error) => JoinHandle(refused(error)),
        }
    }

    /// What the runtime has done and is doing.
    pub fn metrics(&self) -> Metrics {
        self.0.metrics()
    }

    /// Asks the workers which routines they have, and what these wait for: to find out where a program hangs.
    ///
    /// A worker answers when it looks around, which it cannot while it is in a routine that computes; those that have not
    /// answered after `timeout` are told in [`silent`](Dump::silent). A routine that asks is in the answer, too. It takes
    /// some time for each routine, in which the workers do nothing else: milliseconds for tens of thousands.
    pub fn dump(&self, timeout: Duration) -> Dump {
        self.0.dump(timeout)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runtime").field(&self.handle.0).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0).finish()
    }
}

/// Starts the thread of a worker. It tells `started` whether it could be set up, and is told its place.
fn spawn_worker(
    shared: &Arc<Shared>,
    number: usize,
    started: impl FnOnce(io::Result<()>) -> Option<(usize, Deque<Link>)> + Send + 'static,
) -> io::Result<()> {
    let shared_too = shared.clone();
    let name = format!("{}-{number}", shared.config.name);
    let thread = spawn_thread(name, move || Worker::main(shared_too, started))?;
    shared.threads.lock().push((Some(number), thread));
    Ok(())
}
