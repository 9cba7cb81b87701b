//! Where drivers keep their timers: nodes that stay in place, so that an index and a generation can
//! name them.
//!
//! # Invariants
//!
//! 1. A node's generation is odd while its timer is armed. It grows with every timer that the node
//!    takes and gives up.
//! 2. A node that is not armed is in the free chain; or it has no next generation and is retired (a
//!    node lost per two billion timers). So an id never names two timers.

use std::fmt;
use std::ops::{Index, IndexMut};

use rust_routines_core::driver::{TimerId, TimerKey};

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// Timers by index, with a `T` of their driver's each.
pub(crate) struct Arena<T> {
    nodes: Vec<Node<T>>,
    /// The free node that is used next: the one released last, since it is still in the cache.
    free: u32,
    armed: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Node<T> {
    pub(crate) key: TimerKey,
    /// The driver's own while the timer is armed, then the next one in the free chain.
    pub(crate) link: u32,
    generation: u32,
    pub(crate) more: T,
}

impl<T> Arena<T> {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, armed: 0 }
    }

    /// How many timers are armed.
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    /// Arms a timer, whose link is not set yet.
    pub(crate) fn insert(&mut self, key: TimerKey, more: T) -> u32 {
        self.armed += 1;
        if self.free == NONE {
            assert!(self.nodes.len() < NONE as usize, "one driver holds at most 2^32 - 1 timers");
            self.nodes.push(Node { key, link: NONE, generation: 1, more });
            return (self.nodes.len() - 1) as u32;
        }
        let index = self.free;
        let node = &mut self.nodes[index as usize];
        self.free = node.link;
        *node = Node { key, link: NONE, generation: node.generation + 1, more };
        index
    }

    /// The name of an armed timer.
    pub(crate) fn id(&self, index: u32) -> TimerId {
        TimerId(u64::from(self[index].generation) << 32 | u64::from(index))
    }

    /// Where the timer of that name is, if it is still armed.
    pub(crate) fn find(&self, id: TimerId) -> Option<u32> {
        let (index, generation) = (id.0 as u32, (id.0 >> 32) as u32);
        let node = self.nodes.get(index as usize)?;
        (node.generation == generation && generation % 2 == 1).then_some(index)
    }

    /// Ends the life of an armed timer that its driver has unlinked, and makes its node free.
    pub(crate) fn release(&mut self, index: u32) -> TimerKey {
        self.armed -= 1;
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        if node.generation != 0 {
            node.link = self.free;
            self.free = index;
        }
        node.key
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = Node<T>;

    fn index(&self, index: u32) -> &Node<T> {
        &self.nodes[index as usize]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, index: u32) -> &mut Node<T> {
        &mut self.nodes[index as usize]
    }
}

impl<T> fmt::Debug for Arena<T> {
    /// Only the counts: there may be a million timers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("armed", &self.armed)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(arena: &mut Arena<()>, key: usize) -> TimerId {
        let index = arena.insert(TimerKey(key), ());
        arena.id(index)
    }

    fn cancel(arena: &mut Arena<()>, id: TimerId) -> Option<usize> {
        let index = arena.find(id)?;
        Some(arena.release(index).0)
    }

    /// Fails if nodes are not reused, or reused under an id that was given out before.
    #[test]
    fn nodes_are_reused_under_new_ids() {
        let mut arena = Arena::new();
        let first: Vec<_> = (0..1_000).map(|key| insert(&mut arena, key)).collect();
        assert!(first.iter().enumerate().all(|(key, &id)| cancel(&mut arena, id) == Some(key)));
        let second: Vec<_> = (0..1_000).map(|key| insert(&mut arena, key)).collect();

        assert_eq!(arena.nodes.len(), 1_000);
        assert!(first.iter().all(|id| !second.contains(id)));
        assert!(first.iter().all(|&id| cancel(&mut arena, id).is_none()));
        assert_eq!(arena.armed(), 1_000);
    }

    /// Fails if a generation wraps round, so that an id kept for long enough cancels a stranger.
    #[test]
    fn a_node_without_a_next_generation_is_retired() {
        let mut arena = Arena::new();
        let first = insert(&mut arena, 1);
        cancel(&mut arena, first);
        arena[0].generation = u32::MAX - 1;
        let last = insert(&mut arena, 2);
        assert_eq!(cancel(&mut arena, last), Some(2));

        let other = insert(&mut arena, 3);
        assert_eq!(arena.nodes.len(), 2);
        assert_eq!(cancel(&mut arena, last), None);
        assert_eq!(cancel(&mut arena, first), None);
        assert_eq!(cancel(&mut arena, other), Some(3));
    }

    /// Fails if an id of no timer at all is taken for that of a free node, or reaches past the arena.
    #[test]
    fn ids_that_were_never_given_out_name_nothing() {
        let mut arena = Arena::new();
        let id = insert(&mut arena, 1);
        cancel(&mut arena, id);
        for id in [0, 1, 1 << 32, 2 << 32, 3 << 32, u64::MAX] {
            assert_eq!(arena.find(TimerId(id)), None);
        }
    }
}
