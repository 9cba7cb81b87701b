use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rust_routines_core::driver::IoConfig;

use super::{Job, Threads};

/// Nothing here takes long; a test that waits longer has lost a job.
const PATIENCE: Duration = Duration::from_secs(30);

struct Closure(Box<dyn FnOnce() + Send>);

impl Job for Closure {
    fn run(self) {
        (self.0)();
    }

    fn fail(self, error: io::Error) {
        panic!("{error}");
    }
}

/// Threads that leave soon, and best while work comes in.
fn threads(limit: usize) -> Arc<Threads<Closure>> {
    let mut threads = Threads::new(&IoConfig::new(limit, "test"), "io");
    threads.idle_time = Duration::from_micros(200);
    Arc::new(threads)
}

fn submit(threads: &Arc<Threads<Closure>>, job: impl FnOnce() + Send + 'static) {
    threads.submit(Closure(Box::new(job))).map_err(|(_, error)| error).expect("a thread");
}

/// Fails if idle threads stay, or if they leave with work that came at the last moment.
#[test]
fn threads_come_and_go_without_losing_work() {
    let threads = threads(3);
    let (done, finished) = mpsc::channel();
    let mut used = HashSet::<ThreadId>::new();
    for round in 0..3_000u64 {
        let jobs = 1 + round % 5;
        for _ in 0..jobs {
            let done = done.clone();
            submit(&threads, move || done.send(thread::current().id()).expect("the test waits"));
        }
        for _ in 0..jobs {
            used.insert(finished.recv_timeout(PATIENCE).expect("a job was lost"));
        }
        // Around the time at which they leave.
        thread::sleep(Duration::from_micros(round * 37 % 400));
    }
    assert!(used.len() > 3, "no thread ever left");
    let since = Instant::now();
    while threads.metrics().threads > 0 {
        assert!(since.elapsed() < PATIENCE, "idle threads stay");
        thread::yield_now();
    }
    assert!(threads.metrics().threads_peak <= 3);
    assert_eq!(threads.metrics().queued, 0);
    threads.shut_down();
}

/// Fails if a job waits behind a long one although a thread is free, or could be had.
#[test]
fn jobs_that_wait_for_each_other_all_get_a_thread() {
    const THREADS: usize = 8;
    for _ in 0..200 {
        let threads = threads(THREADS);
        let arrived = Arc::new(AtomicUsize::new(0));
        let (done, finished) = mpsc::channel();
        for _ in 0..THREADS {
            let (arrived, done) = (Arc::clone(&arrived), done.clone());
            submit(&threads, move || {
                arrived.fetch_add(1, Ordering::AcqRel);
                while arrived.load(Ordering::Acquire) < THREADS {
                    thread::yield_now();
                }
                done.send(()).expect("the test waits");
            });
        }
        for _ in 0..THREADS {
            finished.recv_timeout(PATIENCE).expect("a job waits behind another");
        }
        threads.shut_down();
    }
}

/// Fails if a job waits behind a long one while threads take jobs that came later.
#[test]
fn jobs_are_taken_in_the_order_in_which_they_came() {
    const LATER: usize = 20;
    let threads = threads(2);
    let (started, begun) = mpsc::channel();
    let hold = || {
        let (release, held) = mpsc::channel::<()>();
        let started = started.clone();
        submit(&threads, move || {
            started.send(()).expect("the test waits");
            held.recv().expect_err("nothing is sent");
        });
        begun.recv_timeout(PATIENCE).expect("there is a thread");
        release
    };
    let (one, other) = (hold(), hold());
    let second_ran = Arc::new(AtomicUsize::new(0));
    let (done, finished) = mpsc::channel();
    for number in 0..2 + LATER {
        let (started, done) = (started.clone(), done.clone());
        let second_ran = Arc::clone(&second_ran);
        submit(&threads, move || {
            let _ = started.send(());
            if number == 1 {
                second_ran.store(1, Ordering::Release);
            }
            while second_ran.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            let _ = done.send(());
        });
    }
    drop(one);
    begun.recv_timeout(PATIENCE).expect("a thread is free");
    drop(other);
    for _ in 0..2 + LATER {
        finished.recv_timeout(PATIENCE).expect("the second waits for those that came later");
    }
    threads.shut_down();
}

/// Fails if an offer is accepted and then waits behind jobs that block.
#[cfg(feature = "pool")]
#[test]
fn what_is_accepted_when_offered_waits_for_no_job() {
    const THREADS: usize = 2;
    for _ in 0..1_000 {
        let threads = threads(THREADS);
        let open = Arc::new(AtomicUsize::new(0));
        let (done, finished) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 * THREADS - 1 {
                    let (open, done) = (Arc::clone(&open), done.clone());
                    submit(&threads, move || {
                        while open.load(Ordering::Acquire) == 0 {
                            thread::yield_now();
                        }
                        let _ = done.send(());
                    });
                }
            });
            scope.spawn(|| {
                let open = Arc::clone(&open);
                let job = Closure(Box::new(move || open.store(1, Ordering::Release)));
                if let Err(job) = threads.offer(job) {
                    job.run();
                }
            });
        });
        for _ in 0..2 * THREADS - 1 {
            finished.recv_timeout(PATIENCE).expect("what was accepted is not run");
        }
        threads.shut_down();
    }
}

/// Fails if shutting down loses what was queued, or hangs on a thread that is about to leave or to wake.
#[test]
fn shutting_down_finishes_what_is_queued() {
    for round in 0..500 {
        let threads = threads(4);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..round % 20 {
            let ran = Arc::clone(&ran);
            submit(&threads, move || {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        if round % 3 == 0 {
            thread::sleep(Duration::from_micros(round as u64 % 300));
        }
        threads.shut_down();
        assert_eq!(ran.load(Ordering::Relaxed), round % 20);
        assert_eq!(threads.metrics().threads, 0);
    }
}

/// Fails if several who submit at once overlook each other's jobs.
#[test]
fn many_submit_at_once() {
    const JOBS: usize = 3_000;
    let threads = threads(3);
    let ran = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for job in 0..JOBS {
                    let ran = Arc::clone(&ran);
                    submit(&threads, move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                    if job % 100 == 0 {
                        thread::sleep(Duration::from_micros(300));
                    }
                }
            });
        }
    });
    let since = Instant::now();
    while ran.load(Ordering::Relaxed) < 4 * JOBS {
        assert!(since.elapsed() < PATIENCE, "{:?} for {threads:?}", threads.metrics());
        thread::yield_now();
    }
    threads.shut_down();
}
