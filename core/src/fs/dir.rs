//! Directories: what is in them, and new ones.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{FileType, Metadata};
use std::io;
use std::iter::FusedIterator;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};

use crate::blocking::call_system;

/// How many entries are fetched in one trip to the pool. The trip then costs less per entry than the
/// entry itself, and the batch stays within some ten kilobytes.
const BATCH: usize = 128;

/// The entries of a directory, without `.` and `..`.
///
/// # Errors
///
/// What `opendir(3)` reports.
///
/// # Examples
///
/// ```
/// let mut names = Vec::new();
/// for entry in rust_routines_core::fs::read_dir(".")? {
///     names.push(entry?.file_name());
/// }
/// assert!(names.contains(&"Cargo.toml".into()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref();
    call_system(|| {
        let entries = std::fs::read_dir(path)?;
        let mut dir = ReadDir { entries: Some(entries), batch: VecDeque::new() };
        // On the same trip, so that one does for a small directory.
        dir.fetch();
        Ok(dir)
    })
}

/// An iterator over the entries of a directory. From [`read_dir`].
///
/// Entries are read ahead, a batch at a time.
#[derive(Debug)]
pub struct ReadDir {
    /// Until its end has been seen.
    entries: Option<std::fs::ReadDir>,
    batch: VecDeque<io::Result<DirEntry>>,
}

impl ReadDir {
    /// Reads the next batch. May block.
    fn fetch(&mut self) {
        let Some(entries) = &mut self.entries else { return };
        self.batch.extend(entries.by_ref().take(BATCH).map(|entry| entry.map(DirEntry::new)));
        if self.batch.len() < BATCH {
            self.entries = None;
        }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.batch.is_empty() && self.entries.is_some() {
            call_system(|| self.fetch());
        }
        self.batch.pop_front()
    }
}

impl FusedIterator for ReadDir {}

// An error may contain what a panic leaves broken; those of directories are the kernel's.
impl UnwindSafe for ReadDir {}
impl RefUnwindSafe for ReadDir {}

/// An entry of a directory, as [`std::fs::DirEntry`] is.
#[derive(Debug)]
pub struct DirEntry {
    entry: std::fs::DirEntry,
    /// Most file systems tell it with the name, on the others it was asked for along with it.
    file_type: Option<FileType>,
}

impl DirEntry {
    /// May block.
    fn new(entry: std::fs::DirEntry) -> Self {
        let file_type = entry.file_type().ok();
        Self { entry, file_type }
    }

    /// The path: that of the directory, as it was given to [`read_dir`], and the name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// The name within the directory.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// What kind of file it is; symbolic links are not followed.
    ///
    /// # Errors
    ///
    /// What `lstat(2)` reports, on file systems that do not tell the type with the name.
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => call_system(|| self.entry.file_type()),
        }
    }

    /// What the file system says about the file; symbolic links are not followed.
    ///
    /// # Errors
    ///
    /// What `lstat(2)` reports.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call_system(|| self.entry.metadata())
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }
}

/// How to create a directory, as [`std::fs::DirBuilder`] says it.
///
/// `mode` comes with std's extension trait [`DirBuilderExt`].
#[derive(Debug)]
pub struct DirBuilder {
    builder: std::fs::DirBuilder,
}

impl DirBuilder {
    /// One directory, whose parent exists.
    #[expect(clippy::new_without_default, reason = "std's has no Default either")]
    pub fn new() -> Self {
        Self { builder: std::fs::DirBuilder::new() }
    }

    /// Whether to create missing parents, and to be content if all is there.
    pub fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.builder.recursive(recursive);
        self
    }

    /// Creates the directory at `path`.
    ///
    /// # Errors
    ///
    /// What `mkdir(2)` reports.
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        call_system(|| self.builder.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.builder.mode(mode);
        self
    }
}
