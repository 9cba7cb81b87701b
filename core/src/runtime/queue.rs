//! A worker's queues of routines that can run: first in, first out, linked through the routines.
//!
//! Touched by the worker's thread only, so that a wake-up on the same worker is two plain stores.
//!
//! Those that something has happened to come before those that only gave way, so that ten thousand which compute
//! and yield do not delay a request. A routine that yields still lets all run that are ready then, and in a stream
//! of others one turn in [`SHARE`] is for those that wait so.

use std::cell::Cell;
use std::ptr;

use super::inbox::Node;
use crate::routine::cell::{Header, Link};

/// One turn in this many is for those that have yielded.
const SHARE: u32 = 16;

/// From this length on, what the next routine needs has left the nearest cache, and it is worth while to fetch it
/// ahead. In a short queue that would only cost.
const LONG: usize = 64;

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Ready {
    woken: Queue,
    yielded: Queue,
    /// Counts, wrapping, how often it was asked for the next while there were woken ones.
    turns: Cell<u32>,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { woken: Queue::new(), yielded: Queue::new(), turns: Cell::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.woken.len.get() + self.yielded.len.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.woken.is_empty() && self.yielded.is_empty()
    }

    /// Adds one that has been waiting, or is to be started.
    pub(crate) fn push(&self, link: Link) {
        link.queued.set(self.turns.get());
        self.woken.push(link);
    }

    /// Adds one that would go on, but has had a long turn: among those that yield if these are few, so that it does
    /// not come back before they do, but not behind thousands.
    pub(crate) fn push_interrupted(&self, link: Link) {
        if self.yielded.len.get() < SHARE as usize {
            self.push_yielded(link);
        } else {
            self.push(link);
        }
    }

    /// Adds one that could have gone on.
    pub(crate) fn push_yielded(&self, link: Link) {
        link.queued.set(self.turns.get());
        self.yielded.push(link);
    }

    pub(crate) fn pop(&self) -> Option<Link> {
        if self.woken.is_empty() {
            return self.yielded.pop();
        }
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        if turn.is_multiple_of(SHARE) && self.yielded_first() {
            return self.yielded.pop();
        }
        self.woken.pop()
    }

    /// Whether the oldest of the yielded has waited longer than the oldest of the woken.
    fn yielded_first(&self) -> bool {
        let age = |queue: &Queue| {
            // SAFETY: the queue owns the link of what is in it, which keeps it alive.
            let first = unsafe { queue.head.get().as_ref() }?;
            Some(self.turns.get().wrapping_sub(first.queued.get()))
        };
        age(&self.yielded) > age(&self.woken)
    }
}

/// Owns the links in it.
#[derive(Debug)]
struct Queue {
    head: Cell<*mut Header>,
    tail: Cell<*mut Header>,
    len: Cell<usize>,
}

impl Queue {
    fn new() -> Self {
        Self {
            head: Cell::new(ptr::null_mut()),
            tail: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
        }
    }

    fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    fn push(&self, link: Link) {
        let node = link.as_ptr();
        Header::set_next(node, ptr::null_mut());
        let tail = self.tail.replace(node);
        if tail.is_null() {
            self.head.set(node);
        } else {
            Header::set_next(tail, node);
        }
        self.len.set(self.len.get() + 1);
    }

    fn pop(&self) -> Option<Link> {
        // SAFETY: the queue owns the links that were pushed and not yet popped.
        let link = unsafe { Link::from_ptr(self.head.get()) }?;
        let next = Header::next(link.as_ptr());
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        } else if self.len.get() >= LONG {
            // SAFETY: it is in this queue, which only its worker's thread touches.
            unsafe { Header::prefetch(next) };
        }
        self.len.set(self.len.get() - 1);
        Some(link)
    }
}
