//! The model that a driver is checked against, and random lives for both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};

use super::{Swept, advance};

/// A wheel has work to do between deadlines, but it must get there: with levels of a single bit, the
/// finest hierarchy there is, a timer costs a wake-up per bit of time.
const WAKEUPS_PER_TIMER: usize = 64;

/// A driver beside its model: every call is checked against the contract.
pub(super) struct Checked {
    pub(super) driver: Swept,
    granularity: u64,
    /// The latest time that the driver was told.
    pub(super) now: u64,
    /// By key, which is the number of the insertion.
    armed: BTreeMap<usize, Armed>,
    /// The same, by deadline.
    order: BTreeSet<(u64, usize)>,
    /// Those whose deadline had passed when they were armed.
    overdue: BTreeSet<usize>,
    /// Ids of timers that have expired or were cancelled.
    stale: Vec<TimerId>,
    inserted: usize,
}

struct Armed {
    deadline: u64,
    id: TimerId,
}

impl Checked {
    pub(super) fn new(driver: Swept, granularity: u64) -> Self {
        Self {
            driver,
            granularity,
            now: 0,
            armed: BTreeMap::new(),
            order: BTreeSet::new(),
            overdue: BTreeSet::new(),
            stale: Vec::new(),
            inserted: 0,
        }
    }

    /// Arms a timer under a new key.
    #[track_caller]
    pub(super) fn insert(&mut self, deadline: u64) -> usize {
        let key = self.inserted;
        self.inserted += 1;
        let id = self.driver.insert(deadline, TimerKey(key));
        self.armed.insert(key, Armed { deadline, id });
        self.order.insert((deadline, key));
        if deadline <= self.now {
            self.overdue.insert(key);
        }
        self.check();
        key
    }

    #[track_caller]
    pub(super) fn cancel(&mut self, key: usize) {
        let id = self.armed[&key].id;
        assert_eq!(self.driver.cancel(id), Some(TimerKey(key)), "cancelling an armed timer");
        self.forget(key);
        self.check();
    }

    #[track_caller]
    fn cancel_stale(&mut self, id: TimerId) {
        assert_eq!(self.driver.cancel(id), None, "cancelling a timer that is gone");
        self.check();
    }

    #[track_caller]
    pub(super) fn cancel_all_stale(&mut self) {
        for id in std::mem::take(&mut self.stale) {
            self.cancel_stale(id);
        }
    }

    /// Moves time and returns the keys that came out.
    #[track_caller]
    pub(super) fn advance(&mut self, now: u64) -> Vec<usize> {
        let promised = self.driver.next_deadline();
        let back = now < self.now;
        let expired: Vec<usize> =
            advance(&mut self.driver, now).into_iter().map(|key| key.0).collect();
        self.now = self.now.max(now);

        for &key in &expired {
            assert!(self.armed.contains_key(&key), "key {key} came out at {now}, but is not armed");
            let deadline = self.forget(key);
            assert!(deadline <= self.now, "deadline {deadline} came out early, at {now}");
            assert!(
                back || promised.is_some_and(|next| next <= now),
                "deadline {deadline} came out at {now}, but next_deadline was {promised:?}"
            );
        }
        if !back {
            assert!(self.overdue.is_empty(), "an overdue timer did not come out at {now}");
            if let Some(&(deadline, _)) = self.order.first() {
                assert!(
                    deadline.saturating_add(self.granularity) > now,
                    "deadline {deadline} has not come out at {now}"
                );
            }
        }
        self.check();
        expired
    }

    /// Sleeps as an idle worker does. False if there is nothing to wake up for.
    #[track_caller]
    fn sleep(&mut self) -> bool {
        match self.driver.next_deadline() {
            None | Some(u64::MAX) => false,
            Some(next) => {
                self.advance(self.now.max(next));
                true
            }
        }
    }

    /// Sleeps until there is nothing to wake up for, in a bounded number of wake-ups.
    #[track_caller]
    pub(super) fn sleep_through(&mut self) {
        let mut wakeups = 0;
        while self.sleep() {
            wakeups += 1;
            assert!(
                wakeups <= WAKEUPS_PER_TIMER * self.inserted,
                "{wakeups} wake-ups, and {} timers are still armed at {}",
                self.armed.len(),
                self.now
            );
        }
        if let Some(&(deadline, _)) = self.order.first() {
            assert_eq!(
                deadline.saturating_add(self.granularity),
                u64::MAX,
                "nothing more to wake up for, but deadline {deadline} has not come out"
            );
        }
    }

    /// What must hold between any two calls.
    #[track_caller]
    fn check(&self) {
        assert_eq!(self.driver.len(), self.armed.len(), "len()");
        assert_eq!(self.driver.is_empty(), self.armed.is_empty(), "is_empty()");
        let next = self.driver.next_deadline();
        let Some(&(deadline, _)) = self.order.first() else {
            assert_eq!(next, None, "next_deadline() with nothing armed");
            return;
        };
        let latest = if self.overdue.is_empty() {
            deadline.saturating_add(self.granularity)
        } else {
            self.now
        };
        assert!(
            next.is_some_and(|next| next <= latest),
            "next_deadline() is {next:?} at {}, but deadline {deadline} is armed",
            self.now
        );
    }

    /// Takes a timer out of the model.
    fn forget(&mut self, key: usize) -> u64 {
        let Armed { deadline, id } = self.armed.remove(&key).expect("callers have looked");
        self.order.remove(&(deadline, key));
        self.overdue.remove(&key);
        self.stale.push(id);
        deadline
    }
}

/// A random life of a driver.
#[derive(Debug)]
pub(super) struct Script {
    start: u64,
    /// All distances are shortened by so many bits, so that some lives stay within few ticks.
    shorten: u32,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Moment),
    Cancel(Index),
    CancelStale(Index),
    Advance(Moment),
    Sleep,
}

/// A time, as seen from the present.
#[derive(Clone, Copy, Debug)]
enum Moment {
    After(u64),
    Before(u64),
    At(u64),
    /// At the next deadline, or right beside it.
    Next(i64),
}

pub(super) fn scripts() -> impl Strategy<Value = Script> {
    let start =
        prop_oneof![3 => any_scale(), 1 => any_scale().prop_map(|before| u64::MAX - before)];
    let steps = prop::collection::vec(step(), 1..200);
    (start, 0..64_u32, steps).prop_map(|(start, shorten, steps)| Script { start, shorten, steps })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => moment().prop_map(Step::Insert),
        2 => any::<Index>().prop_map(Step::Cancel),
        1 => any::<Index>().prop_map(Step::CancelStale),
        3 => moment().prop_map(Step::Advance),
        2 => Just(Step::Sleep),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        8 => any_scale().prop_map(Moment::After),
        1 => any_scale().prop_map(Moment::Before),
        1 => any::<u64>().prop_map(Moment::At),
        1 => Just(Moment::At(u64::MAX)),
        2 => (-1..=1_i64).prop_map(Moment::Next),
    ]
}

/// Numbers of every length in bits alike.
fn any_scale() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift)
}

pub(super) fn play(script: &Script, mut checked: Checked) {
    checked.advance(script.start.min(u64::MAX - 1));
    for step in &script.steps {
        let resolve = |moment| match moment {
            Moment::After(time) => checked.now.saturating_add(time >> script.shorten),
            Moment::Before(time) => checked.now.saturating_sub(time >> script.shorten),
            Moment::At(time) => time,
            Moment::Next(near) => {
                checked.driver.next_deadline().unwrap_or(checked.now).saturating_add_signed(near)
            }
        };
        match step {
            Step::Insert(moment) => {
                checked.insert(resolve(*moment));
            }
            Step::Advance(moment) => {
                checked.advance(resolve(*moment).min(u64::MAX - 1));
            }
            Step::Cancel(index) => {
                if !checked.armed.is_empty() {
                    let key = *checked.armed.keys().nth(index.index(checked.armed.len())).unwrap();
                    checked.cancel(key);
                }
            }
            Step::CancelStale(index) => {
                if !checked.stale.is_empty() {
                    checked.cancel_stale(*index.get(&checked.stale));
                }
            }
            Step::Sleep => {
                checked.sleep();
            }
        }
    }
    checked.sleep_through();
}
