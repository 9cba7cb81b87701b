//! The faults themselves: that all of them strike, that nothing else does, and that a seed repeats them.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use rust_routines_core::driver::{Interest, Source, SourceKind};

use super::*;

const LEN: usize = 40;

/// Does at once whatever does not wait for readiness, and holds the rest until it is cancelled.
#[derive(Debug, Default)]
struct Plain {
    waits: Rc<Cell<usize>>,
    submits: Rc<Cell<usize>>,
    held: Vec<OpRef>,
    canceled: Vec<OpRef>,
}

#[derive(Debug)]
struct Nobody;

impl DriverWaker for Nobody {
    fn wake(&self) {}
}

// SAFETY: what is pending is never touched, and pushed once: as it is cancelled.
unsafe impl IoDriver for Plain {
    fn submit(&mut self, op: OpRef) -> Submitted {
        self.submits.update(|submits| submits + 1);
        if matches!(op.action(), Action::Poll { .. }) {
            self.held.push(op);
            return Submitted::Pending;
        }
        Submitted::Done(op.perform())
    }

    fn cancel(&mut self, op: OpRef) {
        let at = self.held.iter().position(|&held| held == op).expect("it is held");
        self.canceled.push(self.held.swap_remove(at));
    }

    fn wait(&mut self, _: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        self.waits.update(|waits| waits + 1);
        self.canceled.drain(..).for_each(|op| done.push(op, Err(canceled())));
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        Arc::new(Nobody)
    }
}

fn faulty(seed: u64) -> (Driver, Rc<Cell<usize>>, Rc<Cell<usize>>) {
    let inner = Plain::default();
    let (waits, submits) = (Rc::clone(&inner.waits), Rc::clone(&inner.submits));
    let (dice, back) = (Rng::with_seed(seed), Completions::new());
    (Driver { inner: Box::new(inner), dice, errands: Vec::new(), back }, waits, submits)
}

fn file() -> File {
    let mut file = tempfile::tempfile().expect("temporary file");
    file.write_all(&[1; LEN]).expect("write");
    file
}

/// What can be seen of a driver's life: the results of a number of reads, and after how many waits they came.
fn life(seed: u64) -> Vec<(usize, usize)> {
    let (mut driver, ..) = faulty(seed);
    let mut done = Completions::new();
    let file = file();
    let source = Source::new(file.as_raw_fd(), SourceKind::File);
    let mut seen = Vec::new();
    for _ in 0..300 {
        let mut buf = [0; LEN];
        // SAFETY: buffer and file outlive the operation, which is back before they end.
        let read = unsafe {
            Operation::new(Action::ReadAt { source, buf: buf.as_mut_ptr(), len: LEN, offset: 0 })
        };
        // SAFETY: it does not move.
        let op = unsafe { read.as_ref() };
        let mut waits = 0;
        let result = match driver.submit(op) {
            Submitted::Done(result) => result,
            Submitted::Pending => loop {
                driver.wait(None, &mut done).expect("it works");
                waits += 1;
                if let Some((back, result)) = done.drain().next() {
                    assert_eq!(back, op);
                    break result;
                }
            },
        };
        let count = result.expect("the file can be read");
        assert_eq!(buf.iter().map(|&byte| usize::from(byte)).sum::<usize>(), count);
        seen.push((count, waits));
    }
    seen
}

/// Fails if a fault does not strike any more, or one strikes that is none: a read of nothing is the end.
#[test]
fn transfers_are_short_and_late() {
    let seen = life(fastrand::u64(..));
    assert!(seen.iter().all(|&(count, _)| (1..=LEN).contains(&count)));
    assert!(seen.iter().any(|&(count, _)| count < LEN), "none is cut");
    assert!(seen.iter().any(|&(count, _)| count == LEN), "none is whole");
    assert!(seen.iter().any(|&(_, waits)| waits == 0), "none is done at once");
    assert!(seen.iter().any(|&(_, waits)| waits > 1), "none is late");
}

/// Fails if a failure cannot be repeated.
#[test]
fn a_seed_repeats_the_faults() {
    assert_eq!(life(7), life(7));
    assert_ne!(life(7), life(8));
}

/// Fails if what waits is never interrupted, comes back cancelled by nobody, or out of order by no chance; or if
/// every wait is passed on, or a cancelled operation does not come back.
#[test]
fn what_waits_is_interrupted_and_handed_back_in_any_order() {
    let (mut driver, waits, submits) = faulty(fastrand::u64(..));
    let mut done = Completions::new();
    let source = Source::new(0, SourceKind::Pollable);
    // SAFETY: takes no pointers, and is never performed.
    let poll = || unsafe { Operation::new(Action::Poll { source, interest: Interest::Read }) };
    let operations: Vec<Operation> = (0..20).map(|_| poll()).collect();
    // SAFETY: they do not move.
    let ops: Vec<OpRef> = operations.iter().map(|op| unsafe { op.as_ref() }).collect();
    for &op in &ops {
        assert!(matches!(driver.submit(op), Submitted::Pending));
    }
    for _ in 0..300 {
        driver.wait(None, &mut done).expect("it works");
    }
    assert!(done.is_empty(), "nobody has cancelled them");
    assert!(submits.get() > ops.len(), "none was interrupted");
    assert!(waits.get() < 300, "no wait ended early");
    ops.iter().for_each(|&op| driver.cancel(op));
    let mut back = Vec::new();
    for _ in 0..300 {
        driver.wait(None, &mut done).expect("it works");
        back.extend(done.drain().map(|(op, result)| {
            assert!(is_canceled(&result.expect_err("it is cancelled")));
            op
        }));
    }
    assert_eq!(back.len(), ops.len());
    assert!(ops.iter().all(|op| back.contains(op)), "each comes back once");
    assert_ne!(back, ops, "all came back in order");
    assert!(driver.errands.is_empty());
}

/// Fails if what has boundaries is cut: the rest of it would be lost, or the call fail.
#[test]
fn what_has_boundaries_is_not_cut() {
    let (reader, writer) = io::pipe().expect("pipe");
    let write = |len| may_stop_anywhere(writer.as_raw_fd(), Transfer::Write(len));
    assert!(may_stop_anywhere(reader.as_raw_fd(), Transfer::Read));
    assert!(write(libc::PIPE_BUF + 1) && !write(libc::PIPE_BUF));
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    assert!(!may_stop_anywhere(datagrams.as_raw_fd(), Transfer::Read));
    assert!(!may_stop_anywhere(datagrams.as_raw_fd(), Transfer::Write(1 << 20)));
    let (near, _far) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    assert!(may_stop_anywhere(near.as_raw_fd(), Transfer::Write(2)));
    let folder = File::open("/").expect("open");
    assert!(!may_stop_anywhere(folder.as_raw_fd(), Transfer::Read));
}

/// Fails if the bytes of a vectored transfer that was cut are not the first ones.
#[test]
fn the_first_part_of_vectors_is_left() {
    let (mut driver, ..) = faulty(fastrand::u64(..));
    let mut file = file();
    for _ in 0..100 {
        file.rewind().expect("seek");
        let bytes: Vec<u8> = (0..30).collect();
        let parts = [&bytes[..0], &bytes[..7], &bytes[7..8], &bytes[8..]];
        let vectors = parts.map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        let source = Source::new(file.as_raw_fd(), SourceKind::File);
        let action = Action::WriteVectored { source, bufs: vectors.as_ptr(), count: vectors.len() };
        let (cut, _vectors) = driver.cut(action);
        // SAFETY: all that it points to is above.
        let count = unsafe { Operation::new(cut).as_ref().perform() }.expect("write");
        assert!((1..30).contains(&count));
        file.rewind().expect("seek");
        let mut written = vec![0; count];
        file.read_exact(&mut written).expect("read");
        assert_eq!(written, bytes[..count]);
    }
}
