//! What every [`TimerDriver`] must do, as tests for [`timer_driver_suite!`](crate::timer_driver_suite).
//!
//! Each function here is one behaviour, named for it, and panics where a driver differs. Nothing
//! sleeps and no clock is read: the suite decides what time it is. Most of it runs the driver beside
//! an ordered model that checks every answer against the contract:
//!
//! 1. a key comes out once, after it was armed and unless it was cancelled;
//! 2. never before its deadline, and no later than the granularity allows; at once if the deadline
//!    had passed when it was armed;
//! 3. never before the time that `next_deadline` gave, which in turn is no later than the earliest
//!    deadline and the granularity;
//! 4. `len`, `is_empty` and `next_deadline` agree on whether anything is armed;
//! 5. after every test, a driver whose timers are all cancelled is empty.
//!
//! What the contract leaves open is not asked for: the order of keys in one `advance`, whether a time
//! that goes back expires anything, and what happens at `u64::MAX`, where no clock arrives.

mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};

use self::model::{Checked, play, scripts};

/// Of the scripted tests: the same numbers on every run.
const SEED: u64 = 64;

/// Stamps out the timer suite as a module of tests.
///
/// Takes the module's name, an expression for a closure that makes a driver, and the lateness that
/// the driver may add to a timer, as a [`Duration`]. Names in the two expressions are those in scope
/// where the macro stands.
///
/// The [crate docs](crate) show how to call it.
#[macro_export]
macro_rules! timer_driver_suite {
    ($module:ident, $new:expr, granularity = $granularity:expr $(,)?) => {
        mod $module {
            #[allow(unused_imports, reason = "the expressions may not name anything")]
            use super::*;

            fn subject() -> $crate::timer::Subject {
                $crate::timer::Subject::new($new, $granularity)
            }

            $crate::timer_driver_suite! { @tests
                a_new_driver_is_empty
                a_key_comes_out_once_its_deadline_is_reached
                expired_keys_are_appended
                deadline_in_the_past_expires_at_the_next_advance
                deadline_zero_expires_at_time_zero
                the_last_instant_never_comes
                time_standing_still_does_no_harm
                time_going_back_does_no_harm
                cancel_returns_the_key_and_silences_it
                cancel_after_expiry_does_nothing
                a_stale_id_never_cancels_a_later_timer
                one_key_may_be_armed_twice
                many_timers_may_share_a_deadline
                next_deadline_follows_the_earliest_timer
                deadlines_at_every_scale_expire_in_time
                a_driver_may_start_late
                huge_gaps_are_crossed_at_once
                sleeping_until_next_deadline_reaches_every_timer
                cancelled_timers_cost_few_wakeups
                timeouts_that_never_fire_leave_nothing_behind
                timers_armed_between_advances_are_not_missed
                a_hundred_thousand_timers_expire_in_time
                agrees_with_an_ordered_model
            }
        }
    };
    (@tests $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                $crate::timer::$behaviour(&subject());
            }
        )*
    };
}

/// What the suite tests: how to make a driver, and how late it may be.
pub struct Subject {
    new: Box<dyn Fn() -> Box<dyn TimerDriver>>,
    granularity: u64,
}

impl Subject {
    /// A driver that adds at most `granularity` to any timer.
    pub fn new<D: TimerDriver + 'static>(
        new: impl Fn() -> D + 'static,
        granularity: Duration,
    ) -> Self {
        let granularity = u64::try_from(granularity.as_nanos()).unwrap_or(u64::MAX);
        Self { new: Box::new(move || Box::new(new())), granularity }
    }

    fn driver(&self) -> Swept {
        Swept { driver: (self.new)(), armed: Vec::new() }
    }

    fn checked(&self) -> Checked {
        Checked::new(self.driver(), self.granularity)
    }
}

/// A driver that is swept when its test is over: it must be empty once every timer is cancelled, whatever it has
/// been through.
#[derive(Debug)]
struct Swept {
    driver: Box<dyn TimerDriver>,
    /// Every id that it has given out.
    armed: Vec<TimerId>,
}

impl TimerDriver for Swept {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId {
        let id = self.driver.insert(deadline, key);
        self.armed.push(id);
        id
    }

    fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        self.driver.cancel(id)
    }

    fn next_deadline(&self) -> Option<u64> {
        self.driver.next_deadline()
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>) {
        self.driver.advance(now, expired);
    }

    fn len(&self) -> usize {
        self.driver.len()
    }
}

impl Drop for Swept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for id in self.armed.drain(..) {
            self.driver.cancel(id);
        }
        assert_eq!(self.driver.len(), 0, "timers are left that nobody can cancel");
        assert_eq!(self.driver.next_deadline(), None, "nothing is armed");
        assert_eq!(advance(&mut *self.driver, u64::MAX - 1), [], "every timer was cancelled");
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("granularity", &self.granularity).finish_non_exhaustive()
    }
}

/// Fails if a driver without timers has something to say, or has no name.
pub fn a_new_driver_is_empty(subject: &Subject) {
    let mut driver = subject.driver();
    assert!(!driver.name().is_empty());
    for now in [0, 1, 1 << 40] {
        assert_eq!(driver.len(), 0);
        assert!(driver.is_empty());
        assert_eq!(driver.next_deadline(), None);
        assert_eq!(advance(&mut driver, now), []);
    }
}

/// Fails if a timer is early by a nanosecond, later than the granularity, or comes out again.
pub fn a_key_comes_out_once_its_deadline_is_reached(subject: &Subject) {
    for deadline in [1, 2, 63, 64, 1_000, 999_999_999, 1 << 45] {
        let mut driver = subject.driver();
        driver.insert(deadline, TimerKey(7));
        assert_eq!(driver.len(), 1);
        assert_eq!(advance(&mut driver, deadline - 1), []);

        let in_time = deadline + subject.granularity;
        assert_eq!(advance(&mut driver, in_time), [TimerKey(7)], "deadline {deadline}");
        assert_eq!(driver.len(), 0);
        assert_eq!(advance(&mut driver, in_time), []);
        assert_eq!(advance(&mut driver, 1 << 62), []);
    }
}

/// Fails if `advance` clears what the caller had collected.
pub fn expired_keys_are_appended(subject: &Subject) {
    let mut driver = subject.driver();
    let mut expired = vec![TimerKey(1)];
    driver.advance(10, &mut expired);
    assert_eq!(expired, [TimerKey(1)]);
    driver.insert(5, TimerKey(2));
    driver.advance(10, &mut expired);
    assert_eq!(expired, [TimerKey(1), TimerKey(2)]);
}

/// Fails if an overdue timer waits for time to move, is lost, or is not announced.
pub fn deadline_in_the_past_expires_at_the_next_advance(subject: &Subject) {
    for now in [1, 5, 64, 123_456_789, 1 << 50, u64::MAX - 1] {
        for before in [0, 1, 2, 63, 64, 10_000_000, u64::MAX] {
            let mut checked = subject.checked();
            checked.advance(now);
            let key = checked.insert(now.saturating_sub(before));
            assert!(checked.driver.next_deadline().is_some_and(|next| next <= now));
            assert_eq!(checked.advance(now), [key]);
        }
    }
}

/// Fails if the very first instant is special.
pub fn deadline_zero_expires_at_time_zero(subject: &Subject) {
    let mut driver = subject.driver();
    driver.insert(0, TimerKey(7));
    assert!(driver.next_deadline().is_some_and(|next| next == 0));
    assert_eq!(advance(&mut driver, 0), [TimerKey(7)]);
}

/// Fails if `u64::MAX` overflows into the past, or hides the timers before it.
pub fn the_last_instant_never_comes(subject: &Subject) {
    let mut checked = subject.checked();
    let never = checked.insert(u64::MAX);
    let soon = checked.insert(1_000);
    assert_eq!(checked.advance(1_000 + subject.granularity), [soon]);
    for now in [1 << 20, 1 << 40, 1 << 63, u64::MAX - 1] {
        assert_eq!(checked.advance(now), []);
        checked.insert(u64::MAX);
    }
    assert_eq!(checked.driver.len(), 5);
    checked.cancel(never);
}

/// Fails if an `advance` to the same time hands out, loses or repeats anything.
pub fn time_standing_still_does_no_harm(subject: &Subject) {
    let mut checked = subject.checked();
    for round in 0..100 {
        let now = checked.now;
        let overdue = [checked.insert(now), checked.insert(now.saturating_sub(round))];
        checked.insert(now + 1 + round);
        let mut expired = checked.advance(now);
        expired.sort_unstable();
        assert_eq!(expired, overdue);
        assert_eq!(checked.advance(now), []);
        checked.advance(now + 30 * round);
    }
    checked.sleep_through();
}

/// Fails if a clock's fault makes a driver lose, repeat or delay a timer, or panic.
pub fn time_going_back_does_no_harm(subject: &Subject) {
    let mut checked = subject.checked();
    for round in 1..100 {
        let now = checked.now + round * 777;
        checked.advance(now);
        for deadline in [now - round, now, now + 1, now + round, now + round * 5_000] {
            checked.insert(deadline);
        }
        checked.advance(now - 1);
        checked.advance(now / 2);
        checked.insert(now / 2);
        checked.advance(0);
        checked.advance(now);
    }
    checked.sleep_through();
}

/// Fails if `cancel` gives back another key, leaves the timer armed, or works twice.
pub fn cancel_returns_the_key_and_silences_it(subject: &Subject) {
    let mut driver = subject.driver();
    advance(&mut driver, 50);
    for deadline in [0, 50, 51, 1_000, 1 << 40, u64::MAX] {
        let id = driver.insert(deadline, TimerKey(7));
        let other = driver.insert(deadline, TimerKey(8));
        assert_eq!(driver.cancel(id), Some(TimerKey(7)));
        assert_eq!(driver.len(), 1);
        assert_eq!(driver.cancel(id), None);
        assert_eq!(driver.cancel(other), Some(TimerKey(8)));
        assert_eq!(driver.len(), 0);
        assert_eq!(driver.next_deadline(), None);
    }
    assert_eq!(advance(&mut driver, u64::MAX - 1), []);
}

/// Fails if an expired timer can be cancelled still, so that its key comes out twice.
pub fn cancel_after_expiry_does_nothing(subject: &Subject) {
    let mut checked = subject.checked();
    for round in 0..100 {
        let now = checked.now;
        for deadline in [now, now + 1, now + 1_000 * round] {
            checked.insert(deadline);
        }
        checked.advance(now + 1_000 * round + subject.granularity + 1);
        assert!(checked.driver.is_empty());
        checked.cancel_all_stale();
    }
}

/// Fails if an id is given out again while a stale copy of it may be about.
pub fn a_stale_id_never_cancels_a_later_timer(subject: &Subject) {
    let mut driver = subject.driver();
    let mut seen = BTreeSet::new();
    for round in 0..10_000 {
        let id = driver.insert(round + 100, TimerKey(1));
        assert!(seen.insert(id), "{id:?} was given out twice");
        if round % 2 == 0 {
            driver.cancel(id);
        } else {
            advance(&mut driver, round + 100 + subject.granularity);
        }
    }
    let live = driver.insert(u64::MAX, TimerKey(2));
    for id in seen {
        assert_eq!(driver.cancel(id), None);
    }
    assert_eq!(driver.cancel(live), Some(TimerKey(2)));
}

/// Fails if a driver takes keys for names: they are the caller's, and may repeat.
pub fn one_key_may_be_armed_twice(subject: &Subject) {
    let mut driver = subject.driver();
    for key in [0, usize::MAX] {
        let key = TimerKey(key);
        let start = 1_000 + subject.granularity;
        driver.insert(500, key);
        driver.insert(500, key);
        let cancelled = driver.insert(500, key);
        assert_eq!(driver.cancel(cancelled), Some(key));
        assert_eq!(advance(&mut driver, start), [key, key]);
    }
}

/// Fails if timers of one deadline overwrite each other, or a cancel in their midst cuts some off.
pub fn many_timers_may_share_a_deadline(subject: &Subject) {
    let mut checked = subject.checked();
    let deadline = 987_654_321;
    let keys: Vec<usize> = (0..3_000).map(|_| checked.insert(deadline)).collect();
    for key in keys.iter().filter(|&key| key % 3 == 0) {
        checked.cancel(*key);
    }
    assert_eq!(checked.advance(deadline - 1), []);
    assert_eq!(checked.advance(deadline + subject.granularity).len(), 2_000);
}

/// Fails if a worker that went to sleep for a later timer would sleep through an earlier one.
pub fn next_deadline_follows_the_earliest_timer(subject: &Subject) {
    // `Checked` compares `next_deadline` with the earliest deadline after every step.
    let mut checked = subject.checked();
    let keys: Vec<usize> = (0..60).rev().map(|bit| checked.insert(1 << bit)).collect();
    let first = *keys.last().unwrap();
    checked.cancel(first);
    checked.insert(1);
    for key in &keys[..30] {
        checked.cancel(*key);
    }
    checked.insert(3);
    checked.sleep_through();
}

/// Fails at the boundaries of a wheel's slots, levels and rounds, wherever they are.
pub fn deadlines_at_every_scale_expire_in_time(subject: &Subject) {
    for start in [0, 1, 63, 4_095, 0x0123_4567_89ab_cdef, (1 << 36) - 1, u64::MAX / 2, u64::MAX - 9]
    {
        let mut checked = subject.checked();
        checked.advance(start);
        for bit in 0..64 {
            for near in [-1, 0, 1] {
                let after = (1_u64 << bit).saturating_add_signed(near);
                checked.insert(start.saturating_add(after));
                checked.insert((start | ((1 << bit) - 1)).saturating_add_signed(near));
            }
        }
        checked.sleep_through();
    }
}

/// Fails if a driver takes for granted that time starts near zero: a worker may start any time.
pub fn a_driver_may_start_late(subject: &Subject) {
    for start in [1 << 30, 1 << 50, 1 << 62, u64::MAX - 1_000_000] {
        let mut checked = subject.checked();
        for deadline in [0, start - 1, start, start + 1, start + 50_000] {
            checked.insert(deadline);
        }
        checked.advance(start);
        checked.insert(start + 10);
        checked.sleep_through();
    }
}

/// Fails (by taking for ever) if the cost of `advance` grows with the time it covers.
pub fn huge_gaps_are_crossed_at_once(subject: &Subject) {
    let mut checked = subject.checked();
    let gap = u64::MAX / 1_000;
    for round in 1..1_000 {
        let now = round * gap;
        checked.insert(now);
        checked.insert(now + gap / 2);
        checked.insert(now + 10 * gap.min((u64::MAX - now) / 10));
        checked.advance(now);
    }
}

/// Fails if a worker that sleeps whenever it is told to never arrives, or only by waking over and
/// over.
pub fn sleeping_until_next_deadline_reaches_every_timer(subject: &Subject) {
    let mut random = Rng::with_seed(SEED);
    for bits in [4, 10, 20, 30, 40, 50, 60] {
        let mut checked = subject.checked();
        checked.advance(random.u64(..1 << 60));
        for _ in 0..100 {
            checked.insert(checked.now + random.u64(..1 << bits));
        }
        checked.sleep_through();
        assert!(checked.driver.is_empty());
    }
}

/// Fails if timers that are gone keep waking the worker.
pub fn cancelled_timers_cost_few_wakeups(subject: &Subject) {
    let mut random = Rng::with_seed(SEED);
    for bits in [10, 30, 50] {
        let mut checked = subject.checked();
        let keys: Vec<usize> = (0..300).map(|_| checked.insert(random.u64(..1 << bits))).collect();
        for key in keys {
            if key % 10 != 0 {
                checked.cancel(key);
            }
        }
        checked.sleep_through();
        assert!(checked.driver.is_empty());
    }
}

/// Fails if a timeout around every request, always cancelled, piles up or wakes anyone.
pub fn timeouts_that_never_fire_leave_nothing_behind(subject: &Subject) {
    let mut checked = subject.checked();
    checked.insert(u64::MAX);
    for _ in 0..10_000 {
        let key = checked.insert(checked.now + 5_000_000_000);
        checked.advance(checked.now + 40_000);
        checked.cancel(key);
    }
    assert_eq!(checked.driver.len(), 1);
    checked.sleep_through();
}

/// Fails if a timer that is armed into a part of the wheel that was just visited is passed over.
pub fn timers_armed_between_advances_are_not_missed(subject: &Subject) {
    let mut random = Rng::with_seed(SEED);
    let mut checked = subject.checked();
    for step in 0..5_000_u64 {
        checked.insert(checked.now + random.u64(..1 << (step % 34)));
        checked.insert(checked.now + subject.granularity);
        let spare = checked.insert(checked.now + random.u64(..1 << 24) + (1 << 25));
        checked.advance(checked.now + random.u64(..1 << (step % 24)));
        if step % 3 == 0 {
            checked.cancel(spare);
        }
    }
}

/// Fails if numbers break what a few timers do not.
pub fn a_hundred_thousand_timers_expire_in_time(subject: &Subject) {
    const SPAN: u64 = 1 << 34;
    let mut random = Rng::with_seed(SEED);
    let mut checked = subject.checked();
    let keys: Vec<usize> = (0..100_000).map(|_| checked.insert(random.u64(..SPAN))).collect();
    for key in keys.iter().filter(|&key| key % 4 == 0) {
        checked.cancel(*key);
    }
    for step in 1..=32 {
        checked.advance(step * (SPAN / 32));
    }
    checked.advance(SPAN + subject.granularity);
    assert!(checked.driver.is_empty());
}

/// Fails if any sequence of calls, at any times, leads to an answer that the contract forbids.
///
/// The panic names the smallest such sequence that was found and the seed that leads to it.
/// `PROPTEST_CASES` sets how many sequences are tried, `PROPTEST_RNG_SEED` where to start.
pub fn agrees_with_an_ordered_model(subject: &Subject) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => fastrand::u64(..),
    };
    config.rng_seed = RngSeed::Fixed(seed);

    let run = TestRunner::new(config).run(&scripts(), |script| {
        play(&script, subject.checked());
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}\nrun again with PROPTEST_RNG_SEED={seed}");
    }
}

fn advance(driver: &mut dyn TimerDriver, now: u64) -> Vec<TimerKey> {
    let mut expired = Vec::new();
    driver.advance(now, &mut expired);
    expired
}
