//! A pool of threads for work that blocks: files that are not cached, name look-ups, closures.
//!
//! Threads are started as jobs come, up to a limit; those that stay without work for [`IDLE_TIME`]
//! leave. [`Counts`] tells when a job needs a thread to be woken or started.
//!
//! # Where a job waits
//!
//! A job is pushed to the injector. A thread that is looking takes a few from there into its own
//! deque, so that with all threads busy they do not meet at the injector for every job; whoever runs
//! out of work steals from those deques, so a job never waits behind a long one while a thread is
//! free.
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
#[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
mod crew;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_deque::{Injector, Steal, Stealer, Worker};
use crossbeam_utils::Backoff;
use parking_lot::{Condvar, Mutex, RwLock};
use rust_routines_core::driver::{IoConfig, PoolMetrics, spawn_thread};

use self::counts::{Counts, Recruit, THREADS_MAX};
#[cfg(any(feature = "mio", feature = "polling", feature = "uring"))]
pub(crate) use self::crew::Crew;

/// How long a thread waits for work before it leaves. Starting one costs some 50 µs, an idle one a
/// few pages: long enough that regular bursts find their threads again, short enough that a server's
/// start-up does not cost memory for ever.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How many jobs a thread takes from the injector at once. Few, since all but the first wait for a
/// thread that is about to be busy, and stealing them back costs as much as batching saved.
const BATCH: usize = 4;

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
    /// The deques of all threads, by the threads' numbers.
    stealers: RwLock<Vec<(usize, Stealer<J>)>>,
    roster: Mutex<Roster>,
    /// Where idle threads wait, with the roster's lock.
    permitted: Condvar,
    limit: usize,
    idle_time: Duration,
    name: String,
    handed_over: AtomicU64,
}

/// What is only touched when threads come, park and go.
#[derive(Default)]
struct Roster {
    /// Wake-ups that were granted to idle threads and not yet taken by one.
    permits: usize,
    stopping: bool,
    peak: usize,
    started: usize,
    handles: HashMap<usize, JoinHandle<()>>,
    /// The thread that left last, by itself.
    left: Option<JoinHandle<()>>,
}

impl<J> fmt::Debug for Threads<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("counts", &self.counts.load())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<J: Job> Threads<J> {
    /// A pool without any thread yet.
    pub(crate) fn new(config: &IoConfig) -> Self {
        Self {
            counts: Counts::default(),
            injector: Injector::new(),
            stealers: RwLock::new(Vec::new()),
            roster: Mutex::new(Roster::default()),
            permitted: Condvar::new(),
            limit: config.pool_threads.clamp(1, THREADS_MAX),
            idle_time: IDLE_TIME,
            name: config.thread_name.clone(),
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
        if let Err(error) = self.recruit() {
            self.counts.unqueue();
            self.abandon(&error);
            return Err((job, no_thread(&error)));
        }
        self.push(job);
        Ok(())
    }

    /// As [`submit`](Self::submit), but the job also comes back if it would have to wait for a thread
    /// that is busy.
    #[cfg(feature = "pool")]
    pub(crate) fn offer(self: &Arc<Self>, job: J) -> Result<(), J> {
        self.counts.queue();
        match self.recruit() {
            Ok(Found::Thread) => {
                self.push(job);
                Ok(())
            }
            Ok(Found::AllBusy) => {
                self.counts.unqueue();
                Err(job)
            }
            Err(error) => {
                self.counts.unqueue();
                self.abandon(&error);
                Err(job)
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

    fn push(&self, job: J) {
        self.injector.push(job);
        self.handed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Finds a thread for a job that was just counted. Fails if there is none at all.
    fn recruit(self: &Arc<Self>) -> io::Result<Found> {
        match self.counts.recruit(self.limit) {
            Recruit::Enough => Ok(Found::Thread),
            Recruit::Full => Ok(Found::AllBusy),
            Recruit::Wake => {
                self.roster.lock().permits += 1;
                self.permitted.notify_one();
                Ok(Found::Thread)
            }
            Recruit::Start => match self.start() {
                Ok(()) => Ok(Found::Thread),
                Err(error) => {
                    tracing::warn!(%error, "cannot start a thread for blocking I/O");
                    if self.counts.not_started() == 0 { Err(error) } else { Ok(Found::AllBusy) }
                }
            },
        }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let local = Worker::new_fifo();
        let stealer = local.stealer();
        let mut roster = self.roster.lock();
        let number = roster.started;
        let threads = Arc::clone(self);
        let name = format!("{}-io-{number}", self.name);
        let handle = spawn_thread(name, move || threads.main(number, &local))?;
        roster.started += 1;
        roster.handles.insert(number, handle);
        roster.peak = roster.peak.max(self.counts.load().alive());
        self.stealers.write().push((number, stealer));
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

    fn main(&self, number: usize, local: &Worker<J>) {
        let abort = AbortOnUnwind;
        loop {
            match self.search(number, local) {
                Some(job) => {
                    self.counts.take();
                    job.run();
                    self.counts.search();
                }
                None if self.park(number) => {}
                None => break,
            }
        }
        mem::forget(abort);
    }

    /// A job to run, or `None` when there is none and this thread has been counted as idle.
    fn search(&self, number: usize, local: &Worker<J>) -> Option<J> {
        let backoff = Backoff::new();
        loop {
            let job = local.pop().or_else(|| self.steal(number, local));
            if job.is_some() {
                return job;
            }
            if self.counts.park() {
                return None;
            }
            backoff.snooze();
        }
    }

    /// First from the injector, where the oldest jobs are; then from the threads after this one, so
    /// that thieves spread out.
    fn steal(&self, number: usize, local: &Worker<J>) -> Option<J> {
        loop {
            match self.injector.steal_batch_with_limit_and_pop(local, BATCH) {
                Steal::Success(job) => return Some(job),
                Steal::Empty => break,
                Steal::Retry => {}
            }
        }
        let stealers = self.stealers.read();
        let own = stealers.iter().position(|&(other, _)| other == number).unwrap_or(0);
        let (before, after) = stealers.split_at(own);
        after.iter().chain(before).find_map(|(_, stealer)| stealer.steal().success())
    }

    /// Waits as an idle thread. Says whether to search again; otherwise the thread has left.
    fn park(&self, number: usize) -> bool {
        let mut roster = self.roster.lock();
        loop {
            if roster.permits > 0 {
                roster.permits -= 1;
                if roster.stopping {
                    // It may have been meant for one that waits below.
                    self.permitted.notify_all();
                }
                return true;
            }
            let timed_out = !roster.stopping
                && self.permitted.wait_for(&mut roster, self.idle_time).timed_out();
            if roster.permits > 0 || !(timed_out || roster.stopping) {
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
        self.stealers.write().retain(|&(other, _)| other != number);
        // At shutdown the handle is gone: somebody else joins this thread.
        let predecessor = match roster.handles.remove(&number) {
            Some(handle) => roster.left.replace(handle),
            None => None,
        };
        drop(roster);
        if let Some(predecessor) = predecessor {
            let _ = predecessor.join();
        }
        false
    }
}

/// Who will run a job.
enum Found {
    /// A thread that is searching, or about to.
    Thread,
    /// The first thread that is done with what it does.
    AllBusy,
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
