//! Storms: many operations at once, given up at random moments, whose memory is used for something else as soon
//! as they are back.
//!
//! A kernel that writes to freed memory is seen by no sanitizer, so the tests look at the memory itself.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{
    Action, Completions, Interest, IoConfig, IoDriver, Operation, Submitted,
};

use super::Subject;
use super::bench::{Bench, PATIENCE, POOL_THREADS};
use super::call::{Call, POISON, pattern};
use super::fds::{Fd, file, pipe, tcp_pair, unix_pair};
use super::random::Random;

/// How many operations one storm makes.
const OPERATIONS: usize = 3_000;

/// How many of them are pending at a time.
const AT_ONCE: usize = 32;

/// How many of those that are back are watched at a time, before their memory is freed.
const WATCHED: usize = 64;

/// The most bytes of one of them.
const MOST: usize = 512;

/// What comes in, and what goes out.
const THEIRS: u8 = 3;
const OURS: u8 = 7;

/// Fails if the buffer of an operation that is back is written to, or sent, or if one has other bytes than came.
pub fn buffers_of_socket_operations_are_let_go(subject: &Subject) {
    for (near, far) in [tcp_pair(), unix_pair()] {
        let (reader, writer) = (near.duplicate(), near);
        storm_on_streams(subject, (&reader, &writer), (&far, &far), true);
    }
}

/// The same for pipes.
pub fn buffers_of_pipe_operations_are_let_go(subject: &Subject) {
    let ((reader, theirs), (heard, writer)) = (pipe(), pipe());
    storm_on_streams(subject, (&reader, &writer), (&heard, &theirs), false);
}

/// The same for files, of which parts are not cached.
pub fn buffers_of_file_operations_are_let_go(subject: &Subject) {
    const SIZE: usize = 4 << 20;
    let (source, target) = (file(), file());
    let data = pattern(SIZE);
    source.put(&data);
    subject.bench(|bench| {
        assert_eq!(bench.run(&Call::sync(&source, false)).expect("sync"), 0);
        let mut storm = Storm::new(bench);
        for turn in 0..OPERATIONS {
            if turn % 100 == 0 {
                let fd = source.owned.as_raw_fd();
                // SAFETY: takes no pointers.
                unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
            }
            let len = 1 + storm.random.below(MOST);
            let offset = storm.random.below(SIZE - MOST);
            let half = [len / 2, len - len / 2];
            let (expected, ours) = (data[offset..][..len].to_vec(), vec![OURS; len]);
            let at = offset as u64;
            let next = match storm.random.below(10) {
                0..4 => (Call::read_at(&source, len, at), Expected::Exactly(expected)),
                4 | 5 => (Call::read_vectored_at(&source, &half, at), Expected::Exactly(expected)),
                6 | 7 => (Call::write_at(&target, &ours, at), Expected::Nothing),
                8 => (Call::write_vectored_at(&target, &ours, &half, at), Expected::Nothing),
                _ => (Call::sync(&target, storm.random.chance()), Expected::Nothing),
            };
            storm.blow(next);
        }
        storm.calm();
    });
    let mut written = vec![0; SIZE];
    let count = std::os::unix::fs::FileExt::read_at(
        &std::fs::File::from(target.owned.try_clone().expect("dup")),
        &mut written,
        0,
    );
    let written = &written[..count.expect("read")];
    assert!(
        written.iter().all(|byte| matches!(*byte, 0 | OURS)),
        "more was written than asked for"
    );
}

/// Fails if a stack is written to after the operation on it came back: here a routine's next call would be.
pub fn stacks_are_let_go(subject: &Subject) {
    let backend = subject.backend();
    let mut driver = backend.driver(&IoConfig::new(POOL_THREADS, "storm")).expect("a driver");
    let mut random = Random::new();
    for (near, far) in [tcp_pair(), unix_pair(), pipe()] {
        for _ in 0..OPERATIONS / 3 {
            let sends = random.chance();
            visit(&mut *driver, &near, &mut random, || {
                if sends {
                    far.put(&[THEIRS; 10]);
                }
            });
            reuse(&mut *driver, &mut random);
            while sends && near.get(MOST).is_ok() {}
        }
    }

    /// One read into a buffer on the stack, ended by data or given up.
    #[inline(never)]
    fn visit(driver: &mut dyn IoDriver, fd: &Fd, random: &mut Random, meanwhile: impl FnOnce()) {
        let mut buf = [0; MOST];
        let (source, len) = (fd.source, buf.len());
        // SAFETY: what it points to stays here until it is back.
        let operation =
            unsafe { Operation::new(Action::Read { source, buf: buf.as_mut_ptr(), len }) };
        // SAFETY: as above.
        let op = unsafe { operation.as_ref() };
        let mut result = match driver.submit(op) {
            Submitted::Done(result) => Some(result),
            Submitted::Pending => None,
        };
        let mut done = Completions::new();
        let mut look = |driver: &mut dyn IoDriver, timeout| {
            if driver.wait(Some(timeout), &mut done).is_err() {
                // Nothing may be unwound here while the driver has a pointer to it.
                super::abort("the driver failed");
            }
            done.drain().next().map(|(_, result)| result)
        };
        if result.is_none() && random.chance() {
            result = look(driver, Duration::ZERO);
        }
        meanwhile();
        random.pause();
        let since = Instant::now();
        while result.is_none() {
            if since.elapsed() > PATIENCE {
                super::abort("an operation is never handed back");
            }
            driver.cancel(op);
            result = look(driver, Duration::from_micros(random.below(50) as u64));
        }
        let count = match result.expect("it is back") {
            Ok(count) => count,
            Err(error) => {
                assert!(is_canceled(&error), "{error}");
                0
            }
        };
        assert!(buf[..count].iter().all(|byte| *byte == THEIRS));
        assert!(buf[count..].iter().all(|byte| *byte == 0));
    }

    /// Uses the same part of the stack for something else.
    #[inline(never)]
    fn reuse(driver: &mut dyn IoDriver, random: &mut Random) {
        let mine = black_box([POISON; 2 * MOST]);
        driver.wait(Some(Duration::ZERO), &mut Completions::new()).expect("the driver works");
        random.pause();
        assert!(black_box(&mine).iter().all(|byte| *byte == POISON));
    }
}

/// Operations of all kinds on one end of something, while somebody reads and writes at the other.
fn storm_on_streams(
    subject: &Subject,
    (reader, writer): (&Fd, &Fd),
    (heard, theirs): (&Fd, &Fd),
    is_socket: bool,
) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new();
            while !over.load(Ordering::Acquire) {
                if random.chance() {
                    offer(theirs, &vec![THEIRS; 1 + random.below(MOST)]);
                }
                if random.chance()
                    && let Ok(data) = heard.get(1 + random.below(16 * MOST))
                {
                    assert!(data.iter().all(|byte| *byte == OURS), "sent when it was back");
                }
                random.pause();
            }
        });
        // Also when the storm fails.
        let _over = OnDrop(&over);
        subject.bench(|bench| {
            let mut storm = Storm::new(bench);
            for _ in 0..OPERATIONS {
                let len = 1 + storm.random.below(MOST);
                let half = [len / 2, len - len / 2];
                let ours = vec![OURS; len];
                let next = match storm.random.below(if is_socket { 11 } else { 6 }) {
                    0 => (Call::read(reader, len), Expected::Theirs),
                    1 => (Call::read_vectored(reader, &half), Expected::Theirs),
                    2 => (Call::poll(reader, Interest::Read), Expected::Nothing),
                    3 => (Call::poll(writer, Interest::Write), Expected::Nothing),
                    4 => (Call::write(writer, &ours), Expected::Nothing),
                    5 => (Call::write_vectored(writer, &ours, &half), Expected::Nothing),
                    6 => (Call::recv(reader, len, 0), Expected::Theirs),
                    7 => (Call::recv(reader, len, libc::MSG_PEEK), Expected::Theirs),
                    8 => (Call::recv_message(reader, len, 0), Expected::Theirs),
                    9 => (Call::send_message(writer, &ours, None), Expected::Nothing),
                    _ => (Call::send(writer, &ours, 0), Expected::Nothing),
                };
                storm.blow(next);
            }
            storm.calm();
        });
    });
}

/// Writes what there is room for.
fn offer(to: &Fd, data: &[u8]) {
    // SAFETY: the slice is valid for reading.
    let count = unsafe { libc::write(to.owned.as_raw_fd(), data.as_ptr().cast(), data.len()) };
    assert!(count > 0 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock);
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What an operation may leave in its buffer.
enum Expected {
    Nothing,
    /// Bytes of the other side's.
    Theirs,
    /// These, or the first of them.
    Exactly(Vec<u8>),
}

/// Operations in the air.
struct Storm<'a> {
    bench: &'a mut Bench,
    random: Random,
    pending: Vec<(Call, Expected)>,
    back: VecDeque<Call>,
}

impl<'a> Storm<'a> {
    fn new(bench: &'a mut Bench) -> Self {
        Self { bench, random: Random::new(), pending: Vec::new(), back: VecDeque::new() }
    }

    /// One more operation; and for some of the others, the end.
    fn blow(&mut self, (call, expected): (Call, Expected)) {
        self.bench.submit(&call);
        self.pending.push((call, expected));
        if self.random.below(4) == 0 {
            self.random.pause();
            self.bench.wait(Some(Duration::from_micros(self.random.below(50) as u64)));
        }
        let too_many = self.pending.len() > AT_ONCE;
        if too_many || self.random.chance() {
            let one = self.random.below(self.pending.len());
            let (call, _) = &self.pending[one];
            if self.bench.is_pending(call) {
                self.bench.cancel(call);
            }
            if too_many {
                let (call, expected) = self.pending.swap_remove(one);
                self.take_back(call, &expected);
            }
        }
        if self.random.below(8) == 0 {
            let (still, back) = std::mem::take(&mut self.pending)
                .into_iter()
                .partition::<Vec<_>, _>(|(call, _)| self.bench.is_pending(call));
            self.pending = still;
            back.into_iter().for_each(|(call, expected)| self.take_back(call, &expected));
        }
    }

    /// Checks what came of an operation, and watches its memory from now on.
    fn take_back(&mut self, call: Call, expected: &Expected) {
        let count = match self.bench.finish(&call) {
            Ok(count) => count,
            Err(error) => {
                assert!(is_canceled(&error), "{call:?}: {error}");
                0
            }
        };
        let data = call.data();
        let is_right = match expected {
            Expected::Nothing => true,
            Expected::Theirs => {
                data[..count].iter().all(|byte| *byte == THEIRS)
                    && data[count..].iter().all(|byte| *byte == 0)
            }
            Expected::Exactly(expected) => data[..count] == expected[..count],
        };
        assert!(is_right, "{call:?} has {count} bytes of {data:?}");
        call.poison();
        self.back.push_back(call);
        if self.back.len() > WATCHED {
            self.let_go();
        }
    }

    /// Frees the memory of an operation that has been back for a while.
    fn let_go(&mut self) {
        let call = self.back.pop_front().expect("there is one");
        assert!(call.data().iter().all(|byte| *byte == POISON), "{call:?} was written to later");
    }

    /// Ends what is left.
    fn calm(mut self) {
        for (call, _) in &self.pending {
            if self.bench.is_pending(call) {
                self.bench.cancel(call);
            }
        }
        for (call, expected) in std::mem::take(&mut self.pending) {
            self.take_back(call, &expected);
        }
        self.bench.settle();
        while !self.back.is_empty() {
            self.let_go();
        }
    }
}
