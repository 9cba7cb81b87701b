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

/// From this length on, the cache has lost what the next routine needs, and it is worth while to fetch it ahead: a
/// switch among ten thousand then takes two thirds of the time, among a hundred thousand half of it.
const LONG: usize = 64;

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Ready {
    woken: Queue,
    yielded: Queue,
    /// How many of the yielded, the oldest, have the same `ahead`: the queue as it was some time ago.
    generation: Cell<usize>,
    /// How many of the woken were there first.
    ahead: Cell<usize>,
    turns: Cell<u32>,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self {
            woken: Queue::new(),
            yielded: Queue::new(),
            generation: Cell::new(0),
            ahead: Cell::new(0),
            turns: Cell::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.woken.len.get() + self.yielded.len.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.woken.is_empty() && self.yielded.is_empty()
    }

    /// Adds one that has been waiting, or is to be started.
    pub(crate) fn push(&self, link: Link) {
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
        self.yielded.push(link);
        if self.generation.get() == 0 {
            self.begin_generation();
        }
    }

    pub(crate) fn pop(&self) -> Option<Link> {
        if let Some(link) = self.pop_woken() {
            return Some(link);
        }
        let link = self.yielded.pop()?;
        self.generation.set(self.generation.get() - 1);
        if self.generation.get() == 0 {
            self.begin_generation();
        }
        Some(link)
    }

    /// The next of the woken, unless it is the turn of the yielded.
    fn pop_woken(&self) -> Option<Link> {
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        let ahead = self.ahead.get();
        if ahead == 0 && turn.is_multiple_of(SHARE) && !self.yielded.is_empty() {
            return None;
        }
        let link = self.woken.pop()?;
        self.ahead.set(ahead.saturating_sub(1));
        Some(link)
    }

    fn begin_generation(&self) {
        self.generation.set(self.yielded.len.get());
        self.ahead.set(self.woken.len.get());
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
            // SAFETY: it is in this queue.
            unsafe { Header::prefetch(next) };
        }
        self.len.set(self.len.get() - 1);
        Some(link)
    }
}
