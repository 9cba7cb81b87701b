//! Where routines start. A routine stays on the worker that starts it, so this decides the balance.
//!
//! # Rules
//!
//! 1. A routine starts near its spawner: on the same worker, newest first. The newest is the one whose
//!    data is in the cache, and depth first keeps trees of routines small. Now and then the oldest goes
//!    first ([`OLDEST_FIRST`]), so that none waits for ever.
//! 2. A spawn calls one sleeping worker if none searches already (see [`idle`](super::idle)). The
//!    called worker searches for a while before it sleeps again.
//! 3. A searching worker takes half of a backlog at once from one that spawns. A few young routines it leaves
//!    alone for [`YOUNG`]: their spawner is most likely about to wait for them, and splitting routines that
//!    talk to each other over two workers costs more than it gains; so it does with what rule 4 has just
//!    handed to another. Old ones it takes, however few: their worker is busy with something long.
//! 4. Waking a worker takes tens of microseconds, in which its sibling could start everything and so
//!    bind it; and even a thief that is awake is slower to fetch routines than their worker to start them.
//!    So a worker that is about to start routines from a batch gives half of it, once, to a sibling that
//!    sleeps, has been called and is on its way, or searches (`hand_over`), by twos that were spawned one
//!    after the other, alternating: neighbours stay together and a trend in their weight does not.
//! 5. `Builder::spread` goes round the workers instead.
//!
//! Parked routines do not count: they weigh nothing. Balancing by the number of live routines was tried
//! in the design's model and made trees of routines ten times slower.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_deque::Steal;

use super::shared::Shared;
use super::worker::Worker;
use crate::routine::cell::{Header, Link};
use crate::runtime::inbox::Node;

/// One start in this many takes the oldest routine instead of the newest.
const OLDEST_FIRST: u32 = 16;

/// How long a searching worker leaves a few unstarted routines alone. Go leaves its next slot alone for
/// about as long; a wake-up across cores takes about twice as long here.
pub(crate) const YOUNG: Duration = Duration::from_micros(20);

/// This many unstarted routines are a backlog, of which a searcher takes half at once. Less may be a
/// pair that talks, and a spawner about to join.
const BACKLOG: usize = 4;

/// The most routines that change hands at once. More would only delay the first of them; the sibling
/// comes back for the rest.
const MOST_HANDED: usize = 256;

/// Routines that stay together when a batch is divided.
const NEIGHBOURS: usize = 2;

/// Where a new routine goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Near its spawner.
    #[default]
    Near,
    /// To the workers in turn.
    Spread,
}

impl Shared {
    /// Puts a new routine where a worker will find it.
    pub(crate) fn launch(&self, link: Link, placement: Placement) {
        match (placement, Worker::current_of(self)) {
            (Placement::Spread, _) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.config.workers;
                self.remotes[turn].send(link);
            }
            (Placement::Near, Some(worker)) => {
                worker.fresh.push(link);
                self.call_sleeper();
            }
            (Placement::Near, None) => {
                self.injector.push(link);
                self.call_sleeper();
            }
        }
    }
}

impl Worker {
    /// The next of the worker's own unstarted routines (rules 1 and 4).
    pub(crate) fn next_fresh(&self) -> Option<Link> {
        if self.fresh.is_empty() {
            return None;
        }
        self.hand_over();
        let turn = self.starts.get().wrapping_add(1);
        self.starts.set(turn);
        if turn.is_multiple_of(OLDEST_FIRST)
            && let Some(oldest) = self.oldest_fresh()
        {
            return Some(oldest);
        }
        self.fresh.pop()
    }

    /// The worker's own unstarted routine that has waited longest.
    pub(crate) fn oldest_fresh(&self) -> Option<Link> {
        retry(|| self.remote().fresh.steal())
    }

    /// Rule 4.
    fn hand_over(&self) {
        let shared = self.shared();
        let called = shared.called.load(Ordering::Relaxed);
        let spawned = self.counters().spawned.value();
        if (called == 0 && shared.idle.sleeping() == 0)
            || called == self.index() + 1
            || self.fresh.len() < BACKLOG
            || self.divided.get() == spawned
        {
            return;
        }
        self.divided.set(spawned);
        let sibling = match shared.called.swap(0, Ordering::Relaxed) {
            0 => match shared.idle.take_sleeper() {
                Some(sibling) => sibling,
                None => return,
            },
            called => called - 1,
        };
        let mut keep = Vec::with_capacity(MOST_HANDED);
        let mut newest: Option<Link> = None;
        let mut oldest: Option<Link> = None;
        let mut handed = 0;
        for index in 0..self.fresh.len().min(2 * MOST_HANDED) {
            let Some(link) = self.oldest_fresh() else { break };
            if (index / NEIGHBOURS).is_multiple_of(2) {
                keep.push(link);
                continue;
            }
            Header::set_next(link.as_ptr(), newest.map_or(std::ptr::null_mut(), Link::as_ptr));
            newest = Some(link);
            oldest.get_or_insert(link);
            handed += 1;
        }
        for link in keep {
            self.fresh.push(link);
        }
        let sibling = &shared.remotes[sibling];
        match (newest, oldest) {
            (Some(newest), Some(oldest)) => {
                self.counters().handed_over.add(handed);
                sibling.send_chain(newest, oldest);
            }
            // It was taken from the sleepers, and must be told.
            _ => sibling.poke(),
        }
    }

    /// One look at everything that could be taken over from others (rules 2 and 3).
    pub(crate) fn steal(&self, now: Instant) -> Option<Link> {
        let shared = self.shared();
        if let Some(link) = retry(|| shared.injector.steal_batch_and_pop(&self.fresh)) {
            return Some(link);
        }
        let workers = shared.remotes.len();
        // Begin elsewhere each time, so that not all thieves come to the same door.
        let start = self.starts.get() as usize + self.index();
        for offset in 0..workers {
            let victim = (start + offset) % workers;
            let remote = &shared.remotes[victim];
            let backlog = remote.fresh.len();
            if victim == self.index() {
                continue;
            }
            let spawned = remote.counters.spawned.value();
            let watched = self.watched[victim].get();
            if backlog == 0 || (backlog < BACKLOG && watched.spawned != spawned) {
                self.watched[victim].set(Watched { spawned, since: now });
                continue;
            }
            // A backlog that was not there a moment ago and was not spawned was handed over to be started.
            if watched.spawned == spawned && now.saturating_duration_since(watched.since) < YOUNG {
                continue;
            }
            // Half, rounded up to whole neighbourhoods.
            let limit = backlog.div_ceil(2).next_multiple_of(NEIGHBOURS).min(MOST_HANDED);
            let before = self.fresh.len();
            if let Some(link) =
                retry(|| remote.fresh.steal_batch_with_limit_and_pop(&self.fresh, limit))
            {
                self.counters().stolen.add(1 + (self.fresh.len() - before) as u64);
                return Some(link);
            }
        }
        None
    }
}

/// The few unstarted routines of another worker that a searching worker leaves alone for now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// How many the victim had spawned then: if that has changed, these are others.
    spawned: u64,
    since: Instant,
}

impl Watched {
    /// Nothing was seen yet.
    pub(crate) fn nothing(now: Instant) -> Self {
        Self { spawned: u64::MAX, since: now }
    }
}

/// Tries again while another thread is in the way.
pub(crate) fn retry(mut steal: impl FnMut() -> Steal<Link>) -> Option<Link> {
    loop {
        match steal() {
            Steal::Success(link) => return Some(link),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}
