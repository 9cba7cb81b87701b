//! Operations that own the memory that they point to.

use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::path::Path;
use std::ptr;
use std::rc::Rc;

use rust_routines_core::driver::{Action, Interest, OpRef, Operation, SourceKind};

use super::fds::Fd;

/// What no test sends.
pub(super) const POISON: u8 = 0xa5;

/// An operation together with the memory that it points to. Clones are the same operation.
#[derive(Clone)]
pub(super) struct Call(Rc<Inner>);

struct Inner {
    what: &'static str,
    op: Operation,
    /// Owned; raw, since a driver may hold a pointer to it.
    buf: *mut [u8],
    /// Owned; raw, since a driver may hold a pointer to it.
    address: *mut Address,
    /// Owned, if not null; raw, since a driver may hold a pointer to it.
    message: *mut Message,
    _vectors: Vec<libc::iovec>,
    _run: Option<Box<Run>>,
}

/// Room for a socket address.
struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// A message of one part.
struct Message {
    header: libc::msghdr,
    part: libc::iovec,
}

type Run = Box<dyn Fn() + Send + Sync>;

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`; the bench kept this alive until the driver was done with it.
        unsafe {
            drop(Box::from_raw(self.buf));
            drop(Box::from_raw(self.address));
            if !self.message.is_null() {
                drop(Box::from_raw(self.message));
            }
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.what)
    }
}

impl Call {
    pub(super) fn read(fd: &Fd, len: usize) -> Self {
        let source = fd.source;
        Self::with("read", vec![0; len], |buf, len, _, _| Action::Read { source, buf, len })
    }

    pub(super) fn read_at(fd: &Fd, len: usize, offset: u64) -> Self {
        let source = fd.source;
        Self::with("read_at", vec![0; len], |buf, len, _, _| Action::ReadAt {
            source,
            buf,
            len,
            offset,
        })
    }

    /// Reads into buffers of the given lengths, which lie one after the other in [`data`](Self::data).
    pub(super) fn read_vectored(fd: &Fd, lens: &[usize]) -> Self {
        let source = fd.source;
        Self::vectored("read_vectored", vec![0; lens.iter().sum()], lens, |bufs, count| {
            Action::ReadVectored { source, bufs, count }
        })
    }

    pub(super) fn recv(fd: &Fd, len: usize, flags: i32) -> Self {
        let source = fd.source;
        Self::with("recv", vec![0; len], |buf, len, _, _| Action::Recv { source, buf, len, flags })
    }

    pub(super) fn write(fd: &Fd, data: &[u8]) -> Self {
        let source = fd.source;
        Self::with("write", data.to_vec(), |buf, len, _, _| Action::Write { source, buf, len })
    }

    pub(super) fn write_at(fd: &Fd, data: &[u8], offset: u64) -> Self {
        let source = fd.source;
        Self::with("write_at", data.to_vec(), |buf, len, _, _| Action::WriteAt {
            source,
            buf,
            len,
            offset,
        })
    }

    /// As [`read_vectored`](Self::read_vectored), at a position.
    pub(super) fn read_vectored_at(fd: &Fd, lens: &[usize], offset: u64) -> Self {
        let source = fd.source;
        Self::vectored("read_vectored_at", vec![0; lens.iter().sum()], lens, |bufs, count| {
            Action::ReadVectoredAt { source, bufs, count, offset }
        })
    }

    /// As [`write_vectored`](Self::write_vectored), at a position.
    pub(super) fn write_vectored_at(fd: &Fd, data: &[u8], lens: &[usize], offset: u64) -> Self {
        let source = fd.source;
        Self::vectored("write_vectored_at", data.to_vec(), lens, |bufs, count| {
            Action::WriteVectoredAt { source, bufs, count, offset }
        })
    }

    /// Writes `data` from buffers of the given lengths.
    pub(super) fn write_vectored(fd: &Fd, data: &[u8], lens: &[usize]) -> Self {
        let source = fd.source;
        Self::vectored("write_vectored", data.to_vec(), lens, |bufs, count| Action::WriteVectored {
            source,
            bufs,
            count,
        })
    }

    pub(super) fn send(fd: &Fd, data: &[u8], flags: i32) -> Self {
        let source = fd.source;
        Self::with("send", data.to_vec(), |buf, len, _, _| Action::Send { source, buf, len, flags })
    }

    pub(super) fn recv_message(fd: &Fd, len: usize, flags: i32) -> Self {
        let source = fd.source;
        Self::message("recv_message", vec![0; len], true, |message| Action::RecvMessage {
            source,
            message,
            flags,
        })
    }

    /// Sends to whom the socket is connected to, or to the given address.
    pub(super) fn send_message(fd: &Fd, data: &[u8], to: Option<&SocketAddr>) -> Self {
        let source = fd.source;
        let call = Self::message("send_message", data.to_vec(), to.is_some(), |message| {
            Action::SendMessage { source, message, flags: 0 }
        });
        if let Some(to) = to {
            // SAFETY: alive, and not submitted yet; the storage is large enough and aligned.
            unsafe {
                let storage = &raw mut (*call.0.address).storage;
                storage.cast::<libc::sockaddr_in>().write(inet(to));
                (*call.0.message).header.msg_namelen =
                    size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
        }
        call
    }

    pub(super) fn accept(fd: &Fd) -> Self {
        let source = fd.source;
        Self::with("accept", Vec::new(), |_, _, addr, addr_len| Action::Accept {
            source,
            addr,
            addr_len,
        })
    }

    pub(super) fn connect(fd: &Fd, to: &SocketAddr) -> Self {
        Self::connect_to(fd, inet(to))
    }

    pub(super) fn connect_unix(fd: &Fd, path: &Path) -> Self {
        // SAFETY: a socket address is plain integers, for which zero is valid.
        let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let path = path.as_os_str().as_encoded_bytes();
        assert!(path.len() < address.sun_path.len());
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        Self::connect_to(fd, address)
    }

    fn connect_to<A>(fd: &Fd, to: A) -> Self {
        let source = fd.source;
        assert!(size_of::<A>() <= size_of::<libc::sockaddr_storage>());
        Self::with("connect", Vec::new(), |_, _, addr, addr_len| {
            // SAFETY: `addr` is valid for a `sockaddr_storage`, and so large enough and aligned.
            unsafe {
                addr.cast::<A>().write(to);
                *addr_len = size_of::<A>() as libc::socklen_t;
                Action::Connect { source, addr, addr_len: *addr_len }
            }
        })
    }

    pub(super) fn poll(fd: &Fd, interest: Interest) -> Self {
        let source = fd.source;
        Self::with("poll", Vec::new(), |_, _, _, _| Action::Poll { source, interest })
    }

    pub(super) fn sync(fd: &Fd, data_only: bool) -> Self {
        let source = fd.source;
        Self::with("sync", Vec::new(), |_, _, _, _| Action::Sync { source, data_only })
    }

    pub(super) fn open(path: &Path, flags: i32, mode: u32) -> Self {
        let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
        bytes.push(0);
        Self::with("open", bytes, |path, _, _, _| Action::Open {
            path: path.cast_const().cast(),
            flags,
            mode,
        })
    }

    pub(super) fn run(f: impl Fn() + Send + Sync + 'static) -> Self {
        unsafe fn call(data: *mut ()) {
            // SAFETY: `data` is the pointer below, and the call keeps the closure.
            unsafe { (*data.cast::<Run>())() }
        }
        let run: Box<Run> = Box::new(Box::new(f));
        let data = ptr::from_ref(&*run).cast_mut().cast();
        let mut made =
            Self::with("run", Vec::new(), |_, _, _, _| Action::Run { call, data, lasting: true });
        made.inner()._run = Some(run);
        made
    }

    /// Whether this is a transfer that a file may cut short.
    pub(super) fn is_on_a_file(&self) -> bool {
        match self.op().action() {
            Action::ReadAt { .. } | Action::WriteAt { .. } => true,
            Action::Read { source, .. }
            | Action::ReadVectored { source, .. }
            | Action::Write { source, .. }
            | Action::WriteVectored { source, .. } => source.kind == SourceKind::File,
            _ => false,
        }
    }

    /// The part of this transfer from one byte of it up to another, as a transfer of its own.
    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        let len = to - from;
        match self.op().action() {
            Action::Read { source, .. }
            | Action::ReadVectored { source, .. }
            | Action::Recv { source, flags: 0, .. } => {
                Self::with("read", vec![0; len], |buf, len, _, _| Action::Read { source, buf, len })
            }
            Action::ReadAt { source, offset, .. }
            | Action::ReadVectoredAt { source, offset, .. } => {
                let offset = offset + from as u64;
                Self::with("read_at", vec![0; len], |buf, len, _, _| Action::ReadAt {
                    source,
                    buf,
                    len,
                    offset,
                })
            }
            Action::Write { source, .. }
            | Action::WriteVectored { source, .. }
            | Action::Send { source, flags: 0, .. } => {
                let data = self.data()[from..to].to_vec();
                Self::with("write", data, |buf, len, _, _| Action::Write { source, buf, len })
            }
            Action::WriteAt { source, offset, .. }
            | Action::WriteVectoredAt { source, offset, .. } => {
                let (data, offset) = (self.data()[from..to].to_vec(), offset + from as u64);
                Self::with("write_at", data, |buf, len, _, _| Action::WriteAt {
                    source,
                    buf,
                    len,
                    offset,
                })
            }
            _ => panic!("{self:?} has no parts"),
        }
    }

    fn with(
        what: &'static str,
        buf: Vec<u8>,
        action: impl FnOnce(*mut u8, usize, *mut libc::sockaddr_storage, *mut libc::socklen_t) -> Action,
    ) -> Self {
        let buf = Box::into_raw(buf.into_boxed_slice());
        // SAFETY: a socket address is plain integers, for which zero is valid.
        let address = Box::into_raw(Box::new(unsafe { mem::zeroed::<Address>() }));
        // SAFETY: `address` points to a live allocation.
        let (storage, len) = unsafe { (&raw mut (*address).storage, &raw mut (*address).len) };
        let action = action(buf.cast(), buf.len(), storage, len);
        // SAFETY: the pointers are to memory that the call owns.
        let op = unsafe { Operation::new(action) };
        let message = ptr::null_mut();
        Self(Rc::new(Inner { what, op, buf, address, message, _vectors: Vec::new(), _run: None }))
    }

    fn message(
        what: &'static str,
        buf: Vec<u8>,
        has_address: bool,
        action: impl FnOnce(*mut libc::msghdr) -> Action,
    ) -> Self {
        // SAFETY: integers and pointers, for which zero is valid.
        let message = Box::into_raw(Box::new(unsafe { mem::zeroed::<Message>() }));
        let mut made = Self::with(what, buf, |buf, len, addr, _| {
            // SAFETY: `message` points to a live allocation.
            unsafe {
                (*message).part = libc::iovec { iov_base: buf.cast(), iov_len: len };
                (*message).header.msg_iov = &raw mut (*message).part;
                (*message).header.msg_iovlen = 1;
                if has_address {
                    (*message).header.msg_name = addr.cast();
                    (*message).header.msg_namelen =
                        size_of::<libc::sockaddr_storage>() as libc::socklen_t;
                }
                action(&raw mut (*message).header)
            }
        });
        made.inner().message = message;
        made
    }

    fn vectored(
        what: &'static str,
        buf: Vec<u8>,
        lens: &[usize],
        action: impl FnOnce(*const libc::iovec, usize) -> Action,
    ) -> Self {
        assert_eq!(buf.len(), lens.iter().sum::<usize>());
        let mut vectors = Vec::new();
        let mut call = Self::with(what, buf, |mut at, _, _, _| {
            for &iov_len in lens {
                vectors.push(libc::iovec { iov_base: at.cast(), iov_len });
                at = at.wrapping_add(iov_len);
            }
            action(vectors.as_ptr(), vectors.len())
        });
        call.inner()._vectors = vectors;
        call
    }

    fn inner(&mut self) -> &mut Inner {
        Rc::get_mut(&mut self.0).expect("not submitted yet")
    }

    pub(super) fn op(&self) -> OpRef {
        // SAFETY: it does not move, and the bench that it is submitted to keeps it alive.
        unsafe { self.0.op.as_ref() }
    }

    /// The buffer, once the operation is back.
    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: alive, and not written to: the operation is back.
        unsafe { &*self.0.buf }
    }

    /// The port of the address that `accept` or `recv_message` reported.
    pub(super) fn peer_port(&self) -> u16 {
        // SAFETY: alive, and not written to: the operation is back.
        let (address, message) = unsafe { (&*self.0.address, self.0.message.as_ref()) };
        let len = message.map_or(address.len, |message| message.header.msg_namelen);
        assert_eq!(i32::from(address.storage.ss_family), libc::AF_INET);
        assert_eq!(len as usize, size_of::<libc::sockaddr_in>());
        // SAFETY: the family says that it is one, and the storage is large enough and aligned.
        let address = unsafe { &*(&raw const address.storage).cast::<libc::sockaddr_in>() };
        u16::from_be(address.sin_port)
    }

    /// The flags that `recv_message` reported.
    pub(super) fn message_flags(&self) -> i32 {
        // SAFETY: alive, and not written to: the operation is back.
        unsafe { (*self.0.message).header.msg_flags }
    }

    /// Overwrites the buffer once the operation is back. A driver that writes to it later shows in
    /// [`data`](Self::data), one that sends it later shows at the other end.
    pub(super) fn poison(&self) {
        // SAFETY: alive, and nobody else uses it: the operation is back.
        unsafe { (*self.0.buf).fill(POISON) };
    }
}

/// An address as the kernel spells it.
fn inet(address: &SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(address) = address else { panic!("tests use IPv4") };
    // SAFETY: a socket address is plain integers, for which zero is valid.
    let mut raw: libc::sockaddr_in = unsafe { mem::zeroed() };
    raw.sin_family = libc::AF_INET as libc::sa_family_t;
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    raw
}

/// Bytes that tell where they belong: none occurs at the same place of the next page.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at ^ (at >> 8) ^ (at >> 16)) % 251) as u8 % POISON).collect()
}
