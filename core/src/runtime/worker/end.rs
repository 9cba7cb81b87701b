//! A worker's part in the end of its runtime: unwinding what is suspended here, then leaving.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Worker;
use crate::claim::Outcome;
use crate::routine::cell::{Cancel, Link, Parked};
use crate::runtime::shared::{Leftover, Phase};
use crate::stack::overflow::AltStack;

/// How long destructors may wait for what may come from outside, when some of the runtime's routines are frozen.
const STANDSTILL: Duration = Duration::from_secs(3);

impl Worker {
    /// Starts to unwind what is suspended here, once the runtime is shut down by force.
    pub(super) fn notice_phase(&self) {
        if self.canceling.get() || self.shared.phase() < Phase::Canceling {
            return;
        }
        self.canceling.set(true);
        let mut next = self.newest.get();
        while let Some(link) = next {
            next = link.at_home().older.get();
            link.at_home().cancel.set(Cancel::Requested(0));
            self.note_leftover(link, false);
            self.end_wait(link, Outcome::CANCELED);
        }
        while let Some(link) = self.steal_unstarted() {
            self.make_ready(link);
        }
    }

    /// Unstarted routines that nobody would look for in the searching order any more.
    pub(super) fn steal_unstarted(&self) -> Option<Link> {
        loop {
            match self.shared.injector.steal() {
                crossbeam_deque::Steal::Success(link) => return Some(link),
                crossbeam_deque::Steal::Empty => return self.oldest_fresh(),
                crossbeam_deque::Steal::Retry => {}
            }
        }
    }

    pub(super) fn note_leftover(&self, link: Link, frozen: bool) {
        self.shared.leftovers.lock().push(Leftover {
            id: link.identity.id,
            name: link.identity.name.as_deref().map(str::to_owned),
            spawned_at: link.identity.spawned_at,
            reason: link.at_home().reason.get(),
            frozen,
        });
    }

    /// Leaves a routine suspended for ever that does not let itself be unwound.
    pub(super) fn freeze(&self, link: Link) {
        self.delist(link);
        self.shared.frozen.fetch_add(1, Ordering::SeqCst);
        self.frozen_here.set(true);
        let mut leftovers = self.shared.leftovers.lock();
        if let Some(leftover) =
            leftovers.iter_mut().find(|leftover| leftover.id == link.identity.id)
        {
            leftover.frozen = true;
        }
        drop(leftovers);
        // SAFETY: it was suspended here, and who owns its link keeps it for ever: nobody resumes it.
        unsafe { link.abandon() };
    }

    /// Whether nobody that is left will ever go on, some being frozen.
    ///
    /// The end of a scope can only come from a routine. What a destructor waits for, a lock say, may
    /// come from elsewhere, so it gets some time.
    pub(super) fn is_deadlocked(&self) -> bool {
        let before = self.standstill.take();
        if self.shared.only_scopes_wait() {
            return true;
        }
        let Some(finished) = self.shared.all_wait_steadfastly() else { return false };
        let since = match before {
            Some((since, then)) if then == finished => since,
            _ => Instant::now(),
        };
        self.standstill.set(Some((since, finished)));
        since.elapsed() > STANDSTILL
    }

    /// Gives up on routines that wait, whatever happens, for others, of which some are frozen.
    ///
    /// They would hold the shutdown up for ever, and to unwind them would end what others borrow.
    pub(super) fn freeze_steadfast(&self) {
        let mut next = self.newest.get();
        while let Some(link) = next {
            next = link.at_home().older.get();
            let reason = link.at_home().reason.get();
            if let Parked::Steadfast(claim) = link.at_home().parked.get()
                && !reason.ends_by_itself()
                // SAFETY: the claim lies on the stack of the parked routine. Who wins it owns the link;
                // and nobody wakes the routine after this.
                && unsafe { claim.as_ref() }.claim(Outcome::CANCELED)
            {
                self.freeze(link);
                self.counters().unparked[reason as usize].add(1);
                self.counters().steadfast.subtract(1);
                self.counters().finished.add(1);
            }
        }
    }

    /// The end of the worker's thread.
    pub(super) fn leave(self, alt_stack: AltStack) {
        let Self { shared, io, timer, frozen_here, index, .. } = self;
        // Drivers may be anybody's. What a panic of theirs leaves undone is not waited for.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((io, timer))));
        if frozen_here.get() {
            shared.frozen_workers.lock().push(index);
        } else {
            drop(alt_stack);
        }
        if shared.workers_alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Ends the threads of the backend, which handles must not keep; nobody else does if the runtime
            // was dropped in one of its own routines.
            let backend = shared.io.lock().take();
            drop(backend);
            shared.stopped.set();
        }
        // Ending the thread would run the destructors of thread-locals under the frozen routines.
        while frozen_here.get() {
            std::thread::park();
        }
    }
}
