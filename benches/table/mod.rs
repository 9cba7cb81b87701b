//! What Criterion has measured in a run, as a table: a row for each workload and size, a column for each of those that
//! are compared. Its reports with plots are in `target/criterion/report/index.html`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, Table, presets};
use criterion::Criterion;
use serde_json::Value;

/// How Criterion measures: so many samples, which take so long together.
pub(crate) fn sampling(samples: usize, warm_up: Duration, time: Duration) -> Criterion {
    Criterion::default()
        .sample_size(samples)
        .warm_up_time(warm_up)
        .measurement_time(time)
        // Ten times as many, the default, take longer than a short measurement.
        .nresamples(10_000)
}

/// Runs benchmarks, and shows the medians of what they have measured in a table about `what`.
pub(crate) fn run(what: &str, benches: impl FnOnce()) {
    let start = SystemTime::now();
    benches();
    Criterion::default().configure_from_args().final_summary();
    let mut measured: Vec<_> = folders(&reports(), 3).filter_map(|it| read(&it, start)).collect();
    measured.sort_by_key(|result| result.at);
    // As a test, or with a filter that nothing matches.
    if measured.is_empty() {
        return;
    }
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for result in &measured {
        if !rows.contains(&&result.row) {
            rows.push(&result.row);
        }
        if !columns.contains(&&result.column) {
            columns.push(&result.column);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([what].into_iter().chain(columns.iter().map(|column| column.as_str())));
    for row in rows {
        let cell = |column: &&String| {
            let result = measured.iter().find(|it| it.row == *row && it.column == **column);
            result.map_or("–".to_owned(), |result| time(result.median))
        };
        table.add_row([row.clone()].into_iter().chain(columns.iter().map(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\nmedians; plots in {}", reports().join("report/index.html").display());
}

/// One benchmark that has run.
struct Measured {
    at: SystemTime,
    row: String,
    column: String,
    /// In nanoseconds.
    median: f64,
}

/// Where Criterion writes.
fn reports() -> PathBuf {
    let of_target = |target| Path::new(&target).join("criterion");
    let in_target = || env::var_os("CARGO_TARGET_DIR").map(of_target);
    let folder = env::var_os("CRITERION_HOME").map(PathBuf::from).or_else(in_target);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/criterion"))
}

/// The folders that many levels below, and those in between.
fn folders(top: &Path, levels: u32) -> Box<dyn Iterator<Item = PathBuf>> {
    let inside = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    let inside = inside.filter(|path| path.is_dir());
    if levels == 1 {
        return Box::new(inside);
    }
    Box::new(inside.flat_map(move |path| folders(&path, levels - 1).chain([path])))
}

/// What was measured there since `start`, if anything.
fn read(folder: &Path, start: SystemTime) -> Option<Measured> {
    let estimates = folder.join("new/estimates.json");
    let at = fs::metadata(&estimates).ok()?.modified().ok()?;
    if at < start {
        return None;
    }
    let estimates = json(&estimates)?;
    let about = json(&folder.join("new/benchmark.json"))?;
    let text = |name: &str| about[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let row = [text("group_id"), text("value_str")].into_iter().flatten().collect::<Vec<_>>();
    Some(Measured {
        at,
        row: row.join(", "),
        column: text("function_id")?,
        median: estimates["median"]["point_estimate"].as_f64()?,
    })
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{nanoseconds:.1} ns"),
        1e3..1e6 => format!("{:.2} µs", nanoseconds / 1e3),
        _ => format!("{:.2} ms", nanoseconds / 1e6),
    }
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
