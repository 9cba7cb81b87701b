//! A started routine stays on its thread, so that thread-locals mean what they mean everywhere else.
//!
//! The load makes routines of all kinds of waits while workers steal from each other. Each wait happens
//! inside a call to [`rust_routines_foreign`], whose books would not balance if a routine came back on
//! another thread: a compiler that keeps the address of a thread-local across the call writes to the
//! first thread's books from the second one, and one that does not writes to the second one's alone. The
//! test is run in debug, release and fat LTO (`--profile release-lto`), as these compile the accesses
//! differently.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rust_routines::channel::{Receiver, Sender, bounded, unbounded};
use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{
    Builder, Canceled, JoinHandle, blocking, fs, park, park_timeout, sleep, spawn, yield_now,
};
use rust_routines_foreign::{Ledger, around, around_inlined, take_ledgers};

use self::support::chosen::builder;
use self::support::watchdog::watchdog;

mod support {
    pub(crate) mod chosen;
    pub(crate) mod watchdog;
}

const LIMIT: Duration = Duration::from_secs(50);

/// More than there are processors, so that the system interrupts workers anywhere.
const WORKERS: usize = 4;

/// Routines of one wave, and waits of each.
const ROUTINES: u64 = if cfg!(debug_assertions) { 200 } else { 600 };
const WAITS: u64 = 24;

/// Waves at least and at most; there are more than the least only until routines have been stolen.
const WAVES: std::ops::Range<usize> = 3..200;

/// The thread that runs this, by what the compiler can neither look into nor remember.
fn this_thread() -> u64 {
    // SAFETY: has no preconditions.
    unsafe { libc::pthread_self() as usize as u64 }
}

/// What a call notes before its wait, and after it: pthread handles are addresses, so the low bit is free.
fn before() -> u64 {
    this_thread() & !1
}

fn after() -> u64 {
    this_thread() | 1
}

/// Makes the compiler's life hard and stealing worth it.
fn compute(rounds: u64) {
    let mut x = rounds;
    for _ in 0..rounds * 500 {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// What the routines of a load share.
struct Load {
    echo: Sender<Sender<u64>>,
    server: SocketAddr,
    /// Calls to the foreign crate.
    calls: AtomicU64,
    threads: Mutex<HashSet<u64>>,
}

impl Load {
    /// Waits in one of the ways that there are.
    fn wait(self: &Arc<Self>, kind: u64, stream: &mut Option<TcpStream>) {
        match kind % 9 {
            0 => yield_now(),
            1 => {
                let (sender, reply) = bounded(0);
                self.echo.send(sender).expect("the echo routine lives");
                reply.recv().expect("an answer");
            }
            2 => sleep(Duration::from_micros(kind % 300)),
            3 => {
                let load = self.clone();
                let child = spawn(move || load.call(yield_now));
                child.join().expect("the child returns");
            }
            4 => {
                let stream = stream
                    .get_or_insert_with(|| TcpStream::connect(self.server).expect("a connection"));
                let mut buffer = [0; 3];
                stream.write_all(b"abc").expect("the server reads");
                stream.read_exact(&mut buffer).expect("the server answers");
                assert_eq!(&buffer, b"abc");
            }
            5 => {
                let mut changed = 0;
                blocking(|| changed = kind);
                assert_eq!(changed, kind);
            }
            6 => assert!(!fs::read("Cargo.toml").expect("this package's manifest").is_empty()),
            7 => park_timeout(Duration::from_micros(kind % 100)),
            _ => {
                // The child outlives the call, and wakes this routine from wherever it runs.
                let me = rust_routines::current();
                let _detached = spawn(move || me.unpark());
                park_timeout(Duration::from_millis(5));
            }
        }
    }

    /// Waits by `wait` within the foreign crate's code, and checks what this routine can see.
    fn call(&self, wait: impl FnOnce()) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let thread = this_thread();
        let private = Rc::new(Cell::new(thread));
        let copy = private.clone();
        let mut wait = Some(wait);
        around(before(), &mut || {
            wait.take().expect("is called once")();
            assert_eq!(this_thread(), thread, "a started routine has changed threads");
            after()
        });
        assert_eq!((Rc::strong_count(&copy), private.get()), (2, thread));
    }

    /// The whole life of a routine.
    fn routine(self: Arc<Self>, number: u64) {
        let thread = this_thread();
        self.threads.lock().unwrap().insert(thread);
        let mut stream = None;
        let mut random = fastrand::Rng::with_seed(number);
        for _ in 0..WAITS {
            compute(random.u64(..16));
            self.call(|| self.wait(random.u64(..), &mut stream));
            // The generic one is compiled into this crate.
            self.calls.fetch_add(1, Ordering::Relaxed);
            around_inlined(before(), || compute(1), after);
            assert_eq!(this_thread(), thread, "a started routine has changed threads");
        }
    }
}

/// Answers all connections with what they say.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        spawn(move || {
            let mut buffer = [0; 64];
            while let Ok(1..) = stream
                .read(&mut buffer)
                .map(|n| stream.write_all(&buffer[..n]).map(|()| n).unwrap_or(0))
            {}
        });
    }
}

#[track_caller]
fn assert_balanced(ledgers: &[Ledger]) {
    let mut owners = HashSet::new();
    for ledger in ledgers {
        let Ledger { entered, left, depth, ref notes, references, .. } = *ledger;
        assert_eq!((entered, depth, references), (left, 0, 1), "{}", ledger.thread);
        assert_eq!(notes.len() as u64, entered + left, "{}", ledger.thread);
        let owner = notes[0] & !1;
        assert!(owners.insert(owner), "{} and another kept one book", ledger.thread);
        assert!(notes.iter().all(|note| note & !1 == owner), "{}: notes of others", ledger.thread);
        let afterwards = notes.iter().filter(|note| **note & 1 == 1).count() as u64;
        assert_eq!(afterwards, left, "{}", ledger.thread);
    }
}

// Breaks if a routine is ever resumed by another thread than the one that started it.
#[test]
fn thread_locals_of_a_dependency_stay_right_under_stealing_load() {
    let _watchdog = watchdog(LIMIT, "thread-locals under stealing load");
    let runtime = builder().workers(WORKERS).name("sound-load").build().unwrap();
    let (echo, requests) = bounded::<Sender<u64>>(0);
    let (load, waves) = runtime
        .spawn(move || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = listener.local_addr().unwrap();
            // Both are unwound by the shutdown below.
            Builder::new().name("server".into()).spawn(move || serve(&listener)).unwrap();
            spawn(move || requests.iter().for_each(|reply| reply.send(1).unwrap()));
            let load = Arc::new(Load {
                echo,
                server,
                calls: AtomicU64::new(0),
                threads: Mutex::default(),
            });
            let mut waves = 0;
            while waves < WAVES.start
                || (waves < WAVES.end && load.threads.lock().unwrap().len() < 2)
            {
                let routines: Vec<_> = (0..ROUTINES)
                    .map(|number| {
                        let load = load.clone();
                        spawn(move || load.routine(number))
                    })
                    .collect();
                routines.into_iter().for_each(|routine| routine.join().unwrap());
                waves += 1;
            }
            (load, waves)
        })
        .join()
        .unwrap();
    let metrics = runtime.metrics();
    assert!(metrics.stolen + metrics.handed_over > 0, "after {waves} waves: {metrics:?}");
    assert!(load.threads.lock().unwrap().len() > 1, "after {waves} waves: {metrics:?}");
    runtime.shutdown_timeout(Duration::ZERO);

    let ledgers = take_ledgers("sound-load");
    assert_balanced(&ledgers);
    let calls: u64 = ledgers.iter().map(|ledger| ledger.left).sum();
    assert_eq!(calls, load.calls.load(Ordering::Relaxed));
    let through_rc: u64 = ledgers.iter().map(|ledger| ledger.sum).sum();
    assert_eq!(through_rc + waves as u64 * ROUTINES * WAITS, calls);
}

// Breaks if a routine that ready threads outside the runtime wake is resumed by any of them, or by a
// worker other than its own.
#[test]
fn a_routine_woken_from_plain_threads_comes_back_on_its_own() {
    let _watchdog = watchdog(LIMIT, "wake-ups from plain threads");
    let runtime = builder().workers(WORKERS).name("sound-outside").build().unwrap();
    let routines: Vec<JoinHandle<()>> = (0..64)
        .map(|_| {
            runtime.spawn(|| {
                let thread = this_thread();
                for _ in 0..50 {
                    around(before(), &mut || {
                        let me = rust_routines::current();
                        let (sender, receiver) = bounded(1);
                        blocking(|| sender.send(this_thread()).unwrap());
                        assert_ne!(receiver.recv().unwrap(), thread, "run by the pool");
                        blocking(move || me.unpark());
                        park();
                        after()
                    });
                    assert_eq!(this_thread(), thread);
                }
            })
        })
        .collect();
    routines.into_iter().for_each(|routine| routine.join().unwrap());
    runtime.shutdown();
    let ledgers = take_ledgers("sound-outside");
    assert_balanced(&ledgers);
    assert_eq!(ledgers.iter().map(|ledger| ledger.left).sum::<u64>(), 64 * 50);
}

// Breaks if a worker's thread runs the destructors of its thread-locals while a routine is suspended on it.
#[test]
fn shutdown_unwinds_routines_while_their_thread_locals_live() {
    /// Uses the foreign thread-locals once more, on its way out.
    struct Last(Arc<AtomicUsize>);

    impl Drop for Last {
        fn drop(&mut self) {
            around(before(), &mut after);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let _watchdog = watchdog(LIMIT, "shutdown under suspended routines");
    let runtime = builder().workers(2).name("sound-end").build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let (ready, parked) = unbounded();
    let routines: Vec<JoinHandle<()>> = (0..100)
        .map(|number| {
            let (last, ready) = (Last(dropped.clone()), ready.clone());
            runtime.spawn(move || {
                let _last = last;
                ready.send(()).unwrap();
                around(before(), &mut || {
                    loop {
                        if number % 2 == 0 { park() } else { sleep(Duration::from_secs(3600)) }
                    }
                });
            })
        })
        .collect();
    drop(ready);
    assert_eq!(parked.iter().take(100).count(), 100);
    assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 100);
    for routine in routines {
        assert!(routine.join().unwrap_err().is::<Canceled>());
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 100);
    let ledgers = take_ledgers("sound-end");
    let sum = |field: fn(&Ledger) -> u64| ledgers.iter().map(field).sum::<u64>();
    // Each routine has made one call that was unwound, and one that returned.
    assert_eq!((sum(|l| l.entered), sum(|l| l.left), sum(|l| l.depth)), (200, 100, 100));
    assert!(ledgers.iter().all(|ledger| ledger.references == 1));
}

/// Says that it is being dropped, then waits until it is released.
struct WaitsInDrop {
    dropping: Sender<()>,
    release: Receiver<()>,
    through: Arc<AtomicUsize>,
}

impl Drop for WaitsInDrop {
    fn drop(&mut self) {
        // Both fail, at once, if the runtime is shut down.
        let _ = self.dropping.send(());
        let _ = self.release.recv();
        assert!(thread::panicking(), "its own panic goes on");
        self.through.fetch_add(1, Ordering::Relaxed);
    }
}

// Breaks if a wait in a destructor during a panic harms the panic or other routines' panics, in whatever
// order they go on. That the others may see `panicking()` meanwhile is a documented limit.
#[test]
fn panics_that_wait_in_destructors_interleave() {
    const PANICS: usize = 40;
    let _watchdog = watchdog(LIMIT, "panics that wait in destructors");
    let runtime = builder().workers(1).build().unwrap();
    let through = Arc::new(AtomicUsize::new(0));
    let (dropping, waiting) = unbounded();
    let mut releases = Vec::new();
    let mut routines = Vec::new();
    for number in 0..PANICS {
        let (sender, release) = bounded(1);
        releases.push(sender);
        let waits = WaitsInDrop { dropping: dropping.clone(), release, through: through.clone() };
        routines.push(runtime.spawn(move || {
            let _waits = waits;
            std::panic::resume_unwind(Box::new(number));
        }));
    }
    assert_eq!(waiting.iter().take(PANICS).count(), PANICS);

    // All of them are in the midst of their panics. Others go about their business on the same thread,
    // panics included.
    let lock = Arc::new(Mutex::new(0));
    let others: Vec<_> = (0..PANICS)
        .map(|number| {
            let lock = lock.clone();
            runtime.spawn(move || {
                let caught = catch_unwind(|| std::panic::resume_unwind(Box::new(number)));
                assert_eq!(*caught.unwrap_err().downcast::<usize>().unwrap(), number);
                let inner: JoinHandle<()> =
                    spawn(move || std::panic::resume_unwind(Box::new(format!("{number}"))));
                let payload = inner.join().unwrap_err();
                assert_eq!(*payload.downcast::<String>().unwrap(), number.to_string());
                *lock.lock().unwrap() += 1;
                sleep(Duration::from_micros(10));
                number
            })
        })
        .collect();
    for (number, other) in others.into_iter().enumerate() {
        assert_eq!(other.join().unwrap(), number);
    }
    assert_eq!(*lock.lock().unwrap(), PANICS);

    // Neither first in, first out, nor last in, first out.
    for round in 0..PANICS {
        releases[round * 7 % PANICS].send(()).unwrap();
    }
    for (number, routine) in routines.into_iter().enumerate() {
        assert_eq!(*routine.join().unwrap_err().downcast::<usize>().unwrap(), number);
    }
    assert_eq!(through.load(Ordering::Relaxed), PANICS);
    assert!(!runtime.spawn(thread::panicking).join().unwrap(), "back to normal afterwards");
    runtime.shutdown();
}

// Breaks if the shutdown starts a second panic in a destructor (which aborts), hangs on routines whose
// waits end while another one panics, or does not unwind those.
#[test]
fn shutdown_ends_waits_of_destructors_and_of_those_beside_them() {
    let _watchdog = watchdog(LIMIT, "shutdown while panicking");
    let shut_down = |ask_who_is_left: bool| {
        let runtime = builder().workers(1).build().unwrap();
        let through = Arc::new(AtomicUsize::new(0));
        let (dropping, waiting) = unbounded();
        let (_never, release) = bounded::<()>(1);
        let panics = || {
            let through = through.clone();
            let waits =
                WaitsInDrop { dropping: dropping.clone(), release: release.clone(), through };
            runtime.spawn(move || {
                let _waits = waits;
                std::panic::resume_unwind(Box::new("on purpose"));
            })
        };
        let (begun, ready) = unbounded();
        let beside = |wait: fn()| {
            let begun = begun.clone();
            runtime.spawn(move || {
                begun.send(()).unwrap();
                loop {
                    wait();
                }
            })
        };
        // Cancelled newest first: some of the others come before the panics, some after.
        let mut others = vec![beside(park), beside(|| sleep(Duration::from_secs(3600)))];
        assert_eq!(ready.iter().take(2).count(), 2);
        let panicking: [JoinHandle<()>; 2] = [panics(), panics()];
        assert_eq!(waiting.iter().take(2).count(), 2);
        others.extend([beside(park), beside(yield_now)]);
        assert_eq!(ready.iter().take(2).count(), 2);

        if ask_who_is_left {
            assert_eq!(runtime.shutdown_timeout(Duration::from_millis(1)).len(), 6);
        } else {
            drop(runtime);
        }
        assert_eq!(through.load(Ordering::Relaxed), 2);
        for routine in panicking {
            let payload = routine.join().unwrap_err();
            assert_eq!(*payload.downcast::<&str>().unwrap(), "on purpose");
        }
        for other in others {
            assert!(other.join().unwrap_err().is::<Canceled>());
        }
    };
    // At once, since each waits until it need not know who unwinds.
    thread::scope(|threads| {
        for round in 0..20 {
            threads.spawn(move || shut_down(round % 2 == 0));
        }
    });
}

// Breaks if the panic count of a thread is not restored when a routine catches its panic and parks within
// the destructors, as a server loop does.
#[test]
fn a_caught_panic_that_waited_leaves_its_thread_calm() {
    let _watchdog = watchdog(LIMIT, "caught panics");
    let runtime = builder().workers(1).build().unwrap();
    let calm = runtime
        .spawn(|| {
            let (sender, release) = bounded(0);
            let (dropping, waiting) = bounded(0);
            let through = Arc::new(AtomicUsize::new(0));
            let helper = spawn(move || {
                for () in waiting {
                    sender.send(()).unwrap();
                }
            });
            for _ in 0..100 {
                let (dropping, release) = (dropping.clone(), release.clone());
                let waits = WaitsInDrop { dropping, release, through: through.clone() };
                let caught = catch_unwind(AssertUnwindSafe(move || {
                    let _waits = waits;
                    std::panic::resume_unwind(Box::new(()));
                }));
                assert!(caught.is_err() && !thread::panicking());
            }
            drop(dropping);
            helper.join().unwrap();
            through.load(Ordering::Relaxed) == 100 && !thread::panicking()
        })
        .join()
        .unwrap();
    assert!(calm);
    runtime.shutdown();
}
