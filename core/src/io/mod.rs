//! The standard streams as in [`std::io`], and what else of that belongs to a port: [`stdin`],
//! [`stdout`] and [`stderr`] park the routine that waits for them, and so do the [macros] that print, the ends of a
//! [`pipe()`], and [`copy`]. The functions of [`std::io`] itself work with all of them too, which implement its
//! traits.
//!
//! What has a method `is_terminal` in std by way of the trait [`IsTerminal`], which nobody else can implement,
//! has it as its own.
//!
//! # What the streams rest on
//!
//! Descriptors 0 to 2 are seldom ours alone: the shell, and whatever else runs in the same terminal or
//! pipeline, hold the same open files. So they are left in blocking mode: `O_NONBLOCK` would come over
//! all of them, and over std's streams as well. Instead,
//!
//! 1. a call waits for readiness first, and holds no thread meanwhile: a deadline or a shutdown ends the
//!    wait, and a program that ends does not wait for its input;
//! 2. then it takes what can be had without blocking (`preadv2` and `pwritev2` with `RWF_NOWAIT`: pipes,
//!    sockets, cached files);
//! 3. where the kernel cannot do that (terminals, files on some file systems), a thread of the pool makes
//!    the call, which has been promised not to block.
//!
//! That promise is broken if somebody else reads the same input, or fills the same output, in the moment
//! between. Then the thread of the pool waits in our place, and so does the shutdown of the runtime,
//! until there is input, or room, again.
//!
//! Rejected: opening the terminal anew through `/proc/self/fd`, for a mode of our own. It fails for sockets
//! and after a change of user, and goes to the wrong place once a descriptor is redirected.

mod copy;
pub mod macros;
pub(crate) mod pipe;
mod stdio;
mod submit;

pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink,
    Split, Take, Write, WriterPanicked, empty, prelude, read_to_string, repeat, sink,
};

pub use copy::copy;
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use stdio::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout};

pub(crate) use submit::submit;
