//! How costs grow with numbers: CPU time per routine, from a thousand routines to a million. The lines should be flat.
//!
//! ```text
//! cargo bench --bench growth
//! ```
//!
//! | line | what each routine does | is bounded by |
//! |---|---|---|
//! | spawn, join | ends at once | an allocation; all share one stack |
//! | crowd | parks; when all have, they are woken and end | a page for the stack of each, which the kernel clears |
//! | sleepers | the same with a sleep that ends for all at once | the same, and a timer each |
//! | selectors | the same with two channels on which all wait | the same, and two entries in lists that are as long as there are routines |
//!
//! From 100,000 on they rise by a third at most. Fewer routines cost less: a thousand find their stacks as the last
//! thousand has left them, in the cache; ten thousand find them in memory; more than that have pages that the kernel has
//! just cleared, and that it takes back. Of an unstarted routine, which has no stack, it is the allocation that leaves
//! the cache.
//!
//! It takes three minutes, and 5 GB of memory for the million. One worker, and time as the processor counts it for the
//! whole process: what it takes is not what it waits, and other processes do not count, but for the caches that they
//! take away. `timers` has the arithmetic of armed timers alone. An iteration of Criterion is one routine, though they
//! only come in thousands: of what a crowd has taken, each gets its share.

mod table;

use std::env;
use std::time::{Duration, Instant};

use criterion::{
    AxisScale, BenchmarkId, Criterion, PlotConfiguration, SamplingMode, criterion_group,
};
use rust_routines::channel::{bounded, select};
use rust_routines::sync::WaitGroup;
use rust_routines::{JoinHandle, Runtime, sleep_until, spawn};
use rustix::time::{ClockId, clock_gettime};

/// Routines.
const COUNTS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// From when on the routines sleep until they wake: for each of them, longer than it takes to come there.
const PER_SLEEPER: Duration = Duration::from_micros(4);

/// And something beside.
const SLEEP: Duration = Duration::from_millis(10);

type Line = (&'static str, fn(u64));

const LINES: [Line; 4] = [
    ("spawn, join", spawn_and_join),
    ("crowd", crowd),
    ("sleepers", sleepers),
    ("selectors", selectors),
];

fn growth(criterion: &mut Criterion) {
    let is_bench = env::args().any(|argument| argument == "--bench");
    let counts = if is_bench { &COUNTS[..] } else { &COUNTS[..1] };
    let mut group = criterion.benchmark_group("routines");
    group.plot_config(PlotConfiguration::default().summary_scale(AxisScale::Logarithmic));
    group.sampling_mode(SamplingMode::Flat);
    for (name, line) in LINES {
        for &count in counts {
            // Nobody waits for a worker here, and the search would count as work.
            let builder = Runtime::builder().workers(1).spin(Duration::ZERO);
            let runtime = builder.build().expect("a runtime");
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_custom(|turns| {
                    let crowds = turns.div_ceil(count);
                    let start = processor_time();
                    let all = runtime.spawn(move || (0..crowds).for_each(|_| line(count)));
                    all.join().expect("no routine panics");
                    let taken = processor_time() - start;
                    taken.mul_f64(turns as f64 / (crowds * count) as f64)
                });
            });
            runtime.shutdown();
        }
    }
}

/// What all threads of this process have taken.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("no negative time")
}

fn spawn_and_join(count: u64) {
    join((0..count).map(|number| spawn(move || number)).collect());
}

/// All wait for the end of one channel.
fn crowd(count: u64) {
    let (end, waiting) = bounded::<()>(0);
    let there = WaitGroup::new();
    let routines = spawn_all(count, || {
        let (waiting, there) = (waiting.clone(), there.clone());
        move || {
            drop(there);
            assert!(waiting.recv().is_err());
        }
    });
    there.wait();
    drop(end);
    join(routines);
}

fn sleepers(count: u64) {
    let sleep = SLEEP + PER_SLEEPER * u32::try_from(count).expect("a million");
    let due = Instant::now() + sleep;
    join(spawn_all(count, || move || sleep_until(due)));
}

/// All wait for two channels, and get a message of one.
fn selectors(count: u64) {
    let channels = [bounded(0), bounded(0)];
    let there = WaitGroup::new();
    let routines = spawn_all(count, || {
        let [first, second] = channels.each_ref().map(|(_, receiver)| receiver.clone());
        let there = there.clone();
        move || {
            drop(there);
            let message = select! {
                recv(first) -> message => message,
                recv(second) -> message => message,
            };
            assert_eq!(message, Ok(()));
        }
    });
    there.wait();
    for (sender, _) in channels.iter().cycle().take(count as usize) {
        sender.send(()).expect("a receiver waits");
    }
    join(routines);
}

fn spawn_all<F>(count: u64, mut make: impl FnMut() -> F) -> Vec<JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    (0..count).map(|_| spawn(make())).collect()
}

fn join<T>(routines: Vec<JoinHandle<T>>) {
    for routine in routines {
        routine.join().expect("no routine panics");
    }
}

criterion_group! {
    name = benches;
    config = table::sampling(10, Duration::from_millis(100), Duration::from_secs(1));
    targets = growth
}

fn main() {
    table::run("CPU time, per routine", benches);
}
