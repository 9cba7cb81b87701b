//! A dependency that has never heard of routines: ordinary safe code that keeps state in thread-locals,
//! and calls back in between.
//!
//! To the compiler, the thread that comes back from the callback is the one that made the call. Code like
//! this is in allocators, in `rand`, in tracing, everywhere; it is why a started routine must stay on its
//! thread. The crate is a member of its own so that it is compiled separately, as dependencies are, and so
//! that fat LTO has something to merge.
//!
//! Each thread keeps books here, and hands them in as a [`Ledger`] when it ends.

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;

/// What a thread has written down.
#[derive(Debug)]
pub struct Ledger {
    /// The thread's name.
    pub thread: String,
    /// Calls that have begun.
    pub entered: u64,
    /// Calls that have returned.
    pub left: u64,
    /// Calls that have begun and not returned.
    pub depth: u64,
    /// What every call has noted, before and after its callback.
    pub notes: Vec<u64>,
    /// References to the thread's [`Rc`], its own included.
    pub references: usize,
    /// What the calls have added up behind that `Rc`.
    pub sum: u64,
}

/// The ledgers of the threads that have ended.
static HANDED_IN: Mutex<Vec<Ledger>> = Mutex::new(Vec::new());

thread_local! {
    // A plain cell of constant start value: read and written through the bare address of the thread-local.
    static ENTERED: Cell<u64> = const { Cell::new(0) };
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static DEPTH: Cell<u64> = const { Cell::new(0) };
    // With a destructor.
    static NOTES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    // With a destructor and a start value that has to be computed.
    static SUM: Rc<Cell<u64>> = Rc::new(Cell::new(0));
    static HAND_IN: HandIn = HandIn(thread::current().name().unwrap_or_default().to_owned());
}

/// Hands the books of the thread of that name in when it ends.
struct HandIn(String);

impl Drop for HandIn {
    fn drop(&mut self) {
        let (references, sum) = SUM.with(|sum| (Rc::strong_count(sum), sum.get()));
        let ledger = Ledger {
            thread: mem::take(&mut self.0),
            entered: ENTERED.get(),
            left: LEFT.get(),
            depth: DEPTH.get(),
            notes: NOTES.with_borrow_mut(mem::take),
            references,
            sum,
        };
        HANDED_IN.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(ledger);
    }
}

/// Takes the ledgers of ended threads whose names begin with `prefix`.
pub fn take_ledgers(prefix: &str) -> Vec<Ledger> {
    let mut all = HANDED_IN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (taken, left) =
        mem::take(&mut *all).into_iter().partition(|l| l.thread.starts_with(prefix));
    *all = left;
    taken
}

/// Sees to it that the calling thread hands its books in. All of the thread-locals are used before the
/// one whose destructor reads them, so that they are destroyed after it.
fn open_books() {
    SUM.with(|_| ());
    NOTES.with(|_| ());
    HAND_IN.with(|_| ());
}

/// Calls `block` between two changes of each of the thread-locals, and notes `before` and what `block`
/// returns.
///
/// Not generic, so that its code is in this crate.
///
/// # Panics
///
/// If what it finds afterwards is not what it left.
pub fn around(before: u64, block: &mut dyn FnMut() -> u64) {
    open_books();
    ENTERED.set(ENTERED.get() + 1);
    DEPTH.set(DEPTH.get() + 1);
    NOTES.with_borrow_mut(|notes| notes.push(before));
    let mine = SUM.with(Rc::clone);

    let after = block();

    mine.set(mine.get() + 1);
    SUM.with(|sum| {
        assert!(Rc::ptr_eq(sum, &mine), "the thread-local Rc is another thread's");
        assert!(Rc::strong_count(sum) > 1, "the thread-local Rc was freed under its user");
    });
    drop(mine);
    NOTES.with_borrow_mut(|notes| notes.push(after));
    let depth = DEPTH.get().checked_sub(1);
    DEPTH.set(depth.expect("more calls have returned to this thread than were made on it"));
    LEFT.set(LEFT.get() + 1);
}

/// The same with code of the caller's: generic and inlined, so that the compiler sees what `block` does.
#[inline]
pub fn around_inlined<T>(before: u64, block: impl FnOnce() -> T, after: impl FnOnce() -> u64) -> T {
    open_books();
    ENTERED.set(ENTERED.get() + 1);
    DEPTH.set(DEPTH.get() + 1);
    NOTES.with(|notes| {
        // The one use of the thread-local, across which its address is bound to be kept.
        notes.borrow_mut().push(before);
        let value = block();
        notes.borrow_mut().push(after());
        DEPTH.set(DEPTH.get() - 1);
        LEFT.set(LEFT.get() + 1);
        value
    })
}
