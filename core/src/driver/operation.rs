//! Operations: what a routine asks of an I/O driver, as plain data.
//!
//! The list of [`Action`]s is closed and lives here, and so does the knowledge of how each is
//! performed: [`OpRef::perform`] (now, on this thread) and [`OpRef::attempt`] (now, but only if that
//! does not block). A driver decides *where and when*, so a new readiness driver needs no code per
//! operation, and a ring translates [`Action`] into its own entries.
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
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Whether a file descriptor can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Sockets, pipes, terminals: in non-blocking mode, reports readiness.
    Pollable,
    /// A TCP socket: pollable, and a transfer of fewer bytes than asked for says that it is drained
    /// (or full). Unix sockets, pipes and terminals also stop short at boundaries that they keep
    /// (passed descriptors, packets, lines) while there is more, so they are plainly `Pollable`.
    Stream,
    /// Regular files and directories: always "ready", yet may block on the disk.
    File,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Readable, at end of file, or in error.
    Read,
    /// Writable, connected, or in error.
    Write,
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
            | Action::Sync { .. }
            | Action::Open { .. }
            | Action::Run { .. } => return None,
        };
        (source.kind != SourceKind::File).then_some((source, interest))
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
            Action::RecvMessage { message, flags, .. } => {
                // SAFETY: as above.
                flags == 0 && unsafe { holds_bytes((*message).msg_iov, (*message).msg_iovlen) }
            }
            Action::SendMessage { message, flags, .. } => {
                // SAFETY: as above.
                flags == 0 && unsafe { holds_bytes((*message).msg_iov, (*message).msg_iovlen) }
            }
            Action::Recv { len, flags, .. } | Action::Send { len, flags, .. } => {
                len > 0 && flags == 0
            }
            Action::Accept { .. } => true,
            _ => false,
        }
    }

    /// Performs the operation on this thread and blocks for as long as that takes.
    ///
    /// For a [pollable](SourceKind::Pollable) source, which is in non-blocking mode, this returns
    /// `WouldBlock` instead of blocking. Retries `EINTR`.
    pub fn perform(&self) -> io::Result<usize> {
        perform(self.get(), Blocking::Allowed)
    }

    /// Performs the operation if that is possible without blocking.
    ///
    /// Sockets are asked (`EAGAIN` becomes [`Attempt::NotReady`]); files are read and written from
    /// the page cache alone (`RWF_NOWAIT`) and opened from the directory cache alone
    /// (`RESOLVE_CACHED`), and [`Attempt::Blocks`] says that this was not enough.
    pub fn attempt(&self) -> Attempt {
        let op = self.get();
        match op.action.get().readiness() {
            Some((source, interest)) => match perform(op, Blocking::Avoided) {
                Err(error) if must_wait(&op.action.get(), &error) => {
                    Attempt::NotReady(source, interest)
                }
                result => Attempt::Done(result),
            },
            None => match perform(op, Blocking::Avoided) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Attempt::Blocks,
                result => Attempt::Done(result),
            },
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

/// The one place that turns an [`Action`] into a system call.
///
/// With [`Blocking::Avoided`], actions on files that would wait for the disk fail with `WouldBlock`.
fn perform(op: &Operation, blocking: Blocking) -> io::Result<usize> {
    // SAFETY (every system call below): `Operation::new` made its caller promise that the pointers
    // are valid for this action and the descriptor is open, for as long as this can be called.
    match op.action.get() {
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
        Action::Recv { source, buf, len, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::recv(source.fd, buf.cast(), len, flags) })
        }
        Action::Send { source, buf, len, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::send(source.fd, buf.cast(), len, flags | libc::MSG_NOSIGNAL) })
        }
        Action::RecvMessage { source, message, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::recvmsg(source.fd, message, flags) })
        }
        Action::SendMessage { source, message, flags } => {
            // SAFETY: see the top of this function.
            retry(|| unsafe { libc::sendmsg(source.fd, message, flags | libc::MSG_NOSIGNAL) })
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
            if poll_now(source.fd, interest)? {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
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
        Action::Run { call, data } => {
            // SAFETY: see the top of this function.
            unsafe { call(data) };
            Ok(0)
        }
    }
}

/// Repeats a system call while a signal interrupts it, and turns its result into ours.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
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

/// `preadv2`, with `RWF_NOWAIT` where a file must not block; `-1` is the descriptor's own position.
fn read_vectored(
    source: Source,
    bufs: *const libc::iovec,
    count: usize,
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    let count = count as libc::c_int;
    if source.kind != SourceKind::File && offset.is_none() {
        // SAFETY: the pointers are the operation's, see `perform`.
        return retry(|| unsafe { libc::readv(source.fd, bufs, count) });
    }
    if blocking == Blocking::Avoided {
        // SAFETY: as above.
        return cached(|flags| unsafe {
            libc::preadv2(source.fd, bufs, count, position(offset), flags)
        });
    }
    // SAFETY: as above.
    retry(|| unsafe {
        match offset {
            Some(offset) => libc::preadv(source.fd, bufs, count, offset as libc::off_t),
            None => libc::readv(source.fd, bufs, count),
        }
    })
}

/// `pwritev2`, the mirror image of [`read_vectored`].
fn write_vectored(
    source: Source,
    bufs: *const libc::iovec,
    count: usize,
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    let count = count as libc::c_int;
    if source.kind != SourceKind::File && offset.is_none() {
        // SAFETY: the pointers are the operation's, see `perform`.
        return retry(|| unsafe { libc::writev(source.fd, bufs, count) });
    }
    if blocking == Blocking::Avoided {
        // SAFETY: as above.
        return cached(|flags| unsafe {
            libc::pwritev2(source.fd, bufs, count, position(offset), flags)
        });
    }
    // SAFETY: as above.
    retry(|| unsafe {
        match offset {
            Some(offset) => libc::pwritev(source.fd, bufs, count, offset as libc::off_t),
            None => libc::writev(source.fd, bufs, count),
        }
    })
}

/// How `preadv2` and `pwritev2` spell a position.
fn position(offset: Option<u64>) -> libc::off_t {
    offset.map_or(-1, |offset| offset as libc::off_t)
}

/// Runs a call that takes `RWF_*` flags with `RWF_NOWAIT`; a file system that cannot do this says
/// `EOPNOTSUPP`, which here means the same as "would block".
fn cached(mut call: impl FnMut(libc::c_int) -> isize) -> io::Result<usize> {
    retry(|| call(libc::RWF_NOWAIT)).map_err(|error| match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })
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

/// Whether a descriptor is ready now; errors and hang-ups count as ready.
fn poll_now(fd: RawFd, interest: Interest) -> io::Result<bool> {
    let mut pollfd = pollfd(fd, interest);
    // SAFETY: one initialised entry, borrowed for the call.
    Ok(retry(|| unsafe { libc::poll(&mut pollfd, 1, 0) } as isize)? > 0)
}

/// The `poll` entry for one direction of a descriptor.
fn pollfd(fd: RawFd, interest: Interest) -> libc::pollfd {
    let events = match interest {
        Interest::Read => libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP,
        Interest::Write => libc::POLLOUT,
    };
    libc::pollfd { fd, events, revents: 0 }
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
    // Opening a FIFO waits for its other end and a device may do as it likes, cached or not. Looking
    // with O_PATH first opens nothing.
    let look = flags & (libc::O_NOFOLLOW | libc::O_DIRECTORY) | libc::O_PATH | libc::O_CLOEXEC;
    let looked = open_cached(path, look)?;
    // SAFETY: `open_cached` has just opened it, and nobody else knows of it.
    let looked = unsafe { OwnedFd::from_raw_fd(looked as RawFd) };
    // SAFETY: `stat` is plain integers, for which zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is valid for writing.
    retry(|| unsafe { libc::fstat(looked.as_raw_fd(), &mut stat) } as isize)?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => open_cached(path, flags),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// `openat2` with `RESOLVE_CACHED`, which fails with `WouldBlock` where it would touch the disk.
fn open_cached(path: *const libc::c_char, flags: i32) -> io::Result<usize> {
    // SAFETY: `open_how` is plain integers, for which zero is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = flags as u64;
    how.resolve = libc::RESOLVE_CACHED;
    retry(|| {
        // SAFETY: the path is the operation's, see `perform`; `how` is initialised and of the stated
        // size.
        unsafe {
            libc::syscall(
                libc::SYS_openat2,
                libc::AT_FDCWD,
                path,
                &how,
                size_of::<libc::open_how>(),
            ) as isize
        }
    })
    .map_err(|error| match error.raw_os_error() {
        // EPERM is what a seccomp filter says that does not know the call.
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })
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
        op.get().next.set(None);
        match self.tail.replace(op) {
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
        self.head = op.get().next.take();
        if self.head.is_none() {
            self.tail = None;
        }
        Some(op)
    }

    /// Takes out `op` and says whether it was in the list. Linear in the length of the list.
    pub fn remove(&mut self, op: OpRef) -> bool {
        let mut rest = std::mem::take(self);
        let mut found = false;
        while let Some(next) = rest.pop_front() {
            if next == op {
                found = true;
            } else {
                self.push_back(next);
            }
        }
        found
    }
}

/// Performs an operation on a plain thread, waiting for readiness there.
pub(crate) fn block_on(op: OpRef, deadline: Option<Instant>) -> io::Result<usize> {
    let Some((source, interest)) = op.action().readiness() else { return op.perform() };
    loop {
        match op.perform() {
            Err(error) if must_wait(&op.action(), &error) => {}
            result => return result,
        }
        let timeout = match deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // Rounded up, so as not to spin through the last millisecond.
                i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
            }
        };
        let mut pollfd = pollfd(source.fd, interest);
        // SAFETY: one initialised entry, borrowed for the call.
        retry(|| unsafe { libc::poll(&mut pollfd, 1, timeout) } as isize)?;
    }
}
