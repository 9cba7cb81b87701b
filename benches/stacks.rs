//! What a stack costs, by its size and by where it comes from: to spawn a routine that parks, wake it, and join it.
//!
//! ```text
//! cargo bench --bench stacks
//! ```
//!
//! | row | shows | is bounded by |
//! |---|---|---|
//! | the runtime's size | stacks that workers keep and use again | switches and allocations: no system call, no page that is not there yet |
//! | own size | stacks that go back to the pool when the routine ends | the kernel: the pages are given back, and come back one fault at a time |
//!
//! Each with one routine at a time, and with 1,000 that are all there at once: the time is that of all by their number.
//! The size of a stack is address space, of which these routines touch a page; so the columns should be alike.

mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use rust_routines::{Builder, Runtime, ScopedJoinHandle, current, park, scope};

/// Bytes, the default in the middle.
const SIZES: [(&str, usize); 4] =
    [("64 KiB", 64 << 10), ("256 KiB", 256 << 10), ("1 MiB", 1 << 20), ("8 MiB", 8 << 20)];

/// Routines at once.
const CROWDS: [(&str, u64); 2] = [("one at a time", 1), ("1000 at once", 1000)];

/// Who says how large a stack is.
#[derive(Clone, Copy)]
enum Size {
    OfRuntime,
    Own(usize),
}

fn stacks(criterion: &mut Criterion) {
    for own in [false, true] {
        let whose = if own { "own size" } else { "the runtime's size" };
        let mut group = criterion.benchmark_group(whose);
        group.throughput(Throughput::Elements(1));
        for (crowd, count) in CROWDS {
            for (name, bytes) in SIZES {
                // One worker: where they run is not the matter here.
                let builder = Runtime::builder().workers(1);
                let builder = if own { builder } else { builder.stack_size(bytes) };
                let size = if own { Size::Own(bytes) } else { Size::OfRuntime };
                let runtime = builder.build().expect("a runtime");
                group.bench_function(BenchmarkId::new(name, crowd), |bencher| {
                    bencher.iter_custom(|turns| {
                        let measured = runtime.spawn(move || rounds(turns, count, size));
                        measured.join().expect("the routine does not panic")
                    });
                });
                runtime.shutdown();
            }
        }
    }
}

/// Has that many routines come and go, at most `crowd` at a time.
fn rounds(turns: u64, crowd: u64, size: Size) -> Duration {
    let start = Instant::now();
    let mut left = turns;
    while left > 0 {
        let now = left.min(crowd);
        round(usize::try_from(now).expect("a thousand"), size);
        left -= now;
    }
    start.elapsed()
}

fn round(count: usize, size: Size) {
    let spawner = &current();
    let parked = &AtomicUsize::new(0);
    scope(|scope| {
        let spawn = |_| {
            let builder = match size {
                Size::OfRuntime => Builder::new(),
                Size::Own(bytes) => Builder::new().stack_size(bytes),
            };
            let routine = builder.spawn_scoped(scope, || {
                if parked.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    spawner.unpark();
                }
                park();
            });
            routine.expect("there is room")
        };
        let routines: Vec<ScopedJoinHandle<'_, ()>> = (0..count).map(spawn).collect();
        while parked.load(Ordering::Relaxed) < count {
            park();
        }
        routines.iter().for_each(|routine| routine.routine().unpark());
        for routine in routines {
            routine.join().expect("no routine panics");
        }
    });
}

criterion_group! {
    name = benches;
    config = table::sampling(20, Duration::from_millis(300), Duration::from_secs(1));
    targets = stacks
}

fn main() {
    table::run("stacks, per routine", benches);
}
