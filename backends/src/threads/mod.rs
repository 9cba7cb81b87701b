//! Pools of threads for work that blocks. Each backend has a [`Crew`] of two: one for files that are not cached,
//! name look-ups and the like, and one for closures.
//!
//! Threads are started as jobs come, up to a limit; those that stay without work for [`IDLE_TIME`]
//! leave. [`Counts`] tells when a job needs a thread to be woken or started.
//!
//! # Where a job waits
//!
//! 1. A job that is [submitted](Threads::submit) waits in one queue for all threads, which take from it in the
//!    order in which it was filled. So no job waits while a thread is free, nor behind one that came later.
//! 2. A job that is [offered](Threads::offer) does not wait: it goes with the wake-up of an idle thread, or is
//!    the first of a new one, or comes back. So what is accepted runs however long the jobs are that hold the
//!    other threads or are queued.
//!
//! Rejected: deques of the threads' own, filled a few jobs at a time. With all threads busy they would meet at
//! the queue less often, but a job in the deque of a thread that is held by a long one would be overtaken by
//! whatever came later, for as long as that lasts, and be missed by those that it is to let go on. Rejected:
//! queueing an offered job when some thread searches. That thread may take any other job.
//!
//! # When no thread can be had
//!
//! 1. While at least one thread lives, a job that found no thread stays queued: a busy thread looks
//!    again before it parks.
//! 2. Where none lives and none can be started, the job comes back to the caller with the error.
//! 3. Two callers may count on each other's new threads. The one whose failure leaves no thread at all
//!    therefore also [fails](Job::fail) what the others have queued meanwhile.
//!
//! # The end
//!
//! [`Threads::shut_down`] joins every thread ever started. One that leaves by itself joins the one that
//! left before it and leaves its own handle to the next.

mod counts;
mod crew;
#[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
mod shared_crew;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_deque::{Injector, Steal};
use crossbeam_utils::Backoff;
use parking_lot::{Condvar, Mutex};
use rust_routines_core::driver::{IoConfig, PoolMetrics, spawn_thread};

use self::counts::{Counts, Recruit, THREADS_MAX};
pub(crate) use self::crew::Crew;
#[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
pub(crate) use self::shared_crew::SharedCrew;

/// How long a thread waits for work before it leaves. Starting one costs some 50 µs, an idle one a
/// few pages: long enough that regular bursts find their threads again, short enough that a server's
/// start-up does not cost memory for ever.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// What the threads run.
pub(crate) trait Job: Send + 'static {
    /// Does the work. Must not unwind; the process is aborted if it does.
    fn run(self);

    /// There is no thread to run it, for the given reason.
    fn fail(self, error: io::Error);
}

/// See the [module docs](self).
pub(crate) struct Threads<J> {
    counts: Counts,
    injector: Injector<J>,
    roster: Mutex<Roster<J>>,
    /// Where idle threads wait, with the roster's lock.
    permitted: Condvar,
    limit: usize,
    idle_time: Duration,
    name: String,
    handed_over: AtomicU64,
}

/// What is only touched when threads come, park and go.
struct Roster<J> {
    /// What was granted to idle and new threads, and not yet taken by one.
    permits: VecDeque<Permit<J>>,
    stopping: bool,
    peak: usize,
    started: usize,
    handles: HashMap<usize, JoinHandle<()>>,
    /// The thread that left last, by itself.
    left: Option<JoinHandle<()>>,
}

/// Has a thread go on that was counted as idle or is new: with a job of its own, or to search for one.
struct Permit<J>(Option<J>);

impl<J> fmt::Debug for Threads<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("counts", &self.counts.load())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<J: Job> Threads<J> {
    /// A pool without any thread yet. Their names say of what `kind` they are.
    fn new(config: &IoConfig, kind: &str) -> Self {
        Self {
            counts: Counts::default(),
            injector: Injector::new(),
            roster: Mutex::new(Roster {
                permits: VecDeque::new(),
                stopping: false,
                peak: 0,
                started: 0,
                handles: HashMap::new(),
                left: None,
            }),
            permitted: Condvar::new(),
            limit: config.pool_threads.clamp(1, THREADS_MAX),
            idle_time: IDLE_TIME,
            name: format!("{}-{kind}", config.thread_name),
            handed_over: AtomicU64::new(0),
        }
    }

    /// Queues a job, and wakes or starts a thread for it where that is needed.
    ///
    /// # Errors
    ///
    /// The job comes back if the pool has no thread and none can be started.
    pub(crate) fn submit(self: &Arc<Self>, job: J) -> Result<(), (J, io::Error)> {
        self.counts.queue();
        let recruit = self.counts.recruit(self.limit);
        if let Err(error) = self.permit(recruit, &mut None)
            && self.counts.not_recruited() == 0
        {
            self.counts.unqueue();
            self.abandon(&error);
            return Err((job, no_thread(&error)));
        }
        self.injector.push(job);
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a job to a thread that does nothing else, or is started. It comes back if all are busy.
    #[cfg(feature = "pool")]
    pub(crate) fn offer(self: &Arc<Self>, job: J) -> Result<(), J> {
        let mut job = Some(job);
        let hire = self.counts.hire(self.limit);
        if let Err(error) = self.permit(hire, &mut job)
            && self.counts.not_hired() == 0
        {
            self.abandon(&error);
        }
        match job {
            Some(job) => Err(job),
            None => {
                self.handed_over.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// The state of the pool.
    pub(crate) fn metrics(&self) -> PoolMetrics {
        let counts = self.counts.load();
        let mut metrics = PoolMetrics::default();
        metrics.threads = counts.alive();
        metrics.threads_peak = self.roster.lock().peak;
        metrics.queued = counts.queued();
        metrics.handed_over = self.handed_over.load(Ordering::Relaxed);
        metrics
    }

    /// Lets the threads finish what is queued and joins them. Nothing may be submitted any more.
    pub(crate) fn shut_down(&self) {
        let mut roster = self.roster.lock();
        roster.stopping = true;
        self.permitted.notify_all();
        let handles = mem::take(&mut roster.handles).into_values().chain(roster.left.take());
        drop(roster);
        for handle in handles {
            // A thread that panics aborts the process, so there is no other outcome.
            let _ = handle.join();
        }
    }

    /// Has the thread go on that was called for, if any. It gets the `job`, or is to search.
    fn permit(self: &Arc<Self>, recruit: Recruit, job: &mut Option<J>) -> io::Result<()> {
        match recruit {
            Recruit::Enough | Recruit::Full => {}
            Recruit::Wake => {
                self.roster.lock().permits.push_back(Permit(job.take()));
                self.permitted.notify_one();
            }
            Recruit::Start => {
                let mut roster = self.roster.lock();
                let number = roster.started;
                let threads = Arc::clone(self);
                let name = format!("{}-{number}", self.name);
                let handle = match spawn_thread(name, move || threads.main(number)) {
                    Ok(handle) => handle,
                    Err(error) => {
                        // Who hears of it may ask for the pool's metrics.
                        drop(roster);
                        tracing::warn!(%error, "cannot start a thread for blocking I/O");
                        return Err(error);
                    }
                };
                // Taken by this thread, or by another that parks meanwhile and has this one park instead.
                roster.permits.push_back(Permit(job.take()));
                roster.started += 1;
                roster.handles.insert(number, handle);
                roster.peak = roster.peak.max(self.counts.load().alive());
            }
        }
        Ok(())
    }

    /// Fails the jobs that were queued by callers who counted on the thread that could not be started.
    ///
    /// They may still be between counting and pushing, hence the loop; it ends when their jobs are
    /// gone, or when one of them has got a thread after all.
    fn abandon(&self, error: &io::Error) {
        let backoff = Backoff::new();
        loop {
            let counts = self.counts.load();
            if counts.alive() > 0 || counts.queued() == 0 {
                return;
            }
            match self.injector.steal() {
                Steal::Success(job) => {
                    self.counts.unqueue();
                    job.fail(no_thread(error));
                }
                Steal::Empty | Steal::Retry => backoff.snooze(),
            }
        }
    }

    fn main(&self, number: usize) {
        let abort = AbortOnUnwind;
        while let Some(Permit(job)) = self.park(number) {
            let mut next = job.or_else(|| self.search());
            while let Some(job) = next {
                job.run();
                self.counts.search();
                next = self.search();
            }
        }
        mem::forget(abort);
    }

    /// Takes a job to run, or returns `None` when there is none and this thread has been counted as idle.
    fn search(&self) -> Option<J> {
        let backoff = Backoff::new();
        loop {
            match self.injector.steal() {
                Steal::Success(job) => {
                    self.counts.take();
                    return Some(job);
                }
                Steal::Retry => {}
                Steal::Empty if self.counts.park() => return None,
                Steal::Empty => backoff.snooze(),
            }
        }
    }

    /// Waits as an idle thread for a permit. `None`: the thread has left.
    fn park(&self, number: usize) -> Option<Permit<J>> {
        let mut roster = self.roster.lock();
        loop {
            if let Some(permit) = roster.permits.pop_front() {
                if roster.stopping {
                    // It may have been meant for one that waits below.
                    self.permitted.notify_all();
                }
                return Some(permit);
            }
            let timed_out = !roster.stopping
                && self.permitted.wait_for(&mut roster, self.idle_time).timed_out();
            if !roster.permits.is_empty() || !(timed_out || roster.stopping) {
                continue;
            }
            if self.counts.leave() {
                break;
            }
            if roster.stopping {
                // A wake-up for this thread is on its way and needs the lock.
                self.permitted.wait(&mut roster);
            }
        }
        // At shutdown the handle is gone: somebody else joins this thread.
        let predecessor = match roster.handles.remove(&number) {
            Some(handle) => roster.left.replace(handle),
            None => None,
        };
        drop(roster);
        if let Some(predecessor) = predecessor {
            let _ = predecessor.join();
        }
        None
    }
}

/// Ends the process where unwinding would leave an operation unfinished for ever.
pub(crate) struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// What a job gets for which there is no thread. Not an error of the same kind, which would be that of an operation
/// to be tried again.
fn no_thread(error: &io::Error) -> io::Error {
    io::Error::other(format!("no thread for blocking I/O can be started: {error}"))
}
