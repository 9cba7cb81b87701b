//! A descriptor of a process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::signal::Signal;

/// A descriptor of a child process (`pidfd_open(2)`). It stands for that one process, also after that has ended and
/// another has its number. Made by [`Child::pidfd`](super::Child::pidfd).
///
/// It becomes readable when the process ends: see [`Watched`](crate::os::fd::Watched). It is closed when another
/// program takes the place of this one.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Of the process with that number, which the caller has not waited for.
    pub(super) fn open(process: u32) -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process as libc::pid_t, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made it, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Forces the process to end (`SIGKILL`). One that has ended is no error.
    ///
    /// # Errors
    ///
    /// What `pidfd_send_signal(2)` reports.
    pub fn kill(&self) -> io::Result<()> {
        self.send(libc::SIGKILL)
    }

    /// Sends the process a signal. One that has ended is no error.
    ///
    /// # Errors
    ///
    /// What `pidfd_send_signal(2)` reports: `InvalidInput` for a signal that does not exist.
    pub fn send_signal(&self, signal: Signal) -> io::Result<()> {
        self.send(signal.as_raw())
    }

    fn send(&self, signal: libc::c_int) -> io::Result<()> {
        let no_info = ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open, and no information on the signal is passed.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, no_info, 0)
        };
        match sent {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Another descriptor of the same process.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(process: PidFd) -> Self {
        process.0
    }
}
