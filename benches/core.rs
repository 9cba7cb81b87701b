//! The heart alone: switching and spawning, without I/O and without timers. `channels` and `wakes` go on from there.
//!
//! ```text
//! cargo bench --bench core
//! ```
//!
//! What bounds the figures: a switch, the swap of two stacks (`raw-switch` of `benches/peers/run` says what that
//! costs here); a spawn, its one allocation and, with two workers, the way of cache lines from one core to the other.
//! One worker and all of them are shown, since what is won by a second core can be lost on the way to it.

mod table;

use std::hint::black_box;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use rust_routines::{Runtime, spawn, yield_now};

/// Routines of a batch.
const BATCH: u64 = 1000;

type Workload = (&'static str, fn(u64));

/// What is measured, each done a number of times.
const WORKLOADS: [Workload; 3] =
    [("switch", switch), ("spawn+join", spawn_join), ("spawn+join, 1000 at once", spawn_batch)];

fn core(criterion: &mut Criterion) {
    let all = available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, all];
    counts.dedup();
    for (name, workload) in WORKLOADS {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for workers in &counts {
            let runtime = Runtime::builder().workers(*workers).build().expect("a runtime");
            let plural = if *workers == 1 { "" } else { "s" };
            group.bench_function(format!("{workers} worker{plural}"), |bencher| {
                bencher.iter_custom(|turns| timed(&runtime, workload, turns));
            });
            runtime.shutdown();
        }
    }
}

/// How long the workload takes in a routine.
fn timed(runtime: &Runtime, workload: fn(u64), turns: u64) -> Duration {
    let measured = runtime.spawn(move || {
        let start = Instant::now();
        workload(turns);
        start.elapsed()
    });
    measured.join().expect("the workload does not panic")
}

/// Two routines yield to each other.
fn switch(turns: u64) {
    let other = spawn(move || (0..turns / 2).for_each(|_| yield_now()));
    (0..turns - turns / 2).for_each(|_| yield_now());
    other.join().expect("the other routine does not panic");
}

fn spawn_join(turns: u64) {
    for turn in 0..turns {
        black_box(spawn(move || turn).join().expect("the routine does not panic"));
    }
}

fn spawn_batch(turns: u64) {
    let mut handles = Vec::with_capacity(BATCH as usize);
    let mut left = turns;
    while left > 0 {
        let batch = left.min(BATCH);
        handles.extend((0..batch).map(|number| spawn(move || number)));
        for handle in handles.drain(..) {
            black_box(handle.join().expect("the routine does not panic"));
        }
        left -= batch;
    }
}

criterion_group! {
    name = benches;
    config = table::sampling(20, Duration::from_millis(500), Duration::from_secs(2));
    targets = core
}

fn main() {
    table::run("the heart, per turn", benches);
}
