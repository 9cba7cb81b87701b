//! The one way to block.
//!
//! Channels, joins, sleeps, scopes, I/O: everything that waits does so through [`park`] (or, when a
//! driver holds the wait, [`park_on_driver`]), for routines and plain threads alike. What the two
//! have in common is here: wait reasons, deadlines, cancellation by shutdown, and the choice between
//! leaving a routine's stack and blocking a thread.
//!
//! # Protocol
//!
//! 1. The caller makes a [`Waiter`] on its stack and calls `park` with a `commit` step.
//! 2. A routine leaves its stack; then its worker runs `commit`, which publishes the waiter or unlocks
//!    the list that it stands in. So nobody can wake a routine whose stack is still in use, and a
//!    driver works on the worker's stack, however small the routine's is. A thread runs `commit` and
//!    blocks.
//! 3. `commit` answers [`Commit::Resume`] if there is nothing to wait for after all.
//! 4. A waker wins the waiter's [`Claim`], may write what it brings, and calls [`Waiter::wake`], once.
//!    Deadline and shutdown are wakers too, on the routine's own worker.
//! 5. After an outcome that did not come from the list it stood in, the caller withdraws the waiter
//!    from there before it returns: only then may the waiter's memory go.
//!
//! # Cancellation
//!
//! When its runtime shuts down by force, or the [limit](crate::limit) of a `timeout` passes, a wait ends with
//! [`Outcome::CANCELED`]; after withdrawing, the caller calls
//! [`unwind_canceled`](crate::unwinding::unwind_canceled). That unwinds with the payload
//! [`Canceled`](crate::Canceled) or [`Exceeded`](limit::Exceeded), unless a panic is already on its way (a destructor
//! blocks while unwinding): then it returns, and the blocking call must end with an error of its own.
//!
//! What need not wait looks whether it should unwind, too, every so often: a loop over data that is always
//! there would not end otherwise. That is [`checkpoint`], and comes before anything has happened.

use std::fmt;
use std::ptr::NonNull;
use std::time::Instant;

use crate::claim::{Claim, Outcome};
use crate::driver::{Operation, Submitted};
use crate::limit;
use crate::primitive::{AtomicBool, Ordering, Parker};
use crate::routine::cell::{Cancel, Counted, Link, Parked};
use crate::routine::completion::Joiner;
use crate::routine::fiber::Suspend;
use crate::runtime::metrics::Counter;
use crate::runtime::worker::Worker;
use crate::unwinding::{unwind_at_checkpoint, unwind_in_place};

/// Why a routine is not running. Shown in statistics and in the list of routines that a shutdown
/// left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitReason {
    /// It does not wait: it runs or is ready to.
    #[default]
    None,
    /// [`park`](crate::park()) or [`park_timeout`](crate::park_timeout).
    Park,
    /// [`sleep`](crate::sleep).
    Sleep,
    /// [`JoinHandle::join`](crate::JoinHandle::join).
    Join,
    /// The end of a [`scope`](crate::Handle::scope).
    Scope,
    /// Sending into a channel.
    ChannelSend,
    /// Receiving from a channel.
    ChannelReceive,
    /// Reading, accepting, or waiting to be able to.
    IoRead,
    /// Writing, connecting, or waiting to be able to.
    IoWrite,
    /// A file operation that went to the pool.
    IoFile,
    /// [`blocking`](crate::blocking).
    Blocking,
    /// The shutdown of another runtime.
    Shutdown,
    /// One of several channel operations.
    Select,
    /// A [`Mutex`](crate::sync::Mutex).
    Mutex,
    /// An [`RwLock`](crate::sync::RwLock), to read.
    RwLockRead,
    /// An [`RwLock`](crate::sync::RwLock), to write.
    RwLockWrite,
    /// A notification through a [`Condvar`](crate::sync::Condvar).
    Condvar,
    /// The others at a [`Barrier`](crate::sync::Barrier).
    Barrier,
    /// The end of an initialization elsewhere: [`Once`](crate::sync::Once) and what is built on it.
    Once,
    /// Permits of a [`Semaphore`](crate::sync::Semaphore).
    Semaphore,
    /// A [`WaitGroup`](crate::sync::WaitGroup).
    WaitGroup,
    /// A [`CancellationToken`](crate::sync::CancellationToken).
    Cancellation,
}

impl WaitReason {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// All of them, each at its own index.
    pub(crate) const ALL: [WaitReason; 22] = [
        WaitReason::None,
        WaitReason::Park,
        WaitReason::Sleep,
        WaitReason::Join,
        WaitReason::Scope,
        WaitReason::ChannelSend,
        WaitReason::ChannelReceive,
        WaitReason::IoRead,
        WaitReason::IoWrite,
        WaitReason::IoFile,
        WaitReason::Blocking,
        WaitReason::Shutdown,
        WaitReason::Select,
        WaitReason::Mutex,
        WaitReason::RwLockRead,
        WaitReason::RwLockWrite,
        WaitReason::Condvar,
        WaitReason::Barrier,
        WaitReason::Once,
        WaitReason::Semaphore,
        WaitReason::WaitGroup,
        WaitReason::Cancellation,
    ];

    /// Whether no other routine has to do anything for the end of such a wait.
    pub(crate) fn ends_by_itself(self) -> bool {
        matches!(self, WaitReason::Sleep | WaitReason::Shutdown)
    }

    /// What the routine is doing, as a phrase: "receiving from a channel".
    pub fn as_str(self) -> &'static str {
        match self {
            WaitReason::None => "ready or running",
            WaitReason::Park => "parked",
            WaitReason::Sleep => "sleeping",
            WaitReason::Join => "joining a routine",
            WaitReason::Scope => "waiting for its scope",
            WaitReason::ChannelSend => "sending into a channel",
            WaitReason::ChannelReceive => "receiving from a channel",
            WaitReason::IoRead => "reading",
            WaitReason::IoWrite => "writing",
            WaitReason::IoFile => "working on a file",
            WaitReason::Blocking => "in a blocking closure",
            WaitReason::Shutdown => "shutting a runtime down",
            WaitReason::Select => "selecting among channels",
            WaitReason::Mutex => "locking a mutex",
            WaitReason::RwLockRead => "locking a read-write lock to read",
            WaitReason::RwLockWrite => "locking a read-write lock to write",
            WaitReason::Condvar => "waiting for a condition variable",
            WaitReason::Barrier => "waiting at a barrier",
            WaitReason::Once => "waiting for an initialization",
            WaitReason::Semaphore => "acquiring a semaphore",
            WaitReason::WaitGroup => "waiting for a wait group",
            WaitReason::Cancellation => "waiting for a cancellation",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a commit step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The waiter is where wakers find it.
    Park,
    /// There is nothing to wait for; the waiter is nowhere.
    Resume,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Until woken, or the runtime shuts down by force.
    Patient,
    /// The same, until then at the latest.
    Until(Instant),
    /// Until woken, whatever happens: for waits that guard somebody's memory.
    Steadfast,
    /// Until woken, or until then: for destructors, which neither a limit nor a shutdown may unwind. That it is
    /// over is told like these, as a cancellation.
    SteadfastUntil(Instant),
}

impl Patience {
    /// When the wait ends for want of patience, or because the caller's limit is reached.
    #[inline]
    fn deadline(self, limit: Option<Instant>) -> Option<Instant> {
        match self {
            Patience::Patient => limit,
            Patience::Until(deadline) => limit::earlier(Some(deadline), limit),
            Patience::Steadfast => None,
            Patience::SteadfastUntil(deadline) => Some(deadline),
        }
    }

    /// Whether to go by its deadline is to be canceled, since that is the limit's, say.
    fn ends_in_cancellation(self, limit: Option<Instant>) -> bool {
        match self {
            Patience::SteadfastUntil(_) => true,
            _ => limit.is_some() && self.deadline(None) != self.deadline(limit),
        }
    }

    fn is_steadfast(self) -> bool {
        matches!(self, Patience::Steadfast | Patience::SteadfastUntil(_))
    }
}

impl From<Option<Instant>> for Patience {
    fn from(deadline: Option<Instant>) -> Self {
        deadline.map_or(Patience::Patient, Patience::Until)
    }
}

/// What a routine hands its worker when it parks. Lies on the routine's stack.
pub(crate) struct Request<'a> {
    pub(crate) commit: &'a mut dyn FnMut(&Worker) -> Commit,
    pub(crate) parked: Parked,
    pub(crate) deadline: Option<Instant>,
    pub(crate) reason: WaitReason,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// One wait of one routine or thread. Lies on its stack.
#[derive(Debug)]
pub(crate) struct Waiter {
    claim: Claim,
    sleeper: Sleeper,
}

#[derive(Debug)]
enum Sleeper {
    Routine(Link),
    /// Not `std::thread::park`, whose token belongs to the user; nor a thread-local, which may be gone when a
    /// destructor blocks.
    Thread {
        parker: Parker,
        woken: AtomicBool,
    },
}

// SAFETY: wakers on other threads use `claim`, which is atomic, and `wake`, which the winner of the
// claim calls once; that clones the parker's unparker, which is `Sync`.
unsafe impl Sync for Waiter {}

impl Waiter {
    /// A wait of whoever calls.
    pub(crate) fn new() -> Self {
        let sleeper = match Worker::current_routine() {
            Some(link) => Sleeper::Routine(link),
            None => Sleeper::Thread { parker: Parker::new(), woken: AtomicBool::new(false) },
        };
        Self { claim: Claim::new(), sleeper }
    }

    fn routine(&self) -> Option<Link> {
        match &self.sleeper {
            Sleeper::Routine(link) => Some(*link),
            Sleeper::Thread { .. } => None,
        }
    }

    /// Whether it is the wait of this routine.
    pub(crate) fn is_of(&self, routine: &Counted) -> bool {
        self.routine() == Some(routine.link())
    }

    /// Ends the wait with `outcome`, unless it has ended. The winner owes one [`wake`](Self::wake).
    #[must_use]
    pub(crate) fn claim(&self, outcome: Outcome) -> bool {
        self.claim.claim(outcome)
    }

    /// Lets the sleeper go on. The waiter may be gone when this returns.
    ///
    /// # Safety
    ///
    /// The caller won the claim and calls this once; `this` is valid until then.
    pub(crate) unsafe fn wake(this: *const Waiter) {
        // SAFETY: the sleeper does not return before it is woken, which happens below, after the last
        // use of the reference.
        match unsafe { &(*this).sleeper } {
            Sleeper::Routine(link) => Worker::wake(*link),
            Sleeper::Thread { parker, woken } => {
                let unparker = parker.unparker().clone();
                woken.store(true, Ordering::Release);
                unparker.unpark();
            }
        }
    }
}

impl Joiner for Waiter {
    fn claim(&self) -> bool {
        self.claim(Outcome::FIRST)
    }

    unsafe fn wake(this: *const Self) {
        // SAFETY: forwarded.
        unsafe { Waiter::wake(this) }
    }
}

/// Blocks the caller until `waiter` is claimed and woken. See the [module docs](self).
///
/// `None` if `commit` found nothing to wait for.
// Inlined, like what it calls: after a switch the processor's guesses of return addresses are those of the
// other routine, so each frame between the caller and the switch costs a misprediction.
#[inline(always)]
pub(crate) fn park(
    waiter: &Waiter,
    reason: WaitReason,
    patience: Patience,
    commit: impl FnOnce() -> Commit,
) -> Option<Outcome> {
    let limit = limit::of(waiter.routine());
    let deadline = patience.deadline(limit);
    match &waiter.sleeper {
        Sleeper::Routine(link) => {
            let claim = NonNull::from(&waiter.claim);
            if patience.is_steadfast() {
                park_steadfastly(*link, claim, reason, deadline, commit)?;
            } else {
                park_routine(*link, Parked::Claim(claim), reason, deadline, |_| commit())?;
            }
        }
        Sleeper::Thread { parker, woken } => {
            park_thread(parker, &waiter.claim, woken, deadline, commit)?;
        }
    }
    let outcome = waiter.claim.outcome();
    debug_assert!(outcome.is_some(), "woken without a claim");
    if outcome == Some(Outcome::TIMED_OUT) && patience.ends_in_cancellation(limit) {
        return Some(Outcome::CANCELED);
    }
    outcome
}

/// Parks the calling routine so that neither a limit nor a shutdown ends the wait, and counts it meanwhile.
fn park_steadfastly(
    link: Link,
    claim: NonNull<Claim>,
    reason: WaitReason,
    deadline: Option<Instant>,
    commit: impl FnOnce() -> Commit,
) -> Option<()> {
    // A routine stays on its worker.
    let count = |step: fn(&Counter)| {
        if !reason.ends_by_itself() {
            Worker::with_current(|worker| step(&worker.counters().steadfast));
        }
    };
    count(|steadfast| steadfast.add(1));
    let parked = park_routine(link, Parked::Steadfast(claim), reason, deadline, |_| commit());
    count(|steadfast| steadfast.subtract(1));
    // SAFETY: the claim is our caller's, who borrows it.
    if unsafe { claim.as_ref() }.outcome() != Some(Outcome::TIMED_OUT) {
        Worker::with_current(|worker| worker.counters().served.add(1));
    }
    parked
}

/// Parks the calling routine on a claim that outlives the wait, its park token.
///
/// `None` if `commit` found nothing to wait for.
pub(crate) fn park_on_token(
    link: Link,
    claim: &Claim,
    deadline: Option<Instant>,
    commit: impl FnOnce() -> Commit,
) -> Option<()> {
    let parked = Parked::Claim(NonNull::from(claim));
    let deadline = limit::earlier(deadline, limit::of(Some(link)));
    park_routine(link, parked, WaitReason::Park, deadline, |_| commit())
}

/// How a driver's wait ended.
#[derive(Debug)]
pub(crate) enum DriverWait {
    /// The operation was performed, or handed back for whatever reason.
    Finished(std::io::Result<usize>),
    /// The caller is a plain thread, which performs the operation itself.
    OnThread,
}

/// Blocks the calling routine until its worker's driver has handed `op` back, which neither a limit nor a
/// shutdown asks it to if the wait is `steadfast`.
pub(crate) fn park_on_driver(
    op: &Operation,
    reason: WaitReason,
    deadline: Option<Instant>,
    steadfast: bool,
) -> DriverWait {
    let Some(link) = Worker::current_routine() else { return DriverWait::OnThread };
    op.set_owner(link.as_ptr().cast());
    // SAFETY: `op` lies on this stack, which is resumed only after the operation was handed back.
    let op_ref = unsafe { op.as_ref() };
    let parked = if steadfast { Parked::SteadfastOperation } else { Parked::Operation(op_ref) };
    park_routine(link, parked, reason, deadline, |worker| match worker.submit(op_ref) {
        Submitted::Done(result) => {
            op_ref.set_result(result);
            Commit::Resume
        }
        Submitted::Pending => Commit::Park,
    });
    DriverWait::Finished(op_ref.take_result())
}

/// Leaves the routine's stack, lets its worker run `commit`, and returns when woken.
#[inline(always)]
fn park_routine(
    link: Link,
    parked: Parked,
    reason: WaitReason,
    deadline: Option<Instant>,
    commit: impl FnOnce(&Worker) -> Commit,
) -> Option<()> {
    let mut commit = Some(commit);
    let mut resumed = false;
    let mut commit = |worker: &Worker| {
        let commit = commit.take().map_or(Commit::Resume, |commit| commit(worker));
        resumed = commit == Commit::Resume;
        commit
    };
    let mut request = Request { commit: &mut commit, parked, deadline, reason };
    suspend(link, Suspend::Park(NonNull::from(&mut request).cast()));
    (!resumed).then_some(())
}

/// Hands control to the worker.
#[inline(always)]
pub(crate) fn suspend(link: Link, suspend: Suspend) {
    let suspender = link.at_home().suspender.get();
    debug_assert!(suspender.is_some(), "only a running routine suspends itself");
    if let Some(suspender) = suspender {
        // SAFETY: set while the routine has a stack, on which the suspender lies.
        unsafe { suspender.as_ref() }.suspend(suspend.into());
    }
}

/// Lets the others of this worker run, after calls that did not have to wait.
#[cold]
pub(crate) fn end_turn() {
    if let Some(link) = Worker::current_routine() {
        suspend(link, Suspend::EndTurn);
    }
}

/// Blocks the calling thread.
fn park_thread(
    parker: &Parker,
    claim: &Claim,
    woken: &AtomicBool,
    deadline: Option<Instant>,
    commit: impl FnOnce() -> Commit,
) -> Option<()> {
    if commit() == Commit::Resume {
        return None;
    }
    while !woken.load(Ordering::Acquire) {
        match deadline {
            Some(deadline) if claim.outcome().is_none() => {
                parker.park_deadline(deadline);
                if Instant::now() >= deadline && claim.claim(Outcome::TIMED_OUT) {
                    break;
                }
            }
            // Claimed: the wake-up is on its way.
            _ => parker.park(),
        }
    }
    Some(())
}

/// Unwinds the caller if its runtime shuts down by force or its limit has passed, and it is not unwinding
/// already. For what might never wait. Answers with the limit.
#[inline]
pub(crate) fn checkpoint() -> Option<Instant> {
    let (is_over, limit) = look();
    if is_over {
        unwind_at_checkpoint();
    }
    limit
}

/// The same for what nobody expects to wait: it does not even do so to find out whether the caller is unwinding.
#[cold]
pub(crate) fn checkpoint_in_place() {
    let (is_over, _) = look();
    if is_over {
        unwind_in_place();
    }
}

/// Whether the caller is to be unwound, and its limit.
#[inline]
fn look() -> (bool, Option<Instant>) {
    let routine = Worker::current_routine();
    let canceled = routine.is_some_and(|link| link.at_home().cancel.get() != Cancel::No);
    let limit = limit::of(routine);
    (canceled || limit.is_some_and(|limit| limit <= Instant::now()), limit)
}
