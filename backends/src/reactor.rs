//! The reactor: a readiness driver per worker, for any [selector](Selector).
//!
//! Each driver owns a selector and the [readiness](crate::readiness) of its sources, so all of it is
//! plain data of one thread. What would block the thread (files that are not cached, name look-ups,
//! closures) goes to the [threads](crate::threads) that the drivers of a backend share, and comes back
//! through a queue and the waker.
//!
//! A source is registered at its first refusal, in every worker that uses it, and never taken out:
//! closing the file does that. Events have the key that their registration was given, which tells an
//! older one, of another file under the same number, from the present one.
//!
//! `wait` asks the selector once for [`EVENTS_PER_WAIT`] events at most and makes no system call of its
//! own, apart from what the operations that became ready need.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use rust_routines_core::driver::{Attempt, Completions, DriverWaker, OpRef, Submitted};
// For `backend`, too.
pub(crate) use rust_routines_core::driver::{IoBackend, IoConfig, IoDriver, PoolMetrics};

use crate::readiness::{Readiness, Sources};
use crate::signal::Signal;
use crate::task::{Ledger, Task};
use crate::threads::{Crew, SharedCrew};

/// How many events one `wait` takes. Enough that a system call is cheap per event, few enough that the
/// scheduler is soon back to run the routines that were woken.
pub(crate) const EVENTS_PER_WAIT: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// What a reactor wants of the operating system: word of descriptors that become ready.
pub(crate) trait Selector: fmt::Debug + Sized + 'static {
    /// What other threads hold to end a [`select`](Self::select).
    type Waker: fmt::Debug + Send + Sync + 'static;

    /// A selector that watches nothing, and its waker.
    fn new() -> io::Result<(Self, Self::Waker)>;

    /// Reports `fd` under `key` from now on: both directions and what is special, its present state
    /// included, once per change, until its file is closed.
    ///
    /// # Errors
    ///
    /// What `epoll_ctl` says. `EEXIST` if it is reported already. `EPERM` is the answer for files that
    /// are always ready; such a file never refuses an operation in the first place.
    fn register(&self, fd: RawFd, key: usize) -> io::Result<()>;

    /// The same for an `fd` that is reported already, under another key.
    fn register_again(&self, fd: RawFd, key: usize) -> io::Result<()>;

    /// Collects events, waiting until there is one, the waker was used, or `timeout` has passed. May
    /// return early and empty-handed. `EINTR` is not an error.
    fn select(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Reports what the last `select` has collected: keys, and what is known of their descriptors.
    fn report(&mut self, event: impl FnMut(usize, Readiness));

    /// Ends the current or the next `select`, from any thread. Calls may merge.
    fn wake(waker: &Self::Waker) -> io::Result<()>;
}

/// Defines a backend: its type, its name, and the selector of its drivers.
macro_rules! backend {
    ($(#[$docs:meta])* $backend:ident, $name:literal, $selector:ty) => {
        $(#[$docs])*
        #[derive(Debug, Default)]
        pub struct $backend {
            reactors: $crate::reactor::Reactors,
        }

        impl $backend {
            /// A backend without any driver or thread yet.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl $crate::reactor::IoBackend for $backend {
            fn name(&self) -> &'static str {
                $name
            }

            fn driver(
                &self,
                config: &$crate::reactor::IoConfig,
            ) -> std::io::Result<Box<dyn $crate::reactor::IoDriver>> {
                self.reactors.driver::<$selector>(config)
            }

            fn pool_metrics(&self) -> $crate::reactor::PoolMetrics {
                self.reactors.pool_metrics()
            }
        }
    };
}
pub(crate) use backend;

/// What the drivers of one backend share.
#[derive(Debug, Default)]
pub(crate) struct Reactors {
    crew: SharedCrew<Arc<Task>>,
}

impl Reactors {
    pub(crate) fn driver<S: Selector>(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        Ok(Box::new(Driver::<S>::new(self.crew.for_driver(config))?))
    }

    pub(crate) fn pool_metrics(&self) -> PoolMetrics {
        self.crew.metrics()
    }
}

/// The driver of one worker.
#[derive(Debug)]
struct Driver<S: Selector> {
    selector: S,
    sources: Sources,
    waker: Arc<Waker<S>>,
    ledger: Ledger,
    crew: Arc<Crew<Arc<Task>>>,
}

impl<S: Selector> Driver<S> {
    fn new(crew: Arc<Crew<Arc<Task>>>) -> io::Result<Self> {
        let (selector, waker) = S::new()?;
        let waker = Arc::new(Waker { signal: Signal::default(), selector: waker });
        Ok(Self {
            selector,
            sources: Sources::default(),
            ledger: Ledger::new(Arc::clone(&waker) as Arc<dyn DriverWaker>),
            waker,
            crew,
        })
    }
}

// SAFETY: contract, points 2 and 3. An operation that waits for readiness is in one queue of
// `Sources`, on this thread, and is pushed by whoever takes it out. One that was handed over belongs to
// its task's claim, see `crate::task`. A selector is told of descriptors and never of operations.
unsafe impl<S: Selector> IoDriver for Driver<S> {
    fn submit(&mut self, op: OpRef) -> Submitted {
        if self.sources.park(op) {
            return Submitted::Pending;
        }
        match op.attempt() {
            Attempt::Done(result) => {
                self.sources.learn(&op.action(), &result);
                Submitted::Done(result)
            }
            Attempt::NotReady(source, interest) => {
                self.sources
                    .wait_for(op, source, interest, |fd, key| register(&self.selector, fd, key))
            }
            Attempt::Blocks => self.ledger.hand_over(op, &self.crew),
        }
    }

    fn cancel(&mut self, op: OpRef) {
        if self.sources.remove(op) {
            self.ledger.hand_back_canceled(op);
        } else {
            self.ledger.cancel(op);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        let timeout = match timeout {
            // A result that arrives after this look calls the waker.
            _ if self.ledger.has_finished() => Some(Duration::ZERO),
            Some(Duration::ZERO) => timeout,
            _ if !self.waker.signal.fall_asleep() => Some(Duration::ZERO),
            _ => timeout,
        };
        let selected = self.selector.select(timeout);
        self.waker.signal.wake_up();
        selected?;
        self.selector.report(|key, readiness| self.sources.event(key, readiness, done));
        self.ledger.collect(done);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        Arc::clone(&self.waker) as Arc<dyn DriverWaker>
    }
}

fn register(selector: &impl Selector, fd: RawFd, key: usize) -> io::Result<()> {
    match selector.register(fd, key) {
        // The same file under another source id.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            selector.register_again(fd, key)
        }
        result => result,
    }
}

/// Ends the driver's `wait`: the selector's waker behind a [`Signal`], so that it is used only for a
/// selector that may be asleep.
#[derive(Debug)]
struct Waker<S: Selector> {
    signal: Signal,
    selector: S::Waker,
}

impl<S: Selector> DriverWaker for Waker<S> {
    fn wake(&self) {
        if self.signal.notify()
            && let Err(error) = S::wake(&self.selector)
        {
            // Writing to an open eventfd cannot fail; a worker that is never woken must not be hidden.
            tracing::error!(%error, "cannot wake an I/O driver");
        }
    }
}
