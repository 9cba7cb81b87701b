//! `park` and `unpark`: one token, from anywhere to anywhere.

mod util;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::{Routine, WaitReason, current, park, park_timeout, sleep, spawn, yield_now};
use util::{FOREVER, both_worlds, bounded as in_time, runtime, until_waiting};

/// Fails if a token that comes first is lost.
#[test]
fn unpark_before_park() {
    both_worlds(|| {
        current().unpark();
        park();
        current().unpark();
        park_timeout(FOREVER);
    });
}

/// Fails if tokens add up.
#[test]
fn many_unparks_are_one() {
    in_time(|| {
        let routine = spawn(|| {
            for _ in 0..10 {
                current().unpark();
            }
            park();
            let start = Instant::now();
            park_timeout(Duration::from_millis(20));
            start.elapsed()
        });
        assert!(routine.join().unwrap() >= Duration::from_millis(20));
    });
}

/// Fails if a timeout returns early without a token, or never.
#[test]
fn park_timeout_waits_as_long() {
    both_worlds(|| {
        for millis in [0, 1, 5, 25] {
            let timeout = Duration::from_millis(millis);
            let start = Instant::now();
            // A thread's may be spurious, says std.
            while start.elapsed() < timeout {
                park_timeout(timeout.saturating_sub(start.elapsed()));
            }
            assert!(start.elapsed() < timeout + util::PATIENCE);
        }
    });
}

/// Fails if a routine's timed park returns before its time, which std allows but nothing here needs.
#[test]
fn routine_park_is_never_spurious() {
    in_time(|| {
        let routine = spawn(|| {
            for millis in [0, 1, 3, 12] {
                let (start, timeout) = (Instant::now(), Duration::from_millis(millis));
                park_timeout(timeout);
                assert!(start.elapsed() >= timeout);
            }
        });
        routine.join().unwrap();
    });
}

/// Fails if a timeout beyond the clock's range does not mean for ever, until somebody unparks.
#[test]
fn endless_timeout_is_ended_by_unpark() {
    in_time(|| {
        let runtime = runtime(1);
        for timeout in [Duration::MAX, Duration::from_secs(1 << 60), Duration::from_secs(1 << 34)] {
            let parked = runtime.spawn(move || park_timeout(timeout));
            until_waiting(runtime.handle(), WaitReason::Park, 1);
            thread::sleep(Duration::from_millis(3));
            assert!(!parked.is_finished(), "{timeout:?}");
            parked.routine().unpark();
            parked.join().unwrap();
        }
        runtime.shutdown();
    });
}

/// Fails if an unpark does not reach a parked routine, or thread, from each kind of caller.
#[test]
fn unpark_reaches_both_worlds_from_both() {
    /// Parks until `flag` is set; the one who sets it unparks the handle that is sent.
    fn target(flag: &AtomicBool, to: &std::sync::mpsc::Sender<Routine>) {
        to.send(current()).unwrap();
        while !flag.load(Ordering::Acquire) {
            park();
        }
    }
    in_time(|| {
        for (parks_in_routine, unparks_in_routine) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            for delay in [0, 1] {
                let flag = Arc::new(AtomicBool::new(false));
                let (to, from) = std::sync::mpsc::channel();
                let parks = {
                    let flag = flag.clone();
                    move || target(&flag, &to)
                };
                let unparks = move || {
                    let who = from.recv().unwrap();
                    sleep(Duration::from_millis(delay));
                    flag.store(true, Ordering::Release);
                    who.unpark();
                };
                let runtime = runtime(2);
                let run = |in_routine, f: Box<dyn FnOnce() + Send>| -> Box<dyn FnOnce()> {
                    if in_routine {
                        let routine = runtime.spawn(f);
                        Box::new(move || routine.join().unwrap())
                    } else {
                        let thread = thread::spawn(f);
                        Box::new(move || thread.join().unwrap())
                    }
                };
                let parked = run(parks_in_routine, Box::new(parks));
                let unparked = run(unparks_in_routine, Box::new(unparks));
                parked();
                unparked();
                runtime.shutdown();
            }
        }
    });
}

/// Fails if the token of a routine that has ended, or has not started, is trouble.
#[test]
fn unpark_of_ended_and_unstarted_routine() {
    in_time(|| {
        let runtime = runtime(1);
        let ended = runtime.spawn(|| ());
        let who = ended.routine().clone();
        ended.join().unwrap();
        runtime
            .spawn(move || {
                let unstarted = spawn(park);
                unstarted.routine().unpark();
                unstarted.join().unwrap();
            })
            .join()
            .unwrap();
        for _ in 0..100 {
            who.unpark();
        }
        runtime.shutdown();
        // Nothing of the runtime is left by now.
        who.unpark();
        drop(who);
    });
}

/// Fails if the user's token and the library's own waits get into each other's way.
#[test]
fn token_survives_other_waits() {
    both_worlds(|| {
        current().unpark();
        sleep(Duration::from_millis(1));
        spawn(yield_now).join().unwrap();
        let (sender, receiver) = rust_routines::channel::bounded(0);
        spawn(move || sender.send(1).unwrap());
        receiver.recv().unwrap();
        // Still there.
        let start = Instant::now();
        park_timeout(FOREVER);
        assert!(start.elapsed() < util::LIMIT);
    });
}

/// Fails if an unpark during another wait ends that one.
#[test]
fn unpark_does_not_end_other_waits() {
    in_time(|| {
        let runtime = runtime(1);
        let sleeper = runtime.spawn(|| {
            let start = Instant::now();
            sleep(Duration::from_millis(30));
            start.elapsed()
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        sleeper.routine().unpark();
        assert!(sleeper.join().unwrap() >= Duration::from_millis(30));
        runtime.shutdown();
    });
}

/// Fails if an unpark that meets the timeout of one park, or the beginning of the next, is lost.
#[test]
fn unpark_races_with_timeout() {
    in_time(|| {
        let mut random = util::random();
        for in_routine in [true, false] {
            let (given, seen) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let target = {
                let (given, seen) = (given.clone(), seen.clone());
                move || {
                    // Every round waits for the other side, so a token that is lost hangs.
                    let mut turn = 0_u32;
                    while seen.load(Ordering::SeqCst) < 500 {
                        if given.load(Ordering::SeqCst) > seen.load(Ordering::SeqCst) {
                            seen.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        turn += 1;
                        if turn.is_multiple_of(2) {
                            park();
                        } else {
                            park_timeout(Duration::from_micros(u64::from(turn % 64)));
                        }
                    }
                }
            };
            let (who, join): (Routine, Box<dyn FnOnce()>) = if in_routine {
                let routine = spawn(target);
                (routine.routine().clone(), Box::new(move || routine.join().unwrap()))
            } else {
                let (to, from) = std::sync::mpsc::channel();
                let thread = thread::spawn(move || {
                    to.send(current()).unwrap();
                    target();
                });
                (from.recv().unwrap(), Box::new(move || thread.join().unwrap()))
            };
            for round in 0..500 {
                while seen.load(Ordering::SeqCst) < round {
                    thread::yield_now();
                }
                for _ in 0..random.u32(0..3_000) {
                    std::hint::spin_loop();
                }
                given.fetch_add(1, Ordering::SeqCst);
                who.unpark();
            }
            join();
        }
    });
}

/// Fails if a park without a timeout misses its unpark, in a race of hundreds of rounds.
#[test]
fn unpark_races_with_park() {
    in_time(|| {
        let ball = Arc::new(AtomicU32::new(0));
        let player = |me: u32| {
            let ball = ball.clone();
            move |other: Routine| {
                while ball.load(Ordering::SeqCst) < 4_000 {
                    if ball.load(Ordering::SeqCst) % 2 == me {
                        ball.fetch_add(1, Ordering::SeqCst);
                        other.unpark();
                    } else {
                        park();
                    }
                }
                other.unpark();
            }
        };
        // Routine against routine, and routine against thread.
        let (even, odd) = (player(0), player(1));
        let (to, from) = rust_routines::channel::bounded::<Routine>(1);
        let first = spawn(move || even(from.recv().unwrap()));
        let first_handle = first.routine().clone();
        let second = spawn(move || odd(first_handle));
        to.send(second.routine().clone()).unwrap();
        first.join().unwrap();
        second.join().unwrap();

        ball.store(0, Ordering::SeqCst);
        let (even, odd) = (player(0), player(1));
        let thread = current();
        let routine = spawn(move || even(thread));
        odd(routine.routine().clone());
        routine.join().unwrap();
    });
}
