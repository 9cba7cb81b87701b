//! A worker's queue of routines that can run: first in, first out, linked through the routines.
//!
//! Touched by the worker's thread only, so that a wake-up on the same worker is two plain stores.

use std::cell::Cell;
use std::ptr;

use super::inbox::Node;
use crate::routine::cell::{Header, Link};

/// See the [module docs](self). Owns the links in it.
#[derive(Debug)]
pub(crate) struct Queue {
    head: Cell<*mut Header>,
    tail: Cell<*mut Header>,
    len: Cell<usize>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            head: Cell::new(ptr::null_mut()),
            tail: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    pub(crate) fn push(&self, link: Link) {
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

    pub(crate) fn pop(&self) -> Option<Link> {
        // SAFETY: the queue owns the links that were pushed and not yet popped.
        let link = unsafe { Link::from_ptr(self.head.get()) }?;
        let next = Header::next(link.as_ptr());
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        }
        self.len.set(self.len.get() - 1);
        Some(link)
    }
}
