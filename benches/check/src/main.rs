//! The hot paths, each a given number of times, for `run` to count their instructions. On one worker that never spins,
//! so that next to nothing depends on time.
//!
//! Uses only what has been there for long, since it is also built with older versions of the library.

use std::hint::black_box;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rust_routines::channel::{bounded, unbounded};
use rust_routines::sync::Mutex;
use rust_routines::{Runtime, sleep, spawn, yield_now};

#[derive(Debug, Parser)]
struct Options {
    path: Path,
    turns: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Path {
    Switch,
    SpawnJoin,
    SpawnBatch,
    PingPong,
    Buffered,
    Lock,
    ArmCancel,
    Sleep,
}

fn main() {
    let Options { path, turns } = Options::parse();
    let runtime = Runtime::builder().workers(1).spin(Duration::ZERO).build().expect("a runtime");
    let done = runtime.spawn(move || match path {
        Path::Switch => switch(turns),
        Path::SpawnJoin => {
            for turn in 0..turns {
                black_box(spawn(move || turn).join().expect("no panic"));
            }
        }
        Path::SpawnBatch => spawn_batch(turns),
        Path::PingPong => ping_pong(turns),
        Path::Buffered => buffered(turns),
        Path::Lock => {
            let mutex = Mutex::new(0);
            (0..turns).for_each(|turn| *mutex.lock().expect("no panic") += black_box(turn));
        }
        Path::ArmCancel => arm_cancel(turns),
        Path::Sleep => (0..turns).for_each(|_| sleep(Duration::from_nanos(1))),
    });
    done.join().expect("no panic");
    runtime.shutdown();
}

fn switch(turns: u64) {
    let other = spawn(move || (0..turns / 2).for_each(|_| yield_now()));
    (0..turns / 2).for_each(|_| yield_now());
    other.join().expect("no panic");
}

fn spawn_batch(turns: u64) {
    const BATCH: u64 = 100;
    for _ in 0..turns / BATCH {
        let batch: Vec<_> = (0..BATCH).map(|number| spawn(move || number)).collect();
        for routine in batch {
            black_box(routine.join().expect("no panic"));
        }
    }
}

fn ping_pong(turns: u64) {
    let (ping, pings) = bounded(0);
    let (pong, pongs) = bounded(0);
    let other = spawn(move || pings.iter().for_each(|turn| pong.send(turn).expect("a receiver")));
    for turn in 0..turns {
        ping.send(turn).expect("a receiver");
        assert_eq!(pongs.recv(), Ok(turn));
    }
    drop(ping);
    other.join().expect("no panic");
}

fn buffered(turns: u64) {
    let (sender, receiver) = unbounded();
    for turn in 0..turns {
        sender.send(turn).expect("a receiver");
        assert_eq!(receiver.recv(), Ok(turn));
    }
}

/// A wait with a time limit that does not strike.
fn arm_cancel(turns: u64) {
    let (ping, pings) = bounded(0);
    let other = spawn(move || pings.iter().for_each(|turn| _ = black_box(turn)));
    for turn in 0..turns {
        ping.send_timeout(turn, Duration::from_secs(60)).expect("a receiver");
    }
    drop(ping);
    other.join().expect("no panic");
}
