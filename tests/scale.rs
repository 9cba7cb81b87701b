//! A million routines at a time, as the system is found: every one with a stack, a guard below it, and a
//! page of memory.
//!
//! A binary with one test, as it measures the whole process.

use std::fs;
use std::hint::black_box;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::unbounded;
use rust_routines::{Runtime, spawn};

use self::support::chosen::builder;
use self::support::watchdog::watchdog;

mod support {
    pub(crate) mod chosen;
    pub(crate) mod watchdog;
}

const ROUTINES: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// Resident bytes for each: a page of stack is the floor, and the routine itself comes to that. Frames of a
/// debug build need a second page.
const MOST_RESIDENT: u64 = if cfg!(debug_assertions) { 4 * 4096 } else { 4710 };

/// Page tables for each. A stack has its own page-table entries, 64 to a page of them.
const MOST_PAGE_TABLES: u64 = 600;

/// What has to be available for a try.
const NEEDED: u64 = 8 << 30;

/// How many of the stacks are searched for their guards.
const SAMPLES: u64 = 100;

/// Address space of a stack, its guard included.
const STACK: usize = 256 * 1024;

/// The number of KiB in the line of a file under `/proc` that begins with `name`, in bytes.
fn proc_bytes(file: &str, name: &str) -> u64 {
    let content = fs::read_to_string(file).unwrap();
    let line = content.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn resident() -> u64 {
    proc_bytes("/proc/self/status", "VmRSS:")
}

fn page_tables() -> u64 {
    proc_bytes("/proc/self/status", "VmPTE:")
}

/// Waits until `condition` holds. The watchdog sees to it that this is not for ever.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the byte at `address` can be read, without reading it.
fn readable(pipe: &mut impl io::Write, address: usize) -> bool {
    // SAFETY: nothing is read here: the kernel checks the address, and fails with EFAULT where we would
    // fault.
    let byte = unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance(address), 1) };
    pipe.write(byte).is_ok()
}

/// Says what there is too little of for the test.
fn missing() -> Option<String> {
    let available = proc_bytes("/proc/meminfo", "MemAvailable:");
    (available < NEEDED)
        .then(|| format!("{} MiB of memory available, {} needed", available >> 20, NEEDED >> 20))
}

// Breaks if a parked routine takes more memory than a page and a little, if stacks lack their guards, use up
// mappings or are lost, if any wake-up is lost, or if memory is not given back.
#[test]
fn a_million_parked_routines_wake_finish_and_leave_nothing() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: {missing}");
        return;
    }
    let _watchdog = watchdog(Duration::from_secs(58), "a million routines");
    let runtime = builder().stack_size(STACK).build().unwrap();
    runtime.spawn(|| ()).join().unwrap();
    let (before, tables_before) = (resident(), page_tables());

    let start = Instant::now();
    let (messages, inbox) = unbounded::<u64>();
    let (addresses, samples) = unbounded::<usize>();
    let sum = Arc::new(AtomicU64::new(0));
    let sum_of_all = sum.clone();
    let spawner = runtime.spawn(move || {
        for number in 0..ROUTINES {
            let (inbox, sum) = (inbox.clone(), sum_of_all.clone());
            let address = (number % (ROUTINES / SAMPLES) == 0).then(|| addresses.clone());
            spawn(move || {
                if let Some(address) = address {
                    let local = 0_u8;
                    address.send(ptr::from_ref(black_box(&local)).expose_provenance()).unwrap();
                }
                sum.fetch_add(inbox.recv().unwrap(), Ordering::Relaxed);
            });
        }
    });
    spawner.join().unwrap();
    wait_until(|| runtime.metrics().parked == ROUTINES);
    let started = start.elapsed();

    let metrics = runtime.metrics();
    assert_eq!((metrics.live, metrics.stacks_in_use >= ROUTINES as usize), (ROUTINES, true));
    let each = (resident() - before) / ROUTINES;
    let tables_each = (page_tables() - tables_before) / ROUTINES;
    let mappings = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    println!(
        "{ROUTINES} parked in {started:?}: {each} B resident and {tables_each} B of page tables each, \
         {mappings} mappings"
    );
    assert!(each <= MOST_RESIDENT, "{each} B resident each");
    assert!(tables_each <= MOST_PAGE_TABLES, "{tables_each} B of page tables each");
    assert!(mappings < 1000, "{mappings} mappings");
    assert_guarded(samples.try_iter());

    let start = Instant::now();
    (0..ROUTINES).for_each(|number| messages.send(number).unwrap());
    wait_until(|| runtime.metrics().live == 0);
    println!("woken and finished in {:?}", start.elapsed());
    assert_eq!(sum.load(Ordering::Relaxed), ROUTINES * (ROUTINES - 1) / 2);
    drop(messages);

    let peak = each * ROUTINES;
    let start = Instant::now();
    wait_until(|| resident().saturating_sub(before) < peak / 8);
    println!("memory back after {:?}", start.elapsed());
    assert_alive(&runtime);
    runtime.shutdown();
}

/// Every one of these stacks ends in something that cannot be read.
fn assert_guarded(stacks: impl Iterator<Item = usize>) {
    let (_reader, mut writer) = io::pipe().unwrap();
    let mut seen = 0;
    for address in stacks {
        let pages = (address - STACK..address).rev().step_by(4096);
        assert!(pages.into_iter().any(|page| !readable(&mut writer, page)), "no guard");
        seen += 1;
    }
    assert_eq!(seen, SAMPLES);
}

/// The runtime is as good as new.
fn assert_alive(runtime: &Runtime) {
    let metrics = runtime.metrics();
    assert_eq!((metrics.live, metrics.parked, metrics.ready), (0, 0, 0));
    assert_eq!(runtime.spawn(|| spawn(|| 1).join().unwrap() + 1).join().unwrap(), 2);
}
