//! A bound on how long a test may take: a hang becomes an abort with a message.

use std::process::abort;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Aborts the process unless it is dropped within `limit`.
#[must_use]
pub(crate) fn watchdog(limit: Duration, what: &'static str) -> Watchdog {
    let (alive, ended) = mpsc::channel();
    let dog = move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("watchdog: {what} has taken more than {limit:?}");
            abort();
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(dog).expect("a thread for the watchdog");
    Watchdog { _alive: alive }
}

/// See [`watchdog`].
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}
