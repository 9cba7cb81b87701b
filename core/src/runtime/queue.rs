//! A worker's queues of routines that can run: first in, first out, linked through the routines.
//!
//! Touched by the worker's thread only, so that a wake-up on the same worker is a few plain stores.
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
        if self.yielded.has_fewer_than(SHARE) {
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

    /// Takes out the next one. With `ahead`, has the cache fetch what the one behind it needs.
    pub(crate) fn pop(&self, ahead: bool) -> Option<Link> {
        if self.woken.is_empty() {
            return self.yielded.pop(ahead);
        }
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        if turn.is_multiple_of(SHARE) && self.yielded_first() {
            return self.yielded.pop(ahead);
        }
        self.woken.pop(ahead)
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
}

impl Queue {
    fn new() -> Self {
        Self { head: Cell::new(ptr::null_mut()), tail: Cell::new(ptr::null_mut()) }
    }

    fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// Counts: nobody else wants to know the length, and to keep it would cost each switch.
    fn has_fewer_than(&self, count: u32) -> bool {
        let mut node = self.head.get();
        for _ in 0..count {
            if node.is_null() {
                return true;
            }
            node = Header::next(node);
        }
        false
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
    }

    fn pop(&self, ahead: bool) -> Option<Link> {
        // SAFETY: the queue owns the links that were pushed and not yet popped.
        let link = unsafe { Link::from_ptr(self.head.get()) }?;
        let next = Header::next(link.as_ptr());
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        } else if ahead {
            // SAFETY: it is in this queue, which only its worker's thread touches.
            unsafe { Header::prefetch(next) };
        }
        Some(link)
    }
}
