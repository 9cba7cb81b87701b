//! The system calls behind stacks: map, unmap, advise.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;

/// Ranges per `process_madvise`: enough that the system call vanishes among the ranges, few enough
/// that the vectors (1 KiB) fit any stack.
#[cfg(target_os = "linux")]
const BATCH: usize = 64;

/// The calling process in place of a pidfd (Linux 6.14+); not in the libc crate.
#[cfg(target_os = "linux")]
const PIDFD_SELF: libc::c_int = -10_000;

/// Bytes per page.
pub(super) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf only reads its argument.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(page).expect("the system knows its page size")
    })
}

/// Maps `len` bytes of zeroed memory that costs nothing until it is touched.
pub(super) fn map(len: usize) -> io::Result<usize> {
    // NORESERVE: under the default overcommit heuristic stacks would otherwise be charged in full.
    #[cfg(target_os = "linux")]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // OpenBSD faults a stack pointer that is not in such a mapping.
    #[cfg(target_os = "openbsd")]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_STACK;
    #[cfg(not(any(target_os = "linux", target_os = "openbsd")))]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;

    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: without MAP_FIXED a new mapping replaces no existing one.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start as usize) }
}

/// Unmaps `range`.
///
/// # Safety
///
/// It lies in a mapping made by [`map`], and nothing refers to it any more.
pub(super) unsafe fn unmap(range: Range<usize>) {
    // SAFETY: the caller vouches for the range.
    let result = unsafe { libc::munmap(range.start as *mut _, range.len()) };
    // Where a hole has to be cut, vm.max_map_count may forbid it: then the range merely stays.
    debug_assert!(result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM));
}

/// Makes every access to `range` fault; costs a mapping of its own.
///
/// # Safety
///
/// It lies in a mapping made by [`map`], and nothing refers to it.
pub(super) unsafe fn protect(range: Range<usize>) -> io::Result<()> {
    // SAFETY: the caller vouches for the range.
    match unsafe { libc::mprotect(range.start as *mut _, range.len(), libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives `advice` for one range.
///
/// # Safety
///
/// It lies in a mapping made by [`map`], and nobody minds what the advice does to its content.
pub(super) unsafe fn advise(range: Range<usize>, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: the caller vouches for the range.
    match unsafe { libc::madvise(range.start as *mut _, range.len(), advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives `advice` for every range, in as few system calls as the kernel allows.
///
/// Where the kernel takes no batch (before Linux 6.14, or a seccomp filter) it is asked range by
/// range. On an error some ranges may have had the advice.
///
/// # Safety
///
/// As for [`advise`], for each range.
pub(super) unsafe fn advise_all(
    mut ranges: impl Iterator<Item = Range<usize>>,
    advice: libc::c_int,
) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    loop {
        let mut batch = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut len = 0;
        let mut bytes = 0;
        for (vector, range) in batch.iter_mut().zip(ranges.by_ref()) {
            *vector = libc::iovec { iov_base: range.start as *mut _, iov_len: range.len() };
            len += 1;
            bytes += range.len();
        }
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the vectors are ours, the caller vouches for the ranges.
        let advised = unsafe {
            let vectors = batch.as_ptr();
            libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, vectors, len, advice, 0)
        };
        if usize::try_from(advised) == Ok(bytes) {
            continue;
        }
        for vector in &batch[..len] {
            let start = vector.iov_base as usize;
            // SAFETY: the caller vouches for the ranges; an advice given twice is as good as once.
            unsafe { advise(start..start + vector.iov_len, advice)? };
        }
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: the caller vouches for the ranges.
    ranges.try_for_each(|range| unsafe { advise(range, advice) })
}
