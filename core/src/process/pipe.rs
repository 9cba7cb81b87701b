//! Our ends of the pipes to a child.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use crate::fs::File;

/// One end of a pipe: a type with the name that it has in std.
macro_rules! pipe {
    ($name:ident, $what:literal) => {
        #[doc = concat!("Our end of the pipe ", $what, " of a child.")]
        ///
        /// The pipe is in non-blocking mode; conversions into [`Stdio`], std's type and descriptors put it
        /// back. Made from a descriptor, it is what a [`File`] made from that would be.
        #[derive(Debug)]
        pub struct $name {
            pub(super) pipe: File,
        }

        impl $name {
            pub(super) fn of_pipe(pipe: std::process::$name) -> io::Result<Self> {
                Ok(Self { pipe: File::of_pipe(pipe.into())? })
            }
        }

        /// The borrowed descriptor is in the mode that the runtime needs; leave it so.
        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.pipe.as_fd()
            }
        }

        /// The descriptor is in the mode that the runtime needs; leave it so.
        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.pipe.as_raw_fd()
            }
        }

        impl IntoRawFd for $name {
            fn into_raw_fd(self) -> RawFd {
                self.pipe.into_raw_fd()
            }
        }

        impl FromRawFd for $name {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: forwarded from the caller, who hands over an open descriptor.
                Self::from(unsafe { OwnedFd::from_raw_fd(fd) })
            }
        }

        impl From<OwnedFd> for $name {
            fn from(fd: OwnedFd) -> Self {
                Self { pipe: fd.into() }
            }
        }

        impl From<$name> for OwnedFd {
            fn from(end: $name) -> Self {
                end.pipe.into()
            }
        }

        impl From<std::process::$name> for $name {
            fn from(end: std::process::$name) -> Self {
                OwnedFd::from(end).into()
            }
        }

        impl From<$name> for std::process::$name {
            fn from(end: $name) -> Self {
                OwnedFd::from(end).into()
            }
        }

        impl From<$name> for Stdio {
            fn from(end: $name) -> Self {
                end.pipe.into()
            }
        }
    };
}

/// The pipe is one to read from.
macro_rules! readable {
    ($name:ident) => {
        impl Read for $name {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.pipe.read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.pipe.read_vectored(bufs)
            }

            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
                self.pipe.read_to_end(buf)
            }
        }
    };
}

/// The pipe is one to write to.
macro_rules! writable {
    ($name:ty) => {
        impl Write for $name {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&self.pipe).write(buf)
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                (&self.pipe).write_vectored(bufs)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

pipe!(ChildStdin, "to the standard input");
pipe!(ChildStdout, "from the standard output");
pipe!(ChildStderr, "from the standard error");
writable!(ChildStdin);
writable!(&ChildStdin);
readable!(ChildStdout);
readable!(ChildStderr);
