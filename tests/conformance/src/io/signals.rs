//! Signals, which interrupt system calls: nobody may notice.

use std::io;
use std::mem;
use std::net::TcpStream;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines_core::driver::SourceKind;

use super::Subject;
use super::bench::Bench;
use super::call::{Call, pattern};
use super::fds::{Fd, file, listener, tcp_pair, unix_pair};
use super::random::Random;
use super::transfers::write_all;

/// How often the handler has run.
static CAUGHT: AtomicUsize = AtomicUsize::new(0);

/// Fails if an interrupted system call fails, repeats or shortens an operation.
pub fn operations_are_not_interrupted(subject: &Subject) {
    const SIZE: usize = 1 << 20;
    let backend = subject.backend();
    under_signals(|| {
        let mut bench = Bench::new(&backend);
        let data = pattern(SIZE);
        for (near, far) in [tcp_pair(), unix_pair()] {
            thread::scope(|scope| {
                scope.spawn(|| write_all(&mut Bench::new(&backend), &far, &data));
                let mut received = Vec::new();
                while received.len() < SIZE {
                    let read = Call::read(&near, 30_000);
                    let count = bench.run(&read).expect("read");
                    received.extend_from_slice(&read.data()[..count]);
                }
                assert!(received == data);
            });
        }
        let (listener, address) = listener();
        let dir = tempfile::tempdir().expect("temporary directory");
        for round in 0..50 {
            let accept = Call::accept(&listener);
            bench.submit(&accept);
            let _peer = TcpStream::connect(address).expect("connect");
            Fd::adopt(bench.finish(&accept), SourceKind::Stream);

            let file = file();
            bench.run_whole(&Call::write(&file, &data[..50_000]), 50_000);
            assert_eq!(bench.run(&Call::sync(&file, true)).unwrap(), 0);
            let read = bench.run_whole(&Call::read_at(&file, 40_000, 10_000), 40_000);
            assert!(read == data[10_000..50_000]);
            let path = dir.path().join(format!("{round}"));
            let open = Call::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600);
            Fd::adopt(bench.run(&open), SourceKind::File);
            let open = Call::open(Path::new("/"), libc::O_RDONLY, 0);
            Fd::adopt(bench.run(&open), SourceKind::File);
            assert_eq!(bench.run(&Call::run(|| ())).unwrap(), 0);
        }
    });
}

/// Fails if a signal makes `wait` fail, keeps it from ever ending, or makes it sleep for longer.
pub fn waits_survive_signals(subject: &Subject) {
    subject.bench(|bench| {
        under_signals(|| {
            for timeout in [1, 10, 50].map(Duration::from_millis) {
                let deadline = Instant::now() + timeout;
                while let Some(rest) = deadline.checked_duration_since(Instant::now()) {
                    bench.wait(Some(rest));
                }
                assert!(deadline.elapsed() < Duration::from_secs(5));
            }
            let (near, far) = unix_pair();
            for _ in 0..50 {
                let read = Call::read(&near, 1);
                bench.pend(&read);
                far.put(b"x");
                while bench.is_pending(&read) {
                    bench.wait(None);
                }
                assert_eq!(bench.finish(&read).unwrap(), 1);
            }
        });
    });
}

/// Sends signals to all threads of this process, over and over, while `test` runs. The handler does nothing, and
/// lets no system call be restarted.
fn under_signals(test: impl FnOnce()) {
    extern "C" fn catch(_: libc::c_int) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: a `sigaction` is plain data for which zero is valid; the handler only counts.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = catch as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()), 0);
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new();
            while !over.load(Ordering::Acquire) {
                threads().for_each(signal);
                random.pause();
            }
        });
        let _over = Over(&over);
        test();
    });
    assert!(CAUGHT.load(Ordering::Relaxed) > 0, "no signal has arrived");
}

/// Ends the signals, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn threads() -> impl Iterator<Item = i32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
}

fn signal(thread: i32) {
    // SAFETY: takes no pointers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) };
    let error = io::Error::last_os_error();
    // The thread may have ended.
    assert!(sent == 0 || error.raw_os_error() == Some(libc::ESRCH), "{error}");
}
