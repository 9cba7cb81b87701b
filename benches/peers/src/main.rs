//! The Rust side of `benches/peers/run`: does one workload for about as long as asked, and prints how many
//! nanoseconds one turn of it took. `main.go` is its counterpart.

mod channels;
mod crowd;
mod files;
mod mutex;
mod select;
mod workload;

use std::hint::black_box;

use clap::Parser;
use corosensei::{Coroutine, CoroutineResult};
use rust_routines::fs::File;
use rust_routines::sync::Mutex;
use rust_routines::{Runtime, channel, spawn, yield_now};

use workload::{BATCH, Workload};

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

fn main() {
    let options = Options::parse();
    let nanoseconds = match options.workload {
        Workload::RawSwitch => options.workload.measure(options.seconds, raw_switch),
        Workload::Yield => in_routine(&options, yields),
        Workload::SpawnJoin => in_routine(&options, spawn_join),
        Workload::SpawnBatch => in_routine(&options, spawn_batch),
        Workload::PingPong => in_routine(&options, channels::ping_pong),
        Workload::PingPongs => in_routine(&options, channels::ping_pongs),
        Workload::Spsc => in_routine(&options, channels::spsc),
        Workload::Mpmc => in_routine(&options, channels::mpmc),
        Workload::Mpsc => in_routine(&options, channels::mpsc),
        Workload::Select4 => in_routine(&options, select::select_4),
        Workload::Select32 => in_routine(&options, select::select_32),
        Workload::Mutex => in_routine(&options, mutex::mutex),
        Workload::Files => {
            files::file();
            in_routine(&options, files::files)
        }
        Workload::Sieve => in_routine(&options, crowd::sieve),
        Workload::Skynet => in_routine(&options, crowd::skynet),
    };
    println!("{nanoseconds:.2}");
}

fn in_routine(options: &Options, work: fn(u64)) -> f64 {
    let mut builder = Runtime::builder();
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    let runtime = builder.build().expect("a runtime can be made");
    let measure = || options.workload.measure(options.seconds, work);
    let nanoseconds = runtime
        .handle()
        .scope(|scope| scope.spawn(measure).join().expect("the workload does not panic"));
    runtime.shutdown();
    nanoseconds
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
