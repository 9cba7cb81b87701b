//! The peers of Rust Routines that are written in Rust: does one workload for about as long as asked, and prints how
//! many nanoseconds one turn of it took, or what else it counts. `benches/peers/run` builds and runs it.

mod may;
mod smol;
mod threads;
mod tokio;
#[path = "../../src/workload.rs"]
mod workload;

use std::process::ExitCode;
use std::thread;

use clap::{Parser, ValueEnum};

use workload::Workload;

#[derive(Debug, Parser)]
struct Options {
    contestant: Contestant,

    workload: Workload,

    /// Worker threads [default: one per core]; threads that are contestants have none
    #[arg(long)]
    workers: Option<usize>,

    /// How long to measure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

impl Options {
    /// How many workers there are.
    fn workers(&self) -> usize {
        let cores = || thread::available_parallelism().expect("there are cores").get();
        self.workers.unwrap_or_else(cores)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Contestant {
    /// Threads of the system with crossbeam-channel and std's mutex
    Threads,
    /// Tasks of tokio with its channels and mutex; rendezvous are flume's, the channel of many is async-channel's
    Tokio,
    /// Tasks of smol with its channels and mutex; rendezvous are flume's
    Smol,
    /// Coroutines of may with its channels and mutex
    May,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let numbers = match options.contestant {
        Contestant::Threads => threads::run(&options),
        Contestant::Tokio => tokio::run(&options),
        Contestant::Smol => smol::run(&options),
        Contestant::May => may::run(&options),
    };
    let Some(numbers) = numbers else {
        eprintln!("{:?} has no {:?}", options.contestant, options.workload);
        return ExitCode::FAILURE;
    };
    workload::print(numbers);
    ExitCode::SUCCESS
}
