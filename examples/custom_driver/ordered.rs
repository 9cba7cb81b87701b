//! A timer driver from outside: an ordered map. Exact, and logarithmic in the number of timers.

use std::collections::{BTreeMap, HashMap};

use rust_routines::driver::{TimerDriver, TimerId, TimerKey};

/// What `Runtime::builder().timer(Ordered::new)` makes for each worker.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    /// By deadline, and among those of one deadline by id.
    timers: BTreeMap<(u64, u64), TimerKey>,
    /// The deadlines of those that are armed, by id.
    deadlines: HashMap<u64, u64>,
    /// Ids are never given out again, so a stale one is not mistaken for that of a later timer.
    last_id: u64,
}

impl Ordered {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl TimerDriver for Ordered {
    fn name(&self) -> &'static str {
        "ordered"
    }

    fn insert(&mut self, deadline: u64, key: TimerKey) -> TimerId {
        self.last_id += 1;
        self.timers.insert((deadline, self.last_id), key);
        self.deadlines.insert(self.last_id, deadline);
        TimerId(self.last_id)
    }

    fn cancel(&mut self, TimerId(id): TimerId) -> Option<TimerKey> {
        let deadline = self.deadlines.remove(&id)?;
        self.timers.remove(&(deadline, id))
    }

    fn next_deadline(&self) -> Option<u64> {
        let (&(deadline, _), _) = self.timers.first_key_value()?;
        Some(deadline)
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<TimerKey>) {
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            let ((_, id), key) = first.remove_entry();
            self.deadlines.remove(&id);
            expired.push(key);
        }
    }

    fn len(&self) -> usize {
        self.timers.len()
    }
}
