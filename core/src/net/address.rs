//! From whatever names an endpoint to socket addresses.
//!
//! std's trait of this name cannot be used as it is: it does not tell whether a type will ask the
//! name service, which can take seconds. This one has the same shape and the same implementors, and
//! each of them knows for itself when to go to the pool.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
// Nothing blocks in the making of a semaphore.
use std::sync::LazyLock;
use std::{iter, option, slice, thread, vec};

use crate::blocking::call_system;
use crate::channel::bounded;
use crate::sync::Semaphore;
use crate::{Builder, Handle, limit};

/// Converts to one or more socket addresses, as [`std::net::ToSocketAddrs`] does.
///
/// Host names are looked up on the I/O driver's pool while the routine is parked.
///
/// # Examples
///
/// ```
/// use rust_routines_core::net::ToSocketAddrs;
///
/// let mut addresses = "127.0.0.1:80".to_socket_addrs()?;
/// assert_eq!(addresses.next(), Some(([127, 0, 0, 1], 80).into()));
/// assert_eq!(addresses.next(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// What yields the addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// The addresses that this names.
    ///
    /// # Errors
    ///
    /// If a name cannot be resolved or is not one.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Implements the trait for types that convert into a [`SocketAddr`].
macro_rules! one_address {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                Ok(Some(SocketAddr::from(*self)).into_iter())
            }
        }
    )*};
}

one_address!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => look_up((host.to_owned(), port)),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.parse() {
            Ok(address) => Ok(vec![address].into_iter()),
            Err(_) => look_up(self.to_owned()),
        }
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

/// Lets std parse `host` and ask the name service, where that may block.
///
/// Nobody can call a look-up off. Under a [limit], somebody else waits for it, so that the caller need not; but only
/// [so many](AT_ONCE) do, or a name service that does not answer would soon have all threads of the pool.
fn look_up<H>(host: H) -> io::Result<vec::IntoIter<SocketAddr>>
where
    H: std::net::ToSocketAddrs<Iter = vec::IntoIter<SocketAddr>> + Send + 'static,
{
    let ask = move || call_system(move || host.to_socket_addrs());
    if limit::current().is_none() {
        return ask();
    }
    static FREE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));
    let permit = FREE.acquire().map_err(io::Error::other)?;
    let (answer, answers) = bounded(1);
    let ask = move || {
        // Nobody may be there any more.
        let _ = answer.send(ask());
        drop(permit);
    };
    match Handle::try_current() {
        Some(runtime) => drop(Builder::new().name(LOOK_UP.to_owned()).spawn_on(&runtime, ask)?),
        None => drop(thread::Builder::new().name(LOOK_UP.to_owned()).spawn(ask)?),
    }
    // Without an answer, there is a panic in std or a shutdown of the runtime.
    answers.recv().unwrap_or_else(|_| Err(io::Error::other("the look-up of a name was given up")))
}

/// How many look-ups there are at a time that somebody with a limit has asked for.
const AT_ONCE: usize = 32;

/// What looks up a name for somebody else is called so.
const LOOK_UP: &str = "name look-up";
