//! Sockets that would block, and the one thread that watches them for all drivers of a [`Pool`].
//!
//! # Protocol
//!
//! 1. The lists of who waits for which descriptor are under one lock, and so is every change of a
//!    registration. A descriptor is registered exactly while an operation on it waits here or has left
//!    for a [turn](Turn) on a pool thread. Since operations are pending only while their descriptor is
//!    open, a number stands for one file for as long as it is registered.
//! 2. Whoever ends an operation (the thread that finished it, the driver that cancelled it; one of
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
//! 6. An event may be looked at some time after it was collected. It then finds no list, or one of
//!    another file under the same number, or operations that have come since, and makes a needless try.
//! 7. A `Poll` has no turns and is never tried again: the poller's thread finishes it at an event that covers it and
//!    was collected after it had joined. Some files tell of a change only once (mount tables, perf events), and
//!    that was it. The number that each newcomer gives to the registration tells which events are older.
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
use rust_routines_core::driver::{
    Action, Attempt, Interest, IoConfig, OpRef, PoolMetrics, spawn_thread,
};

use crate::key;
use crate::task::{Running, Task};
use crate::threads::{AbortOnUnwind, Crew, Job};

/// How many events the poller takes at once. It only passes them on, so this bounds memory and nothing
/// else.
const EVENTS_PER_WAIT: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Point 2 of the protocol.
const LISTED: &str = "an operation is listed until it ends";

/// See the [module docs](self).
#[derive(Debug)]
pub(super) struct Poller {
    selector: polling::Poller,
    sources: Mutex<Sources>,
    crew: Crew<Work>,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Sources {
    waiting: HashMap<RawFd, Waiting>,
    /// How many times a registration was set, anew or for the first time.
    registrations: u64,
}

/// Who waits for one descriptor.
#[derive(Debug, Default)]
struct Waiting {
    read: Line,
    write: Line,
    polls: Vec<Poll>,
    /// The number that the registration has now.
    number: u64,
}

/// An [`Action::Poll`] that waits.
#[derive(Debug)]
struct Poll {
    task: Arc<Task>,
    interest: Interest,
    /// The number of the registration as it joined.
    since: u64,
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
    /// Whether [`OpRef::is_plain`].
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
            crew: Crew::new(config),
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
    pub(super) fn perform(&self, task: &Arc<Task>, op: OpRef) -> io::Result<()> {
        let threads = self.crew.of(&op.action());
        threads.submit(Work::Perform(Arc::clone(task))).map_err(|(_, error)| error)
    }

    /// Lets an operation that was refused wait for its source.
    pub(super) fn watch(
        &self,
        task: &Arc<Task>,
        op: OpRef,
        fd: RawFd,
        interest: Interest,
    ) -> io::Result<()> {
        let mut sources = self.sources.lock();
        let Sources { waiting, registrations } = &mut *sources;
        *registrations += 1;
        let since = *registrations;
        let known = waiting.contains_key(&fd);
        let waiting = waiting.entry(fd).or_default();
        let task = Arc::clone(task);
        let is_poll = matches!(op.action(), Action::Poll { .. });
        if is_poll {
            waiting.polls.push(Poll { task, interest, since });
        } else {
            let line = waiting.line(interest);
            let tried = line.edge;
            line.waiting.push_back(Waiter { task, plain: op.is_plain(), tried });
        }
        waiting.number = since;
        let event = waiting.event(fd);
        let registered = if known {
            self.selector.modify_with_mode(borrow(fd), event, PollMode::Edge)
        } else {
            // SAFETY: deregistered before it is closed, see points 1 and 2 of the protocol.
            unsafe { self.selector.add_with_mode(fd, event, PollMode::Edge) }
        };
        if registered.is_err() {
            if is_poll {
                waiting.polls.pop();
            } else {
                waiting.line(interest).waiting.pop_back();
            }
            if !known {
                sources.waiting.remove(&fd);
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
        self.crew.metrics()
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
        self.crew.shut_down();
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
                let fd = key::fd(event.key);
                self.tell(&event);
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
    /// must not wait for what does.
    fn dispatch(&self, mut next: Option<Turn>) {
        while let Some(turn) = next {
            next = match self.crew.operations.offer(Work::Try(turn)) {
                Ok(()) => None,
                Err(Work::Try(turn)) => turn.take(),
                Err(Work::Perform(_)) => unreachable!("a turn was offered"),
            };
        }
    }

    /// Finishes the polls that an event covers.
    fn tell(&self, event: &Event) {
        let fd = key::fd(event.key);
        let mut sources = self.sources.lock();
        let Some(waiting) = sources.waiting.get_mut(&fd) else { return };
        let number = key::number(event.key, waiting.number);
        let mut told = Vec::new();
        waiting.polls.retain(|poll| {
            let is_told = poll.since <= number && covers(event, poll.interest);
            // One that was cancelled is taken off by its driver.
            let running = if is_told { Arc::clone(&poll.task).start() } else { None };
            let stays = running.is_none();
            told.extend(running);
            stays
        });
        self.deregister_unused(&mut sources, fd);
        drop(sources);
        for running in told {
            running.finish(Ok(0));
        }
    }

    /// Counts an event, and says whose turn it is.
    fn edge(self: &Arc<Self>, fd: RawFd, interest: Interest) -> Option<Turn> {
        let mut sources = self.sources.lock();
        let line = sources.waiting.get_mut(&fd)?.line(interest);
        line.edge += 1;
        if line.out { None } else { self.next(line, fd, interest) }
    }

    /// Takes an operation off the list for good, by right of its claim, and says whose turn it is.
    fn end(self: &Arc<Self>, task: &Arc<Task>, fd: RawFd, interest: Interest) -> Option<Turn> {
        let mut sources = self.sources.lock();
        let waiting = sources.waiting.get_mut(&fd).expect(LISTED);
        let next = match waiting.polls.iter().position(|poll| Arc::ptr_eq(&poll.task, task)) {
            Some(place) => {
                waiting.polls.remove(place);
                None
            }
            None => {
                let line = waiting.line(interest);
                match line.waiting.iter().position(|waiter| Arc::ptr_eq(&waiter.task, task)) {
                    Some(place) => {
                        line.waiting.remove(place);
                        None
                    }
                    // It is the one that is out.
                    None => self.next(line, fd, interest),
                }
            }
        };
        self.deregister_unused(&mut sources, fd);
        next
    }

    /// Takes a descriptor off the list for which nobody waits.
    fn deregister_unused(&self, sources: &mut Sources, fd: RawFd) {
        if sources.waiting.get(&fd).is_some_and(|waiting| !waiting.is_used()) {
            sources.waiting.remove(&fd);
            // Fails only if the file was closed in spite of point 1, and then it is deregistered.
            let _ = self.selector.delete(borrow(fd));
        }
    }

    /// Puts an operation that was refused at its turn back on the list, and says whose turn it is.
    fn refused(self: &Arc<Self>, turn: Turn, running: Running) -> Option<Turn> {
        let Turn { fd, interest, .. } = turn;
        let mut sources = self.sources.lock();
        // Under the lock, so that a driver which cancels it from here on finds it on the list.
        match running.release() {
            Ok(task) => {
                let line = sources.waiting.get_mut(&fd).expect(LISTED).line(interest);
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
            // Only polls wait for what is urgent, and they are in no line.
            Interest::Read | Interest::Priority => &mut self.read,
            Interest::Write => &mut self.write,
        }
    }

    fn is_used(&self) -> bool {
        self.read.is_used() || self.write.is_used() || !self.polls.is_empty()
    }

    /// What the selector is to report.
    fn event(&self, fd: RawFd) -> Event {
        let polls =
            |write| self.polls.iter().any(|poll| (poll.interest == Interest::Write) == write);
        // The selector asks for what is urgent together with what can be read.
        let (read, write) =
            (self.read.is_used() || polls(false), self.write.is_used() || polls(true));
        Event::new(key::of(fd, self.number), read, write)
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

/// Whether an event says what a poll with this interest would.
fn covers(event: &Event, interest: Interest) -> bool {
    match interest {
        Interest::Read => event.readable,
        Interest::Write => event.writable,
        Interest::Priority => {
            event.is_priority() || event.is_interrupt() || event.is_err() == Some(true)
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
