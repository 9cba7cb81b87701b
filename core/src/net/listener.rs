//! Accepting TCP connections.

use std::io;
use std::iter::FusedIterator;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use crate::driver::SourceKind;

use super::descriptor::{Descriptor, descriptor_traits};
use super::{TcpStream, ToSocketAddrs};

/// How many connections may wait to be accepted; the system caps it at `net.core.somaxconn`, whose
/// default is the same.
///
/// std asks for 128. Here the routine that accepts may stand behind others of its worker for some
/// milliseconds, and a client that finds the queue full tries again only after a second.
const BACKLOG: libc::c_int = 4096;

/// A TCP socket that listens, as [`std::net::TcpListener`] is.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// use rust_routines_core::net::{Shutdown, TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.write_all(b"hello")?;
/// client.shutdown(Shutdown::Write)?;
///
/// let (mut server, peer) = listener.accept()?;
/// assert_eq!(peer, client.local_addr()?);
/// let mut received = String::new();
/// server.read_to_string(&mut received)?;
/// assert_eq!(received, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    descriptor: Descriptor<std::net::TcpListener>,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be bound. Port 0 asks for any free one.
    ///
    /// # Errors
    ///
    /// That of the last address, or `InvalidInput` if there is none.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let addresses: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        let listener = std::net::TcpListener::bind(&addresses[..])?;
        // Listening once more only changes the length of the queue.
        // SAFETY: takes no pointers.
        if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self::from(listener))
    }

    /// Waits for the next connection and answers it with the peer's address.
    ///
    /// # Errors
    ///
    /// What `accept(2)` reports: `EMFILE` for instance, or the fate of a connection that died in
    /// the queue. The listener goes on working.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.descriptor.accept()?;
        let peer = SocketAddr::try_from(&peer)?;
        Ok((TcpStream::non_blocking(socket), peer))
    }

    /// An endless iterator over the connections that come in.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address this listens on.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` reports.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.descriptor.inner().local_addr()
    }

    /// Another handle to the same socket; each connection goes to one of them.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.descriptor.inner().try_clone().map(Self::non_blocking)
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

    /// Wraps a socket that is in non-blocking mode.
    fn non_blocking(listener: std::net::TcpListener) -> Self {
        Self { descriptor: Descriptor::new(listener, SourceKind::Pollable) }
    }
}

descriptor_traits!(TcpListener, std::net::TcpListener);

/// Puts the socket into non-blocking mode.
impl From<std::net::TcpListener> for TcpListener {
    fn from(listener: std::net::TcpListener) -> Self {
        // Only what is no open file refuses, and on that every operation will fail.
        let _ = listener.set_nonblocking(true);
        Self::non_blocking(listener)
    }
}

/// Puts the socket back into blocking mode, for its other handles too.
impl From<TcpListener> for std::net::TcpListener {
    fn from(listener: TcpListener) -> Self {
        let listener = listener.descriptor.into_inner();
        // As above.
        let _ = listener.set_nonblocking(false);
        listener
    }
}

/// Connections as they come in, without end. From [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
