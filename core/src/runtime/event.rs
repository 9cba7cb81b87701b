//! Something that happens once, and that routines and threads can wait for.

use parking_lot::Mutex;

use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Event(Mutex<State>);

#[derive(Debug)]
struct State {
    happened: bool,
    waiters: Vec<WaiterRef>,
}

/// Points to the waiter on the stack of one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WaiterRef(*const Waiter);

// SAFETY: `Waiter` is `Sync`, and the pointer is used only under the lock it stands under, where
// its owner withdraws it before it goes.
unsafe impl Send for WaiterRef {}

impl Event {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { happened: false, waiters: Vec::new() }))
    }

    /// Lets everybody go on who waits, now and later.
    pub(crate) fn set(&self) {
        let mut state = self.0.lock();
        state.happened = true;
        for WaiterRef(waiter) in std::mem::take(&mut state.waiters) {
            // SAFETY: valid, since its owner cannot withdraw it while we hold the lock; woken once, by
            // the winner of the claim, and not used afterwards.
            unsafe {
                if (*waiter).claim(Outcome::FIRST) {
                    Waiter::wake(waiter);
                }
            }
        }
    }

    /// Waits until it has happened, or `deadline` has passed, or, for a patient routine, its own runtime
    /// shuts down.
    pub(crate) fn wait(&self, patience: Patience) -> Happened {
        let waiter = Waiter::new();
        let this = WaiterRef(&waiter);
        let outcome = park(&waiter, WaitReason::Shutdown, patience, || {
            let mut state = self.0.lock();
            if state.happened {
                return Commit::Resume;
            }
            state.waiters.push(this);
            Commit::Park
        });
        match outcome {
            None | Some(Outcome::FIRST) => Happened::Yes,
            Some(_) => {
                let mut state = self.0.lock();
                state.waiters.retain(|waiter| *waiter != this);
                if state.happened { Happened::Yes } else { Happened::NotYet }
            }
        }
    }
}

/// Whether an event has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Yes,
    NotYet,
}
