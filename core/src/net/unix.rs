//! Unix sockets as in [`std::os::unix::net`]: streams, listeners and datagrams under a path, under an
//! abstract name or in pairs.
//!
//! What is said of the [parent module](super) holds here. `bind` creates a file, so it goes to the I/O
//! driver's pool, as operations on files do. The path of a peer is followed on the spot.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::path::Path;

pub use std::os::unix::net::SocketAddr;

use crate::backoff::Backoff;
use crate::blocking::call_system;
use crate::driver::{Interest, SourceKind};

use super::descriptor::Descriptor;
use super::listener::listener_methods;
use super::raw_address::RawAddress;
use super::socket::{Socket, new_stream, shutdown_method, socket_methods, stream_traits};

/// A Unix stream connection, as [`std::os::unix::net::UnixStream`] is.
///
/// Reading and writing go through a shared reference too, so two routines can hold the two directions
/// of one `Arc<UnixStream>`.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// use rust_routines_core::net::unix::UnixStream;
///
/// let (mut left, mut right) = UnixStream::pair()?;
/// left.write_all(b"hello")?;
/// drop(left);
/// let mut received = String::new();
/// right.read_to_string(&mut received)?;
/// assert_eq!(received, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    socket: Socket<std::os::unix::net::UnixStream>,
}

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// # Errors
    ///
    /// What `connect(2)` reports: `NotFound` without a file, `ConnectionRefused` without a listener;
    /// `InvalidInput` for a path that is too long or has a zero byte.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to the listener at `socket_addr`. One whose queue is full is waited for.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub fn connect_addr(socket_addr: &SocketAddr) -> io::Result<Self> {
        let stream = Self::non_blocking(new_stream(libc::AF_UNIX)?);
        let to = RawAddress::from(socket_addr);
        let mut backoff = Backoff::new();
        loop {
            match stream.socket.connect(&to, None) {
                // No readiness tells when there is a place in the queue: the kernel wakes only those
                // who block in `connect`.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => backoff.sleep(None)?,
                result => return result.map(|()| stream),
            }
        }
    }

    /// Two connected streams without an address.
    ///
    /// # Errors
    ///
    /// If the process has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::from(one), Self::from(other)))
    }

    /// Wraps a socket that is in non-blocking mode and has no timeouts.
    fn non_blocking(socket: OwnedFd) -> Self {
        Self { socket: Socket::non_blocking(socket.into(), SourceKind::Pollable) }
    }
}

socket_methods!(UnixStream, std::os::unix::net::UnixStream, SocketAddr);
shutdown_method!(UnixStream);
stream_traits!(UnixStream);

/// A Unix socket that listens, as [`std::os::unix::net::UnixListener`] is.
///
/// # Examples
///
/// ```no_run
/// use std::io::Write;
///
/// use rust_routines_core::net::unix::UnixListener;
///
/// let listener = UnixListener::bind("/run/greeter.socket")?;
/// for stream in listener.incoming() {
///     stream?.write_all(b"hello")?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    descriptor: Descriptor<std::os::unix::net::UnixListener>,
}

impl UnixListener {
    /// Creates a socket file at `path` and listens there. The file stays when the listener is gone.
    ///
    /// # Errors
    ///
    /// What `bind(2)` reports: `AddrInUse` where there is a file; `InvalidInput` for a path that is
    /// too long or has a zero byte.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens at `socket_addr`.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<Self> {
        call_system(|| std::os::unix::net::UnixListener::bind_addr(socket_addr)).map(Self::from)
    }
}

listener_methods!(UnixListener, std::os::unix::net::UnixListener, UnixStream, SocketAddr, Queue);

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

/// A Unix datagram socket, as [`std::os::unix::net::UnixDatagram`] is.
///
/// All calls go through a shared reference, so several routines can send and receive at once; each
/// datagram goes to one of them. None gets lost: a sender waits until the recipient has room.
///
/// # Examples
///
/// ```
/// use rust_routines_core::net::unix::UnixDatagram;
///
/// let (left, right) = UnixDatagram::pair()?;
/// left.send(b"one")?;
/// left.send(b"")?;
/// let mut buf = [0; 16];
/// assert_eq!(right.recv(&mut buf)?, 3);
/// assert_eq!(right.recv(&mut buf)?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram {
    socket: Socket<std::os::unix::net::UnixDatagram>,
}

impl UnixDatagram {
    /// Creates a socket file at `path` and receives there. The file stays when the socket is gone.
    ///
    /// # Errors
    ///
    /// What `bind(2)` reports: `AddrInUse` where there is a file; `InvalidInput` for a path that is
    /// too long or has a zero byte.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Receives at `socket_addr`.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<Self> {
        call_system(|| std::os::unix::net::UnixDatagram::bind_addr(socket_addr)).map(Self::from)
    }

    /// A socket without an address, for sending.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn unbound() -> io::Result<Self> {
        std::os::unix::net::UnixDatagram::unbound().map(Self::from)
    }

    /// Two sockets without an address that are connected to each other.
    ///
    /// # Errors
    ///
    /// If the process has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((Self::from(one), Self::from(other)))
    }

    /// Makes the socket at `path` the one that [`send`](Self::send) sends to and that alone may send
    /// here.
    ///
    /// # Errors
    ///
    /// What `connect(2)` reports; `InvalidInput` for a path that is too long or has a zero byte.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.socket.inner().connect(path)
    }

    /// As [`connect`](Self::connect), with an address of any kind.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        self.socket.inner().connect_addr(socket_addr)
    }

    /// Receives a datagram and answers its length and sender. What does not fit into `buf` is lost.
    ///
    /// Zero from nobody when receiving was [shut down](Self::shutdown) and all that had come is taken.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when a [timeout](Self::set_read_timeout) has passed, or what `recvfrom(2)` reports.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (received, from) = self.socket.recv_from(buf, 0)?;
        Ok((received, SocketAddr::try_from(&from)?))
    }

    /// Receives a datagram and answers its length, or zero as [`recv_from`](Self::recv_from) does. What does not fit
    /// into `buf` is lost.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](Self::recv_from). That the other end has gone is none: the kernel does not
    /// tell, and the call goes on waiting.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buf, 0)
    }

    /// Sends a datagram to the socket at `path` and answers its length.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when a [timeout](Self::set_write_timeout) has passed, or what `sendto(2)` reports:
    /// `NotFound` without a file, `ConnectionRefused` when nobody receives there; `InvalidInput` for a
    /// path that is too long or has a zero byte.
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to `socket_addr` and answers its length.
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](Self::send_to), and what `socket(2)` reports where the recipient has to be
    /// waited for.
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        let deadline = self.socket.write_timeout().deadline();
        let to = RawAddress::from(socket_addr);
        let mut backoff = Backoff::new();
        loop {
            match self.socket.send_to(buf, &to, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            // Either this socket's buffer was full or the recipient's queue. Readiness tells of the
            // buffer, and of the queue of whom the socket is connected to: of the recipient's hence
            // to a scout, and of the buffer alone never to a socket that is connected elsewhere.
            if !self.is_connected_elsewhere(socket_addr) {
                self.socket.wait(Interest::Write, deadline)?;
            } else {
                backoff.sleep(deadline)?;
            }
            let scout = Self::unbound()?;
            match scout.connect_addr(socket_addr) {
                Ok(()) => scout.socket.wait(Interest::Write, deadline)?,
                // The recipient is connected to this socket, whose datagrams always get a place.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a datagram to the socket that this is connected to, and answers its length.
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](Self::send_to), or `NotConnected` if there is no such socket.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send(buf)
    }

    /// Whether the socket is connected to another than `socket_addr`, as far as names tell.
    fn is_connected_elsewhere(&self, socket_addr: &SocketAddr) -> bool {
        let name = |address: &SocketAddr| {
            let path = address.as_pathname().map(Path::to_owned);
            (path, address.as_abstract_name().map(<[u8]>::to_owned))
        };
        self.peer_addr().is_ok_and(|peer| name(&peer) != name(socket_addr))
    }
}

socket_methods!(UnixDatagram, std::os::unix::net::UnixDatagram, SocketAddr);
shutdown_method!(UnixDatagram);
