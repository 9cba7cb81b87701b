//! Operations: what a routine asks of an I/O driver, as plain data.
//!
//! The list of [`Action`]s is closed, and core knows how each is performed: [`OpRef::perform`] (now, on
//! this thread) and [`OpRef::attempt`] (now, but only if that does not block). A driver decides *where
//! and when*, so a new readiness driver needs no code per operation, and a ring translates [`Action`]
//! into its own entries.
//!
//! # Buffers
//!
//! An action holds raw pointers to memory that the blocked caller borrows: its stack, or what its
//! stack keeps alive. Whoever constructs an [`Operation`] promises that they stay valid until it is
//! handed back (see the [contract](super::io)); everyone after that only forwards the promise.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomPinned;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Whether a file descriptor can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Sockets, pipes, terminals: in non-blocking mode, reports readiness.
    Pollable,
    /// A socket that hands out whole things: datagrams, and a Unix listener its connections. Pollable, but when it has
    /// been shut down the kernel tells only those who wait in a call, and refuses the others as before.
    /// [`OpRef::attempt`] tells all; so a driver that has the kernel perform an operation need only attempt what comes
    /// back refused.
    Queue,
    /// A TCP socket: pollable, and a transfer of fewer bytes than asked for says that it is drained
    /// (or full). Unix sockets, pipes and terminals also stop short at boundaries that they keep
    /// (passed descriptors, packets, lines) while there is more, so they are plainly `Pollable`.
    Stream,
    /// Regular files and directories: always "ready", yet may block on the disk.
    File,
    /// Regular files of a file system that is nothing but memory (tmpfs): always ready, and no read blocks.
    Memory,
    /// Files that are read and written past the page cache (`O_DIRECT`): always "ready", and every transfer waits for the
    /// disk, whatever it was told.
    Direct,
    /// Regular files that are not written until the disk has it (`O_DSYNC`, `O_SYNC`): some file systems wait for that even
    /// if told not to. They are read like others.
    Synced,
}

impl SourceKind {
    /// Whether readiness is nothing to wait for.
    pub fn is_file(self) -> bool {
        use SourceKind::{Direct, File, Memory, Synced};
        matches!(self, File | Memory | Direct | Synced)
    }
}

/// A file descriptor as drivers see it.
///
/// Numbers of file descriptors are reused as soon as one is closed; `id` never is. A driver that
/// remembers something per descriptor compares ids to notice that it belongs to a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The descriptor, open for as long as an operation on it is pending.
    pub fd: RawFd,
    /// Unique to this open descriptor within the process.
    pub id: u64,
    /// Whether it can be waited for.
    pub kind: SourceKind,
}

impl Source {
    /// Describes a newly opened descriptor under a fresh id.
    pub fn new(fd: RawFd, kind: SourceKind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { fd, id: NEXT.fetch_add(1, Ordering::Relaxed), kind }
    }
}

/// A direction of readiness.
///
/// Errors and hang-ups count as each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Readable, at end of file, or with something urgent to tell.
    Read,
    /// Writable, or connected.
    Write,
    /// With something urgent to tell (`POLLPRI`): urgent data, or a change in a file of `/proc` or `/sys` that reports
    /// such. Of [`Action::Poll`] alone.
    Priority,
}

/// A piece of work for [`Action::Run`]: a function and its argument, borrowed from the caller.
pub type RunFn = unsafe fn(*mut ());

/// What to do. Results are counts of bytes unless stated otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// `read` at the descriptor's own position.
    Read {
        /// From where.
        source: Source,
        /// Room for `len` bytes.
        buf: *mut u8,
        /// Size of the buffer.
        len: usize,
    },
    /// `write` at the descriptor's own position.
    Write {
        /// To where.
        source: Source,
        /// `len` initialised bytes.
        buf: *const u8,
        /// Size of the buffer.
        len: usize,
    },
    /// `readv` at the descriptor's own position.
    ReadVectored {
        /// From where.
        source: Source,
        /// `count` buffers.
        bufs: *const libc::iovec,
        /// Number of buffers.
        count: usize,
    },
    /// `writev` at the descriptor's own position.
    WriteVectored {
        /// To where.
        source: Source,
        /// `count` buffers.
        bufs: *const libc::iovec,
        /// Number of buffers.
        count: usize,
    },
    /// `pread`: read at `offset`.
    ReadAt {
        /// From where.
        source: Source,
        /// Room for `len` bytes.
        buf: *mut u8,
        /// Size of the buffer.
        len: usize,
        /// Position in the file.
        offset: u64,
    },
    /// `pwrite`: write at `offset`.
    WriteAt {
        /// To where.
        source: Source,
        /// `len` initialised bytes.
        buf: *const u8,
        /// Size of the buffer.
        len: usize,
        /// Position in the file.
        offset: u64,
    },
    /// `preadv`: read at `offset`.
    ReadVectoredAt {
        /// From where.
        source: Source,
        /// `count` buffers.
        bufs: *const libc::iovec,
        /// Number of buffers.
        count: usize,
        /// Position in the file.
        offset: u64,
    },
    /// `pwritev`: write at `offset`.
    WriteVectoredAt {
        /// To where.
        source: Source,
        /// `count` buffers.
        bufs: *const libc::iovec,
        /// Number of buffers.
        count: usize,
        /// Position in the file.
        offset: u64,
    },
    /// `recv` with flags, `MSG_PEEK` for instance.
    Recv {
        /// A socket.
        source: Source,
        /// Room for `len` bytes.
        buf: *mut u8,
        /// Size of the buffer.
        len: usize,
        /// `MSG_*` flags.
        flags: i32,
    },
    /// `send` with flags; `MSG_NOSIGNAL` is always added.
    Send {
        /// A socket.
        source: Source,
        /// `len` initialised bytes.
        buf: *const u8,
        /// Size of the buffer.
        len: usize,
        /// `MSG_*` flags.
        flags: i32,
    },
    /// `recvmsg` with flags: data with its sender's address.
    RecvMessage {
        /// A socket.
        source: Source,
        /// Room for the message. Out: the length of the address and the message's own flags.
        message: *mut libc::msghdr,
        /// `MSG_*` flags.
        flags: i32,
    },
    /// `sendmsg` with flags; `MSG_NOSIGNAL` is always added.
    ///
    /// On a Unix socket it may be the recipient who has no room, and the readiness of a sender that is not
    /// connected to it does not tell when it has some: use `MSG_DONTWAIT` there, with which (here as in the
    /// other transfers) `EAGAIN` is the result.
    SendMessage {
        /// A socket.
        source: Source,
        /// The message.
        message: *const libc::msghdr,
        /// `MSG_*` flags.
        flags: i32,
    },
    /// `accept4` with `SOCK_NONBLOCK | SOCK_CLOEXEC`. The result is the new descriptor, which the
    /// receiver of the result owns.
    Accept {
        /// A listening socket.
        source: Source,
        /// Where the peer's address goes.
        addr: *mut libc::sockaddr_storage,
        /// In: room for the address. Out: its length.
        addr_len: *mut libc::socklen_t,
    },
    /// `connect`. The result is zero.
    ///
    /// A Unix listener whose backlog is full refuses with `EAGAIN`, and that is the result: there is
    /// no readiness that would tell when to try again.
    Connect {
        /// A fresh socket.
        source: Source,
        /// The address to connect to.
        addr: *const libc::sockaddr_storage,
        /// Its length.
        addr_len: libc::socklen_t,
    },
    /// Wait until a descriptor is ready. The result is zero.
    ///
    /// Some files tell of a change once, to whoever asks first (mount tables, perf events). So a driver that has been
    /// told finishes the operation, and does not ask by another [attempt](OpRef::attempt).
    Poll {
        /// What to wait for.
        source: Source,
        /// In which direction.
        interest: Interest,
    },
    /// `fsync`, or `fdatasync` with `data_only`. The result is zero.
    Sync {
        /// A file.
        source: Source,
        /// Leave out metadata that is not needed to read the data back.
        data_only: bool,
    },
    /// `openat` relative to the working directory, with `O_CLOEXEC` added. The result is the new
    /// descriptor, which the receiver of the result owns.
    Open {
        /// A path that ends with a zero byte.
        path: *const libc::c_char,
        /// `O_*` flags.
        flags: i32,
        /// Permission bits of a file that is created.
        mode: u32,
    },
    /// Call `call(data)` on a thread that may block. The result is zero.
    Run {
        /// The function; it must not unwind.
        call: RunFn,
        /// Its argument.
        data: *mut (),
        /// Whether it is a program's own, which may take as long as it likes and wait for other operations. If there is a
        /// limit to how many run at once, it should not make those wait that are not lasting.
        lasting: bool,
    },
}

impl Action {
    /// The descriptor and direction whose readiness lets this action go on, or `None` where only a
    /// thread that may block can perform it.
    pub fn readiness(&self) -> Option<(Source, Interest)> {
        let (source, interest) = match *self {
            Action::Read { source, .. }
            | Action::ReadVectored { source, .. }
            | Action::Recv { source, .. }
            | Action::RecvMessage { source, .. }
            | Action::Accept { source, .. } => (source, Interest::Read),
            Action::Write { source, .. }
            | Action::WriteVectored { source, .. }
            | Action::Send { source, .. }
            | Action::SendMessage { source, .. }
            | Action::Connect { source, .. } => (source, Interest::Write),
            Action::Poll { source, interest } => return Some((source, interest)),
            Action::ReadAt { .. }
            | Action::WriteAt { .. }
            | Action::ReadVectoredAt { .. }
            | Action::WriteVectoredAt { .. }
            | Action::Sync { .. }
            | Action::Open { .. }
            | Action::Run { .. } => return None,
        };
        (!source.kind.is_file()).then_some((source, interest))
    }

    /// How many bytes a full transfer would move, for the actions on a [`SourceKind::Stream`] whose
    /// short count tells that it has been drained (or filled) and that the next attempt would only be
    /// refused.
    pub fn drains_at(&self) -> Option<usize> {
        let (source, len) = match *self {
            Action::Read { source, len, .. }
            | Action::Write { source, len, .. }
            | Action::Send { source, len, flags: 0, .. }
            | Action::Recv { source, len, flags: 0, .. } => (source, len),
            _ => return None,
        };
        (source.kind == SourceKind::Stream).then_some(len)
    }
}

/// What came of trying an operation without blocking.
#[derive(Debug)]
pub enum Attempt {
    /// It is finished.
    Done(io::Result<usize>),
    /// It can be tried again once the source is ready.
    NotReady(Source, Interest),
    /// Only [`OpRef::perform`] on a thread that may block can finish it.
    Blocks,
}

/// The error of an operation that was given up: `ECANCELED`.
pub fn canceled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// Whether `error` is the one that [`canceled`] makes.
pub fn is_canceled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// One operation, pinned on the stack of whoever waits for it.
pub struct Operation {
    action: Cell<Action>,
    /// Whom the scheduler wakes; drivers never look at it.
    owner: Cell<*const ()>,
    /// What came of it, once the scheduler has it back.
    result: Cell<Option<io::Result<usize>>>,
    /// Belongs to the driver that holds the operation, as `next` does.
    prev: Cell<Option<OpRef>>,
    /// Belongs to the driver that holds the operation.
    next: Cell<Option<OpRef>>,
    /// Belongs to the driver that holds the operation.
    word: AtomicUsize,
    _pinned: PhantomPinned,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("action", &self.action.get()).finish_non_exhaustive()
    }
}

impl Operation {
    /// Describes `action`.
    ///
    /// # Safety
    ///
    /// The pointers in `action` must be valid for what the action does with them, and the descriptor
    /// open, whenever the operation is performed: until it was handed back by the driver it was
    /// submitted to.
    pub unsafe fn new(action: Action) -> Self {
        Self {
            action: Cell::new(action),
            owner: Cell::new(std::ptr::null()),
            result: Cell::new(None),
            prev: Cell::new(None),
            next: Cell::new(None),
            word: AtomicUsize::new(0),
            _pinned: PhantomPinned,
        }
    }

    /// A reference to hand to a driver.
    ///
    /// # Safety
    ///
    /// The operation must neither move nor be dropped until the last use of the reference: for one
    /// that was submitted and answered `Pending`, until the driver handed it back.
    pub unsafe fn as_ref(&self) -> OpRef {
        OpRef(NonNull::from(self))
    }

    /// Names whom to wake; opaque to drivers.
    pub(crate) fn set_owner(&self, owner: *const ()) {
        self.owner.set(owner);
    }
}

/// A driver's handle to a pending [`Operation`]. Valid until handed back; see the
/// [contract](super::io).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpRef(NonNull<Operation>);

// SAFETY: an operation is shared between its worker's driver and the threads behind that driver,
// which pass it on like a baton (contract, point 2): the cells are touched by one holder at a time,
// and `word` is atomic.
unsafe impl Send for OpRef {}

impl fmt::Debug for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpRef({:p})", self.0)
    }
}

impl OpRef {
    fn get(&self) -> &Operation {
        // SAFETY: `Operation::as_ref` made its caller promise that the operation outlives this.
        unsafe { self.0.as_ref() }
    }

    /// What to do.
    pub fn action(&self) -> Action {
        self.get().action.get()
    }

    /// A word for the driver's own use, zero when submitted. A driver that passes operations between
    /// threads keeps its claim (queued, running, cancelled) here.
    pub fn word(&self) -> &AtomicUsize {
        &self.get().word
    }

    pub(crate) fn owner(&self) -> *const () {
        self.get().owner.get()
    }

    pub(crate) fn set_result(&self, result: io::Result<usize>) {
        self.get().result.set(Some(result));
    }

    /// The result of an operation that is back; one that is not has been given up.
    pub(crate) fn take_result(&self) -> io::Result<usize> {
        self.get().result.take().unwrap_or_else(|| Err(canceled()))
    }

    /// Whether the readiness of its direction is all that this operation depends on, so that one
    /// refused for want of it tells that the next would be refused too.
    ///
    /// Not so for `Connect`, whose first attempt starts something; for `Poll`, which also reports
    /// out-of-band data; for transfers with flags, which may look past the stream; and for transfers of
    /// nothing, which succeed at once.
    pub fn is_plain(&self) -> bool {
        match self.action() {
            Action::Read { len, .. } | Action::Write { len, .. } => len > 0,
            Action::ReadVectored { bufs, count, .. }
            | Action::WriteVectored { bufs, count, .. } => {
                // SAFETY: `Operation::new` made its caller promise that the pointers are valid.
                unsafe { holds_bytes(bufs, count) }
            }
            // `as _`: the type of the count differs between C libraries.
            Action::RecvMessage { message, flags, .. } => {
                // SAFETY: as above.
                flags == 0 && unsafe { holds_bytes((*message).msg_iov, (*message).msg_iovlen as _) }
            }
            Action::SendMessage { message, flags, .. } => {
                // SAFETY: as above.
                flags == 0 && unsafe { holds_bytes((*message).msg_iov, (*message).msg_iovlen as _) }
            }
            Action::Recv { len, flags, .. } | Action::Send { len, flags, .. } => {
                len > 0 && flags == 0
            }
            Action::Accept { .. } => true,
            _ => false,
        }
    }
}

/// Whether the buffers together have room for a byte.
///
/// # Safety
///
/// `bufs` points to `count` of them.
unsafe fn holds_bytes(bufs: *const libc::iovec, count: usize) -> bool {
    // SAFETY: forwarded from the caller.
    (0..count).any(|index| unsafe { (*bufs.add(index)).iov_len > 0 })
}

/// A first-in first-out list of pending operations, linked through the operations themselves, so
/// that waiting costs a driver no allocation.
#[derive(Debug, Default)]
pub struct OpQueue {
    head: Option<OpRef>,
    tail: Option<OpRef>,
}

impl OpQueue {
    /// An empty list.
    pub const fn new() -> Self {
        Self { head: None, tail: None }
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Appends an operation. It must be in no other list.
    pub fn push_back(&mut self, op: OpRef) {
        let tail = self.tail.replace(op);
        op.get().prev.set(tail);
        match tail {
            Some(tail) => tail.get().next.set(Some(op)),
            None => self.head = Some(op),
        }
    }

    /// The oldest operation, which stays in the list.
    pub fn front(&self) -> Option<OpRef> {
        self.head
    }

    /// Takes out the oldest operation.
    pub fn pop_front(&mut self) -> Option<OpRef> {
        let op = self.head?;
        self.remove(op);
        Some(op)
    }

    /// Takes out `op`, which must be in no other list, and says whether it was in this one.
    pub fn remove(&mut self, op: OpRef) -> bool {
        if self.head != Some(op) && op.get().prev.get().is_none() {
            return false;
        }
        let (prev, next) = (op.get().prev.take(), op.get().next.take());
        match prev {
            Some(prev) => prev.get().next.set(next),
            None => self.head = next,
        }
        match next {
            Some(next) => next.get().prev.set(prev),
            None => self.tail = prev,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Fails if taking out the first, the last, the only one or one in between, or one that is not there, changes which
    /// others there are or their order.
    #[test]
    fn queue_keeps_its_order_whatever_is_taken_out() {
        let source = Source::new(-1, SourceKind::Pollable);
        let action = Action::Poll { source, interest: Interest::Read };
        // SAFETY: they are never performed.
        let operations: Vec<_> = (0..8).map(|_| unsafe { Operation::new(action) }).collect();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut queue, mut model) = (OpQueue::new(), VecDeque::new());
        for _ in 0..10_000 {
            // SAFETY: they outlive the queue.
            let op = unsafe { operations[random.usize(..operations.len())].as_ref() };
            match model.iter().position(|other| *other == op) {
                _ if random.u8(..4) == 0 => assert_eq!(queue.pop_front(), model.pop_front()),
                Some(place) => {
                    assert!(queue.remove(op));
                    model.remove(place);
                }
                None => {
                    assert!(!queue.remove(op));
                    queue.push_back(op);
                    model.push_back(op);
                }
            }
            assert_eq!(queue.front(), model.front().copied());
            assert_eq!(queue.is_empty(), model.is_empty());
            let links = std::iter::successors(queue.head, |op| op.get().next.get());
            assert!(links.eq(model.iter().copied()));
            let links = std::iter::successors(queue.tail, |op| op.get().prev.get());
            assert!(links.eq(model.iter().rev().copied()));
        }
    }
}
