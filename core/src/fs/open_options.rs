//! How to open a file.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::net::descriptor;

use super::File;

/// How to open a file, as [`std::fs::OpenOptions`] says it.
///
/// `mode` and `custom_flags` come with std's extension trait [`OpenOptionsExt`]. Of the flags,
/// `O_NONBLOCK` does not last for a FIFO or a terminal: reading it parks all the same, and turning it into one of std's clears
/// the mode.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// use rust_routines_core::fs::{self, OpenOptions};
///
/// let path = std::env::temp_dir().join(format!("open-options-{}", std::process::id()));
/// let mut log = OpenOptions::new().append(true).create(true).open(&path)?;
/// writeln!(log, "one more line")?;
/// assert_eq!(fs::read(&path)?, b"one more line\n");
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    custom_flags: i32,
}

impl OpenOptions {
    /// Options with everything off.
    #[expect(clippy::new_without_default, reason = "std's has no Default either")]
    pub fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
            custom_flags: 0,
        }
    }

    /// Opens for reading.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// Opens for writing. What is there stays unless overwritten.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Opens for writing, each write going to the end of the file.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Empties the file. Needs `write`.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Creates the file if it does not exist. Needs `write` or `append`.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Creates the file and fails if it exists, in one step. Needs `write` or `append`; `create` and
    /// `truncate` then make no difference.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Opens the file at `path`.
    ///
    /// For a FIFO this waits until somebody opens the other end, and for a file on which another process has a lease until
    /// that is given up. [`timeout`](crate::time::timeout) may not be able to cut that short: a thread waits in the
    /// kernel. Opened for reading and writing, a FIFO is there at once.
    ///
    /// # Errors
    ///
    /// What `open(2)` reports; `InvalidInput` for options that contradict each other and for a path
    /// with a zero byte.
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        self.open_to_read(path.as_ref()).map(|(file, _)| file)
    }

    /// Opens the file at `path`, and says how many bytes there should be to read.
    pub(super) fn open_to_read(&self, path: &Path) -> io::Result<(File, usize)> {
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| invalid("file name contained an unexpected NUL byte"))?;
        let flags = self.flags()?;
        File::opened(descriptor::open(&path, flags, self.mode)?, flags)
    }

    /// The options in the words of `open(2)`.
    fn flags(&self) -> io::Result<i32> {
        let writes = self.write || self.append;
        let needs_write = self.create || self.create_new || self.truncate;
        let empties_log = self.append && self.truncate && !self.create_new;
        if needs_write && !writes || empties_log {
            return Err(invalid("creating or truncating a file requires write or append access"));
        }
        let access = match (self.read, writes) {
            (true, false) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            (true, true) => libc::O_RDWR,
            (false, false) => {
                return Err(invalid("must specify at least one of read, write, or append access"));
            }
        };
        let when = |on: bool, flag: i32| if on { flag } else { 0 };
        let creation = if self.create_new {
            libc::O_CREAT | libc::O_EXCL
        } else {
            when(self.create, libc::O_CREAT) | when(self.truncate, libc::O_TRUNC)
        };
        let custom = self.custom_flags & !libc::O_ACCMODE;
        Ok(access | when(self.append, libc::O_APPEND) | creation | custom)
    }
}

/// An error in the words of std.
fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.custom_flags = flags;
        self
    }
}
