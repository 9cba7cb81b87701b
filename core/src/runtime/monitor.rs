//! Watches for workers that are stuck in one routine while others wait behind it.
//!
//! A started routine cannot be moved, so nothing can be done for those that are ready there. But the
//! monitor counts the case, names the routine in a `tracing` event (once per place that spawns such),
//! and sees to the unstarted ones: it takes them out of the stuck worker's inbox, wakes a sibling for
//! them and, if all siblings are stuck too, starts a spare worker. A spare starts routines only while
//! somebody is stuck, keeps those it has started until they end, and then sleeps.
//!
//! A worker that the system keeps from running while it is in a routine is not stuck, though it stays there: on a machine with
//! more to do than it can, that happens all the time. It is given a second.
//!
//! The thread samples every [`INTERVAL`], and sleeps while all workers do, the spare ones included: one of these may have
//! been handed routines, and be stuck before it starts them, when the others have nothing to do any more.

use std::collections::HashSet;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::placement::retry;
use super::remote::Remote;
use super::shared::Shared;
use super::spawn_worker;
use super::thread::Thread;

/// A worker that is found in the same stay in the same routine twice, this far apart, is stuck. Go asks
/// its goroutines to yield after the same time.
const INTERVAL: Duration = Duration::from_millis(10);

/// After so many of them, a worker is stuck also if the others there only wait: nobody looks at their timers and drivers, nor
/// hears of what they wait for. It might wait itself, for a lock of std's that one of them holds.
const LONG: u32 = 100;

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Monitor {
    stuck: AtomicU64,
    stuck_now: AtomicUsize,
    /// Whether the thread sleeps because all workers do.
    asleep: AtomicBool,
    /// Spare workers that do not sleep.
    spares_awake: AtomicUsize,
    /// Whether a spare worker is being started.
    starting: AtomicBool,
    warned: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watch,
    Stop,
}

/// What was last seen of a worker.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    resumed: u64,
    /// How many samples in a row have found it in the same stay.
    stays: u32,
    stuck: bool,
    /// The processor time that the worker's thread had used when the stay was first seen.
    used: Option<Duration>,
}

impl Sample {
    /// What is seen of a worker now.
    fn next(self, remote: &Remote) -> Self {
        let resumed = remote.counters.resumed.value();
        let runs = remote.running.spawned_at().is_some();
        let stays = resumed == self.resumed && runs;
        // Once stuck, it remains so until it gets out of the routine.
        let stuck = stays && self.stuck;
        let (stays, used) = match (stays, runs) {
            (true, _) => (self.stays.saturating_add(1), self.used),
            (false, true) => (0, used(remote)),
            (false, false) => (0, None),
        };
        Self { resumed, stays, stuck, used }
    }

    /// Whether the worker stays only since the system lets others run.
    fn is_preempted(&self, remote: &Remote) -> bool {
        let spent = used(remote).zip(self.used).map(|(now, then)| now.saturating_sub(then));
        self.stays < LONG
            && spent.is_some_and(|spent| spent < INTERVAL / 2)
            && remote.thread().is_some_and(Thread::is_runnable)
    }
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self {
            stuck: AtomicU64::new(0),
            stuck_now: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            spares_awake: AtomicUsize::new(0),
            starting: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            state: Mutex::new(State::Watch),
            changed: Condvar::new(),
        }
    }

    /// How often a worker was found stuck.
    pub(crate) fn stuck(&self) -> u64 {
        self.stuck.load(Ordering::Relaxed)
    }

    /// How many workers are stuck now, for each of which a spare may start routines.
    pub(crate) fn spares_wanted(&self) -> usize {
        self.stuck_now.load(Ordering::Relaxed)
    }

    /// A worker has woken up. The counts say so already, see `run`.
    pub(crate) fn awake(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            let _state = self.state.lock();
            self.changed.notify_one();
        }
    }

    /// A spare worker begins, or has woken up.
    pub(crate) fn spare_awake(&self) {
        self.spares_awake.fetch_add(1, Ordering::SeqCst);
        self.awake();
    }

    /// A spare worker is about to sleep.
    pub(crate) fn spare_asleep(&self) {
        self.spares_awake.fetch_sub(1, Ordering::SeqCst);
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        *self.state.lock() = State::Stop;
        self.changed.notify_one();
    }

    /// The monitor's thread.
    pub(crate) fn run(&self, shared: &Arc<Shared>) {
        let mut samples = vec![Sample::default(); shared.remotes.len()];
        let mut reported = HashSet::new();
        loop {
            {
                let mut state = self.state.lock();
                if *state == State::Stop {
                    return;
                }
                // Announced before the sleepers are counted, as a worker leaves their count, or a spare one joins
                // that of those awake, before it looks whether we sleep: one of the two sees the other.
                self.asleep.store(true, Ordering::SeqCst);
                let all_sleep = shared.idle.sleeping() == shared.config.workers
                    && self.spares_awake.load(Ordering::SeqCst) == 0;
                if all_sleep {
                    while *state == State::Watch && self.asleep.load(Ordering::SeqCst) {
                        self.changed.wait(&mut state);
                    }
                } else {
                    self.asleep.store(false, Ordering::SeqCst);
                }
                if *state == State::Watch {
                    self.changed.wait_for(&mut state, INTERVAL);
                }
            }
            for (remote, sample) in shared.remotes.iter().zip(&mut samples) {
                *sample = sample.next(remote);
            }
            // What comes from outside lies where every worker but a stuck one would find it.
            let all_stay = samples[..shared.config.workers].iter().all(|sample| sample.stays > 0);
            let nobody_comes = all_stay && !shared.injector.is_empty();
            let mut stuck_now = 0;
            for (remote, sample) in shared.remotes.iter().zip(&mut samples) {
                let waits = || {
                    let parked = || sample.stays >= LONG && remote.counters.parked_now() > 0;
                    nobody_comes || others_wait(remote) || parked()
                };
                if sample.stays > 0 && !sample.stuck && waits() && !sample.is_preempted(remote) {
                    sample.stuck = true;
                    self.stuck.fetch_add(1, Ordering::Relaxed);
                    if let Some(spawned_at) = remote.running.spawned_at()
                        && reported.insert(site(spawned_at))
                    {
                        report(remote, spawned_at);
                    }
                }
                if sample.stuck {
                    stuck_now += 1;
                    free_unstarted(shared, remote);
                }
            }
            self.stuck_now.store(stuck_now, Ordering::Relaxed);
            if stuck_now > 0 && shared.has_visible_work() {
                self.find_hands(shared, stuck_now);
            }
        }
    }

    /// Gets somebody to start the routines that wait behind a stuck worker.
    fn find_hands(&self, shared: &Arc<Shared>, stuck_now: usize) {
        if shared.idle.sleeping() > 0 {
            return shared.call_sleeper();
        }
        let workers = shared.config.workers;
        if stuck_now < workers {
            // Somebody is awake and will come by.
            return;
        }
        let running = shared.config.spares - shared.unused.lock().len();
        for spare in &shared.remotes[workers..workers + running] {
            spare.poke();
        }
        if running < stuck_now
            && running < shared.config.spares
            && !self.starting.swap(true, Ordering::SeqCst)
        {
            let starting = shared.clone();
            let started = spawn_worker(shared, running + workers, move |result| {
                // Taken only now, so that no place is lost where a thread cannot be had.
                let place = match result {
                    Ok(()) => starting.unused.lock().pop_front(),
                    Err(error) => {
                        starting.monitor.warn(&error);
                        None
                    }
                };
                starting.monitor.starting.store(false, Ordering::SeqCst);
                place
            });
            if let Err(error) = started {
                self.warn(&error);
                self.starting.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Says once that there is no spare worker to be had: until there is, routines wait for the stuck one.
    fn warn(&self, error: &io::Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "cannot start a spare worker");
        }
    }
}

/// The processor time that the worker's thread has used.
fn used(remote: &Remote) -> Option<Duration> {
    remote.thread().and_then(Thread::processor_time)
}

/// Whether anything is queued behind the routine that runs.
fn others_wait(remote: &Remote) -> bool {
    remote.waiting() > 0 || !remote.fresh.is_empty() || !remote.inbox().is_empty()
}

/// Moves the unstarted routines of a stuck worker to where all others take from, the busy ones included.
fn free_unstarted(shared: &Shared, remote: &Remote) {
    while let Some(link) = retry(|| remote.fresh.steal()) {
        shared.injector.push(link);
    }
    for link in super::worker::oldest_first(remote.inbox().raid()) {
        if link.is_started() {
            remote.send(link);
        } else {
            shared.injector.push(link);
        }
    }
}

fn site(location: &Location<'static>) -> (&'static str, u32, u32) {
    (location.file(), location.line(), location.column())
}

fn report(remote: &Remote, spawned_at: &Location<'static>) {
    tracing::warn!(
        routine = remote.running.id(),
        name = remote.running.name(),
        %spawned_at,
        "a routine has kept its worker for more than {INTERVAL:?} while others wait; long computation \
         belongs behind yield_now, or on a worker of its own"
    );
}
