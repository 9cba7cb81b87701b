//! How well work spreads over the workers, given that a routine stays where it has started.
//!
//! Ratios, not times: each row compares with the same work done serially, or with one worker, in the same
//! run. What computes is calibrated and reads no clock. `cargo bench --bench balance`; without `--bench`
//! among its arguments the program makes one short round, to see that it works.

mod compute;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rust_routines::channel::bounded;
use rust_routines::{Handle, Runtime, spawn};

use self::compute::{calibrate, compute, timed};

/// Routines of a fan-out.
const ROUTINES: usize = 64;

/// The mean work of each, in microseconds.
const MEAN: u64 = 5_000;

/// The two halves of a fork, in microseconds.
const HALF: u64 = 5_000;

/// Round trips of all pairs together.
const ROUND_TRIPS: usize = 200_000;

/// How often each row is measured.
const REPETITIONS: usize = 15;

/// What is common to all rows.
struct Bench {
    per_micro: u64,
    repetitions: usize,
    workers: usize,
}

/// Runs `work` in a routine.
fn in_runtime<T: Send + 'static>(
    runtime: &Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    runtime.spawn(work).join().expect("no panic")
}

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().expect("a runtime")
}

impl Bench {
    /// Prints the median, least and greatest of what `measure` says, beside the goal.
    fn row(&self, name: &str, goal: &str, mut measure: impl FnMut() -> f64) {
        let mut ratios: Vec<f64> = (0..self.repetitions).map(|_| measure()).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{name:<58} {goal:>8} {:>8.3} {:>8.3} {:>8.3}",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }

    /// `spawn(half); half; join` against both halves one after the other.
    fn fork(&self, pause: Duration) {
        let runtime = runtime(self.workers);
        let half = HALF * self.per_micro;
        let name = format!("fork: spawn(5 ms); 5 ms; join / serial, {pause:?} apart");
        self.row(&name, "<= 0.60", || {
            thread::sleep(pause);
            let serial = in_runtime(&runtime, move || {
                timed(|| {
                    compute(half);
                    compute(half);
                })
            });
            thread::sleep(pause);
            let forked = in_runtime(&runtime, move || {
                timed(|| {
                    let other = spawn(move || compute(half));
                    compute(half);
                    other.join().expect("no panic");
                })
            });
            forked.as_secs_f64() / serial.as_secs_f64()
        });
        runtime.shutdown();
    }

    /// The same with two threads of the standard library and a channel: what the kernel makes of it.
    fn fork_threads(&self, pause: Duration) {
        let half = HALF * self.per_micro;
        let (call, called) = mpsc::sync_channel::<()>(1);
        let (done, all_done) = mpsc::sync_channel::<()>(1);
        let other = thread::spawn(move || {
            called.iter().for_each(|()| {
                compute(half);
                done.send(()).expect("a receiver");
            });
        });
        self.row("  two threads and channels, likewise", "", || {
            thread::sleep(pause);
            let serial = timed(|| {
                compute(half);
                compute(half);
            });
            thread::sleep(pause);
            let forked = timed(|| {
                call.send(()).expect("a receiver");
                compute(half);
                all_done.recv().expect("a sender");
            });
            forked.as_secs_f64() / serial.as_secs_f64()
        });
        drop(call);
        other.join().expect("no panic");
    }

    /// Routines that may all wait for a message before they compute. Two rows: the busy part of all workers
    /// together, by the clock, and what it would have been on processors of their own, by who did what. The
    /// second does not suffer from what else the machine does.
    fn fan_out(&self, name: &str, first: First, weights: &[u64]) {
        let runtime = runtime(self.workers);
        let name = format!("{name}, {}", first.name());
        let works: Vec<u64> = weights.iter().map(|micros| micros * self.per_micro).collect();
        let sum = works.iter().sum::<u64>() as f64;
        let heaviest = works.iter().max().copied().unwrap_or(0) as f64;
        // Nobody can be done before the heaviest is.
        let ideal = (sum / self.workers as f64).max(heaviest) / sum;
        let mut by_share = Vec::new();
        // Who has started stays where it is, and nobody can know then who will be the heaviest.
        let knowable = matches!(first, First::Compute) || heaviest / sum < 0.2;
        let goal = if knowable { ">= 0.90" } else { "" };
        self.row(&format!("{name}: busy part"), goal, || {
            let works_too = works.clone();
            let serial = in_runtime(&runtime, move || {
                timed(|| works_too.iter().for_each(|&work| compute(work)))
            });
            let works_too = works.clone();
            let spread = in_runtime(&runtime, move || first.fan_out(&works_too));
            by_share.push(ideal / spread.largest_share);
            ideal * serial.as_secs_f64() / spread.makespan.as_secs_f64()
        });
        let mut shares = by_share.into_iter();
        self.row("  by who did what", "", || shares.next().unwrap_or(f64::NAN));
        runtime.shutdown();
    }

    /// Pairs that talk, with all workers against one.
    fn pairs(&self, pairs: usize) {
        let (one, all) = (runtime(1), runtime(self.workers));
        let name = format!("{pairs} pairs that talk: {} workers / 1 worker", self.workers);
        self.row(&name, "<= 1.00", || {
            let alone = in_runtime(&one, move || timed(|| talk(pairs)));
            let together = in_runtime(&all, move || timed(|| talk(pairs)));
            together.as_secs_f64() / alone.as_secs_f64()
        });
        one.shutdown();
        all.shutdown();
    }
}

/// Ping-pong, the two of a pair spawned one after the other.
fn talk(pairs: usize) {
    let each = ROUND_TRIPS / pairs;
    let routines: Vec<_> = (0..pairs)
        .flat_map(|_| {
            let (ping, pings) = bounded::<usize>(0);
            let (pong, pongs) = bounded::<usize>(0);
            let left = spawn(move || {
                for round in 0..each {
                    ping.send(round).expect("a partner");
                    assert_eq!(pongs.recv(), Ok(round));
                }
            });
            let right = spawn(move || pings.iter().for_each(|n| pong.send(n).expect("a partner")));
            [left, right]
        })
        .collect();
    routines.into_iter().for_each(|routine| routine.join().expect("no panic"));
}

/// What the routines of a fan-out do first.
#[derive(Clone, Copy)]
enum First {
    /// Start, and wait for a message each, so that each is bound to a worker before it is known what it does.
    Wait,
    /// Compute right away.
    Compute,
}

impl First {
    fn name(self) -> &'static str {
        match self {
            First::Wait => "after a message",
            First::Compute => "at once",
        }
    }

    /// The makespan is from the message, or else the first spawn, until all are done.
    fn fan_out(self, works: &[u64]) -> Spread {
        let (senders, routines): (Vec<_>, Vec<_>) = works
            .iter()
            .map(|&work| {
                let (sender, message) = bounded::<u64>(1);
                if matches!(self, First::Compute) {
                    sender.send(work).expect("room");
                }
                (sender, message)
            })
            .unzip();
        let start = Instant::now();
        let routines: Vec<_> = routines
            .into_iter()
            .map(|message| {
                spawn(move || {
                    compute(message.recv().expect("a message"));
                    thread::current().id()
                })
            })
            .collect();
        let start = match self {
            First::Compute => start,
            First::Wait => {
                let runtime = Handle::try_current().expect("in a routine");
                while runtime.metrics().parked < works.len() as u64 {
                    rust_routines::sleep(Duration::from_micros(200));
                }
                let start = Instant::now();
                senders.iter().zip(works).for_each(|(sender, &work)| {
                    sender.send(work).expect("a receiver");
                });
                start
            }
        };
        let threads: Vec<_> =
            routines.into_iter().map(|routine| routine.join().expect("no panic")).collect();
        let makespan = start.elapsed();
        let mut done = HashMap::<ThreadId, u64>::new();
        threads
            .iter()
            .zip(works)
            .for_each(|(&thread, work)| *done.entry(thread).or_default() += work);
        let most = done.values().max().copied().unwrap_or(0);
        Spread { makespan, largest_share: most as f64 / works.iter().sum::<u64>() as f64 }
    }
}

/// How a fan-out went.
struct Spread {
    makespan: Duration,
    /// What part of all work the busiest thread has done.
    largest_share: f64,
}

/// Work in microseconds, with a mean of [`MEAN`].
fn distributions() -> [(&'static str, Vec<u64>); 5] {
    let count = ROUTINES as u64;
    let mut dice = fastrand::Rng::with_seed(64);
    let mut random = || dice.u64(..2 * MEAN);
    [
        ("even", vec![MEAN; ROUTINES]),
        ("random", (0..count).map(|_| random()).collect()),
        ("proportional to index", (0..count).map(|n| 2 * MEAN * n / count).collect()),
        (
            "every 16th does half of all",
            (0..count).map(|n| if n % 16 == 5 { MEAN * 8 } else { MEAN * 8 / 15 }).collect(),
        ),
        (
            "one does a quarter of all",
            (0..count).map(|n| if n == 40 { MEAN * 16 } else { MEAN * 48 / 63 }).collect(),
        ),
    ]
}

fn main() {
    let full = env::args().any(|argument| argument == "--bench");
    let bench = Bench {
        per_micro: calibrate(),
        repetitions: if full { REPETITIONS } else { 1 },
        workers: 2,
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{} workers, {} processors, load {}, {} iterations per µs, {} repetitions",
        bench.workers,
        thread::available_parallelism().map_or(0, usize::from),
        load.split(' ').next().unwrap_or("unknown"),
        bench.per_micro,
        bench.repetitions
    );
    println!("{:<58} {:>8} {:>8} {:>8} {:>8}", "", "goal", "median", "least", "greatest");
    for pause in [Duration::ZERO, Duration::from_millis(20)] {
        bench.fork(pause);
        bench.fork_threads(pause);
    }
    for first in [First::Wait, First::Compute] {
        for (name, weights) in distributions() {
            bench.fan_out(name, first, &weights);
        }
    }
    for pairs in [1, 2, 10, 100] {
        bench.pairs(pairs);
    }
}
