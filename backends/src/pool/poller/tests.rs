use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rust_routines_core::driver::{
    Action, Completions, DriverWaker, OpRef, Operation, Source, SourceKind,
};

use super::*;
use crate::task::Ledger;

/// Nothing here takes long; a test that waits longer has lost an operation.
const PATIENCE: Duration = Duration::from_secs(30);

/// The tests look for results themselves.
#[derive(Debug)]
struct Nobody;

impl DriverWaker for Nobody {
    fn wake(&self) {}
}

fn poller() -> Arc<Poller> {
    Poller::start(&IoConfig::new(2, "test")).unwrap()
}

fn collect(ledger: &mut Ledger) -> (OpRef, io::Result<usize>) {
    let since = Instant::now();
    let mut done = Completions::new();
    loop {
        ledger.collect(&mut done);
        if let Some(finished) = done.drain().next() {
            return finished;
        }
        assert!(since.elapsed() < PATIENCE, "the operation does not come back");
        thread::yield_now();
    }
}

/// Fails if an event is forgotten that arrives while an operation is being tried in vain.
#[test]
fn an_edge_during_a_turn_makes_another_turn() {
    let poller = poller();
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let fd = near.as_raw_fd();
    let source = Source::new(fd, SourceKind::Pollable);
    let mut buf = [0u8; 8];
    // SAFETY: buffer and descriptor are kept until the operation is back.
    let read = unsafe { Operation::new(Action::Read { source, buf: buf.as_mut_ptr(), len: 8 }) };
    // SAFETY: kept until it is back.
    let op = unsafe { read.as_ref() };
    let mut ledger = Ledger::new(Arc::new(Nobody));
    let task = ledger.open(op);
    poller.watch(&task, op, fd, Interest::Read).unwrap();

    let turn = poller.edge(fd, Interest::Read).expect("it waits for an edge");
    assert!(poller.edge(fd, Interest::Read).is_none(), "it is out");
    let turn = turn.take().expect("there was another edge");
    assert!(turn.take().is_none(), "there was no other edge");

    far.write_all(b"data").unwrap();
    let (back, result) = collect(&mut ledger);
    assert!(back == op);
    assert_eq!(result.unwrap(), 4);
    assert!(poller.sources.lock().waiting.is_empty(), "a descriptor is still registered");
    poller.shut_down();
}

/// Fails if a condition that the selector reports and no operation takes keeps the threads busy.
#[test]
fn what_nobody_takes_costs_few_turns() {
    let poller = poller();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let fd = near.as_raw_fd();
    let source = Source::new(fd, SourceKind::Stream);
    let mut buf = [0u8; 8];
    let (buf, flags) = (buf.as_mut_ptr(), libc::MSG_PEEK);
    // SAFETY: buffer and descriptor are kept until the operation is back.
    let peek = unsafe { Operation::new(Action::Recv { source, buf, len: 8, flags }) };
    // SAFETY: kept until it is back.
    let op = unsafe { peek.as_ref() };
    let mut ledger = Ledger::new(Arc::new(Nobody));
    let task = ledger.open(op);
    poller.watch(&task, op, fd, Interest::Read).unwrap();

    // SAFETY: the byte is valid for reading.
    let sent = unsafe { libc::send(far.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    // A busy poller makes thousands of turns in this time; a machine that is too loaded for a single
    // one passes the test without having shown anything.
    thread::sleep(Duration::from_millis(20));
    assert!(poller.metrics().handed_over < 5, "{:?}", poller.metrics());

    far.write_all(b"data").unwrap();
    assert_eq!(collect(&mut ledger).1.unwrap(), 4);
    poller.shut_down();
}
