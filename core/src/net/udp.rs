//! UDP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ToSocketAddrs;
use super::raw_address::RawAddress;
use super::socket::{Socket, socket_methods, ttl_methods};

/// A UDP socket, as [`std::net::UdpSocket`] is.
///
/// All calls go through a shared reference, so several routines can send and receive at once; each
/// datagram goes to one of them.
///
/// # Examples
///
/// ```
/// use rust_routines_core::net::UdpSocket;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(server.local_addr()?)?;
/// client.send(b"ping")?;
///
/// let mut buf = [0; 16];
/// let (len, peer) = server.recv_from(&mut buf)?;
/// assert_eq!(peer, client.local_addr()?);
/// server.send_to(&buf[..len], peer)?;
/// assert_eq!(client.recv(&mut buf)?, 4);
/// assert_eq!(&buf[..4], b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    socket: Socket<std::net::UdpSocket>,
}

impl UdpSocket {
    /// Binds to the first of the addresses that can be bound. Port 0 asks for any free one.
    ///
    /// # Errors
    ///
    /// That of the last address, or `InvalidInput` if there is none.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let addresses: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        std::net::UdpSocket::bind(&addresses[..]).map(Self::from)
    }

    /// Receives a datagram and answers its length and sender. What does not fit into `buf` is lost.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when a [timeout](Self::set_read_timeout) has passed, or what `recvmsg(2)` reports;
    /// `InvalidInput` when somebody has shut the socket down: zero bytes from no address.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_with(buf, 0)
    }

    /// As [`recv_from`](Self::recv_from), but leaves the datagram there.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](Self::recv_from).
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_with(buf, libc::MSG_PEEK)
    }

    /// Sends a datagram to the first of the addresses and answers its length.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no address, `WouldBlock` when a
    /// [timeout](Self::set_write_timeout) has passed, or what `sendmsg(2)` reports: `EMSGSIZE` for a
    /// datagram that is too long, or that an earlier one was refused.
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        match addr.to_socket_addrs()?.next() {
            Some(address) => self.socket.send_to(buf, &RawAddress::from(&address), 0),
            None => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no address to send to"))
            }
        }
    }

    /// Sends to, and receives from, the first of the addresses alone that can be connected to.
    ///
    /// # Errors
    ///
    /// That of the last address, or `InvalidInput` if there is none.
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        let addresses: Vec<SocketAddr> = addr.to_socket_addrs()?.collect();
        self.socket.inner().connect(&addresses[..])
    }

    /// Sends a datagram to the address that this is connected to, and answers its length.
    ///
    /// # Errors
    ///
    /// Those of [`send_to`](Self::send_to), or `EDESTADDRREQ` if there is no such address.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send(buf)
    }

    /// Receives a datagram and answers its length, or zero when somebody has shut the socket down. What does not fit
    /// into `buf` is lost.
    ///
    /// # Errors
    ///
    /// Those of [`recv_from`](Self::recv_from); on a connected socket also `ConnectionRefused`, when
    /// nobody was there to receive what was sent.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buf, 0)
    }

    /// As [`recv`](Self::recv), but leaves the datagram there.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buf, libc::MSG_PEEK)
    }

    /// Joins a multicast group on the interface with the given address; `0.0.0.0` leaves the choice to
    /// the system.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.inner().join_multicast_v4(multiaddr, interface)
    }

    /// Joins a multicast group on the interface with the given index; zero means any.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.inner().join_multicast_v6(multiaddr, interface)
    }

    /// Leaves a group that was joined with the same arguments.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.inner().leave_multicast_v4(multiaddr, interface)
    }

    /// Leaves a group that was joined with the same arguments.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` reports.
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.inner().leave_multicast_v6(multiaddr, interface)
    }

    fn recv_with(&self, buf: &mut [u8], flags: i32) -> io::Result<(usize, SocketAddr)> {
        let (received, from) = self.socket.recv_from(buf, flags)?;
        Ok((received, SocketAddr::try_from(&from)?))
    }
}

/// Options that are nothing but a value, as methods of the same names as std's.
macro_rules! options {
    ($($get:ident, $set:ident, $value:ident: $type:ty, $what:literal;)*) => {
        impl UdpSocket {
            $(
                #[doc = concat!("Sets ", $what, ".")]
                ///
                /// # Errors
                ///
                /// What `setsockopt(2)` reports.
                pub fn $set(&self, $value: $type) -> io::Result<()> {
                    self.socket.inner().$set($value)
                }

                #[doc = concat!("Tells ", $what, ".")]
                ///
                /// # Errors
                ///
                /// What `getsockopt(2)` reports.
                pub fn $get(&self) -> io::Result<$type> {
                    self.socket.inner().$get()
                }
            )*
        }
    };
}

options! {
    broadcast, set_broadcast, broadcast: bool, "whether sending to a broadcast address is allowed";
    multicast_loop_v4, set_multicast_loop_v4, multicast_loop_v4: bool,
        "whether IPv4 multicasts come back to this machine's own sockets";
    multicast_ttl_v4, set_multicast_ttl_v4, multicast_ttl_v4: u32,
        "the time-to-live of IPv4 multicasts, 1 if never set: they stay in the local network";
    multicast_loop_v6, set_multicast_loop_v6, multicast_loop_v6: bool,
        "whether IPv6 multicasts come back to this machine's own sockets";
}

socket_methods!(UdpSocket, std::net::UdpSocket, SocketAddr);
ttl_methods!(UdpSocket.socket);
