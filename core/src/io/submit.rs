//! Submits operations on behalf of whoever calls: a routine parks on its worker's driver, a plain
//! thread performs them itself.

use std::io;
use std::time::Instant;

use crate::driver::operation::is_canceled;
use crate::driver::perform::block_on;
use crate::driver::{Action, Interest, Operation};
use crate::park::{DriverWait, WaitReason, park_on_driver, unwind_canceled};
use crate::routine::cell::Cancel;
use crate::runtime::worker::Worker;

/// Performs `action` and blocks the caller, routine or thread, until it is finished.
///
/// # Errors
///
/// What the operation reports, or `TimedOut` once `deadline` has passed. On a plain thread only the
/// actions that wait for readiness heed the deadline.
///
/// # Safety
///
/// The pointers in `action` are valid and the descriptor is open until this returns.
pub(crate) unsafe fn submit(action: Action, deadline: Option<Instant>) -> io::Result<usize> {
    // SAFETY: forwarded from the caller; `op` stays here until it is handed back.
    let op = unsafe { Operation::new(action) };
    let result = match park_on_driver(&op, reason(&action), deadline) {
        DriverWait::Finished(result) => result,
        // SAFETY: as above.
        DriverWait::OnThread => return block_on(unsafe { op.as_ref() }, deadline),
    };
    match result {
        // Only a deadline or a shutdown cancels.
        Err(error) if is_canceled(&error) => {
            let canceled = Worker::current_routine()
                .is_some_and(|routine| routine.at_home().cancel.get() != Cancel::No);
            if canceled {
                unwind_canceled();
                return Err(io::Error::other("the runtime is shutting down"));
            }
            Err(io::ErrorKind::TimedOut.into())
        }
        result => result,
    }
}

/// What a routine waits for that has submitted `action`.
fn reason(action: &Action) -> WaitReason {
    match (action, action.readiness()) {
        (_, Some((_, Interest::Read))) => WaitReason::IoRead,
        (_, Some((_, Interest::Write))) => WaitReason::IoWrite,
        (Action::Run { .. }, None) => WaitReason::Blocking,
        (_, None) => WaitReason::IoFile,
    }
}
