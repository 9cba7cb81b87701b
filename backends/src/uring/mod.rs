//! The `uring` backend: an io_uring per worker, for sockets and files alike.
//!
//! An operation is tried first, since most are done by that: writes for which there is room, files that are
//! cached. What is refused becomes an entry of the [ring](Ring); the next `wait` submits it with all others, in
//! the call that it makes anyway, and what the kernel reports it has done already. So a request that arrives on a
//! connection costs no system call of its own. A stream that has told that it is drained is not even tried before
//! ([`lanes`]).
//!
//! # Whose an operation is
//!
//! 1. One that was [launched](Driver::launch) is the kernel's, together with its buffers, until the last completion
//!    with its [number](Flights) is collected. There is one per entry, whatever happens: to cancel only hurries
//!    it. Before that, only an entry that points to nothing has others, and then the operation may be tried.
//! 2. One that waits in a [lane](Lanes) behind another is known to nobody else.
//! 3. One that was [handed over](crate::task) to a thread belongs to its task's claim: closures, files at
//!    their own position, and what the kernel finds no thread of its own for.
//!
//! Only when it is the driver's again, it is handed back, tried or launched once more. All that the kernel is
//! pointed to is the operation's; the driver keeps nothing in memory that the kernel writes to, so there is
//! nothing to wait for when it is dropped.
//!
//! # What the kernel is not asked to do
//!
//! Where an entry would do something else than the system call ([`entry::whole`] tells), the ring only waits for
//! readiness, and the driver tries again. Other things that rings can do are left out because an operation here
//! has a caller, and a buffer of its own:
//!
//! - *Accepting many* with one entry takes connections for which nobody has asked: from other workers, and from
//!   whoever has the listener next.
//! - *Buffers that the kernel chooses* pay where a server would else keep a buffer for each idle connection. Here
//!   each is on the stack of a routine, to which the data would have to be copied.
//! - *Polls that stay*, one per descriptor, would keep sockets open that have been closed. One stays as long as its
//!   operation where that was refused although something was reported: an error queue that is not read, to a
//!   writer that the peer writes no more, or room that is too little for it. A poll that is made anew would end at
//!   once, over and over. Then the operation is handed back when the poll has ended.

mod entry;
mod flights;
mod lanes;
mod ring;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use rust_routines_core::driver::operation::canceled;
use rust_routines_core::driver::{
    Action, Attempt, Completions, DriverWaker, Interest, IoBackend, IoConfig, IoDriver, OpRef,
    PoolMetrics, Submitted, spawn_thread,
};

use self::flights::{Flight, Flights, Stage};
use self::lanes::{Arrival, Lanes};
use self::ring::{Ring, Shape};
use crate::signal::Signal;
use crate::task::{Ledger, Task};
use crate::threads::{Crew, SharedCrew};

/// How many completions one `wait` takes. Enough that a system call is cheap per completion, few enough that
/// the scheduler is soon back to run the routines that were woken.
const COMPLETIONS_PER_WAIT: usize = 256;

/// The number of the waker's entry. Not one of [`Flights`], whose places are not that many.
const WAKER: u64 = u64::MAX;

/// In the number of a cancellation, the rest of which is that of the entry to be cancelled. No place is that high.
const CANCELLATION: u64 = 1 << 31;

/// I/O by completion: an io_uring per worker, and a pool of threads for closures.
///
/// Needs Linux 5.13 at least, and is at its best from 6.1 on. Where the kernel has no io_uring or
/// denies it, as in many containers, no driver can be made.
#[derive(Debug)]
pub struct Uring {
    crew: SharedCrew<Arc<Task>>,
    shape: Shape,
}

impl Uring {
    /// A backend without any driver or thread yet.
    pub fn new() -> Self {
        Self::shaped(Shape::DEFAULT)
    }

    /// Whether the kernel lets this thread have a ring now.
    ///
    /// # Errors
    ///
    /// What [`driver`](IoBackend::driver) would report.
    pub fn available() -> io::Result<()> {
        let (tell, told) = mpsc::channel();
        // As the kernel clears up after a ring, it interrupts the thread that made it. There the next call that blocks
        // would fail with `EINTR`, though there was no signal.
        let thread = spawn_thread("uring-probe".to_owned(), move || {
            let _ = tell.send(Ring::new(Shape::DEFAULT, 1).map(drop));
        })?;
        let _ = thread.join();
        told.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    fn shaped(shape: Shape) -> Self {
        Self { crew: SharedCrew::default(), shape }
    }
}

impl Default for Uring {
    fn default() -> Self {
        Self::new()
    }
}

impl IoBackend for Uring {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        let threads = u32::try_from(config.pool_threads).unwrap_or(u32::MAX);
        let ring = Ring::new(self.shape, threads)?;
        Ok(Box::new(Driver::new(ring, self.crew.for_driver(config))?))
    }

    fn pool_metrics(&self) -> PoolMetrics {
        self.crew.metrics()
    }
}

/// The driver of one worker.
#[derive(Debug)]
struct Driver {
    ring: Ring,
    flights: Flights,
    lanes: Lanes,
    waker: Arc<Waker>,
    ledger: Ledger,
    crew: Arc<Crew<Arc<Task>>>,
}

impl Driver {
    fn new(ring: Ring, crew: Arc<Crew<Arc<Task>>>) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let mut driver = Self {
            ring,
            flights: Flights::default(),
            lanes: Lanes::default(),
            ledger: Ledger::new(Arc::clone(&waker) as Arc<dyn DriverWaker>),
            waker,
            crew,
        };
        driver.listen_to_waker();
        Ok(driver)
    }

    /// Has the kernel report each use of the waker, until it says otherwise.
    fn listen_to_waker(&mut self) {
        let event = Fd(self.waker.event.as_raw_fd());
        let entry = opcode::PollAdd::new(event, libc::POLLIN as u32).multi(true).build();
        // SAFETY: points to nothing.
        unsafe { self.ring.push(entry.user_data(WAKER)) };
    }

    /// Passes an operation, which would be refused now, to the kernel.
    fn launch(&mut self, op: OpRef) -> Submitted {
        match entry::whole(&op.action(), &self.ring) {
            Some(entry) => self.push(op, entry, Stage::Whole),
            None => self.launch_poll(op, Stage::Readiness),
        }
    }

    fn push(&mut self, op: OpRef, entry: squeue::Entry, stage: Stage) -> Submitted {
        let number = self.flights.enter(op, stage);
        // SAFETY: the entry points to what the operation borrows, which stays valid until it is handed back;
        // and that comes after `Flights::leave`, which takes the completion with this number.
        unsafe { self.ring.push(entry.user_data(number)) };
        Submitted::Pending
    }

    /// What follows from the completion of an operation's entry: its result, or `None` if it is on its
    /// way again.
    fn conclude(&mut self, flight: &Flight, code: i32) -> Option<io::Result<usize>> {
        let &Flight { op, stage, canceled: is_canceled, .. } = flight;
        let code = if is_interruption(-code) { -libc::EINTR } else { code };
        let result = match (stage, usize::try_from(code)) {
            (Stage::Whole, Ok(result)) => return Some(Ok(result)),
            (_, Err(_)) if !matches!(-code, libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {
                return Some(Err(io::Error::from_raw_os_error(-code)));
            }
            // A signal is how the kernel gets its own threads out of an operation.
            _ if is_canceled => return Some(Err(canceled())),
            (_, Ok(events)) => match heed(op, events as u32) {
                Some(result) => return Some(result),
                // What is told may not be over because we are refused.
                None => self.launch_poll(op, Stage::Changes),
            },
            (_, Err(_)) if -code == libc::EINTR => self.launch(op),
            // Nobody has asked for it: there is no thread of the kernel's to be had. Or it is one of the
            // files whose operations do not wait in a ring while they are in non-blocking mode.
            (_, Err(_)) => self.launch_poll(op, Stage::Readiness),
        };
        match result {
            Submitted::Done(result) => Some(result),
            Submitted::Pending => None,
        }
    }

    /// Has the kernel tell when to try an operation again; a thread performs what cannot be waited for.
    fn launch_poll(&mut self, op: OpRef, stage: Stage) -> Submitted {
        match entry::readiness(&op.action(), stage) {
            Some(entry) => self.push(op, entry, stage),
            None => self.ledger.hand_over(op, &self.crew),
        }
    }

    /// A change, of which the kernel goes on to tell unless it was the last one of interest.
    fn change(&mut self, number: u64, events: u32) {
        let Some(flight) = self.flights.of(number) else { return };
        if flight.canceled || flight.result.is_some() {
            return;
        }
        if let Some(result) = heed(flight.op, events) {
            flight.result = Some(result);
            self.recall(number);
        }
    }

    /// Has the kernel complete an entry before its time.
    fn recall(&mut self, number: u64) {
        let entry = opcode::AsyncCancel::new(number).build();
        // SAFETY: points to nothing.
        unsafe { self.ring.push(entry.user_data(CANCELLATION | number)) };
    }

    /// A cancellation is over. An entry that the kernel was just about to look at again is not found, and waits on for as
    /// long as there is no readiness. Nor is a read of a file found while it waits for the disk: that one ends by itself, and
    /// to look for it again and again would keep the worker busy until then.
    fn recalled(&mut self, number: u64, code: i32) {
        let Some(flight) = self.flights.of(number) else { return };
        if code == -libc::ENOENT && flight.op.action().readiness().is_some() {
            self.recall(number);
        }
    }

    /// Hands an operation back that was with the kernel, and sends the next of its lane.
    fn land(&mut self, completion: &cqueue::Entry, done: &mut Completions) {
        // The kernel completes nothing twice; if it did, the operation would be gone.
        let Some(mut flight) = self.flights.leave(completion.user_data()) else { return };
        let result = flight.result.take();
        let concluded = result.or_else(|| self.conclude(&flight, completion.result()));
        let Some(result) = concluded else { return };
        let op = flight.op;
        let action = op.action();
        let was_first = self.lanes.leave(op);
        if let Some((source, interest)) = action.readiness() {
            let drained = match (&result, action.drains_at(), interest) {
                // Looks behind the last byte, where the end may be.
                (Ok(1..), Some(_), Interest::Read) if flight.stage == Stage::Whole => {
                    !cqueue::sock_nonempty(completion.flags())
                }
                (&Ok(count @ 1..), Some(full), _) => count < full,
                _ => false,
            };
            self.lanes.learn(source, interest, drained);
        }
        done.push(op, result);
        if was_first {
            self.go_on(&action, done);
        }
    }

    /// Tries the operations of a lane whose first has left, up to one that is refused.
    fn go_on(&mut self, action: &Action, done: &mut Completions) {
        let Some((source, interest)) = action.readiness() else { return };
        while let Some((op, drained)) = self.lanes.first(source, interest) {
            let attempt = (!drained).then(|| op.attempt());
            let submitted = match attempt {
                Some(Attempt::Done(result)) => Submitted::Done(result),
                Some(Attempt::NotReady(..) | Attempt::Blocks) | None => self.launch(op),
            };
            let Submitted::Done(result) = submitted else { return };
            self.lanes.leave(op);
            self.learn(&op.action(), &result);
            done.push(op, result);
        }
    }

    /// Learns from an operation that was done at once.
    fn learn(&mut self, action: &Action, result: &io::Result<usize>) {
        if let Some((source, interest)) = action.readiness()
            && let Some(full) = action.drains_at()
        {
            let drained = matches!(result, Ok(count) if (1..full).contains(count));
            self.lanes.learn(source, interest, drained);
        }
    }
}

// SAFETY: contract, points 2 and 3; see the module docs on whose an operation is.
unsafe impl IoDriver for Driver {
    fn submit(&mut self, op: OpRef) -> Submitted {
        match self.lanes.arrive(op) {
            Arrival::Queued => return Submitted::Pending,
            Arrival::First => {}
            Arrival::Try => match op.attempt() {
                Attempt::Done(result) => {
                    self.learn(&op.action(), &result);
                    return Submitted::Done(result);
                }
                Attempt::NotReady(..) => self.lanes.refused(op),
                Attempt::Blocks => {}
            },
        }
        self.launch(op)
    }

    fn cancel(&mut self, op: OpRef) {
        if Flights::has(op) {
            let number = self.flights.cancel(op);
            self.recall(number);
        } else if self.lanes.remove(op) {
            self.ledger.hand_back_canceled(op);
        } else {
            self.ledger.cancel(op);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        let sleeps = timeout != Some(Duration::ZERO)
            // A result that arrives after this look calls the waker.
            && !self.ledger.has_finished()
            && !self.ring.has_completions()
            && self.waker.signal.fall_asleep();
        let entered = self.ring.enter(if sleeps { timeout } else { Some(Duration::ZERO) });
        self.waker.signal.wake_up();
        entered?;
        for _ in 0..COMPLETIONS_PER_WAIT {
            let Some(completion) = self.ring.next() else { break };
            match completion.user_data() {
                WAKER if completion.result() < 0 => {
                    return Err(io::Error::from_raw_os_error(-completion.result()));
                }
                WAKER if cqueue::more(completion.flags()) => {}
                WAKER => self.listen_to_waker(),
                number if number & CANCELLATION != 0 => {
                    self.recalled(number & !CANCELLATION, completion.result());
                }
                number if cqueue::more(completion.flags()) => {
                    self.change(number, completion.result() as u32);
                }
                _ => self.land(&completion, done),
            }
        }
        self.ledger.collect(done);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        Arc::clone(&self.waker) as Arc<dyn DriverWaker>
    }
}

/// What comes of an operation for which the kernel reports these events.
fn heed(op: OpRef, events: u32) -> Option<io::Result<usize>> {
    let action = op.action();
    // POLLRDBAND, which is asked for along with POLLPRI alone, is no state but the key of a socket's wake-up, which any
    // data brings: then the socket is asked. It can be, as often as one likes.
    let is_key = events & libc::POLLRDBAND as u32 != 0;
    if matches!(action, Action::Poll { .. }) && !is_key {
        // Not by the end of the other direction, which the kernel reports to all.
        let ready = entry::events(&action) | (libc::POLLERR | libc::POLLHUP) as u32;
        return (events & ready != 0).then_some(Ok(0));
    }
    match op.attempt() {
        Attempt::Done(result) => Some(result),
        Attempt::NotReady(..) | Attempt::Blocks => None,
    }
}

/// Whether a code is one of those that tell the kernel to restart a system call once a signal is handled. They
/// are not meant for the eyes of programs, who get `EINTR`, but a ring lets some of them through.
fn is_interruption(code: i32) -> bool {
    /// `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`, and `ERESTART_RESTARTBLOCK`.
    const RESTARTS: [i32; 4] = [512, 513, 514, 516];
    RESTARTS.contains(&code)
}

impl Drop for Driver {
    fn drop(&mut self) {
        debug_assert!(self.flights.is_empty(), "operations are still with the kernel");
    }
}

/// Ends the driver's `wait`: an eventfd behind a [`Signal`], so that it is used only for a ring that may be
/// asleep. It is never read: each write is an event.
#[derive(Debug)]
struct Waker {
    signal: Signal,
    event: File,
}

impl Waker {
    fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is new and nobody else's.
        let event = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { signal: Signal::default(), event })
    }
}

impl DriverWaker for Waker {
    fn wake(&self) {
        if self.signal.notify()
            && let Err(error) = (&self.event).write(&1u64.to_ne_bytes())
        {
            // The counter holds more than can be written; a worker that is never woken must not be hidden.
            tracing::error!(%error, "cannot wake an I/O driver");
        }
    }
}
