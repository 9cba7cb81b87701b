//! Keys: what selectors call the registrations of descriptors.
//!
//! A number of a descriptor is reused, and an event may be of a registration that another has followed. So a key
//! is a descriptor and, as far as it fits, a number that only grows.

use std::os::fd::RawFd;

/// For the descriptor: room for any; or where addresses have 32 bits, for as many as books can be kept of.
const FD_BITS: u32 = if usize::BITS > 32 { 32 } else { 24 };

/// The key of the registration of `fd` with this number.
pub(crate) fn of(fd: RawFd, number: u64) -> usize {
    (number as usize) << FD_BITS | fd as usize
}

/// The descriptor.
pub(crate) fn fd(key: usize) -> RawFd {
    (key & ((1 << FD_BITS) - 1)) as RawFd
}

/// The number of a registration that is not younger than the one with the number `latest`. Right but for those that
/// are billions older, of which it makes younger ones.
#[cfg(feature = "pool")]
pub(crate) fn number(key: usize, latest: u64) -> u64 {
    let age = (latest as usize).wrapping_sub(key >> FD_BITS) << FD_BITS >> FD_BITS;
    latest - age as u64
}
