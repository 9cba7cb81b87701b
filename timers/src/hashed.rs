//! The hashed wheel: a ring of slots, each an unsorted list of timers.
//!
//! Scheme 6 of Varghese and Lauck. Time is cut into ticks; a deadline is rounded up to a tick, and
//! the tick's number modulo the number of slots is the slot. A slot therefore mixes timers of this
//! round of the ring with those of later rounds, which stay behind when the slot's turn comes. The
//! paper counts rounds down; here a timer keeps its deadline and is compared with the present.
//!
//! The paper visits a slot at every tick. Here a slot keeps the earliest deadline in it, so slots
//! where only later rounds wait are passed over, and a worker sleeps up to the tick of the next
//! deadline, however many rounds away.
//!
//! # Invariants
//!
//! 1. A timer is in the slot of its deadline rounded up to a tick; if the deadline had passed when
//!    the timer was armed, in the slot of the current tick.
//! 2. What is in a slot `n` places after the current one expires `n` ticks from now or later.
//! 3. The current tick's slot is visited by every `advance`, since timers that are overdue already
//!    can arrive there at any time.

use std::ops::Range;
use std::time::Duration;

use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};

use crate::lists::Lists;

/// A round of 2.56 s with the default tick: most waits on the network end within it.
const DEFAULT_SLOTS: usize = 256;

/// About what a timeout can be late without anyone noticing.
const DEFAULT_TICK: Duration = Duration::from_millis(10);

/// A hashed timing wheel: cheap and simple, and late by up to one tick.
///
/// Inserting and cancelling take constant time. When a tick has timers to expire, all timers of its
/// slot are looked at, so a driver that holds very many timers of many rounds wants more slots.
/// [`next_deadline`](TimerDriver::next_deadline) is always on a tick; a cancelled timer may leave one
/// early wake-up behind.
///
/// ```
/// use std::time::Duration;
///
/// use rust_routines_core::driver::{TimerDriver, TimerKey};
/// use rust_routines_timers::Hashed;
///
/// let mut timers = Hashed::with(512, Duration::from_millis(1));
/// timers.insert(1_200_000, TimerKey(1));
/// assert_eq!(timers.next_deadline(), Some(2_000_000));
///
/// let mut expired = Vec::new();
/// timers.advance(1_999_999, &mut expired);
/// assert!(expired.is_empty());
/// timers.advance(2_000_000, &mut expired);
/// assert_eq!(expired, [TimerKey(1)]);
/// ```
#[derive(Debug)]
pub struct Hashed {
    /// Nanoseconds to a tick.
    tick: u64,
    slots: usize,
    /// The latest time that was seen, and the number of the tick it is in.
    now: u64,
    current: u64,
    lists: Lists,
}

impl Hashed {
    /// A wheel of 256 slots and ticks of 10 ms, at time 0 and without timers.
    pub fn new() -> Self {
        Self::with(DEFAULT_SLOTS, DEFAULT_TICK)
    }

    /// A wheel of `slots` slots and ticks of length `tick`, at time 0 and without timers.
    ///
    /// # Panics
    ///
    /// If there are no slots or too many to number in 32 bits, or if the tick has no length.
    #[track_caller]
    pub fn with(slots: usize, tick: Duration) -> Self {
        assert!(slots > 0, "a hashed wheel needs at least one slot; 256 is the default");
        assert!(
            slots < u32::MAX as usize,
            "a hashed wheel has fewer than 2^32 - 1 slots; a longer tick covers as much with fewer"
        );
        assert!(
            !tick.is_zero(),
            "a hashed wheel needs a tick of at least a nanosecond; 10 ms is the default"
        );
        let tick = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX);
        Self { tick, slots, now: 0, current: 0, lists: Lists::new(slots) }
    }

    fn slot(&self, tick: u64) -> usize {
        (tick % self.slots as u64) as usize
    }

    /// The start of the current tick: what is due by then is due.
    fn reached(&self) -> u64 {
        self.current * self.tick
    }

    /// Finds what has become due in a range of slots.
    fn visit(&mut self, slots: Range<usize>) {
        let reached = self.reached();
        let mut from = slots.start;
        while let Some(slot) = self.lists.first_occupied(from..slots.end) {
            if self.lists.earliest(slot) <= reached {
                self.lists.sort_out(slot, |deadline| (deadline > reached).then_some(slot));
            }
            from = slot + 1;
        }
    }
}

impl Default for Hashed {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerDriver for Hashed {
    fn name(&self) -> &'static str {
        "hashed"
    }

    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId {
        if deadline <= self.now {
            // It may lie between the start of the current tick and now: expire it without rounding.
            let deadline = deadline.min(self.reached());
            self.lists.insert(self.slot(self.current), deadline, key)
        } else {
            self.lists.insert(self.slot(deadline.div_ceil(self.tick)), deadline, key)
        }
    }

    fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        self.lists.cancel(id)
    }

    fn next_deadline(&self) -> Option<u64> {
        let first = self.slot(self.current);
        let ring = self.lists.occupied(first..self.slots).chain(self.lists.occupied(0..first));
        let mut earliest = None;
        for slot in ring {
            let places = (self.slots - first + slot) % self.slots;
            let turn = self.current.saturating_add(places as u64).saturating_mul(self.tick);
            let deadline = self.lists.earliest(slot);
            let so_far = earliest.map_or(deadline, |earliest: u64| earliest.min(deadline));
            earliest = Some(so_far);
            // The rest of the ring has its turn later.
            if so_far <= turn {
                break;
            }
        }
        earliest.map(|earliest| earliest.div_ceil(self.tick).saturating_mul(self.tick))
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>) {
        let now = now.max(self.now);
        let current = now / self.tick;
        let first = self.slot(self.current);
        // The slots of all ticks gone through, each once if they are more than a round.
        let end = first + (current - self.current).min(self.slots as u64 - 1) as usize + 1;
        self.now = now;
        self.current = current;

        self.visit(first..end.min(self.slots));
        self.visit(0..end.saturating_sub(self.slots));
        self.lists.hand_out(expired);
    }

    fn len(&self) -> usize {
        self.lists.armed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10_000_000;

    fn advance(timers: &mut Hashed, now: u64) -> Vec<usize> {
        let mut expired = Vec::new();
        timers.advance(now, &mut expired);
        expired.into_iter().map(|key| key.0).collect()
    }

    /// Fails if a deadline is rounded down, or up by more than one tick.
    #[test]
    fn deadlines_are_rounded_up_to_the_tick() {
        for (deadline, expiry) in [(1, TICK), (TICK - 1, TICK), (TICK, TICK), (TICK + 1, 2 * TICK)]
        {
            let mut timers = Hashed::new();
            timers.insert(deadline, TimerKey(0));
            assert_eq!(timers.next_deadline(), Some(expiry));
            assert_eq!(advance(&mut timers, expiry - 1), []);
            assert_eq!(advance(&mut timers, expiry), [0]);
        }
    }

    /// Fails if timers of later rounds expire with this one, or wake the worker every round.
    #[test]
    fn timers_of_later_rounds_stay_asleep() {
        let round = DEFAULT_SLOTS as u64 * TICK;
        let mut timers = Hashed::new();
        timers.insert(TICK, TimerKey(0));
        timers.insert(TICK + 1_000 * round, TimerKey(1));
        timers.insert(TICK + round, TimerKey(2));
        timers.insert(2 * TICK + 5 * round, TimerKey(3));

        assert_eq!(advance(&mut timers, TICK), [0]);
        assert_eq!(timers.next_deadline(), Some(TICK + round));
        assert_eq!(advance(&mut timers, TICK + round), [2]);
        assert_eq!(timers.next_deadline(), Some(2 * TICK + 5 * round));
        assert_eq!(advance(&mut timers, 2 * TICK + 5 * round), [3]);
        assert_eq!(timers.next_deadline(), Some(TICK + 1_000 * round));
        assert_eq!(advance(&mut timers, TICK + 1_000 * round), [1]);
    }

    /// Fails if a timer that was overdue when it was armed waits for the next tick.
    #[test]
    fn overdue_timers_do_not_wait_for_a_tick() {
        let mut timers = Hashed::new();
        let now = 5 * TICK + 500;
        advance(&mut timers, now);
        for deadline in [now, now - 1, 5 * TICK, 5 * TICK - 1, 0] {
            timers.insert(deadline, TimerKey(9));
            assert!(timers.next_deadline().unwrap() <= now);
            assert_eq!(advance(&mut timers, now), [9]);
        }
    }

    /// Fails if a jump hands out keys slot by slot and not by deadline.
    #[test]
    fn a_jump_hands_out_keys_by_deadline() {
        let mut timers = Hashed::with(4, Duration::from_nanos(10));
        for deadline in [900, 31, 30, 29, 5, 70, 500, 501] {
            timers.insert(deadline, TimerKey(deadline as usize));
        }
        assert_eq!(advance(&mut timers, 1_000), [5, 29, 30, 31, 70, 500, 501, 900]);
    }

    #[test]
    #[should_panic(expected = "at least one slot")]
    fn no_slots_are_refused() {
        Hashed::with(0, DEFAULT_TICK);
    }

    #[test]
    #[should_panic(expected = "at least a nanosecond")]
    fn a_tick_without_length_is_refused() {
        Hashed::with(DEFAULT_SLOTS, Duration::ZERO);
    }

    /// Fails if a tick beyond what `u64` nanoseconds can count wraps round to a short one.
    #[test]
    fn an_endless_tick_never_comes() {
        let mut timers = Hashed::with(1, Duration::MAX);
        timers.insert(1, TimerKey(0));
        assert_eq!(timers.next_deadline(), Some(u64::MAX));
        assert_eq!(advance(&mut timers, u64::MAX - 1), []);
    }
}
