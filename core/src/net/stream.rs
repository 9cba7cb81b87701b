//! TCP connections.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::driver::SourceKind;

use super::ToSocketAddrs;
use super::descriptor::{Descriptor, descriptor_traits};
use super::raw_address::RawAddress;

/// A TCP connection, as [`std::net::TcpStream`] is.
///
/// Reading and writing go through a shared reference too, so two routines can hold the two directions
/// of one `Arc<TcpStream>`.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::thread;
///
/// use rust_routines_core::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let echo = thread::spawn(move || -> std::io::Result<()> {
///     let (mut stream, _) = listener.accept()?;
///     let mut bytes = [0; 4];
///     stream.read_exact(&mut bytes)?;
///     stream.write_all(&bytes)
/// });
///
/// let mut stream = TcpStream::connect(address)?;
/// stream.write_all(b"ping")?;
/// let mut answer = [0; 4];
/// stream.read_exact(&mut answer)?;
/// assert_eq!(&answer, b"ping");
/// echo.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    descriptor: Descriptor<std::net::TcpStream>,
    /// Shared by all handles to the socket, as the socket option in its place would be.
    timeouts: Arc<Timeouts>,
}

impl TcpStream {
    /// Connects to the first of the addresses that accepts, trying one after the other.
    ///
    /// # Errors
    ///
    /// That of the last address, or `InvalidInput` if there is none.
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let mut failure = None;
        for address in addr.to_socket_addrs()? {
            match Self::connect_by(&address, None) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "there is no address to connect to")
        }))
    }

    /// Connects to `addr` within `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut` if that was not enough, `InvalidInput` for a timeout of zero.
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        Self::connect_by(addr, Instant::now().checked_add(timeout))
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` when there is none any more, or what else `getpeername(2)` reports.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.descriptor.inner().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` reports.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.descriptor.inner().local_addr()
    }

    /// Ends one or both directions, for all handles; calls that wait for one return.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.descriptor.inner().shutdown(how)
    }

    /// Another handle to the same connection. Options and timeouts are common to both.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = self.descriptor.inner().try_clone()?;
        let descriptor = Descriptor::new(socket, self.descriptor.kind());
        Ok(Self { descriptor, timeouts: Arc::clone(&self.timeouts) })
    }

    /// Limits how long each read may wait; `None`, the default, is for ever.
    ///
    /// A read that runs out of time fails with `WouldBlock`, the kind that std has for it on Unix.
    /// `TimedOut` stays what it is there too: the connection itself is dead, since the peer has
    /// stopped acknowledging.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a timeout of zero.
    pub fn set_read_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(dur)
    }

    /// Limits how long each write may wait; `None`, the default, is for ever.
    ///
    /// A write that runs out of time fails with `WouldBlock`, see
    /// [`set_read_timeout`](Self::set_read_timeout).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a timeout of zero.
    pub fn set_write_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(dur)
    }

    /// How long each read may wait.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// How long each write may wait.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// Reads without taking: the next read yields the same bytes. Waits as a read does.
    ///
    /// # Errors
    ///
    /// Those of a read.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv(buf, libc::MSG_PEEK)
    }

    /// Sends small packets at once (`true`) or gathers them first.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.descriptor.inner().set_nodelay(nodelay)
    }

    /// Whether small packets are sent at once.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` reports.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.descriptor.inner().nodelay()
    }

    /// Sets the time-to-live of packets sent from this socket.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.descriptor.inner().set_ttl(ttl)
    }

    /// The time-to-live of packets sent from this socket.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` reports.
    pub fn ttl(&self) -> io::Result<u32> {
        self.descriptor.inner().ttl()
    }

    /// Takes the socket's pending error (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` reports.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.descriptor.inner().take_error()
    }

    /// Wraps a TCP socket that is in non-blocking mode and has no timeouts.
    pub(super) fn non_blocking(socket: OwnedFd) -> Self {
        let descriptor = Descriptor::new(socket.into(), SourceKind::Stream);
        Self { descriptor, timeouts: Arc::default() }
    }

    fn connect_by(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<Self> {
        let stream = Self::non_blocking(new_socket(address)?);
        stream.descriptor.connect(&RawAddress::from(address), deadline)?;
        Ok(stream)
    }

    fn recv(&self, buf: &mut [u8], flags: i32) -> io::Result<usize> {
        self.descriptor.recv(buf, flags, self.timeouts.read.deadline()).map_err(expired)
    }
}

descriptor_traits!(TcpStream, std::net::TcpStream);

/// Puts the socket into non-blocking mode and takes over its timeouts.
impl From<std::net::TcpStream> for TcpStream {
    fn from(socket: std::net::TcpStream) -> Self {
        // Only what is no open file refuses, and on that every operation will fail.
        let _ = socket.set_nonblocking(true);
        let timeouts = Timeouts::default();
        // std never answers zero, so nothing is refused; what is no socket has no timeouts.
        let _ = timeouts.read.set(socket.read_timeout().unwrap_or(None));
        let _ = timeouts.write.set(socket.write_timeout().unwrap_or(None));
        // A descriptor can be anything; only a TCP socket has this option.
        let is_tcp = socket.nodelay().is_ok();
        let kind = if is_tcp { SourceKind::Stream } else { SourceKind::Pollable };
        Self { descriptor: Descriptor::new(socket, kind), timeouts: Arc::new(timeouts) }
    }
}

/// Puts the socket back into blocking mode, for its other handles too, and hands its timeouts over.
impl From<TcpStream> for std::net::TcpStream {
    fn from(stream: TcpStream) -> Self {
        let socket = stream.descriptor.into_inner();
        // As above.
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_read_timeout(stream.timeouts.read.get());
        let _ = socket.set_write_timeout(stream.timeouts.write.get());
        socket
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv(buf, 0)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.descriptor.read_vectored(bufs, self.timeouts.read.deadline()).map_err(expired)
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.descriptor.send(buf, self.timeouts.write.deadline()).map_err(expired)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.descriptor.write_vectored(bufs, self.timeouts.write.deadline()).map_err(expired)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
struct Timeout(AtomicU64);

impl Timeout {
    /// Sets the timeout. More than 584 years count as that.
    fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(zero_timeout());
        }
        let nanos = timeout.map_or(0, |timeout| timeout.as_nanos().try_into().unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// When a call that starts now has run out of time. Reads the clock only if there is a timeout.
    fn deadline(&self) -> Option<Instant> {
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

fn zero_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a timeout must be longer than zero")
}

/// An unconnected socket in non-blocking mode, of the family that `address` needs.
fn new_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    match unsafe { libc::socket(family, kind, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call has just made it, and nobody else knows it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}
