//! What the kernel says of files without asking anybody: from the cache of names, from open files, and only
//! where that is all there is to it.
//!
//! A file system of a network or of another process (NFS, FUSE) has names in that cache too, but asks its
//! server when a file is opened, and mostly when one wants to know its size. Nothing short of the kind of
//! file system tells. The kernel lists the kinds by mount, in a file that takes some 50 µs to read, so the
//! answers are kept by mount.
//!
//! Asking the file system itself what it is (`fstatfs`) would be such a question to the server.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use parking_lot::RwLock;

use super::perform::retry;

/// Kinds of file systems without a device of their own that nevertheless ask nobody. Layers of an overlay
/// are as a rule on a disk of this machine.
const ASK_NOBODY: &[&str] = &[
    "bcachefs",
    "btrfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "devtmpfs",
    "hugetlbfs",
    "overlay",
    "proc",
    "securityfs",
    "sysfs",
    "tracefs",
    "zfs",
];

/// The one kind that has a device and asks a process all the same.
const ASKS_FOR_A_DEVICE: &str = "fuseblk";

/// How many mounts are remembered: a bound, for where they come and go.
const MOUNTS: usize = 128;

/// Who has what there is to know of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The kernel, and what the file contains as well: in memory alone, which at worst has been swapped out.
    Memory,
    /// The kernel, which asks nobody; what the file contains may be on a disk.
    Kernel,
    /// Perhaps a server or another process.
    Others,
}

/// Finds a file without touching the disk, and opens nothing: the descriptor is good for asking.
pub(crate) fn look_cached(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    open_cached(path, flags | libc::O_PATH | libc::O_CLOEXEC)
}

/// `openat2` with `RESOLVE_CACHED`, which fails with `WouldBlock` where it would touch the disk.
pub(super) fn open_cached(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: `open_how` is plain integers, for which zero is valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = flags as u64;
    how.resolve = libc::RESOLVE_CACHED;
    let opened = retry(|| {
        // SAFETY: `path` and `how` are borrowed for the call, which is told the size of `how`.
        unsafe {
            libc::syscall(
                libc::SYS_openat2,
                libc::AT_FDCWD,
                path.as_ptr(),
                &how,
                size_of::<libc::open_how>(),
            ) as isize
        }
    });
    let fd = opened.map_err(|error| match error.raw_os_error() {
        // EPERM is what a seccomp filter says that does not know the call.
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })?;
    // SAFETY: it has just been opened, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Type, size, device and mount of a file as far as known without asking anybody: a network file system
/// is not queried, so this never blocks, and the size is a hint.
pub(crate) fn stat_cached(fd: BorrowedFd<'_>) -> io::Result<libc::statx> {
    stat(fd, libc::STATX_TYPE | libc::STATX_SIZE | libc::STATX_MNT_ID_UNIQUE)
}

fn stat(fd: BorrowedFd<'_>, fields: libc::c_uint) -> io::Result<libc::statx> {
    // SAFETY: plain integers, for which zero is valid.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the path is a constant, and `stat` is borrowed for the call.
    retry(|| unsafe {
        libc::statx(fd.as_raw_fd(), c"".as_ptr(), flags, fields, &mut stat) as isize
    })?;
    Ok(stat)
}

/// Whether the file system knows all about a file that has been found, and opens it, without asking a
/// server or another process.
pub(crate) fn answers_from_memory(fd: BorrowedFd<'_>) -> bool {
    stat_cached(fd).is_ok_and(|stat| keeper(fd, &stat) != Keeper::Others)
}

/// Who keeps a file, of which this is what [`stat_cached`] says.
pub(crate) fn keeper(fd: BorrowedFd<'_>, stat: &libc::statx) -> Keeper {
    static KNOWN: RwLock<Vec<(u64, Keeper)>> = RwLock::new(Vec::new());
    let by_device = if stat.stx_dev_major != 0 { Keeper::Kernel } else { Keeper::Others };
    if stat.stx_mask & (libc::STATX_MNT_ID | libc::STATX_MNT_ID_UNIQUE) == 0 {
        return by_device;
    }
    // Before Linux 6.8 the number of a mount that has gone may be that of another one now. The worst that
    // comes of it is a wait.
    let mount = stat.stx_mnt_id;
    let known = KNOWN.read().iter().find(|(known, _)| *known == mount).map(|(_, answer)| *answer);
    if let Some(answer) = known {
        return answer;
    }
    let answer = ask_mount_table(fd, by_device).unwrap_or(by_device);
    let mut known = KNOWN.write();
    if known.len() >= MOUNTS {
        known.clear();
    }
    known.push((mount, answer));
    answer
}

/// `None` if the file's mount is not in the table of this process.
fn ask_mount_table(fd: BorrowedFd<'_>, by_device: Keeper) -> Option<Keeper> {
    // By the number that the table has.
    let mount = stat(fd, libc::STATX_MNT_ID).ok()?.stx_mnt_id;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = kind_of_mount(&table, mount)?;
    Some(match kind {
        "tmpfs" | "ramfs" => Keeper::Memory,
        ASKS_FOR_A_DEVICE => Keeper::Others,
        _ if ASK_NOBODY.contains(&kind) => Keeper::Kernel,
        _ => by_device,
    })
}

/// The kind of file system: the first word behind the dash, see `proc_pid_mountinfo(5)`.
fn kind_of_mount(table: &str, mount: u64) -> Option<&str> {
    let mount = mount.to_string();
    let line = table.lines().find(|line| line.split(' ').next() == Some(&*mount))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    /// Fails if a server's file system is taken for one that asks nobody.
    #[test]
    fn kinds_are_found_in_the_table() {
        let table = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            2 22 0:50 / /home rw shared:1 master:2 - nfs4 server:/home rw,vers=4.2\n\
            222 22 0:51 / /mnt/a\\040-\\040b rw - fuse.sshfs me@there:/ rw\n";
        assert_eq!(kind_of_mount(table, 22), Some("ext4"));
        assert_eq!(kind_of_mount(table, 2), Some("nfs4"));
        assert_eq!(kind_of_mount(table, 222), Some("fuse.sshfs"));
        assert_eq!(kind_of_mount(table, 3), None);
    }

    /// Fails if files that are in memory by their nature are handed to the pool.
    #[test]
    fn proc_answers_from_memory() {
        let file = File::open("/proc/self/stat").unwrap();
        for _ in 0..2 {
            assert!(answers_from_memory(file.as_fd()));
        }
    }
}
