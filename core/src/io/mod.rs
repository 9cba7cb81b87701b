//! What goes with reading and writing, as in [`std::io`]: [`copy`].
//!
//! The functions of [`std::io`] itself work with the sockets and files of this crate too, which
//! implement its traits.

mod copy;
mod submit;

pub use copy::copy;

pub(crate) use submit::submit;
