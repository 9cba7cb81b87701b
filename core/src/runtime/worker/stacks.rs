//! A worker's free stacks, and its reservations of more.
//!
//! # Books
//!
//! Whoever may need a stack has a *reservation* in the runtime's [`StackPool`](crate::stack::StackPool), so that a
//! routine that was spawned can always be started. A reservation belongs to exactly one of: a live routine, a stack
//! that a worker keeps (`spare`, `taken`), or a worker's reserve (`reserved`). Spawning takes one from the reserve;
//! a routine that starts on a kept stack returns its own there, since the stack brings one; a routine that ends
//! leaves its own with its stack.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Worker;
use crate::routine::fiber::{Fiber, Reuse};

/// Free stacks that a worker keeps as they are. Others are given back when it has nothing to do.
const KEPT_STACKS: usize = 256;

/// How much of a kept stack stays resident: more than a routine that does I/O and formatting touches.
const KEPT_BYTES: usize = 16 * 1024;

/// How long free stacks keep their memory at least. A worker that pauses often for a moment must not pay
/// a system call for it each time.
const TRIM_DELAY: Duration = Duration::from_millis(100);

/// A stack that is reused this often without a pause in which it could be trimmed is trimmed anyway.
const RUNS_BEFORE_TRIM: u32 = 4096;

/// The most stacks to take at once. Taking several lets the kernel map their first pages in one call.
const MOST_STACKS_TAKEN: usize = 64;

/// Stack reservations to take and keep beyond need, so that most spawns do not go to the shared pool.
const RESERVED_STACKS: usize = 64;

impl Worker {
    /// Reserves a stack for a routine that is about to be spawned.
    pub(crate) fn reserve_stack(&self) -> io::Result<()> {
        match self.reserved.get() {
            0 => {
                // Near the limits there may be room for one but not for many.
                if self.shared.stacks.reserve(RESERVED_STACKS).is_ok() {
                    self.reserved.set(RESERVED_STACKS - 1);
                    return Ok(());
                }
                let Err(error) = self.shared.stacks.reserve(1) else { return Ok(()) };
                // A free stack of ours will do: it goes back to the pool, and its reservation is used.
                let free = self.spare.borrow_mut().pop_front().map(Fiber::retire);
                let free = free.or_else(|| self.taken.borrow_mut().pop());
                let Some(free) = free else {
                    self.shared.reclaim_stacks();
                    return Err(error);
                };
                self.shared.stacks.give_back(free);
                self.count_stacks();
                Ok(())
            }
            reserved => {
                self.reserved.set(reserved - 1);
                Ok(())
            }
        }
    }

    /// A free fiber with a default stack. The routine's reservation covers its stack.
    pub(super) fn free_fiber(&self) -> Fiber {
        let spare = self.spare.borrow_mut().pop_back();
        if let Some(fiber) = spare {
            // The fiber came with a reservation of its own.
            self.keep_reservation();
            self.count_stacks();
            return fiber;
        }
        let mut taken = self.taken.borrow_mut();
        if taken.is_empty() {
            // Whoever needs many stacks in a row gets them by ever more at once.
            let mut ahead = self.take_next.get() - 1;
            let reserved = self.reserved.get();
            // What others spawned brings room for itself alone.
            if reserved < ahead {
                match self.shared.stacks.reserve(ahead - reserved) {
                    Ok(()) => self.reserved.set(ahead),
                    Err(_) => ahead = reserved,
                }
            }
            self.take_next.set((self.take_next.get() * 2).min(MOST_STACKS_TAKEN));
            self.reserved.set(self.reserved.get() - ahead);
            if self.shared.stacks.take_many(1 + ahead, &mut taken).is_err() {
                let missing = (1 + ahead).saturating_sub(taken.len());
                self.reserved.set(self.reserved.get() + missing.min(ahead));
            }
        } else {
            // It was covered when it was taken.
            self.keep_reservation();
        }
        match taken.pop() {
            Some(stack) => Fiber::new(stack, Reuse::Cached),
            // The kernel refuses a page of page tables: the machine is out of memory.
            None => panic!("the kernel refuses memory for the guard of a stack"),
        }
    }

    /// Keeps the reservation of a routine whose stack has one already, for the next spawn.
    ///
    /// A worker that runs what others spawn gives them back now and then: it would collect them for ever,
    /// and the others map ever more.
    pub(super) fn keep_reservation(&self) {
        let mut reserved = self.reserved.get() + 1;
        if reserved > 2 * RESERVED_STACKS {
            self.shared.stacks.unreserve(RESERVED_STACKS);
            reserved -= RESERVED_STACKS;
        }
        self.reserved.set(reserved);
    }

    /// Keeps the fiber of a routine that has ended, and with it the routine's reservation.
    pub(super) fn put_fiber(&self, mut fiber: Fiber) {
        if fiber.reuse == Reuse::Never {
            return self.shared.stacks.give_back(fiber.retire());
        }
        // Here and not at its start: the worker may have trimmed all it had while the routine waited.
        if self.trim_due.get().is_none() {
            self.trim_due.set(Some(self.last_look.get() + TRIM_DELAY));
        }
        if fiber.runs >= RUNS_BEFORE_TRIM {
            fiber.trim(KEPT_BYTES);
        }
        self.spare.borrow_mut().push_back(fiber);
        self.count_stacks();
    }

    pub(super) fn count_stacks(&self) {
        let cached = self.spare.borrow().len() + self.taken.borrow().len();
        self.counters().stacks_cached.set(cached as u64);
    }

    /// Gives memory of free stacks back, a piece at a time so that new work need not wait for it. `true`
    /// if there may be more to do.
    pub(super) fn trim_stacks(&self) -> bool {
        if self.trim_due.get().is_none_or(|due| due > self.last_look.get()) {
            return false;
        }
        self.take_next.set(1);
        let mut spare = self.spare.borrow_mut();
        if spare.len() > KEPT_STACKS {
            // The coldest first.
            let surplus = (spare.len() - KEPT_STACKS).min(MOST_STACKS_TAKEN);
            let mut stacks: Vec<_> = spare.drain(..surplus).map(Fiber::retire).collect();
            drop(spare);
            self.shared.stacks.give_back_many(&mut stacks);
            self.shared.stacks.unreserve(surplus);
            self.count_stacks();
            return true;
        }
        if let Some(fiber) = spare.iter_mut().find(|fiber| fiber.runs > 0) {
            fiber.trim(KEPT_BYTES);
            return true;
        }
        spare.shrink_to(2 * KEPT_STACKS);
        drop(spare);
        let surplus = self.reserved.get().saturating_sub(RESERVED_STACKS);
        self.reserved.set(self.reserved.get() - surplus);
        self.shared.stacks.unreserve(surplus);
        self.trim_due.set(None);
        false
    }

    /// Gives everything back that the worker keeps if a spawn has found no room for its stack.
    pub(super) fn heed_want_of_stacks(&self) {
        let wanted = self.shared.stacks_wanted.load(Ordering::Relaxed);
        if self.stacks_wanted.replace(wanted) != wanted {
            self.retire_stacks();
        }
    }

    /// Gives everything back that the worker keeps.
    pub(super) fn retire_stacks(&self) {
        let mut stacks: Vec<_> = self.spare.borrow_mut().drain(..).map(Fiber::retire).collect();
        stacks.append(&mut self.taken.borrow_mut());
        let reserved = stacks.len() + self.reserved.replace(0);
        self.shared.stacks.give_back_many(&mut stacks);
        self.shared.stacks.unreserve(reserved);
        self.count_stacks();
    }
}
