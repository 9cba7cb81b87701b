//! Child processes as in [`std::process`]: the same names, signatures and errors, but waiting for a
//! child, and for its pipes, parks the routine instead of its thread.
//!
//! Called from a plain thread, the same functions block that thread.
//!
//! A child is waited for through a descriptor of its own (`pidfd_open(2)`, Linux 5.3), like a socket:
//! there is no handler for `SIGCHLD`, no thread per child, and no other child is touched. Where there is
//! none, since the kernel is older, a filter forbids the call or the process has no descriptor left, the
//! child is looked at again and again, at growing intervals.
//!
//! What differs from std:
//!
//! - A child is started on the I/O driver's pool, since that takes the better part of a millisecond. So it is
//!   not the calling thread that forks: what belongs to that thread alone (its credentials or namespaces if
//!   they were changed for it only) is not inherited, and `PR_SET_PDEATHSIG` goes by the end of a pool
//!   thread, which may come at any time.
//! - The methods of std's `CommandExt` for Unix, a trait that nobody else can implement, are methods of
//!   [`Command`].
//! - [`Child::wait_timeout`], [`Child::send_signal`], [`Child::pidfd`] and [`Command::kill_on_drop`].
//! - [`Command::output`], [`Command::status`] and [`Child::wait_with_output`] may be cut short, by a
//!   [limit](crate::time::timeout) or the shutdown of the runtime. The child runs on, without its pipes, or is killed if
//!   that was asked for; once it has ended, the next start of a process clears it away.

mod both;
mod child;
mod command;
mod pidfd;
mod pipe;

pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};

pub use child::Child;
pub use command::Command;
pub use pidfd::PidFd;
pub use pipe::{ChildStderr, ChildStdin, ChildStdout};
