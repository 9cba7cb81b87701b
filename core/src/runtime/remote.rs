//! The part of a worker that other threads may touch.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_deque::Stealer;
use parking_lot::Mutex;

use super::inbox::{Inbox, Sleeper};
use super::metrics::Counters;
use super::thread::Thread;
use super::worker::Worker;
use crate::driver::DriverWaker;
use crate::routine::cell::{Header, Identity, Link};

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Remote {
    inbox: Inbox<Header>,
    /// Ends the worker's sleep. Set before the worker first sleeps.
    waker: OnceLock<Arc<dyn DriverWaker>>,
    /// Set with the waker.
    thread: OnceLock<Thread>,
    pub(crate) fresh: Stealer<Link>,
    /// One more than the index of the worker that last stole from `fresh`, until this one has noticed.
    pub(crate) raider: AtomicUsize,
    /// Held by who divides `fresh`: its worker to give some away, or a thief. So they do not both, and whoever comes second
    /// knows what the first one did.
    pub(crate) division: Mutex<()>,
    /// One more than the index of the worker that last stole the only one from `fresh`, until this one has noticed, as it
    /// spawns.
    pub(crate) outpaced: AtomicUsize,
    /// Whether what is in `fresh` was handed over, to be started here.
    pub(crate) placed: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) running: Running,
}

/// What a worker runs, for the monitor.
#[derive(Debug, Default)]
pub(crate) struct Running {
    spawned_at: AtomicPtr<Location<'static>>,
    id: AtomicU64,
    /// Points into the running routine. The worker takes it out under the lock before the routine can
    /// go, so a reader that holds the lock may look.
    name: Mutex<Option<NamePtr>>,
}

#[derive(Clone, Copy, Debug)]
struct NamePtr(*const str);

// SAFETY: read under the lock that keeps its target alive.
unsafe impl Send for NamePtr {}

impl Running {
    /// Notes what runs. Called before each switch, so it must be cheap: two relaxed stores, and a lock
    /// that nobody wants for routines with a name.
    pub(crate) fn enter(&self, identity: &Identity) {
        self.spawned_at.store(ptr::from_ref(identity.spawned_at).cast_mut(), Ordering::Relaxed);
        self.id.store(identity.id.0, Ordering::Relaxed);
        if let Some(name) = &identity.name {
            *self.name.lock() = Some(NamePtr(&raw const **name));
        }
    }

    /// Forgets the name of what ran.
    pub(crate) fn leave(&self, identity: &Identity) {
        if identity.name.is_some() {
            *self.name.lock() = None;
        }
    }

    /// Nothing runs.
    pub(crate) fn rest(&self) {
        self.spawned_at.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Where the running routine was spawned.
    pub(crate) fn spawned_at(&self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or made from a static reference.
        unsafe { self.spawned_at.load(Ordering::Relaxed).as_ref() }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> Option<String> {
        // SAFETY: the worker has not taken it out, so the routine is still there.
        self.name.lock().as_ref().map(|name| unsafe { (*name.0).to_owned() })
    }
}

impl Remote {
    pub(crate) fn new(fresh: Stealer<Link>) -> Self {
        Self {
            inbox: Inbox::new(),
            waker: OnceLock::new(),
            thread: OnceLock::new(),
            fresh,
            raider: AtomicUsize::new(0),
            division: Mutex::new(()),
            outpaced: AtomicUsize::new(0),
            placed: AtomicBool::new(false),
            counters: Counters::default(),
            running: Running::default(),
        }
    }

    /// How many routines the worker has started that have not ended.
    pub(crate) fn live(&self) -> u64 {
        // In this order, so that it is never less than none.
        let finished = self.counters.finished.value();
        self.counters.started.value() - finished
    }

    /// Whether the worker has nothing to run.
    pub(crate) fn is_resting(&self) -> bool {
        self.running.spawned_at().is_none()
    }

    /// How many of the worker's routines that can run do not, now, apart from those in its inbox.
    pub(crate) fn waiting(&self) -> u64 {
        let runs = u64::from(!self.is_resting());
        self.counters.runnable.value().saturating_sub(runs)
    }

    pub(crate) fn inbox(&self) -> &Inbox<Header> {
        &self.inbox
    }

    /// The worker's thread, once it has begun.
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.thread.get().copied()
    }

    /// Says how to end the worker's sleep, and whose it is. Called once, by the worker, before it sleeps.
    pub(crate) fn set_waker(&self, waker: Arc<dyn DriverWaker>) {
        let _ = self.thread.set(Thread::current());
        let first = self.waker.set(waker).is_ok();
        debug_assert!(first, "a worker has one driver");
    }

    /// Sends the worker a routine: one of its own to resume, or one that has not started.
    pub(crate) fn send(&self, link: Link) {
        self.send_chain(link, link);
    }

    /// Sends the routines linked from `first` (newest) to `last` (oldest).
    pub(crate) fn send_chain(&self, first: Link, last: Link) {
        // SAFETY: links are owned by their holder. The inbox is valid until the push: a routine on its
        // way keeps its worker, and a worker its runtime; the waker is cloned before, see `Inbox`.
        unsafe {
            self.inbox.push(first.as_ptr(), last.as_ptr(), || {
                Worker::with_current(Worker::keep_seat);
                let waker = self.waker.get().cloned();
                move || {
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            });
        }
    }

    /// Makes the worker look around.
    pub(crate) fn poke(&self) {
        if self.inbox.poke() == Sleeper::Asleep
            && let Some(waker) = self.waker.get()
        {
            Worker::with_current(Worker::keep_seat);
            waker.wake();
        }
    }
}
