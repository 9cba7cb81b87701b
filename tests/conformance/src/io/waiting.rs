//! When `wait` ends: timeouts, wakers, finished work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Subject;
use super::bench::{Bench, Gate, PATIENCE};
use super::call::Call;
use super::fds::unix_pair;
use super::random::Random;

/// Far longer than any of these waits may take.
const LONG: Duration = PATIENCE;

/// Fails if a zero timeout waits, or does not collect what is there.
pub fn a_zero_timeout_only_looks(subject: &Subject) {
    subject.bench(|bench| {
        let (near, far) = unix_pair();
        let since = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(bench.look(), 0);
        }
        let read = Call::read(&near, 1);
        bench.pend(&read);
        assert_eq!(bench.look(), 0);
        far.put(b"x");
        while bench.is_pending(&read) {
            bench.look();
            assert!(since.elapsed() < LONG);
        }
        bench.finish(&read).expect("read");
    });
}

/// Fails if a timeout is slept through, or if a worker that waits for a deadline is busy meanwhile: like
/// the scheduler, the test waits again for what is left if `wait` returns early.
pub fn timeouts_are_kept(subject: &Subject) {
    subject.bench(|bench| {
        for micros in [1, 50, 300, 1_000, 1_300, 5_000, 9_000, 12_345, 40_000, 130_000] {
            let timeout = Duration::from_micros(micros);
            let mut late = (0..20).map(|_| {
                let deadline = Instant::now() + timeout;
                let mut waits = 0;
                loop {
                    let now = Instant::now();
                    if now >= deadline {
                        break now - deadline;
                    }
                    assert_eq!(bench.wait(Some(deadline - now)), 0);
                    waits += 1;
                    assert!(waits < 100, "{waits} waits for {timeout:?}");
                }
            });
            // One of some, since the machine may be busy with something else.
            let in_time = late.any(|late| late < Duration::from_millis(20));
            assert!(in_time, "always late for {timeout:?}");
        }
    });
}

/// Fails if timeouts are rounded up to milliseconds, as those of `poll` and `epoll_wait` are.
pub fn timeouts_are_finer_than_milliseconds(subject: &Subject) {
    subject.bench(|bench| {
        for micros in [100, 1_200] {
            let timeout = Duration::from_micros(micros);
            let mut late = (0..1_000).map(|_| {
                let deadline = Instant::now() + timeout;
                loop {
                    let now = Instant::now();
                    if now >= deadline {
                        break now - deadline;
                    }
                    bench.wait(Some(deadline - now));
                }
            });
            // Any of many, since the machine may be busy with something else.
            let in_time = late.any(|late| late < Duration::from_micros(400));
            assert!(in_time, "always late for {timeout:?}");
        }
    });
}

/// Fails if a time that no clock reaches overflows: into an error, into the past, or into a busy loop.
pub fn huge_timeouts_do_not_overflow(subject: &Subject) {
    let huge = [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(i64::MAX as u64),
        Duration::from_secs(1 << 33),
        Duration::from_nanos(u64::MAX),
        Duration::from_nanos(i64::MAX as u64),
        Duration::from_millis(u64::from(u32::MAX) + 1),
        Duration::from_millis(i32::MAX as u64 + 1),
    ];
    subject.bench(|bench| {
        let (near, _far) = unix_pair();
        let read = Call::read(&near, 1);
        bench.pend(&read);
        for timeout in huge {
            let (waker, woken) = (bench.driver.waker(), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(5));
                    woken.store(true, Ordering::Release);
                    waker.wake();
                });
                let since = Instant::now();
                let mut waits = 0;
                while !woken.load(Ordering::Acquire) {
                    assert_eq!(bench.wait(Some(timeout)), 0);
                    waits += 1;
                    assert!(waits < 100, "{waits} waits in {:?}", since.elapsed());
                }
                assert!(since.elapsed() < LONG / 2, "a wake was lost");
            });
        }
        bench.cancel_now(&read);
    });
}

/// Fails if a wake is forgotten while the worker is awake, or ends more than one wait.
pub fn a_wake_before_the_wait_ends_it(subject: &Subject) {
    subject.bench(|bench| {
        let waker = bench.driver.waker();
        for round in 0..100 {
            for _ in 0..1 + round % 4 {
                waker.wake();
            }
            let since = Instant::now();
            bench.wait([None, Some(LONG), Some(Duration::MAX)][round % 3]);
            assert!(since.elapsed() < LONG / 2);
        }
        // Early returns are allowed, but a driver that never sleeps again is not.
        let since = Instant::now();
        let mut waits = 0;
        while since.elapsed() < Duration::from_millis(20) {
            bench.wait(Some(Duration::from_millis(20)));
            waits += 1;
        }
        assert!(waits < 100, "{waits} waits in 20 ms");
    });
}

/// Fails if a sleeping driver does not hear its waker.
pub fn a_wake_during_the_wait_ends_it(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let waker = bench.driver.waker();
            thread::scope(|scope| {
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(1));
                    waker.wake();
                });
                let since = Instant::now();
                bench.wait(None);
                assert!(since.elapsed() < LONG);
            });
        }
    });
}

/// Fails if a wake is lost somewhere between awake and asleep: the two sides meet at random moments.
pub fn no_wake_is_lost(subject: &Subject) {
    const ROUNDS: usize = 1_000;
    subject.bench(|bench| {
        let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let waker = bench.driver.waker();
        let (near, far) = unix_pair();
        let (asked, answered) = (&asked, &answered);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut random = Random::new();
                for round in 1..=ROUNDS {
                    random.pause();
                    if random.below(4) == 0 {
                        // The driver is also woken by this, and must not take one for the other.
                        far.put(b"x");
                    }
                    asked.store(round, Ordering::Release);
                    waker.wake();
                    while answered.load(Ordering::Acquire) < round {
                        thread::yield_now();
                    }
                }
            });
            let mut random = Random::new();
            let mut read = Call::read(&near, 1);
            bench.submit(&read);
            while answered.load(Ordering::Relaxed) < ROUNDS {
                answered.store(asked.load(Ordering::Acquire), Ordering::Release);
                random.pause();
                let timeout = match random.below(4) {
                    0 => Some(Duration::ZERO),
                    1 => None,
                    _ => Some(LONG),
                };
                if answered.load(Ordering::Relaxed) == ROUNDS {
                    break;
                }
                let since = Instant::now();
                bench.wait(timeout);
                assert!(since.elapsed() < LONG / 2, "a wake was lost");
                if !bench.is_pending(&read) {
                    bench.finish(&read).expect("read");
                    read = Call::read(&near, 1);
                    bench.submit(&read);
                }
            }
            if bench.is_pending(&read) {
                bench.cancel(&read);
            }
            let _ = bench.finish(&read);
        });
    });
}

/// Fails if wakes that merge lose the last of them.
pub fn wakes_come_from_many_threads(subject: &Subject) {
    const THREADS: usize = 4;
    const WAKES: usize = 500;
    subject.bench(|bench| {
        let sent = AtomicUsize::new(0);
        let waker = bench.driver.waker();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut random = Random::new();
                    for _ in 0..WAKES {
                        random.pause();
                        sent.fetch_add(1, Ordering::Release);
                        waker.wake();
                    }
                });
            }
            while sent.load(Ordering::Acquire) < THREADS * WAKES {
                let since = Instant::now();
                bench.wait(Some(LONG));
                assert!(since.elapsed() < LONG / 2, "a wake was lost");
            }
        });
    });
}

/// Fails if a waker needs the driver that it came from.
pub fn a_waker_outlives_its_driver(subject: &Subject) {
    let backend = subject.backend();
    let bench = Bench::new(&backend);
    let waker = bench.driver.waker();
    drop(bench);
    waker.wake();
    drop(backend);
    waker.wake();
    thread::spawn(move || waker.wake()).join().expect("no panic");
}

/// Fails if a result that arrives from a thread leaves the driver asleep.
pub fn finished_work_ends_the_wait(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        for _ in 0..300 {
            let gate = Gate::new();
            let run = Call::run({
                let gate = gate.clone();
                move || gate.pass()
            });
            bench.pend(&run);
            if random.chance() {
                bench.until_came(&gate, 1);
            }
            random.pause();
            gate.open();
            let since = Instant::now();
            while bench.is_pending(&run) {
                bench.wait(None);
                assert!(since.elapsed() < LONG);
            }
            assert_eq!(bench.finish(&run).unwrap(), 0);
        }
    });
}
