//! A worker: one thread that runs routines, and owns their drivers.
//!
//! # The loop
//!
//! Ready routines first, in order; then what other threads sent; then unstarted routines of its own;
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

use super::idle::Search;
use super::inbox::Node;
use super::metrics::Counters;
use super::placement::Watched;
use super::queue::Queue;
use super::remote::Remote;
use super::shared::{Leftover, Phase, Shared};
use crate::claim::Outcome;
use crate::driver::operation::canceled;
use crate::driver::{Completions, IoDriver, OpRef, Submitted, TimerDriver, TimerKey};
use crate::park::{Commit, Request, WaitReason};
use crate::routine::RoutineId;
use crate::routine::cell::{Cancel, Ended, Header, Link, Parked};
use crate::routine::fiber::{Fiber, Reuse, Suspend};
use crate::stack::overflow::{AltStack, Running};
use crate::stack::{Extent, Stack};

/// How often a busy worker should look around: at its inbox, its drivers, the queues of unstarted
/// routines. A look costs a fraction of a microsecond, a system call included when I/O is pending, so
/// this keeps the cost under one percent and the delay of everything else far under a millisecond.
const TEND_TARGET: Duration = Duration::from_micros(100);

/// The most switches between two looks. At a switch of 10 ns, reading the clock (30 ns) then costs half a
/// percent; more would not save more.
const MOST_SWITCHES: u32 = 256;

/// Free stacks that a worker keeps as they are. Others are given back when it has nothing to do.
const KEPT_STACKS: usize = 256;

/// How much of a kept stack stays resident: more than a routine that does I/O and formatting touches.
const KEPT_BYTES: usize = 16 * 1024;

/// How long free stacks keep their memory at least. A worker that pauses often for a moment must not pay
/// a system call for it each time.
const TRIM_DELAY: Duration = Duration::from_millis(100);

/// A stack that is reused this often without a pause in which it could be trimmed is trimmed anyway.
const RUNS_BEFORE_TRIM: u32 = 4096;

/// The most stacks to take at once. Taking several lets the kernel map their first pages in one call.
const MOST_STACKS_TAKEN: usize = 64;

/// Stack reservations to take and keep beyond need, so that most spawns do not go to the shared pool.
const RESERVED_STACKS: usize = 64;

/// Routine numbers to take at once.
const IDS: u64 = 1024;

/// After this many idle spells in which spinning found nothing, a worker tries it only now and then.
const SPIN_PATIENCE: i8 = 4;

/// In how many idle spells a worker that has given up spinning tries again.
const SPIN_RETRY: u32 = 64;

/// How often a searching worker with pending I/O looks at its driver.
const SEARCH_IO_INTERVAL: Duration = Duration::from_micros(5);

thread_local! {
    /// The worker whose thread this is.
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// See the [module docs](self).
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    /// The worker's own place in `shared`, which every switch needs.
    remote: NonNull<Remote>,
    /// The routine that runs.
    current: Cell<Option<Link>>,
    /// The stack that it runs on.
    current_extent: Cell<Option<Extent>>,
    ready: Queue,
    /// Unstarted routines; others steal from it.
    pub(crate) fresh: Deque<Link>,
    /// Unstarted routines started so far, wrapping; also the dice of `placement`.
    pub(crate) starts: Cell<u32>,
    /// By victim.
    pub(crate) watched: Box<[Cell<Watched>]>,
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
    search: Cell<Search>,
    /// How well spinning has paid lately.
    spin_luck: Cell<i8>,
    idle_spells: Cell<u32>,
    canceling: Cell<bool>,
    frozen_here: Cell<bool>,
    ended: Cell<Ended>,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
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
            shared.workers_alive.fetch_sub(1, Ordering::SeqCst);
            return;
        };
        shared.remotes[index].set_waker(io.waker());
        let worker = Worker::new(shared, index, fresh, io, timer);
        let bomb = AbortOnUnwind;
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
        Self {
            index,
            remote: NonNull::from(&*shared.remotes[index]),
            current: Cell::new(None),
            current_extent: Cell::new(None),
            ready: Queue::new(),
            fresh,
            starts: Cell::new(0),
            watched: shared.remotes.iter().map(|_| Cell::new(Watched::nothing(now))).collect(),
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
            search: Cell::new(Search::Off),
            spin_luck: Cell::new(SPIN_PATIENCE),
            idle_spells: Cell::new(0),
            canceling: Cell::new(false),
            frozen_here: Cell::new(false),
            ended: Cell::new(Ended::Returned),
            shared,
        }
    }

    // ---------------------------------------------------------------- what others ask of a worker

    /// The worker of this thread. Never inlined, so that no caller keeps the address of the
    /// thread-local: harmless while routines stay where they are, and one thing less to think about.
    #[inline(never)]
    pub(crate) fn with_current<R>(f: impl FnOnce(&Worker) -> R) -> Option<R> {
        // SAFETY: set for as long as the worker runs on this thread, and cleared before it goes.
        unsafe { CURRENT.get().as_ref() }.map(f)
    }

    /// The routine that runs on this thread.
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

    /// Makes a parked routine ready. The caller has won the right to do so, once.
    pub(crate) fn wake(link: Link) {
        let home = link.home();
        let sent = Self::with_current(|worker| {
            if ptr::eq(worker.remote(), home) {
                worker.ready.push(link);
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

    /// Reserves a stack for a routine that is about to be spawned.
    pub(crate) fn reserve_stack(&self) -> io::Result<()> {
        match self.reserved.get() {
            0 => {
                // Near the limits there may be room for one but not for many.
                if self.shared.stacks.reserve(RESERVED_STACKS).is_ok() {
                    self.reserved.set(RESERVED_STACKS - 1);
                    return Ok(());
                }
                let Err(error) = self.shared.stacks.reserve(1) else { return Ok(()) };
                // A free stack of ours will do: it goes back to the pool, and its reservation is used.
                let free = self.spare.borrow_mut().pop_front().map(Fiber::retire);
                let free = free.or_else(|| self.taken.borrow_mut().pop());
                let Some(free) = free else {
                    self.shared.reclaim_stacks();
                    return Err(error);
                };
                self.shared.stacks.give_back(free);
                self.count_stacks();
                Ok(())
            }
            reserved => {
                self.reserved.set(reserved - 1);
                Ok(())
            }
        }
    }

    /// Passes an operation to the driver; called in the commit step of a routine that parks.
    pub(crate) fn submit(&self, op: OpRef) -> Submitted {
        self.counters().io_operations.add(1);
        let submitted = self.io.borrow_mut().submit(op);
        match &submitted {
            Submitted::Done(_) => self.counters().io_at_once.add(1),
            Submitted::Pending => self.io_pending.set(self.io_pending.get() + 1),
        }
        submitted
    }

    // ------------------------------------------------------------------------------- the loop

    fn run(&self) {
        loop {
            if self.switches_left.get() == 0 {
                self.tend();
            }
            match self.next() {
                Some(link) => {
                    if self.search.get() == Search::On {
                        self.end_search();
                    }
                    self.switches_left.set(self.switches_left.get() - 1);
                    self.execute(link);
                }
                None => {
                    if self.rest() == Flow::Leave {
                        return;
                    }
                }
            }
        }
    }

    /// The next routine, from the worker's own queues.
    fn next(&self) -> Option<Link> {
        if let Some(link) = self.ready.pop() {
            return Some(link);
        }
        self.empty_inbox();
        if let Some(link) = self.ready.pop() {
            return Some(link);
        }
        if self.may_start() { self.next_fresh() } else { None }
    }

    /// A look around in the midst of work, so that nothing starves.
    #[cold]
    fn tend(&self) {
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
        if self.may_start() {
            // One unstarted routine of each kind joins the queue, so that those make progress, too.
            if let Some(link) = self.oldest_fresh() {
                self.ready.push(link);
            }
            if let crossbeam_deque::Steal::Success(link) = self.shared.injector.steal() {
                self.ready.push(link);
            }
        }
        // Short looks do not pay for a system call each.
        if elapsed >= TEND_TARGET / 2 {
            self.look_at_drivers(now);
        }
        self.notice_phase();
        self.heed_want_of_stacks();
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
        self.counters().ready.set(0);
        self.notice_phase();
        self.heed_want_of_stacks();
        if self.canceling.get()
            && self.shared.frozen.load(Ordering::SeqCst) > 0
            && self.shared.only_scopes_wait()
        {
            self.freeze_steadfast();
            // Their neighbours elsewhere may wait for the same.
            self.shared.poke_all();
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
        if self.may_start() && self.search_for_work() {
            return Flow::Continue;
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

    /// Looks for work at others for a while, and at its own inbox and driver, too.
    fn search_for_work(&self) -> bool {
        let called = self.search.get() == Search::On;
        if !called {
            self.search.set(self.shared.idle.start_search());
            if self.search.get() == Search::Off {
                return false;
            }
        }
        let spell = self.idle_spells.get().wrapping_add(1);
        self.idle_spells.set(spell);
        let lucky = self.spin_luck.get() > 0 || spell.is_multiple_of(SPIN_RETRY);
        let spin = if called || lucky { self.shared.config.spin } else { Duration::ZERO };

        let start = Instant::now();
        let mut next_io = start + SEARCH_IO_INTERVAL;
        let mut next_timer = self.timer.borrow().next_deadline();
        loop {
            self.enqueue(self.remote().inbox().take_sent());
            let now = Instant::now();
            if self.ready.is_empty()
                && let Some(link) = self.steal(now)
            {
                self.ready.push(link);
            }
            if self.io_pending.get() > 0 && now >= next_io {
                self.look_at_drivers(now);
                next_io = now + SEARCH_IO_INTERVAL;
            }
            if next_timer.is_some_and(|deadline| deadline <= self.shared.nanos(now)) {
                self.fire_timers(now);
                next_timer = self.timer.borrow().next_deadline();
            }
            if !self.ready.is_empty() || !self.fresh.is_empty() {
                if !called {
                    self.spin_luck.set((self.spin_luck.get() + 2).min(SPIN_PATIENCE));
                }
                self.end_search();
                return true;
            }
            // What is too young to be taken must not be slept over.
            if now.saturating_duration_since(start) >= spin && !self.shared.has_visible_work() {
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
        false
    }

    /// Stops counting as searching, if it does, because there is something to do.
    fn end_search(&self) {
        if self.search.replace(Search::Off) == Search::On
            && self.shared.idle.stop_search()
            && self.shared.has_visible_work()
        {
            self.shared.call_sleeper();
        }
    }

    /// Sleeps in the I/O driver until somebody or something wants the worker.
    fn sleep(&self) {
        // Spare workers are not called for new work; the monitor pokes them when they are wanted.
        let is_called = self.index < self.shared.config.workers;
        if is_called {
            self.shared.idle.sleep(self.index, self.search.replace(Search::Off));
            if self.shared.has_visible_work() {
                return self.rouse();
            }
        } else {
            self.end_search();
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
        if self.search.get() == Search::On {
            // Not on its way any more. Who has read this before sends to an open inbox all the same.
            let me = self.index + 1;
            let relaxed = Ordering::Relaxed;
            let _ = self.shared.called.compare_exchange(me, 0, relaxed, relaxed);
        }
        self.shared.monitor.awake();
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
        for link in oldest_first(newest) {
            if link.is_started() {
                self.ready.push(link);
            } else {
                self.fresh.push(link);
            }
        }
    }

    // ----------------------------------------------------------------------------- the drivers

    /// Collects what the drivers have without waiting.
    fn look_at_drivers(&self, now: Instant) {
        self.last_look.set(now);
        if self.io_pending.get() > 0 {
            self.wait_for_driver(Some(Duration::ZERO));
        }
        self.fire_timers(now);
    }

    fn wait_for_driver(&self, timeout: Option<Duration>) {
        let mut completions = self.completions.borrow_mut();
        if let Err(error) = self.io.borrow_mut().wait(timeout, &mut completions) {
            // The routines that wait for it can never be woken.
            panic!("the I/O driver failed: {error}");
        }
        self.io_pending.set(self.io_pending.get() - completions.len());
        for (op, result) in completions.drain() {
            op.set_result(result);
            // SAFETY: the owner is the routine that submitted the operation, which waits for nothing
            // else; the driver has handed the operation back, so the right to wake it is ours.
            let link = unsafe { Link::from_ptr(op.owner().cast_mut().cast::<Header>()) };
            if let Some(link) = link {
                link.at_home().parked.set(Parked::No);
                self.ready.push(link);
            }
        }
    }

    fn fire_timers(&self, now: Instant) {
        let mut timer = self.timer.borrow_mut();
        if timer.is_empty() {
            return;
        }
        let mut expired = self.expired.borrow_mut();
        timer.advance(self.shared.nanos(now), &mut expired);
        drop(timer);
        self.counters().timers_fired.add(expired.len() as u64);
        for TimerKey(key) in expired.drain(..) {
            // A key that is not in use is a fault of the driver, and must not become one of memory.
            let Some(link) = self.sleepers.borrow_mut().try_remove(key) else { continue };
            link.at_home().timer.set(None);
            self.end_wait(link, Outcome::TIMED_OUT);
        }
    }

    /// Ends the wait of a parked routine of this worker for another reason than what it waits for.
    fn end_wait(&self, link: Link, outcome: Outcome) {
        match link.at_home().parked.get() {
            Parked::Claim(claim) => {
                // SAFETY: the claim lies on the stack of the parked routine, or in its header.
                if unsafe { claim.as_ref() }.claim(outcome) {
                    link.at_home().parked.set(Parked::No);
                    self.ready.push(link);
                }
            }
            Parked::Operation(op) => self.io.borrow_mut().cancel(op),
            Parked::No | Parked::Steadfast(_) => {}
        }
    }

    // ------------------------------------------------------------------------------- routines

    /// Runs a routine until it suspends or ends.
    fn execute(&self, link: Link) {
        let counters = self.counters();
        counters.resumed.add(1);
        counters.ready.set(self.ready.len() as u64);
        self.remote().running.enter(&link.identity);
        let suspended = if link.is_started() { self.resume(link) } else { self.start(link) };
        self.remote().running.leave(&link.identity);
        match suspended {
            Suspended::Waiting => {}
            Suspended::Ready => self.ready.push(link),
            Suspended::Ended => {
                counters.finished.add(1);
                match self.ended.get() {
                    Ended::Returned => {}
                    Ended::Panicked => counters.panicked.add(1),
                    Ended::Canceled => counters.canceled.add(1),
                }
                link.release();
            }
            // The routine keeps its link, its stack and its fiber for ever.
            Suspended::Frozen => {
                self.freeze(link);
                counters.finished.add(1);
            }
        }
    }

    /// Starts a routine on a free fiber.
    fn start(&self, link: Link) -> Suspended {
        link.settle(self.remote());
        if self.canceling.get() {
            link.at_home().cancel.set(Cancel::Requested(0));
            self.note_leftover(link, false);
        }
        let mut fiber = match link.at_home().own_stack.take() {
            Some(stack) => Fiber::new(stack, Reuse::Never),
            None => self.free_fiber(),
        };
        let suspended = self.drive(link, &mut fiber, Switch::Start);
        if suspended == Suspended::Ended {
            self.put_fiber(fiber);
        } else {
            // It stays: from now on it lies in the routine's own allocation.
            // SAFETY: the routine is suspended, and only its worker touches the fiber.
            unsafe { *link.at_home().fiber.get() = Some(fiber) };
            self.enlist(link);
        }
        suspended
    }

    /// Goes on with a routine that was suspended.
    fn resume(&self, link: Link) -> Suspended {
        let home = link.at_home();
        let reason = home.reason.get();
        if reason != WaitReason::None {
            home.reason.set(WaitReason::None);
            home.parked.set(Parked::No);
            self.counters().unparked[reason as usize].add(1);
            if let Some((timer, key)) = home.timer.take() {
                self.timer.borrow_mut().cancel(timer);
                self.sleepers.borrow_mut().remove(key.0);
            }
        }
        // SAFETY: only the routine's worker touches its fiber, and the routine itself does not.
        let fiber = unsafe { &mut *home.fiber.get() };
        let Some(running) = fiber else { unreachable!("a suspended routine has a fiber") };
        let suspended = self.drive(link, running, Switch::Resume);
        if suspended == Suspended::Ended {
            self.delist(link);
            if let Some(fiber) = fiber.take() {
                self.put_fiber(fiber);
            }
        }
        suspended
    }

    /// Runs a routine on its fiber until it is suspended, other than for a look at its driver that had the
    /// answer at once.
    fn drive(&self, link: Link, fiber: &mut Fiber, mut switch: Switch) -> Suspended {
        self.current_extent.set(Some(fiber.extent()));
        loop {
            // Set only while the routine runs: whatever drivers do, they do not act for it.
            self.current.set(Some(link));
            let suspend = match switch {
                Switch::Start => fiber.start(link),
                Switch::Resume => fiber.resume(),
            };
            self.current.set(None);
            match suspend {
                Suspend::Finished => return Suspended::Ended,
                Suspend::Yield => return Suspended::Ready,
                Suspend::Freeze => return Suspended::Frozen,
                Suspend::Park(request) => {
                    if self.commit(link, request) == Commit::Park {
                        return Suspended::Waiting;
                    }
                    // Data that is always there must not keep the routine running for ever.
                    let Some(left) = self.switches_left.get().checked_sub(1) else {
                        return Suspended::Ready;
                    };
                    self.switches_left.set(left);
                    switch = Switch::Resume;
                }
            }
        }
    }

    /// The commit step of a routine that parks: its stack is not in use any more.
    fn commit(&self, link: Link, request: NonNull<Request<'static>>) -> Commit {
        // SAFETY: the request lies on the routine's stack, which is not resumed before we return: other
        // threads can at most send us its link.
        let request = unsafe { &mut *request.as_ptr() };
        let home = link.at_home();
        let (parked, deadline, reason) = (request.parked, request.deadline, request.reason);
        if let (Parked::Operation(op), Cancel::Requested(_)) = (parked, home.cancel.get())
            && !std::thread::panicking()
        {
            // A loop over operations that never wait ends here. Destructors may still have what needs no wait.
            op.set_result(Err(canceled()));
            return Commit::Resume;
        }
        home.parked.set(parked);
        if (request.commit)(self) == Commit::Resume {
            home.parked.set(Parked::No);
            return Commit::Resume;
        }
        home.reason.set(reason);
        self.counters().parked[reason as usize].add(1);
        if let Some(deadline) = deadline {
            self.counters().timers_armed.add(1);
            let key = TimerKey(self.sleepers.borrow_mut().insert(link));
            let timer = self.timer.borrow_mut().insert(self.shared.nanos(deadline), key);
            home.timer.set(Some((timer, key)));
        }
        if home.cancel.get() != Cancel::No {
            self.end_wait(link, Outcome::CANCELED);
        }
        Commit::Park
    }

    /// Adds a routine to the list of those that are suspended here.
    fn enlist(&self, link: Link) {
        let older = self.newest.replace(Some(link));
        link.at_home().older.set(older);
        if let Some(older) = older {
            older.at_home().newer.set(Some(link));
        }
    }

    fn delist(&self, link: Link) {
        let (older, newer) = (link.at_home().older.take(), link.at_home().newer.take());
        match newer {
            Some(newer) => newer.at_home().older.set(older),
            None => self.newest.set(older),
        }
        if let Some(older) = older {
            older.at_home().newer.set(newer);
        }
    }

    // --------------------------------------------------------------------------------- stacks

    /// A free fiber with a default stack. The routine's reservation covers its stack.
    fn free_fiber(&self) -> Fiber {
        let spare = self.spare.borrow_mut().pop_back();
        if let Some(fiber) = spare {
            // The fiber came with a reservation of its own.
            self.keep_reservation();
            self.count_stacks();
            return fiber;
        }
        let mut taken = self.taken.borrow_mut();
        if taken.is_empty() {
            // Whoever needs many stacks in a row gets them by ever more at once.
            let ahead = (self.take_next.get() - 1).min(self.reserved.get());
            self.take_next.set((self.take_next.get() * 2).min(MOST_STACKS_TAKEN));
            self.reserved.set(self.reserved.get() - ahead);
            if self.shared.stacks.take_many(1 + ahead, &mut taken).is_err() {
                let missing = (1 + ahead).saturating_sub(taken.len());
                self.reserved.set(self.reserved.get() + missing.min(ahead));
            }
        } else {
            // It was covered when it was taken.
            self.keep_reservation();
        }
        match taken.pop() {
            Some(stack) => Fiber::new(stack, Reuse::Cached),
            // The kernel refuses a page of page tables: the machine is out of memory.
            None => panic!("the kernel refuses memory for the guard of a stack"),
        }
    }

    /// Keeps the reservation of a routine whose stack has one already, for the next spawn.
    ///
    /// A worker that runs what others spawn gives them back now and then: it would collect them for ever,
    /// and the others map ever more.
    fn keep_reservation(&self) {
        let mut reserved = self.reserved.get() + 1;
        if reserved > 2 * RESERVED_STACKS {
            self.shared.stacks.unreserve(RESERVED_STACKS);
            reserved -= RESERVED_STACKS;
        }
        self.reserved.set(reserved);
    }

    /// Keeps the fiber of a routine that has ended, and with it the routine's reservation.
    fn put_fiber(&self, mut fiber: Fiber) {
        if fiber.reuse == Reuse::Never {
            return self.shared.stacks.give_back(fiber.retire());
        }
        // Here and not at its start: the worker may have trimmed all it had while the routine waited.
        if self.trim_due.get().is_none() {
            self.trim_due.set(Some(self.last_look.get() + TRIM_DELAY));
        }
        if fiber.runs >= RUNS_BEFORE_TRIM {
            fiber.trim(KEPT_BYTES);
        }
        self.spare.borrow_mut().push_back(fiber);
        self.count_stacks();
    }

    fn count_stacks(&self) {
        let cached = self.spare.borrow().len() + self.taken.borrow().len();
        self.counters().stacks_cached.set(cached as u64);
    }

    /// Gives memory of free stacks back, a piece at a time so that new work need not wait for it. `true`
    /// if there may be more to do.
    fn trim_stacks(&self) -> bool {
        if self.trim_due.get().is_none_or(|due| due > self.last_look.get()) {
            return false;
        }
        self.take_next.set(1);
        let mut spare = self.spare.borrow_mut();
        if spare.len() > KEPT_STACKS {
            // The coldest first.
            let surplus = (spare.len() - KEPT_STACKS).min(MOST_STACKS_TAKEN);
            let mut stacks: Vec<_> = spare.drain(..surplus).map(Fiber::retire).collect();
            drop(spare);
            self.shared.stacks.give_back_many(&mut stacks);
            self.shared.stacks.unreserve(surplus);
            self.count_stacks();
            return true;
        }
        if let Some(fiber) = spare.iter_mut().find(|fiber| fiber.runs > 0) {
            fiber.trim(KEPT_BYTES);
            return true;
        }
        spare.shrink_to(2 * KEPT_STACKS);
        drop(spare);
        let surplus = self.reserved.get().saturating_sub(RESERVED_STACKS);
        self.reserved.set(self.reserved.get() - surplus);
        self.shared.stacks.unreserve(surplus);
        self.trim_due.set(None);
        false
    }

    /// Gives everything back that the worker keeps if a spawn has found no room for its stack.
    fn heed_want_of_stacks(&self) {
        let wanted = self.shared.stacks_wanted.load(Ordering::Relaxed);
        if self.stacks_wanted.replace(wanted) != wanted {
            self.retire_stacks();
        }
    }

    /// Gives everything back that the worker keeps.
    fn retire_stacks(&self) {
        let mut stacks: Vec<_> = self.spare.borrow_mut().drain(..).map(Fiber::retire).collect();
        stacks.append(&mut self.taken.borrow_mut());
        let reserved = stacks.len() + self.reserved.replace(0);
        self.shared.stacks.give_back_many(&mut stacks);
        self.shared.stacks.unreserve(reserved);
        self.count_stacks();
    }

    // ------------------------------------------------------------------------------- shutdown

    /// Starts to unwind what is suspended here, once the runtime is shut down by force.
    fn notice_phase(&self) {
        if self.canceling.get() || self.shared.phase() < Phase::Canceling {
            return;
        }
        self.canceling.set(true);
        let mut next = self.newest.get();
        while let Some(link) = next {
            next = link.at_home().older.get();
            link.at_home().cancel.set(Cancel::Requested(0));
            self.note_leftover(link, false);
            self.end_wait(link, Outcome::CANCELED);
        }
        while let Some(link) = self.steal_unstarted() {
            self.ready.push(link);
        }
    }

    /// Unstarted routines that nobody would look for in the searching order any more.
    fn steal_unstarted(&self) -> Option<Link> {
        loop {
            match self.shared.injector.steal() {
                crossbeam_deque::Steal::Success(link) => return Some(link),
                crossbeam_deque::Steal::Empty => return self.oldest_fresh(),
                crossbeam_deque::Steal::Retry => {}
            }
        }
    }

    fn note_leftover(&self, link: Link, frozen: bool) {
        self.shared.leftovers.lock().push(Leftover {
            id: link.identity.id,
            name: link.identity.name.as_deref().map(str::to_owned),
            spawned_at: link.identity.spawned_at,
            reason: link.at_home().reason.get(),
            frozen,
        });
    }

    /// Leaves a routine suspended for ever that does not let itself be unwound.
    fn freeze(&self, link: Link) {
        self.delist(link);
        self.shared.frozen.fetch_add(1, Ordering::SeqCst);
        self.frozen_here.set(true);
        let mut leftovers = self.shared.leftovers.lock();
        if let Some(leftover) =
            leftovers.iter_mut().find(|leftover| leftover.id == link.identity.id)
        {
            leftover.frozen = true;
        }
    }

    /// Gives up on routines that wait, whatever happens, for others, of which some are frozen.
    ///
    /// They would hold the shutdown up for ever, and to unwind them would end what others borrow.
    fn freeze_steadfast(&self) {
        let mut next = self.newest.get();
        while let Some(link) = next {
            next = link.at_home().older.get();
            if let Parked::Steadfast(claim) = link.at_home().parked.get()
                // SAFETY: the claim lies on the stack of the parked routine. Who wins it owns the link;
                // and nobody wakes the routine after this.
                && unsafe { claim.as_ref() }.claim(Outcome::CANCELED)
            {
                self.freeze(link);
                self.counters().unparked[link.at_home().reason.get() as usize].add(1);
                self.counters().finished.add(1);
            }
        }
    }

    /// The end of the worker's thread.
    fn leave(self, alt_stack: AltStack) {
        let Self { shared, io, timer, frozen_here, index, .. } = self;
        drop((io, timer));
        if frozen_here.get() {
            shared.frozen_workers.lock().push(index);
        } else {
            drop(alt_stack);
        }
        if shared.workers_alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Ends the threads of the backend, which handles must not keep; nobody else does if the runtime
            // was dropped in one of its own routines.
            let backend = shared.io.lock().take();
            drop(backend);
            shared.stopped.set();
        }
        // Ending the thread would run the destructors of thread-locals under the frozen routines.
        while frozen_here.get() {
            std::thread::park();
        }
    }
}

/// How to switch to a routine.
#[derive(Clone, Copy, Debug)]
enum Switch {
    Start,
    Resume,
}

/// How a switch to a routine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspended {
    /// Parked, and published where wakers find it.
    Waiting,
    /// Ready to go on.
    Ready,
    /// At its end, off its stack.
    Ended,
    /// Suspended for ever.
    Frozen,
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
