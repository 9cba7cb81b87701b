//! Files and directories as in [`std::fs`]: the same names, signatures and errors, but a call that has
//! to wait for the disk parks the routine instead of its thread.
//!
//! Called from a plain thread, the same functions block that thread.
//!
//! Opening and reading are tried from the kernel's caches first, on the spot, and so are [`metadata`] and its
//! kin, and locks. What is not cached or goes past the cache (`O_DIRECT`), and everything else here, is done by the
//! I/O driver, mostly on its pool; so is all that a file system has to ask a server or another process for, as those of
//! networks and FUSE do. Writing is done on the spot only where the file system knows beforehand that it would not
//! wait, as XFS and btrfs do. On ext4, for one, each write makes the trip to the pool, which takes microseconds where
//! the write itself takes half of one: put a [`BufWriter`](std::io::BufWriter) before a file that is written in small
//! pieces.
//!
//! A [`File`] that is a pipe or a device which can be waited for (a terminal, say) holds no thread while it
//! waits.
//!
//! What std has and this has not: `soft_link`, which std has deprecated ([`unix::symlink`] is its
//! successor), and reading and writing through an `Arc<File>` by value; `&*file` does it.

mod dir;
mod file;
mod lock;
mod open_options;
pub(crate) mod stat;
pub mod unix;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::blocking::call_system;

pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::File;
pub use open_options::OpenOptions;

use stat::Links;

/// Reads a whole file.
///
/// # Errors
///
/// Those of [`File::open`] and of reading.
///
/// # Examples
///
/// ```
/// let manifest = rust_routines_core::fs::read("Cargo.toml")?;
/// assert!(manifest.starts_with(b"[package]"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (file, size) = OpenOptions::new().read(true).open_to_read(path.as_ref())?;
    file.append_rest(size, &mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file as text.
///
/// # Errors
///
/// Those of [`File::open`] and of reading, and `InvalidData` for what is not UTF-8.
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let mut text = String::new();
    let (file, size) = OpenOptions::new().read(true).open_to_read(path.as_ref())?;
    file.append_text(size, &mut text)?;
    Ok(text)
}

/// Writes `contents` to a file, which is created or replaced.
///
/// # Errors
///
/// Those of [`File::create`] and of writing.
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    call_system(|| std::fs::write(path, contents))
}

/// Copies the contents and permission bits of one file to another and answers the number of bytes.
///
/// # Errors
///
/// What the system reports; `InvalidInput` if `from` is not a regular file.
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    call_system(|| std::fs::copy(from, to))
}

/// Renames a file or directory, replacing a file of the new name.
///
/// # Errors
///
/// What `rename(2)` reports.
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    call_system(|| std::fs::rename(from, to))
}

/// Removes a file or symbolic link.
///
/// # Errors
///
/// What `unlink(2)` reports.
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call_system(|| std::fs::remove_file(path))
}

/// Creates a directory.
///
/// # Errors
///
/// What `mkdir(2)` reports.
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    DirBuilder::new().create(path)
}

/// Creates a directory and whatever parents it lacks. One that exists is fine.
///
/// # Errors
///
/// What `mkdir(2)` reports.
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

/// Removes an empty directory.
///
/// # Errors
///
/// What `rmdir(2)` reports.
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call_system(|| std::fs::remove_dir(path))
}

/// Removes a directory and all it contains. Symbolic links are removed, not followed.
///
/// # Errors
///
/// What the system reports for the first part that cannot be removed.
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call_system(|| std::fs::remove_dir_all(path))
}

/// What the file system says about a file, following symbolic links.
///
/// # Errors
///
/// What `stat(2)` reports.
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    match stat::look(path, Links::Followed) {
        Some(file) => file?.metadata(),
        None => call_system(|| std::fs::metadata(path)),
    }
}

/// What the file system says about a file or, for a symbolic link, about the link.
///
/// # Errors
///
/// What `lstat(2)` reports.
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    match stat::look(path, Links::Kept) {
        Some(file) => file?.metadata(),
        None => call_system(|| std::fs::symlink_metadata(path)),
    }
}

/// The absolute path without symbolic links.
///
/// # Errors
///
/// If a part of it does not exist or cannot be searched.
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    call_system(|| std::fs::canonicalize(path))
}

/// Gives the file `original` the additional name `link`.
///
/// # Errors
///
/// What `link(2)` reports.
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    call_system(|| std::fs::hard_link(original, link))
}

/// Where a symbolic link points.
///
/// # Errors
///
/// What `readlink(2)` reports; `InvalidInput` if it is not a symbolic link.
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    call_system(|| std::fs::read_link(path))
}

/// Sets the permissions of a file.
///
/// # Errors
///
/// What `chmod(2)` reports.
pub fn set_permissions<P: AsRef<Path>>(path: P, perm: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    call_system(|| std::fs::set_permissions(path, perm))
}

/// Whether the path leads to something. A broken symbolic link does not.
///
/// # Errors
///
/// If that cannot be found out, for lack of permission for instance.
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    match metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
