//! A process for each behaviour, and what it may leave behind there: nothing.
//!
//! Descriptors, threads and limits belong to a process, so only a test that is alone in its process can count
//! them. It also may change them, send signals, and hang without taking the others along.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Tells a child which test to run in its own process.
const CHILD: &str = "RR_CONFORMANCE_CHILD";

/// How often to look whether a child has ended, or what it leaves has gone.
const POLL: Duration = Duration::from_millis(2);

/// How long it may take until the kernel shows what has happened, on a loaded machine.
const SETTLING: Duration = Duration::from_secs(3);

/// Whether this process was started to run `test` and nothing else.
pub(super) fn is_for(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == test)
}

/// Runs `test` in a process that runs nothing else, for `limit` at the longest.
pub(super) fn run(test: &str, limit: Duration) {
    let mut output = tempfile::tempfile().expect("temporary file");
    let end = || output.try_clone().expect("dup");
    let mut child = Command::new(std::env::current_exe().expect("a test binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("the test binary runs");
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the state of the child") {
            break Some(status);
        }
        if since.elapsed() > limit {
            child.kill().expect("to kill the child");
            child.wait().expect("the child ends");
            break None;
        }
        thread::sleep(POLL);
    };
    let said = read(&mut output);
    match status {
        None => panic!("{test} hangs\n{said}"),
        // The harness succeeds too where it finds no test of that name.
        Some(status) if status.success() => assert!(said.contains("1 passed"), "{test}\n{said}"),
        Some(status) => panic!("{test}: {status}\n{said}"),
    }
}

fn read(output: &mut File) -> String {
    let mut said = Vec::new();
    output.rewind().expect("seek");
    output.read_to_end(&mut said).expect("read");
    String::from_utf8_lossy(&said).into_owned()
}

/// What this process has open and running.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Census {
    /// What each descriptor refers to.
    descriptors: BTreeMap<RawFd, String>,
    threads: usize,
}

impl Census {
    pub(super) fn take() -> Self {
        let links = fs::read_dir("/proc/self/fd").expect("descriptors").filter_map(|entry| {
            let path = entry.expect("a descriptor").path();
            // The one that looks is gone by now.
            let refers_to = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            let fd = path.file_name()?.to_str()?.parse().ok()?;
            (!refers_to.ends_with("/fd")).then_some((fd, refers_to))
        });
        let descriptors = links.collect();
        Self { descriptors, threads: fs::read_dir("/proc/self/task").expect("tasks").count() }
    }

    /// Asserts that nothing is there that was not there before.
    pub(super) fn assert_restored(before: &Self) {
        // The kernel takes a thread off its list a moment after it is joined.
        let now = settled(Self::take, |now| now == before);
        assert!(now == *before, "left behind: {now:#?}\nwhere there was {before:#?}");
    }
}

/// Asserts that no `epoll` instance of this process watches a descriptor that is not open any more: one of a file that
/// lives on elsewhere.
pub(super) fn assert_no_stale_registrations() {
    // Another thread may be in the middle of closing its own.
    let stale = settled(stale_registrations, Vec::is_empty);
    assert!(stale.is_empty(), "closed, but still watched: {stale:#?}");
}

/// What `look` sees as soon as it is fine, or in the end.
fn settled<T>(mut look: impl FnMut() -> T, fine: impl Fn(&T) -> bool) -> T {
    let since = Instant::now();
    loop {
        let seen = look();
        if fine(&seen) || since.elapsed() > SETTLING {
            return seen;
        }
        thread::sleep(POLL);
    }
}

fn stale_registrations() -> Vec<String> {
    let mut stale = Vec::new();
    for (fd, refers_to) in Census::take().descriptors {
        if refers_to != "anon_inode:[eventpoll]" {
            continue;
        }
        // A driver on another thread may close it meanwhile.
        let watched = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        stale.extend(watched.lines().filter(|line| !is_open(line)).map(str::to_owned));
    }
    stale
}

/// Whether a line of an `epoll` instance's `fdinfo` is about a file that is open under its old number, or about
/// no file at all.
fn is_open(line: &str) -> bool {
    let word = |name| {
        let (_, rest) = line.split_once(name)?;
        rest.split_whitespace().next()
    };
    let (Some(fd), Some(inode)) = (word("tfd:"), word("ino:")) else { return true };
    let inode = u64::from_str_radix(inode, 16).expect("an inode");
    fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|file| file.ino() == inode)
}
