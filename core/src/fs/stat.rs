//! What the kernel has at hand about a file: how to wait for it, how long it is, and whether more can be
//! asked without waiting.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::driver::SourceKind;
use crate::driver::cached::{Keeper, answers_from_memory, keeper, look_cached, stat_cached};
use crate::routine::count_as_switch;

/// Who else may hold the open file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody: it has just been opened here, with these flags.
    Opened(i32),
    /// Anybody: it came from outside, like the terminal that this process shares with its shell.
    Adopted,
}

/// Finds out how to wait for a file, and puts it into non-blocking mode if readiness is the way. Besides, its size, zero
/// for what has none.
///
/// Pipes, sockets and their like are waited for. So is a device that can be, but only if nobody else
/// has it: the mode belongs to the open file, and the shell that shares a terminal with us does not
/// expect its reads to fail. Everything else blocks, and is left to the pool.
///
/// # Errors
///
/// For a device that was opened here: whether it can be waited for could not be found out.
pub(super) fn prepare(fd: BorrowedFd<'_>, origin: Origin) -> io::Result<(SourceKind, u64)> {
    let Ok(stat) = stat_cached(fd) else { return Ok((SourceKind::File, 0)) };
    let kind = match u32::from(stat.stx_mode) & libc::S_IFMT {
        libc::S_IFREG if keeper(fd, &stat) == Keeper::Memory => SourceKind::Memory,
        libc::S_IFREG | libc::S_IFBLK => kind_by_flags(fd, origin),
        libc::S_IFDIR => SourceKind::File,
        libc::S_IFCHR if origin == Origin::Adopted || !reports_readiness(fd)? => SourceKind::File,
        _ if set_non_blocking(fd, true).is_err() => SourceKind::File,
        _ => SourceKind::Pollable,
    };
    Ok((kind, stat.stx_size))
}

/// How a file that is always ready was asked to be read and written.
fn kind_by_flags(fd: BorrowedFd<'_>, origin: Origin) -> SourceKind {
    let flags = match origin {
        Origin::Opened(flags) => flags,
        Origin::Adopted => {
            // SAFETY: takes no pointers.
            let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) });
            flags.unwrap_or(0)
        }
    };
    if flags & libc::O_DIRECT != 0 {
        SourceKind::Direct
    } else if flags & libc::O_DSYNC != 0 {
        // A part of `O_SYNC`, too.
        SourceKind::Synced
    } else {
        SourceKind::File
    }
}

/// What to do about a symbolic link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Kept,
}

/// The file that a path names, open for nothing but to be asked for its metadata, if finding it and asking it
/// never wait. Otherwise `None`; an error is one that the kernel knows without waiting.
pub(super) fn look(path: &Path, links: Links) -> Option<io::Result<File>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    count_as_switch();
    let flags = if links == Links::Kept { libc::O_NOFOLLOW } else { 0 };
    match look_cached(&path, flags) {
        Ok(file) if answers_from_memory(file.as_fd()) => Some(Ok(file.into())),
        // Others may have to do with descriptors or with the way of asking.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Err(error)),
        _ => None,
    }
}

/// The size of a regular file, zero for what has none.
pub(super) fn cached_size(fd: BorrowedFd<'_>) -> u64 {
    stat_cached(fd).map_or(0, |stat| stat.stx_size)
}

/// Whether this is a regular file, as far as can be told.
pub(crate) fn is_regular(fd: BorrowedFd<'_>) -> bool {
    stat_cached(fd).is_ok_and(|stat| u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG)
}

/// Sets or clears `O_NONBLOCK`, for all descriptors of the open file.
pub(crate) fn set_non_blocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let on = libc::c_int::from(on);
    // SAFETY: `on` is borrowed for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &on) }).map(drop)
}

/// Whether a selector takes this file. There is no way to ask but to try: `poll` calls everything
/// ready that it cannot wait for.
fn reports_readiness(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: takes no pointers.
    let selector = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call has just made it, and nobody else knows it.
    let selector = unsafe { OwnedFd::from_raw_fd(selector) };
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: `event` is borrowed for the call.
    let added = check(unsafe {
        libc::epoll_ctl(selector.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event)
    });
    match added {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => Err(error),
        added => Ok(added.is_ok()),
    }
}

/// Turns the result of a system call into ours.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
