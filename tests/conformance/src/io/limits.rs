//! What happens when descriptors or threads run out, and what is left behind.
//!
//! These change or count what belongs to the whole process, which each of them has to itself.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{Interest, SourceKind};

use super::bench::Bench;
use super::call::Call;
use super::fds::{Fd, file, listener, pipe, socket, tcp_pair, unix_pair};
use super::{Subject, Tested};

/// A user without privileges; by convention "nobody".
const NOBODY: libc::uid_t = 65_534;

/// Fails if a lack of descriptors is fatal, or outlasts itself: the connection that could not be
/// accepted is still there, and no further event announces it.
pub fn descriptors_run_out_and_come_back(subject: &Subject) {
    subject.bench(|bench| {
        let (listener, address) = listener();
        for _ in 0..5 {
            let near = socket(libc::AF_INET, SourceKind::Stream);
            let connect = Call::connect(&near, &address);
            let accept = Call::accept(&listener);
            bench.pend(&accept);
            let mut hoard = Vec::new();
            set_limit(libc::RLIMIT_NOFILE, open_descriptors() as u64 + 10);
            while let Ok(another) = near.owned.try_clone() {
                hoard.push(another);
            }
            bench.submit(&connect);
            let error = bench.finish(&accept).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            assert_eq!(bench.finish(&connect).unwrap(), 0);
            let error = bench.run(&Call::accept(&listener)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            let open = Call::open(Path::new("/"), libc::O_RDONLY, 0);
            let error = bench.run(&open).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));

            drop(hoard);
            Fd::adopt(bench.run(&Call::accept(&listener)), SourceKind::Stream);
            Fd::adopt(bench.run(&open), SourceKind::File);
        }
    });
}

/// Fails if a lack of threads is fatal, or hangs what waits for one, or outlasts itself.
pub fn threads_run_out_and_come_back(subject: &Subject) {
    let backend = subject.backend();
    let mut bench = Bench::new(&backend);
    // SAFETY: takes no pointers. The limit does not bind a privileged user.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
        // What is left behind is counted in /proc, which changing the user closes.
        // SAFETY: as above.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
    }
    let ran = Arc::new(AtomicUsize::new(0));
    let closure = || {
        let ran = Arc::clone(&ran);
        Call::run(move || {
            ran.fetch_add(1, Ordering::Relaxed);
        })
    };
    let (near, far) = unix_pair();
    let file = file();
    let plenty = without_threads(&backend);
    assert!(thread::Builder::new().spawn(|| ()).is_err(), "the limit binds");
    for _ in 0..10 {
        let before = ran.load(Ordering::Relaxed);
        let threads = backend.pool_metrics().threads;
        let result = bench.run(&closure());
        let did_run = ran.load(Ordering::Relaxed) > before;
        assert_eq!(result.is_ok(), did_run, "{result:?}");
        assert!(threads > 0 || result.is_err(), "which thread did that?");

        // Files may too. If not, that is no cancellation, for which there is nobody to have asked.
        if let Err(error) = bench.run(&Call::sync(&file, false)) {
            assert!(!is_canceled(&error), "{error}");
        }

        // Sockets go on.
        let read = Call::read(&near, 10);
        bench.pend(&read);
        far.put(b"data");
        assert_eq!(bench.whole(&read, 4), b"data");
    }
    set_limit(libc::RLIMIT_NPROC, plenty);
    assert_eq!(bench.run(&closure()).unwrap(), 0);

    // One thread lives, so all of these get it in turn.
    set_limit(libc::RLIMIT_NPROC, 0);
    let before = ran.load(Ordering::Relaxed);
    let runs: Vec<Call> = (0..10).map(|_| closure()).collect();
    runs.iter().for_each(|run| bench.submit(run));
    for run in &runs {
        assert_eq!(bench.finish(run).unwrap(), 0);
    }
    assert_eq!(ran.load(Ordering::Relaxed), before + runs.len());
    set_limit(libc::RLIMIT_NPROC, plenty);
}

/// Lets several workers ask for a thread at once where none can be had, so that they count on each
/// other's. Returns the limit before, which is not restored.
fn without_threads(backend: &Tested) -> u64 {
    const WORKERS: usize = 4;
    let limited = Barrier::new(WORKERS + 1);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut bench = Bench::new(backend);
                limited.wait();
                for _ in 0..300 {
                    let run = Call::run(|| ());
                    // Which of the two is the backend's business, but it is one of them.
                    let _ = bench.run(&run);
                }
            });
        }
        let plenty = set_limit(libc::RLIMIT_NPROC, 0);
        limited.wait();
        plenty
    })
}

/// Fails if a driver keeps descriptors that nobody else has, while it lives or after.
pub fn nothing_is_leaked(subject: &Subject) {
    let before = open_descriptors();
    {
        let backend = subject.backend();
        let mut benches = [Bench::new(&backend), Bench::new(&backend)];
        for bench in &mut benches {
            use_everything(bench);
        }
        let with_drivers = open_descriptors();
        for _ in 0..50 {
            for bench in &mut benches {
                use_everything(bench);
            }
        }
        assert_eq!(open_descriptors(), with_drivers);
    }
    assert_eq!(open_descriptors(), before);
}

/// A bit of everything that involves descriptors.
fn use_everything(bench: &mut Bench) {
    let (listener, address) = listener();
    let accept = Call::accept(&listener);
    bench.pend(&accept);
    let near = Fd::new(TcpStream::connect(address).expect("connect"), SourceKind::Stream);
    let far = Fd::adopt(bench.finish(&accept), SourceKind::Stream);
    for (near, far) in [(near, far), tcp_pair(), unix_pair(), pipe()] {
        let read = Call::read(&near, 10);
        let poll = Call::poll(&near, Interest::Read);
        bench.pend(&read);
        bench.pend(&poll);
        bench.cancel_now(&poll);
        far.put(b"data");
        assert_eq!(bench.whole(&read, 4), b"data");
        let read = Call::read(&near, 10);
        bench.pend(&read);
        bench.cancel_now(&read);
    }
    let opened = bench.run(&Call::open(Path::new("/"), libc::O_RDONLY, 0));
    Fd::adopt(opened, SourceKind::File);
    let file = file();
    bench.run(&Call::write(&file, b"data")).expect("write");
    bench.run(&Call::sync(&file, true)).expect("sync");
}

/// Sets a soft limit of this process and returns the one before.
fn set_limit(resource: libc::__rlimit_resource_t, soft: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = soft;
        assert_eq!(libc::setrlimit(resource, &limit), 0, "{}", io::Error::last_os_error());
        before
    }
}

fn open_descriptors() -> usize {
    // Not counting the one that looks.
    std::fs::read_dir("/proc/self/fd").expect("descriptors").count() - 1
}
