//! Who sleeps, who searches, and whom to wake for new work.
//!
//! Wake-ups of a particular routine go to its worker's [inbox](super::inbox). This file is about work
//! that any worker could take: unstarted routines.
//!
//! # Protocol
//!
//! `state` counts the workers that search for work and those that sleep. A sleeper also stands in
//! `sleepers`, from which whoever wants to wake one takes it.
//!
//! 1. *New work*: make it visible, fence, read `state`. If nobody searches and somebody sleeps, take a
//!    sleeper, count it as searching, and poke its inbox. One searcher is enough; if it finds work,
//!    it calls the next (point 3).
//! 2. *Going to sleep*: stand in `sleepers`, stop counting as searching, count as sleeping, fence, look
//!    for visible work once more. Together with point 1 this is Dekker's argument: either the new work
//!    is seen here, or the sleeper is seen there. Only then does the worker prepare its inbox and
//!    sleep in its driver; a poke in between is kept by the inbox.
//! 3. *Waking*: a worker that was taken from `sleepers` counts as searching already. The last searcher
//!    that finds something calls another sleeper, since there may be more.
//!
//! After rayon's `sleep` module and Go's `wakep`/`resetspinning`, reduced to what workers need that
//! sleep in their own drivers.

use crate::primitive::{AtomicUsize, Mutex, Ordering, fence};

/// How the two counts share the word: sleeping workers above, searching ones below.
const SLEEPING: usize = 1 << 16;
const SEARCHING: usize = 1;

fn searching(state: usize) -> usize {
    state & (SLEEPING - 1)
}

fn sleeping(state: usize) -> usize {
    state / SLEEPING
}

/// The most workers that the two half-words can count.
pub(crate) const MOST_WORKERS: usize = SLEEPING - 1;

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Idle {
    state: AtomicUsize,
    sleepers: Mutex<Vec<usize>>,
    most_searching: usize,
}

/// Whether a worker counts as searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// It does, and owes a [`Idle::stop_search`] or [`Idle::sleep`].
    On,
    /// It does not.
    Off,
}

impl Idle {
    /// Nobody is idle among `workers` workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            state: AtomicUsize::new(0),
            sleepers: Mutex::new(Vec::with_capacity(workers)),
            // More than half of the workers searching would only fight over the same queues.
            most_searching: workers.div_ceil(2),
        }
    }

    /// Workers asleep.
    pub(crate) fn sleeping(&self) -> usize {
        sleeping(self.state.load(Ordering::SeqCst))
    }

    /// Takes a sleeper that is to be woken because new work is visible, if one is needed.
    pub(crate) fn call_sleeper(&self) -> Option<usize> {
        // Partner of the fence in `sleep`.
        fence(Ordering::SeqCst);
        let state = self.state.load(Ordering::Relaxed);
        if searching(state) > 0 || sleeping(state) == 0 {
            return None;
        }
        let mut sleepers = self.sleepers.lock();
        if searching(self.state.load(Ordering::Relaxed)) > 0 {
            return None;
        }
        let worker = sleepers.pop()?;
        self.state.fetch_sub(SLEEPING - SEARCHING, Ordering::SeqCst);
        Some(worker)
    }

    /// Takes a particular kind of sleeper, whether or not somebody searches: for work that is handed
    /// to it directly.
    pub(crate) fn take_sleeper(&self) -> Option<usize> {
        if self.sleeping() == 0 {
            return None;
        }
        let mut sleepers = self.sleepers.lock();
        let worker = sleepers.pop()?;
        self.state.fetch_sub(SLEEPING - SEARCHING, Ordering::SeqCst);
        Some(worker)
    }

    /// Starts to search, unless enough others do.
    #[must_use]
    pub(crate) fn start_search(&self) -> Search {
        let state = self.state.load(Ordering::Relaxed);
        if searching(state) >= self.most_searching {
            return Search::Off;
        }
        self.state.fetch_add(SEARCHING, Ordering::SeqCst);
        Search::On
    }

    /// Ends a search that found something. `true` for the last searcher, which must then call another
    /// sleeper.
    #[must_use]
    pub(crate) fn stop_search(&self) -> bool {
        searching(self.state.fetch_sub(SEARCHING, Ordering::SeqCst)) == SEARCHING
    }

    /// Announces that `worker` goes to sleep. It must then look for visible work once more.
    pub(crate) fn sleep(&self, worker: usize, search: Search) {
        let mut sleepers = self.sleepers.lock();
        sleepers.push(worker);
        match search {
            Search::On => self.state.fetch_add(SLEEPING - SEARCHING, Ordering::SeqCst),
            Search::Off => self.state.fetch_add(SLEEPING, Ordering::SeqCst),
        };
        drop(sleepers);
        // Partner of the fence in `call_sleeper`.
        fence(Ordering::SeqCst);
    }

    /// Announces that `worker` is awake. `On` if somebody took it to search.
    #[must_use]
    pub(crate) fn rouse(&self, worker: usize) -> Search {
        let mut sleepers = self.sleepers.lock();
        match sleepers.iter().rposition(|&sleeper| sleeper == worker) {
            Some(index) => {
                sleepers.swap_remove(index);
                self.state.fetch_sub(SLEEPING, Ordering::SeqCst);
                Search::Off
            }
            None => Search::On,
        }
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::model;
    use loom::sync::{Arc, Condvar, Mutex as LoomMutex};

    struct World {
        idle: Idle,
        work: AtomicUsize,
        poked: (LoomMutex<bool>, Condvar),
    }

    fn world() -> Arc<World> {
        Arc::new(World {
            idle: Idle::new(2),
            work: AtomicUsize::new(0),
            poked: (LoomMutex::new(false), Condvar::new()),
        })
    }

    /// Fails (by loom's deadlock detection) if new work can be missed by a worker that lies down while
    /// its producer sees nobody asleep.
    #[test]
    fn loom_new_work_is_seen_or_wakes() {
        model(|| {
            let world = world();
            let producer = {
                let world = world.clone();
                loom::thread::spawn(move || {
                    world.work.store(1, Ordering::Relaxed);
                    if world.idle.call_sleeper().is_some() {
                        *world.poked.0.lock().unwrap() = true;
                        world.poked.1.notify_one();
                    }
                })
            };
            let search = world.idle.start_search();
            world.idle.sleep(0, search);
            if world.work.load(Ordering::Relaxed) == 0 {
                let mut poked = world.poked.0.lock().unwrap();
                while !*poked {
                    poked = world.poked.1.wait(poked).unwrap();
                }
            }
            let _ = world.idle.rouse(0);
            assert_eq!(world.work.load(Ordering::Relaxed), 1);
            producer.join().unwrap();
        });
    }
}
