//! The `mio` backend: a reactor per worker.
//!
//! Each driver owns a [`mio::Poll`] and the [readiness](crate::readiness) of its sources, so all of it
//! is plain data of one thread. What would block the thread (files that are not cached, name
//! look-ups, closures) goes to the [threads](crate::threads) that the drivers of a backend share, and
//! comes back through a queue and the waker.
//!
//! A source is registered with `SourceFd` at its first refusal, in every worker that uses it, and never
//! taken out: closing the file does that. Tokens are descriptors. An event of an older registration is
//! therefore not told apart from a new one's, and need not be, since events only cause tries.
//!
//! `wait` makes one `epoll_wait` for [`EVENTS_PER_WAIT`] events at most and nothing more: with a zero
//! timeout it is one system call, plus whatever the operations that became ready need.

mod alarm;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rust_routines_core::driver::{
    Attempt, Completions, DriverWaker, IoBackend, IoConfig, IoDriver, OpRef, PoolMetrics, Submitted,
};

use self::alarm::Alarm;
use crate::readiness::{Readiness, Sources};
use crate::signal::Signal;
use crate::task::{Ledger, Task};
use crate::threads::Threads;

/// How many events one `wait` takes. Enough that a system call is cheap per event, few enough that the
/// scheduler is soon back to run the routines that were woken.
const EVENTS_PER_WAIT: usize = 256;

/// Not a descriptor.
const WAKER: Token = Token(usize::MAX);
/// Not a descriptor.
const ALARM: Token = Token(usize::MAX - 1);

/// I/O by readiness: one `mio` selector per worker, and a pool of threads for what cannot be waited for.
#[derive(Debug, Default)]
pub struct Mio {
    threads: OnceLock<Arc<Threads<Arc<Task>>>>,
}

impl Mio {
    /// A backend without any driver or thread yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl IoBackend for Mio {
    fn name(&self) -> &'static str {
        "mio"
    }

    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        let threads = self.threads.get_or_init(|| Arc::new(Threads::new(config)));
        Ok(Box::new(Driver::new(Arc::clone(threads))?))
    }

    fn pool_metrics(&self) -> PoolMetrics {
        self.threads.get().map_or_else(PoolMetrics::default, |threads| threads.metrics())
    }
}

impl Drop for Mio {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.get() {
            threads.shut_down();
        }
    }
}

/// The driver of one worker.
#[derive(Debug)]
struct Driver {
    poll: Poll,
    events: Events,
    sources: Sources,
    alarm: Alarm,
    waker: Arc<Waker>,
    ledger: Ledger,
    threads: Arc<Threads<Arc<Task>>>,
}

impl Driver {
    fn new(threads: Arc<Threads<Arc<Task>>>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new()?;
        poll.registry().register(&mut SourceFd(&alarm.as_raw_fd()), ALARM, Interest::READABLE)?;
        let event = mio::Waker::new(poll.registry(), WAKER)?;
        let waker = Arc::new(Waker { signal: Signal::default(), event });
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_WAIT),
            sources: Sources::default(),
            alarm,
            ledger: Ledger::new(Arc::clone(&waker) as Arc<dyn DriverWaker>),
            waker,
            threads,
        })
    }

    fn hand_over(&mut self, op: OpRef) -> Submitted {
        let task = self.ledger.open(op);
        match self.threads.submit(task) {
            Ok(()) => Submitted::Pending,
            Err((task, error)) => {
                self.ledger.strike(&task);
                Submitted::Done(Err(error))
            }
        }
    }
}

// SAFETY: contract, points 2 and 3. An operation that waits for readiness is in one queue of
// `Sources`, on this thread, and is pushed by whoever takes it out. One that was handed over belongs to
// its task's claim, see `crate::task`.
unsafe impl IoDriver for Driver {
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
                let registry = self.poll.registry();
                self.sources.wait_for(op, source, interest, |fd| register(registry, fd))
            }
            Attempt::Blocks => self.hand_over(op),
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
            Some(timeout) => self.alarm.plan(timeout)?,
            None => None,
        };
        let polled = self.poll.poll(&mut self.events, timeout);
        self.waker.signal.wake_up();
        if let Err(error) = polled {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.events.clear();
        }
        for event in &self.events {
            match event.token() {
                WAKER => {}
                ALARM => self.alarm.rang(),
                Token(fd) => self.sources.event(fd, readiness(event), done),
            }
        }
        self.ledger.collect(done);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        Arc::clone(&self.waker) as Arc<dyn DriverWaker>
    }
}

/// Makes the selector report `fd`: everything, once per change.
///
/// # Errors
///
/// What `epoll_ctl` says. `EPERM` is its answer for files that are always ready; such a file never
/// refuses an operation in the first place, so the error is reported like any other.
fn register(registry: &Registry, fd: RawFd) -> io::Result<()> {
    let everything = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    match registry.register(&mut SourceFd(&fd), Token(fd as usize), everything) {
        // The same file under another source id; the selector reports it already.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn readiness(event: &Event) -> Readiness {
    let broken = event.is_error() || event.is_read_closed() || event.is_write_closed();
    Readiness {
        read: event.is_readable() || broken,
        write: event.is_writable() || broken,
        special: broken || event.is_priority(),
    }
}

/// Ends the driver's `wait`: an `eventfd` behind a [`Signal`], so that it is written only to a selector
/// that may be asleep.
#[derive(Debug)]
struct Waker {
    signal: Signal,
    event: mio::Waker,
}

impl DriverWaker for Waker {
    fn wake(&self) {
        if self.signal.notify()
            && let Err(error) = self.event.wake()
        {
            // Writing to an open eventfd cannot fail; a worker that is never woken must not be hidden.
            tracing::error!(%error, "cannot wake an I/O driver");
        }
    }
}
