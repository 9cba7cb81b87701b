//! Timers in numbered lists over one arena: what both wheels are made of.
//!
//! A wheel decides which list a timer belongs in; everything else happens here. A timer keeps its node
//! also when it moves to another list.
//!
//! # Invariants
//!
//! 1. The node of an armed timer is in exactly one list, doubly linked; its link is the next one.
//! 2. The bit of a list is set while it has a node.
//! 3. `earliest` of a list is at most the earliest deadline in it. It is exact unless that timer was
//!    cancelled since the list was last sorted out: repairing it at once would cost a walk.

use std::fmt;
use std::iter;
use std::ops::Range;

use rust_routines_core::driver::{TimerId, TimerKey};

use crate::arena::{Arena, NONE, Node};

pub(crate) struct Lists {
    lists: Box<[List]>,
    /// Bit `i % 64` of word `i / 64` stands for list `i`.
    occupied: Box<[u64]>,
    arena: Arena<Place>,
    /// What has been found due and not yet handed out; empty between calls of the driver.
    due: Vec<(u64, TimerKey)>,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    earliest: u64,
}

/// Where a timer is.
#[derive(Clone, Copy)]
struct Place {
    deadline: u64,
    prev: u32,
    list: u32,
}

impl Lists {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            lists: vec![List { head: NONE, tail: NONE, earliest: 0 }; count].into(),
            occupied: vec![0; count.div_ceil(64)].into(),
            arena: Arena::new(),
            due: Vec::new(),
        }
    }

    /// How many timers are armed.
    pub(crate) fn armed(&self) -> usize {
        self.arena.armed()
    }

    pub(crate) fn insert(&mut self, list: usize, deadline: u64, key: TimerKey) -> TimerId {
        let index = self.arena.insert(key, Place { deadline, prev: NONE, list: NONE });
        self.append(list, index);
        self.arena.id(index)
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        let index = self.arena.find(id)?;
        self.unlink(index);
        Some(self.arena.release(index))
    }

    /// The first list with a timer among those numbered `range`.
    pub(crate) fn first_occupied(&self, range: Range<usize>) -> Option<usize> {
        let mut word = range.start / 64;
        let mut bits = self.occupied.get(word)? & (u64::MAX << (range.start % 64));
        while bits == 0 {
            word += 1;
            if word * 64 >= range.end {
                return None;
            }
            bits = self.occupied[word];
        }
        let list = word * 64 + bits.trailing_zeros() as usize;
        range.contains(&list).then_some(list)
    }

    /// All lists with timers among those numbered `range`.
    pub(crate) fn occupied(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        let Range { mut start, end } = range;
        iter::from_fn(move || {
            let list = self.first_occupied(start..end)?;
            start = list + 1;
            Some(list)
        })
    }

    /// At most the earliest deadline in `list`, which must not be empty.
    pub(crate) fn earliest(&self, list: usize) -> u64 {
        self.lists[list].earliest
    }

    /// Empties `list` and asks for every timer's deadline in which list to go on, which may be the
    /// same one. With `None` it is due.
    pub(crate) fn sort_out(&mut self, list: usize, place: impl Fn(u64) -> Option<usize>) {
        let mut index = self.lists[list].head;
        self.lists[list].head = NONE;
        self.lists[list].tail = NONE;
        self.occupied[list / 64] &= !(1 << (list % 64));

        while index != NONE {
            let Node { link: next, more: Place { deadline, .. }, .. } = self.arena[index];
            match place(deadline) {
                Some(list) => self.append(list, index),
                None => {
                    let key = self.arena.release(index);
                    self.due.push((deadline, key));
                }
            }
            index = next;
        }
    }

    /// Appends the keys of the timers found due to `expired`, by deadline.
    pub(crate) fn hand_out(&mut self, expired: &mut Vec<TimerKey>) {
        // Nearly always a few, or in order as they are.
        self.due.sort_unstable_by_key(|&(deadline, _)| deadline);
        expired.extend(self.due.drain(..).map(|(_, key)| key));
    }

    fn append(&mut self, list: usize, index: u32) {
        let deadline = self.arena[index].more.deadline;
        let tail = self.lists[list].tail;
        if tail == NONE {
            self.lists[list] = List { head: index, tail: index, earliest: deadline };
            self.occupied[list / 64] |= 1 << (list % 64);
        } else {
            self.arena[tail].link = index;
            let list = &mut self.lists[list];
            list.tail = index;
            list.earliest = list.earliest.min(deadline);
        }
        let node = &mut self.arena[index];
        node.link = NONE;
        node.more.prev = tail;
        node.more.list = list as u32;
    }

    fn unlink(&mut self, index: u32) {
        let Node { link: next, more: Place { prev, list, .. }, .. } = self.arena[index];
        let list = list as usize;
        match prev {
            NONE => self.lists[list].head = next,
            _ => self.arena[prev].link = next,
        }
        match next {
            NONE => self.lists[list].tail = prev,
            _ => self.arena[next].more.prev = prev,
        }
        if prev == NONE && next == NONE {
            self.occupied[list / 64] &= !(1 << (list % 64));
        }
    }
}

impl fmt::Debug for Lists {
    /// Without what is in them: there may be a million timers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists")
            .field("lists", &self.lists.len())
            .field("arena", &self.arena)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if a list's bit outlives its timers, or a search leaves the range it was given.
    #[test]
    fn first_occupied_finds_exactly_the_lists_with_timers() {
        let mut lists = Lists::new(200);
        let ids: Vec<_> = [0, 63, 64, 199]
            .map(|list| lists.insert(list, 7, TimerKey(list)))
            .into_iter()
            .collect();

        assert_eq!(lists.first_occupied(0..200), Some(0));
        assert_eq!(lists.first_occupied(1..200), Some(63));
        assert_eq!(lists.first_occupied(1..63), None);
        assert_eq!(lists.first_occupied(64..64), None);
        assert_eq!(lists.first_occupied(65..199), None);
        assert_eq!(lists.first_occupied(65..200), Some(199));
        assert_eq!(lists.first_occupied(200..200), None);

        lists.cancel(ids[1]);
        lists.sort_out(64, |_| None);
        assert_eq!(lists.first_occupied(1..200), Some(199));
    }

    /// Fails if `earliest` passes a timer of its list, or survives the list's last one.
    #[test]
    fn earliest_is_a_lower_bound_and_exact_after_sorting_out() {
        let mut lists = Lists::new(1);
        lists.insert(0, 30, TimerKey(30));
        let early = lists.insert(0, 10, TimerKey(10));
        lists.insert(0, 20, TimerKey(20));
        assert_eq!(lists.earliest(0), 10);
        lists.cancel(early);
        assert!(lists.earliest(0) <= 20);
        lists.sort_out(0, |_| Some(0));
        assert_eq!(lists.earliest(0), 20);
        lists.sort_out(0, |_| None);
        lists.insert(0, 40, TimerKey(40));
        assert_eq!(lists.earliest(0), 40);
    }

    /// Fails if a batch comes out as the lists happened to hold it.
    #[test]
    fn due_timers_are_handed_out_by_deadline() {
        let mut lists = Lists::new(2);
        for (list, deadline) in [(1, 4), (0, 3), (0, 1), (1, 2)] {
            lists.insert(list, deadline, TimerKey(deadline as usize));
        }
        lists.sort_out(0, |_| None);
        lists.sort_out(1, |_| None);
        let mut expired = Vec::new();
        lists.hand_out(&mut expired);
        assert_eq!(expired, [1, 2, 3, 4].map(TimerKey));
    }
}
