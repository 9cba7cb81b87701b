//! All the ways in which runtimes end.

mod util;

use std::io::{ErrorKind, Read};
use std::net::TcpStream as StdStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{Receiver, Sender, bounded, never, select, unbounded};
use rust_routines::net::{TcpListener, TcpStream, UdpSocket};
use rust_routines::sync::Semaphore;
use rust_routines::{
    Builder, Canceled, JoinHandle, Runtime, WaitReason, blocking, park, park_timeout, sleep, spawn,
    yield_now,
};
use util::{FOREVER, OnDrop, Population, bounded as in_time, eventually, runtime, until_waiting};

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
                match left.iter().find(|left| left.routine.name.as_deref() == Some(name)) {
                    Some(left) => {
                        assert_eq!(
                            (left.routine.reason, left.routine.id, left.frozen),
                            (reason, id, false)
                        );
                        assert!(left.routine.spawned_at.file() == file!(), "{left:?}");
                    }
                    None => assert!(may_end, "{name} is not among {left:?}"),
                }
                let result = routine.join();
                assert!(may_end || result.unwrap_err().is::<Canceled>(), "{name}");
            }
            let names: Vec<_> =
                left.iter().filter_map(|left| left.routine.name.as_deref()).collect();
            assert!(names.contains(&"joined") && names.contains(&"scoped"), "{names:?}");
            assert!((ends.len()..=ends.len() + 2).contains(&left.len()), "{left:?}");
        }
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
        assert!(left.iter().all(|left| left.routine.reason == WaitReason::None));
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

/// Fails if nobody drops what waits behind a routine that has dropped its own runtime and keeps its worker.
#[test]
fn unstarted_routines_are_dropped_behind_the_one_that_ends_the_runtime() {
    in_time(|| {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let handle = runtime.handle().clone();
            let owner = handle.spawn(move || {
                let (sender, dropped) = mpsc::channel::<()>();
                let unstarted = spawn(move || {
                    let _sender = sender;
                    park();
                });
                drop(runtime);
                // One of std's, which blocks the worker.
                assert!(dropped.recv().is_err());
                unstarted
            });
            let unstarted = owner.join().unwrap();
            assert!(unstarted.join().unwrap_err().is::<Canceled>());
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
        assert_eq!(left[0].routine.reason, WaitReason::Shutdown);
        let _ = waits.join();
        // The wait was cut short, and with it the inner runtime.
        eventually("the inner runtime has ended", || handle.metrics().live == 0);
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

/// Fails if a routine that sends where there is always room is suspended before it is unwound, with a lock of std's that
/// others of its worker want.
#[test]
fn sends_under_a_lock_of_std_are_unwound() {
    type Send = fn(&Sender<()>);
    let sends: [Send; 2] = [
        |sender| sender.send(()).unwrap(),
        |sender| select! { send(sender, ()) -> sent => sent.unwrap(), recv(never::<()>()) -> _ => () },
    ];
    for send in sends {
        in_time(move || {
            let runtime = runtime(1);
            let lock = Arc::new(Mutex::new(()));
            let (sender, receiver) = unbounded();
            let other = lock.clone();
            let wants = runtime.spawn(move || {
                for () in receiver {
                    drop(other.lock());
                }
            });
            until_waiting(runtime.handle(), WaitReason::ChannelReceive, 1);
            let (started, has_started) = mpsc::channel();
            let holds = runtime.spawn(move || {
                let _guard = lock.lock();
                // Whoever wants the lock is ready from here on.
                send(&sender);
                started.send(()).unwrap();
                loop {
                    send(&sender);
                }
            });
            has_started.recv().unwrap();
            assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 2);
            assert!(holds.join().unwrap_err().is::<Canceled>());
            drop(wants.join());
        });
    }
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
