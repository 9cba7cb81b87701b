//! The `polling` backend: a [reactor](crate::reactor) per worker, with [`polling::Poller`] for a selector.
//!
//! # Edges
//!
//! `polling` is at home with one-shot registrations, which are set anew after each event. The reactor
//! relies on edges instead: a source is registered once, and an operation that is refused waits at no
//! further cost. On Linux, where `polling` is a thin layer over `epoll`, [`PollMode::Edge`] is just
//! that, so the reactor's code is the same for this selector as for `mio`'s. One-shot mode would cost
//! an `epoll_ctl` per wait and need books of who waits for which direction; and set again, it reports
//! again what nobody fetches, such as an error queue.
//!
//! # What differs from `mio`
//!
//! - `polling` does not ask for `EPOLLRDHUP`, so an event does not tell that the other side has closed
//!   after the data. Hence every event counts as special: a short read tells nothing, and a routine
//!   waits only after a refusal (see [`readiness`](crate::readiness), why no operation waits in vain,
//!   point 3). That is a refused read more per request on a connection that is kept.
//! - `polling` sleeps by a `timerfd` of its own, exact to what the kernel's timers are, so no alarm is
//!   needed. It sets the timer and its own registrations anew each time: a
//!   [`select`](crate::reactor::Selector::select) is five system calls, whatever the timeout.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use crate::reactor::{EVENTS_PER_WAIT, backend};
use crate::readiness::Readiness;

backend! {
    /// I/O by readiness: one `polling` selector per worker, and a pool of threads for what cannot be waited
    /// for.
    Polling, "polling", Selector
}

#[derive(Debug)]
struct Selector {
    poller: Arc<Poller>,
    events: Events,
}

impl crate::reactor::Selector for Selector {
    type Waker = Arc<Poller>;

    fn new() -> io::Result<(Self, Arc<Poller>)> {
        let poller = Arc::new(Poller::new()?);
        if !poller.supports_edge() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let waker = Arc::clone(&poller);
        Ok((Self { poller, events: Events::with_capacity(EVENTS_PER_WAIT) }, waker))
    }

    fn register(&self, fd: RawFd, key: usize) -> io::Result<()> {
        // SAFETY: `polling` wants a source taken out before it is closed, since some selectors keep what
        // they watch by address or number. `epoll` does not: the kernel forgets a file as it is closed,
        // and `polling` keeps no books of its own. No memory is at stake, only events, see the reactor.
        unsafe { self.poller.add_with_mode(fd, Event::all(key), PollMode::Edge) }
    }

    fn register_again(&self, fd: RawFd, key: usize) -> io::Result<()> {
        // SAFETY: open, since an operation on it is being submitted.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        self.poller.modify_with_mode(fd, Event::all(key), PollMode::Edge)
    }

    fn select(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        self.poller.wait(&mut self.events, timeout).map(drop)
    }

    fn report(&mut self, mut event: impl FnMut(usize, Readiness)) {
        for occurred in self.events.iter() {
            let Event { key, readable: read, writable: write, .. } = occurred;
            let broken = occurred.is_interrupt() || occurred.is_err() == Some(true);
            let priority = occurred.is_priority() || broken;
            event(key, Readiness { read, write, priority, special: true });
        }
    }

    fn wake(poller: &Arc<Poller>) -> io::Result<()> {
        poller.notify()
    }
}
