//! The timers.
//!
//! | group | shows | is bounded by |
//! |---|---|---|
//! | arm and cancel | what a time-out costs that does not strike, as nearly all | the cache misses of one entry: both wheels take the same steps however many are armed, the heap as many as it has levels at worst |
//! | turnover | one is armed and one expires, while time moves on evenly | the moves of an entry between slots, and the looks at slots in which nothing is due; in the heap, the way down through its levels |
//!
//! | sleeps | 100 µs in a runtime, by 1 routine and by 64 | the 100 µs, over the number of routines; beyond it, the timer's resolution, which of the hashed wheel is its tick |
//!
//! The first two are their arithmetic alone, without a clock, with a thousand to a million timers armed, for 1 to 1000 ms.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use fastrand::Rng;
use rust_routines::driver::{TimerDriver, TimerKey};
use rust_routines::{Runtime, drivers};

use crate::{on_each, sampling, sleeps};

/// Timers that are armed.
const ARMED: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// The longest time that is armed, in nanoseconds.
const LONGEST: u64 = 1_000_000_000;

/// The shortest.
const SHORTEST: u64 = 1_000_000;

criterion_group! {
    name = benches;
    config = sampling();
    targets = arm_and_cancel, turnover, short_sleeps
}

/// Makes a timer of each kind.
const TIMERS: &[fn() -> Box<dyn TimerDriver>] = &[
    #[cfg(feature = "timer-hierarchical")]
    || Box::new(drivers::Hierarchical::new()),
    #[cfg(feature = "timer-hashed")]
    || Box::new(drivers::Hashed::new()),
    #[cfg(feature = "timer-heap")]
    || Box::new(drivers::Heap::new()),
];

fn arm_and_cancel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arm and cancel");
    group.throughput(Throughput::Elements(1));
    for armed in ARMED {
        for make in TIMERS {
            let mut timer = Armed::new(make(), armed);
            group.bench_function(BenchmarkId::new(timer.driver.name(), armed), |bencher| {
                bencher.iter(|| {
                    let deadline = timer.deadline();
                    let id = timer.driver.insert(deadline, TimerKey(armed));
                    assert!(timer.driver.cancel(id).is_some());
                });
            });
        }
    }
}

fn turnover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turnover");
    group.throughput(Throughput::Elements(1));
    for armed in ARMED {
        for make in TIMERS {
            let mut timer = Armed::new(make(), armed);
            group.bench_function(BenchmarkId::new(timer.driver.name(), armed), |bencher| {
                bencher.iter(|| timer.turn());
            });
        }
    }
}

fn short_sleeps(criterion: &mut Criterion) {
    let builder = |name: &str| Runtime::builder().timer_named(name).expect("its name was listed");
    on_each(
        criterion.benchmark_group("sleeps by timer"),
        drivers::timer_names().collect(),
        builder,
        sleeps,
    );
}

/// A timer with many entries, and its time.
struct Armed {
    driver: Box<dyn TimerDriver>,
    now: u64,
    /// How far time moves while one of the entries expires, on average.
    step: u64,
    expired: Vec<TimerKey>,
    random: Rng,
}

impl Armed {
    fn new(driver: Box<dyn TimerDriver>, count: usize) -> Self {
        let step = (SHORTEST + LONGEST) / 2 / count as u64;
        let mut timer =
            Self { driver, now: 0, step, expired: Vec::new(), random: Rng::with_seed(7) };
        for key in 0..count {
            let deadline = timer.deadline();
            timer.driver.insert(deadline, TimerKey(key));
        }
        timer
    }

    fn deadline(&mut self) -> u64 {
        self.now + self.random.u64(SHORTEST..=LONGEST)
    }

    /// Moves time on, as a worker does, and arms again what has expired.
    fn turn(&mut self) {
        self.now += self.step;
        if black_box(self.driver.next_deadline()).is_some_and(|next| next <= self.now) {
            self.driver.advance(self.now, &mut self.expired);
        }
        while let Some(key) = self.expired.pop() {
            let deadline = self.deadline();
            self.driver.insert(deadline, key);
        }
    }
}
