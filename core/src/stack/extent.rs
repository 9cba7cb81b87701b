//! A stack: where it lies, and who owns it.
//!
//! ```text
//!   limit            guard end                    base - keep          base    top
//!     │    guard         │     never or rarely touched    │  live frames  │ colour │
//!     └──────────────────┴────────────────────────────────┴───────────────┴────────┘
//!                        ╰──── trim(keep) gives it back ──╯
//! ```

use std::io;
use std::ops::Range;

use corosensei::stack::{MIN_STACK_SIZE, StackPointer};

use super::guard::guard_size;
use super::memory::{self, page_size};

/// Colours that stacks have, and the bytes between one and the next: a cache line.
///
/// Slots are a multiple of the page size apart, so that without colours the hot ends of all stacks
/// would share a few sets of the L1 cache. Switching round 64 stacks took 11.0 ns each then and 4.2
/// with colours, round 1,000 stacks 14.8 and 4.7, round 100,000 64 and 40 (Xeon, 48 KiB L1d). More
/// colours gain a little at 100,000, but cost a page per parked routine once its frames no longer
/// fit the rest of the first.
const COLOURS: usize = 16;
const COLOUR_BYTES: usize = 64;

/// A guarded stack, owned. It does nothing when dropped: give it back to its
/// [pool](super::StackPool::give_back).
#[derive(Debug)]
pub(crate) struct Stack {
    extent: Extent,
    /// The size class that it belongs to.
    class: usize,
}

/// Where a stack lies. Says nothing about whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where the stack begins, and grows down from.
    base: StackPointer,
    /// The lowest address, where the guard begins.
    limit: StackPointer,
}

impl Stack {
    /// The stack in the slot of `size` bytes at `limit`.
    pub(super) fn new(limit: usize, size: usize, class: usize) -> Self {
        // Neighbours differ, which are taken together at first.
        let colour = limit / size % COLOURS * COLOUR_BYTES;
        let address = |address| StackPointer::new(address).expect("nothing is mapped at address 0");
        let extent = Extent { base: address(limit + size - colour), limit: address(limit) };
        Self { extent, class }
    }

    /// Where it lies.
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    pub(super) fn class(&self) -> usize {
        self.class
    }
}

// SAFETY: base and limit are those of a slot that the stack owns, that stays mapped while it is
// out, and that has a guard at the limit (invariants 2 to 4 of the pool). `slot_size` leaves enough
// between them.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.extent.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.extent.limit
    }
}

impl Extent {
    /// Bytes of address space, the guard included.
    pub(crate) fn size(self) -> usize {
        self.top() - self.limit()
    }

    /// The addresses at which an access means that the stack has overflowed.
    pub(crate) fn guard_range(self) -> Range<usize> {
        self.limit()..self.limit() + guard_size()
    }

    /// Gives the pages back to the kernel that lie wholly more than `keep` bytes from the base;
    /// they read as zero from then on. What is nearer stays as it is.
    ///
    /// # Safety
    ///
    /// The stack has not been given back, and its live frames lie within `keep` bytes of the base.
    pub(crate) unsafe fn trim(self, keep: usize) {
        let start = self.guard_range().end;
        let end = self.base.get().saturating_sub(keep) / page_size() * page_size();
        if start < end {
            // SAFETY: the pages are above the guard, and by the caller's promise nobody needs them.
            // Fails only under `mlockall`: then they stay, which is what was asked for there.
            let _ = unsafe { memory::advise(start..end, libc::MADV_DONTNEED) };
        }
    }

    pub(super) fn limit(self) -> usize {
        self.limit.get()
    }

    /// All that is above the guard.
    pub(super) fn usable(self) -> Range<usize> {
        self.guard_range().end..self.top()
    }

    /// The page that the outermost frames are on.
    pub(super) fn first_page(self) -> Range<usize> {
        self.top() - page_size()..self.top()
    }

    /// The end of the slot: the base, but for the colour.
    fn top(self) -> usize {
        self.base.get().next_multiple_of(page_size())
    }
}

/// The size of the slots for stacks of `size` bytes, or an error if there can be none.
pub(super) fn slot_size(
    size: usize,
    round_up: impl FnOnce(usize) -> Option<usize>,
) -> io::Result<usize> {
    // Twice corosensei's minimum: the colour takes a part.
    let smallest = guard_size() + 2 * MIN_STACK_SIZE.max(page_size());
    match round_up(size) {
        Some(rounded) if size >= smallest && rounded <= isize::MAX as usize => Ok(rounded),
        _ => {
            let message = format!("no stack can have {size} bytes; the least is {smallest}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}
