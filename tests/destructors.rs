//! What destructors may do while a shutdown or a limit unwinds them, and what that is to others.

mod util;

use std::io::{BufWriter, Write};
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rust_routines::channel::{bounded, select, unbounded};
use rust_routines::fs::File;
use rust_routines::net::TcpListener;
use rust_routines::sync::{
    Barrier, CancellationToken, Condvar, Mutex, Once, RwLock, Semaphore, WaitGroup,
};
use rust_routines::time::timeout;
use rust_routines::{Builder, Canceled, WaitReason, blocking, park, sleep, spawn, yield_now};
use util::{
    FOREVER, MOMENT, OnDrop, Population, bounded as in_time, eventually, runtime, until_waiting,
};

/// Fails if a blocking call in a destructor that unwinds hangs, runs on as if nothing was, or panics.
#[test]
fn destructors_may_block_while_unwinding() {
    in_time(|| {
        let runtime = runtime(2);
        let (report, reports) = unbounded();
        let (_never, nothing) = bounded::<u8>(0);
        for kind in 0..8_u8 {
            let (report, nothing) = (report.clone(), nothing.clone());
            runtime.spawn(move || {
                let _last = OnDrop(move || report.send(kind).unwrap());
                let _blocks = OnDrop(move || match kind {
                    0 => sleep(FOREVER),
                    1 => park(),
                    2 => assert!(nothing.recv().is_err()),
                    3 => assert!(nothing.recv_timeout(FOREVER).is_err()),
                    4 => assert_eq!(blocking(|| 7), 7),
                    5 => drop(TcpListener::bind("127.0.0.1:0").unwrap().accept().unwrap_err()),
                    6 => (0..100).for_each(|_| yield_now()),
                    _ => assert!(Builder::new().spawn(|| ()).is_err()),
                });
                park();
            });
        }
        until_waiting(runtime.handle(), WaitReason::Park, 8);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 8);
        assert!(left.iter().all(|left| !left.frozen), "{left:?}");
        let mut kinds: Vec<_> = reports.try_iter().collect();
        kinds.sort();
        assert_eq!(kinds, (0..8).collect::<Vec<_>>());
    });
}

/// A wait that neither ends nor can be given up without unwinding.
type EndlessWait = (&'static str, fn());

/// As many kinds of them as there are ways to wait on in a destructor.
const ENDLESS: [EndlessWait; 9] = [
    ("a channel", || assert!(bounded::<()>(0).1.recv().is_err())),
    ("a mutex", || {
        let mutex = Mutex::new(());
        let _held = mutex.lock();
        let _ = mutex.lock();
    }),
    ("a read-write lock", || {
        let lock = RwLock::new(());
        let _held = lock.read();
        let _ = lock.write();
    }),
    ("a semaphore", || drop(Semaphore::new(0).acquire())),
    ("a wait group", || {
        let group = WaitGroup::new();
        group.clone().wait();
    }),
    ("a token", || CancellationToken::new().wait()),
    ("a condition variable", || {
        drop(Condvar::new().wait(Mutex::new(()).lock().unwrap()));
    }),
    ("a barrier", || assert!(!Barrier::new(2).wait().is_leader())),
    ("a once", || Once::new().wait()),
];

/// Fails if who waits is taken for unwinding because a neighbour waits in a destructor, so that shutdown does not
/// end the wait.
#[test]
fn shutdown_tells_who_unwinds_from_who_does_not() {
    in_time(|| {
        for (what, wait) in ENDLESS {
            for first in [true, false] {
                let runtime = runtime(1);
                let population = Population::new();
                let (left, entered) = bounded(0);
                let (_open, gate) = bounded::<()>(0);
                let waits = |population: &Population| {
                    let member = population.member();
                    runtime.spawn(move || {
                        let _member = member;
                        wait();
                    });
                };
                if first {
                    waits(&population);
                }
                let member = population.member();
                runtime.spawn(move || {
                    let _member = member;
                    let _waits = OnDrop(move || {
                        left.send(()).unwrap();
                        assert!(gate.recv().is_err());
                    });
                    resume_unwind(Box::new(()));
                });
                entered.recv().unwrap();
                if !first {
                    waits(&population);
                }
                let handle = runtime.handle();
                eventually("both wait", || handle.metrics().parked == 2);
                let left = runtime.shutdown_timeout(Duration::ZERO);
                assert_eq!(left.len(), 2, "{what}: {left:?}");
                assert!(left.iter().all(|left| !left.frozen), "{what}: {left:?}");
                assert_eq!(population.alive(), 0, "{what}");
            }
        }
    });
}

/// Fails if a destructor that spawns ends the process.
#[test]
fn destructors_may_spawn_while_unwinding() {
    in_time(|| {
        let runtime = runtime(1);
        let (report, reports) = unbounded();
        runtime.spawn(move || {
            let _spawns = OnDrop(move || {
                let spawned = spawn(|| ());
                let scoped = rust_routines::scope(|scope| scope.spawn(|| ()).join());
                let in_group =
                    rust_routines::group::<_, _, ()>(|group| Ok(group.spawn(|| Ok(())).join()));
                let ended = [spawned.join().is_err(), scoped.is_err(), in_group.unwrap().is_err()];
                report.send(ended).unwrap();
            });
            park();
        });
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        drop(runtime);
        assert_eq!(reports.recv(), Ok([true; 3]));
    });
}

/// Fails if what a destructor flushes depends on whether its file needs a thread, or a closure is taken from the pool
/// and run where it may not block.
#[test]
fn destructors_may_use_the_pool_while_unwinding() {
    in_time(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for limited in [true, false] {
            let runtime = runtime(1);
            let file = File::create(&path).unwrap();
            let (sender, receiver) = bounded::<()>(0);
            // The thread ends once another routine of the worker does.
            let mut thread = Some(thread::spawn(move || receiver.recv().unwrap_err()));
            let writes = move || {
                let mut log = BufWriter::new(file);
                log.write_all(b"kept").unwrap();
                let _joins = OnDrop(move || drop(blocking(|| thread.take().unwrap().join())));
                sleep(FOREVER);
            };
            let routine = runtime.spawn(move || match limited {
                true => drop(timeout(MOMENT, writes)),
                false => writes(),
            });
            let keeper = runtime.spawn(move || {
                let _keeps = sender;
                park();
            });
            if limited {
                until_waiting(runtime.handle(), WaitReason::Blocking, 1);
                keeper.routine().unpark();
                routine.join().unwrap();
                runtime.shutdown();
            } else {
                until_waiting(runtime.handle(), WaitReason::Park, 1);
                until_waiting(runtime.handle(), WaitReason::Sleep, 1);
                drop(runtime);
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"kept", "limited: {limited}");
        }
    });
}

/// Fails if a destructor that waits for what nobody tells of hangs the shutdown, or a limit, or turns in circles.
#[test]
fn destructors_do_not_look_again_and_again() {
    in_time(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let taken = std::fs::File::create(&path).unwrap();
        taken.lock().unwrap();
        let (results, ends) = mpsc::channel();
        let wait_in_destructor = move || {
            // Open before the limit begins, which may pass at once.
            let (file, results) = (File::open(&path).unwrap(), results.clone());
            move || {
                let _guard = OnDrop(|| results.send(file.lock()).unwrap());
                sleep(FOREVER);
            }
        };
        assert!(timeout(MOMENT, wait_in_destructor()).is_err());
        assert!(ends.recv().unwrap().is_err());
        let runtime = runtime(1);
        runtime.spawn(wait_in_destructor());
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        drop(runtime);
        assert!(ends.recv().unwrap().is_err());
    });
}

/// Fails if a destructor that opens what nobody else opens keeps the shutdown where the driver could give up.
#[test]
fn opening_in_a_destructor_is_cut_short_where_it_can_be() {
    in_time(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let runtime = runtime(1);
        let (report, result) = mpsc::channel();
        let opens = path.clone();
        runtime.spawn(move || {
            let _opens = OnDrop(move || report.send(File::open(&opens)).unwrap());
            park();
        });
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let gives_up = runtime.metrics().io_driver == "uring";
        let shutdown = thread::spawn(move || drop(runtime));
        // Elsewhere a thread may be in it, until the other end is opened.
        while !gives_up && !shutdown.is_finished() {
            drop(std::fs::File::options().read(true).write(true).open(&path).unwrap());
        }
        shutdown.join().unwrap();
        let opened = result.recv().unwrap();
        assert!(!gives_up || opened.is_err());
    });
}

/// Fails if a destructor that does much, and waits for nothing, is given up on the way.
#[test]
fn destructors_may_do_much() {
    // More than anybody may resist a shutdown.
    const MUCH: u32 = (1 << 20) + 1000;
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded(1);
        let done = runtime.spawn(move || {
            let _works = OnDrop(move || {
                sender.send(()).unwrap();
                for _ in 0..MUCH {
                    select! {
                        send(sender, ()) -> _ => unreachable!("it is full"),
                        recv(receiver) -> _ => sender.send(()).unwrap(),
                    }
                }
            });
            park();
        });
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert!(!left[0].frozen);
        assert!(done.join().unwrap_err().is::<Canceled>());
    });
}
