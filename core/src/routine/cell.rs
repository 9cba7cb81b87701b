//! The one allocation of a routine: what the scheduler, the join handle and the wakers share.
//!
//! ```text
//!   Cell<F, T>
//!   ├── Header          refs, vtable, identity, park token, completion, links, fiber
//!   └── Stage<F, T>     the closure, then nothing, then the result, then nothing
//! ```
//!
//! # Who may touch what
//!
//! 1. The header lives while it is counted in `refs`: one reference for the scheduler until the
//!    routine has left its stack for good, one for the join handle, one per [`Routine`] handle.
//! 2. A [`Link`] is the scheduler's reference in motion. There is one per live routine, in exactly
//!    one place: a queue, an inbox, the worker that runs it, or, while it is parked, whoever wins its
//!    [`Claim`](crate::claim::Claim) next. Only its holder touches `next`.
//! 3. The fields under [`Home`] are touched by the routine's own worker thread alone. `home` itself is
//!    written once, before the routine runs, and read by those who hold the link.
//! 4. `stage` holds the closure until the routine starts, and belongs to the routine until
//!    [`Completion`] says done; then to whom the completion names.
//!
//! [`Routine`]: super::Routine

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::hint;
use std::mem;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread;
use std::time::Instant;

use super::completion::{Completion, ResultOwner};
use super::fiber::{Fiber, Suspender};
use super::handle::RoutineId;
use super::local::Locals;
use super::scope::ScopeState;
use super::token::ParkToken;
use crate::driver::{OpRef, TimerId, TimerKey};
use crate::park::WaitReason;
use crate::runtime::inbox::Node;
use crate::runtime::remote::Remote;
use crate::stack::Stack;
use crate::unwinding::Unwinding;

/// What every routine has, whatever it computes.
pub(crate) struct Header {
    refs: AtomicUsize,
    vtable: &'static VTable,
    /// Link of the queue or inbox that holds the routine. Owned by the holder of the [`Link`].
    next: Cell<*mut Header>,
    /// When it was put into its worker's queue, in turns of that. Like `next`, the holder's.
    pub(crate) queued: Cell<u32>,
    /// The worker that started the routine. Null until then.
    home: Cell<*const Remote>,
    pub(crate) token: ParkToken,
    pub(crate) completion: Completion,
    pub(crate) identity: Identity,
    at_home: Home,
}

/// Who a routine is, for people.
pub(crate) struct Identity {
    pub(crate) id: RoutineId,
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// The part of the header that belongs to the routine's worker thread.
pub(crate) struct Home {
    /// While the routine is suspended, the stack it is suspended on.
    pub(crate) fiber: UnsafeCell<Option<Fiber>>,
    /// A stack of its own size, taken at spawn.
    pub(crate) own_stack: Cell<Option<Stack>>,
    /// Where the routine suspends itself. Set while it has a stack.
    pub(crate) suspender: Cell<Option<NonNull<Suspender>>>,
    pub(crate) parked: Cell<Parked>,
    pub(crate) reason: Cell<WaitReason>,
    pub(crate) timer: Cell<Option<(TimerId, TimerKey)>>,
    /// Neighbours in the worker's list of started routines.
    pub(crate) older: Cell<Option<Link>>,
    pub(crate) newer: Cell<Option<Link>>,
    pub(crate) cancel: Cell<Cancel>,
    /// As of when it was last suspended, or was seen to panic or unwound since.
    pub(crate) unwinding: Cell<Unwinding>,
    /// See [`limit`](crate::limit).
    pub(crate) limit: Cell<Option<Instant>>,
    pub(crate) locals: UnsafeCell<Locals>,
    scope: UnsafeCell<Option<Arc<ScopeState>>>,
}

/// What a parked routine waits for, as far as deadlines and shutdown are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parked {
    /// It does not wait.
    No,
    /// For a claim, which the worker may win too.
    Claim(NonNull<crate::claim::Claim>),
    /// For a claim, until it comes or the deadline does: shutdown does not end the wait. At most the routine is
    /// frozen.
    Steadfast(NonNull<crate::claim::Claim>),
    /// For a driver to hand an operation back.
    Operation(OpRef),
    /// The same, of one that ends by itself and that nobody takes back.
    SteadfastOperation,
}

/// How far the shutdown of the runtime has come with this routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// It runs as it likes.
    No,
    /// Its blocking calls unwind; sums up how it has resisted, see [`unwinding`](crate::unwinding).
    Requested(u32),
}

/// What the closure's type is needed for.
pub(crate) struct VTable {
    run: unsafe fn(Link) -> Ended,
    discard: unsafe fn(Link) -> Ended,
    abandon: unsafe fn(Link),
    take_result: unsafe fn(NonNull<Header>, *mut ()),
    drop_result: unsafe fn(NonNull<Header>) -> bool,
    dealloc: unsafe fn(NonNull<Header>),
}

/// How a routine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By returning.
    Returned,
    /// By a panic.
    Panicked,
    /// Unwound, or dropped before it started, by the shutdown of its runtime.
    Canceled,
}

/// The scheduler's reference to a live routine. See point 2 of the [module docs](self).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Link(NonNull<Header>);

// SAFETY: a link is passed on between threads as a whole, and what its holder may touch is said in
// the module docs; the closure inside is `Send`.
unsafe impl Send for Link {}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link(#{})", self.identity.id)
    }
}

impl Deref for Link {
    type Target = Header;

    fn deref(&self) -> &Header {
        // SAFETY: whoever holds the link holds the scheduler's reference.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: `next` is one field of the header, which lives while its link is in an inbox.
unsafe impl Node for Header {
    fn next(node: *mut Self) -> *mut Self {
        // SAFETY: see the trait.
        unsafe { (*node).next.get() }
    }

    fn set_next(node: *mut Self, next: *mut Self) {
        // SAFETY: see the trait.
        unsafe { (*node).next.set(next) }
    }
}

/// Lines of cache below the suspender: what a routine that goes on touches first.
const FRAMES: usize = 8;

impl Header {
    /// Has the cache fetch what it takes to resume a suspended routine of a queue, and the header of the one behind
    /// it, for whom this will be called next. In a long queue nothing of them is in the cache.
    ///
    /// # Safety
    ///
    /// `node` is in the queue of the worker whose thread this is.
    // Out of the way of switches in short queues.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn prefetch(node: *mut Self) {
        // SAFETY: the queue owns the link of what is in it, which keeps it alive; and its worker's thread is the one
        // that may look at `at_home`. What `suspender` and `next` point to is not read.
        let header = unsafe { &*node };
        if let Some(suspender) = header.at_home.suspender.get() {
            let top = suspender.as_ptr().cast::<u8>();
            (0..FRAMES).for_each(|line| prefetch(top.wrapping_sub(line * CACHE_LINE)));
        }
        let behind = header.next.get().cast::<u8>();
        if !behind.is_null() {
            let lines = (0..mem::size_of::<Self>()).step_by(CACHE_LINE);
            lines.for_each(|offset| prefetch(behind.wrapping_add(offset)));
        }
    }
}

/// Bytes that the cache fetches at once, here.
const CACHE_LINE: usize = 64;

#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint. It does not fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("id", &self.identity.id).finish_non_exhaustive()
    }
}

impl Link {
    /// Takes back a link that was stored as a pointer.
    ///
    /// # Safety
    ///
    /// `header` came from [`as_ptr`](Self::as_ptr), and the reference it stands for is still owned
    /// by the place it was stored in.
    pub(crate) unsafe fn from_ptr(header: *mut Header) -> Option<Link> {
        NonNull::new(header).map(Link)
    }

    pub(crate) fn as_ptr(self) -> *mut Header {
        self.0.as_ptr()
    }

    /// A counted reference beside the scheduler's.
    pub(crate) fn to_counted(self) -> Counted {
        let counted = mem::ManuallyDrop::new(Counted(self.0));
        Counted::clone(&counted)
    }

    /// Whether the routine has been started, and thereby bound to a worker.
    pub(crate) fn is_started(self) -> bool {
        !self.home.get().is_null()
    }

    /// Binds the routine to the worker that starts it.
    pub(crate) fn settle(self, home: &Remote) {
        debug_assert!(!self.is_started());
        self.home.set(home);
    }

    /// The worker that alone may resume the routine. It must have been started.
    pub(crate) fn home(self) -> *const Remote {
        self.home.get()
    }

    /// The fields of the worker thread.
    ///
    /// Sound only on the routine's own worker thread or, before the routine was started, for the
    /// holder of the link. Every caller is a method of `Worker` or runs inside the routine.
    pub(crate) fn at_home(&self) -> &Home {
        &self.at_home
    }

    /// Runs the routine to its end. Called once, on the routine's stack.
    pub(crate) fn run(self, suspender: &Suspender) {
        self.at_home.suspender.set(Some(NonNull::from(suspender)));
        let run = match self.at_home.cancel.get() {
            Cancel::No => self.vtable.run,
            Cancel::Requested(_) => self.vtable.discard,
        };
        // SAFETY: a routine is started once, by the worker that took its link from a queue.
        let ended = unsafe { run(self) };
        crate::runtime::worker::Worker::with_current(|worker| worker.note_ended(ended));
    }

    /// Ends a routine that never starts, wherever this is called, and gives up the scheduler's reference.
    ///
    /// # Safety
    ///
    /// It was allocated just now.
    pub(crate) unsafe fn discard(self) {
        // SAFETY: the caller's promise.
        unsafe { (self.vtable.discard)(self) };
        self.release();
    }

    /// Tells who joins it of the end of a routine that is left suspended for ever.
    ///
    /// # Safety
    ///
    /// It was started, has left its stack, and will not be resumed. Called by its worker, once.
    pub(crate) unsafe fn abandon(self) {
        // SAFETY: the caller's promise.
        unsafe { (self.vtable.abandon)(self) };
    }

    /// Gives up the scheduler's reference of a routine that has left its stack.
    pub(crate) fn release(self) {
        drop(Counted(self.0));
    }
}

/// A counted reference to a routine's allocation.
pub(crate) struct Counted(NonNull<Header>);

// SAFETY: the count is atomic, and what holders of a mere reference may touch (`token`, `completion`,
// `identity`) is `Sync`; results cross threads only where `T: Send`, which spawning asks for.
unsafe impl Send for Counted {}
// SAFETY: as above.
unsafe impl Sync for Counted {}

impl Clone for Counted {
    fn clone(&self) -> Self {
        // Relaxed: a reference can only be made from another one. Overflow would take 2^63 handles.
        self.header().refs.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Release and Acquire: the last one sees everything the others did.
        if self.header().refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            let dealloc = self.header().vtable.dealloc;
            // SAFETY: that was the last reference.
            unsafe { dealloc(self.0) };
        }
    }
}

/// The shared part of the header, for those who only count as a reference.
impl Counted {
    fn header(&self) -> &Header {
        // SAFETY: counted.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.header().identity
    }

    pub(crate) fn token(&self) -> &ParkToken {
        &self.header().token
    }

    pub(crate) fn completion(&self) -> &Completion {
        &self.header().completion
    }

    /// The routine's link, for one who has won the right to wake it.
    pub(crate) fn link(&self) -> Link {
        Link(self.0)
    }

    /// Takes the result out.
    ///
    /// # Safety
    ///
    /// The routine was spawned with result type `T`, is done, and its result belongs to the caller
    /// and was not taken.
    pub(crate) unsafe fn take_result<T>(&self) -> thread::Result<T> {
        let mut slot = mem::MaybeUninit::<thread::Result<T>>::uninit();
        // SAFETY: forwarded; the callee initialises the slot.
        unsafe {
            (self.header().vtable.take_result)(self.0, slot.as_mut_ptr().cast());
            slot.assume_init()
        }
    }

    /// Drops the result and says whether it was a panic.
    ///
    /// # Safety
    ///
    /// As for [`take_result`](Self::take_result), with any type.
    pub(crate) unsafe fn drop_result(&self) -> bool {
        // SAFETY: forwarded.
        unsafe { (self.header().vtable.drop_result)(self.0) }
    }
}

/// A routine's closure on its way to its result.
enum Stage<F, T> {
    Closure(F),
    Result(thread::Result<T>),
    Gone,
}

/// See the [module docs](self).
#[repr(C)]
struct RoutineCell<F, T> {
    /// First, so that a pointer to the header is one to the cell.
    header: Header,
    stage: UnsafeCell<Stage<F, T>>,
}

/// The payload of a routine that the shutdown of its runtime has ended, in the `Err` that
/// [`JoinHandle::join`](super::JoinHandle::join) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canceled;

impl fmt::Display for Canceled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the routine was ended by the shutdown of its runtime")
    }
}

impl std::error::Error for Canceled {}

/// Allocates a routine: the scheduler's link and one counted reference.
///
/// # Safety
///
/// `f` and `T` are `Send`, and what they borrow outlives the routine's end and, for the result, its
/// taking: trivially where they are `'static`, by the wait at its end in a scope.
pub(crate) unsafe fn allocate<F, T>(
    identity: Identity,
    own_stack: Option<Stack>,
    scope: Option<Arc<ScopeState>>,
    f: F,
) -> (Link, Counted)
where
    F: FnOnce() -> T,
{
    let cell = Box::new(RoutineCell {
        header: Header {
            refs: AtomicUsize::new(2),
            vtable: const {
                &VTable {
                    run: run::<F, T>,
                    discard: discard::<F, T>,
                    abandon: abandon::<F, T>,
                    take_result: take_result::<F, T>,
                    drop_result: drop_result::<F, T>,
                    dealloc: dealloc::<F, T>,
                }
            },
            next: Cell::new(ptr::null_mut()),
            queued: Cell::new(0),
            home: Cell::new(ptr::null()),
            token: ParkToken::new(),
            completion: Completion::new(),
            identity,
            at_home: Home {
                fiber: UnsafeCell::new(None),
                own_stack: Cell::new(own_stack),
                suspender: Cell::new(None),
                parked: Cell::new(Parked::No),
                reason: Cell::new(WaitReason::None),
                timer: Cell::new(None),
                older: Cell::new(None),
                newer: Cell::new(None),
                cancel: Cell::new(Cancel::No),
                unwinding: Cell::new(Unwinding::No),
                limit: Cell::new(None),
                locals: UnsafeCell::new(Locals::new()),
                scope: UnsafeCell::new(scope),
            },
        },
        stage: UnsafeCell::new(Stage::<F, T>::Closure(f)),
    });
    let header = NonNull::from(Box::leak(cell)).cast::<Header>();
    (Link(header), Counted(header))
}

/// The cell around a header.
///
/// # Safety
///
/// The header was allocated with these types.
unsafe fn cell_of<'a, F, T>(header: NonNull<Header>) -> &'a RoutineCell<F, T> {
    // SAFETY: the header is the first field of the `repr(C)` cell, and allocated as one.
    unsafe { header.cast().as_ref() }
}

/// The routine's root: runs the closure and keeps every panic inside.
///
/// # Safety
///
/// Called once, on the routine's stack.
unsafe fn run<F, T>(link: Link) -> Ended
where
    F: FnOnce() -> T,
{
    // SAFETY: the vtable belongs to the types.
    let cell = unsafe { cell_of::<F, T>(link.0) };
    // SAFETY: the stage is the routine's own until it is done (module docs, point 4).
    let Stage::Closure(f) = (unsafe { mem::replace(&mut *cell.stage.get(), Stage::Gone) }) else {
        unreachable!("a routine is started once")
    };
    let mut result = catch_unwind(AssertUnwindSafe(|| __rust_begin_short_backtrace(f)));
    // Destructors of routine locals are the routine's code too.
    match Locals::destroy_all(link) {
        Err(payload) if result.is_ok() => {
            let unwanted = mem::replace(&mut result, Err(payload));
            contain(|| drop(unwanted));
            destroy_late_locals(link);
        }
        Err(payload) => mem::forget(payload),
        Ok(()) => {}
    }
    let ended = match &result {
        Ok(_) => Ended::Returned,
        Err(payload) if payload.is::<Canceled>() => Ended::Canceled,
        Err(_) => Ended::Panicked,
    };
    // SAFETY: as above.
    unsafe { finish(cell, result) };
    ended
}

/// Calls `f`. The name is the one at which std ends a backtrace that is not asked for in full, as in its own threads.
#[inline(never)]
fn __rust_begin_short_backtrace<F: FnOnce() -> T, T>(f: F) -> T {
    let result = f();
    // No tail call, which would leave no frame.
    hint::black_box(());
    result
}

/// Drops the closure of a routine that is not to start any more.
///
/// # Safety
///
/// As for [`run`].
unsafe fn discard<F, T>(link: Link) -> Ended {
    // SAFETY: the vtable belongs to the types.
    let cell = unsafe { cell_of::<F, T>(link.0) };
    // SAFETY: the stage is the routine's own until it is done.
    let stage = unsafe { mem::replace(&mut *cell.stage.get(), Stage::Gone) };
    let payload: Box<dyn Any + Send> = match catch_unwind(AssertUnwindSafe(|| drop(stage))) {
        Ok(()) => Box::new(Canceled),
        Err(payload) => payload,
    };
    destroy_late_locals(link);
    // SAFETY: as above.
    unsafe { finish(cell, Err(payload)) };
    Ended::Canceled
}

/// The end of a routine that does not return. Its scope waits on, since what it borrows may be on the way to somebody.
///
/// # Safety
///
/// See [`Link::abandon`].
unsafe fn abandon<F, T>(link: Link) {
    // SAFETY: the vtable belongs to the types.
    let cell = unsafe { cell_of::<F, T>(link.0) };
    // SAFETY: only the routine and, now that it goes on no more, its worker touch its scope.
    if let Some(scope) = unsafe { &*cell.header.at_home.scope.get() } {
        scope.abandon();
    }
    // It was suspended in the destructor of its own result.
    if cell.header.completion.is_done() {
        return;
    }
    // SAFETY: the closure has left the stage, nothing else has come, and the routine goes on no more.
    unsafe { *cell.stage.get() = Stage::Result(Err(Box::new(Canceled))) };
    if cell.header.completion.finish() == ResultOwner::Routine {
        // SAFETY: the handle is gone. No code of the program's runs in this: its locals stay as they are.
        unsafe { drop_result::<F, T>(link.0) };
    }
}

/// Publishes the result, to whoever joins and to the scope.
///
/// # Safety
///
/// Called once by the routine, as its last act.
unsafe fn finish<F, T>(cell: &RoutineCell<F, T>, result: thread::Result<T>) {
    let header = NonNull::from(&cell.header);
    // SAFETY: the stage is the routine's own until it is done.
    unsafe { *cell.stage.get() = Stage::Result(result) };
    let mut unhandled_panic = false;
    if cell.header.completion.finish() == ResultOwner::Routine {
        // SAFETY: the handle is gone, so the result is the routine's to drop.
        unhandled_panic = unsafe { drop_result::<F, T>(header) };
        destroy_late_locals(Link(header));
    }
    // Not before: a routine that is frozen in the destructor of its result is found by its scope.
    // SAFETY: only the routine touches its scope.
    if let Some(scope) = unsafe { (*cell.header.at_home.scope.get()).take() } {
        scope.leave(unhandled_panic);
    }
}

/// # Safety
///
/// See [`Counted::take_result`]; `slot` is a `MaybeUninit<thread::Result<T>>`.
unsafe fn take_result<F, T>(header: NonNull<Header>, slot: *mut ()) {
    // SAFETY: forwarded.
    unsafe {
        let cell = cell_of::<F, T>(header);
        let Stage::Result(result) = mem::replace(&mut *cell.stage.get(), Stage::Gone) else {
            unreachable!("a result is taken once")
        };
        slot.cast::<thread::Result<T>>().write(result);
    }
}

/// Drops the result; a panic in its destructor ends there, as nobody is left to hear of it.
///
/// # Safety
///
/// See [`Counted::drop_result`].
unsafe fn drop_result<F, T>(header: NonNull<Header>) -> bool {
    // SAFETY: forwarded.
    let stage = unsafe { mem::replace(&mut *cell_of::<F, T>(header).stage.get(), Stage::Gone) };
    let panicked = matches!(&stage, Stage::Result(Err(payload)) if !payload.is::<Canceled>());
    contain(|| drop(stage));
    panicked
}

/// Runs `f` and ends its panic here.
fn contain(f: impl FnOnce()) {
    // A payload whose own destructor panics would start over: forget it.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        mem::forget(payload);
    }
}

/// Drops the locals that destructors have made when the routine's code proper was over.
fn destroy_late_locals(link: Link) {
    if let Err(payload) = Locals::destroy_all(link) {
        mem::forget(payload);
    }
}

/// # Safety
///
/// No reference to the cell is left.
unsafe fn dealloc<F, T>(header: NonNull<Header>) {
    // SAFETY: allocated as a box of this type, and nobody else holds it. The stage is `Gone`, since
    // a routine that was spawned is run or discarded and its result has an owner.
    drop(unsafe { Box::from_raw(header.cast::<RoutineCell<F, T>>().as_ptr()) });
}
