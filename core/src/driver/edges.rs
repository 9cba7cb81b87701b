//! The changes of one descriptor, for those whom its state would keep busy.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// An `epoll` for one descriptor, which is readable from each change to the next [`take`](Self::take).
///
/// `poll` tells of an error queue (timestamps, ICMP errors) for as long as nobody reads it, whatever it was asked for; and
/// of room, or of data, that may not be what somebody wants. Who is refused all the same would ask again at once, and for
/// ever. A change is told once.
#[derive(Debug)]
pub(crate) struct Edges {
    epoll: OwnedFd,
}

impl Edges {
    /// What is there already counts as a change.
    pub(crate) fn of(fd: RawFd, events: i16) -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let events = events as u32 | libc::EPOLLET as u32;
        let mut event = libc::epoll_event { events, u64: 0 };
        // SAFETY: the event is valid for the call.
        let added =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { epoll }) }
    }

    /// Takes the change, if there is one. What changes from now on is another.
    pub(crate) fn take(&self) {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event. It cannot fail, and does not wait.
        unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &mut event, 1, 0) };
    }
}

impl AsFd for Edges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
