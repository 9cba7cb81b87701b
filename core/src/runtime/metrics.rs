//! Counters of the runtime, and the view of them that users get.
//!
//! Every counter has one writer, its worker, so counting is a plain load and store; readers see a
//! value that is at most a moment old. Sums over workers are not a snapshot of one instant.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::driver::PoolMetrics;
use crate::park::WaitReason;

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.set(self.0.load(Ordering::Relaxed).wrapping_add(count));
    }

    pub(crate) fn subtract(&self, count: u64) {
        self.set(self.0.load(Ordering::Relaxed).wrapping_sub(count));
    }

    pub(crate) fn set(&self, value: u64) {
        // Release, for `Shared::live`: who sees a routine finished also sees what it spawned.
        self.0.store(value, Ordering::Release);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spawned: Counter,
    pub(crate) started: Counter,
    pub(crate) finished: Counter,
    pub(crate) panicked: Counter,
    pub(crate) canceled: Counter,
    pub(crate) resumed: Counter,
    pub(crate) stolen: Counter,
    pub(crate) handed_over: Counter,
    pub(crate) slept: Counter,
    pub(crate) io_operations: Counter,
    pub(crate) io_at_once: Counter,
    pub(crate) timers_armed: Counter,
    pub(crate) timers_fired: Counter,
    pub(crate) stacks_cached: Counter,
    /// Routines that run or are in the queue of the ready, now.
    pub(crate) runnable: Counter,
    /// Routines that wait and are not to be unwound, now.
    pub(crate) steadfast: Counter,
    /// Waits that did not end by the waiter's own look.
    pub(crate) served: Counter,
    /// By wait reason: how many waits began and how many have ended.
    pub(crate) parked: [Counter; WaitReason::COUNT],
    pub(crate) unparked: [Counter; WaitReason::COUNT],
}

impl Counters {
    /// How many of the worker's routines wait.
    pub(crate) fn parked_now(&self) -> u64 {
        let sum = |counters: &[Counter]| counters.iter().map(Counter::value).sum::<u64>();
        // What has ended first, so that no wait that begins meanwhile is missed, nor one counted twice.
        let ended = sum(&self.unparked);
        sum(&self.parked) - ended
    }
}

/// A moment's view of a runtime. Made by [`Runtime::metrics`](crate::Runtime::metrics).
///
/// Counts are totals since the runtime was built unless they say "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Worker threads.
    pub workers: usize,
    /// Workers asleep now.
    pub workers_sleeping: usize,
    /// Extra workers started because others were stuck.
    pub workers_spare: usize,
    /// Times that a worker was found stuck in one routine while others waited.
    pub stuck: u64,
    /// The I/O driver's name.
    pub io_driver: &'static str,
    /// The timer driver's name.
    pub timer_driver: &'static str,
    /// Routines that have been spawned and not finished, now.
    pub live: u64,
    /// Routines that can run, have been started or are about to be, and wait for their turn, now. Those that another
    /// worker has woken count once theirs has noticed.
    pub ready: u64,
    /// Routines that wait, now.
    pub parked: u64,
    /// The same by reason; only reasons that occur.
    pub parked_by_reason: Vec<(WaitReason, u64)>,
    /// Routines spawned.
    pub spawned: u64,
    /// Routines that have ended, in whichever way. One that was joined may count a moment later.
    pub finished: u64,
    /// Routines that ended by a panic.
    pub panicked: u64,
    /// Routines that shutdown ended.
    pub canceled: u64,
    /// Times that a worker switched to a routine.
    pub resumed: u64,
    /// Waits.
    pub parks: u64,
    /// Unstarted routines that a worker took from another.
    pub stolen: u64,
    /// Unstarted routines that a worker gave to one with less to do.
    pub handed_over: u64,
    /// Times that a worker lay down to sleep.
    pub slept: u64,
    /// I/O operations begun.
    pub io_operations: u64,
    /// Those of them that the driver finished without waiting.
    pub io_at_once: u64,
    /// Timers armed.
    pub timers_armed: u64,
    /// Timers that expired.
    pub timers_fired: u64,
    /// The I/O driver's thread pool; all zero once the runtime has stopped.
    pub pool: PoolMetrics,
    /// Stacks for which address space is mapped, now.
    pub stacks_mapped: usize,
    /// Stacks in use or cached by workers, now.
    pub stacks_in_use: usize,
    /// Stacks that workers keep for reuse, now.
    pub stacks_cached: usize,
    /// The most stacks that were ever in use or cached at once.
    pub stacks_high_water: usize,
}
