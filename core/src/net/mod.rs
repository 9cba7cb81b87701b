//! TCP and UDP as in [`std::net`], and in [`unix`] the sockets of [`std::os::unix::net`]: the same
//! names, signatures and errors, but a call that has to wait parks the routine instead of its thread.
//!
//! Called from a plain thread, the same functions block that thread.
//!
//! What differs from std:
//!
//! - [`ToSocketAddrs`] is a trait of this module, implemented for the same types. It looks names up on
//!   the I/O driver's pool; addresses in numbers are parsed on the spot.
//! - Sockets are in non-blocking mode underneath, so there is no `set_nonblocking`. For a look now and then at
//!   something else, bound the call: `time::timeout(pause, || listener.accept())`. Converting a
//!   socket into std's type, an [`OwnedFd`](std::os::fd::OwnedFd) or a raw descriptor puts it back
//!   into blocking mode. The mode belongs to the socket and not to the handle. Other handles made by `try_clone` send
//!   and receive as before; but one that accepts or connects blocks its thread from then on.
//! - Timeouts are kept by the handle and its clones. They come along from and into std's types.
//!
//! - The methods of std's `TcpStreamExt` for Linux, a trait that nobody else can implement, are methods of
//!   [`TcpStream`]. What std has deprecated (`TcpListener::set_only_v6`) is not here.
//!
//! # Options that std does not know
//!
//! Keepalive, linger, buffer sizes and so on are set as on std's sockets: everything here implements
//! [`AsFd`](std::os::fd::AsFd), which is all that `socket2::SockRef::from` and the functions of `rustix` ask
//! for. A socket that lingers waits as it is closed, non-blocking or not, and its worker with it: leave that
//! to `blocking(move || drop(stream))`. One that lingers for no time at all resets its connection instead.
//!
//! ```
//! use std::time::Duration;
//!
//! use rust_routines_core::net::{TcpListener, TcpStream};
//! use socket2::{SockRef, TcpKeepalive};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let stream = TcpStream::connect(listener.local_addr()?)?;
//! let options = SockRef::from(&stream);
//! options.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
//! options.set_linger(Some(Duration::ZERO))?;
//! options.set_recv_buffer_size(64 * 1024)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Options that are to be set before a socket is bound or listens (`SO_REUSEPORT`, `IPV6_V6ONLY`, the
//! length of the queue) are set on a socket of `socket2`, which then becomes one of std's and one of ours:
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use rust_routines_core::net::TcpListener;
//! use socket2::{Domain, Socket, Type};
//!
//! let address = SocketAddr::from(([127, 0, 0, 1], 0));
//! let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
//! socket.set_reuse_port(true)?;
//! socket.bind(&address.into())?;
//! socket.listen(1024)?;
//! let listener = TcpListener::from(std::net::TcpListener::from(socket));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Calls that std does not know
//!
//! [`Watched`](crate::os::fd::Watched) makes them wait as those here do. Descriptors in ancillary data, for one:
//!
//! ```
//! use std::io::{IoSlice, IoSliceMut};
//! use std::mem::MaybeUninit;
//! use std::os::fd::AsFd;
//!
//! use rust_routines_core::{io, net::unix::UnixStream, os::fd::Watched};
//! use rustix::net::{
//!     RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
//!     recvmsg, sendmsg,
//! };
//!
//! let (from, to) = UnixStream::pair()?;
//! let stdout = io::stdout();
//! let output = [stdout.as_fd()];
//!
//! let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
//! let mut ancillary = SendAncillaryBuffer::new(&mut space);
//! ancillary.push(SendAncillaryMessage::ScmRights(&output));
//! let bytes = [IoSlice::new(b"here")];
//! Watched::new(&from).write_with(|from| Ok(sendmsg(from, &bytes, &mut ancillary, SendFlags::empty())?))?;
//!
//! let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
//! let mut ancillary = RecvAncillaryBuffer::new(&mut space);
//! let mut text = [0; 4];
//! let mut bytes = [IoSliceMut::new(&mut text)];
//! let flags = RecvFlags::CMSG_CLOEXEC;
//! Watched::new(&to).read_with(|to| Ok(recvmsg(to, &mut bytes, &mut ancillary, flags)?))?;
//! let received = ancillary.drain().next();
//! assert!(matches!(received, Some(RecvAncillaryMessage::ScmRights(_))));
//! # Ok::<(), std::io::Error>(())
//! ```

mod address;
pub(crate) mod descriptor;
mod listener;
mod raw_address;
mod socket;
mod stream;
mod udp;
pub mod unix;

#[cfg(test)]
mod tests;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};

pub use address::ToSocketAddrs;
pub use listener::{Incoming, TcpListener};
pub use stream::TcpStream;
pub use udp::UdpSocket;
