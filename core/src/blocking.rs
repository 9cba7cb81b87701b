//! Runs closures that block their thread on the I/O driver's pool.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::driver::Action;
use crate::io::submit;
use crate::unwinding::resume;

/// Runs `f`, which may block its thread, and returns what it returns.
///
/// In a routine, `f` runs on the I/O driver's pool while the routine waits and its worker runs others. It
/// may borrow from the routine's stack, which stays where it is. On a plain thread, `f` runs right here.
///
/// Once a pool thread has begun with `f`, or if a destructor calls this while it is unwound, the call returns only when `f`
/// does: neither a deadline nor the shutdown of the runtime cuts it short. Should the pool have no thread at all for it (the
/// system has run out of them), `f` runs on the worker's own thread.
///
/// The pool has 128 threads for such closures unless [`RuntimeBuilder::pool_threads`](crate::RuntimeBuilder::pool_threads) says
/// otherwise. Calls beyond that queue up. Operations on files, look-ups of names and starts of processes do not wait behind
/// them: in the drivers of this project, they have threads of their own, as many. So `f` may wait for routines that do I/O,
/// but closures that hold all threads must not wait for another.
///
/// What `f` captures must be `Send`, a guard of a lock is not. Reborrow what it guards:
///
/// ```
/// # use rust_routines_core::{blocking, sync::Mutex};
/// let connection = Mutex::new(String::new());
/// let mut guard = connection.lock().unwrap();
/// let connection = &mut *guard;
/// blocking(|| connection.push_str("a query that takes its time"));
/// ```
///
/// # Panics
///
/// With the payload of `f`, if that panics.
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    call(f, true)
}

/// The same for a call into the system, which as a rule waits for no other operation (one that opens a FIFO does) and so must
/// not wait behind those that do.
pub(crate) fn call_system<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    call(f, false)
}

fn call<F, T>(f: F, lasting: bool) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let mut task = Task::Ready(f);
    let action = Action::Run { call: run::<F, T>, data: (&raw mut task).cast(), lasting };
    // SAFETY: `task` lives until `submit` returns or unwinds, which is after the operation came back;
    // its type is the one that `run` expects. `F` and `T` are `Send`.
    let result = unsafe { submit(action, None) };
    match mem::replace(&mut task, Task::Taken) {
        Task::Finished(Ok(value)) => value,
        Task::Finished(Err(payload)) => resume(payload),
        // No thread to be had, or canceled where it is not certain who unwinds.
        Task::Ready(f) => {
            debug_assert!(result.is_err(), "an operation that succeeds has run its closure");
            f()
        }
        Task::Taken => unreachable!("a closure that has begun leaves a result"),
    }
}

/// A closure on its way to its result.
enum Task<F, T> {
    Ready(F),
    Taken,
    Finished(Result<T, Box<dyn Any + Send>>),
}

/// Runs the closure, whichever thread this is, and keeps its panic.
///
/// # Safety
///
/// `data` points to a `Task<F, T>` that nobody else touches.
unsafe fn run<F, T>(data: *mut ())
where
    F: FnOnce() -> T,
{
    // SAFETY: see above.
    let task = unsafe { &mut *data.cast::<Task<F, T>>() };
    if let Task::Ready(f) = mem::replace(task, Task::Taken) {
        *task = Task::Finished(catch_unwind(AssertUnwindSafe(f)));
    }
}
