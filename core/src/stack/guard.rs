//! Guards below stacks: two ways to make an overflow fault, and what the second one costs.
//!
//! 1. **Advice** (`MADV_GUARD_INSTALL`, Linux 6.13+) marks the page-table entries. It needs no
//!    mapping of its own, so a million guards are no matter, and is done when a slot is first
//!    taken.
//! 2. **Protect** (`mprotect`) works everywhere, but splits the mapping: every guard costs two of
//!    the `vm.max_map_count` (65,530 by default) that the process may have. At that limit `mmap`
//!    fails for everybody: allocators abort, and not even a panic's backtrace can be printed. So
//!    these guards are made when stacks are *reserved*, against a [budget](Budget) that leaves half
//!    of what is left.
//!
//! Sources: [`madvise(2)`](https://man7.org/linux/man-pages/man2/madvise.2.html),
//! [guard pages on LWN](https://lwn.net/Articles/1011366/).

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Exhausted;
use super::memory::{self, page_size};

/// Bytes of a guard.
///
/// Rust probes the stack page by page, so one page would do for it. C compiled without
/// `-fstack-clash-protection` moves the stack pointer by a frame at once, and buffers of `PATH_MAX`
/// are common: four pages catch those. They take no memory, and were as fast to install as one.
const GUARD_BYTES: usize = 16 * 1024;

/// From Linux's `mman-common.h`; not in the libc crate.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Mappings that one `mprotect` guard costs: its own, and the rest of the mapping that it splits.
const MAPPINGS_PER_GUARD: usize = 2;

/// Bytes of a guard, in whole pages.
pub(super) fn guard_size() -> usize {
    GUARD_BYTES.next_multiple_of(page_size())
}

/// How guards are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guards {
    /// `MADV_GUARD_INSTALL`, when a slot is first taken.
    Advice,
    /// `mprotect`, when its slab is mapped.
    Protect,
}

impl Guards {
    /// The best that the kernel will do for this process.
    pub(super) fn supported() -> Self {
        // Tried rather than derived from a version: seccomp, gVisor and `mlockall` refuse it too.
        if cfg!(target_os = "linux")
            && let Ok(start) = memory::map(page_size())
        {
            let page = start..start + page_size();
            // SAFETY: the page was just mapped and is nobody else's.
            let installed = unsafe { memory::advise(page.clone(), MADV_GUARD_INSTALL) };
            // SAFETY: as above.
            unsafe { memory::unmap(page) };
            if installed.is_ok() {
                return Self::Advice;
            }
        }
        Self::Protect
    }
}

/// Installs guards by advice.
///
/// # Safety
///
/// The ranges lie in mappings of [`memory::map`], and nothing refers to them.
pub(super) unsafe fn install(ranges: impl Iterator<Item = Range<usize>>) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { memory::advise_all(ranges, MADV_GUARD_INSTALL) }
}

/// A share of the process's mappings, held for `mprotect` guards; returned when dropped.
#[derive(Debug)]
pub(super) struct Budget {
    mappings: usize,
}

/// Mappings held by all [`Budget`]s.
static HELD: AtomicUsize = AtomicUsize::new(0);

impl Budget {
    /// Takes the mappings of `guards` guards, if that many may be used.
    pub(super) fn take(guards: usize) -> Result<Self, Exhausted> {
        let (max_map_count, allowed) = *Self::allowed();
        let mappings = guards.saturating_mul(MAPPINGS_PER_GUARD);
        // Relaxed: a sum that guards no other memory.
        HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(mappings).filter(|&sum| sum <= allowed)
        })
        .map_err(|held| Exhausted::Mappings {
            stacks: guards,
            free: (allowed - held) / MAPPINGS_PER_GUARD,
            max_map_count,
        })?;
        Ok(Self { mappings })
    }

    /// `vm.max_map_count`, and how much of it all guards together may use: half of what was left
    /// when the first guard was wanted. The other half is for the program's threads, libraries and
    /// heap.
    fn allowed() -> &'static (usize, usize) {
        static ALLOWED: OnceLock<(usize, usize)> = OnceLock::new();
        ALLOWED.get_or_init(|| {
            let read = |path| fs::read_to_string(path).ok();
            let Some(max) = read("/proc/sys/vm/max_map_count").and_then(|n| n.trim().parse().ok())
            else {
                // Not Linux: no such limit. Linux without /proc: assume the default, half of it
                // used.
                return if cfg!(target_os = "linux") {
                    (65_530, 65_530 / 4)
                } else {
                    (usize::MAX, usize::MAX)
                };
            };
            let used = read("/proc/self/maps").map_or(max / 2, |maps| maps.lines().count());
            (max, max.saturating_sub(used) / 2)
        })
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        HELD.fetch_sub(self.mappings, Ordering::Relaxed);
    }
}
