//! The heap: exact, simple, and logarithmic; the yardstick for the wheels.
//!
//! A heap as Williams made it for sorting, kept in an array in which the parent of a place is found by
//! arithmetic, and Johnson's with four children instead of two: half as many levels, and the four
//! siblings, 16 bytes each, lie on one or two cache lines. Sinking compares with all four, rising with
//! one parent a level, and a timer that is armed mostly stays near the bottom.
//!
//! To cancel a timer, one must know where it is. Its node in the arena stays put and holds its place in
//! the array, and whatever moves in the array writes its new place there.
//!
//! # Invariants
//!
//! 1. No entry is due before its parent; so the first is the earliest.
//! 2. The node of the entry at `place` is armed, and its link is `place`.
//! 3. The array holds exactly the armed timers: one that is cancelled leaves at once.
//!
//! # Dropped
//!
//! - Leaving cancelled timers in the array until they come up: cancelling takes constant time, but
//!   timeouts that never strike, which is most of them, then pile up.

use std::fmt;

use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};

use crate::arena::Arena;

/// Children of an entry.
const ARITY: usize = 4;

/// A four-ary heap of timers that adds no lateness at all.
///
/// Inserting, cancelling and expiring take logarithmic time, so it loses to the wheels where many
/// timers are armed. In exchange nothing is put off: [`next_deadline`](TimerDriver::next_deadline) is
/// always the earliest deadline, also after cancelling, and time can jump without a pause.
///
/// ```
/// use rust_routines_core::driver::{TimerDriver, TimerKey};
/// use rust_routines_timers::Heap;
///
/// let mut timers = Heap::new();
/// timers.insert(2_000, TimerKey(2));
/// let id = timers.insert(1_000, TimerKey(1));
/// assert_eq!(timers.next_deadline(), Some(1_000));
/// timers.cancel(id);
/// assert_eq!(timers.next_deadline(), Some(2_000));
///
/// let mut expired = Vec::new();
/// timers.advance(2_000, &mut expired);
/// assert_eq!(expired, [TimerKey(2)]);
/// ```
pub struct Heap {
    /// The latest time that was seen.
    now: u64,
    entries: Vec<Entry>,
    arena: Arena<()>,
}

/// A timer's place in the order. The deadline is here and not in the arena, since it is compared here.
#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    /// In the arena.
    index: u32,
}

impl Heap {
    /// A heap at time 0 without timers.
    pub fn new() -> Self {
        Self { now: 0, entries: Vec::new(), arena: Arena::new() }
    }

    /// Puts `entry` at the free `place`, or above it.
    fn rise(&mut self, mut place: usize, entry: Entry) {
        while let Some(parent) = place.checked_sub(1).map(|above| above / ARITY)
            && entry.deadline < self.entries[parent].deadline
        {
            self.put(place, self.entries[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    /// Puts `entry` at the free `place`, or below it.
    fn sink(&mut self, mut place: usize, entry: Entry) {
        while let Some(child) = self.earliest_child(place)
            && self.entries[child].deadline < entry.deadline
        {
            self.put(place, self.entries[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.entries[place] = entry;
        self.arena[entry.index].link = place as u32;
    }

    fn earliest_child(&self, place: usize) -> Option<usize> {
        let first = ARITY * place + 1;
        let children = first..self.entries.len().min(first + ARITY);
        children.min_by_key(|&child| self.entries[child].deadline)
    }

    /// Takes out what is at `place`; the last one takes its place and goes where it belongs.
    fn remove(&mut self, place: usize) -> TimerKey {
        let removed = self.entries[place];
        let last = self.entries.pop().expect("there is one at `place`");
        if place < self.entries.len() {
            if last.deadline < removed.deadline {
                self.rise(place, last);
            } else {
                self.sink(place, last);
            }
        }
        self.arena.release(removed.index)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerDriver for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId {
        let index = self.arena.insert(key, ());
        let entry = Entry { deadline, index };
        // A free place to rise from.
        self.entries.push(entry);
        self.rise(self.entries.len() - 1, entry);
        self.arena.id(index)
    }

    fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        let index = self.arena.find(id)?;
        Some(self.remove(self.arena[index].link as usize))
    }

    fn next_deadline(&self) -> Option<u64> {
        self.entries.first().map(|first| first.deadline)
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>) {
        self.now = self.now.max(now);
        while self.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            expired.push(self.remove(0));
        }
    }

    fn len(&self) -> usize {
        self.arena.armed()
    }
}

impl fmt::Debug for Heap {
    /// Without the array: there may be a million timers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("now", &self.now)
            .field("arena", &self.arena)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The invariants of the module docs.
    fn check(timers: &Heap) {
        assert_eq!(timers.entries.len(), timers.len());
        for (place, entry) in timers.entries.iter().enumerate() {
            assert_eq!(timers.arena[entry.index].link as usize, place);
            let parent = &timers.entries[place.saturating_sub(1) / ARITY];
            assert!(parent.deadline <= entry.deadline, "{place} is before its parent");
        }
    }

    /// Fails if what fills a gap is not moved to where it belongs, up or down, or the arena is not told.
    #[test]
    fn every_step_leaves_a_heap() {
        let mut timers = Heap::new();
        // All the numbers from 1 to 100, well mixed, since 101 is prime.
        let ids: Vec<_> = (1..=100)
            .map(|i| i * 37 % 101)
            .map(|deadline| (deadline, timers.insert(deadline, TimerKey(deadline as usize))))
            .collect();
        check(&timers);
        for (deadline, id) in &ids {
            if deadline % 3 == 0 {
                assert_eq!(timers.cancel(*id), Some(TimerKey(*deadline as usize)));
                check(&timers);
            }
        }
        for deadline in (1..=100).filter(|deadline| deadline % 3 > 0) {
            assert_eq!(timers.next_deadline(), Some(deadline));
            let mut expired = Vec::new();
            timers.advance(deadline, &mut expired);
            assert_eq!(expired, [TimerKey(deadline as usize)]);
            check(&timers);
        }
        assert!(timers.is_empty());
    }

    /// Fails if a timer that was cancelled still wakes the worker.
    #[test]
    fn a_cancelled_timer_costs_no_wakeup() {
        let mut timers = Heap::new();
        let early = timers.insert(10, TimerKey(0));
        timers.insert(20, TimerKey(1));
        timers.cancel(early);
        assert_eq!(timers.next_deadline(), Some(20));
    }
}
