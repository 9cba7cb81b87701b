//! The `mio` backend: a [reactor](crate::reactor) per worker, with [`mio::Poll`] for a selector.
//!
//! Sources are registered with `SourceFd`, and their tokens are their keys. A
//! [`select`](crate::reactor::Selector::select) is one `epoll_wait`; only a short timeout costs another
//! call, which sets the [alarm](Alarm).

mod alarm;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use self::alarm::Alarm;
use crate::reactor::{EVENTS_PER_WAIT, backend};
use crate::readiness::Readiness;

/// No key.
const WAKER: Token = Token(usize::MAX);
/// No key.
const ALARM: Token = Token(usize::MAX - 1);

const EVERYTHING: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

backend! {
    /// I/O by readiness: one `mio` selector per worker, and a pool of threads for what cannot be waited for.
    Mio, "mio", Selector
}

#[derive(Debug)]
struct Selector {
    poll: Poll,
    events: Events,
    alarm: Alarm,
}

impl crate::reactor::Selector for Selector {
    type Waker = Waker;

    fn new() -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let alarm = Alarm::new()?;
        poll.registry().register(&mut SourceFd(&alarm.as_raw_fd()), ALARM, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let events = Events::with_capacity(EVENTS_PER_WAIT.get());
        Ok((Self { poll, events, alarm }, waker))
    }

    fn register(&self, fd: RawFd, key: usize) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(key), EVERYTHING)
    }

    fn register_again(&self, fd: RawFd, key: usize) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&fd), Token(key), EVERYTHING)
    }

    fn select(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = match timeout {
            Some(timeout) => self.alarm.plan(timeout)?,
            None => None,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn report(&mut self, mut event: impl FnMut(usize, Readiness)) {
        for occurred in &self.events {
            match occurred.token() {
                WAKER => {}
                ALARM => self.alarm.rang(),
                Token(key) => event(key, readiness(occurred)),
            }
        }
    }

    fn wake(waker: &Waker) -> io::Result<()> {
        waker.wake()
    }
}

fn readiness(event: &Event) -> Readiness {
    // An error, or a hang-up of both directions.
    let broken = event.is_error() || event.is_write_closed();
    let priority = event.is_priority() || broken;
    Readiness {
        read: event.is_readable() || broken,
        write: event.is_writable() || broken,
        priority,
        special: event.is_read_closed() || priority,
    }
}
