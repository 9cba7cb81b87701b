//! Socket addresses as the kernel spells them.

use std::ffi::OsStr;
use std::io;
use std::mem::offset_of;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;

/// Where a Unix address has its path or name.
const PATH: usize = offset_of!(libc::sockaddr_un, sun_path);

/// An address of any family, and how long it is.
pub(crate) struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    /// Room for an address that an operation fills in.
    pub(crate) fn empty() -> Self {
        // SAFETY: plain integers, for which zero is valid.
        Self { storage: unsafe { std::mem::zeroed() }, len: 0 }
    }

    /// Where the address and its length are.
    pub(crate) fn as_parts(&self) -> (*const libc::sockaddr_storage, libc::socklen_t) {
        (&self.storage, self.len)
    }

    /// Where the address and its length go.
    pub(crate) fn as_mut_parts(&mut self) -> (*mut libc::sockaddr_storage, *mut libc::socklen_t) {
        (&mut self.storage, &mut self.len)
    }

    /// States how long the address is that was filled in.
    pub(crate) fn set_len(&mut self, len: libc::socklen_t) {
        self.len = len;
    }

    /// Stores `address`, one of the kernel's `sockaddr_*` types.
    fn new<A: SockAddr>(address: A) -> Self {
        const { assert!(size_of::<A>() <= size_of::<libc::sockaddr_storage>()) };
        let mut raw = Self::empty();
        // SAFETY: it fits, as asserted, and `sockaddr_storage` is aligned for every address type.
        unsafe { (&raw mut raw.storage).cast::<A>().write(address) };
        raw.len = size_of::<A>() as libc::socklen_t;
        raw
    }

    /// The path of a Unix address, with its zero byte, or the name, behind one; empty without either.
    fn unix_path(&self) -> Option<&[u8]> {
        // A sender without an address has none of any family.
        if self.len == 0 {
            return Some(&[]);
        }
        if libc::c_int::from(self.storage.ss_family) != libc::AF_UNIX {
            return None;
        }
        let len = (self.len as usize).min(size_of::<libc::sockaddr_un>()).checked_sub(PATH)?;
        // SAFETY: the storage is initialised and at least as large as a `sockaddr_un`, in which `len`
        // bytes follow `PATH`.
        Some(unsafe {
            std::slice::from_raw_parts((&raw const self.storage).cast::<u8>().add(PATH), len)
        })
    }

    /// The address as an `A`, if that is what it is.
    fn get<A: SockAddr>(&self) -> Option<&A> {
        let is_a = libc::c_int::from(self.storage.ss_family) == A::FAMILY
            && self.len as usize >= size_of::<A>();
        // SAFETY: the storage is initialised, large and aligned enough (see `new`), and any bits
        // make a valid `A`, which is plain integers.
        is_a.then(|| unsafe { &*(&raw const self.storage).cast::<A>() })
    }
}

impl From<&SocketAddr> for RawAddress {
    fn from(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::new(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::new(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

impl TryFrom<&RawAddress> for SocketAddr {
    type Error = io::Error;

    /// Fails with `InvalidInput` for an address that is not an internet address.
    fn try_from(raw: &RawAddress) -> io::Result<Self> {
        if let Some(v4) = raw.get::<libc::sockaddr_in>() {
            let ip = v4.sin_addr.s_addr.to_ne_bytes().into();
            return Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into());
        }
        if let Some(v6) = raw.get::<libc::sockaddr_in6>() {
            let (ip, port) = (v6.sin6_addr.s6_addr.into(), u16::from_be(v6.sin6_port));
            return Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"))
    }
}

impl From<&UnixAddr> for RawAddress {
    fn from(address: &UnixAddr) -> Self {
        // SAFETY: plain integers, for which zero is valid.
        let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let (at, bytes, end) = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => (0, path.as_os_str().as_bytes(), 1),
            (None, Some(name)) => (1, name, 0),
            (None, None) => (0, &[][..], 0),
        };
        // An address of std's fits.
        for (to, from) in raw.sun_path[at..].iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        let mut raw = Self::new(raw);
        raw.len = (PATH + at + bytes.len() + end) as libc::socklen_t;
        raw
    }
}

impl TryFrom<&RawAddress> for UnixAddr {
    type Error = io::Error;

    /// Fails with `InvalidInput` for an address that is not a Unix address.
    fn try_from(raw: &RawAddress) -> io::Result<Self> {
        match raw.unix_path() {
            Some([0, name @ ..]) => Self::from_abstract_name(name),
            Some(path) => {
                let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
                // An empty path is how std spells an address without one.
                Self::from_pathname(OsStr::from_bytes(path))
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a Unix address")),
        }
    }
}

/// A `sockaddr_*` type of the kernel.
///
/// # Safety
///
/// It is made of integers only, starts with the family, and [`FAMILY`](Self::FAMILY) is its own.
unsafe trait SockAddr {
    const FAMILY: libc::c_int;
}

// SAFETY: as `ip(7)` defines it.
unsafe impl SockAddr for libc::sockaddr_in {
    const FAMILY: libc::c_int = libc::AF_INET;
}

// SAFETY: as `ipv6(7)` defines it.
unsafe impl SockAddr for libc::sockaddr_in6 {
    const FAMILY: libc::c_int = libc::AF_INET6;
}

// SAFETY: as `unix(7)` defines it.
unsafe impl SockAddr for libc::sockaddr_un {
    const FAMILY: libc::c_int = libc::AF_UNIX;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks if a field changes its place or byte order on the way.
    #[test]
    fn addresses_survive_the_round_trip() {
        let v6 = SocketAddrV6::new("fe80::1:2".parse().unwrap(), 8080, 0x1234, 7);
        for address in [SocketAddr::from(([192, 0, 2, 1], 443)), SocketAddr::from(v6)] {
            let raw = RawAddress::from(&address);
            assert_eq!(SocketAddr::try_from(&raw).unwrap(), address);
        }
    }

    /// Breaks if an address is believed to be longer than the kernel said.
    #[test]
    fn short_and_foreign_addresses_are_refused() {
        let mut raw = RawAddress::from(&SocketAddr::from(([127, 0, 0, 1], 1)));
        raw.len -= 1;
        assert_eq!(SocketAddr::try_from(&raw).unwrap_err().kind(), io::ErrorKind::InvalidInput);

        let mut raw = RawAddress::empty();
        raw.storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        raw.len = 2;
        assert!(SocketAddr::try_from(&raw).is_err());
    }

    /// Breaks if a Unix address gains or loses a byte on the way, or an unnamed one becomes a name.
    #[test]
    fn unix_addresses_survive_the_round_trip() {
        let long = "x".repeat(107);
        let mut addresses = vec![
            UnixAddr::from_pathname("/tmp/a socket").unwrap(),
            UnixAddr::from_pathname(&long).unwrap(),
            UnixAddr::from_abstract_name(b"name\0with zero\0").unwrap(),
            UnixAddr::from_abstract_name(long.as_bytes()).unwrap(),
            UnixAddr::from_abstract_name(b"").unwrap(),
        ];
        addresses.push(std::os::unix::net::UnixDatagram::unbound().unwrap().local_addr().unwrap());
        for address in &addresses {
            let back = UnixAddr::try_from(&RawAddress::from(address)).unwrap();
            assert_eq!(back.as_pathname(), address.as_pathname());
            assert_eq!(back.as_abstract_name(), address.as_abstract_name());
            assert_eq!(back.is_unnamed(), address.is_unnamed());
        }
        assert!(UnixAddr::try_from(&RawAddress::empty()).unwrap().is_unnamed());
        let inet = RawAddress::from(&SocketAddr::from(([127, 0, 0, 1], 1)));
        assert_eq!(UnixAddr::try_from(&inet).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
