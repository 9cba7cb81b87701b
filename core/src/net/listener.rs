//! Accepting connections: of TCP, and what listeners of every kind have in common.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use super::descriptor::Descriptor;
use super::socket::ttl_methods;
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
}

pub(super) fn stop_listening(listener: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    match unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What every listener with std's type in its `descriptor` field has, and the iterator that goes with it.
macro_rules! listener_methods {
    ($name:ident, $std:ty, $stream:ident, $addr:ty, $kind:ident) => {
        impl $name {
            /// Waits for the next connection and answers it with the peer's address.
            ///
            /// # Errors
            ///
            /// What `accept(2)` reports: `EMFILE` for instance, or the fate of a connection that died
            /// in the queue. The listener goes on working. `InvalidInput` (`EINVAL`) once it was
            /// [shut down](Self::shutdown).
            pub fn accept(&self) -> std::io::Result<($stream, $addr)> {
                let (socket, peer) = self.descriptor.accept()?;
                let peer = <$addr>::try_from(&peer)?;
                Ok(($stream::non_blocking(socket), peer))
            }

            /// An endless iterator over the connections that come in.
            pub fn incoming(&self) -> Incoming<'_> {
                Incoming { listener: self }
            }

            /// Stops listening, for all handles: whoever waits in [`accept`](Self::accept), or calls it later, gets
            /// an error of the kind `InvalidInput`. That is how a server's loop ends. Clients that nobody has accepted
            /// are lost with TCP; with Unix sockets they come first. Systems other than Linux may not be able to do it.
            ///
            /// # Errors
            ///
            /// What `shutdown(2)` reports: `NotConnected` if it was shut down before, or the system cannot do it.
            pub fn shutdown(&self) -> std::io::Result<()> {
                crate::net::listener::stop_listening(self.descriptor.inner())
            }

            /// The address this listens on.
            ///
            /// # Errors
            ///
            /// What `getsockname(2)` reports.
            pub fn local_addr(&self) -> std::io::Result<$addr> {
                self.descriptor.inner().local_addr()
            }

            /// Another handle to the same socket; each connection goes to one of them.
            ///
            /// # Errors
            ///
            /// If the process has no descriptor left.
            pub fn try_clone(&self) -> std::io::Result<Self> {
                self.descriptor.inner().try_clone().map(Self::non_blocking)
            }

            /// Takes the socket's pending error (`SO_ERROR`).
            ///
            /// # Errors
            ///
            /// What `getsockopt(2)` reports.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.descriptor.inner().take_error()
            }

            /// Wraps a socket that is in non-blocking mode.
            fn non_blocking(listener: $std) -> Self {
                let kind = crate::driver::SourceKind::$kind;
                Self { descriptor: crate::net::descriptor::Descriptor::new(listener, kind) }
            }
        }

        crate::net::descriptor::descriptor_traits!($name.descriptor, $std);

        /// Puts the socket into non-blocking mode.
        impl From<$std> for $name {
            fn from(listener: $std) -> Self {
                // Only what is no open file refuses, and on that every operation will fail.
                let _ = listener.set_nonblocking(true);
                Self::non_blocking(listener)
            }
        }

        /// Puts the socket back into blocking mode, for its other handles too.
        impl From<$name> for $std {
            fn from(listener: $name) -> Self {
                let listener = listener.descriptor.into_inner();
                // As above.
                let _ = listener.set_nonblocking(false);
                listener
            }
        }

        #[doc = concat!("Connections as they come in. From [`", stringify!($name), "::incoming`].")]
        #[derive(Debug)]
        pub struct Incoming<'a> {
            listener: &'a $name,
        }

        impl Iterator for Incoming<'_> {
            type Item = std::io::Result<$stream>;

            fn next(&mut self) -> Option<Self::Item> {
                Some(self.listener.accept().map(|(stream, _)| stream))
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                (usize::MAX, None)
            }
        }

        impl std::iter::FusedIterator for Incoming<'_> {}
    };
}

pub(super) use listener_methods;

listener_methods!(TcpListener, std::net::TcpListener, TcpStream, SocketAddr, Pollable);
ttl_methods!(TcpListener.descriptor);
