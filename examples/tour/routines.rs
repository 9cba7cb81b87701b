//! A great many routines wait on one channel; then each is woken by a message of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use procfs::{Current, Meminfo};
use rust_routines::channel::{Receiver, Sender, unbounded};
use rust_routines::{Builder, Handle, WaitReason, sleep, yield_now};

use crate::options::Options;
use crate::report::{Memory, Report, counted, each};

/// What a waiting routine takes: a page of its stack, its share of the page tables, and itself.
const BYTES_EACH: u64 = 4096 + 512 + 512;

/// Spawning gives way to what has been spawned after this many: long work on one worker is polite that way.
const STRIDE: u64 = 1024;

pub(crate) fn run(options: &Options, progress: &ProgressBar) -> Result<Report> {
    let count = affordable(options.routines)?;
    progress.set_length(2 * count);
    let before = Memory::now()?;
    let (wake, woken) = unbounded();
    let (reply, replies) = unbounded();

    let start = Instant::now();
    spawn_all(count, &woken, &reply, progress)
        .with_context(|| format!("cannot have {} at once", counted(count, "routine")))?;
    drop(reply);
    until_parked(count, progress);
    let parked = start.elapsed();
    let memory = Memory::now()?;

    let start = Instant::now();
    for number in 0..count {
        wake.send(number).context("nobody listens")?;
    }
    let (answered, sum) = replies.iter().fold((0, 0), |(count, sum), number: u64| {
        progress.inc(1);
        (count + 1, sum + number)
    });
    let finished = start.elapsed();
    ensure!(answered == count, "{count} were woken, but {answered} answered");
    ensure!(sum == count * (count - 1) / 2, "a message was lost, or came twice");

    let resident = memory.resident.saturating_sub(before.resident) / count;
    let page_tables = memory.page_tables.saturating_sub(before.page_tables) / count;
    let mut what =
        format!("{} waited on one channel, and all were woken", counted(count, "routine"));
    if count < options.routines {
        what += &format!(" (memory is short for {})", HumanCount(options.routines));
    }
    let figures = vec![
        format!("{} each to spawn and park", each(parked, count)),
        format!("{} each to wake and finish", each(finished, count)),
        format!(
            "{resident} B resident and {page_tables} B of page tables each, guard page included"
        ),
    ];
    Ok(Report { what, figures, memory, digest: None })
}

/// How many of `wanted` routines the machine has memory for.
fn affordable(wanted: u64) -> Result<u64> {
    let meminfo = Meminfo::current()?;
    let available = meminfo.mem_available.unwrap_or(meminfo.mem_free);
    let most = available / 10 * 9 / BYTES_EACH;
    ensure!(most > 0, "only {} of memory are available", HumanBytes(available));
    Ok(wanted.min(most))
}

fn spawn_all(
    count: u64,
    woken: &Receiver<u64>,
    reply: &Sender<u64>,
    progress: &ProgressBar,
) -> Result<()> {
    for spawned in 0..count {
        let (woken, reply) = (woken.clone(), reply.clone());
        let wait = move || {
            // An error means that the tour was broken off.
            if let Ok(number) = woken.recv() {
                let _ = reply.send(number);
            }
        };
        Builder::new().spawn(wait).with_context(|| format!("after {}", HumanCount(spawned)))?;
        if spawned % STRIDE == STRIDE - 1 {
            yield_now();
            progress.set_position(parked());
        }
    }
    Ok(())
}

fn until_parked(count: u64, progress: &ProgressBar) {
    while parked() < count {
        progress.set_position(parked());
        sleep(Duration::from_millis(1));
    }
}

/// How many routines wait for a message.
fn parked() -> u64 {
    let metrics = Handle::try_current().expect("this is a routine").metrics();
    let mut reasons = metrics.parked_by_reason.iter();
    reasons.find(|(reason, _)| *reason == WaitReason::ChannelReceive).map_or(0, |(_, count)| *count)
}
