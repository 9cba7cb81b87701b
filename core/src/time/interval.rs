//! Ticks at a steady pace.

use std::time::{Duration, Instant};

use super::sleep_until;

/// What an [`Interval`] does about ticks that were missed: those that came more than 5 ms late, or after
/// the next was due. That is what tokio does, for periods above 5 ms.
///
/// With a period of 50 ms, and somebody who is busy for 120 ms after the second tick:
///
/// ```text
///   Burst   0   50                170 170  200  250
///   Delay   0   50                170      220       270
///   Skip    0   50                170    200  250
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTickBehavior {
    /// All come, as fast as they are asked for, until the pace is caught up with.
    #[default]
    Burst,
    /// One comes, and the next ones a period after each other from then on.
    ///
    /// More than 5 ms late counts as missed. So on a timer that is coarser than that, as the hashed wheel with its default
    /// tick of 10 ms, each period may grow by up to a tick.
    Delay,
    /// One comes, and the next ones when they were due from the start.
    Skip,
}

/// A tick that comes later than this does not keep the pace.
const TOLERATED: Duration = Duration::from_millis(5);

/// Makes a tick every `period`, the first one at once.
///
/// # Panics
///
/// If `period` is zero.
///
/// ```
/// # use rust_routines_core as rust_routines;
/// use std::time::Duration;
/// use rust_routines::time;
///
/// let mut interval = time::interval(Duration::from_millis(2));
/// let first = interval.tick();
/// let third = { interval.tick(); interval.tick() };
/// assert_eq!(third - first, Duration::from_millis(4));
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Makes a tick at `start` and then every `period`.
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval has a period longer than zero");
    Interval { next: Some(start), period, missed: MissedTickBehavior::default() }
}

/// Ticks at a steady pace, see [`interval`]. For use with `select!` there is
/// [`channel::tick`](crate::channel::tick).
#[derive(Debug)]
pub struct Interval {
    /// `None` once it is beyond the range of the clock.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Blocks the calling routine or thread until the next tick is due, and returns when it was.
    ///
    /// A tick beyond the range of the clock is waited for until the runtime is shut down.
    pub fn tick(&mut self) -> Instant {
        let Some(due) = self.next else {
            super::sleep(Duration::MAX);
            // Only in a destructor that runs while its routine is unwound.
            return Instant::now();
        };
        sleep_until(due);
        self.next = self.after(due, Instant::now());
        due
    }

    /// The tick after the one that was `due` and came `now`.
    fn after(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        if next > now && now.saturating_duration_since(due) <= TOLERATED {
            return Some(next);
        }
        match self.missed {
            MissedTickBehavior::Burst => Some(next),
            MissedTickBehavior::Delay => now.checked_add(self.period),
            MissedTickBehavior::Skip => {
                let late = (now - due).as_nanos() % self.period.as_nanos();
                // Below the period, which is a `Duration`.
                let late = Duration::from_nanos_u128(late);
                now.checked_add(self.period - late)
            }
        }
    }

    /// Makes the next tick due one period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// Makes the next tick due now.
    pub fn reset_immediately(&mut self) {
        self.reset_at(Instant::now());
    }

    /// Makes the next tick due so long from now.
    pub fn reset_after(&mut self, after: Duration) {
        self.next = Instant::now().checked_add(after);
    }

    /// Makes the next tick due then.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.next = Some(deadline);
    }

    /// From one tick to the next.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// What is done about missed ticks.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Changes what is done about missed ticks: [`Burst`](MissedTickBehavior::Burst) at first.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(50);

    /// When the ticks come, in milliseconds, to somebody who asks for them then.
    fn ticks(behavior: MissedTickBehavior, asked: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut interval = interval_at(start, PERIOD);
        interval.set_missed_tick_behavior(behavior);
        let mut ticks = Vec::new();
        for &asked in asked {
            let due = interval.next.unwrap();
            let came = due.max(start + Duration::from_millis(asked));
            interval.next = interval.after(due, start + Duration::from_millis(asked));
            ticks.push((came - start).as_millis() as u64);
        }
        ticks
    }

    /// Fails if a behavior does not do what its picture shows.
    #[test]
    fn missed_ticks_burst_delay_or_skip() {
        let asked = [0, 0, 170, 170, 171, 201, 251];
        assert_eq!(ticks(MissedTickBehavior::Burst, &asked), [0, 50, 170, 170, 200, 250, 300]);
        assert_eq!(ticks(MissedTickBehavior::Delay, &asked), [0, 50, 170, 220, 270, 320, 370]);
        assert_eq!(ticks(MissedTickBehavior::Skip, &asked), [0, 50, 170, 200, 250, 300, 350]);
    }

    const ALL: [MissedTickBehavior; 3] =
        [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip];

    /// Fails if a tick that is hardly late moves the next ones.
    #[test]
    fn lateness_up_to_the_tolerated_keeps_the_pace() {
        for behavior in ALL {
            assert_eq!(ticks(behavior, &[0, 55, 105, 106]), [0, 55, 105, 150]);
        }
    }

    /// Fails if a tick that is late by less than a period does not move the next one as in tokio.
    #[test]
    fn lateness_within_a_period_delays_only_with_delay() {
        let asked = [0, 56, 57, 58];
        assert_eq!(ticks(MissedTickBehavior::Burst, &asked), [0, 56, 100, 150]);
        assert_eq!(ticks(MissedTickBehavior::Delay, &asked), [0, 56, 106, 156]);
        assert_eq!(ticks(MissedTickBehavior::Skip, &asked), [0, 56, 100, 150]);
    }

    /// Fails if the next tick after a reset is due at another time, or the pace is another from then on.
    #[test]
    fn resets_say_when_the_next_tick_is_due() {
        let start = Instant::now();
        let mut interval = interval_at(start, PERIOD);
        interval.reset_at(start + 3 * PERIOD);
        assert_eq!(interval.next, Some(start + 3 * PERIOD));
        let at_most = |after: Duration| start + after..=Instant::now() + after;
        interval.reset_after(2 * PERIOD);
        assert!(at_most(2 * PERIOD).contains(&interval.next.unwrap()));
        interval.reset();
        assert!(at_most(PERIOD).contains(&interval.next.unwrap()));
        interval.reset_immediately();
        let due = interval.next.unwrap();
        assert!(at_most(Duration::ZERO).contains(&due));
        assert_eq!(interval.tick(), due);
        interval.reset_after(Duration::MAX);
        assert_eq!(interval.next, None);
    }

    /// Fails if an interval without end overflows.
    #[test]
    fn the_longest_period_ticks_once() {
        let mut interval = interval(Duration::MAX);
        interval.tick();
        assert_eq!(interval.next, None);
    }
}
