//! How many jobs wait and what the threads do, in one word.
//!
//! A thread is *idle* (parked), *searching* (awake, without a job) or busy (neither). The pool hangs
//! exactly if a job stays queued while nobody will look for it, so every transition keeps
//!
//! > `queued <= searching`, or nobody is idle and no further thread can be had
//!
//! and a busy thread always becomes a searching one, which cannot park while anything is queued. A
//! job counts as queued from before it can be found until after it was taken, so a searching thread
//! may find less than the count says and looks again; it never finds more. A job that is handed to a thread
//! is never queued: the thread is busy from the step that finds it.
//!
//! Four fields of one atomic word rather than a lock around them: with the pool at its limit (all
//! busy), which is when it matters, handing over a job and taking one is one atomic operation each.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits per count of threads.
const THREAD_BITS: u32 = 12;

/// The most threads that can be counted.
pub(crate) const THREADS_MAX: usize = (1 << THREAD_BITS) - 1;

const ALIVE: u64 = 1;
const IDLE: u64 = 1 << THREAD_BITS;
const SEARCHING: u64 = 1 << (2 * THREAD_BITS);
/// What is neither idle nor searching is not counted a second time.
#[cfg(feature = "pool")]
const BUSY: u64 = 0;
/// The topmost field, with 28 bits: an operation for each of them would fill gigabytes of stacks.
const QUEUED: u64 = 1 << (3 * THREAD_BITS);

/// A consistent view of the counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    fn threads(self, unit: u64) -> usize {
        (self.0 / unit) as usize & THREADS_MAX
    }

    pub(crate) fn alive(self) -> usize {
        self.threads(ALIVE)
    }

    pub(crate) fn queued(self) -> usize {
        (self.0 / QUEUED) as usize
    }

    fn idle(self) -> usize {
        self.threads(IDLE)
    }

    fn searching(self) -> usize {
        self.threads(SEARCHING)
    }
}

/// Where a thread for a job comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Recruit {
    /// Enough threads are searching already.
    Enough,
    /// An idle one has been counted as no longer idle; the caller wakes it.
    Wake,
    /// A new one has been counted; the caller starts it.
    Start,
    /// All are busy; what is queued, one of them will take.
    Full,
}

/// See the [module docs](self).
#[derive(Debug, Default)]
pub(crate) struct Counts(AtomicU64);

impl Counts {
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// A job is about to be queued.
    pub(crate) fn queue(&self) {
        self.0.fetch_add(QUEUED, Ordering::AcqRel);
    }

    /// A job was taken out by somebody who is not a thread of the pool, or never got in.
    pub(crate) fn unqueue(&self) {
        self.0.fetch_sub(QUEUED, Ordering::AcqRel);
    }

    /// Calls for one more thread to search if more jobs are queued than threads are searching.
    pub(crate) fn recruit(&self, limit: usize) -> Recruit {
        self.call(limit, SEARCHING, |now| now.queued() <= now.searching())
    }

    /// Calls for a thread that is busy from now on, with a job that is not queued.
    #[cfg(feature = "pool")]
    pub(crate) fn hire(&self, limit: usize) -> Recruit {
        self.call(limit, BUSY, |_| false)
    }

    fn call(&self, limit: usize, to: u64, enough: impl Fn(Snapshot) -> bool) -> Recruit {
        let mut recruit = Recruit::Full;
        // Acquire and release by habit of the whole word: the jobs travel by other ways.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let now = Snapshot(word);
            let change;
            (recruit, change) = if enough(now) {
                (Recruit::Enough, None)
            } else if now.idle() > 0 {
                (Recruit::Wake, Some(word - IDLE + to))
            } else if now.alive() < limit {
                (Recruit::Start, Some(word + ALIVE + to))
            } else {
                (Recruit::Full, None)
            };
            change
        });
        recruit
    }

    /// The thread that a [recruit](Self::recruit) was to be could not be started. Says how many are alive.
    pub(crate) fn not_recruited(&self) -> usize {
        Snapshot(self.0.fetch_sub(ALIVE + SEARCHING, Ordering::AcqRel)).alive() - 1
    }

    /// The same of one that was [hired](Self::hire).
    #[cfg(feature = "pool")]
    pub(crate) fn not_hired(&self) -> usize {
        Snapshot(self.0.fetch_sub(ALIVE + BUSY, Ordering::AcqRel)).alive() - 1
    }

    /// A searching thread has taken a job and is busy.
    pub(crate) fn take(&self) {
        self.0.fetch_sub(QUEUED + SEARCHING, Ordering::AcqRel);
    }

    /// A busy thread is done and searches again.
    pub(crate) fn search(&self) {
        self.0.fetch_add(SEARCHING, Ordering::AcqRel);
    }

    /// A searching thread becomes idle, unless something is queued.
    #[must_use]
    pub(crate) fn park(&self) -> bool {
        self.change(|now| now.queued() == 0, |word| word - SEARCHING + IDLE)
    }

    /// An idle thread leaves for good, unless as many have been [called](Recruit::Wake) as are
    /// parked: then one of the wake-ups under way is for this one.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        self.change(|now| now.idle() > 0, |word| word - IDLE - ALIVE)
    }

    fn change(&self, allowed: impl Fn(Snapshot) -> bool, change: impl Fn(u64) -> u64) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                allowed(Snapshot(word)).then(|| change(word))
            })
            .is_ok()
    }
}
