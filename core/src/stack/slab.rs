//! Slabs: large mappings cut into equal slots, and the book-keeping of the slots of one size.
//!
//! ```text
//!          one slab = one mmap
//!  low  ┌───────┬────────────┬───────┬────────────┬── … ──┬───────┬────────────┐  high
//!       │ guard │ ← stack    │ guard │ ← stack    │       │ guard │ ← stack    │
//!       └───────┴────────────┴───────┴────────────┴── … ──┴───────┴────────────┘
//!       │       slot 0       │       slot 1       │       │     slot n - 1     │
//!     limit                 top
//! ```
//!
//! A stack grows down from the top of its slot, so that the guard is also what keeps it off the
//! slot below. A slot is known by its lowest address, its *limit*.

use std::io;
use std::mem;
use std::ops::Range;

use super::Exhausted;
use super::guard::{Budget, Guards, guard_size};
use super::memory;

/// The first slab of a size: 64 default stacks, so that a small program maps little.
const FIRST_SLAB_BYTES: usize = 16 << 20;

/// Slabs double up to this. A larger one would save nothing any more; but a reservation that needs
/// more than this at once gets it in one slab.
const LARGEST_SLAB_BYTES: usize = 1 << 30;

/// Slots per slab where guards are counted, unless more are needed at once: those beyond the need
/// cost mappings that other sizes may want.
const LARGEST_PROTECTED_SLAB: usize = 256;

/// Address space that a slab must leave free.
///
/// Under `RLIMIT_AS` or strict overcommit, stacks taken to the last byte would make the next
/// `malloc` fail, which aborts a Rust program: there would be nobody left to handle our error.
const HEADROOM: usize = 32 << 20;

/// One mapping cut into slots; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Slab {
    range: Range<usize>,
    /// What its guards hold of the process's mappings.
    _budget: Option<Budget>,
}

impl Slab {
    /// Maps `slots` slots of `slot_size` bytes, guarded unless that comes later by advice.
    fn map(slots: usize, slot_size: usize, guards: Guards) -> Result<Self, Exhausted> {
        let exhausted = |source| Exhausted::memory(slots, slot_size, source);
        let len = slots
            .checked_mul(slot_size)
            .filter(|&len| len <= isize::MAX as usize - HEADROOM)
            .ok_or_else(|| exhausted(io::ErrorKind::OutOfMemory.into()))?;
        let budget = match guards {
            Guards::Advice => None,
            Guards::Protect => Some(Budget::take(slots)?),
        };

        let start = memory::map(len + HEADROOM).map_err(exhausted)?;
        // The low end goes, since Linux maps downwards: the next slab will then join this one.
        let range = start + HEADROOM..start + HEADROOM + len;
        // SAFETY: this part of the new mapping is used by nobody.
        unsafe { memory::unmap(start..range.start) };
        let slab = Self { range, _budget: budget };

        // A huge page would make every stack cost 2 MiB. Refused where there are no huge pages:
        // fine.
        #[cfg(target_os = "linux")]
        // SAFETY: the slab was just mapped, and its content is not touched.
        let _ = unsafe { memory::advise(slab.range.clone(), libc::MADV_NOHUGEPAGE) };

        if guards == Guards::Protect {
            for limit in slab.range.clone().step_by(slot_size) {
                // SAFETY: the slab was just mapped and is used by nobody.
                unsafe { memory::protect(limit..limit + guard_size()) }.map_err(exhausted)?;
            }
        }
        Ok(slab)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: we mapped it, and slabs are dropped only while no stack is out
        // (`StackPool::drop`).
        unsafe { memory::unmap(self.range.clone()) };
    }
}

/// A slot that was taken, by its limit.
#[derive(Debug)]
pub(super) enum Slot {
    /// Its guard is in place.
    Guarded(usize),
    /// Its guard has to be installed.
    Bare(usize),
}

/// The slots of one size.
///
/// 1. `in_use <= reserved <= slots`: a reserved slot is mapped, and guarded where guards are
///    counted.
/// 2. A slot is in one of four places: not yet taken (from `fresh` on), in `free`, in `refused`, or
///    in use. So within the reservation there is always one to take.
#[derive(Debug)]
pub(super) struct Class {
    slot_size: usize,
    guards: Guards,
    slabs: Vec<Slab>,
    /// Slots in all slabs.
    slots: usize,
    /// Slots promised to callers, including those in use.
    reserved: usize,
    in_use: usize,
    /// Limits of slots given back, guarded; the last one in is the first one out.
    free: Vec<usize>,
    /// Limits of slots whose guard the kernel refused. Tried again before fresh ones.
    refused: Vec<usize>,
    /// The slots of the current slab that were never taken.
    fresh: Range<usize>,
    /// The slab that follows the current one.
    next_slab: usize,
}

impl Class {
    pub(super) fn new(slot_size: usize, guards: Guards) -> Self {
        Self {
            slot_size,
            guards,
            slabs: Vec::new(),
            slots: 0,
            reserved: 0,
            in_use: 0,
            free: Vec::new(),
            refused: Vec::new(),
            fresh: 0..0,
            next_slab: 0,
        }
    }

    pub(super) fn slot_size(&self) -> usize {
        self.slot_size
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Promises `n` more slots if they are mapped, else says what is to be mapped first.
    pub(super) fn reserve(&mut self, n: usize) -> Result<(), Growth> {
        let spare = self.slots - self.reserved;
        if n <= spare {
            self.reserved += n;
            return Ok(());
        }
        let usual = (self.slots * self.slot_size).clamp(FIRST_SLAB_BYTES, LARGEST_SLAB_BYTES);
        let usual = match self.guards {
            Guards::Advice => usual / self.slot_size,
            Guards::Protect => (usual / self.slot_size).min(LARGEST_PROTECTED_SLAB),
        };
        Err(Growth { usual, missing: n - spare, slot_size: self.slot_size, guards: self.guards })
    }

    pub(super) fn unreserve(&mut self, n: usize) {
        assert!(n <= self.reserved - self.in_use, "more stacks unreserved than reserved and free");
        self.reserved -= n;
    }

    /// Adds a slab that [`Growth::map`] made.
    pub(super) fn grow(&mut self, slab: Slab) {
        let slots = slab.range.len() / self.slot_size;
        self.slots += slots;
        // So that giving back never allocates.
        self.free.reserve(self.slots - self.free.len());
        self.slabs.push(slab);
    }

    /// Takes `n` reserved slots: used ones, since their page tables are there, then fresh ones.
    ///
    /// So the bare ones come last.
    pub(super) fn take(&mut self, n: usize) -> impl Iterator<Item = Slot> {
        assert!(n <= self.reserved - self.in_use, "a stack taken without a reservation");
        self.in_use += n;
        (0..n).map(|_| self.next())
    }

    fn next(&mut self) -> Slot {
        if let Some(limit) = self.free.pop() {
            return Slot::Guarded(limit);
        }
        if let Some(limit) = self.refused.pop() {
            return Slot::Bare(limit);
        }
        if self.fresh.is_empty() {
            // Exists by invariant 2.
            self.fresh = self.slabs[self.next_slab].range.clone();
            self.next_slab += 1;
        }
        let limit = self.fresh.start;
        self.fresh.start += self.slot_size;
        match self.guards {
            Guards::Advice => Slot::Bare(limit),
            Guards::Protect => Slot::Guarded(limit),
        }
    }

    /// Takes back a slot whose guard is in place.
    pub(super) fn give_back(&mut self, limit: usize) {
        debug_assert!(self.slabs.iter().any(|s| s.range.contains(&limit)), "a foreign stack");
        self.in_use -= 1;
        self.free.push(limit);
    }

    /// Takes back a slot whose guard could not be installed.
    pub(super) fn refuse(&mut self, limit: usize) {
        self.in_use -= 1;
        self.refused.push(limit);
    }

    /// Leaves the slabs, and what their guards hold, in place for ever.
    pub(super) fn leak(self) {
        self.slabs.into_iter().for_each(mem::forget);
    }
}

/// What a class lacks for a reservation.
#[derive(Debug)]
pub(super) struct Growth {
    /// Slots that the next slab would have of itself.
    usual: usize,
    /// Slots that it must have.
    missing: usize,
    slot_size: usize,
    guards: Guards,
}

impl Growth {
    /// Maps the slab; a smaller one, down to what is needed, where the usual size is refused.
    pub(super) fn map(&self) -> Result<Slab, Exhausted> {
        let mut slots = self.usual.max(self.missing);
        loop {
            match Slab::map(slots, self.slot_size, self.guards) {
                Err(_) if slots > self.missing => slots = (slots / 2).max(self.missing),
                result => return result,
            }
        }
    }
}
