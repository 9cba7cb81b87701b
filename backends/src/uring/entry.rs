//! Operations as the kernel's entries.
//!
//! Every entry points into its operation's own memory, or to what that points to, and to nothing else.

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use rust_routines_core::driver::{Action, Interest, Source, SourceKind};

use super::flights::Stage;
use super::ring::Ring;

/// `IORING_RECVSEND_POLL_FIRST`: wait for readiness before the first try.
const POLL_FIRST: u16 = 1;

/// The position of an entry that is to use the descriptor's own.
const OWN_POSITION: u64 = u64::MAX;

/// The most bytes that a system call moves; an entry has 32 bits for a length.
const MOST_BYTES: usize = 0x7fff_f000;

/// The entry that performs an operation that was refused, or `None` where there is none that does what the system
/// call does:
///
/// - `Accept`: the kernel would wake only one of several rings that wait for a listener, even if its worker is
///   busy, or its operation is given up at that moment.
/// - `Connect`: the kernel would wait where a full backlog is the result.
/// - `Send` and `SendMessage`, but for streams: a Unix socket takes a datagram out of the buffers before it finds
///   the recipient's queue full, and the kernel would then try again with an empty one (seen on 6.18).
/// - Files at their own position: a ring does not lock it as system calls do, so two workers would read or
///   overwrite the same place.
///
/// `Open` has one that goes straight to a thread of the kernel's. Else it would first be tried in non-blocking mode,
/// which opens a FIFO that has no other end yet.
pub(super) fn whole(action: &Action, ring: &Ring) -> Option<squeue::Entry> {
    let poll_first = if ring.polls_first() { POLL_FIRST } else { 0 };
    // A ring tries again until all is there, where a socket in non-blocking mode returns.
    let flags = |flags: i32| flags & !libc::MSG_WAITALL;
    let entry = match *action {
        Action::Read { source, buf, len } => match source.kind {
            SourceKind::Stream => {
                opcode::Recv::new(Fd(source.fd), buf, length(len)).ioprio(poll_first).build()
            }
            SourceKind::Pollable | SourceKind::Queue => {
                opcode::Read::new(Fd(source.fd), buf, length(len)).offset(OWN_POSITION).build()
            }
            _ => return None,
        },
        Action::Write { source, buf, len } => match source.kind {
            SourceKind::Stream => opcode::Send::new(Fd(source.fd), buf, length(len))
                .ioprio(poll_first)
                .flags(libc::MSG_NOSIGNAL)
                .build(),
            SourceKind::Pollable | SourceKind::Queue => {
                opcode::Write::new(Fd(source.fd), buf, length(len)).offset(OWN_POSITION).build()
            }
            _ => return None,
        },
        Action::ReadVectored { source, bufs, count } if !source.kind.is_file() => {
            opcode::Readv::new(Fd(source.fd), bufs, length(count)).offset(OWN_POSITION).build()
        }
        Action::WriteVectored { source, bufs, count } if !source.kind.is_file() => {
            opcode::Writev::new(Fd(source.fd), bufs, length(count)).offset(OWN_POSITION).build()
        }
        Action::ReadAt { source, buf, len, offset } => {
            let entry = opcode::Read::new(Fd(source.fd), buf, length(len)).offset(offset).build();
            elsewhere_if_large(entry, len)
        }
        Action::WriteAt { source, buf, len, offset } => {
            let entry = opcode::Write::new(Fd(source.fd), buf, length(len)).offset(offset).build();
            elsewhere_if_synced(elsewhere_if_large(entry, len), source)
        }
        Action::ReadVectoredAt { source, bufs, count, offset } => {
            opcode::Readv::new(Fd(source.fd), bufs, length(count)).offset(offset).build()
        }
        Action::WriteVectoredAt { source, bufs, count, offset } => {
            let entry = opcode::Writev::new(Fd(source.fd), bufs, length(count));
            elsewhere_if_synced(entry.offset(offset).build(), source)
        }
        Action::Recv { source, buf, len, flags: wanted } => {
            opcode::Recv::new(Fd(source.fd), buf, length(len))
                .ioprio(poll_first)
                .flags(flags(wanted))
                .build()
        }
        Action::Send { source, buf, len, flags: wanted } if source.kind == SourceKind::Stream => {
            opcode::Send::new(Fd(source.fd), buf, length(len))
                .ioprio(poll_first)
                .flags(flags(wanted) | libc::MSG_NOSIGNAL)
                .build()
        }
        Action::RecvMessage { source, message, flags: wanted } => {
            opcode::RecvMsg::new(Fd(source.fd), message)
                .ioprio(poll_first)
                .flags(flags(wanted) as u32)
                .build()
        }
        Action::Sync { source, data_only } => {
            let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
            opcode::Fsync::new(Fd(source.fd)).flags(flags).build()
        }
        Action::Open { path, flags, mode } => opcode::OpenAt::new(Fd(libc::AT_FDCWD), path)
            .flags(flags | libc::O_CLOEXEC)
            .mode(mode)
            .build()
            .flags(squeue::Flags::ASYNC),
        Action::ReadVectored { .. }
        | Action::WriteVectored { .. }
        | Action::Send { .. }
        | Action::SendMessage { .. }
        | Action::Accept { .. }
        | Action::Connect { .. }
        | Action::Poll { .. }
        | Action::Run { .. } => return None,
    };
    ring.knows(entry.get_opcode() as u8).then_some(entry)
}

/// Leaves the transfer of much of a file to a thread of the kernel's at once. It would else be tried here first, and all
/// be copied that can be.
fn elsewhere_if_large(entry: squeue::Entry, len: usize) -> squeue::Entry {
    const LARGE: usize = 256 * 1024;
    if len > LARGE { entry.flags(squeue::Flags::ASYNC) } else { entry }
}

/// Leaves a write to a thread of the kernel's that is over when the disk has it. Some file systems would wait for that here.
fn elsewhere_if_synced(entry: squeue::Entry, source: Source) -> squeue::Entry {
    if source.kind == SourceKind::Synced { entry.flags(squeue::Flags::ASYNC) } else { entry }
}

/// The entry that waits until an operation is worth a try, or `None` for those that wait for no readiness. At the
/// stage of changes it goes on after the first.
pub(super) fn readiness(action: &Action, stage: Stage) -> Option<squeue::Entry> {
    let (source, _) = action.readiness()?;
    let goes_on = stage == Stage::Changes;
    Some(opcode::PollAdd::new(Fd(source.fd), events(action)).multi(goes_on).build())
}

/// What that entry asks for. Besides, the kernel reports errors and hang-ups, of one direction too.
pub(super) fn events(action: &Action) -> u32 {
    let events = match action.readiness() {
        None => 0,
        // Urgent data is nothing to read, but something to report.
        Some((_, Interest::Read)) if matches!(action, Action::Poll { .. }) => {
            libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP
        }
        Some((_, Interest::Read)) => libc::POLLIN | libc::POLLRDHUP,
        Some((_, Interest::Write)) => libc::POLLOUT,
        // A ring that has asked for POLLPRI alone sleeps through it (`IO_ASYNC_POLL_COMMON` in the kernel's io_uring/poll.c).
        // The wake-ups of sockets are for POLLRDBAND as well, which is no state of theirs: it ends no wait at once.
        Some((_, Interest::Priority)) => libc::POLLPRI | libc::POLLRDBAND,
    };
    events as u32
}

/// A length as the kernel takes it. Beyond that, a system call does a part too.
fn length(len: usize) -> u32 {
    len.min(MOST_BYTES) as u32
}
