//! Handles to routines, and what a routine can do about itself.

use std::cell::Cell;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::cell::{Cancel, Counted};
use super::fiber::Suspend;
use crate::limit;
use crate::park::{checkpoint, end_turn, suspend};
use crate::runtime::worker::Worker;

/// Identifies a routine, or a thread that asked who it is, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutineId(pub(crate) u64);

impl RoutineId {
    /// Takes `count` ids at once and returns the first, so that workers need not compete for each.
    pub(crate) fn reserve(count: u64) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(count, Ordering::Relaxed)
    }
}

impl fmt::Display for RoutineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A handle to a routine, as `std::thread::Thread` is to a thread.
///
/// Outside of routines, [`current`] returns a handle to the calling thread, so that code which parks
/// and unparks works in both places.
#[derive(Clone)]
pub struct Routine(Who);

#[derive(Clone)]
enum Who {
    Routine(Counted),
    Thread(Thread, RoutineId),
}

/// Nothing that a panic could leave in disorder is reached through it.
impl UnwindSafe for Routine {}
impl RefUnwindSafe for Routine {}

impl Routine {
    pub(crate) fn from_counted(counted: Counted) -> Self {
        Self(Who::Routine(counted))
    }

    pub(crate) fn counted(&self) -> Option<&Counted> {
        match &self.0 {
            Who::Routine(counted) => Some(counted),
            Who::Thread(..) => None,
        }
    }

    /// The number of the routine.
    pub fn id(&self) -> RoutineId {
        match &self.0 {
            Who::Routine(counted) => counted.identity().id,
            Who::Thread(_, id) => *id,
        }
    }

    /// The name given by [`Builder::name`](crate::Builder::name); of a thread, the thread's.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Who::Routine(counted) => counted.identity().name.as_deref(),
            Who::Thread(thread, _) => thread.name(),
        }
    }

    /// Where in the source the routine was spawned. `None` for a thread.
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        match &self.0 {
            Who::Routine(counted) => Some(counted.identity().spawned_at),
            Who::Thread(..) => None,
        }
    }

    /// Makes the next or the current [`park`] of the routine return.
    ///
    /// Several calls before one `park` count as one. May be called from any routine or thread, also
    /// when the routine has ended.
    pub fn unpark(&self) {
        match &self.0 {
            Who::Routine(counted) => counted.token().notify(|| counted.link()),
            Who::Thread(thread, _) => thread.unpark(),
        }
    }
}

impl fmt::Debug for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routine")
            .field("id", &self.id().0)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The calling routine; outside of routines, the calling thread.
pub fn current() -> Routine {
    if let Some(link) = Worker::current_routine() {
        return Routine(Who::Routine(link.to_counted()));
    }
    thread_local! {
        static ID: Cell<Option<RoutineId>> = const { Cell::new(None) };
    }
    let id = ID.get().unwrap_or_else(|| {
        let id = RoutineId(RoutineId::reserve(1));
        ID.set(Some(id));
        id
    });
    Routine(Who::Thread(thread::current(), id))
}

/// Blocks until somebody calls [`Routine::unpark`] on the caller, or has done so before.
///
/// May return without a reason, as `std::thread::park` may: check what you wait for in a loop.
pub fn park() {
    park_until(None);
}

/// Blocks like [`park`], for `timeout` at the longest.
pub fn park_timeout(timeout: Duration) {
    // A timeout beyond the range of the clock is none.
    park_until(Instant::now().checked_add(timeout));
}

fn park_until(deadline: Option<Instant>) {
    match Worker::current_routine() {
        Some(link) => {
            if !link.token.wait(link, deadline) {
                checkpoint();
            }
        }
        None => {
            // Before and not after, when the token may be gone. The caller loops.
            match limit::earlier(deadline, checkpoint()) {
                Some(deadline) => {
                    thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
                }
                None => thread::park(),
            }
        }
    }
}

/// Lets the other routines that are ready on this worker run first; on a plain thread, yields that.
///
/// Those that are woken meanwhile go first, too, as a rule: computation that yields now and then does not get in the
/// way of what has to answer. One turn in 16 goes to routines that have yielded.
///
/// Calls that may wait give way by themselves now and then, even if they need not wait: those on channels, files and
/// sockets, and those that wait for a time. A lock or a permit that is free, a send into an unbounded channel, and what only
/// looks (`try_recv`, `is_finished`, a `select!` with a `default`), does not: a loop that consists of such calls has to call
/// this.
#[inline]
pub fn yield_now() {
    let Some(link) = Worker::current_routine() else {
        thread::yield_now();
        checkpoint();
        return;
    };
    suspend(link, Suspend::Yield);
    if link.at_home().cancel.get() != Cancel::No || link.at_home().limit.get().is_some() {
        checkpoint();
    }
}

/// For calls that have their answer at once, and may be all that a loop consists of: lets the other ready
/// routines run, and the shutdown end the loop, now and then, as calls that go to the driver do.
pub(crate) fn count_as_switch() {
    let is_over = |worker: &Worker| Worker::current_routine().is_some() && !worker.spend_switch();
    match Worker::with_current(is_over) {
        Some(true) => {
            end_turn();
            checkpoint();
        }
        Some(false) => {}
        // A plain thread has a limit at most.
        None => drop(checkpoint()),
    }
}
