//! All the ways in which runtimes end.

mod util;

use std::cell::RefCell;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::net::TcpStream as StdStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{Receiver, Sender, bounded, never, select, unbounded};
use rust_routines::fs::File;
use rust_routines::net::{TcpListener, TcpStream, UdpSocket};
use rust_routines::sync::{
    Barrier, CancellationToken, Condvar, Mutex, Once, RwLock, Semaphore, WaitGroup,
};
use rust_routines::time::timeout;
use rust_routines::{
    Builder, Canceled, JoinHandle, Leftover, Runtime, WaitReason, blocking, park, park_timeout,
    routine_local, sleep, spawn, yield_now,
};
use util::{
    Counted, FOREVER, MOMENT, OnDrop, Population, bounded as in_time, eventually, runtime,
    until_waiting,
};

/// Fails if `shutdown` returns while a routine lives, whoever spawned it and whenever.
#[test]
fn shutdown_waits_for_all() {
    in_time(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let runtime = runtime(2);
        for i in 0..50 {
            let ended = ended.clone();
            runtime.spawn(move || {
                sleep(Duration::from_millis(i % 7));
                let inner = ended.clone();
                drop(spawn(move || {
                    sleep(Duration::from_millis(i % 5));
                    blocking(|| thread::sleep(Duration::from_millis(1)));
                    inner.fetch_add(1, Ordering::SeqCst);
                }));
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        runtime.shutdown();
        assert_eq!(ended.load(Ordering::SeqCst), 100);
    });
}

/// Fails if a worker that is looking for work when the shutdown comes goes to sleep over it.
#[test]
fn shutdown_meets_searching_worker() {
    in_time(|| {
        let mut random = util::random();
        for round in 0..300 {
            let runtime = util::builder().workers(1 + round % 2).spin(Duration::from_millis(1));
            let runtime = runtime.build().unwrap();
            if round % 3 > 0 {
                runtime.spawn(|| ()).join().unwrap();
            }
            for _ in 0..random.u32(0..3_000) {
                std::hint::spin_loop();
            }
            if round % 4 > 0 {
                runtime.shutdown();
            } else {
                assert!(runtime.shutdown_timeout(FOREVER).is_empty());
            }
        }
    });
}

/// One routine of every kind that waits, and one that never started. Each reports its end, with the name of
/// the thread it ends on.
struct Zoo {
    routines: Vec<(&'static str, WaitReason, JoinHandle<()>)>,
    ends: Receiver<(&'static str, Option<String>)>,
    homes: Receiver<(&'static str, Option<String>)>,
    release: rust_routines::channel::Sender<()>,
    _peer: StdStream,
}

fn thread_name() -> Option<String> {
    thread::current().name().map(str::to_owned)
}

fn zoo(runtime: &Runtime) -> Zoo {
    let (report, ends) = unbounded();
    let (homing, homes) = unbounded();
    let mut routines = Vec::new();
    let mut add = |name: &'static str, reason, f: Box<dyn FnOnce() + Send>| {
        let (report, homing) = (report.clone(), homing.clone());
        let routine = Builder::new().name(name.to_owned()).spawn_on(runtime.handle(), move || {
            homing.send((name, thread_name())).unwrap();
            let _end = OnDrop(|| report.send((name, thread_name())).unwrap());
            f();
        });
        routines.push((name, reason, routine.unwrap()));
    };
    let (sender, receiver) = bounded::<u8>(0);
    let sends = sender.clone();
    add("sends", WaitReason::ChannelSend, Box::new(move || sends.send(1).unwrap()));
    let (nobody, receives) = bounded::<u8>(0);
    let (kept, kept_open) = bounded::<u8>(0);
    add(
        "receives",
        WaitReason::ChannelReceive,
        Box::new(move || assert_eq!(receives.recv(), Ok(1))),
    );
    let selects = kept.clone();
    add(
        "selects",
        WaitReason::Select,
        Box::new(move || {
            select! {
                send(selects, 1) -> sent => sent.unwrap(),
                recv(never::<u8>()) -> _ => unreachable!(),
            }
        }),
    );
    let permits = Semaphore::new(0);
    add("acquires", WaitReason::Semaphore, Box::new(move || drop(permits.acquire())));
    add("sleeps", WaitReason::Sleep, Box::new(|| sleep(FOREVER)));
    add("parks", WaitReason::Park, Box::new(park));
    add("parks a while", WaitReason::Park, Box::new(|| park_timeout(FOREVER)));
    add(
        "joins",
        WaitReason::Join,
        Box::new(|| drop(Builder::new().name("joined".into()).spawn(park).unwrap().join())),
    );
    add(
        "scopes",
        WaitReason::Scope,
        Box::new(|| {
            rust_routines::scope(|scope| {
                Builder::new().name("scoped".into()).spawn_scoped(scope, park).unwrap();
            });
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    add("accepts", WaitReason::IoRead, Box::new(move || drop(listener.accept())));
    add("reads", WaitReason::IoRead, Box::new(move || drop(stream.read(&mut [0; 8]))));
    let (release, released) = bounded::<()>(0);
    add(
        "blocks",
        WaitReason::Blocking,
        // Cannot be cut short once it has begun.
        Box::new(move || assert!(blocking(|| released.recv()).is_err())),
    );
    add(
        "yields",
        WaitReason::None,
        Box::new(|| {
            loop {
                yield_now();
            }
        }),
    );
    let handle = runtime.handle();
    let reasons = [
        (WaitReason::ChannelSend, 1),
        (WaitReason::ChannelReceive, 1),
        (WaitReason::Select, 1),
        (WaitReason::Semaphore, 1),
        (WaitReason::Sleep, 1),
        (WaitReason::Park, 4),
        (WaitReason::Join, 1),
        (WaitReason::Scope, 1),
        (WaitReason::IoRead, 2),
        (WaitReason::Blocking, 1),
    ];
    reasons.into_iter().for_each(|(reason, count)| until_waiting(handle, reason, count));
    std::mem::forget((sender, receiver, nobody, kept, kept_open));
    Zoo { routines, ends, homes, release, _peer: peer }
}

/// Fails if a suspended routine of whatever kind is not unwound, on its own worker, and reported by name,
/// site and reason.
#[test]
fn shutdown_unwinds_every_kind_of_wait() {
    in_time(|| {
        for workers in [1, 2] {
            let name = util::unique_name();
            let runtime = util::builder().name(name.clone()).workers(workers).build().unwrap();
            let zoo = zoo(&runtime);
            let release = zoo.release;
            let releaser = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                drop(release);
            });
            let left = runtime.shutdown_timeout(Duration::from_millis(2));
            releaser.join().unwrap();
            util::until_no_threads(&name);
            let ends: Vec<_> = zoo.ends.try_iter().collect();
            let homes: Vec<_> = zoo.homes.try_iter().collect();
            assert_eq!(ends.len(), zoo.routines.len(), "{ends:?}");
            for (name, reason, routine) in zoo.routines {
                let of = |list: &[(&str, Option<String>)]| {
                    list.iter().find(|(other, _)| *other == name).unwrap().1.clone().unwrap()
                };
                assert_eq!(of(&ends), of(&homes), "{name} was unwound elsewhere");
                let id = routine.routine().id();
                // These may come to their end when another worker ends whom they wait for, unnoticed.
                let may_end = ["joins", "scopes", "blocks"].contains(&name);
                match left.iter().find(|left| left.name.as_deref() == Some(name)) {
                    Some(left) => {
                        assert_eq!((left.reason, left.id, left.frozen), (reason, id, false));
                        assert!(left.spawned_at.file() == file!(), "{left:?}");
                    }
                    None => assert!(may_end, "{name} is not among {left:?}"),
                }
                let result = routine.join();
                assert!(may_end || result.unwrap_err().is::<Canceled>(), "{name}");
            }
            let names: Vec<_> = left.iter().filter_map(|left| left.name.as_deref()).collect();
            assert!(names.contains(&"joined") && names.contains(&"scoped"), "{names:?}");
            assert!((ends.len()..=ends.len() + 2).contains(&left.len()), "{left:?}");
        }
    });
}

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

/// Fails if a routine that has not started is run by a shutdown, or its closure leaks.
#[test]
fn unstarted_routines_are_dropped() {
    in_time(|| {
        let population = Population::new();
        let runtime = runtime(1);
        let (sender, receiver) = bounded(1);
        let routine_population = population.clone();
        runtime.spawn(move || {
            let unstarted: Vec<_> = (0..100)
                .map(|_| {
                    let member = routine_population.member();
                    spawn(move || drop(member))
                })
                .collect();
            sender.send(unstarted).unwrap();
            // No wait before the shutdown has come: the only worker is busy.
            util::hog(Duration::from_secs(5), || Builder::new().spawn(|| ()).is_err());
        });
        let unstarted = receiver.recv().unwrap();
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!((population.alive(), population.dropped()), (0, 100));
        // The monitor may have found a spare worker for some of them meanwhile.
        let canceled = unstarted.into_iter().filter_map(|routine| routine.join().err()).count();
        assert!(canceled <= left.len());
        assert!(left.iter().all(|left| left.reason == WaitReason::None));
    });
}

/// Fails if one can spawn on a runtime that has ended, by whichever way, or waits for ever instead.
#[test]
fn spawn_after_shutdown_is_an_error() {
    in_time(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        runtime.shutdown();
        for builder in [Builder::new(), Builder::new().spread(), Builder::new().stack_size(1 << 16)]
        {
            let population = Population::new();
            let member = population.member();
            let error = builder.spawn_on(&handle, move || drop(member)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other, "{error}");
            assert_eq!(population.alive(), 0);
        }
        let population = Population::new();
        let member = population.member();
        let refused = handle.spawn(move || drop(member));
        assert_eq!(population.alive(), 0);
        assert!(refused.is_finished());
        assert!(refused.join().unwrap_err().is::<Canceled>());
    });
}

/// Fails if dropping a runtime waits for its routines, or leaves any.
#[test]
fn drop_is_shutdown_at_once() {
    in_time(|| {
        let name = util::unique_name();
        let population = Population::new();
        let runtime = util::builder().name(name.clone()).workers(2).build().unwrap();
        for _ in 0..20 {
            let member = population.member();
            runtime.spawn(move || {
                let _member = member;
                sleep(FOREVER);
            });
        }
        drop(runtime);
        assert_eq!(population.alive(), 0);
        util::until_no_threads(&name);
        // While its owner unwinds, too.
        let builder = util::builder().name(name.clone()).workers(1);
        let caught = catch_unwind(AssertUnwindSafe(move || {
            let runtime = builder.build().unwrap();
            runtime.spawn(park);
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        util::until_no_threads(&name);
    });
}

/// Fails if a timeout that is long enough cuts routines short, or waits for longer than needed.
#[test]
fn shutdown_timeout_ends_early_when_all_is_done() {
    in_time(|| {
        let runtime = runtime(2);
        let routine = runtime.spawn(|| sleep(Duration::from_millis(30)));
        assert!(runtime.shutdown_timeout(Duration::MAX).is_empty());
        routine.join().unwrap();
    });
}

/// Fails if a runtime that is dropped by one of its own routines waits for itself, or its threads remain.
#[test]
fn drop_inside_own_routine() {
    in_time(|| {
        for with_handle in [false, true] {
            for how in 0..3 {
                let name = util::unique_name();
                let runtime = util::builder().name(name.clone()).workers(2).build().unwrap();
                let handle = with_handle.then(|| runtime.handle().clone());
                let (sender, receiver) = bounded::<Runtime>(1);
                let other = runtime.spawn(park);
                let pool = runtime.spawn(|| blocking(|| ()));
                pool.join().unwrap();
                let owner = runtime.spawn(move || {
                    let runtime = receiver.recv().unwrap();
                    match how {
                        0 => drop(runtime),
                        1 => runtime.shutdown(),
                        _ => assert!(runtime.shutdown_timeout(FOREVER).is_empty()),
                    }
                    // It goes on until it waits.
                    7
                });
                sender.send(runtime).unwrap();
                assert_eq!(owner.join().unwrap(), 7);
                assert!(other.join().unwrap_err().is::<Canceled>());
                // Worker threads, the monitor, and those of the driver.
                util::until_no_threads(&name);
                if let Some(handle) = handle {
                    assert!(Builder::new().spawn_on(&handle, || ()).is_err());
                }
            }
        }
    });
}

/// Fails if a routine cannot make, use and end a runtime of its own, or holds its worker up while it waits
/// for the end.
#[test]
fn shutdown_from_routine_of_another_runtime() {
    in_time(|| {
        let outer = runtime(1);
        let ticks = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = outer.spawn({
            let (ticks, stop) = (ticks.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    sleep(Duration::from_millis(1));
                    ticks.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let ends = outer.spawn(move || {
            for timeout in
                [None, Some(Duration::ZERO), Some(Duration::from_millis(2)), Some(FOREVER)]
            {
                let inner = runtime(2);
                let before = ticks.load(Ordering::SeqCst);
                let enough = ticks.clone();
                inner.spawn(move || {
                    while enough.load(Ordering::SeqCst) < before + 5 {
                        sleep(Duration::from_millis(1));
                    }
                });
                match timeout {
                    None => inner.shutdown(),
                    Some(timeout) => drop(inner.shutdown_timeout(timeout)),
                }
                if timeout.is_none_or(|timeout| timeout == FOREVER) {
                    assert!(ticks.load(Ordering::SeqCst) >= before + 5);
                }
            }
        });
        ends.join().unwrap();
        stop.store(true, Ordering::SeqCst);
        ticker.join().unwrap();
        outer.shutdown();
    });
}

/// Fails if two runtimes, of which one ends the other and is ended itself meanwhile, hang.
#[test]
fn nested_shutdowns() {
    in_time(|| {
        let (outer, inner) = (runtime(1), runtime(1));
        inner.spawn(|| sleep(FOREVER));
        until_waiting(inner.handle(), WaitReason::Sleep, 1);
        let handle = inner.handle().clone();
        let waits = outer.spawn(move || inner.shutdown());
        until_waiting(outer.handle(), WaitReason::Shutdown, 1);
        let left = outer.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].reason, WaitReason::Shutdown);
        let _ = waits.join();
        // The wait was cut short, and with it the inner runtime.
        eventually("the inner runtime has ended", || handle.metrics().live == 0);
    });
}

/// Catches every unwinding, for ever.
fn stubborn() {
    loop {
        let _ = catch_unwind(|| sleep(FOREVER));
    }
}

/// Fails if a routine that cannot be unwound keeps the shutdown, or takes its worker's thread, and with it
/// what others have there, along.
#[test]
fn stubborn_routine_is_frozen() {
    struct OfThread(Arc<AtomicBool>);
    impl Drop for OfThread {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread_local! {
        static OF_THREAD: std::cell::RefCell<Option<OfThread>> = const { std::cell::RefCell::new(None) };
    }
    in_time(|| {
        for workers in [1, 2] {
            let name = util::unique_name();
            let runtime = util::builder().name(name.clone()).workers(workers).build().unwrap();
            let destroyed = Arc::new(AtomicBool::new(false));
            let population = Population::new();
            let (member, flag) = (population.member(), destroyed.clone());
            let frozen =
                Builder::new().name("stubborn".into()).spawn_on(runtime.handle(), move || {
                    let _member = member;
                    OF_THREAD.set(Some(OfThread(flag)));
                    stubborn();
                });
            let frozen = frozen.unwrap();
            let routine = frozen.routine().clone();
            let others: Vec<_> = (0..10)
                .map(|_| {
                    let member = population.member();
                    runtime.spawn(move || {
                        let _member = member;
                        park();
                    })
                })
                .collect();
            until_waiting(runtime.handle(), WaitReason::Sleep, 1);
            until_waiting(runtime.handle(), WaitReason::Park, 10);
            let handle = runtime.handle().clone();
            let left = runtime.shutdown_timeout(Duration::ZERO);
            let is_frozen: Vec<_> = left.iter().filter(|left| left.frozen).collect();
            assert_eq!((left.len(), is_frozen.len()), (11, 1), "{left:?}");
            assert_eq!(is_frozen[0].name.as_deref(), Some("stubborn"));
            for other in others {
                assert!(other.join().unwrap_err().is::<Canceled>());
            }
            assert_eq!(population.alive(), 1, "its stack stays as it is");
            assert!(frozen.join().unwrap_err().is::<Canceled>());
            assert!(!destroyed.load(Ordering::SeqCst));
            eventually("one thread is left", || util::threads_named(&name).len() == 1);
            assert_eq!(handle.metrics().live, 0);
            routine.unpark();
        }
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

/// Fails if a destructor that waits for what a frozen routine has keeps the shutdown.
#[test]
fn who_waits_for_a_frozen_routine_is_frozen() {
    let freeze = |workers| {
        let runtime = runtime(workers);
        let mutex = Arc::new(Mutex::new(()));
        let locks = mutex.clone();
        let stubborn = move || {
            let _guard = locks.lock().unwrap();
            stubborn();
        };
        Builder::new().spread().spawn_on(runtime.handle(), stubborn).unwrap();
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let waits = move || {
            let _locks = OnDrop(move || drop(mutex.lock()));
            park();
        };
        Builder::new().spread().spawn_on(runtime.handle(), waits).unwrap();
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|left| left.frozen), "{left:?}");
    };
    // At once, since they are given some seconds.
    in_time(|| {
        thread::scope(|threads| {
            threads.spawn(|| freeze(1));
            threads.spawn(|| freeze(2));
        });
    });
}

/// Fails if a destructor that waits for what somebody outside gives it is given up beside a frozen routine.
#[test]
fn who_waits_for_others_beside_a_frozen_routine_is_not_frozen() {
    in_time(|| {
        let runtime = runtime(1);
        let mutex = Arc::new(Mutex::new(()));
        let (locked, is_locked) = mpsc::channel();
        let finished = Arc::new(AtomicBool::new(false));
        let holder = thread::spawn({
            let mutex = mutex.clone();
            move || {
                let _guard = mutex.lock().unwrap();
                locked.send(()).unwrap();
                // Longer than it takes to freeze the routine, and to look again.
                thread::sleep(Duration::from_millis(200));
            }
        });
        is_locked.recv().unwrap();
        runtime.spawn(stubborn);
        let has_finished = finished.clone();
        runtime.spawn(move || {
            let _locks = OnDrop(move || {
                drop(mutex.lock());
                finished.store(true, Ordering::SeqCst);
            });
            park();
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.iter().filter(|left| left.frozen).count(), 1, "{left:?}");
        assert!(has_finished.load(Ordering::SeqCst));
        holder.join().unwrap();
    });
}

/// Fails if code of a frozen routine runs after all, and that on the stack of its worker.
#[test]
fn locals_of_a_frozen_routine_stay() {
    routine_local! {
        static MEMBER: RefCell<Option<Counted>> = const { RefCell::new(None) };
    }
    in_time(|| {
        let runtime = runtime(1);
        let population = Population::new();
        let member = population.member();
        drop(runtime.spawn(move || {
            MEMBER.set(Some(member));
            stubborn();
        }));
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert!(left[0].frozen, "{left:?}");
        assert_eq!(population.alive(), 1);
    });
}

/// Fails if a closure that is refused and does not let itself be dropped keeps its scope.
#[test]
fn refused_closure_that_unwinds_leaves_its_scope() {
    util::both_worlds(|| {
        let ended = catch_unwind(|| {
            rust_routines::scope(|scope| {
                let unwinds = OnDrop(|| resume_unwind(Box::new("mine")));
                let closure = move || drop(unwinds);
                let _ = Builder::new().stack_size(1).spawn_scoped(scope, closure);
            });
        });
        assert_eq!(*ended.unwrap_err().downcast::<&str>().unwrap(), "mine");
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
            runtime.spawn(move || {
                let _keeps = sender;
                if !limited {
                    park();
                }
                sleep(MOMENT * 5);
            });
            if limited {
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

/// Fails if somebody who waits for a frozen routine in a scope keeps the shutdown, or is resumed.
#[test]
fn scope_around_stubborn_routine_is_frozen() {
    in_time(|| {
        let runtime = runtime(2);
        let population = Population::new();
        let member = population.member();
        runtime.spawn(move || {
            let _member = member;
            rust_routines::scope(|outer| {
                outer.spawn(|| {
                    rust_routines::scope(|inner| {
                        inner.spawn(stubborn);
                    });
                });
            });
        });
        until_waiting(runtime.handle(), WaitReason::Scope, 2);
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let handle = runtime.handle().clone();
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|left| left.frozen), "{left:?}");
        assert_eq!(population.alive(), 1);
        assert_eq!(handle.metrics().live, 0);
    });
}

/// Fails if a scope whose routines end by themselves, only later, is frozen because of an unrelated
/// stubborn routine, or resumed after it was.
#[test]
fn stubborn_routine_leaves_other_scopes_alone() {
    in_time(|| {
        for workers in [1, 2, 3] {
            let runtime = runtime(workers);
            let population = Population::new();
            let member = population.member();
            runtime.spawn(stubborn);
            let (sender, receiver) = bounded(1);
            let owner = runtime.spawn(move || {
                let _member = member;
                let mut slept = false;
                rust_routines::scope(|scope| {
                    scope.spawn(|| {
                        blocking(|| {
                            sender.send(()).unwrap();
                            thread::sleep(Duration::from_millis(50));
                        });
                        slept = true;
                    });
                });
                slept
            });
            // Begun, so that it is not canceled.
            receiver.recv().unwrap();
            until_waiting(runtime.handle(), WaitReason::Blocking, 1);
            until_waiting(runtime.handle(), WaitReason::Scope, 1);
            until_waiting(runtime.handle(), WaitReason::Sleep, 1);
            let left = runtime.shutdown_timeout(Duration::ZERO);
            let frozen: Vec<_> = left.iter().filter(|left: &&Leftover| left.frozen).collect();
            assert_eq!((left.len(), frozen.len()), (3, 1), "{left:?}");
            let said = left[0].to_string();
            let begins =
                format!("routine '<unnamed>' (id {}), spawned at tests/shutdown.rs:", left[0].id);
            assert!(said.starts_with(&begins) && said.ends_with(left[0].reason.as_str()), "{said}");
            assert!(owner.join().unwrap());
            assert_eq!(population.alive(), 0);
        }
    });
}

/// Fails if a worker's thread-locals are destroyed while a routine that uses them is suspended there.
#[test]
fn thread_locals_outlive_routines() {
    thread_local! {
        static VALUE: std::cell::RefCell<Vec<u32>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    in_time(|| {
        let runtime = runtime(3);
        let usable = Arc::new(AtomicUsize::new(0));
        for i in 0..60 {
            let usable = usable.clone();
            runtime.spawn(move || {
                VALUE.with_borrow_mut(|values| values.push(i));
                let _guard = OnDrop(|| {
                    if VALUE.try_with(|values| values.borrow().contains(&i)) == Ok(true) {
                        usable.fetch_add(1, Ordering::SeqCst);
                    }
                });
                sleep(FOREVER);
            });
        }
        until_waiting(runtime.handle(), WaitReason::Sleep, 60);
        drop(runtime);
        assert_eq!(usable.load(Ordering::SeqCst), 60);
    });
}

/// Fails if a routine that computes when the shutdown comes is not waited for, or survives its next wait.
#[test]
fn running_routine_is_waited_for() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded(1);
        let routine = runtime.spawn(move || {
            sender.send(()).unwrap();
            util::hog(Duration::from_millis(50), || false);
            sender.send(()).unwrap();
            yield_now();
            unreachable!("the runtime is shutting down");
        });
        receiver.recv().unwrap();
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(receiver.try_recv(), Ok(()));
        assert_eq!(left.len(), 1);
        assert!(routine.join().unwrap_err().is::<Canceled>());
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

/// Fails if a routine whose operations never have to wait goes on for ever.
#[test]
fn loops_that_never_wait_are_unwound() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = unbounded();
        let started = Arc::new(AtomicUsize::new(0));
        let begin = |body: fn(&Sender<()>, &Receiver<()>)| {
            let (sender, receiver, started) = (sender.clone(), receiver.clone(), started.clone());
            runtime.spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                loop {
                    body(&sender, &receiver);
                }
            })
        };
        let loops: [JoinHandle<()>; 3] = [
            begin(|sender, _| sender.send(()).unwrap()),
            begin(|sender, receiver| {
                sender.send(()).unwrap();
                select! { recv(receiver) -> _ => (), recv(never::<()>()) -> _ => () }
            }),
            begin(|_, _| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                loop {
                    socket.send_to(&[], socket.local_addr().unwrap()).unwrap();
                }
            }),
        ];
        eventually("all to have started", || started.load(Ordering::SeqCst) == loops.len());
        assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), loops.len());
        for routine in loops {
            assert!(routine.join().unwrap_err().is::<Canceled>());
        }
    });
}

/// Fails if a routine is unwound twice where it catches the first time and then ends in peace.
#[test]
fn catching_the_cancellation_once_is_fine() {
    in_time(|| {
        let runtime = runtime(1);
        let routine = runtime.spawn(|| {
            let payload = catch_unwind(|| sleep(FOREVER)).unwrap_err();
            assert!(payload.is::<Canceled>());
            let payload = catch_unwind(park).unwrap_err();
            assert!(payload.is::<Canceled>());
            "in peace"
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 1);
        assert!(!left[0].frozen);
        assert_eq!(routine.join().unwrap(), "in peace");
    });
}

/// Fails if runtimes that are made and ended in all states of work lose a routine, hang, or leak threads.
#[test]
fn many_short_lives() {
    in_time(|| {
        let mut random = util::random();
        let name = util::unique_name();
        let population = Population::new();
        let start = Instant::now();
        for _ in 0..300 {
            if start.elapsed() > Duration::from_secs(5) {
                break;
            }
            let workers = random.usize(1..4);
            let runtime = util::builder().name(name.clone()).workers(workers).build().unwrap();
            let handle = runtime.handle().clone();
            let (sender, receiver) = bounded(random.usize(0..3));
            let mut routines = Vec::new();
            for _ in 0..random.u32(0..40) {
                let (sender, receiver, member) =
                    (sender.clone(), receiver.clone(), population.member());
                let kind = random.u8(0..7);
                let nap = Duration::from_micros(random.u64(0..500));
                let routine = Builder::new().spawn_on(&handle, move || {
                    let _member = member;
                    match kind {
                        0 => drop(sender.send_timeout(vec![1], nap)),
                        1 => drop(receiver.recv_timeout(nap)),
                        2 => sleep(nap),
                        3 => drop(spawn(move || sleep(nap)).join()),
                        4 => blocking(|| thread::sleep(nap)),
                        5 => park_timeout(nap),
                        _ => (0..10).for_each(|_| yield_now()),
                    }
                });
                routines.push(routine.unwrap());
            }
            drop((sender, receiver));
            // Somebody spawns all the while.
            let outsider = {
                let population = population.clone();
                thread::spawn(move || {
                    for _ in 0..20 {
                        let member = population.member();
                        if Builder::new().spawn_on(&handle, move || drop(member)).is_err() {
                            return;
                        }
                    }
                })
            };
            match random.u8(0..4) {
                0 => drop(runtime),
                1 => drop(runtime.shutdown_timeout(Duration::from_micros(random.u64(0..1_000)))),
                2 => {
                    routines.drain(..).for_each(|routine| drop(routine.join()));
                    drop(runtime);
                }
                _ => drop(runtime.shutdown_timeout(Duration::ZERO)),
            }
            outsider.join().unwrap();
            routines.into_iter().for_each(|routine| drop(routine.join()));
            assert_eq!(population.alive(), 0);
        }
        util::until_no_threads(&name);
    });
}

/// Fails if a connection, or whatever else a suspended routine owns, stays open when its runtime has ended.
#[test]
fn shutdown_closes_what_routines_own() {
    in_time(|| {
        let runtime = runtime(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        runtime.spawn(move || {
            let _ = stream.read(&mut [0; 1]);
        });
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        drop(runtime);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    });
}
