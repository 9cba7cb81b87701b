//! What it takes to wake a routine, by where it waits and who wakes it, on each I/O driver that is compiled in.
//!
//! ```text
//! cargo bench --all-features --bench wakes
//! ```
//!
//! | row | shows | is bounded by |
//! |---|---|---|
//! | same worker | a wake-up, and the two switches there and back | the switches: a wake-up is a push to a plain queue |
//! | other worker, searching | from the call until it runs | the way of two cache lines from one core to the other, and a turn of the search |
//! | other worker, asleep | the same | the kernel, which ends the sleep in the driver and gives the thread a processor |
//! | thread to … | the same, called by a thread that is no worker | the same |
//!
//! From one core to another it is one way, by the clock, which is read twice (30 ns each on the machine of the design).
//! The caller waits for the answer without sleeping, and then until the worker has gone back to searching or to sleep.
//! Both need a core; where another process takes one for a time slice, that is more than a thousand calls take, so that
//! what counts of a sample is the median of its calls.

mod table;

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use rust_routines::channel::bounded;
use rust_routines::{
    Builder, Handle, JoinHandle, Routine, Runtime, current, drivers, park, spawn, yield_now,
};

/// How long a worker searches that is not to sleep: longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(600);

/// From when a worker says that it sleeps until it does, generously; and from when a routine has run until it has parked.
const SETTLING: Duration = Duration::from_micros(10);

/// Instead of the time of a call: there are no more.
const THE_END: u64 = u64::MAX;

#[derive(Clone, Copy)]
enum Caller {
    SameWorker,
    OtherWorker,
    Thread,
}

/// What a worker does that has nothing to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Searches,
    Sleeps,
}

const ROWS: [(&str, Caller, Idle); 5] = [
    ("same worker", Caller::SameWorker, Idle::Searches),
    ("other worker, searching", Caller::OtherWorker, Idle::Searches),
    ("other worker, asleep", Caller::OtherWorker, Idle::Sleeps),
    ("thread to worker, searching", Caller::Thread, Idle::Searches),
    ("thread to worker, asleep", Caller::Thread, Idle::Sleeps),
];

fn wakes(criterion: &mut Criterion) {
    for (name, caller, idle) in ROWS {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for driver in drivers::io_names() {
            let builder = Runtime::builder().io_named(driver).expect("its name was listed");
            let builder =
                builder.workers(if matches!(caller, Caller::OtherWorker) { 2 } else { 1 });
            let spin = if idle == Idle::Searches { FOR_EVER } else { Duration::ZERO };
            let runtime = builder.spin(spin).build().expect("a runtime");
            let sleeper = Sleeper::new(runtime.handle(), idle);
            group.bench_function(driver, |bencher| {
                bencher.iter_custom(|turns| match caller {
                    Caller::SameWorker => {
                        let measured = runtime.spawn(move || same_worker(turns));
                        measured.join().expect("the routine does not panic")
                    }
                    Caller::OtherWorker => sleeper.call_from_other_worker(turns),
                    Caller::Thread => sleeper.call(turns),
                });
            });
            sleeper.end();
            runtime.shutdown();
        }
    }
}

/// Wakes a routine of the same worker and lets it run, again and again.
fn same_worker(turns: u64) -> Duration {
    let (here, is_here) = bounded(0);
    let other = spawn(move || {
        here.send(()).expect("the other end is there");
        (0..turns).for_each(|_| park());
    });
    is_here.recv().expect("it starts");
    yield_now();
    let start = Instant::now();
    for _ in 0..turns {
        other.routine().unpark();
        yield_now();
    }
    let elapsed = start.elapsed();
    assert!(other.is_finished(), "each call has woken it");
    elapsed
}

/// A routine that waits to be called and notes how long the call took.
#[derive(Clone)]
struct Sleeper {
    runtime: Handle,
    idle: Idle,
    routine: Routine,
    thread: ThreadId,
    line: Arc<Line>,
}

/// How the two talk.
struct Line {
    /// What the other two count from.
    start: Instant,
    /// When it was called, in nanoseconds; else zero.
    called: AtomicU64,
    /// How long that took, once it has run.
    took: AtomicU64,
}

impl Sleeper {
    fn new(runtime: &Handle, idle: Idle) -> Self {
        let line =
            Line { start: Instant::now(), called: AtomicU64::new(0), took: AtomicU64::new(0) };
        let line = Arc::new(line);
        let line_too = line.clone();
        let (place, its_place) = std::sync::mpsc::channel();
        runtime.spawn(move || {
            place.send((current(), thread::current().id())).expect("somebody waits");
            line_too.answer();
        });
        let (routine, thread) = its_place.recv().expect("it says where it is");
        Self { runtime: runtime.clone(), idle, routine, thread, line }
    }

    /// Calls it from here. As long as if each call took what the median of them takes.
    fn call(&self, turns: u64) -> Duration {
        let mut times: Vec<u64> = (0..turns).map(|_| self.call_once()).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        Duration::from_nanos(*median * turns)
    }

    /// In nanoseconds.
    fn call_once(&self) -> u64 {
        while self.idle == Idle::Sleeps && self.runtime.metrics().workers_sleeping == 0 {
            spin_loop();
        }
        let settled = Instant::now() + SETTLING;
        while Instant::now() < settled {
            spin_loop();
        }
        self.line.called.store(self.line.now(), Ordering::Release);
        self.routine.unpark();
        loop {
            match self.line.took.swap(0, Ordering::Acquire) {
                0 => spin_loop(),
                took => return took,
            }
        }
    }

    fn call_from_other_worker(&self, turns: u64) -> Duration {
        let attempt = |_| {
            let sleeper = self.clone();
            let caller: JoinHandle<Option<Duration>> = Builder::new()
                .spread()
                .spawn_on(&self.runtime, move || {
                    let is_apart = thread::current().id() != sleeper.thread;
                    is_apart.then(|| sleeper.call(turns))
                })
                .expect("room for a routine");
            caller.join().expect("the caller does not panic")
        };
        (0..).find_map(attempt).expect("one of them is placed on the other worker")
    }

    fn end(self) {
        self.line.called.store(THE_END, Ordering::Release);
        self.routine.unpark();
    }
}

impl Line {
    /// In nanoseconds, and never zero.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("less than centuries").max(1)
    }

    fn answer(&self) {
        loop {
            match self.called.swap(0, Ordering::Acquire) {
                0 => park(),
                THE_END => return,
                called => {
                    let took = self.now().saturating_sub(called).max(1);
                    self.took.store(took, Ordering::Release);
                }
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = table::sampling(10, Duration::from_millis(200), Duration::from_millis(500));
    targets = wakes
}

fn main() {
    table::run("wake-ups", benches);
}
