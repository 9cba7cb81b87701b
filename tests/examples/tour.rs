//! The tour.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rust_routines::drivers;
use sha2::{Digest, Sha256};

use super::program::{Ended, example, path, run};

const LIMIT: Duration = Duration::from_secs(50);

/// A tree that does not change while the tests run.
const TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/timers/src");

fn tour(arguments: &[&str]) -> Ended {
    run(example("tour").args(arguments), LIMIT)
}

/// Fails if a part goes missing, does not work on some driver, or its numbers do not add up: the program checks them.
#[test]
fn every_part_runs_on_every_pair_of_drivers() {
    let run_on = |io, timer| {
        let small = ["--routines", "2000", "--connections", "100", "--timers", "500"];
        let ended = run(
            example("tour").args(small).args(["--dir", TREE, "--io", io, "--timer", timer]),
            LIMIT,
        );
        let output = ended.assert_success();
        for line in [
            &format!("I/O driver {io}, timer {timer}"),
            "2,000 routines waited on one channel, and all were woken",
            "100 connections served on loopback, all open at once, 1,000",
            "500 routines slept for 1 to 1000 ms, and none woke too early",
        ] {
            assert!(output.contains(line), "no {line:?} in\n{output}");
        }
    };
    // At once, since each sleeps most of the time.
    thread::scope(|threads| {
        for io in drivers::io_names() {
            for timer in drivers::timer_names() {
                threads.spawn(move || run_on(io, timer));
            }
        }
    });
}

/// Fails if the digest table says anything else than the files do.
#[test]
fn digests_are_those_of_the_files() {
    let output = tour(&["--only", "files", "--dir", TREE, "--top", "1000"]).output;
    let mut names: Vec<_> = fs::read_dir(TREE)
        .expect("the tree")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort_unstable();
    let mut all = Sha256::new();
    let mut lines = 0;
    for name in &names {
        let content = fs::read(Path::new(TREE).join(name)).expect("a file");
        let digest = Sha256::digest(&content);
        all.update(digest);
        lines += content.iter().filter(|byte| **byte == b'\n').count();
        assert_row(&output, name, &digest);
    }
    assert_row(&output, &format!("All {} files", names.len()), &all.finalize());
    let plain = output.replace(',', "");
    assert!(plain.contains(&format!("{lines} lines")), "{lines} lines in\n{output}");
}

/// The table has a row that begins so and holds the digest.
fn assert_row(table: &str, start: &str, digest: &[u8]) {
    let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let found = table.lines().any(|line| {
        line.trim_start_matches(['│', ' ']).starts_with(start) && line.contains(&digest)
    });
    assert!(found, "no row {start:?} with {digest} in\n{table}");
}

/// Fails if the tour tries to open more files than it may, or does not say that it holds back.
#[test]
fn fewer_files_make_fewer_connections() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 200 && exec \"$0\" --only connections"]).arg(path("tour"));
    let ended = run(&mut shell, LIMIT);
    let output = ended.assert_success();
    // Each needs two, and some are left for the drivers.
    let count = output.lines().find_map(|line| {
        let (before, _) = line.split_once(" connections served")?;
        before.split_whitespace().last()?.parse::<u32>().ok()
    });
    assert!(count.is_some_and(|count| (20..=100).contains(&count)), "{count:?} in\n{output}");
    assert!(output.contains("200 files"), "no reason in\n{output}");
}

/// Fails if a part runs that was not asked for.
#[test]
fn parts_can_be_chosen() {
    let only = tour(&["--only", "timers", "--timers", "10"]);
    assert!(only.assert_success().contains("10 routines slept"), "{}", only.output);
    let skip = tour(&["--skip", "routines,pipeline,files,connections", "--timers", "10"]);
    for output in [only.output, skip.assert_success().to_owned()] {
        assert!(!output.contains("routines waited"), "{output}");
        assert!(!output.contains("connections served"), "{output}");
    }
    let nothing = tour(&["--skip", "routines,pipeline,files,connections,timers"]);
    assert_eq!(nothing.assert_success(), "Every part was skipped.\n");
}

/// Fails if bad input is not refused with status 2 and the option's name.
#[test]
fn bad_options_are_refused() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (arguments, complaint) in [
        (["--io", "carrier-pigeon"], "--io"),
        (["--timer", "sundial"], "--timer"),
        (["--routines", "0"], "--routines"),
        (["--routines", "many"], "--routines"),
        (["--workers", "0"], "--workers"),
        (["--dir", "no/such/folder"], "--dir"),
        (["--dir", file], "--dir"),
        (["--only", "lunch"], "--only"),
    ] {
        let ended = tour(&arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(complaint), "{arguments:?}: {}", ended.errors);
        assert_eq!(ended.output, "", "{arguments:?}");
    }
}

/// Fails if the program was built with other drivers than this test, or does not show which it has.
#[test]
fn help_lists_the_drivers() {
    let help = tour(&["--help"]);
    let values = |names: Vec<&str>| format!("[possible values: {}]", names.join(", "));
    for list in [values(drivers::io_names().collect()), values(drivers::timer_names().collect())] {
        assert!(help.assert_success().contains(&list), "no {list} in\n{}", help.output);
    }
}
