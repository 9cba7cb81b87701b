//! The seam to timers: one [`TimerDriver`] per worker, pure arithmetic on nanoseconds.
//!
//! A driver reads no clock, owns no thread and calls nothing back. The worker tells it the time and
//! is told which keys are due, so one model-based test drives every implementation without
//! sleeping (`rust-routines-conformance`, `timer_driver_suite!`).
//!
//! # Contract
//!
//! 1. Time is a `u64` count of nanoseconds since an epoch that the caller chose (the runtime uses the
//!    moment it was built). Any `u64` is a valid deadline, `u64::MAX` included: it simply never comes.
//! 2. Every method is called from one thread, the worker's, and never re-entrantly.
//!    A driver must not call what blocks or parks.
//! 3. `advance` is called with times that never decrease. A time equal to, or (by a clock's fault)
//!    before, the last one is legal and must do no harm.
//! 4. A key comes out of `advance` exactly once unless its timer was cancelled first, and never
//!    before its deadline.
//! 5. The lateness that a driver adds is its own documented granularity, at most; `next_deadline`
//!    is never later than the moment at which `advance` would hand out the next key.

use std::fmt;

/// What the caller wants back when a timer expires. The driver never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey(pub usize);

/// Names an armed timer for [`TimerDriver::cancel`].
///
/// The driver chooses the number. It must tell an id whose timer has expired or was cancelled from
/// those of timers armed later (a generation count does), since a stale cancel must do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// A set of armed timers. See the [module docs](self) for the contract.
pub trait TimerDriver: fmt::Debug {
    /// A short name for tables and logs, such as `"hierarchical"`.
    fn name(&self) -> &'static str;

    /// Arms a timer that expires once the time passed to [`advance`](Self::advance) reaches
    /// `deadline`. A deadline in the past expires at the next `advance`.
    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId;

    /// Disarms a timer and returns its key, or `None` if it has expired or was cancelled before.
    fn cancel(&mut self, id: TimerId) -> Option<TimerKey>;

    /// When [`advance`](Self::advance) should be called next, or `None` while nothing is armed.
    ///
    /// May be earlier than the earliest deadline (a wheel has work to do in between), and may lie in
    /// the past.
    fn next_deadline(&self) -> Option<u64>;

    /// Moves time to `now` and appends the keys of all timers that have become due to `expired`.
    ///
    /// Keys with the same deadline may come in any order.
    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>);

    /// How many timers are armed.
    fn len(&self) -> usize;

    /// Whether no timer is armed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes one [`TimerDriver`] per worker. Implemented by every suitable closure, so a driver is
/// chosen with `Runtime::builder().timer(Hierarchical::new)`.
pub trait TimerBackend: Send + Sync + 'static {
    /// The name of the drivers that it makes.
    fn name(&self) -> &'static str {
        self.driver().name()
    }

    /// Makes the driver of one worker. Called on that worker's thread as it starts.
    fn driver(&self) -> Box<dyn TimerDriver>;
}

impl<F, D> TimerBackend for F
where
    F: Fn() -> D + Send + Sync + 'static,
    D: TimerDriver + 'static,
{
    fn driver(&self) -> Box<dyn TimerDriver> {
        Box::new(self())
    }
}
