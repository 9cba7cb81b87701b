//! A place where a number of routines and threads meet.

use std::fmt;

use super::const_fn;
use crate::brief::Brief;
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::unwinding::{is_unwinding, unwind_canceled};
use crate::wait_list::{Entry, WaitList};

const COMPLETE: Outcome = Outcome::FIRST;

/// `std::sync::Barrier` for routines and threads.
///
/// ```
/// use rust_routines_core::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let leaders = std::sync::atomic::AtomicU32::new(0);
/// std::thread::scope(|scope| {
///     for _ in 0..3 {
///         scope.spawn(|| {
///             if barrier.wait().is_leader() {
///                 leaders.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///             }
///         });
///     }
/// });
/// assert_eq!(leaders.into_inner(), 1);
/// ```
pub struct Barrier {
    state: Brief<State>,
    size: usize,
}

struct State {
    arrived: usize,
    /// How often everybody has met.
    rounds: usize,
    waiters: WaitList,
}

/// Tells the leader of a round from the others.
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether this one came last; that is one of each round.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    const_fn! {
        /// A barrier for `size` participants. Zero means the same as one: nobody ever waits.
        #[must_use]
        pub fn new(size: usize) -> Self {
            let state = State { arrived: 0, rounds: 0, waiters: WaitList::new() };
            Self { state: Brief::new(state), size }
        }
    }

    /// Waits until all have arrived. Then the barrier is ready for another round.
    ///
    /// Whoever is unwound here by the shutdown of its runtime has not arrived, as far as the others are concerned.
    pub fn wait(&self) -> BarrierWaitResult {
        let mut state = self.state.lock();
        let mut patience = Patience::Patient;
        state.arrived += 1;
        if state.arrived >= self.size {
            state.arrived = 0;
            state.rounds = state.rounds.wrapping_add(1);
            let others = state.waiters.claim_all();
            drop(state);
            others.wake();
            return BarrierWaitResult(true);
        }
        let round = state.rounds;
        loop {
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, COMPLETE);
            // SAFETY: it is out of the list when this loop goes on or ends: claimed, or removed below.
            unsafe { state.waiters.push(&entry) };
            let outcome = park(&waiter, WaitReason::Barrier, patience, move || {
                drop(state);
                Commit::Park
            });
            if outcome == Some(COMPLETE) {
                return BarrierWaitResult(false);
            }
            let unwinding = is_unwinding();
            state = self.state.lock();
            state.waiters.remove(&entry);
            let complete = state.rounds != round;
            if complete || !unwinding {
                // Counted out before the unwinding, unless the others have gone on already.
                if !complete {
                    state.arrived -= 1;
                }
                drop(state);
                unwind_canceled();
                return BarrierWaitResult(false);
            }
            // A destructor waits while unwinding: it stays arrived.
            patience = patience.of_destructor();
        }
    }
}

impl std::panic::UnwindSafe for Barrier {}
impl std::panic::RefUnwindSafe for Barrier {}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.is_leader()).finish()
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::model;
    use loom::sync::Arc;
    use loom::thread::spawn;

    /// Fails if one passes alone, or a round has no leader or two, or one is left behind.
    #[test]
    fn loom_all_pass_together() {
        model(|| {
            let barrier = Arc::new(Barrier::new(2));
            let rounds = |barrier: &Barrier| [0; 2].map(|_| u8::from(barrier.wait().is_leader()));
            let other = barrier.clone();
            let thread = spawn(move || rounds(&other));
            let mine = rounds(&barrier);
            let theirs = thread.join().unwrap();
            assert_eq!([mine[0] + theirs[0], mine[1] + theirs[1]], [1, 1]);
        });
    }
}
