//! Those who wait at one side of a channel, in the order in which they came.
//!
//! The entries lie on the stacks of the waiting routines and threads, linked both ways so that one who gives
//! up leaves at once. The list is part of the channel's locked state; every function needs that lock.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomPinned;
use std::ptr;

use crate::claim::Outcome;
use crate::park::Waiter;

/// One who waits, and the place for the message that changes hands.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) waiter: Waiter,
    /// A sender's message until it is taken; a receiver's once it was given. Belongs to the waiting side
    /// while it does not wait, and to whoever wins its claim until it is woken.
    pub(super) message: UnsafeCell<Option<T>>,
    next: Cell<*const Entry<T>>,
    previous: Cell<*const Entry<T>>,
    linked: Cell<bool>,
    _pinned: PhantomPinned,
}

impl<T> Entry<T> {
    /// An entry of the caller, in no list.
    pub(super) fn new(message: Option<T>) -> Self {
        Self {
            waiter: Waiter::new(),
            message: UnsafeCell::new(message),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            linked: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }
}

/// See the [module docs](self).
#[derive(Debug)]
pub(super) struct WaitList<T> {
    first: *const Entry<T>,
    last: *const Entry<T>,
}

// SAFETY: the pointers are followed only under the channel's lock, and messages cross threads only
// where `T: Send`.
unsafe impl<T: Send> Send for WaitList<T> {}

/// One whose claim was won: still asleep, and to be woken once.
#[derive(Debug)]
#[must_use = "it sleeps until it is woken"]
pub(super) struct Claimed<T>(*const Entry<T>);

impl<T> WaitList<T> {
    pub(super) fn new() -> Self {
        Self { first: ptr::null(), last: ptr::null() }
    }

    /// Adds `entry` at the end.
    ///
    /// # Safety
    ///
    /// The entry stays where it is until it was removed, by whoever claims it or by
    /// [`remove`](Self::remove).
    pub(super) unsafe fn push(&mut self, entry: &Entry<T>) {
        debug_assert!(!entry.linked.get());
        entry.linked.set(true);
        entry.next.set(ptr::null());
        entry.previous.set(self.last);
        // SAFETY: what is in the list is valid.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.set(entry),
            None => self.first = entry,
        }
        self.last = entry;
    }

    /// Takes `entry` out if it is still in the list.
    pub(super) fn remove(&mut self, entry: &Entry<T>) {
        if !entry.linked.replace(false) {
            return;
        }
        let (previous, next) = (entry.previous.get(), entry.next.get());
        // SAFETY: what is in the list is valid.
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.previous.set(previous),
                None => self.last = previous,
            }
        }
    }

    /// Takes out the first whose wait has not ended otherwise, and ends it with `outcome`.
    pub(super) fn claim_first(&mut self, outcome: Outcome) -> Option<Claimed<T>> {
        // SAFETY: what is in the list is valid.
        while let Some(entry) = unsafe { self.first.as_ref() } {
            self.remove(entry);
            if entry.waiter.claim(outcome) {
                return Some(Claimed(entry));
            }
        }
        None
    }
}

impl<T> Claimed<T> {
    /// Takes the message of a sender.
    pub(super) fn take_message(&self) -> Option<T> {
        // SAFETY: claimed and not yet woken: the entry is valid and its message ours.
        unsafe { (*(*self.0).message.get()).take() }
    }

    /// Gives a receiver its message.
    pub(super) fn give_message(&self, message: T) {
        // SAFETY: as above.
        unsafe { *(*self.0).message.get() = Some(message) };
    }

    /// Lets it go on.
    pub(super) fn wake(self) {
        // SAFETY: claimed, and woken only here, by value; the entry is not used afterwards.
        unsafe { Waiter::wake(&raw const (*self.0).waiter) };
    }
}
