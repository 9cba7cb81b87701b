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
//!    handed to another, as long as that is getting on with them ([`SOON`]), and, if what it has last stolen
//!    or been handed has not ended, with what others spawn for so long. It starts routines faster than they
//!    are spawned; coming back again and again, it would bind nearly all of them. Old ones it takes, however
//!    few: their worker is busy with something long.
//! 4. Waking a worker takes tens of microseconds, in which its sibling could start everything and so
//!    bind it; and even a thief that is awake is slower to fetch routines than their worker to start them.
//!    So a worker that is about to start routines from a batch gives half of it, once, to a sibling that
//!    sleeps, has been called and is on its way, or searches (`hand_over`), by twos that were spawned one
//!    after the other, by turns in the order of Thue and Morse: neighbours stay together, and neither a trend
//!    in their weight nor a period is all on one side. The sibling does not hand them on. If a sibling came
//!    by while the batch was still being spawned and went off with some of it, its half is brought to it,
//!    asleep or not: it took what there was, and is now binding that. Dividing takes a lock, for which nobody
//!    waits, so that a batch is not halved twice, by its worker and a thief at the same time.
//! 5. A thief that takes a routine that lay alone may have come by a link of a chain: routines that are spawned one
//!    by one, by a worker that is too busy to start them, and of which each talks to the one before. Where single
//!    links go astray, each costs two crossings. So the next ones go to the thief together, a [`Stripe`], until it
//!    has as many live routines as their worker, is in a long turn, or one has ended there, as no link would. The
//!    sieve of 1,500 primes takes 70 to 80 ms that way, instead of 140 with 30 single links on the other worker, or
//!    120 on one.
//! 6. `Builder::spread` goes round the workers instead.
//!
//! Elsewhere parked routines do not count: they weigh nothing. Balancing by the number of live routines was tried
//! in the design's model and made trees of routines ten times slower.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_deque::Steal;

use super::remote::Remote;
use super::shared::Shared;
use super::worker::Worker;
use crate::routine::cell::{Header, Link};
use crate::runtime::inbox::Node;

/// One start in this many takes the oldest routine instead of the newest.
const OLDEST_FIRST: u64 = 16;

/// How long a searching worker leaves a few unstarted routines alone. Go leaves its next slot alone for
/// about as long; a wake-up across cores takes about twice as long here.
pub(crate) const YOUNG: Duration = Duration::from_micros(20);

/// A backlog whose worker will have started all of it by then, at the rate at which it does, is left alone.
/// Starting takes a microsecond or two where it needs a new stack.
const SOON: Duration = Duration::from_micros(200);

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
            (Placement::Near, Some(worker)) => match worker.next_in_stripe() {
                Some(thief) => {
                    worker.counters().handed_over.add(1);
                    thief.send(link);
                }
                None => {
                    worker.fresh.push(link);
                    self.call_sleeper();
                }
            },
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
        self.notice_batch();
        if self.fresh.is_empty() {
            return None;
        }
        if !self.batch.divided.get() {
            self.divide();
        }
        let turn = self.counters().started.value();
        if turn.is_multiple_of(OLDEST_FIRST)
            && let Some(oldest) = self.oldest_fresh()
        {
            return Some(oldest);
        }
        let newest = self.fresh.pop()?;
        self.batch.begun.set(self.batch.begun.get() + 1);
        Some(newest)
    }

    /// The worker's own unstarted routine that has waited longest.
    pub(crate) fn oldest_fresh(&self) -> Option<Link> {
        self.notice_batch();
        let oldest = retry(|| self.remote().fresh.steal())?;
        self.batch.begun.set(self.batch.begun.get() + 1);
        Some(oldest)
    }

    /// To whom the routine goes that is being spawned, if it belongs to a stripe (rule 5).
    fn next_in_stripe(&self) -> Option<&Remote> {
        let mut stripe = self.stripe.get();
        if stripe.left == 0 {
            self.stripe.set(self.begin_stripe()?);
            return None;
        }
        let thief = &self.shared().remotes[stripe.thief];
        let turns = thief.counters.resumed.value();
        // In a long turn, it would not look at what it is sent, and nobody else could take it from there.
        let gets_on = turns != stripe.turns || (thief.is_resting() && thief.inbox().is_empty());
        let finished = thief.counters.finished.value();
        if !gets_on || finished != stripe.finished || thief.live() >= self.remote().live() {
            self.stripe.set(Stripe::default());
            return None;
        }
        stripe.turns = turns;
        stripe.left -= 1;
        self.stripe.set(stripe);
        // It is none of the batch that a sibling may come by for.
        self.batch.end.set(self.batch.end.get() + 1);
        Some(thief)
    }

    /// The stripe that begins after the routine that is being spawned. That one stays: the thief may still be busy with
    /// the one that it has stolen.
    fn begin_stripe(&self) -> Option<Stripe> {
        let outpaced = &self.remote().outpaced;
        let thief = outpaced.load(Ordering::Relaxed).checked_sub(1)?;
        outpaced.store(0, Ordering::Relaxed);
        let counters = &self.shared().remotes[thief].counters;
        let fewer = self.remote().live().saturating_sub(self.shared().remotes[thief].live());
        Some(Stripe {
            thief,
            left: fewer.min(MOST_HANDED as u64),
            turns: counters.resumed.value(),
            finished: counters.finished.value(),
        })
    }

    /// If routines have been spawned since the worker last took one from `fresh`, those are a new batch.
    fn notice_batch(&self) {
        let spawned = self.counters().spawned.value();
        let size = spawned - self.batch.end.get();
        if size == 0 {
            return;
        }
        self.batch.end.set(spawned);
        self.batch.size.set(usize::try_from(size).unwrap_or(usize::MAX));
        self.batch.begun.set(0);
        self.remote().placed.store(false, Ordering::Relaxed);
        self.batch.divided.set(false);
    }

    /// Gives half of a batch to a sibling: the rest of a half to one that has come by since the first was spawned, or else
    /// a whole half to one that has nothing to do, if there is one (rule 4).
    fn divide(&self) {
        let (shared, remote) = (self.shared(), self.remote());
        let called = shared.called.load(Ordering::Relaxed);
        let nobody_wants =
            called == self.index() + 1 || (called == 0 && shared.idle.sleeping() == 0);
        let nobody_came = remote.raider.load(Ordering::Relaxed) == 0;
        if self.fresh.len() < BACKLOG || (nobody_wants && nobody_came) {
            return;
        }
        // While a thief takes its half, one more is started here.
        let Some(_division) = remote.division.try_lock() else { return };
        let raider = remote.raider.swap(0, Ordering::Relaxed);
        if raider != 0 {
            let (left, begun) = (self.fresh.len(), self.batch.begun.get());
            let taken = self.batch.size.get().saturating_sub(begun + left);
            if taken > 0 {
                self.batch.divided.set(true);
                let ahead = taken.saturating_sub(begun);
                if left >= ahead + BACKLOG {
                    self.give_half(&shared.remotes[raider - 1], ahead);
                }
                return;
            }
        }
        if nobody_wants {
            return;
        }
        self.batch.divided.set(true);
        let sibling = match shared.called.swap(0, Ordering::Relaxed) {
            0 => match shared.idle.take_sleeper() {
                Some(sibling) => sibling,
                None => return,
            },
            called => called - 1,
        };
        self.give_half(&shared.remotes[sibling], 0);
    }

    /// Sends a sibling every other neighbourhood of the unstarted routines, but keeps the `first` oldest.
    fn give_half(&self, sibling: &Remote, first: usize) {
        let mut keep = Vec::with_capacity(MOST_HANDED);
        let mut newest: Option<Link> = None;
        let mut oldest: Option<Link> = None;
        let mut handed = 0;
        let count = self.fresh.len().min(2 * MOST_HANDED);
        // What does not come out even by twos does by ones.
        let even = count.saturating_sub(first) / (2 * NEIGHBOURS) * (2 * NEIGHBOURS);
        for index in 0..count {
            let Some(link) = self.oldest_fresh() else { break };
            let goes = match index.checked_sub(first) {
                None => false,
                Some(index) if index < even => !(index / NEIGHBOURS).count_ones().is_multiple_of(2),
                Some(index) => !index.is_multiple_of(2),
            };
            if !goes {
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
        match (newest, oldest) {
            (Some(newest), Some(oldest)) => {
                self.counters().handed_over.add(handed);
                sibling.send_chain(newest, oldest);
            }
            // It may have been taken from the sleepers, and must be told.
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
        let start = self.counters().started.value() as usize + self.index();
        for offset in 0..workers {
            let victim = (start + offset) % workers;
            let remote = &shared.remotes[victim];
            let backlog = remote.fresh.len();
            if victim == self.index() || backlog == 0 {
                continue;
            }
            let spawned = remote.counters.spawned.value();
            let watched = self.watched[victim].get();
            let may_wait = backlog < BACKLOG
                || remote.placed.load(Ordering::Relaxed)
                || self.haul.get().is_some_and(|haul| haul.lasts(victim, self, now));
            if watched.is_of(spawned, backlog) {
                if !watched.is_left_lying(backlog, now) {
                    continue;
                }
            } else if may_wait {
                self.watched[victim].set(Watched { spawned, backlog, since: now });
                continue;
            }
            let Some(_division) = remote.division.try_lock() else { continue };
            if !self.remote().inbox().is_empty() {
                // It has been handed its half in the meantime.
                return None;
            }
            // Half, rounded up to whole neighbourhoods.
            let limit = backlog.div_ceil(2).next_multiple_of(NEIGHBOURS).min(MOST_HANDED);
            let before = self.fresh.len();
            if let Some(link) =
                retry(|| remote.fresh.steal_batch_with_limit_and_pop(&self.fresh, limit))
            {
                let count = 1 + (self.fresh.len() - before) as u64;
                self.counters().stolen.add(count);
                self.haul.set(Some(Haul::new(Some(victim), count, self, now)));
                remote.raider.store(self.index() + 1, Ordering::Relaxed);
                if backlog == 1 && self.index() < shared.config.workers {
                    remote.outpaced.store(self.index() + 1, Ordering::Relaxed);
                }
                return Some(link);
            }
        }
        None
    }
}

/// Routines that a worker has spawned and not begun to start, and what has become of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// How many the worker had spawned when it last took one from `fresh`.
    end: Cell<u64>,
    /// How many those were, since the time before.
    size: Cell<usize>,
    /// How many it has taken from `fresh` since.
    begun: Cell<usize>,
    /// Whether a sibling has had its half.
    pub(crate) divided: Cell<bool>,
}

/// Routines that go to a sibling as they are spawned (rule 5).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stripe {
    thief: usize,
    /// How many are still to come at most. None if there is no stripe.
    left: u64,
    /// How often the thief had resumed a routine when the last one was sent.
    turns: u64,
    /// How many routines the thief had finished when it began.
    finished: u64,
}

/// Routines that a worker last got from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Haul {
    /// Where they were stolen. Nowhere if they were handed over.
    victim: Option<usize>,
    count: u64,
    /// How many routines the worker had finished then.
    finished: u64,
    at: Instant,
}

impl Haul {
    pub(crate) fn new(victim: Option<usize>, count: u64, by: &Worker, at: Instant) -> Self {
        Self { victim, count, finished: by.counters().finished.value(), at }
    }

    /// Whether `by` should make do with it for now, and steal nothing young from `victim`: not all have ended, so that
    /// it has its part of the work to come.
    fn lasts(self, victim: usize, by: &Worker, now: Instant) -> bool {
        self.victim.is_none_or(|from| from == victim)
            && by.counters().finished.value() - self.finished < self.count
            && now.saturating_duration_since(self.at) < SOON
    }
}

/// The unstarted routines of another worker that a searching worker leaves alone for now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// How many the victim had spawned then: if that has changed, these are others.
    spawned: u64,
    /// How many there were.
    backlog: usize,
    since: Instant,
}

impl Watched {
    /// Nothing has been seen.
    pub(crate) fn nothing(now: Instant) -> Self {
        Self { spawned: u64::MAX, backlog: 0, since: now }
    }

    /// Whether this is still what was seen then, or what is left of it.
    fn is_of(&self, spawned: u64, backlog: usize) -> bool {
        self.spawned == spawned && self.backlog >= backlog
    }

    /// Whether the victim has had the time to start what it has, and will not have done so soon.
    fn is_left_lying(&self, backlog: usize, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.since);
        let started = self.backlog.saturating_sub(backlog);
        waited >= YOUNG
            && (started == 0
                || waited.as_nanos() * backlog as u128 > SOON.as_nanos() * started as u128)
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
