//! What the parts tell, and the table of it.

use std::time::Duration;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use indicatif::{HumanBytes, HumanCount};
use procfs::process::Process;
use rust_routines::Metrics;

use crate::options::Part;

/// Columns where nobody says how many there are: standard output is no terminal.
const WIDTH: u16 = 120;

/// What a part has done.
#[derive(Debug)]
pub(crate) struct Report {
    /// The work, in a sentence.
    pub(crate) what: String,
    /// Figures that belong to it.
    pub(crate) figures: Vec<String>,
    /// The process's memory when the part was at its fullest. What earlier parts have freed and the allocator has
    /// kept counts too.
    pub(crate) memory: Memory,
    /// A table of its own.
    pub(crate) digest: Option<Table>,
}

/// A part's report, with what can be said of every part.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) part: Part,
    pub(crate) elapsed: Duration,
    pub(crate) report: Report,
    pub(crate) metrics: Metrics,
}

/// The memory of this process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident in RAM.
    pub(crate) resident: u64,
    /// Page tables, which are not part of it.
    pub(crate) page_tables: u64,
    /// The most that was ever resident.
    peak: u64,
}

impl Memory {
    /// As it is now.
    pub(crate) fn now() -> Result<Self> {
        let status = Process::myself()?.status()?;
        let bytes = |kibibytes: Option<u64>| kibibytes.unwrap_or(0) * 1024;
        Ok(Self {
            resident: bytes(status.vmrss),
            page_tables: bytes(status.vmpte),
            peak: bytes(status.vmhwm),
        })
    }
}

/// An empty table in the style of this program.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    table
}

/// A number, to the right.
pub(crate) fn number(text: impl ToString) -> Cell {
    Cell::new(text.to_string()).set_alignment(CellAlignment::Right)
}

/// A count with its unit: `1 file`, `2,000 files`.
pub(crate) fn counted(count: u64, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {unit}{plural}", HumanCount(count))
}

/// A duration in the unit that suits it, to three digits or so.
pub(crate) fn time(duration: Duration) -> String {
    format!("{duration:.1?}")
}

/// How long one of `count` things took that took `elapsed` together.
pub(crate) fn each(elapsed: Duration, count: u64) -> String {
    time(Duration::from_secs_f64(elapsed.as_secs_f64() / count as f64))
}

/// How many of `count` things were done per second.
pub(crate) fn rate(count: u64, elapsed: Duration) -> HumanCount {
    HumanCount((count as f64 / elapsed.as_secs_f64()) as u64)
}

/// The table of everything, with the drivers above and the runtimes' counters below.
pub(crate) fn summary(outcomes: &[Outcome], elapsed: Duration) -> Result<String> {
    let Some(Outcome { metrics, .. }) = outcomes.first() else {
        return Ok("Every part was skipped.".to_owned());
    };
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    Ok(format!(
        "I/O driver {}, timer {}, {}, {build} build\n{}\n{}\n{} in all, at most {} resident",
        metrics.io_driver,
        metrics.timer_driver,
        counted(metrics.workers as u64, "worker"),
        parts(outcomes),
        counters(outcomes),
        time(elapsed),
        HumanBytes(Memory::now()?.peak),
    ))
}

/// A row for each part.
fn parts(outcomes: &[Outcome]) -> Table {
    let mut table = table(&["Part", "What it did", "Took", "Resident", "Page tables"]);
    for Outcome { part, elapsed, report, .. } in outcomes {
        let mut what = vec![report.what.clone()];
        what.extend(report.figures.iter().map(|figure| format!("· {figure}")));
        table.add_row([
            Cell::new(part),
            Cell::new(what.join("\n")),
            number(time(*elapsed)),
            number(HumanBytes(report.memory.resident)),
            number(HumanBytes(report.memory.page_tables)),
        ]);
    }
    table
}

/// A column for each part's runtime.
fn counters(outcomes: &[Outcome]) -> Table {
    type Counter = (&'static str, fn(&Metrics) -> u64);
    const COUNTERS: [Counter; 16] = [
        ("routines spawned", |metrics| metrics.spawned),
        ("… finished", |metrics| metrics.finished),
        ("… stolen before they began", |metrics| metrics.stolen),
        ("… handed to an idle worker", |metrics| metrics.handed_over),
        ("switches to a routine", |metrics| metrics.resumed),
        ("waits", |metrics| metrics.parks),
        ("sleeps of a worker", |metrics| metrics.slept),
        ("workers found stuck", |metrics| metrics.stuck),
        ("spare workers", |metrics| metrics.workers_spare as u64),
        ("I/O operations", |metrics| metrics.io_operations),
        ("… finished at once", |metrics| metrics.io_at_once),
        ("… handed to the pool", |metrics| metrics.pool.handed_over),
        ("pool threads at most", |metrics| metrics.pool.threads_peak as u64),
        ("timers armed", |metrics| metrics.timers_armed),
        ("… expired", |metrics| metrics.timers_fired),
        ("stacks at most", |metrics| metrics.stacks_high_water as u64),
    ];
    let mut table = table(&[]);
    let mut header = vec![Cell::new("The runtime's counters")];
    header.extend(outcomes.iter().map(|outcome| number(outcome.part)));
    table.set_header(header);
    for (name, count) in COUNTERS {
        let mut row = vec![Cell::new(name)];
        row.extend(outcomes.iter().map(|outcome| number(HumanCount(count(&outcome.metrics)))));
        table.add_row(row);
    }
    table
}
