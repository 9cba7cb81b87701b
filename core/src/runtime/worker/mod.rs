//! A worker: one thread that runs routines, and owns their drivers.
//!
//! # The loop
//!
//! Ready routines first, in [order](super::queue); then what other threads sent; then unstarted routines of its own;
//! then its drivers; then what it can take from others; then sleep, inside the I/O driver, until the
//! next deadline. Since a busy worker might never get past the first of these, it *tends* to the others
//! at intervals that adapt to how long routines run ([`TEND_TARGET`]).
//!
//! # Who runs on which stack
//!
//! Everything here runs on the thread's own stack, except [`Worker::wake`], `launch` and the accessors,
//! which routines call on theirs. While a routine runs, the loop's frame is below it on the same
//! thread, so state that both touch is in cells, and the drivers are borrowed only by the loop.
//!
//! # What a worker owes its routines
//!
//! 1. A started routine is resumed by this thread alone, and the thread does not end while one is
//!    suspended on it: thread-locals keep their address and their life.
//! 2. A routine is resumed only if its link came from a queue: after its claim was won, or its operation
//!    handed back. Deadlines and shutdown compete for the claim like everybody else.
//! 3. A routine whose operation is with the driver is not resumed before it is back: a deadline or a
//!    shutdown only asks the driver to give up.

mod drivers;
mod end;
mod stacks;
mod switch;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker as Deque;
use slab::Slab;

use super::cpu::{self, Allowed, Cpu, Holder};
use super::idle::Search;
use super::inbox::Node;
use super::metrics::Counters;
use super::placement::{Batch, Haul, Stripe, Watched, retry};
use super::queue::Ready;
use super::remote::Remote;
use super::shared::{Phase, Shared};
use crate::driver::{Completions, IoDriver, TimerDriver, TimerKey};
use crate::routine::RoutineId;
use crate::routine::cell::{Ended, Header, Link};
use crate::routine::fiber::Fiber;
use crate::stack::overflow::{AltStack, Running};
use crate::stack::{Extent, Stack};

/// How often a busy worker should look around: at its inbox, its drivers, the queues of unstarted
/// routines. A look costs a fraction of a microsecond, a system call included when I/O is pending, so
/// this keeps the cost under one percent and the delay of everything else far under a millisecond.
const TEND_TARGET: Duration = Duration::from_micros(100);

/// The most switches between two looks. At a switch of 10 ns, reading the clock (30 ns) then costs half a
/// percent; more would not save more.
const MOST_SWITCHES: u32 = 256;

/// With more routines than this that can run, what the next one needs has left the nearest cache, and it is worth
/// while to fetch it ahead. With fewer that would only cost.
const LONG_QUEUE: u64 = 64;

/// Routine numbers to take at once.
const IDS: u64 = 1024;

/// After this many idle spells in which spinning found nothing, a worker tries it only now and then.
const SPIN_PATIENCE: i8 = 4;

/// In how many idle spells a worker that has given up spinning tries again.
const SPIN_RETRY: u32 = 64;

/// I/O that a worker has spun for longer than this before it came does not speak for spinning: the kernel could have
/// woken it for less processor time, which the other end may be short of. For messages of other workers it always pays
/// to have spun, since they would have had to call the kernel.
const WORTH_SPINNING: Duration = Duration::from_micros(10);

/// How often a searching worker looks at the queues of others. Each look takes their cache lines away from them
/// while they work, which costs them more than the delay costs anybody.
const SEARCH_INTERVAL: Duration = Duration::from_micros(1);

/// How often a searching worker with pending I/O looks at its driver.
const SEARCH_IO_INTERVAL: Duration = Duration::from_micros(5);

thread_local! {
    /// The worker whose thread this is.
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// See the [module docs](self).
// Aligned, so that it does not depend on the frame that it is in which of its fields share a cache line: where those of a
// switch do not, that takes a tenth longer.
#[repr(align(64))]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    /// The worker's own place in `shared`, which every switch needs.
    remote: NonNull<Remote>,
    /// The routine that runs.
    current: Cell<Option<Link>>,
    /// The stack that it runs on.
    current_extent: Cell<Option<Extent>>,
    ready: Ready,
    /// Unstarted routines; others steal from it.
    pub(crate) fresh: Deque<Link>,
    pub(crate) batch: Batch,
    /// By victim.
    pub(crate) watched: Box<[Cell<Watched>]>,
    /// What it has last stolen or been handed.
    pub(crate) haul: Cell<Option<Haul>>,
    /// What it is handing to a sibling.
    pub(crate) stripe: Cell<Stripe>,
    io: RefCell<Box<dyn IoDriver>>,
    timer: RefCell<Box<dyn TimerDriver>>,
    /// Operations with the driver.
    io_pending: Cell<usize>,
    completions: RefCell<Completions>,
    /// Parked routines with a deadline. The timer driver gets the index, so that all it can do wrong is to
    /// end a wait at the wrong time.
    sleepers: RefCell<Slab<Link>>,
    expired: RefCell<Vec<TimerKey>>,
    /// The newest of the started routines that have been suspended.
    newest: Cell<Option<Link>>,
    /// Free fibers, the warmest last. A deque, since trimming takes the coldest of what may be a million.
    spare: RefCell<VecDeque<Fiber>>,
    /// Stacks that were taken ahead.
    taken: RefCell<Vec<Stack>>,
    /// How many to take the next time one is missing.
    take_next: Cell<usize>,
    /// Stack reservations of this worker that no routine has.
    reserved: Cell<usize>,
    /// How many spawns without room for a stack it has heeded.
    stacks_wanted: Cell<u64>,
    /// When to trim the stacks that were used since the last trim.
    trim_due: Cell<Option<Instant>>,
    next_id: Cell<u64>,
    last_id: Cell<u64>,
    switches_left: Cell<u32>,
    switches: Cell<u32>,
    last_look: Cell<Instant>,
    /// Where the unstarted routine came from that had a turn last.
    outside_first: Cell<bool>,
    /// Whether the last look around gave an unstarted routine a turn.
    unstarted_had_turn: Cell<bool>,
    /// If it is bound to a processor, those that it could use before.
    unbound: Option<Allowed>,
    /// The processor on which it has its seat.
    seat: Cell<Cpu>,
    /// When it last moved to another.
    left_cpu: Cell<Instant>,
    search: Cell<Search>,
    /// How well spinning has paid lately.
    spin_luck: Cell<i8>,
    idle_spells: Cell<u32>,
    /// How many suspended routines unwind, or seem to.
    unwinding: Cell<usize>,
    /// How many questions about its routines it knows of.
    answered: Cell<u64>,
    canceling: Cell<bool>,
    /// Since when all have waited that are left, and how far they had come then.
    standstill: Cell<Option<(Instant, u64)>>,
    frozen_here: Cell<bool>,
    ended: Cell<Ended>,
}

/// How the loop goes on.
enum Flow {
    Continue,
    /// With an unstarted routine. It is executed at once: nobody could take it from the queue of the ready, and who is
    /// before it there may never let go.
    Start(Link),
    Leave,
}

/// Kills the process if the worker unwinds: its routines could never be woken.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("rust-routines: a worker failed; its routines cannot go on");
        abort();
    }
}

impl Worker {
    /// Runs a worker on this thread until its runtime has stopped.
    ///
    /// `started` is told whether it could be set up, and says which worker it is to be.
    pub(crate) fn main(
        shared: Arc<Shared>,
        started: impl FnOnce(io::Result<()>) -> Option<(usize, Deque<Link>)>,
    ) {
        let set_up = || {
            let io = shared.io.lock().clone();
            let io = io.ok_or_else(|| io::Error::other("the runtime has stopped"))?;
            Ok((AltStack::install()?, io.driver(&shared.config.io)?, shared.timer.driver()))
        };
        // Drivers may be anybody's.
        let parts = catch_unwind(AssertUnwindSafe(set_up))
            .unwrap_or_else(|_| Err(io::Error::other("a driver panicked while it was made")));
        let (alt_stack, io, timer) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                started(Err(error));
                return;
            }
        };
        shared.workers_alive.fetch_add(1, Ordering::SeqCst);
        let Some((index, fresh)) = started(Ok(())) else {
            shared.note_worker_left();
            return;
        };
        let bomb = AbortOnUnwind;
        if index >= shared.config.workers {
            shared.monitor.spare_awake();
        }
        shared.remotes[index].set_waker(io.waker());
        let worker = Worker::new(shared, index, fresh, io, timer);
        CURRENT.set(&worker);
        worker.run();
        worker.retire_stacks();
        CURRENT.set(ptr::null());
        std::mem::forget(bomb);
        worker.leave(alt_stack);
    }

    fn new(
        shared: Arc<Shared>,
        index: usize,
        fresh: Deque<Link>,
        io: Box<dyn IoDriver>,
        timer: Box<dyn TimerDriver>,
    ) -> Self {
        let now = Instant::now();
        let is_bound = shared.config.bind_workers && index < shared.config.workers;
        Self {
            index,
            unbound: is_bound.then(|| cpu::bind(index)).flatten(),
            remote: NonNull::from(&*shared.remotes[index]),
            current: Cell::new(None),
            current_extent: Cell::new(None),
            ready: Ready::new(),
            fresh,
            batch: Batch::default(),
            watched: shared.remotes.iter().map(|_| Cell::new(Watched::nothing(now))).collect(),
            haul: Cell::new(None),
            stripe: Cell::default(),
            io: RefCell::new(io),
            timer: RefCell::new(timer),
            io_pending: Cell::new(0),
            completions: RefCell::new(Completions::new()),
            sleepers: RefCell::new(Slab::new()),
            expired: RefCell::new(Vec::new()),
            newest: Cell::new(None),
            spare: RefCell::new(VecDeque::new()),
            taken: RefCell::new(Vec::new()),
            take_next: Cell::new(1),
            reserved: Cell::new(0),
            stacks_wanted: Cell::new(0),
            trim_due: Cell::new(None),
            next_id: Cell::new(0),
            last_id: Cell::new(0),
            switches_left: Cell::new(1),
            switches: Cell::new(1),
            last_look: Cell::new(now),
            outside_first: Cell::new(false),
            unstarted_had_turn: Cell::new(false),
            seat: Cell::new(0),
            left_cpu: Cell::new(now),
            search: Cell::new(Search::Off),
            spin_luck: Cell::new(SPIN_PATIENCE),
            idle_spells: Cell::new(0),
            unwinding: Cell::new(0),
            answered: Cell::new(0),
            canceling: Cell::new(false),
            standstill: Cell::new(None),
            frozen_here: Cell::new(false),
            ended: Cell::new(Ended::Returned),
            shared,
        }
    }

    // ---------------------------------------------------------------- what others ask of a worker

    /// The worker of this thread.
    // Inlined: a sixth of a switch would be the call. A compiler that keeps the address of the thread-local across
    // a switch keeps the right one, since a routine that was started stays on its thread.
    #[inline]
    pub(crate) fn with_current<R>(f: impl FnOnce(&Worker) -> R) -> Option<R> {
        // SAFETY: set for as long as the worker runs on this thread, and cleared before it goes.
        unsafe { CURRENT.get().as_ref() }.map(f)
    }

    /// The routine that runs on this thread.
    #[inline]
    pub(crate) fn current_routine() -> Option<Link> {
        Self::with_current(|worker| worker.current.get()).flatten()
    }

    /// The worker of this thread if it belongs to `shared`.
    pub(crate) fn current_of(shared: &Shared) -> Option<&Worker> {
        Self::with_current(|worker| {
            // SAFETY: as in `with_current`. The borrow ends before the worker does: callers run in one of
            // its routines, or in its loop, and keep it no longer than their own frame.
            ptr::eq(&*worker.shared, shared).then(|| unsafe { &*ptr::from_ref(worker) })
        })
        .flatten()
    }

    /// Tells the overflow handler what runs on this thread. Called in a signal handler: reads cells of
    /// this thread, and nothing else.
    pub(crate) fn probe(report: &mut dyn FnMut(&Running<'_>)) {
        Self::with_current(|worker| {
            let Some(link) = worker.current.get() else { return };
            let Some(extent) = worker.current_extent.get() else { return };
            report(&Running {
                guard: extent.guard_range(),
                name: link.identity.name.as_deref(),
                id: link.identity.id.0,
                spawned_at: link.identity.spawned_at,
                stack_size: extent.size(),
            });
        });
    }

    /// The runtime of the routine that runs on this thread.
    pub(crate) fn current_shared() -> Option<Arc<Shared>> {
        Self::with_current(|worker| worker.current.get().map(|_| worker.shared.clone())).flatten()
    }

    /// What a thread may use that is started here: it does not take part in the binding of workers.
    pub(crate) fn unbound() -> Option<Allowed> {
        Self::with_current(|worker| worker.unbound).flatten()
    }

    /// Makes a parked routine ready. The caller has won the right to do so, once.
    pub(crate) fn wake(link: Link) {
        let home = link.home();
        let sent = Self::with_current(|worker| {
            if ptr::eq(worker.remote(), home) {
                worker.make_ready(link);
                return true;
            }
            false
        });
        if sent != Some(true) {
            // SAFETY: the parked routine keeps its worker, and that its remote part, until it is pushed;
            // `send` does not touch it afterwards.
            unsafe { &*home }.send(link);
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn remote(&self) -> &Remote {
        // SAFETY: points into `shared`, which lives as long as the worker.
        unsafe { self.remote.as_ref() }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.remote().counters
    }

    /// Called at the very end of a routine, on its stack.
    pub(crate) fn note_ended(&self, ended: Ended) {
        self.ended.set(ended);
    }

    pub(crate) fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        if id == self.last_id.get() {
            let first = RoutineId::reserve(IDS);
            self.next_id.set(first + 1);
            self.last_id.set(first + IDS);
            return first;
        }
        self.next_id.set(id + 1);
        id
    }

    // ------------------------------------------------------------------------------- the loop

    fn run(&self) {
        loop {
            let due = if self.switches_left.get() == 0 { self.tend() } else { None };
            let link = match due.or_else(|| self.next()) {
                Some(link) => link,
                None => match self.rest() {
                    Flow::Continue => continue,
                    Flow::Start(link) => link,
                    Flow::Leave => return,
                },
            };
            if self.search.get() == Search::On {
                self.end_search();
            }
            self.spend_switch();
            self.execute(link);
        }
    }

    /// The next routine, from the worker's own queues.
    fn next(&self) -> Option<Link> {
        if let Some(link) = self.next_ready() {
            return Some(link);
        }
        self.empty_inbox();
        if let Some(link) = self.next_ready() {
            return Some(link);
        }
        if !self.may_start() {
            return None;
        }
        let link = self.next_fresh()?;
        self.counters().runnable.add(1);
        Some(link)
    }

    fn next_ready(&self) -> Option<Link> {
        self.ready.pop(self.counters().runnable.value() > LONG_QUEUE)
    }

    /// Queues a routine that can run now, and could not before.
    pub(super) fn make_ready(&self, link: Link) {
        self.counters().runnable.add(1);
        self.ready.push(link);
    }

    /// A look around in the midst of work, so that nothing starves. Answers with an unstarted routine if it is the turn
    /// of those.
    #[cold]
    fn tend(&self) -> Option<Link> {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.last_look.get());
        let switches = self.switches.get();
        if elapsed > TEND_TARGET {
            self.switches.set((switches / 2).max(1));
        } else if elapsed < TEND_TARGET / 2 {
            self.switches.set((switches * 2).min(MOST_SWITCHES));
        }
        self.switches_left.set(self.switches.get());

        self.empty_inbox();
        // Short looks do not pay for a system call each.
        if elapsed >= TEND_TARGET / 2 {
            self.look_at_drivers(now);
        }
        self.notice_phase();
        self.heed_want_of_stacks();
        if self.shared.questions.asked() != self.answered.get() {
            self.answer_questions();
        }
        // Every other turn at most: where each look is followed by one switch, the ready would have none.
        let is_theirs = !self.unstarted_had_turn.get() || self.switches.get() > 1;
        self.unstarted_had_turn.set(is_theirs);
        let link = if is_theirs && self.may_start() { self.one_unstarted() } else { None };
        self.counters().runnable.add(link.is_some().into());
        link
    }

    /// Its own oldest unstarted routine, or one of those that came from outside, by turns.
    fn one_unstarted(&self) -> Option<Link> {
        let outside = || retry(|| self.shared.injector.steal());
        self.outside_first.set(!self.outside_first.get());
        if self.outside_first.get() {
            outside().or_else(|| self.oldest_fresh())
        } else {
            self.oldest_fresh().or_else(outside)
        }
    }

    /// Finds something to do elsewhere, or sleeps. Returns when there may be something to run.
    fn rest(&self) -> Flow {
        self.remote().running.rest();
        if !self.may_start() && !self.fresh.is_empty() {
            // Of a routine that began here while this spare worker was wanted.
            while let Some(link) = self.fresh.pop() {
                self.shared.injector.push(link);
            }
            self.shared.call_sleeper();
        }
        self.notice_phase();
        self.heed_want_of_stacks();
        if self.shared.questions.asked() != self.answered.get() {
            self.answer_questions();
        }
        if self.canceling.get() && self.shared.frozen.load(Ordering::SeqCst) > 0 {
            self.give_up_on_destructors();
        }
        self.look_at_drivers(Instant::now());
        if !self.ready.is_empty() {
            self.end_search();
            return Flow::Continue;
        }
        self.shared.check_drained();
        if self.shared.phase() == Phase::Stopped {
            self.end_search();
            return Flow::Leave;
        }
        if self.may_start()
            && let Some(flow) = self.search_for_work()
        {
            self.counters().runnable.add(matches!(flow, Flow::Start(_)).into());
            return flow;
        }
        if self.ready.is_empty() && self.fresh.is_empty() && !self.trim_stacks() {
            self.sleep();
        }
        Flow::Continue
    }

    /// Whether this worker may start routines: a spare one only while it stands in for another.
    fn may_start(&self) -> bool {
        self.index < self.shared.config.workers
            || self.shared.monitor.spares_wanted() > self.index - self.shared.config.workers
    }

    /// Looks at its own inbox and driver for a while, and for work at others unless enough workers do. It does the
    /// first in any case: of two workers whose routines talk to each other, both are idle now and then for a moment,
    /// and if one slept, each message would take a system call and tens of microseconds.
    ///
    /// `None` if there is none.
    fn search_for_work(&self) -> Option<Flow> {
        let start = Instant::now();
        let called = self.search.get() == Search::On;
        if called {
            self.begin_search(start);
        }
        let spell = self.idle_spells.get().wrapping_add(1);
        self.idle_spells.set(spell);
        let lucky = self.spin_luck.get() > 0 || spell.is_multiple_of(SPIN_RETRY);
        let spin = if called || lucky { self.shared.config.spin } else { Duration::ZERO };

        let mut next_look = start;
        let mut next_io = start + SEARCH_IO_INTERVAL;
        let mut next_timer = self.timer.borrow().next_deadline();
        let mut late_io = false;
        let mut stolen = None;
        loop {
            self.enqueue(self.remote().inbox().take_sent());
            let now = Instant::now();
            let looks = now >= next_look;
            if looks {
                next_look = now + SEARCH_INTERVAL;
                if self.ready.is_empty() && self.searches(now) {
                    stolen = self.steal(now);
                }
            }
            if self.io_pending.get() > 0 && now >= next_io {
                let before = self.counters().runnable.value();
                self.look_at_drivers(now);
                late_io = self.counters().runnable.value() > before
                    && now.saturating_duration_since(start) > WORTH_SPINNING;
                next_io = now + SEARCH_IO_INTERVAL;
            }
            if next_timer.is_some_and(|deadline| deadline <= self.shared.nanos(now)) {
                self.fire_timers(now);
                next_timer = self.timer.borrow().next_deadline();
            }
            if stolen.is_some() || !self.ready.is_empty() || !self.fresh.is_empty() {
                if !called {
                    let luck = self.spin_luck.get() + if late_io { -1 } else { 2 };
                    self.spin_luck.set(luck.clamp(-SPIN_PATIENCE, SPIN_PATIENCE));
                }
                self.end_search();
                return Some(stolen.map_or(Flow::Continue, Flow::Start));
            }
            // What is too young to be taken must not be slept over.
            let is_over = looks && now.saturating_duration_since(start) >= spin;
            if is_over && (self.search.get() == Search::Off || !self.shared.has_visible_work()) {
                break;
            }
            // The poke stays in the inbox, so that `sleep` returns at once and `rest` looks again.
            if self.remote().inbox().is_poked() || self.shared.phase() != Phase::Running {
                break;
            }
            std::hint::spin_loop();
        }
        if !called {
            self.spin_luck.set((self.spin_luck.get() - 1).max(-SPIN_PATIENCE));
        }
        None
    }

    /// Whether this worker counts as searching: it does from now on, unless enough others do.
    fn searches(&self, now: Instant) -> bool {
        if self.search.get() == Search::Off {
            self.search.set(self.shared.idle.start_search());
            if self.search.get() == Search::On {
                self.begin_search(now);
            }
        }
        self.search.get() == Search::On
    }

    /// Is a candidate for a hand-over, and has not watched anybody yet.
    fn begin_search(&self, now: Instant) {
        self.shared.called.store(self.index + 1, Ordering::Relaxed);
        self.watched.iter().for_each(|watched| watched.set(Watched::nothing(now)));
    }

    /// Stops counting as searching, if it does, because there is something to do.
    fn end_search(&self) {
        if self.search.replace(Search::Off) == Search::Off {
            return;
        }
        self.wants_nothing();
        if self.shared.idle.stop_search() && self.shared.has_visible_work() {
            self.shared.call_sleeper();
        }
    }

    /// Sleeps in the I/O driver until somebody or something wants the worker.
    fn sleep(&self) {
        // Spare workers are not called for new work; the monitor pokes them when they are wanted.
        let is_called = self.index < self.shared.config.workers;
        if is_called {
            self.wants_nothing();
            self.shared.idle.sleep(self.index, self.search.replace(Search::Off));
            if self.shared.has_visible_work() {
                return self.rouse();
            }
        } else {
            self.end_search();
            self.shared.monitor.spare_asleep();
        }
        if self.remote().inbox().prepare_sleep() {
            self.counters().slept.add(1);
            let trim = self.trim_due.get().map(|due| self.shared.nanos(due));
            let deadline = self.timer.borrow().next_deadline();
            let deadline = [trim, deadline].into_iter().flatten().min();
            self.wait_for_driver(deadline.map(|deadline| {
                let now = self.shared.nanos(Instant::now());
                Duration::from_nanos(deadline.saturating_sub(now))
            }));
        }
        if is_called {
            self.rouse();
        } else {
            self.shared.monitor.spare_awake();
        }
        self.empty_inbox();
        self.fire_timers(Instant::now());
        if !self.ready.is_empty() || !self.fresh.is_empty() {
            self.end_search();
        }
    }

    /// Stops counting as asleep. Whoever took the worker from the sleepers has it search.
    fn rouse(&self) {
        self.search.set(self.shared.idle.rouse(self.index));
        self.shared.monitor.awake();
        self.find_seat();
    }

    /// Finds a seat for the worker, which may have woken up on that of another.
    fn find_seat(&self) {
        let mut here = cpu::current();
        let mut holder = self.holder(here);
        if holder == Holder::Another && self.leave_cpu() {
            here = cpu::current();
            holder = self.holder(here);
        }
        if holder == Holder::Nobody {
            self.take_seat(here);
        }
    }

    /// Moves to its seat, or to another processor if that was lost, unless it just did.
    #[cold]
    fn leave_cpu(&self) -> bool {
        let now = Instant::now();
        if now.saturating_duration_since(self.left_cpu.get()) <= cpu::INTERVAL {
            return false;
        }
        self.left_cpu.set(now);
        let seat = self.seat.get();
        cpu::leave(if self.holder(seat) == Holder::Itself { seat } else { 0 });
        // While they shared a processor, spinning took time from those that it waited for.
        self.spin_luck.set(self.spin_luck.get().max(1));
        true
    }

    /// Has others keep off the processor on which the worker runs, and is about to wake somebody.
    pub(crate) fn keep_seat(&self) {
        let here = cpu::current();
        if self.holder(here) != Holder::Itself {
            self.take_seat(here);
        }
    }

    fn holder(&self, here: Cpu) -> Holder {
        self.shared.seats.holder(here, self.index)
    }

    fn take_seat(&self, here: Cpu) {
        self.shared.seats.take(here, self.index, self.seat.replace(here));
    }

    /// Is no candidate for a hand-over any more. Who has read otherwise before sends to an open inbox.
    fn wants_nothing(&self) {
        let me = self.index + 1;
        if self.shared.called.load(Ordering::Relaxed) == me {
            let relaxed = Ordering::Relaxed;
            let _ = self.shared.called.compare_exchange(me, 0, relaxed, relaxed);
        }
    }

    /// Moves what other threads sent to the queues, oldest first.
    fn empty_inbox(&self) {
        self.enqueue(self.remote().inbox().take());
    }

    /// Puts what was taken from the inbox into the queues.
    fn enqueue(&self, newest: *mut Header) {
        if newest.is_null() {
            return;
        }
        let mut handed = 0;
        for link in oldest_first(newest) {
            if link.is_started() {
                self.make_ready(link);
            } else {
                self.fresh.push(link);
                handed += 1;
            }
        }
        if handed > 0 {
            // They were put here on purpose.
            self.batch.divided.set(true);
            self.remote().placed.store(true, Ordering::Relaxed);
            self.haul.set(Some(Haul::new(None, handed, self, Instant::now())));
        }
    }
}

/// The links of a chain that was taken from an inbox, in the order in which they were sent.
pub(crate) fn oldest_first(newest: *mut Header) -> impl Iterator<Item = Link> {
    let mut previous = ptr::null_mut();
    let mut node = newest;
    while !node.is_null() {
        let older = Header::next(node);
        Header::set_next(node, previous);
        previous = node;
        node = older;
    }
    std::iter::from_fn(move || {
        // SAFETY: the chain was taken from the inbox, with the links in it.
        let link = unsafe { Link::from_ptr(previous) }?;
        // Read before the link is passed on, as its next holder relinks it.
        previous = Header::next(link.as_ptr());
        Some(link)
    })
}
