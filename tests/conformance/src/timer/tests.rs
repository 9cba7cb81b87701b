//! The suite itself: what it must accept, and what it must not.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};

use super::*;

// The suite asks for no more than the plainest driver gives.
crate::timer_driver_suite!(sorted, || Sorted::with(None), granularity = Duration::ZERO);

/// Fails if the suite accepts a driver that breaks a clause of the contract.
#[test]
fn every_fault_is_found_by_the_test_named_for_it() {
    let faults: [(Fault, Behaviour); 11] = [
        (Fault::Early, a_key_comes_out_once_its_deadline_is_reached),
        (Fault::Late, deadlines_at_every_scale_expire_in_time),
        (Fault::Twice, a_key_comes_out_once_its_deadline_is_reached),
        (Fault::ClearsExpired, expired_keys_are_appended),
        (Fault::ReusesIds, a_stale_id_never_cancels_a_later_timer),
        (Fault::KeepsCancelled, cancel_returns_the_key_and_silences_it),
        (Fault::NeedsTimeToMove, deadline_in_the_past_expires_at_the_next_advance),
        (Fault::Oversleeps, next_deadline_follows_the_earliest_timer),
        (Fault::Spins, sleeping_until_next_deadline_reaches_every_timer),
        (Fault::FollowsTimeBack, time_going_back_does_no_harm),
        // That test cancels the first timer only, so the others are found as it ends.
        (Fault::LosesIds, the_last_instant_never_comes),
    ];
    for (fault, behaviour) in faults {
        assert!(failure(fault, behaviour).is_some(), "{fault:?} passes");
    }
}

/// Fails if a failure of the model test cannot be run again.
#[test]
fn the_model_test_names_its_seed() {
    let message = failure(Fault::Early, agrees_with_an_ordered_model).unwrap();
    assert!(message.contains("PROPTEST_RNG_SEED="), "{message}");
}

type Behaviour = fn(&Subject);

/// What `behaviour` has to say against the sorted driver with `fault`.
fn failure(fault: Fault, behaviour: Behaviour) -> Option<String> {
    let subject = Subject::new(move || Sorted::with(Some(fault)), Duration::ZERO);
    let panic = panic::catch_unwind(AssertUnwindSafe(|| behaviour(&subject))).err()?;
    Some(panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

/// A way to break the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Early,
    Late,
    Twice,
    ClearsExpired,
    ReusesIds,
    KeepsCancelled,
    NeedsTimeToMove,
    Oversleeps,
    Spins,
    FollowsTimeBack,
    LosesIds,
}

/// A driver that is obviously right, but for the fault it is told to have.
#[derive(Debug)]
struct Sorted {
    fault: Option<Fault>,
    now: u64,
    /// By deadline and id.
    timers: BTreeMap<(u64, u64), TimerKey>,
    /// By id; kept for good.
    deadlines: BTreeMap<u64, u64>,
    last_id: u64,
}

impl Sorted {
    fn with(fault: Option<Fault>) -> Self {
        Self { fault, now: 0, timers: BTreeMap::new(), deadlines: BTreeMap::new(), last_id: 0 }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

impl TimerDriver for Sorted {
    fn name(&self) -> &'static str {
        "sorted"
    }

    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId {
        if self.has(Fault::ReusesIds) {
            self.last_id %= 100;
        }
        self.last_id += 1;
        self.timers.insert((deadline, self.last_id), key);
        self.deadlines.insert(self.last_id, deadline);
        TimerId(self.last_id)
    }

    fn cancel(&mut self, id: TimerId) -> Option<TimerKey> {
        let timer = (*self.deadlines.get(&id.0)?, id.0);
        if self.has(Fault::LosesIds) && timer.0 == u64::MAX && timer.1 > 2 {
            return None;
        }
        if self.has(Fault::KeepsCancelled) {
            self.timers.get(&timer).copied()
        } else {
            self.timers.remove(&timer)
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let &(deadline, _) = self.timers.keys().next()?;
        match self.fault {
            Some(Fault::Oversleeps) => Some(deadline.saturating_add(1)),
            Some(Fault::Spins) => Some(deadline.min(self.now)),
            _ => Some(deadline),
        }
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>) {
        if self.has(Fault::ClearsExpired) {
            expired.clear();
        }
        if self.has(Fault::NeedsTimeToMove) && now == self.now {
            return;
        }
        if self.has(Fault::FollowsTimeBack) && now < self.now {
            // As a wheel does that takes a step back for a step right round.
            expired.extend(self.timers.values());
            self.timers.clear();
        }
        self.now = now;
        let due = match self.fault {
            Some(Fault::Early) => now.saturating_add(1),
            Some(Fault::Late) => now.saturating_sub(1),
            _ => now,
        };
        let later = self.timers.split_off(&(due.saturating_add(1), 0));
        expired.extend(self.timers.values());
        if self.has(Fault::Twice) {
            self.timers.extend(later);
        } else {
            self.timers = later;
        }
    }

    fn len(&self) -> usize {
        self.timers.len()
    }
}
