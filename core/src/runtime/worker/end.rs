//! A worker's part in the end of its runtime: unwinding what is suspended here, then leaving.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Worker;
use crate::claim::Outcome;
use crate::routine::cell::{Cancel, Link, Parked};
use crate::runtime::dump::RoutineState;
use crate::runtime::shared::{Leftover, Phase};
use crate::stack::overflow::AltStack;
use crate::unwinding::MOST;

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
            self.cancel(link);
            self.end_wait(link, Outcome::CANCELED);
        }
        while let Some(link) = self.steal_unstarted() {
            self.make_ready(link);
        }
    }

    /// Has the routine that runs on this thread unwind at its next checkpoint, if its runtime shuts down by force: for one
    /// that may not be suspended, so that its worker has no occasion to notice.
    #[cold]
    pub(crate) fn cancel_running() {
        Self::with_current(|worker| {
            if let Some(link) = worker.current.get()
                && worker.shared.phase() >= Phase::Canceling
            {
                worker.cancel(link);
            }
        });
    }

    /// Has a routine unwind at its next checkpoint.
    #[cold]
    pub(super) fn cancel(&self, link: Link) {
        if link.at_home().cancel.get() == Cancel::No {
            link.at_home().cancel.set(Cancel::Requested(0));
            self.note_leftover(link, false);
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

    fn note_leftover(&self, link: Link, frozen: bool) {
        let routine = state(link);
        self.shared.leftovers.lock().push(Leftover { routine, frozen });
    }

    /// Tells those who have asked what is suspended here.
    #[cold]
    pub(super) fn answer_questions(&self) {
        for answers in self.shared.questions.since(&self.answered) {
            let mut routines = Vec::new();
            let mut next = self.newest.get();
            while let Some(link) = next {
                next = link.at_home().older.get();
                routines.push(state(link));
            }
            // Fails if the answer is no longer waited for.
            let _ = answers.send((self.index, routines));
        }
    }

    /// Leaves a routine suspended for ever that does not let itself be unwound.
    pub(super) fn freeze(&self, link: Link) {
        self.delist(link);
        self.shared.frozen.fetch_add(1, Ordering::SeqCst);
        self.frozen_here.set(true);
        let mut leftovers = self.shared.leftovers.lock();
        if let Some(leftover) =
            leftovers.iter_mut().find(|leftover| leftover.routine.id == link.identity.id)
        {
            leftover.frozen = true;
            drop(leftovers);
        } else {
            drop(leftovers);
            self.note_leftover(link, true);
        }
        // SAFETY: it was suspended here, and who owns its link keeps it for ever: nobody resumes it.
        unsafe { link.abandon() };
    }

    /// Gives up on destructors that wait, whatever happens, for others, of which some are frozen: if nothing has
    /// happened for some time, for what they wait for, a lock say, may come from elsewhere.
    ///
    /// Each freezes itself when it looks next.
    pub(super) fn give_up_on_destructors(&self) {
        let Some(progress) = self.shared.all_wait_steadfastly() else { return };
        let since = match self.standstill.get() {
            Some((since, then)) if then == progress => since,
            _ => Instant::now(),
        };
        self.standstill.set(Some((since, progress)));
        if since.elapsed() <= STANDSTILL {
            return;
        }
        let mut next = self.newest.get();
        while let Some(link) = next {
            let home = link.at_home();
            next = home.older.get();
            // Who does not look waits for the end of a scope, or for one who is about to say what he sends.
            let looks = home.timer.get().is_some();
            if let Parked::Steadfast(_) = home.parked.get()
                && looks
                && !home.reason.get().ends_by_itself()
            {
                home.cancel.set(Cancel::Requested(MOST));
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
        shared.note_worker_left();
        // Ending the thread would run the destructors of thread-locals under the frozen routines.
        while frozen_here.get() {
            std::thread::park();
        }
    }
}

/// What a routine of this worker does.
fn state(link: Link) -> RoutineState {
    RoutineState {
        id: link.identity.id,
        name: link.identity.name.as_deref().map(str::to_owned),
        spawned_at: link.identity.spawned_at,
        reason: link.at_home().reason.get(),
    }
}
