//! The standard streams. How they wait is told in the [module above](super).

use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Lines, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::Stdio;
// Nothing blocks in the making of a lock.
use std::sync::LazyLock;

use crate::driver::{Action, Interest, Source, SourceKind};
use crate::fs::stat::is_regular;
use crate::os::fd::Watched;
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::submit;

/// How much is written at a time where that might block: what fits into any pipe that reports room.
const FITS: usize = libc::PIPE_BUF;

/// Standard input, as [`std::io::Stdin`] is: all handles share one buffer and one lock.
///
/// The buffer is not that of [`std::io::stdin`]: read from one of the two only.
#[derive(Debug)]
pub struct Stdin {
    input: &'static Mutex<BufReader<Input>>,
}

/// Exclusive access to standard input.
pub struct StdinLock<'a> {
    input: MutexGuard<'a, BufReader<Input>>,
}

/// A handle to standard input.
///
/// # Examples
///
/// ```no_run
/// use rust_routines_core::io::stdin;
///
/// for line in stdin().lines() {
///     println!("{}", line?.to_uppercase());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn stdin() -> Stdin {
    static INPUT: LazyLock<Mutex<BufReader<Input>>> =
        LazyLock::new(|| Mutex::new(BufReader::new(Input)));
    Stdin { input: &INPUT }
}

impl Stdin {
    /// Waits for exclusive access.
    pub fn lock(&self) -> StdinLock<'static> {
        StdinLock { input: self.input.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Appends a line, its end included, to `buf`. Zero bytes are the end of the input.
    ///
    /// # Errors
    ///
    /// What `read(2)` reports; `InvalidData` for what is not UTF-8.
    pub fn read_line(&self, buf: &mut String) -> io::Result<usize> {
        self.lock().read_line(buf)
    }

    /// The lines of the input, without their ends. Keeps the lock.
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }
}

impl Read for &Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buf)
    }

    // In one piece, though others may read as well.
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.lock().read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.lock().read_to_string(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.lock().read_exact(buf)
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        (&*self).read_exact(buf)
    }
}

impl Read for StdinLock<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.input.read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.input.read_to_string(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(buf)
    }
}

impl StdinLock<'_> {
    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
    }
}

impl fmt::Debug for StdinLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("StdinLock { .. }")
    }
}

/// Descriptor 0 without a buffer.
#[derive(Debug)]
struct Input;

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = io::stdin();
        when_ready(input.as_fd(), Interest::Read, |source| {
            let action = Action::Read { source, buf: buf.as_mut_ptr(), len: buf.len() };
            // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
            unsafe { submit(action, None) }
        })
        .or_else(|error| if_closed(error, 0))
    }
}

/// A stream that the process was started without, or has closed, is empty and takes everything, as in std.
fn if_closed(error: io::Error, instead: usize) -> io::Result<usize> {
    if error.raw_os_error() == Some(libc::EBADF) { Ok(instead) } else { Err(error) }
}

/// Writes a part of `buf`.
fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let len = if is_regular(fd) { buf.len() } else { buf.len().min(FITS) };
    when_ready(fd, Interest::Write, |source| {
        let action = Action::Write { source, buf: buf.as_ptr(), len };
        // SAFETY: `buf` and the descriptor are borrowed until `submit` is done.
        unsafe { submit(action, None) }
    })
    .or_else(|error| if_closed(error, buf.len()))
}

/// Waits until `fd` is ready, then transfers; see the [module docs](super).
fn when_ready(
    fd: BorrowedFd<'_>,
    interest: Interest,
    mut transfer: impl FnMut(Source) -> io::Result<usize>,
) -> io::Result<usize> {
    // A new one each time, since anybody may put another file in the place of a standard stream.
    let watched = Watched::new(fd);
    // A file to the driver: what can be done at once is, and what may block is the pool's.
    let source = Source::new(fd.as_raw_fd(), SourceKind::File);
    loop {
        watched.wait(interest, None)?;
        match transfer(source) {
            // Somebody else was faster, and somebody has set `O_NONBLOCK`.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// One of the two streams for output.
macro_rules! output {
    ($(#[$docs:meta])* $function:ident, $stream:ident, $lock:ident, $name:literal) => {
        #[doc = concat!("Standard ", $name, ". All handles share one lock.")]
        ///
        /// There is no buffer: each call writes at once, `write!` and `writeln!` in one piece, so that
        /// nothing is left behind when the process ends. For many small pieces, put it into a
        /// [`LineWriter`](std::io::LineWriter) or [`BufWriter`](std::io::BufWriter).
        ///
        /// Unlike that of std, the lock cannot be taken again by the routine that holds it.
        #[derive(Debug)]
        pub struct $stream {
            lock: &'static Mutex<()>,
        }

        #[doc = concat!("Exclusive access to standard ", $name, ".")]
        pub struct $lock<'a> {
            _lock: MutexGuard<'a, ()>,
        }

        #[doc = concat!("A handle to standard ", $name, ".")]
        $(#[$docs])*
        pub fn $function() -> $stream {
            static LOCK: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
            $stream { lock: &LOCK }
        }

        impl $stream {
            /// Waits for exclusive access.
            pub fn lock(&self) -> $lock<'static> {
                $lock { _lock: self.lock.lock().unwrap_or_else(PoisonError::into_inner) }
            }

            /// Whether it is a terminal.
            pub fn is_terminal(&self) -> bool {
                io::$function().is_terminal()
            }
        }

        impl $lock<'_> {
            /// Whether it is a terminal.
            pub fn is_terminal(&self) -> bool {
                io::$function().is_terminal()
            }
        }

        impl Write for &$stream {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.lock().write(buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }

            // In one piece, though others may write as well.
            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                self.lock().write_all(buf)
            }

            fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
                self.write_all(fmt::format(args).as_bytes())
            }
        }

        impl Write for $stream {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }

            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                (&*self).write_all(buf)
            }

            fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
                (&*self).write_fmt(args)
            }
        }

        impl Write for $lock<'_> {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                write(io::$function().as_fd(), buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }

            fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
                self.write_all(fmt::format(args).as_bytes())
            }
        }

        impl From<$stream> for Stdio {
            fn from(_: $stream) -> Self {
                io::$function().into()
            }
        }

        impl fmt::Debug for $lock<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(concat!(stringify!($lock), " { .. }"))
            }
        }

        borrowed!($stream, $function);
        borrowed!($lock<'_>, $function);
    };
}

/// The descriptor, in blocking mode and shared with others: leave it so.
macro_rules! borrowed {
    ($type:ty, $function:ident) => {
        /// The descriptor is in blocking mode, for others than this process too; leave it so.
        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                // SAFETY: std's handle borrows it for the whole life of the process.
                unsafe { BorrowedFd::borrow_raw(io::$function().as_raw_fd()) }
            }
        }

        /// The descriptor is in blocking mode, for others than this process too; leave it so.
        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                io::$function().as_raw_fd()
            }
        }
    };
}

output!(
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use rust_routines_core::io::stdout;
    ///
    /// writeln!(stdout(), "{} routines", 3)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    stdout, Stdout, StdoutLock, "output"
);
output!(stderr, Stderr, StderrLock, "error");
borrowed!(Stdin, stdin);
borrowed!(StdinLock<'_>, stdin);
