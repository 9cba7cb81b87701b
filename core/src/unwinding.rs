//! Whether the caller is unwinding, and the unwinding of those whose wait is over: their runtime shuts down, or their
//! limit has passed.
//!
//! To unwind what unwinds already ends the process, so it must be known who does. The count behind
//! [`std::thread::panicking`] is the thread's: a routine that waits in a destructor leaves its share there, and makes
//! all its neighbours seem to unwind. Three facts tell them apart:
//!
//! 1. If the count is zero as a routine is suspended, it does not unwind, and none of its code runs before it is
//!    resumed.
//! 2. If the count is not zero, and no suspended routine of the worker seems to unwind, it is that of the one that runs.
//! 3. Who panics passes by the panic hook, and who is unwound from here passes by here.
//!
//! What is left is who was unwound by a [`resume_unwind`] of the program's, or under a hook that took the
//! place of ours, while a neighbour waits in a destructor. Hence [`Perhaps`](Unwinding::Perhaps): the caller waits for
//! that neighbour, and after [`PATIENCE`] counts as unwinding: it is told of an error instead of being unwound, for
//! as long as the neighbour is there.

use std::any::Any;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use crate::claim::Outcome;
use crate::limit::{self, Exceeded};
use crate::park::{Commit, Patience, WaitReason, Waiter, park, suspend};
use crate::routine::cell::{Cancel, Canceled, Link};
use crate::routine::fiber::Suspend;
use crate::runtime::worker::Worker;

/// What is known of a routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwinding {
    /// It does not unwind, or has begun to since it was last suspended.
    No,
    /// Somebody on its worker does.
    Perhaps,
    /// It does, unless it has caught that: which is seen when it is suspended and nobody on its worker unwinds.
    Yes,
}

/// How long the caller waits for neighbours that are in its way.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it lets them run in between.
const PAUSE: Duration = Duration::from_millis(1);

/// How often a destructor that waits looks whether it was taken for one only by mistake.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a routine may do against the shutdown of its runtime: so often it may be unwound, or spared since it may be
/// unwinding, and block again,
const RESISTED: u32 = MOST / 64;
/// or be refused to wait while it is unwinding.
const ERROR: u32 = 1;

/// How much of that may come together.
///
/// A server loop that catches every panic and accepts again would otherwise keep the shutdown busy
/// for ever. Well-behaved code never needs more than one unwinding per `catch_unwind` on its stack.
pub(crate) const MOST: u32 = 1 << 20;

/// Whether the caller itself is unwinding, as far as is known. What need not be certain goes by this.
#[inline]
pub(crate) fn panicking() -> bool {
    thread::panicking() && of_caller() == Unwinding::Yes
}

/// What is known of the caller, since whose last wait its own code may have run.
#[cold]
fn of_caller() -> Unwinding {
    if !thread::panicking() {
        return Unwinding::No;
    }
    let of_routine =
        |worker: &Worker| Worker::current_routine().map(|link| worker.seems_to_unwind(link));
    Worker::with_current(of_routine).flatten().unwrap_or(Unwinding::Yes)
}

/// Whether the caller is unwinding. It has just waited.
#[cold]
pub(crate) fn is_unwinding() -> bool {
    match Worker::current_routine() {
        Some(link) => {
            let unwinding = settle(link, link.at_home().unwinding.get()) != Unwinding::No;
            freeze_if_given_up(link);
            unwinding
        }
        None => thread::panicking(),
    }
}

/// Waits until it is known whether the caller is unwinding, as long as patience lasts.
fn settle(link: Link, mut unwinding: Unwinding) -> Unwinding {
    let start = Instant::now();
    while unwinding == Unwinding::Perhaps {
        if start.elapsed() >= PATIENCE {
            // Once for all, until the thread has no panic any more.
            link.at_home().unwinding.set(Unwinding::Yes);
            break;
        }
        let waiter = Waiter::new();
        let patience = Patience::SteadfastUntil(Instant::now() + PAUSE);
        park(&waiter, WaitReason::Sleep, patience, || Commit::Park);
        unwinding = link.at_home().unwinding.get();
    }
    unwinding
}

/// Unwinds the caller because its runtime shuts down or its limit was reached. Returns if it is already
/// unwinding. It has just waited.
///
/// A routine that keeps catching the unwinding of a shutdown is frozen: see
/// [`Runtime::shutdown_timeout`](crate::Runtime::shutdown_timeout).
pub(crate) fn unwind_canceled() {
    match Worker::current_routine() {
        Some(link) => unwind_routine(link, link.at_home().unwinding.get()),
        None => unwind_thread(),
    }
}

/// As [`unwind_canceled`], for a caller that has not waited.
pub(crate) fn unwind_at_checkpoint() {
    match Worker::current_routine() {
        Some(link) => match of_caller() {
            // It has not waited, and goes on.
            Unwinding::Yes => {}
            unwinding => unwind_routine(link, unwinding),
        },
        None => unwind_thread(),
    }
}

/// As [`unwind_at_checkpoint`], for a caller that may hold a lock of std's, and is not to be suspended: while it is not known
/// whether it is unwinding, it goes on, and is asked again. If it never calls what may wait, that has an end, too.
pub(crate) fn unwind_in_place() {
    match Worker::current_routine() {
        Some(link) if of_caller() == Unwinding::Perhaps && !is_overdue(link) => {}
        _ => unwind_at_checkpoint(),
    }
}

/// Whether a routine that is to be unwound has gone on for long. Counts that it does.
fn is_overdue(link: Link) -> bool {
    match link.at_home().cancel.get() {
        Cancel::Requested(resisted) if resisted < RESISTED => {
            link.at_home().cancel.set(Cancel::Requested(resisted + ERROR));
            false
        }
        Cancel::Requested(_) => true,
        Cancel::No => limit::of(Some(link)).is_some_and(|limit| limit.elapsed() >= PATIENCE),
    }
}

/// Goes on with a panic that was caught, as [`resume_unwind`] does, and lets it be known.
pub(crate) fn resume(payload: Box<dyn Any + Send>) -> ! {
    if let Some(link) = Worker::current_routine() {
        link.at_home().unwinding.set(Unwinding::Yes);
    }
    resume_unwind(payload)
}

fn unwind_thread() {
    if let Some(limit) = limit::of(None)
        && !thread::panicking()
    {
        resume_unwind(Box::new(Exceeded(limit)));
    }
}

/// Ends a routine that does not let itself be unwound, or waits in vain.
fn freeze_if_given_up(link: Link) {
    if let Cancel::Requested(resisted) = link.at_home().cancel.get()
        && (resisted >= MOST || cfg!(panic = "abort"))
    {
        suspend(link, Suspend::Freeze);
    }
}

#[cold]
fn unwind_routine(link: Link, unwinding: Unwinding) {
    let unwinding = settle(link, unwinding);
    let home = link.at_home();
    freeze_if_given_up(link);
    if let Cancel::Requested(resisted) = home.cancel.get() {
        let resists = match unwinding {
            Unwinding::No | Unwinding::Perhaps => RESISTED,
            Unwinding::Yes => ERROR,
        };
        home.cancel.set(Cancel::Requested(resisted + resists));
        if unwinding == Unwinding::No {
            home.unwinding.set(Unwinding::Yes);
            resume_unwind(Box::new(Canceled));
        }
    } else if let Some(limit) = limit::of(Some(link))
        && unwinding == Unwinding::No
    {
        home.unwinding.set(Unwinding::Yes);
        resume_unwind(Box::new(Exceeded(limit)));
    }
}

impl Patience {
    /// How to wait on after a wait that ended with `outcome`, without what was waited for. `None` if that is the end of
    /// it. The waiter has been withdrawn.
    pub(crate) fn after(self, outcome: Option<Outcome>) -> Option<Self> {
        if outcome == Some(Outcome::TIMED_OUT) {
            return None;
        }
        unwind_canceled();
        // A destructor waits while unwinding: it cannot do without, unless it said for how long.
        match self {
            Self::Until(_) => None,
            _ => Some(self.of_destructor()),
        }
    }

    /// How a destructor waits on that cannot do without what it waits for, and was asked to give up in vain.
    pub(crate) fn of_destructor(self) -> Self {
        if Worker::current_routine().is_none() {
            return Self::Steadfast;
        }
        if !matches!(self, Self::SteadfastUntil(_)) {
            // It has come as far as this.
            Worker::with_current(|worker| worker.counters().served.add(1));
        }
        // Who is taken for unwinding by mistake must find out.
        Self::SteadfastUntil(Instant::now() + LOOK_AGAIN)
    }
}
