//! Those who wait for the same thing, in the order in which they came.
//!
//! Channels and locks keep such lists under a lock of their own; every function here needs it. The entries lie
//! on the stacks of the waiting routines and threads, linked both ways so that one who gives up leaves at once.
//! A wait may stand in several lists with an entry in each: select.
//!
//! # Who may touch an entry
//!
//! 1. While it is linked, whoever holds the list's lock.
//! 2. Once it was taken out by [`WaitList::claim_first`] or [`WaitList::claim_all`], who did so, until he wakes the
//!    waiter: the owner sleeps until then.
//! 3. Its owner before it is linked, and after it has woken up and made sure, under the lock, that the entry
//!    is not linked any more ([`WaitList::remove`]).

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::ptr;

use crate::claim::Outcome;
use crate::park::Waiter;

/// One wait in one list.
#[derive(Debug)]
pub(crate) struct Entry {
    waiter: *const Waiter,
    /// What the claim of the waiter gets when this entry is chosen.
    outcome: Outcome,
    /// Two words for whoever keeps the list.
    pub(crate) slot: Cell<*mut ()>,
    pub(crate) tag: Cell<usize>,
    next: Cell<*const Entry>,
    previous: Cell<*const Entry>,
    linked: Cell<bool>,
    _pinned: PhantomPinned,
}

impl Entry {
    /// An entry in no list. `waiter` must stay where it is as long as this is in one.
    pub(crate) fn new(waiter: &Waiter, outcome: Outcome) -> Self {
        Self {
            waiter,
            outcome,
            slot: Cell::new(ptr::null_mut()),
            tag: Cell::new(0),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            linked: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }

    /// Ends the wait on behalf of this entry, unless it has ended.
    fn claim(&self) -> bool {
        // SAFETY: the entry is linked, and the waiter stays as long.
        unsafe { &*self.waiter }.claim(self.outcome)
    }
}

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct WaitList {
    first: *const Entry,
    last: *const Entry,
}

// SAFETY: the pointers are followed only under the list's lock.
unsafe impl Send for WaitList {}

/// One whose claim was won: still asleep, and to be woken once.
#[derive(Debug)]
#[must_use = "it sleeps until it is woken"]
pub(crate) struct Claimed(*const Entry);

/// All whose claims were won, in their order, linked by `next`.
#[derive(Debug)]
#[must_use = "they sleep until they are woken"]
pub(crate) struct AllClaimed {
    first: *const Entry,
    last: *const Entry,
    count: usize,
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self { first: ptr::null(), last: ptr::null() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Adds `entry` at the end.
    ///
    /// # Safety
    ///
    /// The entry and its waiter stay where they are until it was taken out, by whoever claims it or by
    /// [`remove`](Self::remove).
    pub(crate) unsafe fn push(&mut self, entry: &Entry) {
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

    /// Adds `entry` at the front, as one that has waited before.
    ///
    /// # Safety
    ///
    /// As for [`push`](Self::push).
    pub(crate) unsafe fn push_front(&mut self, entry: &Entry) {
        debug_assert!(!entry.linked.get());
        entry.linked.set(true);
        entry.previous.set(ptr::null());
        entry.next.set(self.first);
        // SAFETY: what is in the list is valid.
        match unsafe { self.first.as_ref() } {
            Some(first) => first.previous.set(entry),
            None => self.last = entry,
        }
        self.first = entry;
    }

    /// Takes `entry` out if it is still in the list, and says whether it was.
    pub(crate) fn remove(&mut self, entry: &Entry) -> bool {
        if !entry.linked.replace(false) {
            return false;
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
        true
    }

    /// Takes out the first whose wait has not ended otherwise, and ends it.
    pub(crate) fn claim_first(&mut self) -> Option<Claimed> {
        // SAFETY: what is in the list is valid.
        while let Some(entry) = unsafe { self.first.as_ref() } {
            self.remove(entry);
            if entry.claim() {
                return Some(Claimed(entry));
            }
        }
        None
    }

    /// The same, but stops at the first that does not pass `fits`, whether or not its wait has ended otherwise.
    pub(crate) fn claim_first_if(&mut self, fits: impl Fn(&Entry) -> bool) -> Option<Claimed> {
        // SAFETY: what is in the list is valid.
        while let Some(entry) = unsafe { self.first.as_ref() }
            && fits(entry)
        {
            self.remove(entry);
            if entry.claim() {
                return Some(Claimed(entry));
            }
        }
        None
    }

    /// As [`claim_first`](Self::claim_first), but passes over the entries of `me`.
    pub(crate) fn claim_first_but(&mut self, me: Option<&Waiter>) -> Option<Claimed> {
        let Some(me) = me else { return self.claim_first() };
        let mut next = self.first;
        // SAFETY: what is in the list is valid.
        while let Some(entry) = unsafe { next.as_ref() } {
            next = entry.next.get();
            if ptr::eq(entry.waiter, me) {
                continue;
            }
            self.remove(entry);
            if entry.claim() {
                return Some(Claimed(entry));
            }
        }
        None
    }

    /// Whether anybody but `me` is in the list, though his wait may have ended otherwise.
    pub(crate) fn has_other_than(&self, me: Option<&Waiter>) -> bool {
        let Some(me) = me else { return !self.is_empty() };
        let mut next = self.first;
        // SAFETY: what is in the list is valid.
        while let Some(entry) = unsafe { next.as_ref() } {
            if !ptr::eq(entry.waiter, me) {
                return true;
            }
            next = entry.next.get();
        }
        false
    }

    /// Takes out all whose wait has not ended otherwise, and ends it. The list is empty then.
    pub(crate) fn claim_all(&mut self) -> AllClaimed {
        let mut claimed = AllClaimed::new();
        while let Some(one) = self.claim_first() {
            claimed.push(one);
        }
        claimed
    }
}

impl Claimed {
    /// The words of the entry are the claimer's now.
    pub(crate) fn entry(&self) -> &Entry {
        // SAFETY: its owner sleeps until `wake`, which takes `self`.
        unsafe { &*self.0 }
    }

    /// Lets the waiter go on.
    pub(crate) fn wake(self) {
        // SAFETY: claimed, and woken only here, by value; the entry is not used afterwards.
        unsafe { Waiter::wake((*self.0).waiter) };
    }

    /// To be turned back by [`from_raw`](Self::from_raw).
    pub(crate) fn into_raw(self) -> *const Entry {
        self.0
    }

    /// # Safety
    ///
    /// `entry` came from [`into_raw`](Self::into_raw), and is turned back once.
    pub(crate) unsafe fn from_raw(entry: *const Entry) -> Self {
        Self(entry)
    }
}

impl AllClaimed {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self { first: ptr::null(), last: ptr::null(), count: 0 }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds one at the end.
    pub(crate) fn push(&mut self, Claimed(entry): Claimed) {
        // SAFETY: claimed and not yet woken, like all in this chain: their words are ours.
        unsafe {
            (*entry).next.set(ptr::null());
            match self.last.as_ref() {
                Some(last) => last.next.set(entry),
                None => self.first = entry,
            }
        }
        self.last = entry;
        self.count += 1;
    }

    /// Lets them all go on.
    pub(crate) fn wake(self) {
        let mut entry = self.first;
        while !entry.is_null() {
            // SAFETY: as above; read before the wake-up, after which the entry may be gone.
            let next = unsafe { (*entry).next.get() };
            Claimed(entry).wake();
            entry = next;
        }
    }
}
