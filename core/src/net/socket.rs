//! What connections and datagram sockets have in common: one of std's sockets in the mode that the
//! runtime needs, the timeouts that its handles share, and the methods that go with them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::driver::{Interest, SourceKind};

use super::descriptor::Descriptor;
use super::raw_address::RawAddress;

/// One of std's socket types, under the names that its methods have there.
pub(super) trait StdSocket: AsFd + Into<OwnedFd> {
    /// How a descriptor in this type, which can be anything, is waited for.
    fn kind(&self) -> SourceKind;
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    fn try_clone(&self) -> io::Result<Self>;
    fn read_timeout(&self) -> io::Result<Option<Duration>>;
    fn write_timeout(&self) -> io::Result<Option<Duration>>;
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

/// Implements the trait with the methods of the same names.
macro_rules! std_sockets {
    ($($std:ty: $kind:expr),* $(,)?) => {$(
        impl StdSocket for $std {
            fn kind(&self) -> SourceKind {
                let kind: fn(&$std) -> SourceKind = $kind;
                kind(self)
            }

            fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                <$std>::set_nonblocking(self, nonblocking)
            }

            fn try_clone(&self) -> io::Result<Self> {
                <$std>::try_clone(self)
            }

            fn read_timeout(&self) -> io::Result<Option<Duration>> {
                <$std>::read_timeout(self)
            }

            fn write_timeout(&self) -> io::Result<Option<Duration>> {
                <$std>::write_timeout(self)
            }

            fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                <$std>::set_read_timeout(self, timeout)
            }

            fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                <$std>::set_write_timeout(self, timeout)
            }
        }
    )*};
}

std_sockets! {
    // Only a TCP socket has this option.
    std::net::TcpStream: |socket| match socket.nodelay() {
        Ok(_) => SourceKind::Stream,
        Err(_) => SourceKind::Pollable,
    },
    std::net::UdpSocket: |_| SourceKind::Queue,
    UnixStream: |_| SourceKind::Pollable,
    UnixDatagram: |_| SourceKind::Queue,
}

/// A socket whose calls heed timeouts.
pub(super) struct Socket<T> {
    descriptor: Descriptor<T>,
    /// Shared by all handles to the socket, as the socket option in its place would be.
    timeouts: Arc<Timeouts>,
}

impl<T: StdSocket> Socket<T> {
    /// Wraps a socket that is in non-blocking mode and has no timeouts.
    pub(super) fn non_blocking(socket: T, kind: SourceKind) -> Self {
        Self { descriptor: Descriptor::new(socket, kind), timeouts: Arc::default() }
    }

    /// Puts the socket into non-blocking mode and takes over its timeouts.
    pub(super) fn from_std(socket: T) -> Self {
        // Only what is no open file refuses, and on that every operation will fail.
        let _ = socket.set_nonblocking(true);
        let timeouts = Timeouts::default();
        // std never answers zero, so nothing is refused; what is no socket has no timeouts.
        let _ = timeouts.read.set(socket.read_timeout().unwrap_or(None));
        let _ = timeouts.write.set(socket.write_timeout().unwrap_or(None));
        let kind = socket.kind();
        Self { descriptor: Descriptor::new(socket, kind), timeouts: Arc::new(timeouts) }
    }

    /// Puts the socket back into blocking mode and hands its timeouts over.
    pub(super) fn into_std(self) -> T {
        let socket = self.descriptor.into_inner();
        // As above.
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_read_timeout(self.timeouts.read.get());
        let _ = socket.set_write_timeout(self.timeouts.write.get());
        socket
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let socket = self.descriptor.inner().try_clone()?;
        let descriptor = Descriptor::new(socket, self.descriptor.kind());
        Ok(Self { descriptor, timeouts: Arc::clone(&self.timeouts) })
    }

    /// For everything that is not I/O.
    pub(super) fn inner(&self) -> &T {
        self.descriptor.inner()
    }

    pub(super) fn read_timeout(&self) -> &Timeout {
        &self.timeouts.read
    }

    pub(super) fn write_timeout(&self) -> &Timeout {
        &self.timeouts.write
    }

    pub(super) fn connect(&self, to: &RawAddress, deadline: Option<Instant>) -> io::Result<()> {
        self.descriptor.connect(to, deadline)
    }

    /// `recv` from a stream: asking for nothing is answered at once instead of with the next data.
    pub(super) fn read(&self, buf: &mut [u8], flags: i32) -> io::Result<usize> {
        if buf.is_empty() { Ok(0) } else { self.recv(buf, flags) }
    }

    /// `readv` from a stream, with the same exception.
    pub(super) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        self.descriptor.read_vectored(bufs, self.timeouts.read.deadline()).map_err(expired)
    }

    pub(super) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.descriptor.write_vectored(bufs, self.timeouts.write.deadline()).map_err(expired)
    }

    pub(super) fn recv(&self, buf: &mut [u8], flags: i32) -> io::Result<usize> {
        self.descriptor.recv(buf, flags, self.timeouts.read.deadline()).map_err(expired)
    }

    pub(super) fn recv_from(&self, buf: &mut [u8], flags: i32) -> io::Result<(usize, RawAddress)> {
        self.descriptor.recv_from(buf, flags, self.timeouts.read.deadline()).map_err(expired)
    }

    pub(super) fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.descriptor.send(buf, self.timeouts.write.deadline()).map_err(expired)
    }

    pub(super) fn send_to(&self, buf: &[u8], to: &RawAddress, flags: i32) -> io::Result<usize> {
        self.descriptor.send_to(buf, to, flags, self.timeouts.write.deadline()).map_err(expired)
    }

    /// Waits for readiness, as a part of a call whose timeout the deadline comes from.
    pub(super) fn wait(&self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        self.descriptor.poll(interest, deadline).map_err(expired)
    }
}

/// How long the calls on a socket may wait.
#[derive(Debug, Default)]
struct Timeouts {
    read: Timeout,
    write: Timeout,
}

/// A timeout in nanoseconds, which zero cannot be and so means none. Relaxed: it guards nothing.
#[derive(Debug, Default)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    /// Sets the timeout. More than 584 years count as that.
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(zero_timeout());
        }
        let nanos = timeout.map_or(0, |timeout| timeout.as_nanos().try_into().unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// When a call that starts now has run out of time. Reads the clock only if there is a timeout.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.get().and_then(|timeout| Instant::now().checked_add(timeout))
    }
}

/// Turns our own `TimedOut`, which has no OS code, into the `EAGAIN` that `SO_RCVTIMEO` leads to.
fn expired(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
        io::Error::from_raw_os_error(libc::EAGAIN)
    } else {
        error
    }
}

pub(super) fn zero_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a timeout must be longer than zero")
}

/// An unconnected stream socket in non-blocking mode.
pub(super) fn new_stream(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    match unsafe { libc::socket(family, kind, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call has just made it, and nobody else knows it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// What every type with a [`Socket`] in its `socket` field has: addresses, handles, timeouts and
/// conversions.
macro_rules! socket_methods {
    ($name:ident, $std:ty, $addr:ty) => {
        impl $name {
            /// The address of the other end.
            ///
            /// # Errors
            ///
            /// `NotConnected` when there is none, or none any more, or what else `getpeername(2)`
            /// reports.
            pub fn peer_addr(&self) -> std::io::Result<$addr> {
                self.socket.inner().peer_addr()
            }

            /// The address of this end.
            ///
            /// # Errors
            ///
            /// What `getsockname(2)` reports.
            pub fn local_addr(&self) -> std::io::Result<$addr> {
                self.socket.inner().local_addr()
            }

            /// Another handle to the same socket. Options and timeouts are common to both.
            ///
            /// # Errors
            ///
            /// If the process has no descriptor left.
            pub fn try_clone(&self) -> std::io::Result<Self> {
                Ok(Self { socket: self.socket.try_clone()? })
            }

            /// Limits how long each read or receive may wait; `None`, the default, is for ever.
            ///
            /// A call that runs out of time fails with `WouldBlock`, the kind that std has for it on
            /// Unix. `TimedOut` stays what it is there too: the connection itself is dead, since the
            /// peer has stopped acknowledging.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a timeout of zero.
            pub fn set_read_timeout(
                &self,
                dur: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.socket.read_timeout().set(dur)
            }

            /// Limits how long each write or send may wait; `None`, the default, is for ever.
            ///
            /// A call that runs out of time fails with `WouldBlock`, see
            /// [`set_read_timeout`](Self::set_read_timeout).
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a timeout of zero.
            pub fn set_write_timeout(
                &self,
                dur: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.socket.write_timeout().set(dur)
            }

            /// How long each read or receive may wait.
            ///
            /// # Errors
            ///
            /// None; the signature is std's.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.socket.read_timeout().get())
            }

            /// How long each write or send may wait.
            ///
            /// # Errors
            ///
            /// None; the signature is std's.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.socket.write_timeout().get())
            }

            /// Takes the socket's pending error (`SO_ERROR`).
            ///
            /// # Errors
            ///
            /// What `getsockopt(2)` reports.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.socket.inner().take_error()
            }
        }

        crate::net::descriptor::descriptor_traits!($name.socket, $std);

        /// Puts the socket into non-blocking mode and takes over its timeouts.
        impl From<$std> for $name {
            fn from(socket: $std) -> Self {
                Self { socket: crate::net::socket::Socket::from_std(socket) }
            }
        }

        /// Puts the socket back into blocking mode, for its other handles too, and hands its timeouts
        /// over.
        impl From<$name> for $std {
            fn from(value: $name) -> Self {
                value.socket.into_std()
            }
        }
    };
}

/// Sets and reads the time-to-live, of anything whose `$field` answers std's socket to `inner`.
macro_rules! ttl_methods {
    ($name:ident.$field:ident) => {
        impl $name {
            /// Sets the time-to-live of packets sent from this socket.
            ///
            /// # Errors
            ///
            /// What `setsockopt(2)` reports.
            pub fn set_ttl(&self, ttl: u32) -> std::io::Result<()> {
                self.$field.inner().set_ttl(ttl)
            }

            /// The time-to-live of packets sent from this socket.
            ///
            /// # Errors
            ///
            /// What `getsockopt(2)` reports.
            pub fn ttl(&self) -> std::io::Result<u32> {
                self.$field.inner().ttl()
            }
        }
    };
}

/// Ending the directions of a socket in the `socket` field.
macro_rules! shutdown_method {
    ($name:ident) => {
        impl $name {
            /// Ends one or both directions, for all handles; calls that wait for one return.
            ///
            /// # Errors
            ///
            /// `NotConnected` if there is no connection, or none any more.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.socket.inner().shutdown(how)
            }
        }
    };
}

/// Reading and writing a connection in the `socket` field, through a shared reference too.
macro_rules! stream_traits {
    ($name:ident) => {
        impl std::io::Read for &$name {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.socket.read(buf, 0)
            }

            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                self.socket.read_vectored(bufs)
            }
        }

        impl std::io::Read for $name {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buf)
            }

            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }

        impl std::io::Write for &$name {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.socket.send(buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.socket.write_vectored(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        impl std::io::Write for $name {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                (&*self).write(buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(super) use {shutdown_method, socket_methods, stream_traits, ttl_methods};
