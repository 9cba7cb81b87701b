//! Submits operations on behalf of whoever calls: a routine parks on its worker's driver, a plain
//! thread performs them itself.

use std::io;
use std::time::Instant;

use crate::driver::operation::is_canceled;
use crate::driver::perform::block_on;
use crate::driver::{Action, Interest, Operation};
use crate::limit;
use crate::park::{DriverWait, WaitReason, checkpoint, park_on_driver};
use crate::routine::cell::Cancel;
use crate::runtime::worker::Worker;
use crate::unwinding::{panicking, unwind_canceled};

/// Performs `action` and blocks the caller, routine or thread, until it is finished.
///
/// # Errors
///
/// What the operation reports, or `TimedOut` once `deadline` has passed. On a plain thread only the
/// actions that wait for readiness heed the deadline and the caller's [limit].
///
/// # Safety
///
/// The pointers in `action` are valid and the descriptor is open until this returns.
pub(crate) unsafe fn submit(action: Action, deadline: Option<Instant>) -> io::Result<usize> {
    // A loop over operations that never wait ends here.
    let limit = checkpoint();
    // SAFETY: forwarded from the caller; `op` stays here until it is handed back.
    let op = unsafe { Operation::new(action) };
    let steadfast = completes(&action) && panicking();
    let until = if steadfast { None } else { limit::earlier(deadline, limit) };
    let result = match park_on_driver(&op, reason(&action), until, steadfast) {
        DriverWait::Finished(result) => result,
        // SAFETY: as above.
        DriverWait::OnThread => block_on(unsafe { op.as_ref() }, until),
    };
    match result {
        Err(error) if is_canceled(&error) && !steadfast => Err(given_up(error, deadline, limit)),
        result => result,
    }
}

/// Whether it comes to its end by itself and is not taken back if a destructor asks for it: a buffer that is flushed must
/// not depend on where its file lies, nor a closure run where it may not block.
fn completes(action: &Action) -> bool {
    let is_file = action.readiness().is_none();
    match action {
        Action::Write { .. } | Action::WriteVectored { .. } => is_file,
        Action::WriteAt { .. } | Action::WriteVectoredAt { .. } => is_file,
        Action::Sync { .. } | Action::Run { .. } => true,
        _ => false,
    }
}

/// The error of an operation that was canceled: by its deadline, the caller's limit, or a shutdown. The latter
/// two unwind, unless that is under way already. If it was none of them, the error is the system's own: a FUSE server's,
/// for instance, or that of a timer whose clock was set.
fn given_up(error: io::Error, deadline: Option<Instant>, limit: Option<Instant>) -> io::Error {
    let shut_down = Worker::current_routine()
        .is_some_and(|routine| routine.at_home().cancel.get() != Cancel::No);
    if shut_down {
        unwind_canceled();
        return io::Error::other("the runtime is shutting down");
    }
    let until = limit::earlier(deadline, limit);
    if until.is_none_or(|until| Instant::now() < until) {
        return error;
    }
    if until != deadline {
        unwind_canceled();
    }
    io::ErrorKind::TimedOut.into()
}

/// What a routine waits for that has submitted `action`.
fn reason(action: &Action) -> WaitReason {
    match (action, action.readiness()) {
        (_, Some((_, Interest::Read | Interest::Priority))) => WaitReason::IoRead,
        (_, Some((_, Interest::Write))) => WaitReason::IoWrite,
        (Action::Run { .. }, None) => WaitReason::Blocking,
        (_, None) => WaitReason::IoFile,
    }
}
