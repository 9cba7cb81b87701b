//! Work for threads that may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rust_routines_core::driver::IoConfig;

use super::Subject;
use super::bench::{Bench, Gate, PATIENCE, POOL_THREADS};
use super::call::Call;
use super::fds::unix_pair;
use super::random::Random;

/// Fails if a closure that may block runs on the worker.
pub fn a_closure_runs_on_another_thread(subject: &Subject) {
    subject.bench(|bench| {
        let worker = thread::current().id();
        let run = Call::run(move || assert_ne!(thread::current().id(), worker));
        bench.pend(&run);
        assert_eq!(bench.finish(&run).unwrap(), 0);
    });
}

/// Fails if work is lost when all threads are busy.
pub fn more_closures_than_threads_all_run(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let ran = Arc::new(AtomicUsize::new(0));
            let runs: Vec<Call> = (0..50)
                .map(|_| {
                    let ran = Arc::clone(&ran);
                    Call::run(move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            runs.iter().for_each(|run| bench.submit(run));
            for run in &runs {
                assert_eq!(bench.finish(run).unwrap(), 0);
            }
            assert_eq!(ran.load(Ordering::Relaxed), runs.len());
        }
    });
}

/// Fails if there are more threads than allowed, or fewer than the work needs: two closures that wait
/// for each other must meet.
pub fn threads_are_limited(subject: &Subject) {
    let backend = subject.backend();
    let mut bench = Bench::new(&backend);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let gate = Gate::new();
    let runs: Vec<Call> = (0..POOL_THREADS * 10)
        .map(|_| {
            let (running, most, gate) = (Arc::clone(&running), Arc::clone(&most), gate.clone());
            Call::run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.pass();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    runs.iter().for_each(|run| bench.submit(run));
    bench.until_came(&gate, POOL_THREADS);
    bench.settle();
    gate.open();
    for run in &runs {
        assert_eq!(bench.finish(run).unwrap(), 0);
    }
    assert_eq!(most.load(Ordering::SeqCst), POOL_THREADS);
    let metrics = backend.pool_metrics();
    assert!(metrics.threads <= POOL_THREADS && metrics.threads_peak <= POOL_THREADS);
    assert_eq!(metrics.queued, 0);
}

/// Fails if closures that hold all threads keep the sockets from being served that they may wait for.
pub fn sockets_are_served_while_closures_wait(subject: &Subject) {
    subject.bench(|bench| {
        let gate = Gate::new();
        let runs: Vec<Call> = (0..POOL_THREADS)
            .map(|_| {
                let gate = gate.clone();
                Call::run(move || gate.pass())
            })
            .collect();
        runs.iter().for_each(|run| bench.pend(run));
        bench.until_came(&gate, POOL_THREADS);
        for _ in 0..20 {
            let (near, far) = unix_pair();
            let reads = [Call::read(&near, 1), Call::read(&near, 1)];
            reads.iter().for_each(|read| bench.pend(read));
            far.put(b"ab");
            reads.iter().for_each(|read| assert_eq!(bench.finish(read).unwrap(), 1));
        }
        gate.open();
        runs.iter().for_each(|run| assert_eq!(bench.finish(run).unwrap(), 0));
    });
}

/// Fails if a socket that is ready waits for closures that wait for it, however the two race for the threads.
pub fn a_ready_socket_waits_for_no_closure(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        for _ in 0..500 {
            let (near, far) = unix_pair();
            let read = Call::read(&near, 1);
            bench.pend(&read);
            let gate = Gate::new();
            let mut runs = Vec::new();
            for number in 0..2 * POOL_THREADS - 1 {
                if number == POOL_THREADS - 1 {
                    far.put(b"x");
                }
                let gate = gate.clone();
                let run = Call::run(move || gate.pass());
                bench.submit(&run);
                runs.push(run);
                random.pause();
            }
            assert_eq!(bench.finish(&read).unwrap(), 1);
            gate.open();
            runs.iter().for_each(|run| assert_eq!(bench.finish(run).unwrap(), 0));
        }
    });
}

/// Fails if a closure waits behind a long one while threads take what came later.
pub fn closures_start_in_the_order_in_which_they_came(subject: &Subject) {
    subject.bench(|bench| {
        let holds = [(); POOL_THREADS].map(|()| {
            let gate = Gate::new();
            let hold = Call::run({
                let gate = gate.clone();
                move || gate.pass()
            });
            bench.pend(&hold);
            bench.until_came(&gate, 1);
            (gate, hold)
        });
        // All wait for the second.
        let gate = Gate::new();
        let runs: Vec<Call> = (0..20)
            .map(|number| {
                let gate = gate.clone();
                Call::run(move || if number == 1 { gate.open() } else { gate.pass() })
            })
            .collect();
        runs.iter().for_each(|run| bench.pend(run));
        for (number, (hold, _)) in holds.iter().enumerate() {
            hold.open();
            if number == 0 {
                bench.until_came(&gate, 1);
            }
        }
        let holds = holds.iter().map(|(_, hold)| hold);
        runs.iter().chain(holds).for_each(|run| assert_eq!(bench.finish(run).unwrap(), 0));
    });
}

/// Fails if drivers that share threads get each other's results: the bench knows its own operations.
pub fn results_of_one_driver_do_not_go_to_another(subject: &Subject) {
    let backend = subject.backend();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut bench = Bench::new(&backend);
                for round in 0..200 {
                    let sum = Arc::new(AtomicUsize::new(0));
                    let runs: Vec<Call> = (0..3)
                        .map(|_| {
                            let sum = Arc::clone(&sum);
                            Call::run(move || {
                                sum.fetch_add(round, Ordering::Relaxed);
                            })
                        })
                        .collect();
                    runs.iter().for_each(|run| bench.submit(run));
                    runs.iter().for_each(|run| assert_eq!(bench.finish(run).unwrap(), 0));
                    assert_eq!(sum.load(Ordering::Relaxed), 3 * round);
                }
            });
        }
    });
}

/// Fails if threads outlive the backend that started them.
pub fn dropping_the_backend_ends_its_threads(subject: &Subject) {
    // The kernel cuts names to 15 bytes.
    let name = format!("e{:x}", std::process::id() & 0xfff);
    let count = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|task| task.starts_with(&name)).count()
    };
    for _ in 0..10 {
        let backend = subject.backend();
        let mut bench = Bench::with(&backend, &IoConfig::new(4, name.clone()));
        let (near, far) = unix_pair();
        let read = Call::read(&near, 1);
        bench.pend(&read);
        let runs: Vec<Call> = (0..8).map(|_| Call::run(|| ())).collect();
        runs.iter().for_each(|run| bench.submit(run));
        far.put(b"x");
        bench.finish(&read).expect("read");
        runs.iter().for_each(|run| assert_eq!(bench.finish(run).unwrap(), 0));
        drop(bench);
        drop(backend);
        // The kernel takes a joined thread off its list a moment after it is joined.
        let since = Instant::now();
        while count() > 0 {
            assert!(since.elapsed() < PATIENCE, "{} threads are left", count());
            thread::yield_now();
        }
    }
}
