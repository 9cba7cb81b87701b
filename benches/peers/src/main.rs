//! The Rust side of `benches/peers/run`: does one workload for about as long as asked, and prints how many
//! nanoseconds one turn of it took. `main.go` is its counterpart.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use corosensei::{Coroutine, CoroutineResult};
use rust_routines::channel::bounded;
use rust_routines::{Runtime, spawn, yield_now};

/// Routines of a batch.
const BATCH: u64 = 1000;

/// Turns to begin with: some thousandths of a second, which are for warming up.
const WARM_UP: u64 = 20_000;

#[derive(Debug, Parser)]
struct Options {
    workload: Workload,

    /// Worker threads [default: one per core]
    #[arg(long)]
    workers: Option<usize>,

    /// How long to measure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Workload {
    /// A coroutine without a runtime is resumed and suspends: what a switch is made of
    RawSwitch,
    /// Two routines yield to each other; a turn is one switch
    Yield,
    /// A routine is spawned and joined, one after the other
    SpawnJoin,
    /// Routines are spawned and joined a thousand at a time; a turn is one of them
    SpawnBatch,
    /// Two routines hand a number back and forth over channels without a buffer; a turn is there and back
    PingPong,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let nanoseconds = match options.workload {
        Workload::RawSwitch => measure(&options, raw_switch),
        Workload::Yield => in_routine(&options, yields)?,
        Workload::SpawnJoin => in_routine(&options, spawn_join)?,
        Workload::SpawnBatch => in_routine(&options, spawn_batch)?,
        Workload::PingPong => in_routine(&options, ping_pong)?,
    };
    println!("{nanoseconds:.2}");
    Ok(())
}

fn in_routine(options: &Options, workload: fn(u64)) -> io::Result<f64> {
    let mut builder = Runtime::builder();
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    let runtime = builder.build()?;
    let nanoseconds = runtime.handle().scope(|scope| {
        scope.spawn(|| measure(options, workload)).join().expect("the workload does not panic")
    });
    runtime.shutdown();
    Ok(nanoseconds)
}

/// Nanoseconds per turn. The number of turns is chosen by a first, shorter run.
fn measure(options: &Options, workload: fn(u64)) -> f64 {
    let run = |turns: u64| {
        let start = Instant::now();
        workload(turns);
        start.elapsed()
    };
    run(WARM_UP);
    let first = run(WARM_UP).max(Duration::from_nanos(1));
    let turns = options.seconds / first.as_secs_f64() * WARM_UP as f64;
    let turns = (turns as u64).next_multiple_of(BATCH);
    run(turns).as_secs_f64() * 1e9 / turns as f64
}

fn raw_switch(turns: u64) {
    let mut coroutine = Coroutine::new(|yielder, first| {
        let mut turn: u64 = first;
        loop {
            turn = yielder.suspend(turn);
            if turn == 0 {
                return;
            }
        }
    });
    for turn in 1..=turns {
        black_box(coroutine.resume(turn));
    }
    assert!(matches!(coroutine.resume(0), CoroutineResult::Return(())));
}

fn yields(turns: u64) {
    let other = spawn(move || (0..turns / 2).for_each(|_| yield_now()));
    (0..turns / 2).for_each(|_| yield_now());
    other.join().expect("the other routine does not panic");
}

fn spawn_join(turns: u64) {
    for turn in 0..turns {
        assert_eq!(spawn(move || turn).join().expect("the routine does not panic"), turn);
    }
}

fn spawn_batch(turns: u64) {
    let mut handles = Vec::with_capacity(BATCH as usize);
    for batch in 0..turns / BATCH {
        handles.extend((0..BATCH).map(|number| spawn(move || batch + number)));
        for (number, handle) in handles.drain(..).enumerate() {
            assert_eq!(handle.join().expect("the routine does not panic"), batch + number as u64);
        }
    }
}

fn ping_pong(turns: u64) {
    let (ping, pings) = bounded(0);
    let (pong, pongs) = bounded(0);
    let other = spawn(move || {
        for number in pings {
            pong.send(number + 1).expect("the other end is there");
        }
    });
    for turn in 0..turns {
        ping.send(turn).expect("the other end is there");
        assert_eq!(pongs.recv(), Ok(turn + 1));
    }
    drop(ping);
    other.join().expect("the other routine does not panic");
}
