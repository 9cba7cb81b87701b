//! Sleeping: never too short, and not much too long.

mod util;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{RecvTimeoutError, bounded, unbounded};
use rust_routines::{Canceled, WaitReason, park_timeout, sleep, sleep_until, spawn, yield_now};
use util::{bounded as in_time, runtime, tick, until_waiting};

/// How late a sleep may be on a machine that is busy with other tests.
fn lateness() -> Duration {
    tick() + Duration::from_secs(2)
}

/// Fails if a sleep is shorter than asked for, or very much longer.
#[test]
fn sleep_is_never_early() {
    in_time(|| {
        let mut random = util::random();
        let mut durations: Vec<_> = (0..60).map(|_| random.u64(0..40_000)).collect();
        durations.extend([0, 1, 10, 100, 1_000, 10_000, 9_999, 10_001]);
        let check = move || {
            for micros in &durations {
                let (start, duration) = (Instant::now(), Duration::from_micros(*micros));
                sleep(duration);
                let elapsed = start.elapsed();
                assert!(elapsed >= duration, "{duration:?}: {elapsed:?}");
                assert!(elapsed < duration + lateness(), "{duration:?}: {elapsed:?}");
            }
        };
        let routine = spawn(check.clone());
        check();
        routine.join().unwrap();
    });
}

/// Fails if a deadline is missed towards the past, or one that has passed waits.
#[test]
fn sleep_until_deadline() {
    in_time(|| {
        let check = || {
            let deadline = Instant::now() + Duration::from_millis(15);
            sleep_until(deadline);
            assert!(Instant::now() >= deadline);
            assert!(Instant::now() < deadline + lateness());
            let start = Instant::now();
            for _ in 0..100 {
                sleep_until(deadline);
                sleep_until(start);
            }
            assert!(start.elapsed() < lateness());
        };
        check();
        spawn(check).join().unwrap();
    });
}

/// Fails if a sleep of no time, or until a moment in the past, does not let others run.
#[test]
fn sleep_of_nothing_lets_others_run() {
    in_time(|| {
        let runtime = runtime(1);
        let routine = runtime.spawn(|| {
            let past = Instant::now();
            for nap in [|_| sleep(Duration::ZERO), sleep_until] {
                let ran = Arc::new(AtomicBool::new(false));
                let other = {
                    let ran = ran.clone();
                    spawn(move || ran.store(true, Ordering::SeqCst))
                };
                while !ran.load(Ordering::SeqCst) {
                    nap(past);
                }
                other.join().unwrap();
            }
        });
        routine.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a sleep that is longer than any clock returns, overflows, or cannot be ended by a shutdown.
#[test]
fn endless_sleep_is_ended_by_shutdown() {
    in_time(|| {
        let runtime = runtime(2);
        let now = Instant::now();
        let farthest = (0..64).rev().find_map(|bit| now.checked_add(Duration::from_secs(1 << bit)));
        let sleepers = [
            runtime.spawn(|| sleep(Duration::MAX)),
            runtime.spawn(|| sleep(Duration::from_secs(u64::MAX))),
            runtime.spawn(|| sleep(Duration::from_secs(1 << 60))),
            runtime.spawn(|| sleep(Duration::from_secs(1 << 35))),
            runtime.spawn(|| sleep(Duration::from_secs(1 << 34))),
            runtime.spawn(move || sleep_until(farthest.unwrap())),
        ];
        until_waiting(runtime.handle(), WaitReason::Sleep, 6);
        // Those who are far away must not keep near ones from being on time.
        let start = Instant::now();
        runtime.spawn(|| sleep(Duration::from_millis(20))).join().unwrap();
        assert!(start.elapsed() < lateness());
        assert!(sleepers.iter().all(|sleeper| !sleeper.is_finished()));
        assert_eq!(runtime.shutdown_timeout(Duration::from_millis(1)).len(), 6);
        for sleeper in sleepers {
            assert!(sleeper.join().unwrap_err().is::<Canceled>());
        }
    });
}

/// Fails if many sleepers wake too early, too late, or not at all.
#[test]
fn ten_thousand_sleepers() {
    in_time(|| {
        let mut random = util::random();
        let runtime = runtime(1);
        let durations: Vec<_> =
            (0..10_000).map(|_| Duration::from_micros(random.u64(0..300_000))).collect();
        let (sender, receiver) = unbounded();
        runtime.spawn(move || {
            for duration in durations {
                let sender = sender.clone();
                spawn(move || {
                    let deadline = Instant::now() + duration;
                    sleep_until(deadline);
                    sender.send((deadline, Instant::now())).unwrap();
                });
            }
        });
        let mut late: Vec<Duration> = receiver
            .iter()
            .map(|(deadline, woken)| woken.checked_duration_since(deadline).expect("too early"))
            .collect();
        assert_eq!(late.len(), 10_000);
        late.sort();
        // All within seconds however busy the machine is, and most of them soon.
        assert!(late[9_999] < lateness(), "{:?}", late[9_999]);
        assert!(late[5_000] < tick() + Duration::from_millis(300), "{:?}", late[5_000]);
        let metrics = runtime.metrics();
        assert!(metrics.timers_fired >= metrics.timers_armed - 100, "{metrics:?}");
        runtime.shutdown();
    });
}

/// Fails if timers that are cancelled fire at somebody else, or keep the others from firing.
#[test]
fn cancelled_timers_leave_no_trace() {
    in_time(|| {
        let mut random = util::random();
        let runtime = runtime(2);
        let mut routines = Vec::new();
        for _ in 0..2_000 {
            let (sender, receiver) = bounded::<u8>(0);
            let timeout = Duration::from_micros(random.u64(0..20_000));
            let delay = Duration::from_micros(random.u64(0..20_000));
            routines.push(runtime.spawn(move || {
                sleep(delay);
                // The other may have given up.
                u32::from(sender.send(1).is_ok())
            }));
            routines.push(runtime.spawn(move || {
                let start = Instant::now();
                match receiver.recv_timeout(timeout) {
                    Ok(_) => {}
                    Err(RecvTimeoutError::Timeout) => assert!(start.elapsed() >= timeout),
                    Err(RecvTimeoutError::Disconnected) => unreachable!("the sender waits"),
                }
                // The stack is still in use, and no timer may end this one early.
                let (start, nap) = (Instant::now(), Duration::from_millis(3));
                sleep(nap);
                assert!(start.elapsed() >= nap);
                0
            }));
        }
        routines.into_iter().for_each(|routine| {
            routine.join().unwrap();
        });
        runtime.shutdown();
    });
}

/// Fails if a timer is not heard while its worker searches for work instead of sleeping.
#[test]
fn spinning_worker_heeds_timers() {
    in_time(|| {
        let runtime = util::builder().workers(1).spin(Duration::from_secs(3)).build().unwrap();
        let start = Instant::now();
        runtime.spawn(|| sleep(Duration::from_millis(5))).join().unwrap();
        runtime.spawn(|| sleep(Duration::from_millis(5))).join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let start = Instant::now();
        runtime.shutdown();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    });
}

/// Fails if a runtime that never spins, or always does, does not work.
#[test]
fn extreme_spinning() {
    in_time(|| {
        for spin in [Duration::ZERO, Duration::MAX] {
            let runtime = util::builder().workers(2).spin(spin).build().unwrap();
            let routines: Vec<_> = (0..100)
                .map(|i| {
                    runtime.spawn(move || {
                        sleep(Duration::from_micros(i * 50));
                        spawn(move || i).join().unwrap()
                    })
                })
                .collect();
            assert_eq!(routines.into_iter().map(|r| r.join().unwrap()).sum::<u64>(), 4950);
            runtime.shutdown();
        }
    });
}

/// Fails if timers starve while routines keep a worker busy with yielding.
#[test]
fn timers_fire_on_a_busy_worker() {
    in_time(|| {
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..4 {
            let stop = stop.clone();
            runtime.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    yield_now();
                }
            });
        }
        let start = Instant::now();
        let sleeper = runtime.spawn(|| {
            for _ in 0..10 {
                sleep(Duration::from_millis(1));
            }
        });
        sleeper.join().unwrap();
        assert!(start.elapsed() < lateness() + tick() * 20);
        stop.store(true, Ordering::Relaxed);
        runtime.shutdown();
    });
}

/// Fails if timed waits of a thread do not work where a routine's do.
#[test]
fn timed_waits_on_plain_thread() {
    in_time(|| {
        thread::spawn(|| {
            let start = Instant::now();
            sleep(Duration::from_millis(5));
            let (_sender, receiver) = bounded::<u8>(1);
            let timeout = Duration::from_millis(5);
            assert_eq!(receiver.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
            assert!(start.elapsed() >= Duration::from_millis(10));
            park_timeout(Duration::from_millis(5));
        })
        .join()
        .unwrap();
    });
}
