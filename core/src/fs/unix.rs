//! What is special to Unix, as in [`std::os::unix::fs`]: links, owners, and the extension traits, which
//! are std's own.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::blocking::call_system;

pub use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};

/// Creates the symbolic link `link`, which leads to `original`.
///
/// # Errors
///
/// What `symlink(2)` reports.
///
/// # Examples
///
/// ```
/// use rust_routines_core::fs::{self, unix};
///
/// let link = std::env::temp_dir().join(format!("symlink-{}", std::process::id()));
/// unix::symlink("/proc/version", &link)?;
/// assert_eq!(fs::read_link(&link)?.as_os_str(), "/proc/version");
/// # std::fs::remove_file(link)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    call_system(|| std::os::unix::fs::symlink(original, link))
}

/// Changes the owner and the group of a file, each unless it is `None`, following symbolic links.
///
/// # Errors
///
/// What `chown(2)` reports.
pub fn chown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let dir = dir.as_ref();
    call_system(|| std::os::unix::fs::chown(dir, uid, gid))
}

/// Changes the owner and the group of an open file, each unless it is `None`.
///
/// # Errors
///
/// What `fchown(2)` reports.
pub fn fchown<F: AsFd>(fd: F, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let fd = fd.as_fd();
    call_system(|| std::os::unix::fs::fchown(fd, uid, gid))
}

/// Changes the owner and the group of a file or, for a symbolic link, of the link, each unless it is
/// `None`.
///
/// # Errors
///
/// What `lchown(2)` reports.
pub fn lchown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let dir = dir.as_ref();
    call_system(|| std::os::unix::fs::lchown(dir, uid, gid))
}

/// Makes `dir` the root directory, for the whole process.
///
/// # Errors
///
/// What `chroot(2)` reports; it takes a privilege.
pub fn chroot<P: AsRef<Path>>(dir: P) -> io::Result<()> {
    let dir = dir.as_ref();
    call_system(|| std::os::unix::fs::chroot(dir))
}
