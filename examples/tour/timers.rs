//! A great many routines sleep, each for a time of its own, and tell how late they were woken.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use rust_routines::channel::unbounded;
use rust_routines::{Builder, sleep, yield_now};

use crate::options::Options;
use crate::report::{Memory, Report, counted, time};

const MILLISECONDS: RangeInclusive<u64> = 1..=1000;

/// Spawning gives way after this many, so that the first sleepers do not wait for the last to be spawned.
const STRIDE: u64 = 64;

pub(crate) fn run(options: &Options, progress: &ProgressBar) -> Result<Report> {
    let count = options.timers;
    progress.set_length(count);
    let (woken, wakes) = unbounded();
    for spawned in 0..count {
        let woken = woken.clone();
        let doze = move || {
            let duration = Duration::from_millis(fastrand::u64(MILLISECONDS));
            let start = Instant::now();
            sleep(duration);
            // None if it was woken too early.
            let _ = woken.send(start.elapsed().checked_sub(duration));
        };
        Builder::new().spawn(doze).context("cannot have a routine for each timer")?;
        if spawned % STRIDE == STRIDE - 1 {
            yield_now();
        }
    }
    drop(woken);
    let memory = Memory::now()?;

    let mut lateness = Histogram::<u64>::new(3)?;
    for late in wakes {
        let late = late.context("a routine woke before its time")?;
        lateness.record(late.as_nanos() as u64)?;
        progress.inc(1);
    }
    ensure!(lateness.len() == count, "{count} went to sleep, {} woke up", lateness.len());
    let at = |quantile| time(Duration::from_nanos(lateness.value_at_quantile(quantile)));
    Ok(Report {
        what: format!(
            "{} slept for 1 to 1000 ms, and none woke too early",
            counted(count, "routine")
        ),
        figures: vec![format!("late by p50 {}, p99 {}, at most {}", at(0.5), at(0.99), at(1.0))],
        memory,
        digest: None,
    })
}
