//! How each [`Action`] is performed: now on this thread, now if that does not block, or on a plain thread
//! that waits for readiness itself.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::time::Instant;
use std::{ptr, slice};

use super::cached::{Keeper, keeper, look_cached, open_cached, stat_cached};
use super::edges::Edges;
use super::operation::{Action, Attempt, Interest, OpRef, Source, SourceKind, canceled};
use crate::fs::stat::set_non_blocking;

impl OpRef {
    /// Performs the operation on this thread and blocks for as long as that takes.
    ///
    /// For a [pollable](SourceKind::Pollable) source, which is in non-blocking mode, this returns
    /// `WouldBlock` instead of blocking. Retries `EINTR`.
    pub fn perform(&self) -> io::Result<usize> {
        perform(self.action(), Blocking::Allowed)
    }

    /// Performs the operation if that is possible without blocking.
    ///
    /// Sockets are asked (`EAGAIN` becomes [`Attempt::NotReady`]); files are read and written from
    /// the page cache alone (`RWF_NOWAIT`, unless they are in [memory](SourceKind::Memory)), only so much at a time,
    /// and not at all [past it](SourceKind::Direct) or [to the disk](SourceKind::Synced); they are opened from the
    /// directory cache alone (`RESOLVE_CACHED`). And [`Attempt::Blocks`] says that this was not enough.
    ///
    /// An [`Action::Poll`] that was refused is not attempted again, but finished by what the kernel reports.
    pub fn attempt(&self) -> Attempt {
        let action = self.action();
        match action.readiness() {
            Some((source, interest)) => match perform(action, Blocking::Avoided) {
                Err(error) if must_wait(&action, &error) => Attempt::NotReady(source, interest),
                result => Attempt::Done(result),
            },
            None => match perform(action, Blocking::Avoided) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Attempt::Blocks,
                result => Attempt::Done(result),
            },
        }
    }
}

/// Performs an operation on a plain thread, waiting for readiness there. Given up at the deadline.
pub(crate) fn block_on(op: OpRef, deadline: Option<Instant>) -> io::Result<usize> {
    let Some((source, interest)) = op.action().readiness() else { return op.perform() };
    let is_poll = matches!(op.action(), Action::Poll { .. });
    let events = match interest {
        // Urgent data is nothing to read, but something to report.
        Interest::Read if !is_poll => libc::POLLIN | libc::POLLRDHUP,
        _ => poll_events(interest),
    };
    let (mut edges, mut was_told) = (None::<Edges>, false);
    loop {
        if let Attempt::Done(result) = op.attempt() {
            return result;
        }
        // Something is told that is not over because we are refused. Without a descriptor to spare, that is a busy wait.
        if was_told && edges.is_none() && poll_now(source.fd, events)? != 0 {
            edges = Edges::of(source.fd, events).ok();
        }
        let timeout = match deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(canceled());
                }
                // Rounded up, so as not to spin through the last millisecond.
                i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
            }
        };
        let mut pollfd = match &edges {
            None => libc::pollfd { fd: source.fd, events, revents: 0 },
            Some(edges) => {
                let fd = edges.as_fd().as_raw_fd();
                libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
            }
        };
        if poll(&mut pollfd, timeout) < 0 {
            let error = io::Error::last_os_error();
            // Interrupted, it is less time that is left.
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        match &edges {
            _ if pollfd.revents == 0 => {}
            Some(edges) => edges.take(),
            // Asked again, some files would have nothing more to tell.
            None if is_poll => return Ok(0),
            None => was_told = true,
        }
    }
}

/// Whether `error` says that the action can go on once its source is ready.
fn must_wait(action: &Action, error: &io::Error) -> bool {
    match action {
        // EAGAIN is a full backlog; what waiting helps against is EINPROGRESS, see `connect`.
        Action::Connect { .. } if error.raw_os_error() == Some(libc::EAGAIN) => false,
        Action::Recv { flags, .. }
        | Action::Send { flags, .. }
        | Action::RecvMessage { flags, .. }
        | Action::SendMessage { flags, .. }
            if flags & libc::MSG_DONTWAIT != 0 =>
        {
            false
        }
        _ => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Whether a system call may block on a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocking {
    Allowed,
    Avoided,
}

/// The most bytes of a file that are moved on the spot: copying them takes some 100 µs, for which a worker can do
/// without looking around. Reads stop there; what is longer to write goes to the pool in one piece, so that nothing
/// gets between the parts of what is appended.
pub(crate) const AT_ONCE: usize = 256 * 1024;

/// With what flags is sent: no signal tells of a peer that has gone.
const SENDING: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Performs an [`Action`] without waiting for readiness, and sees an end that the kernel does not tell of.
#[inline]
fn perform(action: Action, blocking: Blocking) -> io::Result<usize> {
    let result = call(action, blocking);
    let refused = result.as_ref().is_err_and(|error| must_wait(&action, error));
    if refused && is_shut_down(&action)? { end(action, blocking) } else { result }
}

/// Whether receiving was shut down where a call that does not wait is refused all the same.
fn is_shut_down(action: &Action) -> io::Result<bool> {
    match (action, action.readiness()) {
        (Action::Poll { .. }, _) => Ok(false),
        (_, Some((source, Interest::Read))) if source.kind == SourceKind::Queue => {
            Ok(poll_now(source.fd, libc::POLLRDHUP)? & libc::POLLRDHUP != 0)
        }
        _ => Ok(false),
    }
}

/// What a call that waits answers when receiving was shut down.
#[cold]
fn end(action: Action, blocking: Blocking) -> io::Result<usize> {
    // What came before is still there to be taken.
    let result = call(action, blocking);
    if !result.as_ref().is_err_and(|error| must_wait(&action, error)) {
        return result;
    }
    match action {
        Action::Accept { .. } => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        Action::RecvMessage { message, .. } => {
            // SAFETY: `Operation::new` made its caller promise that the pointer is valid.
            let message = unsafe { &mut *message };
            (message.msg_namelen, message.msg_controllen, message.msg_flags) = (0, 0, 0);
            Ok(0)
        }
        _ => Ok(0),
    }
}

/// The one place that turns an [`Action`] into a system call.
///
/// With [`Blocking::Avoided`], actions on files that would wait for the disk fail with `WouldBlock`. What would wait for
/// readiness always does. For transfers that is so whatever the mode of the descriptor, which others may change who
/// share it: a child that has inherited it, or the owner of another handle that was made one of std's.
fn call(action: Action, blocking: Blocking) -> io::Result<usize> {
    // SAFETY (every system call below): the action is an operation's, and `Operation::new` made its caller
    // promise that the pointers are valid for it and the descriptor is open, for as long as this can be
    // called.
    match action {
        Action::Read { source, buf, len } => {
            let iov = libc::iovec { iov_base: buf.cast(), iov_len: len };
            read_vectored(source, &iov, 1, None, blocking)
        }
        Action::ReadVectored { source, bufs, count } => {
            read_vectored(source, bufs, count, None, blocking)
        }
        Action::ReadAt { source, buf, len, offset } => {
            let iov = libc::iovec { iov_base: buf.cast(), iov_len: len };
            read_vectored(source, &iov, 1, Some(offset), blocking)
        }
        Action::Write { source, buf, len } => {
            let iov = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len };
            write_vectored(source, &iov, 1, None, blocking)
        }
        Action::WriteVectored { source, bufs, count } => {
            write_vectored(source, bufs, count, None, blocking)
        }
        Action::WriteAt { source, buf, len, offset } => {
            let iov = libc::iovec { iov_base: buf.cast_mut().cast(), iov_len: len };
            write_vectored(source, &iov, 1, Some(offset), blocking)
        }
        Action::ReadVectoredAt { source, bufs, count, offset } => {
            read_vectored(source, bufs, count, Some(offset), blocking)
        }
        Action::WriteVectoredAt { source, bufs, count, offset } => {
            write_vectored(source, bufs, count, Some(offset), blocking)
        }
        Action::Recv { source, buf, len, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::recv(source.fd, buf.cast(), len, flags | libc::MSG_DONTWAIT) })
        }
        Action::Send { source, buf, len, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::send(source.fd, buf.cast(), len, flags | SENDING) })
        }
        Action::RecvMessage { source, message, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::recvmsg(source.fd, message, flags | libc::MSG_DONTWAIT) })
        }
        Action::SendMessage { source, message, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::sendmsg(source.fd, message, flags | SENDING) })
        }
        Action::Accept { source, addr, addr_len } => retry(|| {
            // SAFETY: see the top of this function.
            unsafe {
                *addr_len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
                libc::accept4(
                    source.fd,
                    addr.cast(),
                    addr_len,
                    libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                ) as isize
            }
        }),
        Action::Connect { source, addr, addr_len } => connect(source.fd, addr, addr_len),
        Action::Poll { source, interest } => {
            // Errors and hang-ups count as ready.
            match poll_now(source.fd, poll_events(interest))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(0),
            }
        }
        Action::Sync { .. } | Action::Run { .. } if blocking == Blocking::Avoided => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Action::Sync { source, data_only: true } => {
            // SAFETY: takes no pointers.
            retry(|| unsafe { libc::fdatasync(source.fd) } as isize)
        }
        Action::Sync { source, data_only: false } => {
            // SAFETY: takes no pointers.
            retry(|| unsafe { libc::fsync(source.fd) } as isize)
        }
        Action::Open { path, flags, mode } => open(path, flags, mode, blocking),
        Action::Run { call, data, .. } => {
            // SAFETY: see the top of this function.
            unsafe { call(data) };
            Ok(0)
        }
    }
}

/// Repeats a system call while a signal interrupts it, and turns its result into ours.
pub(super) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(result) => return Ok(result),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// `preadv2`, with `RWF_NOWAIT` where it must not block; `-1` is the descriptor's own position.
fn read_vectored(
    source: Source,
    bufs: *const libc::iovec,
    count: usize,
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    // SAFETY: the pointers are the operation's, see `perform`, and as many.
    let all = unsafe { slice::from_raw_parts(bufs, count) };
    let count = count as libc::c_int;
    if !source.kind.is_file() && offset.is_none() {
        // SAFETY: as above.
        return no_wait(libc::SYS_preadv2, source.fd, bufs, count, None)
            .unwrap_or_else(|| retry(|| unsafe { libc::readv(source.fd, bufs, count) }));
    }
    // Told not to wait, the kernel only sees to it that the disk can be asked at once.
    if blocking == Blocking::Avoided && source.kind == SourceKind::Direct {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut part = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    let (bufs, count) = if blocking == Blocking::Avoided && length(all) > AT_ONCE {
        let first = first_bytes(all, &mut part);
        (first.as_ptr(), first.len() as libc::c_int)
    } else {
        (bufs, count)
    };
    if blocking == Blocking::Avoided && source.kind != SourceKind::Memory {
        return no_wait(libc::SYS_preadv2, source.fd, bufs, count, offset)
            .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()));
    }
    // SAFETY: as above.
    retry(|| unsafe {
        match offset {
            Some(offset) => libc::preadv(source.fd, bufs, count, offset as libc::off_t),
            None => libc::readv(source.fd, bufs, count),
        }
    })
}

/// How many bytes the buffers hold together.
fn length(bufs: &[libc::iovec]) -> usize {
    match bufs {
        // As a rule.
        [one] => one.iov_len,
        many => many.iter().fold(0, |length, buf| length.saturating_add(buf.iov_len)),
    }
}

/// As many of the buffers as hold [`AT_ONCE`] bytes, or that much of the first that holds any, which then is in `part`.
#[cold]
fn first_bytes<'a>(bufs: &'a [libc::iovec], part: &'a mut libc::iovec) -> &'a [libc::iovec] {
    let mut room = AT_ONCE;
    let fits = |buf: &&libc::iovec| match room.checked_sub(buf.iov_len) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    let count = bufs.iter().take_while(fits).count();
    match bufs.get(count) {
        Some(large) if room == AT_ONCE => {
            *part = libc::iovec { iov_len: AT_ONCE, ..*large };
            slice::from_ref(part)
        }
        _ => &bufs[..count],
    }
}

/// `pwritev2`, the mirror image of [`read_vectored`].
fn write_vectored(
    source: Source,
    bufs: *const libc::iovec,
    count: usize,
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    // SAFETY: the pointers are the operation's, see `perform`, and as many.
    let all = unsafe { slice::from_raw_parts(bufs, count) };
    let count = count as libc::c_int;
    if !source.kind.is_file() && offset.is_none() {
        // SAFETY: as above.
        return no_wait(libc::SYS_pwritev2, source.fd, bufs, count, None)
            .unwrap_or_else(|| retry(|| unsafe { libc::writev(source.fd, bufs, count) }));
    }
    // A file in memory is locked for as long as somebody writes to it, however much; the others wait for the disk.
    let may_wait = source.kind != SourceKind::File || length(all) > AT_ONCE;
    if blocking == Blocking::Avoided && may_wait {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    if blocking == Blocking::Avoided {
        return no_wait(libc::SYS_pwritev2, source.fd, bufs, count, offset)
            .unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()));
    }
    // SAFETY: as above.
    retry(|| unsafe {
        match offset {
            Some(offset) => libc::pwritev(source.fd, bufs, count, offset as libc::off_t),
            None => libc::writev(source.fd, bufs, count),
        }
    })
}

/// `preadv2` or `pwritev2` with `RWF_NOWAIT`. `None` if the file or the kernel does not know that: terminals and some file
/// systems, and before Linux 6.4 pipes and sockets.
///
/// Not through the C library, where these are points of cancellation: being ready for that costs a
/// thirtieth of a read of 4 KiB.
fn no_wait(
    call: libc::c_long,
    fd: RawFd,
    bufs: *const libc::iovec,
    count: libc::c_int,
    offset: Option<u64>,
) -> Option<io::Result<usize>> {
    // The kernel wants two halves, of which it ignores the upper one where the lower one holds all. `-1`
    // is the descriptor's own position.
    let position = offset.map_or(-1, |offset| offset as i64);
    let (lower, upper) = (position as libc::c_long, (position >> 32) as libc::c_long);
    // SAFETY: the pointers are the operation's, see `perform`.
    let result = retry(|| unsafe {
        libc::syscall(call, fd, bufs, count, lower, upper, libc::RWF_NOWAIT) as isize
    });
    match &result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => None,
        _ => Some(result),
    }
}

/// Starts a connection or asks how it goes: on Linux a repeated `connect` reports the outcome.
fn connect(
    fd: RawFd,
    addr: *const libc::sockaddr_storage,
    addr_len: libc::socklen_t,
) -> io::Result<usize> {
    // SAFETY: the pointers are the operation's, see `perform`.
    match retry(|| unsafe { libc::connect(fd, addr.cast(), addr_len) } as isize) {
        Err(error) => match error.raw_os_error() {
            Some(libc::EISCONN) => Ok(0),
            Some(libc::EINPROGRESS | libc::EALREADY) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Err(error),
        },
        ok => ok,
    }
}

/// Which of the `events`, errors and hang-ups a descriptor reports now.
pub(crate) fn poll_now(fd: RawFd, events: i16) -> io::Result<i16> {
    let mut pollfd = libc::pollfd { fd, events, revents: 0 };
    retry(|| poll(&mut pollfd, 0) as isize)?;
    Ok(pollfd.revents)
}

/// `poll(2)` of one descriptor, and `select(2)` where the process may open none (`RLIMIT_NOFILE` is 0, as in sandboxes):
/// the kernel then refuses to poll even one.
fn poll(pollfd: &mut libc::pollfd, timeout: libc::c_int) -> libc::c_int {
    // SAFETY: one initialised entry, borrowed for the call.
    let count = unsafe { libc::poll(pollfd, 1, timeout) };
    if count < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        return select(pollfd, timeout);
    }
    count
}

/// `poll`, as far as `select` can tell: of hang-ups it says that there is something to read.
#[cold]
fn select(pollfd: &mut libc::pollfd, timeout: libc::c_int) -> libc::c_int {
    let (word, bit) = (pollfd.fd as usize / usize::BITS as usize, pollfd.fd as u32 % usize::BITS);
    // The kernel takes as much of a set as it is told there are descriptors, which may be more than fit into libc's.
    let set = |event| {
        let mut set = vec![0_usize; word + 1];
        set[word] = usize::from(pollfd.events & event != 0) << bit;
        set
    };
    let events = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
    let mut sets = events.map(set);
    let [read, write, urgent] = sets.each_mut().map(|set| set.as_mut_ptr().cast());
    let (tv_sec, tv_usec) = (timeout / 1000, timeout % 1000 * 1000);
    let mut timeout_left = libc::timeval { tv_sec: tv_sec.into(), tv_usec: tv_usec.into() };
    let limit = if timeout < 0 { ptr::null_mut() } else { &raw mut timeout_left };
    // SAFETY: the sets have room for the descriptor, and all are borrowed for the call.
    let count = unsafe { libc::select(pollfd.fd + 1, read, write, urgent, limit) };
    let reported = events.iter().zip(&sets).filter(|(_, set)| set[word] != 0);
    pollfd.revents = if count > 0 { reported.fold(0, |all, (event, _)| all | event) } else { 0 };
    count
}

/// What `poll` is to report to who asks for one direction.
pub(crate) fn poll_events(interest: Interest) -> i16 {
    match interest {
        Interest::Read => libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP,
        Interest::Write => libc::POLLOUT,
        Interest::Priority => libc::POLLPRI,
    }
}

/// `openat`, or `openat2` with `RESOLVE_CACHED` where it must not touch the disk.
fn open(path: *const libc::c_char, flags: i32, mode: u32, blocking: Blocking) -> io::Result<usize> {
    let flags = flags | libc::O_CLOEXEC;
    if blocking == Blocking::Allowed {
        // SAFETY: the path is the operation's, see `perform`.
        return retry(|| unsafe { libc::open(path, flags, mode) } as isize);
    }
    // Creating and truncating always go to the file system.
    if flags & (libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE) != 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // Opening a FIFO waits for its other end, a device may do as it likes, and a network file system asks
    // its server, cached or not. A file is waited for that somebody has a lease on; in non-blocking mode that is refused,
    // and so nothing else waits either that has just taken its name.
    // SAFETY: the path is the operation's, see `perform`.
    let name = unsafe { CStr::from_ptr(path) };
    let looked = look_cached(name, flags & (libc::O_NOFOLLOW | libc::O_DIRECTORY))?;
    let stat = stat_cached(looked.as_fd())?;
    match u32::from(stat.stx_mode) & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR if keeper(looked.as_fd(), &stat) != Keeper::Others => {
            // A path alone is no open file: nobody is waited for, and it has no mode.
            let mode = if flags & libc::O_PATH == 0 { libc::O_NONBLOCK } else { 0 };
            let fd =
                open_cached(name, flags | mode).map_err(|error| match error.raw_os_error() {
                    // A FIFO has just taken the name, and is to be waited for.
                    Some(libc::ENXIO) => io::ErrorKind::WouldBlock.into(),
                    _ => error,
                })?;
            if mode & !flags != 0 {
                set_non_blocking(fd.as_fd(), false)?;
            }
            Ok(fd.into_raw_fd() as usize)
        }
        _ => Err(io::ErrorKind::WouldBlock.into()),
    }
}
