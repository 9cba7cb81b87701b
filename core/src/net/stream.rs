//! TCP connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::linux::net::TcpStreamExt;
use std::time::{Duration, Instant};

use crate::driver::SourceKind;

use super::ToSocketAddrs;
use super::raw_address::RawAddress;
use super::socket::{
    Socket, new_stream, shutdown_method, socket_methods, stream_traits, ttl_methods, zero_timeout,
};

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
    socket: Socket<std::net::TcpStream>,
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

    /// Reads without taking: the next read yields the same bytes. Waits as a read does.
    ///
    /// # Errors
    ///
    /// Those of a read.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf, libc::MSG_PEEK)
    }

    /// Sends small packets at once (`true`) or gathers them first.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.inner().set_nodelay(nodelay)
    }

    /// Whether small packets are sent at once.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` reports.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.inner().nodelay()
    }

    /// Acknowledges at once (`true`) or when there is something to send along. The kernel may go over
    /// from one to the other by itself later.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.inner().set_quickack(quickack)
    }

    /// Whether the kernel acknowledges at once.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` reports.
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket.inner().quickack()
    }

    /// Wraps a TCP socket that is in non-blocking mode and has no timeouts.
    pub(super) fn non_blocking(socket: OwnedFd) -> Self {
        Self { socket: Socket::non_blocking(socket.into(), SourceKind::Stream) }
    }

    fn connect_by(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        let stream = Self::non_blocking(new_stream(family)?);
        stream.socket.connect(&RawAddress::from(address), deadline)?;
        Ok(stream)
    }
}

socket_methods!(TcpStream, std::net::TcpStream, SocketAddr);
shutdown_method!(TcpStream);
ttl_methods!(TcpStream.socket);
stream_traits!(TcpStream);
