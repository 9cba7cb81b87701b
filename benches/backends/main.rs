//! What can be swapped, against each other: the I/O drivers by workload, and the timers by workload, a table of each.
//!
//! ```text
//! cargo bench --all-features --bench backends
//! ```
//!
//! What each group shows, and what bounds it, stands with the [I/O drivers](io) and with the [timers].

mod io;
mod timers;

#[path = "../table/mod.rs"]
mod table;

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use rust_routines::{RuntimeBuilder, scope, sleep};

/// Routines that take their turns at once: one shows latency, many show throughput.
const ROUTINES: [usize; 2] = [1, 64];

/// What the rows sleep that do.
const SLEEP: Duration = Duration::from_micros(100);

fn main() {
    table::run("I/O drivers, per turn", io::benches);
    table::run("timers, per turn", timers::benches);
}

fn sampling() -> Criterion {
    table::sampling(20, Duration::from_millis(500), Duration::from_secs(2))
}

/// Prepares and measures in a routine of a runtime of each kind, with each number of routines.
fn on_each<F>(
    mut group: BenchmarkGroup<'_, WallTime>,
    names: Vec<&'static str>,
    builder: fn(&str) -> RuntimeBuilder,
    prepare: fn(usize) -> F,
) where
    F: FnMut(u64) -> Duration + Send,
{
    group.throughput(Throughput::Elements(1));
    for routines in ROUTINES {
        for &name in &names {
            let runtime = builder(name).build().expect("a runtime");
            let inside = |work: &mut (dyn FnMut() -> Duration + Send)| {
                let result = runtime.handle().scope(|scope| scope.spawn(work).join());
                result.expect("the benchmark does not panic")
            };
            let mut measure = None;
            inside(&mut || {
                measure = Some(prepare(routines));
                Duration::ZERO
            });
            let mut measure = measure.expect("it was prepared");
            group.bench_function(BenchmarkId::new(name, routines), |bencher| {
                bencher.iter_custom(|turns| inside(&mut || measure(turns)));
            });
            // Servers of what is dropped here may wait for ever: the runtime ends them.
            drop(measure);
            drop(runtime);
        }
    }
}

/// Lets one routine per item take its share of the turns, and returns how long all of them take.
fn share<T: Send>(
    turns: u64,
    items: impl ExactSizeIterator<Item = T>,
    take: impl Fn(T, u64) + Sync,
) -> Duration {
    let routines = items.len() as u64;
    let start = Instant::now();
    scope(|scope| {
        for (index, item) in items.enumerate() {
            let share = turns / routines + u64::from((index as u64) < turns % routines);
            let take = &take;
            scope.spawn(move || take(item, share));
        }
    });
    start.elapsed()
}

/// Sleeps: beyond [`SLEEP`], the time of one routine is how late it wakes.
fn sleeps(routines: usize) -> impl FnMut(u64) -> Duration + Send {
    move |turns| share(turns, 0..routines, |_, turns| (0..turns).for_each(|_| sleep(SLEEP)))
}
