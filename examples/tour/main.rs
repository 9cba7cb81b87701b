//! A tour of Rust Routines: a million routines, a pipeline, files, connections and timers, on the drivers of your
//! choice, and then one table of what it all took.
//!
//! ```text
//! cargo run --release --example tour
//! cargo run --release --example tour -- --io pool --timer hashed --only routines,timers
//! ```
//!
//! Each part runs in a routine of its own runtime, so that its memory and its counters are its own. Nothing is
//! taken on trust: every part checks its result (all were woken, the sums agree, each reply is the right one), and
//! one that does not add up ends the tour with an error.

mod connections;
mod files;
mod options;
mod pipeline;
mod report;
mod routines;
mod timers;
mod walk;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rust_routines::{Runtime, sleep};

use crate::options::{Options, Part};
use crate::report::{Outcome, Report};

/// How long a part's last routines may take to end once its result is there.
const WIND_DOWN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match tour(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tour(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut outcomes = Vec::new();
    for part in options.parts() {
        outcomes.push(run(part, options).with_context(|| format!("the part {part} failed"))?);
    }
    for digest in outcomes.iter().filter_map(|outcome| outcome.report.digest.as_ref()) {
        println!("{digest}\n");
    }
    println!("{}", report::summary(&outcomes, start.elapsed())?);
    Ok(())
}

/// Runs one part in a routine of a new runtime.
fn run(part: Part, options: &Options) -> Result<Outcome> {
    let runtime = options.runtime()?;
    let progress = progress(part);
    let start = Instant::now();
    let report = runtime
        .handle()
        .scope(|scope| scope.spawn(|| play(part, options, &progress)).join())
        .map_err(|_| anyhow!("it panicked"))??;
    let elapsed = start.elapsed();
    progress.finish_and_clear();
    wind_down(runtime, part, elapsed, report)
}

fn play(part: Part, options: &Options, progress: &ProgressBar) -> Result<Report> {
    match part {
        Part::Routines => routines::run(options, progress),
        Part::Pipeline => pipeline::run(options, progress),
        Part::Files => files::run(options, progress),
        Part::Connections => connections::run(options, progress),
        Part::Timers => timers::run(options, progress),
    }
}

/// Ends the runtime, once all its routines have.
fn wind_down(runtime: Runtime, part: Part, elapsed: Duration, report: Report) -> Result<Outcome> {
    let deadline = Instant::now() + WIND_DOWN;
    while runtime.metrics().live > 0 {
        ensure!(Instant::now() < deadline, "of its routines, {} never end", runtime.metrics().live);
        sleep(Duration::from_millis(1));
    }
    let metrics = runtime.metrics();
    runtime.shutdown();
    ensure!(
        metrics.spawned == metrics.finished && metrics.panicked == 0,
        "of {} routines {} finished and {} panicked",
        metrics.spawned,
        metrics.finished,
        metrics.panicked
    );
    Ok(Outcome { part, elapsed, report, metrics })
}

/// A bar on standard error; nothing where that is not a terminal.
fn progress(part: Part) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix:>12} {bar:40} {human_pos:>9}/{human_len} {msg} {elapsed}",
    )
    .expect("the template is well-formed");
    ProgressBar::new(0).with_style(style).with_prefix(part.to_string())
}
