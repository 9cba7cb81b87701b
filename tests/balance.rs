//! Work reaches all workers. How evenly is measured by the benchmark of the same name.

use std::collections::HashSet;
use std::hint::{self, black_box};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::unbounded;
use rust_routines::{Handle, sleep, spawn, yield_now};

use self::support::chosen::builder;
use self::support::watchdog::watchdog;

mod support {
    pub(crate) mod chosen;
    pub(crate) mod watchdog;
}

const ROUTINES: u64 = 64;

/// Rounds to try: on a busy machine one worker may be done before the other gets a processor.
const ROUNDS: u32 = 100;

fn compute() {
    (0..200_000_u64).for_each(|n| {
        black_box(n);
    });
}

/// The threads of the workers that have run any of `ROUTINES` routines, which wait for a message first or do not.
fn threads_used(wait: bool) -> usize {
    let (sender, message) = unbounded();
    let routines: Vec<_> = (0..ROUTINES)
        .map(|_| {
            let message = message.clone();
            spawn(move || {
                if wait {
                    message.recv().unwrap();
                }
                compute();
                thread::current().id()
            })
        })
        .collect();
    if wait {
        let runtime = Handle::try_current().unwrap();
        while runtime.metrics().parked < ROUTINES {
            sleep(Duration::from_micros(100));
        }
        (0..ROUTINES).for_each(|_| sender.send(()).unwrap());
    }
    routines.into_iter().map(|routine| routine.join().unwrap()).collect::<HashSet<_>>().len()
}

// Breaks if a worker whose routines run long lets unstarted ones pile up where no other can take them.
#[test]
fn unstarted_routines_behind_a_long_one_can_be_taken() {
    const FIRST: usize = 60;
    const ALL: usize = 200;
    let _watchdog = watchdog(Duration::from_secs(50), "balance");
    let runtime = builder().workers(2).build().unwrap();
    // Of std: whoever waits for these keeps his worker.
    let done = Arc::new((Mutex::new(0), Condvar::new()));
    let (release, released) = mpsc::channel::<()>();
    let hog = runtime.spawn(move || released.recv().unwrap());
    let work = move || {
        // Longer than a worker goes without a look around.
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(300) {
            hint::spin_loop();
        }
        let (count, changed) = &*done;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_one();
        if *count != FIRST {
            return true;
        }
        release.send(()).unwrap();
        // One may be next in this worker's queue.
        let others_wait = |count: &mut usize| *count < ALL - 2;
        let limit = Duration::from_secs(10);
        !changed.wait_timeout_while(count, limit, others_wait).unwrap().1.timed_out()
    };
    let routines: Vec<_> = (0..ALL / 2).map(|_| runtime.spawn(work.clone())).collect();
    let more = runtime.spawn(move || {
        let routines: Vec<_> = (0..ALL / 2).map(|_| spawn(work.clone())).collect();
        routines.into_iter().all(|routine| routine.join().unwrap())
    });
    assert!(routines.into_iter().all(|routine| routine.join().unwrap()), "the others were stuck");
    assert!(more.join().unwrap(), "the others were stuck");
    hog.join().unwrap();
}

// Breaks if a worker keeps all it spawns, or starts (and thereby binds) everything before another wakes up.
#[test]
fn routines_that_compute_run_on_both_workers() {
    let _watchdog = watchdog(Duration::from_secs(50), "balance");
    for wait in [false, true] {
        let runtime = builder().workers(2).build().unwrap();
        let both = runtime.spawn(move || (0..ROUNDS).any(|_| threads_used(wait) == 2));
        assert!(both.join().unwrap(), "one worker did everything, {ROUNDS} times, wait: {wait}");
        runtime.shutdown();
    }
}

// Breaks if a worker that has been called gets more or less than half of what is there.
#[test]
fn a_batch_is_divided_into_halves() {
    let _watchdog = watchdog(Duration::from_secs(50), "halves");
    let runtime = builder().workers(2).build().unwrap();
    let divide = |size: u64| {
        let metrics = || Handle::try_current().unwrap().metrics();
        while metrics().workers_sleeping == 0 {
            hint::spin_loop();
        }
        let before = metrics();
        let (sender, message) = unbounded::<()>();
        let (arrival, arrivals) = unbounded();
        let routines: Vec<_> = (0..size)
            .map(|_| {
                let (arrival, message) = (arrival.clone(), message.clone());
                spawn(move || {
                    arrival.send(()).unwrap();
                    assert!(message.recv().is_err());
                })
            })
            .collect();
        (0..size).for_each(|_| arrivals.recv().unwrap());
        let after = metrics();
        drop(sender);
        routines.into_iter().for_each(|routine| routine.join().unwrap());
        // Unless the other came for some by itself, or was on its way to sleep again.
        after.stolen == before.stolen && after.handed_over - before.handed_over == size / 2
    };
    let halves = runtime.spawn(move || (4..=24).all(|size| (0..ROUNDS).any(|_| divide(size))));
    assert!(halves.join().unwrap(), "one got more than the other, {ROUNDS} times");
    runtime.shutdown();
}

/// Routines that live on the worker of `on_the_fuller_worker`, while the other has none.
const MORE_HERE: usize = 40;

/// Runs `f` in a routine of one of two workers.
fn on_the_fuller_worker<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = builder().workers(2).build().unwrap();
    let (free, freed) = mpsc::channel::<()>();
    let (is_there, there) = mpsc::channel();
    let hog = runtime.spawn(move || {
        is_there.send(()).unwrap();
        freed.recv().unwrap();
    });
    there.recv().unwrap();
    let fuller = runtime.spawn(move || {
        let (sender, message) = unbounded::<()>();
        let wait = || {
            let message = message.clone();
            spawn(move || assert!(message.recv().is_err()))
        };
        // None of them on the other worker, which has no time.
        let others: Vec<_> = (0..MORE_HERE).map(|_| wait()).collect();
        while Handle::try_current().unwrap().metrics().parked < MORE_HERE as u64 {
            yield_now();
        }
        free.send(()).unwrap();
        hog.join().unwrap();
        let result = f();
        drop(sender);
        others.into_iter().for_each(|routine| routine.join().unwrap());
        result
    });
    let result = fuller.join().unwrap();
    runtime.shutdown();
    result
}

// Breaks if links of a chain are shared out one by one, or more of them than the other worker is behind.
#[test]
fn those_who_follow_a_stolen_routine_go_the_same_way() {
    let _watchdog = watchdog(Duration::from_secs(50), "follow");
    let follow = || {
        let metrics = || Handle::try_current().unwrap().metrics();
        let (sender, message) = unbounded::<()>();
        let started = Arc::new(AtomicUsize::new(0));
        let mut links = Vec::new();
        let mut one_more = || {
            let (message, has_started) = (message.clone(), started.clone());
            links.push(spawn(move || {
                has_started.fetch_add(1, Ordering::SeqCst);
                assert!(message.recv().is_err());
            }));
            // It is not this worker that starts it.
            while started.load(Ordering::SeqCst) < links.len() {
                hint::spin_loop();
            }
        };
        (0..2 * MORE_HERE).for_each(|_| one_more());
        let metrics = metrics();
        drop(sender);
        links.into_iter().for_each(|link| link.join().unwrap());
        // Else the monitor has meddled.
        let undisturbed = metrics.stuck == 0;
        // The first two are stolen. With this one, there is one more here.
        assert!(!undisturbed || metrics.handed_over == MORE_HERE as u64 - 1, "{metrics:?}");
        undisturbed
    };
    assert!((0..ROUNDS).any(|_| on_the_fuller_worker(follow)), "disturbed {ROUNDS} times");
}

// Breaks if a worker gets ever more to do while it is busy with what it has stolen.
#[test]
fn nothing_follows_a_stolen_routine_that_computes() {
    let _watchdog = watchdog(Duration::from_secs(50), "computes");
    let compute = || {
        let computes = Arc::new(AtomicUsize::new(0));
        let computation = {
            let computes = computes.clone();
            spawn(move || {
                computes.store(1, Ordering::SeqCst);
                while computes.load(Ordering::SeqCst) == 1 {
                    hint::spin_loop();
                }
            })
        };
        while computes.load(Ordering::SeqCst) == 0 {
            hint::spin_loop();
        }
        let followers: Vec<_> = (0..MORE_HERE).map(|_| spawn(|| ())).collect();
        let metrics = Handle::try_current().unwrap().metrics();
        computes.store(2, Ordering::SeqCst);
        computation.join().unwrap();
        followers.into_iter().for_each(|follower| follower.join().unwrap());
        let undisturbed = metrics.stuck == 0;
        assert!(!undisturbed || (metrics.stolen, metrics.handed_over) == (1, 0), "{metrics:?}");
        undisturbed
    };
    assert!((0..ROUNDS).any(|_| on_the_fuller_worker(compute)), "disturbed {ROUNDS} times");
}

// Breaks if routines that end at once are taken for links of a chain.
#[test]
fn few_follow_a_stolen_routine_that_end() {
    let _watchdog = watchdog(Duration::from_secs(50), "end");
    let end = || {
        let has_started = Arc::new(AtomicUsize::new(0));
        let lone = {
            let has_started = has_started.clone();
            spawn(move || has_started.store(1, Ordering::SeqCst))
        };
        while has_started.load(Ordering::SeqCst) == 0 {
            hint::spin_loop();
        }
        lone.join().unwrap();
        (0..MORE_HERE).for_each(|_| spawn(|| ()).join().unwrap());
        let metrics = Handle::try_current().unwrap().metrics();
        let undisturbed = metrics.stuck == 0 && metrics.stolen == 1;
        // The end of the first may count only after the second is on its way.
        assert!(!undisturbed || metrics.handed_over <= 2, "{metrics:?}");
        undisturbed
    };
    assert!((0..ROUNDS).any(|_| on_the_fuller_worker(end)), "disturbed {ROUNDS} times");
}

// Breaks if `spread` leaves out a worker: it places in turn, whatever the load.
#[test]
fn spread_routines_are_started_by_both_workers() {
    let _watchdog = watchdog(Duration::from_secs(50), "spread");
    let runtime = builder().workers(2).build().unwrap();
    let both = runtime.spawn(|| {
        (0..ROUNDS).any(|_| {
            let routines: Vec<_> = (0..ROUTINES)
                .map(|_| rust_routines::Builder::new().spread().spawn(|| thread::current().id()))
                .collect();
            let threads = routines.into_iter().map(|routine| routine.unwrap().join().unwrap());
            threads.collect::<HashSet<_>>().len() == 2
        })
    });
    assert!(both.join().unwrap());
    runtime.shutdown();
}
