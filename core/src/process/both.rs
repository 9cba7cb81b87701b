//! Reads two pipes at once, so that the child never waits for us in one while we wait for it in the
//! other.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::backoff::Backoff;
use crate::fs::File;
use crate::fs::stat::check;
use crate::os::fd::Watched;

/// How much to take from one pipe before it is the other's turn: what a pipe holds by default.
const AT_A_TIME: u64 = 64 * 1024;

/// Reads two pipes to their ends, each into its own buffer.
pub(super) fn read_both(
    one: (&File, &mut Vec<u8>),
    other: (&File, &mut Vec<u8>),
) -> io::Result<()> {
    let ((mut one, one_buf), (mut other, other_buf)) = (one, other);
    // What has been put in the place of a pipe and cannot be waited for does not wait for us either.
    if one.is_pollable() && other.is_pollable() {
        // The process may have no descriptor left. Then the two are looked at now and then.
        let either = either(one, other).ok();
        let mut backoff = Backoff::new();
        loop {
            match &either {
                Some(either) => either.wait_readable()?,
                None => backoff.sleep(None)?,
            }
            if read_some(one, one_buf)? || read_some(other, other_buf)? {
                break;
            }
        }
    }
    // Nothing is left of one of them.
    one.read_to_end(one_buf)?;
    other.read_to_end(other_buf)?;
    Ok(())
}

/// Reads a part of what is there, and answers whether the pipe has come to its end.
fn read_some(pipe: &File, buf: &mut Vec<u8>) -> io::Result<bool> {
    match pipe.append_ready(AT_A_TIME, buf) {
        Ok(read) => Ok((read as u64) < AT_A_TIME),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is readable when one of the two is: a selector of our own, which can be waited for like any
/// descriptor.
fn either(one: &File, other: &File) -> io::Result<Watched<OwnedFd>> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call has just made it, and nobody else knows it.
    let selector = unsafe { OwnedFd::from_raw_fd(fd) };
    for pipe in [one, other] {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        let (selector, pipe) = (selector.as_raw_fd(), pipe.as_fd().as_raw_fd());
        // SAFETY: `event` is borrowed for the call.
        check(unsafe { libc::epoll_ctl(selector, libc::EPOLL_CTL_ADD, pipe, &mut event) })?;
    }
    Ok(Watched::new(selector))
}
