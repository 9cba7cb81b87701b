//! The lock under [`Mutex`](super::Mutex).
//!
//! One word says whether it is held, and a list keeps those who wait. It works as Go's `sync.Mutex` does
//! (`internal/sync/mutex.go` explains it at length):
//!
//! - *Normal mode.* An unlock wakes the waiter at the front, but leaves the lock to whoever comes first. Mostly that
//!   is somebody who runs already, often the one who has just unlocked: many sections then pass per switch,
//!   where handing over would cost a switch for each. At most one waiter is awake and on its way at a time
//!   ([`WOKEN`]), so that an unlock wakes nobody in vain.
//! - *Starvation.* A waiter that comes too late goes back to the front of the list. If it has waited for more than a
//!   millisecond by then, the next unlock hands it the lock without ever releasing it. Who has only stood in a
//!   long list is not handed it: all in the list would be, one after the other, and the lock would be held by
//!   routines that are not running yet, for most of the time. (Go goes on with handing over as long as the list is
//!   that long, but runs the next one in place of the one that unlocks, on its processor. A routine stays on its worker.)
//! - *A waiter that does not come.* Go takes the processor from whoever computes for long; a worker does not. So a woken
//!   waiter whose worker is busy, perhaps with locking and unlocking, may be late by more than its own fault.
//!   Then the lock is reserved for it ([`RESERVED`]): see [`overdue`](super::overdue).
//!
//! # Who may change the word
//!
//! Whoever finds it without [`LOCKED`] may take it. [`WAITING`] is set and cleared under the list's lock, and set
//! only while the lock is held: its holder will see it when it unlocks. So while somebody holds both the lock
//! and the list's lock, nobody else changes the word.
//!
//! # The last access
//!
//! As soon as the word is released, another may lock, unlock and free the memory (say, the last owner of
//! something that counts its owners under this lock). So an unlock takes what it needs out of the list first, while it
//! still holds the lock, and clears [`LOCKED`] last; after that it touches nothing but the waiter that it
//! has claimed, whose memory stays until it is woken.

#[cfg(all(test, rr_loom))]
mod loom_tests;

use std::fmt;
use std::time::Instant;

use super::const_fn;
use super::overdue::{Passes, Wait, is_late};
use super::spin::Spin;
use crate::brief::Brief;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::primitive::{AtomicU32, Ordering};
use crate::wait_list::{Entry, WaitList};

/// Somebody holds it.
const LOCKED: u32 = 1;
/// The list is not empty.
const WAITING: u32 = 2;
/// A waiter was woken and is on its way to try again: no need to wake another.
const WOKEN: u32 = 4;
/// With [`LOCKED`]: it belongs to the woken waiter, who has yet to come and take it.
const RESERVED: u32 = 8;

/// The wait ended because an unlock chose this waiter.
const CHOSEN: Outcome = Outcome::FIRST;

/// Stands in the tag of a waiter's entry if it was handed the lock.
const HOLDER: usize = 1;

/// A mutex without data or poisoning, for [`lock_api::Mutex`].
///
/// ```
/// use rust_routines_core::sync::RawMutex;
///
/// static NAMES: lock_api::Mutex<RawMutex, Vec<&str>> = lock_api::Mutex::new(Vec::new());
/// NAMES.lock().push("Ada");
/// assert_eq!(*NAMES.lock(), ["Ada"]);
/// ```
pub struct RawMutex {
    state: AtomicU32,
    passes: Passes,
    waiters: Brief<Waiters>,
}

struct Waiters {
    list: WaitList,
    /// When the last one was woken.
    woken_at: Option<Instant>,
}

impl RawMutex {
    const_fn! {
        /// An unlocked mutex.
        pub(super) fn unlocked() -> Self {
            Self {
                state: AtomicU32::new(0),
                passes: Passes::new(),
                waiters: Brief::new(Waiters { list: WaitList::new(), woken_at: None }),
            }
        }
    }

    #[inline]
    pub(super) fn try_acquire(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & LOCKED == 0 {
            match self.take(state, state | LOCKED) {
                Ok(_) => return true,
                Err(other) => state = other,
            }
        }
        false
    }

    /// Locks it, or answers `false` if the deadline passed first.
    #[inline]
    pub(super) fn acquire(&self, patience: Patience) -> bool {
        self.take(0, LOCKED).is_ok() || self.acquire_contended(patience)
    }

    /// Unlocks it. The caller holds it.
    #[inline]
    pub(super) fn release(&self) {
        if self.state.compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.release_contended(false);
        }
    }

    /// The same, but hands it to the waiter at the front.
    pub(super) fn release_fairly(&self) {
        self.release_contended(true);
    }

    pub(super) fn is_held(&self) -> bool {
        self.state.load(Ordering::Relaxed) & LOCKED != 0
    }

    #[inline]
    fn take(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    fn acquire_contended(&self, mut patience: Patience) -> bool {
        let mut spin = Spin::new();
        // `WOKEN` if that flag stands for us.
        let mut woken = 0;
        let mut wait: Option<Wait> = None;
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                if self.take(state, (state | LOCKED) & !woken).is_ok() {
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
            if state & WAITING == 0 && spin.again() {
                continue;
            }
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, CHOSEN);
            let mut waiters = self.waiters.lock();
            let enlist = |state| {
                let is_ours = state & LOCKED == 0 || (woken != 0 && state & RESERVED != 0);
                (!is_ours).then_some((state | WAITING) & !woken)
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
                    waiters.list.push_front(&entry)
                } else {
                    waiters.list.push(&entry)
                }
            }
            let outcome = park(&waiter, WaitReason::Mutex, patience, move || {
                drop(waiters);
                Commit::Park
            });
            if outcome == Some(CHOSEN) {
                if entry.tag.get() == HOLDER {
                    return true;
                }
                // Whether or not it still has the time: it tries again, or passes the wake-up on when it
                // enlists, since the holder sees both flags change at once.
                woken = WOKEN;
                wait.as_mut().map(Wait::lose);
                spin = Spin::new();
                continue;
            }
            self.withdraw(&entry);
            match patience.after(outcome) {
                Some(other) => patience = other,
                None => return false,
            }
        }
    }

    /// Takes a waiter out that has given up.
    fn withdraw(&self, entry: &Entry) {
        let mut waiters = self.waiters.lock();
        waiters.list.remove(entry);
        if waiters.list.is_empty() {
            self.state.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    fn is_woken_one_late(&self) -> bool {
        self.passes.is_time_to_look() && self.waiters.lock().woken_at.is_some_and(is_late)
    }

    #[cold]
    fn release_contended(&self, fairly: bool) {
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if state & (WAITING | WOKEN) != WAITING {
                let reserve = state & WOKEN != 0 && (fairly || self.is_woken_one_late());
                let left = if reserve { state | RESERVED } else { state & !LOCKED };
                let release = Ordering::Release;
                if self.state.compare_exchange(state, left, release, Ordering::Relaxed).is_ok() {
                    return;
                }
                continue;
            }
            let mut waiters = self.waiters.lock();
            // Stable from here on, see the module docs.
            let state = self.state.load(Ordering::Relaxed);
            let chosen = waiters.list.claim_first();
            let left = if waiters.list.is_empty() { state & !WAITING } else { state };
            let Some(chosen) = chosen else {
                // All have given up. One who enlists after this keeps the next attempt from succeeding.
                self.state.store(left, Ordering::Relaxed);
                continue;
            };
            // SAFETY: claimed and not yet woken.
            if fairly || unsafe { Wait::is_starving(chosen.entry()) } {
                self.state.store(left, Ordering::Relaxed);
                chosen.entry().tag.set(HOLDER);
                // The lock is the sleeper's already, so it stays at least until the wake-up.
                drop(waiters);
            } else {
                self.state.store(left | WOKEN, Ordering::Relaxed);
                self.passes.reset();
                waiters.woken_at = Some(Instant::now());
                drop(waiters);
                // The last access.
                self.state.fetch_and(!LOCKED, Ordering::Release);
            }
            chosen.wake();
            return;
        }
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex").field("locked", &self.is_held()).finish_non_exhaustive()
    }
}
