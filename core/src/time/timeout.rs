//! A limit on the time that a closure may block.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::limit::{self, Exceeded};
use crate::unwinding::resume;

/// The closure of [`timeout`] did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs `f`, whose blocking calls may together take `duration` at the longest.
///
/// The first call in `f` that blocks, or would go on to, after that time ends by unwinding up to here: its
/// place in a channel or at a lock is given up, its I/O operation is taken back from the driver, and the
/// destructors of what `f` holds run. What `f` returns in spite of being late is returned. Calls may be
/// nested; each ends at its own deadline, or at an earlier one around it. A duration beyond the range of the
/// clock is no limit.
///
/// Works in a routine and on a plain thread, for the caller: routines that `f` spawns are not limited.
///
/// # What it cannot cut short
///
/// - Computation: only calls that block are looked at, and [`yield_now`](crate::yield_now).
/// - A closure of [`blocking`](crate::blocking) or a file operation that a thread of the pool has begun with. On a
///   plain thread, which performs them itself, these are not cut short at all. (A name look-up is left to itself: to a
///   routine called "name look-up", or a thread. There are 32 of them at most; further look-ups under a limit wait.)
/// - The end of a [scope](crate::Handle::scope), whose routines borrow.
///
/// # Unwinding
///
/// It is that of a panic, but for the panic hook, which does not run. So what `f` has borrowed is left as it
/// was at that moment, mutexes that `f` had locked are poisoned (but for one that it had given to a
/// [`Condvar`](crate::sync::Condvar)), and a `catch_unwind` in `f` that does not resume what it
/// catches only gets as far as its next blocking call. While destructors run, blocking calls that would wait
/// return an error, or wait on where they have none to return; what they write to files, and closures of `blocking`, is
/// brought to its end. A program that is compiled with
/// `panic = "abort"` is aborted.
///
/// A single call of this crate either has happened or has not: a message that was not received is still in its
/// channel, bytes that were not read are still in the socket. But what consists of several calls may have done a part:
/// `write_all` and `println!` have written some, `read_exact` and `copy` have read some, and `read_line` drops what it
/// has taken from the [`BufRead`](std::io::BufRead). Who wants to go on with such a stream calls `read` and `write`
/// under the limit, or sets its [`read timeout`](crate::net::TcpStream::set_read_timeout) for `read_line`, which goes on
/// after that where it was.
///
/// # Errors
///
/// [`Elapsed`] if `f` was unwound.
///
/// # Panics
///
/// If `f` does.
///
/// ```
/// # use rust_routines_core as rust_routines;
/// use std::time::Duration;
/// use rust_routines::{channel, time};
///
/// let (sender, receiver) = channel::bounded::<i32>(1);
/// assert!(time::timeout(Duration::from_millis(5), || receiver.recv()).is_err());
/// sender.send(7)?;
/// assert_eq!(time::timeout(Duration::from_millis(5), || receiver.recv())?, Ok(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn timeout<T>(duration: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    match Instant::now().checked_add(duration) {
        Some(deadline) => timeout_at(deadline, f),
        None => Ok(f()),
    }
}

/// Runs `f`, whose blocking calls end by `deadline` at the latest. See [`timeout`].
///
/// # Errors
///
/// [`Elapsed`] if `f` was unwound.
///
/// # Panics
///
/// If `f` does.
pub fn timeout_at<T>(deadline: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    let limit = limit::earlier(Some(deadline), limit::current());
    let outer = limit::replace(limit);
    // What a limit leaves half done is for the caller to know, as with any error: it says so above.
    let result = catch_unwind(AssertUnwindSafe(f));
    limit::replace(outer);
    result.or_else(|payload| match payload.downcast_ref() {
        // With an earlier limit around it, that one has passed.
        Some(&Exceeded(passed)) if deadline <= passed => Err(Elapsed(())),
        _ => resume(payload),
    })
}
