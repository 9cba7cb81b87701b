//! The I/O suite on rings of other shapes than the default: the smallest, and those of older kernels. And what
//! the suite cannot see.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use io_uring::opcode;
use rust_routines_conformance::io_driver_suite;
use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{Operation, Source, SourceKind};

use super::ring::Setup;
use super::*;

/// Every operation finds the queue full, and two completions at once are one too many.
const TINY: Shape =
    Shape { setups: &[Setup::Deferred], submissions: 1, completions: 1, ..Shape::DEFAULT };

/// Linux 5.19.
const COOPERATIVE: Shape = Shape { setups: &[Setup::Cooperative], ..Shape::DEFAULT };

/// Linux 5.13, as far as it can be had from a newer one.
const OLD: Shape =
    Shape { setups: &[Setup::Plain], without: &[opcode::Socket::CODE], ..Shape::DEFAULT };

/// What a ring cannot do without, and nothing else.
const BARE: Shape = Shape {
    without: &[
        opcode::Read::CODE,
        opcode::Readv::CODE,
        opcode::Recv::CODE,
        opcode::RecvMsg::CODE,
        opcode::Write::CODE,
        opcode::Writev::CODE,
        opcode::Send::CODE,
        opcode::Fsync::CODE,
        opcode::OpenAt::CODE,
    ],
    ..Shape::DEFAULT
};

io_driver_suite!(tiny, || Uring::shaped(TINY));
io_driver_suite!(cooperative, || Uring::shaped(COOPERATIVE));
io_driver_suite!(old, || Uring::shaped(OLD));
io_driver_suite!(bare, || Uring::shaped(BARE));

/// Fails if what does not fit into one of the queues is lost.
#[test]
fn queues_may_be_full() {
    let mut ring = Ring::new(TINY, 1).unwrap();
    for round in 0..10 {
        for number in 0..100 {
            // SAFETY: points to nothing.
            unsafe { ring.push(opcode::Nop::new().build().user_data(number)) };
        }
        let mut seen = Vec::new();
        while seen.len() < 100 {
            // Those beyond the room for them come without waiting for another, too.
            ring.enter(if round % 2 == 0 { None } else { Some(Duration::ZERO) }).unwrap();
            seen.extend(
                std::iter::from_fn(|| ring.next()).map(|completion| completion.user_data()),
            );
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..100));
    }
}

/// Fails if a timeout is rounded up to that of a coarser clock, or down to nothing.
#[test]
fn short_timeouts_are_exact() {
    let mut ring = Ring::new(Shape::DEFAULT, 1).unwrap();
    for micros in [20, 200, 700] {
        let timeout = Duration::from_micros(micros);
        let waits = (0..100).map(|_| {
            let start = Instant::now();
            ring.enter(Some(timeout)).unwrap();
            start.elapsed()
        });
        // The best, since the machine may be busy with something else.
        let best = waits.min().unwrap();
        assert!(best >= timeout && best < timeout + Duration::from_micros(400), "{best:?}");
    }
}

/// Fails if a late cancellation, or a completion that should not be, is taken for that of an operation which
/// has the place now.
#[test]
fn a_number_is_not_that_of_the_next_operation_in_its_place() {
    let source = Source::new(0, SourceKind::Pollable);
    // SAFETY: points to nothing, and is never performed.
    let operation = unsafe { Operation::new(Action::Poll { source, interest: Interest::Read }) };
    // SAFETY: used only while it is here.
    let op = unsafe { operation.as_ref() };
    let mut flights = Flights::default();
    let first = flights.enter(op, Stage::Readiness);
    assert!(Flights::has(op));
    assert_eq!(flights.cancel(op), first);
    assert!(flights.leave(first).is_some_and(|flight| flight.canceled));
    assert!(!Flights::has(op));
    assert!(flights.leave(first).is_none());

    let second = flights.enter(op, Stage::Whole);
    assert_ne!(second, first);
    assert!(flights.leave(first).is_none());
    assert!(flights.leave(second).is_some_and(|flight| !flight.canceled));
    assert!(flights.is_empty());
}

/// A driver with a ring of this shape.
fn driver(shape: Shape) -> Driver {
    let crew = Arc::new(Crew::new(&IoConfig::new(1, "test")));
    Driver::new(Ring::new(shape, 1).unwrap(), crew).unwrap()
}

/// Fails if a cancellation is over that has come while the kernel was about to look at the entry again, and that is
/// refused and waits on.
#[test]
fn an_entry_that_a_cancellation_has_missed_is_cancelled_again() {
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let source = Source::new(near.as_raw_fd(), SourceKind::Stream);
    let mut driver = driver(TINY);
    let mut done = Completions::new();
    let mut buf = [0; 8];
    let read = Action::Read { source, buf: buf.as_mut_ptr(), len: buf.len() };
    // SAFETY: the buffer and the descriptor stay until it is back.
    let operation = unsafe { Operation::new(read) };
    // SAFETY: as above.
    let op = unsafe { operation.as_ref() };
    driver.wait(Some(Duration::ZERO), &mut done).unwrap();

    // The kernel finds that there is something to read, and is to read it when this thread asks for completions.
    far.write_all(b"data").unwrap();
    assert!(matches!(driver.launch(op), Submitted::Pending));
    // Finds the queue full, and has the kernel take that entry before.
    driver.cancel(op);
    assert_eq!((&near).read(&mut [0; 8]).unwrap(), 4, "somebody else is faster");

    let start = Instant::now();
    while done.is_empty() && start.elapsed() < Duration::from_secs(10) {
        driver.wait(Some(Duration::from_millis(10)), &mut done).unwrap();
    }
    let (back, result) = done.drain().next().expect("it is not cancelled");
    assert!(back == op && is_canceled(&result.unwrap_err()));
}

/// Fails if a cancellation that finds nothing is repeated where there is nothing to be found for long, and keeps the worker
/// busy: a read waits for the disk, and comes back by itself.
#[test]
fn what_waits_for_no_readiness_is_cancelled_once() {
    let source = Source::new(0, SourceKind::File);
    let read = Action::ReadAt { source, buf: std::ptr::null_mut(), len: 0, offset: 0 };
    // SAFETY: points to nothing, and is never performed.
    let operation = unsafe { Operation::new(read) };
    // SAFETY: used only while it is here.
    let op = unsafe { operation.as_ref() };
    let mut driver = driver(Shape::DEFAULT);
    let number = driver.flights.enter(op, Stage::Whole);
    driver.flights.cancel(op);
    driver.recalled(number, -libc::ENOENT);
    assert!(driver.flights.leave(number).is_some());
    driver.ring.enter(Some(Duration::ZERO)).unwrap();
    assert!(driver.ring.next().is_none(), "it is cancelled again");
}

/// Fails if a kernel without what a ring needs is found out only later.
#[test]
fn a_kernel_that_lacks_the_essential_is_refused() {
    for without in [&[opcode::PollAdd::CODE], &[opcode::AsyncCancel::CODE]] {
        let shape = Shape { without, ..Shape::DEFAULT };
        let error = Uring::shaped(shape).driver(&IoConfig::new(1, "test")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("io_uring"), "{error}");
    }
    assert!(Uring::available().is_ok());
}
