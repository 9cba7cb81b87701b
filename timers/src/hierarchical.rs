//! The hierarchical wheel: exact to the nanosecond, constant work per timer, no tick.
//!
//! # Structure
//!
//! Eleven levels of 64 slots each. A slot of level 0 is one nanosecond, a slot of the next level is
//! as long as a whole level below it, and eleven levels of six bits cover all of `u64`. Which slot a
//! deadline belongs in is read off its bits: the level is the group of six that holds the highest bit
//! in which it differs from the present, the slot within it is the value of that group.
//!
//! ```text
//!            ... level 2     level 1     level 0
//! now        ... 000000      010110      101101
//! deadline   ... 000000      011001      000111      level 1, slot 25
//!                            ^^ the highest difference
//! ```
//!
//! When time enters a slot, the timers in it that are not due yet move to finer slots. That is scheme
//! 7 of Varghese and Lauck with a tick of one nanosecond, which two things make affordable: bitmaps,
//! so that empty slots cost nothing, and the earliest deadline kept with every slot, so that a worker
//! sleeps right up to a deadline instead of waking at each level on the way down.
//!
//! # Invariants
//!
//! With the slots numbered `level * 64 + slot`:
//!
//! 1. A timer is in the slot that the present and its deadline give; once overdue, in that of the
//!    present.
//! 2. So the timers of one slot are earlier than those of all slots with higher numbers, and the
//!    earliest timer is in the first occupied slot.
//! 3. When time moves on, the slots up to the one it enters hold all that has become due; the last of
//!    these alone may hold timers that are not. These now differ from the present in a lower group of
//!    bits, so a timer moves at most once per level.
//!
//! # Dropped
//!
//! - A coarse level 0 with a heap for the slot in which time is: fewer moves for a timer, but a
//!   second structure, and logarithmic where many deadlines are near.
//! - Slots chosen by distance from the present, as in the paper, and not by common bits: timers spread
//!   better across the boundaries of large slots, but the levels overlap in time, so each of them
//!   has to be looked at to find the next deadline.
//! - Leaving a slot closed until its earliest timer is due: saves moves for timers that are cancelled
//!   late, but the present then lags behind, and new timers bunch in coarse slots.
//!
//! The bits-in-common rule makes this a monotone radix heap with 64 buckets to a level: Ahuja,
//! Mehlhorn, Orlin and Tarjan, *Faster algorithms for the shortest path problem*, [JACM 37(2),
//! 1990](https://doi.org/10.1145/77600.77615).

use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};

use crate::lists::Lists;

/// 64 slots to a level, so that one word is the bitmap of a level.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;

/// As many levels as cover every `u64` without an overflow list.
const LEVELS: usize = u64::BITS.div_ceil(SLOT_BITS) as usize;

/// A hierarchical timing wheel that adds no lateness at all.
///
/// Inserting and cancelling take constant time. Over its whole life a timer moves at most once per
/// level, and only if it lives that long. [`next_deadline`](TimerDriver::next_deadline) is the exact
/// earliest deadline, except that a cancelled timer may leave one early wake-up behind.
///
/// # Structure
///
/// Eleven levels of 64 slots; a slot of the lowest level is one nanosecond. When time enters a slot,
/// all timers in it that are not due move to finer slots at once, so a million timers within one
/// coarse slot (68.7 s on the seventh level) are a pause of their worker when that slot begins.
///
/// ```
/// use rust_routines_core::driver::{TimerDriver, TimerKey};
/// use rust_routines_timers::Hierarchical;
///
/// let mut timers = Hierarchical::new();
/// timers.insert(123_456_789, TimerKey(1));
/// assert_eq!(timers.next_deadline(), Some(123_456_789));
///
/// let mut expired = Vec::new();
/// timers.advance(123_456_788, &mut expired);
/// assert!(expired.is_empty());
/// timers.advance(123_456_789, &mut expired);
/// assert_eq!(expired, [TimerKey(1)]);
/// ```
#[derive(Debug)]
pub struct Hierarchical {
    /// The latest time that was seen.
    now: u64,
    lists: Lists,
}

impl Hierarchical {
    /// A wheel at time 0 without timers.
    pub fn new() -> Self {
        Self { now: 0, lists: Lists::new(LEVELS * SLOTS) }
    }
}

impl Default for Hierarchical {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerDriver for Hierarchical {
    fn name(&self) -> &'static str {
        "hierarchical"
    }

    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId {
        self.lists.insert(slot(self.now, deadline.max(self.now)), deadline, key)
    }

    fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        self.lists.cancel(id)
    }

    fn next_deadline(&self) -> Option<u64> {
        let first = self.lists.first_occupied(0..LEVELS * SLOTS)?;
        Some(self.lists.earliest(first))
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>) {
        let now = now.max(self.now);
        let entered = slot(self.now, now);
        self.now = now;

        // Timers that move go to lower levels, behind the search.
        let mut from = 0;
        while let Some(list) = self.lists.first_occupied(from..entered + 1) {
            self.lists.sort_out(list, |deadline| (deadline > now).then(|| slot(now, deadline)));
            from = list + 1;
        }
        self.lists.hand_out(expired);
    }

    fn len(&self) -> usize {
        self.lists.armed()
    }
}

/// The number of the slot for a time that is not before `now`.
fn slot(now: u64, time: u64) -> usize {
    let level = ((now ^ time) | 1).ilog2() / SLOT_BITS;
    let slot = (time >> (level * SLOT_BITS)) as usize % SLOTS;
    level as usize * SLOTS + slot
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if the numbering of slots breaks the order that `next_deadline` and `advance` rely on.
    #[test]
    fn later_times_are_in_later_slots() {
        for now in [0, 1, 63, 64, 4_095, 1 << 36, (1 << 36) - 1, u64::MAX - 70, u64::MAX] {
            let mut times: Vec<u64> = (0..64)
                .flat_map(|bit| [now.saturating_add(1 << bit), now.saturating_add((1 << bit) - 1)])
                .chain([u64::MAX])
                .collect();
            times.sort_unstable();
            let slots: Vec<usize> = times.iter().map(|&time| slot(now, time)).collect();
            assert!(slots.is_sorted(), "from {now}: {slots:?}");
            assert!(slots.iter().all(|&slot| slot < LEVELS * SLOTS));
        }
    }

    /// Fails if a sleeper is woken at the boundaries of slots: a sleep must be one wake-up.
    #[test]
    fn a_single_timer_needs_a_single_wakeup() {
        for bit in 0..64 {
            let mut timers = Hierarchical::new();
            let deadline = (1 << bit) + 12_345 % (1 << bit);
            timers.insert(deadline, TimerKey(0));
            assert_eq!(timers.next_deadline(), Some(deadline));
            let mut expired = Vec::new();
            timers.advance(deadline, &mut expired);
            assert_eq!(expired, [TimerKey(0)]);
        }
    }

    /// Fails if a timer that was cancelled keeps waking the worker after the one wake-up it may cost.
    #[test]
    fn a_cancelled_timer_costs_at_most_one_wakeup() {
        let mut timers = Hierarchical::new();
        let early = timers.insert(1 << 40, TimerKey(0));
        let deadline = (1 << 40) + 1_000_000;
        timers.insert(deadline, TimerKey(1));
        timers.cancel(early);

        let wakeup = timers.next_deadline().unwrap();
        assert!(wakeup <= deadline);
        timers.advance(wakeup, &mut Vec::new());
        assert_eq!(timers.next_deadline(), Some(deadline));
    }

    /// Fails if a jump hands out keys slot by slot in the order in which they were armed.
    #[test]
    fn a_jump_hands_out_keys_by_deadline() {
        let mut timers = Hierarchical::new();
        let deadlines = [900_000, 5, 70_000, 69_999, 1 << 50, 70, 5_000_000_000, 0];
        for deadline in deadlines {
            timers.insert(deadline, TimerKey(deadline as usize));
        }
        let mut expired = Vec::new();
        timers.advance(1 << 60, &mut expired);
        assert!(expired.is_sorted(), "{expired:?}");
        assert_eq!(expired.len(), deadlines.len());
    }
}
