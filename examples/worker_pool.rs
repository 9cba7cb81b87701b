//! A worker pool: some routines take jobs from one channel and send results into another. It needs no type of its
//! own. Routines cost next to nothing, so a pool is for limiting what they use: connections, memory, processors.
//!
//! `cargo run --release --example worker_pool -- --workers 3 --jobs 9`

use std::time::Duration;

use clap::Parser;
use rust_routines::channel::bounded;
use rust_routines::{scope, sleep};

#[derive(Debug, Parser)]
#[command(about = "Squares numbers, slowly, a few at a time")]
struct Options {
    /// How many jobs to work on at a time
    #[arg(long, default_value_t = 3)]
    workers: usize,

    /// How many jobs there are
    #[arg(long, default_value_t = 9)]
    jobs: u64,
}

fn main() {
    let options = Options::parse();
    let (jobs, next_job) = bounded::<u64>(0);
    let (results, done) = bounded(0);
    scope(|scope| {
        for worker in 0..options.workers.max(1) {
            let (next_job, results) = (next_job.clone(), results.clone());
            scope.spawn(move || {
                for job in next_job {
                    sleep(Duration::from_millis(10));
                    results.send((worker, job, job * job)).expect("somebody gathers the results");
                }
            });
        }
        drop(results);
        scope.spawn(move || (0..options.jobs).try_for_each(|job| jobs.send(job)));
        for (worker, job, square) in done {
            println!("worker {worker}: {job} squared is {square}");
        }
    });
}
