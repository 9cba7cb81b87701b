//! The limit on how long the caller may block, set by [`timeout`](crate::time::timeout).
//!
//! It belongs to the routine, or to the thread outside of routines, and is the earliest of the deadlines
//! of the `timeout` calls that are under way there. [`park`](crate::park) and [`submit`](crate::io) wait no
//! longer than that; a wait which it cuts short ends as one that shutdown cancels, and unwinds with
//! [`Exceeded`] up to the `timeout` call whose deadline it was.

use std::cell::Cell;
use std::time::Instant;

use crate::routine::cell::Link;
use crate::runtime::worker::Worker;
use crate::unwinding::Unwinding;

thread_local! {
    static OF_THREAD: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The payload of the unwinding, with the limit that has passed.
#[derive(Debug)]
pub(crate) struct Exceeded(pub(crate) Instant);

impl Drop for Exceeded {
    /// Somebody has caught it; as a rule the routine that it was thrown in.
    fn drop(&mut self) {
        if let Some(link) = Worker::current_routine() {
            link.at_home().unwinding.set(Unwinding::No);
        }
    }
}

/// The limit of a routine; of the thread if there is none.
#[inline]
pub(crate) fn of(routine: Option<Link>) -> Option<Instant> {
    match routine {
        Some(link) => link.at_home().limit.get(),
        None => OF_THREAD.get(),
    }
}

/// The caller's limit.
pub(crate) fn current() -> Option<Instant> {
    of(Worker::current_routine())
}

/// Sets the caller's limit and returns the one before.
pub(crate) fn replace(limit: Option<Instant>) -> Option<Instant> {
    match Worker::current_routine() {
        Some(link) => link.at_home().limit.replace(limit),
        None => OF_THREAD.replace(limit),
    }
}

/// The earlier of two deadlines, where none is later than all.
#[inline]
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
