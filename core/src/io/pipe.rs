//! Pipes.

use std::io;

use crate::fs::File;

/// A pipe whose ends park the routine that waits for the other, as [`std::io::pipe`] makes one.
///
/// # Errors
///
/// If the process, or the system, has no descriptor left.
///
/// # Examples
///
/// Both streams of a child into one:
///
/// ```
/// use std::io::Read;
///
/// use rust_routines_core::{io, process::Command};
///
/// let (mut reader, writer) = io::pipe()?;
/// let mut command = Command::new("sh");
/// command.args(["-c", "echo one; echo two >&2"]).stdout(writer.try_clone()?).stderr(writer);
/// let mut child = command.spawn()?;
/// drop(command); // It has the writing ends, without whose end the reader would wait for more.
/// let mut both = String::new();
/// reader.read_to_string(&mut both)?;
/// assert_eq!(both, "one\ntwo\n");
/// assert!(child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    let reader = PipeReader { pipe: File::of_pipe(reader.into())? };
    Ok((reader, PipeWriter { pipe: File::of_pipe(writer.into())? }))
}

/// One end of a pipe: a type with the name that it has in std.
macro_rules! pipe_end {
    ($(#[$docs:meta])* $name:ident, $std:ty) => {
        $(#[$docs])*
        ///
        /// The pipe is in non-blocking mode; conversions into [`Stdio`](std::process::Stdio), std's type and descriptors
        /// put it back, for all handles to this end (which wait as before, but on Linux before 6.4). Made from a
        /// descriptor, it is what a [`File`](crate::fs::File) made from that would be.
        #[derive(Debug)]
        pub struct $name {
            pub(crate) pipe: crate::fs::File,
        }

        /// The borrowed descriptor is in the mode that the runtime needs; leave it so.
        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&self.pipe)
            }
        }

        /// The descriptor is in the mode that the runtime needs; leave it so.
        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&self.pipe)
            }
        }

        impl std::os::fd::IntoRawFd for $name {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::IntoRawFd::into_raw_fd(self.pipe)
            }
        }

        impl std::os::fd::FromRawFd for $name {
            unsafe fn from_raw_fd(fd: std::os::fd::RawFd) -> Self {
                // SAFETY: forwarded from the caller, who hands over an open descriptor.
                Self::from(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) })
            }
        }

        impl From<std::os::fd::OwnedFd> for $name {
            fn from(fd: std::os::fd::OwnedFd) -> Self {
                Self { pipe: fd.into() }
            }
        }

        impl From<$name> for std::os::fd::OwnedFd {
            fn from(end: $name) -> Self {
                end.pipe.into()
            }
        }

        impl From<$std> for $name {
            fn from(end: $std) -> Self {
                std::os::fd::OwnedFd::from(end).into()
            }
        }

        impl From<$name> for $std {
            fn from(end: $name) -> Self {
                std::os::fd::OwnedFd::from(end).into()
            }
        }

        impl From<$name> for std::process::Stdio {
            fn from(end: $name) -> Self {
                end.pipe.into()
            }
        }
    };
}

/// The pipe is one to read from.
macro_rules! readable {
    ($name:ty) => {
        impl std::io::Read for $name {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                std::io::Read::read(&mut &self.pipe, buf)
            }

            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                std::io::Read::read_vectored(&mut &self.pipe, bufs)
            }

            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> std::io::Result<usize> {
                std::io::Read::read_to_end(&mut &self.pipe, buf)
            }

            fn read_to_string(&mut self, buf: &mut String) -> std::io::Result<usize> {
                std::io::Read::read_to_string(&mut &self.pipe, buf)
            }
        }
    };
}

/// The pipe is one to write to.
macro_rules! writable {
    ($name:ty) => {
        impl std::io::Write for $name {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                std::io::Write::write(&mut &self.pipe, buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                std::io::Write::write_vectored(&mut &self.pipe, bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// An end of a pipe that can be shared.
macro_rules! cloneable {
    ($name:ident) => {
        impl $name {
            /// Another handle to the same end.
            ///
            /// # Errors
            ///
            /// If the process has no descriptor left.
            pub fn try_clone(&self) -> io::Result<Self> {
                Ok(Self { pipe: self.pipe.try_clone()? })
            }
        }
    };
}

pipe_end! {
    /// The end of a [`pipe()`] to read from.
    PipeReader, std::io::PipeReader
}
pipe_end! {
    /// The end of a [`pipe()`] to write to.
    PipeWriter, std::io::PipeWriter
}
cloneable!(PipeReader);
cloneable!(PipeWriter);
readable!(PipeReader);
readable!(&PipeReader);
writable!(PipeWriter);
writable!(&PipeWriter);

pub(crate) use {pipe_end, readable, writable};
