//! The small examples: one thing each.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::program::{Ended, Running, example};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(30);

fn run(command: &mut std::process::Command) -> Ended {
    super::program::run(command, LIMIT)
}

// Breaks if the chain of routines loses a number, or its order.
#[test]
fn sieve_finds_the_first_primes() {
    let ended = run(example("sieve").args(["--primes", "10"]));
    assert!(ended.status.success(), "{ended:?}");
    let primes: Vec<u64> = ended.output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
}

// Breaks if a stage loses a file, or the pipeline does not end.
#[test]
fn pipeline_digests_each_file_once() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    for name in ["a", "b", "below/c"] {
        fs::write(directory.path().join(name), "abc").unwrap();
    }
    let ended = run(example("pipeline").arg("--directory").arg(directory.path()));
    assert!(ended.status.success(), "{ended:?}");
    // FIPS 180-2, appendix B.1.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let lines: Vec<&str> = ended.output.lines().collect();
    assert_eq!(lines.len(), 3, "{ended:?}");
    for (line, name) in lines.into_iter().zip(["a", "b", "below/c"]) {
        let path = directory.path().join(name);
        assert_eq!(line, format!("{digest}  {}", path.display()));
    }
}

// Breaks if the first error does not come out of the group.
#[test]
fn pipeline_says_what_it_could_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let ended = run(example("pipeline").arg("--directory").arg(&missing));
    assert!(!ended.status.success());
    assert!(ended.errors.contains(&missing.display().to_string()), "{ended:?}");
}

// Breaks if a job is done twice or not at all.
#[test]
fn worker_pool_does_each_job_once() {
    let ended = run(example("worker_pool").args(["--workers", "3", "--jobs", "9"]));
    assert!(ended.status.success(), "{ended:?}");
    let mut squares: Vec<u64> = ended
        .output
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    squares.sort_unstable();
    assert_eq!(squares, (0..9).map(|job| job * job).collect::<Vec<_>>());
}

// Breaks if a line gets lost or is shown for another's, or an end is not waited for.
#[test]
fn side_by_side_shows_whose_line_is_whose() {
    let ended = run(example("side_by_side").args(["echo a; echo b", "echo c; exit 3"]));
    assert!(ended.status.success(), "{ended:?}");
    let mut lines: Vec<&str> = ended.output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1: a", "1: b", "1: exit status: 0", "2: c", "2: exit status: 3"]);
}

// Breaks if a signal does not stop the commands and what they have started, or ends the program before it has waited
// for them.
#[test]
fn side_by_side_stops_at_ctrl_c() {
    let speaking = ["sleep 1000 & echo $!; wait", "exec sleep 1000"];
    // They run on when there is no output to be waited for any more.
    let silent =
        ["sleep 1000 > /dev/null & echo $!; exec > /dev/null; wait", "exec sleep 1000 > /dev/null"];
    for (signal, commands) in
        [(libc::SIGINT, speaking), (libc::SIGTERM, speaking), (libc::SIGINT, silent)]
    {
        let mut command = example("side_by_side");
        let (running, line) = Running::start(command.args(commands));
        let started = line.strip_prefix("1: ").unwrap_or_else(|| panic!("{line}"));
        assert!(is_running(started), "{line}");
        running.signal(signal);
        let (status, rest) = running.ended(LIMIT);
        assert!(status.success(), "{rest}");
        let lines: Vec<&str> = rest.lines().collect();
        assert!(lines[0].starts_with("stopping after SIG"), "{rest}");
        assert_eq!(lines[1..], ["1: signal: 9 (SIGKILL)", "2: signal: 9 (SIGKILL)"], "{rest}");
        let deadline = Instant::now() + LIMIT;
        while is_running(started) {
            assert!(Instant::now() < deadline, "{started} runs on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

// Whether there is a process of that number that has not ended, be it waited for or not.
fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Its state stands after its name, which is in parentheses.
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| !matches!(rest.trim().get(..1), None | Some("Z" | "X")))
}

// Breaks if drivers made of public items alone cannot carry a program.
#[test]
fn custom_driver_runs_a_program() {
    let ended = run(&mut example("custom_driver"));
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.output, "100 answers\nthrough a file\n", "{ended:?}");
}
