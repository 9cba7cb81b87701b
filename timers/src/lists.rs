//! Timers in numbered lists over one arena: what both wheels are made of.
//!
//! A wheel decides which list a timer belongs in; everything else happens here. A node keeps its
//! place in the arena from `insert` until it expires or is cancelled, also when it moves to another
//! list, so its index and generation can name it.
//!
//! # Invariants
//!
//! 1. A node is armed, and then in exactly one list; or free, and then in the free chain; or retired.
//! 2. A node's generation grows whenever it is released. When there is no next one, the node is
//!    retired (32 bytes lost per four billion timers): an id never names two timers.
//! 3. The bit of a list is set while it has a node.
//! 4. `earliest` of a list is at most the earliest deadline in it. It is exact unless that timer was
//!    cancelled since the list was last sorted out: repairing it at once would cost a walk.

use std::fmt;
use std::iter;
use std::ops::Range;

use rust_routines_core::driver::{TimerId, TimerKey};

/// No node, or no list.
const NONE: u32 = u32::MAX;

pub(crate) struct Lists {
    lists: Box<[List]>,
    /// Bit `i % 64` of word `i / 64` stands for list `i`.
    occupied: Box<[u64]>,
    nodes: Vec<Node>,
    /// The free node that is used next: the one released last, since it is still in the cache.
    free: u32,
    armed: usize,
    /// What has been found due and not yet handed out; empty between calls of the driver.
    due: Vec<(u64, TimerKey)>,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    earliest: u64,
}

#[derive(Clone, Copy)]
struct Node {
    deadline: u64,
    key: TimerKey,
    prev: u32,
    next: u32,
    /// `NONE` unless armed.
    list: u32,
    generation: u32,
}

impl Lists {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            lists: vec![List { head: NONE, tail: NONE, earliest: 0 }; count].into(),
            occupied: vec![0; count.div_ceil(64)].into(),
            nodes: Vec::new(),
            free: NONE,
            armed: 0,
            due: Vec::new(),
        }
    }

    /// How many timers are armed.
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    pub(crate) fn insert(&mut self, list: usize, deadline: u64, key: TimerKey) -> TimerId {
        let index = if self.free == NONE {
            assert!(self.nodes.len() < NONE as usize, "one driver holds at most 2^32 - 1 timers");
            self.nodes.push(Node {
                deadline,
                key,
                prev: NONE,
                next: NONE,
                list: NONE,
                generation: 0,
            });
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            let node = &mut self.nodes[index as usize];
            self.free = node.next;
            node.deadline = deadline;
            node.key = key;
            index
        };
        self.armed += 1;
        self.append(list, index);
        TimerId(u64::from(self.nodes[index as usize].generation) << 32 | u64::from(index))
    }

    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        let (index, generation) = (id.0 as u32, (id.0 >> 32) as u32);
        let node = self.nodes.get(index as usize)?;
        if node.list == NONE || node.generation != generation {
            return None;
        }
        self.unlink(index);
        Some(self.release(index))
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
            let Node { deadline, next, .. } = self.nodes[index as usize];
            match place(deadline) {
                Some(list) => self.append(list, index),
                None => {
                    let key = self.release(index);
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
        let deadline = self.nodes[index as usize].deadline;
        let tail = self.lists[list].tail;
        if tail == NONE {
            self.lists[list] = List { head: index, tail: index, earliest: deadline };
            self.occupied[list / 64] |= 1 << (list % 64);
        } else {
            self.nodes[tail as usize].next = index;
            let list = &mut self.lists[list];
            list.tail = index;
            list.earliest = list.earliest.min(deadline);
        }
        let node = &mut self.nodes[index as usize];
        node.prev = tail;
        node.next = NONE;
        node.list = list as u32;
    }

    fn unlink(&mut self, index: u32) {
        let Node { prev, next, list, .. } = self.nodes[index as usize];
        let list = list as usize;
        match prev {
            NONE => self.lists[list].head = next,
            _ => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.lists[list].tail = prev,
            _ => self.nodes[next as usize].prev = prev,
        }
        if prev == NONE && next == NONE {
            self.occupied[list / 64] &= !(1 << (list % 64));
        }
    }

    /// Ends the life of a timer that is in no list any more, and makes its node free.
    fn release(&mut self, index: u32) -> TimerKey {
        self.armed -= 1;
        let node = &mut self.nodes[index as usize];
        node.list = NONE;
        if let Some(generation) = node.generation.checked_add(1) {
            node.generation = generation;
            node.next = self.free;
            self.free = index;
        }
        node.key
    }
}

impl fmt::Debug for Lists {
    /// Only the counts: there may be a million timers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists")
            .field("armed", &self.armed)
            .field("lists", &self.lists.len())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if nodes are not reused, or reused under an id that was given out before.
    #[test]
    fn nodes_are_reused_under_new_ids() {
        let mut lists = Lists::new(1);
        let first: Vec<_> = (0..1_000).map(|key| lists.insert(0, 7, TimerKey(key))).collect();
        lists.sort_out(0, |_| None);
        let second: Vec<_> = (0..1_000).map(|key| lists.insert(0, 7, TimerKey(key))).collect();

        assert_eq!(lists.nodes.len(), 1_000);
        assert!(first.iter().all(|id| !second.contains(id)));
        assert!(first.iter().all(|&id| lists.cancel(id).is_none()));
        assert_eq!(lists.armed(), 1_000);
    }

    /// Fails if a generation wraps round, so that an id kept for long enough cancels a stranger.
    #[test]
    fn a_node_without_a_next_generation_is_retired() {
        let mut lists = Lists::new(1);
        let first = lists.insert(0, 7, TimerKey(1));
        lists.cancel(first);
        lists.nodes[0].generation = u32::MAX;
        let last = lists.insert(0, 7, TimerKey(2));
        assert_eq!(lists.cancel(last), Some(TimerKey(2)));

        let other = lists.insert(0, 7, TimerKey(3));
        assert_eq!(lists.nodes.len(), 2);
        assert_eq!(lists.cancel(last), None);
        assert_eq!(lists.cancel(first), None);
        assert_eq!(lists.cancel(other), Some(TimerKey(3)));
    }

    /// Fails if an id of no timer at all is taken for that of a free node, or reaches past the arena.
    #[test]
    fn ids_that_were_never_given_out_cancel_nothing() {
        let mut lists = Lists::new(1);
        let id = lists.insert(0, 7, TimerKey(1));
        lists.cancel(id);
        for id in [0, 1, 1 << 32, 2 << 32, u64::MAX] {
            assert_eq!(lists.cancel(TimerId(id)), None);
        }
    }

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
