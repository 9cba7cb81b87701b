//! One routine on its fiber, from switch to switch, and the commit step in between.

use std::ptr::NonNull;
use std::thread;

use super::Worker;
use crate::claim::Outcome;
use crate::driver::TimerKey;
use crate::park::{Commit, Request, WaitReason};
use crate::routine::cell::{Cancel, Ended, Link, Parked};
use crate::routine::fiber::{Fiber, Reuse, Suspend};
use crate::unwinding::Unwinding;

impl Worker {
    /// Runs a routine until it suspends or ends.
    pub(super) fn execute(&self, link: Link) {
        let counters = self.counters();
        counters.resumed.add(1);
        self.remote().running.enter(&link.identity);
        let suspended = if link.is_started() { self.resume(link) } else { self.start(link) };
        self.remote().running.leave(&link.identity);
        match suspended {
            Suspended::Yielded => return self.ready.push_yielded(link),
            Suspended::TurnOver => return self.ready.push_interrupted(link),
            Suspended::Waiting => {}
            Suspended::Ended => {
                counters.finished.add(1);
                match self.ended.get() {
                    Ended::Returned => {}
                    Ended::Panicked => counters.panicked.add(1),
                    Ended::Canceled => counters.canceled.add(1),
                }
                link.release();
            }
            // The routine keeps its link, its stack and its fiber for ever.
            Suspended::Frozen => {
                self.freeze(link);
                counters.finished.add(1);
            }
        }
        counters.runnable.subtract(1);
    }

    /// Starts a routine on a free fiber.
    pub(super) fn start(&self, link: Link) -> Suspended {
        link.settle(self.remote());
        self.counters().started.add(1);
        if self.canceling.get() {
            self.cancel(link);
        }
        let mut fiber = match link.at_home().own_stack.take() {
            Some(stack) => Fiber::new(stack, Reuse::Never),
            None => self.free_fiber(),
        };
        let suspended = self.drive(link, &mut fiber, Switch::Start);
        if suspended == Suspended::Ended {
            self.put_fiber(fiber);
        } else {
            // It stays: from now on it lies in the routine's own allocation.
            // SAFETY: the routine is suspended, and only its worker touches the fiber.
            unsafe { *link.at_home().fiber.get() = Some(fiber) };
            self.enlist(link);
        }
        suspended
    }

    /// Goes on with a routine that was suspended.
    pub(super) fn resume(&self, link: Link) -> Suspended {
        let home = link.at_home();
        let reason = home.reason.get();
        if reason != WaitReason::None {
            home.reason.set(WaitReason::None);
            home.parked.set(Parked::No);
            self.counters().unparked[reason as usize].add(1);
            if let Some((timer, key)) = home.timer.take() {
                self.timer.borrow_mut().cancel(timer);
                self.sleepers.borrow_mut().remove(key.0);
            }
        }
        // SAFETY: only the routine's worker touches its fiber, and the routine itself does not.
        let fiber = unsafe { &mut *home.fiber.get() };
        let Some(running) = fiber else { unreachable!("a suspended routine has a fiber") };
        let suspended = self.drive(link, running, Switch::Resume);
        if suspended == Suspended::Ended {
            self.delist(link);
            if let Some(fiber) = fiber.take() {
                self.put_fiber(fiber);
            }
        }
        suspended
    }

    /// Runs a routine on its fiber until it is suspended, other than for a look at its driver that had the
    /// answer at once.
    // Inlined, so that no return follows the switch, which the processor would guess wrong: see `park`.
    #[inline(always)]
    pub(super) fn drive(&self, link: Link, fiber: &mut Fiber, mut switch: Switch) -> Suspended {
        self.current_extent.set(Some(fiber.extent()));
        loop {
            // Set only while the routine runs: whatever drivers do, they do not act for it.
            self.current.set(Some(link));
            let suspend = match switch {
                Switch::Start => fiber.start(link),
                Switch::Resume => {
                    if self.unwinding.get() > 0 {
                        self.forget_unwinding(link);
                    }
                    fiber.resume()
                }
            };
            self.current.set(None);
            // In each arm but the first: what is between the switch and this costs a jump more.
            let note_unwinding = || match thread::panicking() {
                true => self.remember_unwinding(link),
                false => link.at_home().unwinding.set(Unwinding::No),
            };
            match suspend {
                Suspend::Finished => return Suspended::Ended,
                Suspend::Yield => {
                    note_unwinding();
                    return Suspended::Yielded;
                }
                Suspend::EndTurn => {
                    note_unwinding();
                    return Suspended::TurnOver;
                }
                Suspend::Freeze => {
                    note_unwinding();
                    return Suspended::Frozen;
                }
                Suspend::Park(request) => {
                    note_unwinding();
                    if self.commit(link, request) == Commit::Park {
                        return Suspended::Waiting;
                    }
                    // Data that is always there must not keep the routine running for ever.
                    if !self.spend_switch() {
                        return Suspended::TurnOver;
                    }
                    switch = Switch::Resume;
                }
            }
        }
    }

    /// Counts a routine that has just left its stack with a panic under way on this thread.
    #[cold]
    fn remember_unwinding(&self, link: Link) {
        link.at_home().unwinding.set(self.seems_to_unwind(link));
        self.unwinding.set(self.unwinding.get() + 1);
    }

    /// Counts a routine no more that goes on.
    #[cold]
    fn forget_unwinding(&self, link: Link) {
        if link.at_home().unwinding.get() != Unwinding::No {
            self.unwinding.set(self.unwinding.get() - 1);
        }
    }

    /// Whether the routine that runs, or has just left its stack, unwinds, with a panic under way on this thread.
    pub(crate) fn seems_to_unwind(&self, link: Link) -> Unwinding {
        let nobody_else = self.unwinding.get() == 0;
        if nobody_else || link.at_home().unwinding.get() == Unwinding::Yes {
            Unwinding::Yes
        } else {
            Unwinding::Perhaps
        }
    }

    /// Takes a switch from those that are left until the next look around. Says whether there was one.
    pub(crate) fn spend_switch(&self) -> bool {
        let left = self.switches_left.get().checked_sub(1);
        self.switches_left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The commit step of a routine that parks: its stack is not in use any more.
    pub(super) fn commit(&self, link: Link, request: NonNull<Request<'static>>) -> Commit {
        // SAFETY: the request lies on the routine's stack, which is not resumed before we return: other
        // threads can at most send us its link.
        let request = unsafe { &mut *request.as_ptr() };
        let home = link.at_home();
        let (parked, deadline, reason) = (request.parked, request.deadline, request.reason);
        home.parked.set(parked);
        if (request.commit)(self) == Commit::Resume {
            home.parked.set(Parked::No);
            return Commit::Resume;
        }
        home.reason.set(reason);
        self.counters().parked[reason as usize].add(1);
        if let Some(deadline) = deadline {
            self.counters().timers_armed.add(1);
            let key = TimerKey(self.sleepers.borrow_mut().insert(link));
            let timer = self.timer.borrow_mut().insert(self.shared.nanos(deadline), key);
            home.timer.set(Some((timer, key)));
        }
        if home.cancel.get() != Cancel::No {
            self.end_wait(link, Outcome::CANCELED);
        }
        Commit::Park
    }

    /// Adds a routine to the list of those that are suspended here.
    pub(super) fn enlist(&self, link: Link) {
        let older = self.newest.replace(Some(link));
        link.at_home().older.set(older);
        if let Some(older) = older {
            older.at_home().newer.set(Some(link));
        }
    }

    pub(super) fn delist(&self, link: Link) {
        let (older, newer) = (link.at_home().older.take(), link.at_home().newer.take());
        match newer {
            Some(newer) => newer.at_home().older.set(older),
            None => self.newest.set(older),
        }
        if let Some(older) = older {
            older.at_home().newer.set(newer);
        }
    }
}

/// How to switch to a routine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Switch {
    Start,
    Resume,
}

/// How a switch to a routine ended.
// The numbers are far apart, as those of `Output` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Suspended {
    /// Parked, and published where wakers find it.
    Waiting = 1,
    /// Ready to go on, but willing to wait.
    Yielded = 54,
    /// At its end, off its stack.
    Ended = 107,
    /// Ready to go on, as it would.
    TurnOver = 201,
    /// Suspended for ever.
    Frozen = 254,
}
