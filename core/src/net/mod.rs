//! TCP and UDP as in [`std::net`], and in [`unix`] the sockets of [`std::os::unix::net`]: the same
//! names, signatures and errors, but a call that has to wait parks the routine instead of its thread.
//!
//! Called from a plain thread, the same functions block that thread.
//!
//! What differs from std:
//!
//! - [`ToSocketAddrs`] is a trait of this module, implemented for the same types. It looks names up on
//!   the I/O driver's pool; addresses in numbers are parsed on the spot.
//! - Sockets are in non-blocking mode underneath, so there is no `set_nonblocking`. Converting a
//!   socket into std's type, an [`OwnedFd`](std::os::fd::OwnedFd) or a raw descriptor puts it back
//!   into blocking mode. The mode belongs to the socket and not to the handle: convert when no other
//!   handle made by `try_clone` is in use any more, or that one blocks its thread from then on.
//! - Timeouts are kept by the handle and its clones. They come along from and into std's types.
//!
//! Options that std does not know (keepalive, linger, buffer sizes, ancillary data) are set as on std's
//! sockets: everything here implements [`AsFd`](std::os::fd::AsFd), which is all that
//! `socket2::SockRef::from` and the functions of `rustix` ask for.

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
