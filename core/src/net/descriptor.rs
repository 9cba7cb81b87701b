//! An owned file descriptor and the operations on it: what makes [`submit`] safe for `net` and `fs`.
//!
//! Two facts carry every block of unsafe code below. The buffers of an operation are borrowed by the
//! method that submits it, and `submit` comes back, or unwinds, only when the operation is over. The
//! descriptor is owned by `self`, which that method borrows too, so it cannot be closed meanwhile.

use std::ffi::CStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use crate::driver::{Action, Interest, Source, SourceKind};
use crate::io::submit;

use super::raw_address::RawAddress;

/// The most buffers that one system call takes.
const MAX_BUFFERS: usize = libc::UIO_MAXIOV as usize;

/// One of std's types that own a descriptor (which is where everything but I/O is borrowed from),
/// under an id of its own.
#[derive(Debug)]
pub(crate) struct Descriptor<T> {
    inner: T,
    source: Source,
}

impl<T: AsFd + Into<OwnedFd>> Descriptor<T> {
    /// Takes `inner`, which must be in non-blocking mode unless it is a [file](SourceKind::is_file).
    pub(crate) fn new(inner: T, kind: SourceKind) -> Self {
        let source = Source::new(inner.as_fd().as_raw_fd(), kind);
        Self { inner, source }
    }

    /// For everything that is not I/O.
    pub(crate) fn inner(&self) -> &T {
        &self.inner
    }

    /// Gives the descriptor up.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    /// How to wait for the descriptor.
    pub(crate) fn kind(&self) -> SourceKind {
        self.source.kind
    }

    /// `read` at the descriptor's own position.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let action = Action::Read { source: self.source, buf: buf.as_mut_ptr(), len: buf.len() };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    }

    /// `read` into the spare capacity of `buf`, which grows by as many bytes.
    pub(crate) fn append_to(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let spare = buf.spare_capacity_mut();
        let action =
            Action::Read { source: self.source, buf: spare.as_mut_ptr().cast(), len: spare.len() };
        // SAFETY: `spare` and the descriptor are borrowed until `submit` is done; reading only
        // writes to the buffer, so it need not be initialised.
        let read = unsafe { submit(action, None) }?;
        // SAFETY: the kernel has initialised the first `read` bytes of the spare capacity.
        unsafe { buf.set_len(buf.len() + read) };
        Ok(read)
    }

    /// `write` at the descriptor's own position.
    pub(crate) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let action = Action::Write { source: self.source, buf: buf.as_ptr(), len: buf.len() };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    }

    /// `readv` at the descriptor's own position.
    pub(crate) fn read_vectored(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS);
        let bufs = bufs.as_mut_ptr().cast_const().cast();
        let action = Action::ReadVectored { source: self.source, bufs, count };
        // SAFETY: `IoSliceMut` is laid out as `iovec`; the slices, what they point to and the
        // descriptor are borrowed until `submit` is done.
        unsafe { submit(action, deadline) }
    }

    /// `writev` at the descriptor's own position.
    pub(crate) fn write_vectored(
        &self,
        bufs: &[IoSlice<'_>],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS);
        let action =
            Action::WriteVectored { source: self.source, bufs: bufs.as_ptr().cast(), count };
        // SAFETY: `IoSlice` is laid out as `iovec`; the slices, what they point to and the
        // descriptor are borrowed until `submit` is done.
        unsafe { submit(action, deadline) }
    }

    /// `pread`.
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let action = Action::ReadAt {
            source: self.positioned(offset)?,
            buf: buf.as_mut_ptr(),
            len: buf.len(),
            offset,
        };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    }

    /// `pwrite`.
    pub(crate) fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let action = Action::WriteAt {
            source: self.positioned(offset)?,
            buf: buf.as_ptr(),
            len: buf.len(),
            offset,
        };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    }

    /// `preadv`.
    pub(crate) fn read_vectored_at(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS);
        let bufs = bufs.as_mut_ptr().cast_const().cast();
        let source = self.positioned(offset)?;
        let action = Action::ReadVectoredAt { source, bufs, count, offset };
        // SAFETY: `IoSliceMut` is laid out as `iovec`; the slices, what they point to and the
        // descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    }

    /// `pwritev`.
    pub(crate) fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS);
        let (source, bufs) = (self.positioned(offset)?, bufs.as_ptr().cast());
        let action = Action::WriteVectoredAt { source, bufs, count, offset };
        // SAFETY: `IoSlice` is laid out as `iovec`; the slices, what they point to and the
        // descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    }

    /// `recv`.
    pub(crate) fn recv(
        &self,
        buf: &mut [u8],
        flags: i32,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let (buf, len) = (buf.as_mut_ptr(), buf.len());
        let action = Action::Recv { source: self.source, buf, len, flags };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, deadline) }
    }

    /// `send`.
    pub(crate) fn send(&self, buf: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        let (buf, len) = (buf.as_ptr(), buf.len());
        let action = Action::Send { source: self.source, buf, len, flags: 0 };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, deadline) }
    }

    /// `recvmsg`: how much was received, and from whom.
    pub(crate) fn recv_from(
        &self,
        buf: &mut [u8],
        flags: i32,
        deadline: Option<Instant>,
    ) -> io::Result<(usize, RawAddress)> {
        let mut from = RawAddress::empty();
        let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut message = empty_message();
        message.msg_name = from.as_mut_parts().0.cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        let action = Action::RecvMessage { source: self.source, message: &raw mut message, flags };
        // SAFETY: `message` and all that it points to, `from`, `part` and `buf`, and the descriptor
        // stay where they are until `submit` is done.
        let received = unsafe { submit(action, deadline) }?;
        from.set_len(message.msg_namelen);
        Ok((received, from))
    }

    /// `sendmsg` to an address; see [`Action::SendMessage`] for the flags that a Unix socket needs.
    pub(crate) fn send_to(
        &self,
        buf: &[u8],
        to: &RawAddress,
        flags: i32,
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let (addr, addr_len) = to.as_parts();
        let iov_base = buf.as_ptr().cast_mut().cast();
        let mut part = libc::iovec { iov_base, iov_len: buf.len() };
        let mut message = empty_message();
        message.msg_name = addr.cast_mut().cast();
        message.msg_namelen = addr_len;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        let action =
            Action::SendMessage { source: self.source, message: &raw const message, flags };
        // SAFETY: `message` and all that it points to, `to`, `part` and `buf`, which sending only
        // reads, and the descriptor stay where they are until `submit` is done.
        unsafe { submit(action, deadline) }
    }

    /// Waits for readiness.
    pub(crate) fn poll(&self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        let action = Action::Poll { source: self.source, interest };
        // SAFETY: the descriptor is borrowed until `submit` is done.
        unsafe { submit(action, deadline) }.map(drop)
    }

    /// `accept`: a connected socket in non-blocking mode, and its peer.
    pub(crate) fn accept(&self) -> io::Result<(OwnedFd, RawAddress)> {
        let mut peer = RawAddress::empty();
        let (addr, addr_len) = peer.as_mut_parts();
        let action = Action::Accept { source: self.source, addr, addr_len };
        // SAFETY: `peer` outlives the call, and the descriptor is borrowed until `submit` is done.
        let fd = unsafe { submit(action, None) }?;
        // SAFETY: the result is a new descriptor, which is ours.
        Ok((unsafe { owned(fd) }, peer))
    }

    /// `connect`.
    pub(crate) fn connect(&self, to: &RawAddress, deadline: Option<Instant>) -> io::Result<()> {
        let (addr, addr_len) = to.as_parts();
        let action = Action::Connect { source: self.source, addr, addr_len };
        // SAFETY: `to` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, deadline) }.map(drop)
    }

    /// `fsync`.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        let action = Action::Sync { source: self.source, data_only: false };
        // SAFETY: the descriptor is borrowed until `submit` is done.
        unsafe { submit(action, None) }.map(drop)
    }

    /// `fdatasync`.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        let action = Action::Sync { source: self.source, data_only: true };
        // SAFETY: the descriptor is borrowed until `submit` is done.
        unsafe { submit(action, None) }.map(drop)
    }

    /// The source for an operation at `offset`, which must be one that the kernel can express.
    ///
    /// Readiness belongs to a stream; at a position there is nothing to wait for but the disk, and
    /// what has no positions says so (`ESPIPE`).
    fn positioned(&self, offset: u64) -> io::Result<Source> {
        if i64::try_from(offset).is_err() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let kind = if self.kind().is_file() { self.kind() } else { SourceKind::File };
        Ok(Source { kind, ..self.source })
    }
}

/// `open`. A descriptor made for a FIFO is in blocking mode.
pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let action = Action::Open { path: path.as_ptr(), flags, mode };
    // SAFETY: `path` is borrowed until `submit` is done.
    let fd = unsafe { submit(action, None) }?;
    // SAFETY: the result is a new descriptor, which is ours.
    Ok(unsafe { owned(fd) })
}

/// A message without address, data, control data or flags.
fn empty_message() -> libc::msghdr {
    // SAFETY: integers and pointers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

/// Takes the descriptor that an operation answered.
///
/// # Safety
///
/// It is open and nobody else owns it.
unsafe fn owned(fd: usize) -> OwnedFd {
    // SAFETY: forwarded from the caller.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// The conversions of a type that turns into and from std's own, to which its `$field` gives access.
macro_rules! descriptor_traits {
    ($name:ident.$field:ident, $std:ty) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self.$field.inner(), f)
            }
        }

        /// The borrowed descriptor is in the mode that the runtime needs; leave it so.
        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.$field.inner().as_fd()
            }
        }

        /// The descriptor is in the mode that the runtime needs; leave it so.
        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.$field.inner().as_raw_fd()
            }
        }

        impl std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                <$std>::from(self).into_raw_fd()
            }
        }

        impl std::os::fd::FromRawFd for $name {
            unsafe fn from_raw_fd(fd: std::os::fd::RawFd) -> Self {
                // SAFETY: forwarded from the caller, who hands over an open descriptor.
                Self::from(unsafe { <$std>::from_raw_fd(fd) })
            }
        }

        impl From<std::os::fd::OwnedFd> for $name {
            fn from(fd: std::os::fd::OwnedFd) -> Self {
                Self::from(<$std>::from(fd))
            }
        }

        impl From<$name> for std::os::fd::OwnedFd {
            fn from(value: $name) -> Self {
                <$std>::from(value).into()
            }
        }
    };
}

pub(crate) use descriptor_traits;

/// Runs the body of a test that could hang if what it tests is broken.
#[cfg(test)]
#[track_caller]
pub(crate) fn bounded(body: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        body();
        let _ = done.send(());
    });
    let limit = std::time::Duration::from_secs(20);
    if is_done.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("still running after {limit:?}");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
