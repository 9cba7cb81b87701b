//! The lock under [`RwLock`](super::RwLock).
//!
//! One word has the flags below and counts the readers that hold the lock; two lists keep those who wait.
//!
//! # Policy
//!
//! Read and write phases alternate while both are wanted ("phase-fair", Brandenburg and Anderson 2010; Go's
//! `RWMutex` does the same):
//!
//! 1. A lock that nobody holds is anybody's, whoever waits. Readers also join readers, unless a writer waits or is
//!    on its way: so readers that keep overlapping do not keep writers out.
//! 2. A writer that unlocks lets in *all* waiting readers at once, by handing them the lock: so they wait for
//!    one writer at most, or for the one that is just being woken.
//! 3. The last reader to unlock wakes the first writer, as does a writer when no reader waits. The woken writer
//!    competes with newcomers as in [`RawMutex`](super::RawMutex), with the same remedies: it is handed the lock if it
//!    has come too late and waited long, and the lock is reserved for it if it does not come.
//! 4. A writer that gives up lets in the readers that wait because of it.
//!
//! So whoever waits has either a holder before it that will unlock, or a woken writer that will take the lock, or
//! enlist again under a holder.
//!
//! # The last access
//!
//! As in `RawMutex`: what is needed from the lists is taken while the lock is still held, and the word is released
//! last. Where readers are let in, those sleepers hold the lock meanwhile.

#[cfg(all(test, rr_loom))]
mod loom_tests;

use std::fmt;
use std::time::Instant;

use super::const_fn;
use super::overdue::{Passes, Wait, is_late};
use super::spin::Spin;
use crate::brief::{Brief, BriefGuard};
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::primitive::{AtomicUsize, Ordering};
use crate::wait_list::{Entry, WaitList};

/// A writer holds it.
const WRITER: usize = 1;
/// A writer was woken and is on its way to try again.
const WOKEN: usize = 2;
/// Readers wait. This and the next change under the lists' lock.
const READERS: usize = 4;
/// Writers wait.
const WRITERS: usize = 8;
/// With [`WRITER`]: it belongs to the woken writer, who has yet to come and take it.
const RESERVED: usize = 16;
/// One reader holds it; its multiples count them.
const READER: usize = 32;

/// More readers than there can be, but for guards that were forgotten in a loop.
const MOST: usize = usize::MAX - READER;

/// The wait ended because an unlock chose this waiter.
const CHOSEN: Outcome = Outcome::FIRST;

/// Stands in the tag of a writer's entry if it was handed the lock. A reader that was chosen always has it.
const HOLDER: usize = 1;

/// A read-write lock without data or poisoning, for [`lock_api::RwLock`].
///
/// ```
/// use rust_routines_core::sync::RawRwLock;
///
/// static LIMIT: lock_api::RwLock<RawRwLock, u32> = lock_api::RwLock::new(10);
/// *LIMIT.write() += 1;
/// assert_eq!(*LIMIT.read(), 11);
/// ```
pub struct RawRwLock {
    state: AtomicUsize,
    passes: Passes,
    queues: Brief<Queues>,
}

struct Queues {
    readers: WaitList,
    writers: WaitList,
    /// When the last writer was woken.
    woken_at: Option<Instant>,
}

fn may_read(state: usize) -> bool {
    state & WRITER == 0 && (state < READER || state & (WRITERS | WOKEN) == 0)
}

fn may_write(state: usize) -> bool {
    state & WRITER == 0 && state < READER
}

/// Whether the caller, who holds it to read, is the only one.
fn is_last(state: usize) -> bool {
    state < 2 * READER
}

impl RawRwLock {
    const_fn! {
        /// An unlocked lock.
        pub(super) fn unlocked() -> Self {
            let (readers, writers) = (WaitList::new(), WaitList::new());
            Self {
                state: AtomicUsize::new(0),
                passes: Passes::new(),
                queues: Brief::new(Queues { readers, writers, woken_at: None }),
            }
        }
    }

    #[inline]
    pub(super) fn try_read(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while may_read(state) {
            assert!(state < MOST, "too many readers hold a lock");
            match self.take(state, state + READER) {
                Ok(_) => return true,
                Err(other) => state = other,
            }
        }
        false
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while may_write(state) {
            match self.take(state, state | WRITER) {
                Ok(_) => return true,
                Err(other) => state = other,
            }
        }
        false
    }

    /// Locks it to read, or answers `false` if the deadline passed first.
    #[inline]
    pub(super) fn read(&self, patience: Patience) -> bool {
        self.try_read() || self.read_contended(patience)
    }

    /// Locks it to write, or answers `false` if the deadline passed first.
    #[inline]
    pub(super) fn write(&self, patience: Patience) -> bool {
        self.take(0, WRITER).is_ok() || self.write_contended(patience)
    }

    #[inline]
    fn take(&self, from: usize, to: usize) -> Result<usize, usize> {
        self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    fn read_contended(&self, mut patience: Patience) -> bool {
        let mut spin = Spin::new();
        loop {
            if self.try_read() {
                return true;
            }
            let state = self.state.load(Ordering::Relaxed);
            if state & (READERS | WRITERS) == 0 && spin.again() {
                continue;
            }
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, CHOSEN);
            let mut queues = self.queues.lock();
            let enlist = |state| (!may_read(state)).then_some(state | READERS);
            if self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enlist).is_err() {
                continue;
            }
            // SAFETY: it is out of the list when this loop goes on: claimed, or removed below.
            unsafe { queues.readers.push(&entry) };
            let outcome = park(&waiter, WaitReason::RwLockRead, patience, move || {
                drop(queues);
                Commit::Park
            });
            if outcome == Some(CHOSEN) {
                return true;
            }
            let mut queues = self.queues.lock();
            queues.readers.remove(&entry);
            if queues.readers.is_empty() {
                self.state.fetch_and(!READERS, Ordering::Relaxed);
            }
            drop(queues);
            match patience.after(outcome) {
                Some(other) => patience = other,
                None => return false,
            }
        }
    }

    #[cold]
    fn write_contended(&self, mut patience: Patience) -> bool {
        let mut spin = Spin::new();
        // `WOKEN` if that flag stands for us.
        let mut woken = 0;
        let mut wait: Option<Wait> = None;
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if may_write(state) {
                if self.take(state, (state | WRITER) & !woken).is_ok() {
                    return true;
                }
                continue;
            }
            if woken != 0 && state & RESERVED != 0 {
                if self.take(state, state & !(RESERVED | WOKEN)).is_ok() {
                    return true;
                }
                continue;
            }
            if state & (READERS | WRITERS) == 0 && spin.again() {
                continue;
            }
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, CHOSEN);
            let mut queues = self.queues.lock();
            let enlist = |state| {
                let is_ours = may_write(state) || (woken != 0 && state & RESERVED != 0);
                (!is_ours).then_some((state | WRITERS) & !woken)
            };
            if self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enlist).is_err() {
                continue;
            }
            woken = 0;
            let comes_again = wait.is_some();
            wait.get_or_insert_with(Wait::begin).attach(&entry);
            // SAFETY: it is out of the list when this loop goes on: claimed, or removed below.
            unsafe {
                if comes_again {
                    queues.writers.push_front(&entry)
                } else {
                    queues.writers.push(&entry)
                }
            }
            let outcome = park(&waiter, WaitReason::RwLockWrite, patience, move || {
                drop(queues);
                Commit::Park
            });
            if outcome == Some(CHOSEN) {
                if entry.tag.get() == HOLDER {
                    return true;
                }
                woken = WOKEN;
                wait.as_mut().map(Wait::lose);
                spin = Spin::new();
                continue;
            }
            self.withdraw_writer(&entry);
            match patience.after(outcome) {
                Some(other) => patience = other,
                None => return false,
            }
        }
    }

    /// Takes a writer out that has given up, and lets in the readers that wait because of it.
    fn withdraw_writer(&self, entry: &Entry) {
        let mut queues = self.queues.lock();
        queues.writers.remove(entry);
        if !queues.writers.is_empty() {
            return;
        }
        // Readers are let in by somebody who reads himself, so that no writer comes between.
        let joins = |state| state & WRITER == 0 && state & READERS != 0;
        let leave = |state| {
            let left = state & !WRITERS;
            Some(if joins(state) { left + READER } else { left })
        };
        let before = self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, leave);
        if before.is_ok_and(joins) {
            self.admit(queues);
            self.unlock_read();
        }
    }

    /// Hands the lock to all waiting readers. The caller holds it to read.
    fn admit(&self, mut queues: BriefGuard<'_, Queues>) {
        let admitted = queues.readers.claim_all();
        let count = admitted.count() * READER;
        let enter = |state| Some((state & !READERS) + count);
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter);
        drop(queues);
        admitted.wake();
    }

    /// Turns the caller's lock to write into one to read, and lets in all waiting readers.
    pub(super) fn turn_to_read(&self) {
        let before = self.state.fetch_add(READER - WRITER, Ordering::Release);
        if before & READERS != 0 {
            self.admit(self.queues.lock());
        }
    }

    /// The caller holds it to read.
    #[inline]
    pub(super) fn unlock_read(&self) {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            let mut left = state - READER;
            if is_last(state) {
                // A woken writer looks after those who wait, whether or not it gets the lock.
                if state & WOKEN != 0 {
                    if self.is_woken_one_late() {
                        left |= WRITER | RESERVED;
                    }
                } else if state & (READERS | WRITERS) != 0 {
                    if self.unlock_last_read() {
                        return;
                    }
                    continue;
                }
            }
            let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
            if self.state.compare_exchange(state, left, release, relaxed).is_ok() {
                return;
            }
        }
    }

    fn is_woken_one_late(&self) -> bool {
        self.passes.is_time_to_look() && self.queues.lock().woken_at.is_some_and(is_late)
    }

    /// Unlocks it as the last reader while others wait. `false` if that is not so any more.
    #[cold]
    fn unlock_last_read(&self) -> bool {
        let queues = self.queues.lock();
        // Acquire: what the readers before us have read, they have read before the writer that we choose writes.
        let state = self.state.load(Ordering::Acquire);
        if !is_last(state) || state & WRITERS == 0 || state & WOKEN != 0 {
            if state & READERS != 0 && state & WRITERS == 0 {
                // Their writer has gone.
                self.admit(queues);
            }
            return false;
        }
        // Stable as long as we hold both: readers do not join past a writer.
        self.pass_to_writer(queues, state, READER)
    }

    /// Passes the lock, of which the caller has `held`, to the first writer: hands it over, or wakes him. `false` if all have
    /// given up.
    fn pass_to_writer(
        &self,
        mut queues: BriefGuard<'_, Queues>,
        state: usize,
        held: usize,
    ) -> bool {
        let chosen = queues.writers.claim_first();
        let left = if queues.writers.is_empty() { state & !WRITERS } else { state };
        let Some(chosen) = chosen else {
            self.state.store(left, Ordering::Relaxed);
            return false;
        };
        // SAFETY: claimed and not yet woken.
        if unsafe { Wait::is_starving(chosen.entry()) } {
            chosen.entry().tag.set(HOLDER);
            self.state.store(left - held + WRITER, Ordering::Relaxed);
            drop(queues);
        } else {
            self.state.store(left | WOKEN, Ordering::Relaxed);
            self.passes.reset();
            queues.woken_at = Some(Instant::now());
            drop(queues);
            // The last access.
            self.state.fetch_sub(held, Ordering::Release);
        }
        chosen.wake();
        true
    }

    /// The caller holds it to write.
    #[inline]
    pub(super) fn unlock_write(&self) {
        if self.state.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_write_contended();
        }
    }

    #[cold]
    fn unlock_write_contended(&self) {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & READERS != 0 {
                self.turn_to_read();
                return self.unlock_read();
            }
            if state & WRITERS == 0 || state & WOKEN != 0 {
                let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
                let reserve = state & WOKEN != 0 && self.is_woken_one_late();
                let left = if reserve { state | RESERVED } else { state & !WRITER };
                if self.state.compare_exchange(state, left, release, relaxed).is_ok() {
                    return;
                }
                continue;
            }
            let queues = self.queues.lock();
            // Stable as long as we hold both.
            let state = self.state.load(Ordering::Relaxed);
            if state & READERS == 0 && self.pass_to_writer(queues, state, WRITER) {
                return;
            }
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_held_to_write() || self.state.load(Ordering::Relaxed) >= READER
    }

    pub(super) fn is_held_to_write(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRwLock")
            .field("locked", &self.is_held())
            .field("locked_exclusive", &self.is_held_to_write())
            .finish_non_exhaustive()
    }
}
