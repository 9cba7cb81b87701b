//! What all parts of one runtime share, and how it begins and ends.
//!
//! # Ending
//!
//! A runtime goes through three phases, in this order and never back:
//!
//! 1. `Running`: until somebody shuts it down. Waiting for the routines to end happens here.
//! 2. `Canceling`: nothing can be spawned any more. Every worker unwinds the routines that are
//!    suspended on it, and discards those that have not started.
//! 3. `Stopped`: no routine is left, so the workers leave.
//!
//! Spawning counts first and looks at the phase afterwards; ending sets the phase first and counts
//! afterwards. So a routine either is seen by the workers before they leave, or is refused.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_deque::{Injector, Worker as Deque};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::cpu::Seats;
use super::dump::{Questions, RoutineState};
use super::event::Event;
use super::idle::Idle;
use super::metrics::{Counter, Counters, Metrics};
use super::monitor::Monitor;
use super::remote::Remote;
use super::worker::Worker;
use crate::driver::{IoBackend, IoConfig, TimerBackend};
use crate::park::WaitReason;
use crate::routine::RoutineId;
use crate::routine::builder::ShuttingDown;
use crate::routine::cell::Link;
use crate::stack::{Stack, StackPool};

/// What the builder decided.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// Workers that may be started beside them while some are stuck.
    pub(crate) spares: usize,
    pub(crate) name: String,
    pub(crate) spin: Duration,
    pub(crate) bind_workers: bool,
    pub(crate) io: IoConfig,
}

/// How far the runtime's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    Canceling,
    Stopped,
}

/// A routine that was left when its runtime was shut down by force.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leftover {
    /// Which it was, and what it did.
    pub routine: RoutineState,
    /// Whether it kept catching the unwinding, or cannot be unwound, and was frozen: its stack, and the thread of its worker,
    /// stay for as long as the process lives.
    pub frozen: bool,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.routine.fmt(f)
    }
}

/// See the [module docs](self).
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The workers, then the spare ones.
    pub(crate) remotes: Box<[CachePadded<Remote>]>,
    /// Queues of spare workers that have not been started.
    pub(crate) unused: Mutex<VecDeque<(usize, Deque<Link>)>>,
    pub(crate) injector: Injector<Link>,
    pub(crate) idle: Idle,
    /// A worker that has been called or searches, plus one. See `placement`.
    pub(crate) called: AtomicUsize,
    pub(crate) seats: Seats,
    /// Whose turn it is to get a routine that wants to be spread.
    pub(crate) turn: AtomicUsize,
    pub(crate) stacks: StackPool,
    /// Counts spawns that found no room for a stack.
    pub(crate) stacks_wanted: AtomicU64,
    pub(crate) monitor: Monitor,
    /// Counts what no worker does: spawns from outside.
    outside: AtomicU64,
    phase: AtomicU8,
    /// Whether somebody waits for `drained`.
    draining: AtomicBool,
    pub(crate) drained: Event,
    /// Set when the last worker has left.
    pub(crate) stopped: Event,
    pub(crate) workers_alive: AtomicUsize,
    pub(crate) questions: Questions,
    pub(crate) leftovers: Mutex<Vec<Leftover>>,
    /// Routines that will never end.
    pub(crate) frozen: AtomicUsize,
    /// Workers whose threads will never end, because of such routines.
    pub(crate) frozen_workers: Mutex<Vec<usize>>,
    /// Threads to be joined, with the worker's index; `None` for the monitor.
    pub(crate) threads: Mutex<Vec<(Option<usize>, thread::JoinHandle<()>)>>,
    /// `None` once the runtime has stopped, so that handles do not keep its threads.
    pub(crate) io: Mutex<Option<Arc<dyn IoBackend>>>,
    io_name: &'static str,
    pub(crate) timer: Box<dyn TimerBackend>,
    epoch: Instant,
}

/// A routine that may be launched: the reservation of its stack and its place in the count.
#[derive(Debug)]
pub(crate) struct Admission {
    id: u64,
    own_stack: Option<Stack>,
}

impl Admission {
    /// The number for the routine.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The stack, if it asked for one of its own size.
    pub(crate) fn into_own_stack(self) -> Option<Stack> {
        self.own_stack
    }
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        stacks: StackPool,
        io: Arc<dyn IoBackend>,
        timer: Box<dyn TimerBackend>,
    ) -> (Self, Vec<Deque<Link>>) {
        let mut deques: Vec<_> =
            (0..config.workers + config.spares).map(|_| Deque::new_lifo()).collect();
        let remotes =
            deques.iter().map(|deque| CachePadded::new(Remote::new(deque.stealer()))).collect();
        let unused = deques.drain(config.workers..).enumerate();
        let unused = unused.map(|(index, deque)| (config.workers + index, deque)).collect();
        let shared = Self {
            remotes,
            unused: Mutex::new(unused),
            injector: Injector::new(),
            idle: Idle::new(config.workers),
            called: AtomicUsize::new(0),
            // Who is bound stays where it is.
            seats: Seats::new(if config.bind_workers { 0 } else { config.workers }),
            turn: AtomicUsize::new(0),
            stacks,
            stacks_wanted: AtomicU64::new(0),
            monitor: Monitor::new(),
            outside: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
            draining: AtomicBool::new(false),
            drained: Event::new(),
            stopped: Event::new(),
            workers_alive: AtomicUsize::new(0),
            questions: Questions::default(),
            leftovers: Mutex::new(Vec::new()),
            frozen: AtomicUsize::new(0),
            frozen_workers: Mutex::new(Vec::new()),
            threads: Mutex::new(Vec::new()),
            io_name: io.name(),
            io: Mutex::new(Some(io)),
            timer,
            epoch: Instant::now(),
            config,
        };
        (shared, deques)
    }

    /// Makes room for one more routine: counts it, reserves its stack and numbers it.
    ///
    /// Every admission must be followed by a launch.
    pub(crate) fn admit(&self, stack_size: Option<usize>) -> io::Result<Admission> {
        let worker = Worker::current_of(self);
        let own_stack = match (stack_size, &worker) {
            (Some(size), _) => Some(self.stacks.take_sized(size)?),
            (None, Some(worker)) => {
                worker.reserve_stack()?;
                None
            }
            (None, None) => {
                self.stacks.reserve(1).inspect_err(|_| self.reclaim_stacks())?;
                None
            }
        };
        match &worker {
            Some(worker) => worker.counters().spawned.add(1),
            None => {
                self.outside.fetch_add(1, Ordering::SeqCst);
            }
        }
        if self.phase() >= Phase::Canceling {
            match &worker {
                Some(worker) => worker.counters().spawned.subtract(1),
                None => {
                    self.outside.fetch_sub(1, Ordering::SeqCst);
                }
            }
            match own_stack {
                Some(stack) => self.stacks.give_back(stack),
                None => self.stacks.unreserve(1),
            }
            // A worker may have counted in between.
            self.poke_all();
            return Err(io::Error::other(ShuttingDown));
        }
        let id = match &worker {
            Some(worker) => worker.next_id(),
            None => RoutineId::reserve(1),
        };
        Ok(Admission { id, own_stack })
    }

    /// Has the workers give back what stacks they keep, for spawns to come.
    #[cold]
    pub(crate) fn reclaim_stacks(&self) {
        self.stacks_wanted.fetch_add(1, Ordering::Relaxed);
        self.poke_all();
    }

    /// How many routines have been spawned and not finished.
    ///
    /// Zero only if that was so at some moment during the call: what has finished is summed up first, and
    /// whoever sees a routine finished sees it, and all it spawned, counted as spawned.
    pub(crate) fn live(&self) -> u64 {
        let finished = self.sum(|counters| &counters.finished);
        let spawned = self.outside.load(Ordering::SeqCst) + self.sum(|counters| &counters.spawned);
        spawned - finished
    }

    /// If all routines that are left wait, and none of them may be unwound: how far they have come, which changes when
    /// one has got what it waited for. Frozen ones do not count.
    pub(crate) fn all_wait_steadfastly(&self) -> Option<u64> {
        let live = self.live();
        let waiting = live > 0 && live == self.sum(|counters| &counters.steadfast);
        waiting.then(|| self.sum(|counters| &counters.served))
    }

    /// Adds a counter up over all workers.
    fn sum(&self, counter: impl Fn(&Counters) -> &Counter) -> u64 {
        self.remotes.iter().map(|remote| counter(&remote.counters).value()).sum()
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Canceling,
            _ => Phase::Stopped,
        }
    }

    /// Enters a phase and has every worker notice.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        self.poke_all();
    }

    /// Has `drained` set once no routine is left.
    pub(crate) fn watch_for_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.poke_all();
    }

    /// Called by a worker that has nothing to do: perhaps nobody has.
    pub(crate) fn check_drained(&self) {
        // Read before counting: while it is `Running` there can be new routines after the count.
        let phase = self.phase();
        if phase == Phase::Running && !self.draining.load(Ordering::SeqCst) {
            return;
        }
        // Two workers that end the last two routines at once must not both miss the other's.
        fence(Ordering::SeqCst);
        if self.live() == 0 {
            self.drained.set();
            if phase == Phase::Canceling {
                self.enter(Phase::Stopped);
            }
        }
    }

    /// One worker fewer; the last has ended the runtime.
    pub(crate) fn note_worker_left(&self) {
        if self.workers_alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Not before: the last routines may be unstarted ones behind one that keeps its worker.
            self.monitor.stop();
            self.questions.withdraw_all();
            // Ends the threads of the backend, which handles must not keep; nobody else does if the runtime
            // was dropped in one of its own routines.
            let backend = self.io.lock().take();
            drop(backend);
            self.stopped.set();
        }
    }

    pub(crate) fn poke_all(&self) {
        for remote in &self.remotes {
            remote.poke();
        }
    }

    /// Wakes a sleeper if visible new work needs one.
    pub(crate) fn call_sleeper(&self) {
        if let Some(sleeper) = self.idle.call_sleeper() {
            self.called.store(sleeper + 1, Ordering::Relaxed);
            self.remotes[sleeper].poke();
        }
    }

    /// Whether there are unstarted routines that any worker could take.
    pub(crate) fn has_visible_work(&self) -> bool {
        !self.injector.is_empty() || self.remotes.iter().any(|remote| !remote.fresh.is_empty())
    }

    /// Nanoseconds since the runtime was built: the time that timer drivers know.
    pub(crate) fn nanos(&self, instant: Instant) -> u64 {
        let nanos = instant.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let finished = self.sum(|counters| &counters.finished);
        let spawned = self.outside.load(Ordering::SeqCst) + self.sum(|counters| &counters.spawned);
        let waits = |counters: &dyn Fn(&Counters) -> &[Counter; WaitReason::COUNT],
                     index: usize| {
            self.remotes.iter().map(|remote| counters(&remote.counters)[index].value()).sum::<u64>()
        };
        let mut parks = 0;
        let mut parked_by_reason = Vec::new();
        for (index, reason) in WaitReason::ALL.into_iter().enumerate() {
            let ended = waits(&|counters| &counters.unparked, index);
            let begun = waits(&|counters| &counters.parked, index);
            parks += begun;
            if begun > ended {
                parked_by_reason.push((reason, begun - ended));
            }
        }
        let stacks = self.stacks.metrics();
        let io = self.io.lock().clone();
        Metrics {
            workers: self.config.workers,
            workers_sleeping: self.idle.sleeping(),
            workers_spare: self.config.spares - self.unused.lock().len(),
            stuck: self.monitor.stuck(),
            io_driver: self.io_name,
            timer_driver: self.timer.name(),
            live: spawned - finished,
            ready: self.remotes.iter().map(|remote| remote.waiting()).sum(),
            parked: parked_by_reason.iter().map(|(_, count)| count).sum(),
            parked_by_reason,
            spawned,
            finished,
            panicked: self.sum(|counters| &counters.panicked),
            canceled: self.sum(|counters| &counters.canceled),
            resumed: self.sum(|counters| &counters.resumed),
            parks,
            stolen: self.sum(|counters| &counters.stolen),
            handed_over: self.sum(|counters| &counters.handed_over),
            slept: self.sum(|counters| &counters.slept),
            io_operations: self.sum(|counters| &counters.io_operations),
            io_at_once: self.sum(|counters| &counters.io_at_once),
            timers_armed: self.sum(|counters| &counters.timers_armed),
            timers_fired: self.sum(|counters| &counters.timers_fired),
            pool: io.map(|io| io.pool_metrics()).unwrap_or_default(),
            stacks_mapped: stacks.mapped,
            stacks_in_use: stacks.in_use,
            stacks_cached: self.sum(|counters| &counters.stacks_cached) as usize,
            stacks_high_water: stacks.high_water,
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("phase", &self.phase())
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}
