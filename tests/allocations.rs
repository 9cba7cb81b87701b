//! What a routine that only runs and returns costs: one allocation, and no stack of its own.
//!
//! A binary of its own, as it counts the allocations of the whole process, and one test at a time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rust_routines::{Builder, Handle, Metrics, park, spawn};

use self::support::chosen::builder;
use self::support::watchdog::watchdog;

mod support {
    pub(crate) mod chosen;
    pub(crate) mod watchdog;
}

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: forwards everything to an allocator, as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

/// One test at a time: they count everybody's allocations.
static TURN: Mutex<()> = Mutex::new(());

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUTINES: u64 = 100_000;

/// What others allocate meanwhile: the test harness, queues that grow while the process runs in, and a worker
/// that divides a batch with another.
const SLACK: u64 = ROUTINES / 25;

/// Stacks that workers have at hand, and stacks there is room for, whatever the number of routines: a few ahead
/// for each worker, and for spare ones that a busy machine may call for.
const MOST_IN_USE: usize = 64;
const MOST_MAPPED: usize = 1024;

fn metrics() -> Metrics {
    Handle::try_current().expect("in a routine").metrics()
}

/// How many allocations `work` makes once everything is warm, and the metrics after it.
fn count(work: impl Fn()) -> (u64, Metrics) {
    work();
    let start = ALLOCATIONS.load(Ordering::SeqCst);
    work();
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - start;
    (allocations, metrics())
}

/// Spawns a routine after the other.
fn one_by_one() {
    for number in 0..ROUTINES {
        assert_eq!(spawn(move || number).join().unwrap(), number);
    }
}

/// Spawns fifty at a time: more would make the worker's queue of unstarted routines grow, which then shrinks
/// again as they start.
fn in_batches() {
    for batch in 0..ROUTINES / 50 {
        let routines: [_; 50] = std::array::from_fn(|n| spawn(move || batch + n as u64));
        routines.into_iter().for_each(|routine| {
            routine.join().unwrap();
        });
    }
}

// Breaks if spawning, running, joining or placing a routine allocates anything beside the routine itself,
// or if routines that never wait get stacks of their own.
#[test]
fn a_routine_that_only_returns_costs_one_allocation_and_no_stack() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = watchdog(Duration::from_secs(50), "counting allocations");
    for workers in [1, 2] {
        let runtime = builder().workers(workers).build().unwrap();
        for (kind, work) in [("one by one", one_by_one as fn()), ("in batches", in_batches)] {
            let (allocations, after) = runtime.spawn(move || count(work)).join().unwrap();
            assert!(
                allocations <= ROUTINES + SLACK,
                "{kind}, {workers} workers: {allocations} allocations for {ROUTINES} routines"
            );
            assert!(after.stacks_mapped <= MOST_MAPPED, "{kind}, {workers} workers: {after:?}");
            assert!(after.stacks_in_use <= MOST_IN_USE, "{kind}, {workers} workers: {after:?}");
            println!(
                "{kind}, {workers} workers: {allocations} allocations for {ROUTINES} routines, {} stacks",
                after.stacks_in_use
            );
        }
        runtime.shutdown();
    }
}

// Breaks if the room for stacks that a worker sets aside when it spawns does not come back to it from the
// worker that runs the routine: then address space is used up by routines that are long gone.
#[test]
fn spawning_on_one_worker_what_another_runs_needs_no_more_room() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = watchdog(Duration::from_secs(50), "spawning for another worker");
    let runtime = builder().workers(2).build().unwrap();
    let mapped = runtime.spawn(|| {
        for _ in 0..ROUTINES / 50 {
            let routines: [_; 50] =
                std::array::from_fn(|_| Builder::new().spread().spawn(|| ()).unwrap());
            routines.into_iter().for_each(|routine| routine.join().unwrap());
        }
        metrics().stacks_mapped
    });
    let mapped = mapped.join().unwrap();
    assert!(mapped <= MOST_MAPPED, "{mapped} stacks mapped for 50 routines at a time");
    runtime.shutdown();
}

// Breaks if a worker that runs what others spawn, and so has no room for stacks set aside, takes them from the
// kernel one by one: a crowd costs twice the time then.
#[test]
fn a_worker_takes_stacks_ahead_for_routines_that_others_spawned() {
    // Not a sum of steps that double up to 64.
    const PARKED: u64 = 1_000;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = watchdog(Duration::from_secs(50), "stacks ahead");
    let runtime = builder().workers(1).build().unwrap();
    let routines: Vec<_> = (0..PARKED).map(|_| runtime.spawn(park)).collect();
    while runtime.metrics().parked < PARKED {
        thread::yield_now();
    }
    let metrics = runtime.metrics();
    assert!(metrics.stacks_in_use as u64 > PARKED, "{metrics:?}");
    routines.iter().for_each(|routine| routine.routine().unpark());
    routines.into_iter().for_each(|routine| routine.join().unwrap());
    runtime.shutdown();
}
