//! Sockets that would block, and the one thread that watches them for all drivers of a [`Pool`].
//!
//! # Protocol
//!
//! 1. The lists of who waits for which descriptor are under one lock, and so is every change of a
//!    registration. A descriptor is registered exactly while an operation on it waits here or has left
//!    for a [turn](Turn) on a pool thread. Since operations are pending only while their descriptor is
//!    open, a number stands for one file for as long as it is registered.
//! 2. Whoever ends an operation (the pool thread that finished it, the driver that cancelled it; one of
//!    them, by the claim of [`Task`]) takes it off the list first. The last one to go deregisters the
//!    descriptor, which is still open then: hand-back comes after.
//! 3. Registrations are edge-triggered. Each event counts one [edge](Line::edge), and each waiting
//!    operation knows the last edge at which it was tried. So an edge that arrives while an operation
//!    is being tried is not lost: refused, it is one edge behind, and gets another turn.
//! 4. Every newcomer sets the registration anew, which reports the present state again. That covers what
//!    happened between its refusal and its place on the list.
//! 5. One operation per direction is out for a turn at a time. When it is back, finished or not, the
//!    next one gets its turn, unless it was tried at this edge already or would only be refused like
//!    the plain one before it. So several that wait for one listener are served in order and do not
//!    all start at every connection, and none is left behind when a single edge brought two.
//! 6. An event that was collected before a deregistration may be looked at afterwards. It then finds no
//!    list, or one of another file under the same number, and makes one needless try.
//!
//! Rejected: one-shot registrations. A selector reports more than an operation waits for: errors along
//! with either direction, and `polling` asks for urgent data along with readable. Set again, a one-shot
//! registration reports them again, so an error queue that nobody reads, or an urgent byte where
//! somebody peeks, would keep the poller and a pool thread busy for ever. Rejected: passing all who wait
//! to the pool at every event; with ten routines in `accept`, nine of ten turns would be for nothing.
//!
//! [`Pool`]: crate::Pool

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use polling::{Event, Events, PollMode};
use rust_routines_core::driver::operation::canceled;
use rust_routines_core::driver::{Attempt, Interest, IoConfig, PoolMetrics, spawn_thread};

use crate::task::{Running, Task};
use crate::threads::{AbortOnUnwind, Job, Threads};

/// How many events the poller takes at once. It only passes them on, so this bounds memory and nothing
/// else.
const EVENTS_PER_WAIT: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Point 2 of the protocol.
const LISTED: &str = "an operation is listed until it ends";

/// See the [module docs](self).
#[derive(Debug)]
pub(super) struct Poller {
    selector: polling::Poller,
    sources: Mutex<HashMap<RawFd, Waiting>>,
    threads: Arc<Threads<Work>>,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Who waits for one descriptor.
#[derive(Debug, Default)]
struct Waiting {
    read: Line,
    write: Line,
}

/// Who waits for one direction.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiter>,
    /// Whether one of the line is out for a turn.
    out: bool,
    /// How many events there were.
    edge: u64,
    /// The edge at which a plain operation was refused last, and all others of its kind with it.
    refused: u64,
}

#[derive(Debug)]
struct Waiter {
    task: Arc<Task>,
    /// Whether [`OpRef::is_plain`](rust_routines_core::driver::OpRef::is_plain).
    plain: bool,
    /// The edge at which it was tried last.
    tried: u64,
}

/// What goes to the pool's threads.
#[derive(Debug)]
pub(super) enum Work {
    /// An operation that may block the thread.
    Perform(Arc<Task>),
    /// An operation whose source may be ready.
    Try(Turn),
}

/// An operation's turn to be tried at an edge.
#[derive(Debug)]
pub(super) struct Turn {
    poller: Arc<Poller>,
    task: Arc<Task>,
    fd: RawFd,
    interest: Interest,
    plain: bool,
    edge: u64,
}

impl Poller {
    /// Starts the poller's thread.
    pub(super) fn start(config: &IoConfig) -> io::Result<Arc<Self>> {
        let poller = Arc::new(Self {
            selector: polling::Poller::new()?,
            sources: Mutex::default(),
            threads: Arc::new(Threads::new(config)),
            stopping: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let thread = spawn_thread(format!("{}-poller", config.thread_name), {
            let poller = Arc::clone(&poller);
            move || poller.main()
        })?;
        *poller.thread.lock() = Some(thread);
        Ok(poller)
    }

    /// Hands an operation that may block to the pool.
    pub(super) fn perform(&self, task: &Arc<Task>) -> io::Result<()> {
        self.threads.submit(Work::Perform(Arc::clone(task))).map_err(|(_, error)| error)
    }

    /// Lets an operation that was refused wait for its source.
    pub(super) fn watch(
        &self,
        task: &Arc<Task>,
        fd: RawFd,
        interest: Interest,
        plain: bool,
    ) -> io::Result<()> {
        let mut sources = self.sources.lock();
        let known = sources.contains_key(&fd);
        let waiting = sources.entry(fd).or_default();
        let line = waiting.line(interest);
        line.waiting.push_back(Waiter { task: Arc::clone(task), plain, tried: line.edge });
        let event = waiting.event(fd);
        let registered = if known {
            self.selector.modify_with_mode(borrow(fd), event, PollMode::Edge)
        } else {
            // SAFETY: deregistered before it is closed, see points 1 and 2 of the protocol.
            unsafe { self.selector.add_with_mode(fd, event, PollMode::Edge) }
        };
        if registered.is_err() {
            waiting.line(interest).waiting.pop_back();
            if !known {
                sources.remove(&fd);
            }
        }
        registered
    }

    /// Takes an operation that its driver has cancelled off the list.
    pub(super) fn leave(self: &Arc<Self>, task: &Arc<Task>, fd: RawFd, interest: Interest) {
        let next = self.end(task, fd, interest);
        self.dispatch(next);
    }

    pub(super) fn metrics(&self) -> PoolMetrics {
        self.threads.metrics()
    }

    /// Ends the poller's thread and the pool's.
    pub(super) fn shut_down(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Err(error) = self.selector.notify() {
            fatal("cannot stop the I/O poller", &error);
        }
        if let Some(thread) = self.thread.lock().take() {
            // It aborts the process rather than panic.
            let _ = thread.join();
        }
        self.threads.shut_down();
    }

    fn main(self: Arc<Self>) {
        let abort = AbortOnUnwind;
        let mut events = Events::with_capacity(EVENTS_PER_WAIT);
        while !self.stopping.load(Ordering::Relaxed) {
            events.clear();
            if let Err(error) = self.selector.wait(&mut events, None) {
                fatal("cannot wait for I/O", &error);
            }
            for event in events.iter() {
                let fd = event.key as RawFd;
                if event.readable {
                    self.dispatch(self.edge(fd, Interest::Read));
                }
                if event.writable {
                    self.dispatch(self.edge(fd, Interest::Write));
                }
            }
        }
        mem::forget(abort);
    }

    /// Passes a turn to the pool. If no thread is free there, this one does: sockets do not block, and
    /// must not wait for closures that may in turn wait for them.
    fn dispatch(&self, mut next: Option<Turn>) {
        while let Some(turn) = next {
            next = match self.threads.offer(Work::Try(turn)) {
                Ok(()) => None,
                Err(Work::Try(turn)) => turn.take(),
                Err(Work::Perform(_)) => unreachable!("a turn was offered"),
            };
        }
    }

    /// Counts an event, and says whose turn it is.
    fn edge(self: &Arc<Self>, fd: RawFd, interest: Interest) -> Option<Turn> {
        let mut sources = self.sources.lock();
        let line = sources.get_mut(&fd)?.line(interest);
        line.edge += 1;
        if line.out { None } else { self.next(line, fd, interest) }
    }

    /// Takes an operation off the list for good, by right of its claim, and says whose turn it is.
    fn end(self: &Arc<Self>, task: &Arc<Task>, fd: RawFd, interest: Interest) -> Option<Turn> {
        let mut sources = self.sources.lock();
        let waiting = sources.get_mut(&fd).expect(LISTED);
        let line = waiting.line(interest);
        let place = line.waiting.iter().position(|waiter| Arc::ptr_eq(&waiter.task, task));
        let next = match place {
            Some(place) => {
                line.waiting.remove(place);
                None
            }
            // It is the one that is out.
            None => self.next(line, fd, interest),
        };
        if !waiting.read.is_used() && !waiting.write.is_used() {
            sources.remove(&fd);
            // Fails only if the file was closed in spite of point 1, and then it is deregistered.
            let _ = self.selector.delete(borrow(fd));
        }
        next
    }

    /// Puts an operation that was refused at its turn back on the list, and says whose turn it is.
    fn refused(self: &Arc<Self>, turn: Turn, running: Running) -> Option<Turn> {
        let Turn { fd, interest, .. } = turn;
        let mut sources = self.sources.lock();
        // Under the lock, so that a driver which cancels it from here on finds it on the list.
        match running.release() {
            Ok(task) => {
                let line = sources.get_mut(&fd).expect(LISTED).line(interest);
                if turn.plain {
                    line.refused = turn.edge;
                }
                line.waiting.push_front(Waiter { task, plain: turn.plain, tried: turn.edge });
                self.next(line, fd, interest)
            }
            Err(running) => {
                drop(sources);
                let next = self.end(&turn.task, fd, interest);
                running.finish(Err(canceled()));
                next
            }
        }
    }

    /// Whose turn it is in `line`, of which nobody is out.
    fn next(self: &Arc<Self>, line: &mut Line, fd: RawFd, interest: Interest) -> Option<Turn> {
        let Line { edge, refused, .. } = *line;
        let place = line
            .waiting
            .iter()
            .position(|waiter| waiter.tried < edge && !(waiter.plain && refused == edge));
        line.out = place.is_some();
        let Waiter { task, plain, .. } = line.waiting.remove(place?)?;
        Some(Turn { poller: Arc::clone(self), task, fd, interest, plain, edge })
    }
}

impl Waiting {
    fn line(&mut self, interest: Interest) -> &mut Line {
        match interest {
            // The selector asks for both at once.
            Interest::Read | Interest::Priority => &mut self.read,
            Interest::Write => &mut self.write,
        }
    }

    /// What the selector is to report.
    fn event(&self, fd: RawFd) -> Event {
        Event::new(fd as usize, self.read.is_used(), self.write.is_used())
    }
}

impl Line {
    fn is_used(&self) -> bool {
        self.out || !self.waiting.is_empty()
    }
}

impl Job for Work {
    fn run(self) {
        match self {
            Work::Perform(task) => task.run(),
            Work::Try(turn) => {
                let poller = Arc::clone(&turn.poller);
                poller.dispatch(turn.take());
            }
        }
    }

    fn fail(self, error: io::Error) {
        match self {
            Work::Perform(task) => task.fail(error),
            // Needs no thread of the pool.
            Work::Try(_) => self.run(),
        }
    }
}

impl Turn {
    /// Tries the operation, and says whose turn it is next.
    fn take(self) -> Option<Turn> {
        // Cancelled meanwhile: the driver has taken it off the list.
        let running = Arc::clone(&self.task).start()?;
        let poller = Arc::clone(&self.poller);
        match running.op().attempt() {
            Attempt::Done(result) => {
                let next = poller.end(&self.task, self.fd, self.interest);
                running.finish(result);
                next
            }
            Attempt::NotReady(..) | Attempt::Blocks => poller.refused(self, running),
        }
    }
}

fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: called for descriptors on the list, which are open: point 1 of the protocol.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn fatal(what: &str, error: &io::Error) -> ! {
    tracing::error!(%error, "{what}");
    std::process::abort()
}
