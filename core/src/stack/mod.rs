//! The stacks that routines run on: reserved in bulk, guarded, reused, and given back to the
//! kernel.
//!
//! A runtime has one [`StackPool`], shared by its workers. A [stack](extent) is a slot of a
//! [slab](slab); it costs address space when reserved, page tables and a [guard] when first taken,
//! memory when touched.
//!
//! # Invariants
//!
//! 1. What is *reserved* can be *taken*: [`StackPool::reserve`] maps, and meets every limit that
//!    there is (address space, overcommit, mappings); [`StackPool::take`] only installs a guard.
//! 2. A stack leaves the pool with its guard in place. Guards are never removed but by unmapping.
//! 3. A slot is out at most once, so the owner of a [`Stack`] owns its memory.
//! 4. Slabs are unmapped with the pool, and only if no stack is out then. A pool should outlive its
//!    stacks; one that does not, as with a routine that will not be unwound, leaks its slabs.
//! 5. The kernel is asked for nothing with the pool's state locked, and no slot has an allocation of
//!    its own.
//!
//! # Considered and dropped
//!
//! - *A mapping per stack* (corosensei's `DefaultStack`, may, most others): two mappings each, so
//!   that 32,000 stacks reach `vm.max_map_count`, and two system calls where this has a pop.
//! - *Guards in advance, for a whole slab*: eight of them take a page of page tables, and most
//!   stacks of a large slab are never used.
//! - *`MADV_FREE` for unused pages*: cheaper, but the pages count as resident until the kernel is
//!   short of memory, and a million idle stacks would look like a leak.
//! - *Stacks that grow* (`MAP_GROWSDOWN`, copying): the first cannot be packed, the second needs to
//!   know every pointer into the stack.
//!
//! Sources: [`mmap(2)`](https://man7.org/linux/man-pages/man2/mmap.2.html),
//! [`madvise(2)`](https://man7.org/linux/man-pages/man2/madvise.2.html).

#[cfg(test)]
mod child;
mod exhausted;
mod extent;
mod guard;
mod memory;
pub(crate) mod overflow;
mod slab;
#[cfg(test)]
mod tests;

use std::io;

use parking_lot::Mutex;

use self::exhausted::Exhausted;
use self::extent::slot_size;
pub(crate) use self::extent::{Extent, Stack};
use self::guard::Guards;
use self::memory::page_size;
use self::slab::{Class, Growth, Slot};

/// Where [`State::classes`] holds the default size.
const DEFAULT: usize = 0;

/// One runtime's stacks, shared by its workers.
#[derive(Debug)]
pub(crate) struct StackPool {
    guards: Guards,
    state: Mutex<State>,
    /// Held while a slab is mapped, so that two workers in need map one slab and not two.
    growing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// The default size first, then the other sizes in order of appearance.
    classes: Vec<Class>,
    in_use: usize,
    high_water: usize,
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackMetrics {
    /// Stacks for which there is address space, of all sizes.
    pub(crate) mapped: usize,
    /// Stacks taken and not given back.
    pub(crate) in_use: usize,
    /// The most that `in_use` has been.
    pub(crate) high_water: usize,
    /// Bytes of address space.
    pub(crate) mapped_bytes: usize,
}

/// Makes sure that `bytes` of address space could be mapped now.
///
/// # Errors
///
/// What the kernel says if not.
pub(crate) fn check_room(bytes: usize) -> io::Result<()> {
    let start = memory::map(bytes)?;
    // SAFETY: the mapping is new, and nobody knows of it.
    unsafe { memory::unmap(start..start + bytes) };
    Ok(())
}

impl StackPool {
    /// A pool whose default stack takes `default_size` bytes of address space, the guard included,
    /// rounded up to pages.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the size is too small to hold a guard and a frame, or too large to exist.
    pub(crate) fn new(default_size: usize) -> io::Result<Self> {
        Self::with_guards(default_size, Guards::supported())
    }

    /// [`new`](Self::new) with a given kind of guards.
    fn with_guards(default_size: usize, guards: Guards) -> io::Result<Self> {
        let default_size =
            slot_size(default_size, |size| size.checked_next_multiple_of(page_size()))?;
        let classes = vec![Class::new(default_size, guards)];
        Ok(Self {
            guards,
            state: Mutex::new(State { classes, in_use: 0, high_water: 0 }),
            growing: Mutex::new(()),
        })
    }

    /// Promises `n` more stacks of the default size, over all that are reserved or taken already.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, naming the limit, if the process may not have that many. Nothing is reserved
    /// then.
    pub(crate) fn reserve(&self, n: usize) -> io::Result<()> {
        self.reserve_in(DEFAULT, n)
    }

    /// Takes back the promise of `n` stacks that are not taken. Their address space stays mapped.
    pub(crate) fn unreserve(&self, n: usize) {
        self.state.lock().classes[DEFAULT].unreserve(n);
    }

    /// Takes `n` stacks within the reservation and pushes them to `stacks`, the best to use first
    /// last.
    ///
    /// Asks the kernel for all of them at once, and to have their first pages ready, which takes
    /// three quarters of the time of one at a time and a page fault each.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the guard of a fresh stack, for want of memory for page tables; `stacks` then has
    /// those that needed no guard.
    ///
    /// # Panics
    ///
    /// If fewer than `n` stacks are reserved.
    pub(crate) fn take_many(&self, n: usize, stacks: &mut Vec<Stack>) -> io::Result<()> {
        let start = stacks.len();
        self.take_into(DEFAULT, n, stacks)?;
        // The one to use first is the one that was given back last.
        stacks[start..].reverse();
        #[cfg(target_os = "linux")]
        {
            let tops = stacks[start..].iter().map(|stack| stack.extent().first_page());
            // SAFETY: populating leaves the content as it is. If it fails, the pages come when
            // touched.
            let _ = unsafe { memory::advise_all(tops, libc::MADV_POPULATE_WRITE) };
        }
        Ok(())
    }

    /// Reserves and takes a stack of at least `size` bytes, the guard included, rounded up to a
    /// power of two. Giving it back ends the reservation, too.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), [`reserve`](Self::reserve) and [`take_many`](Self::take_many).
    pub(crate) fn take_sized(&self, size: usize) -> io::Result<Stack> {
        let size = slot_size(size, usize::checked_next_power_of_two)?;
        let class = self.state.lock().class_of(size, self.guards);
        self.reserve_in(class, 1)?;
        self.take_from(class).inspect_err(|_| self.state.lock().classes[class].unreserve(1))
    }

    /// Gives a stack of this pool back: its pages to the kernel, its slot to the next taker.
    pub(crate) fn give_back(&self, stack: Stack) {
        // SAFETY: we own the stack, so nothing runs on it. Fails only under `mlockall`, where pages
        // stay.
        let _ = unsafe { memory::advise(stack.extent().usable(), libc::MADV_DONTNEED) };
        self.state.lock().give_back(std::iter::once(stack));
    }

    /// Gives all of `stacks`, which are of this pool, back: a fifth of the cost of doing it one by
    /// one.
    pub(crate) fn give_back_many(&self, stacks: &mut Vec<Stack>) {
        let used = stacks.iter().map(|stack| stack.extent().usable());
        // SAFETY: we own the stacks, so nothing runs on them. Fails only under `mlockall`.
        let _ = unsafe { memory::advise_all(used, libc::MADV_DONTNEED) };
        self.state.lock().give_back(stacks.drain(..));
    }

    /// What the pool holds at this moment.
    pub(crate) fn metrics(&self) -> StackMetrics {
        let state = self.state.lock();
        StackMetrics {
            mapped: state.classes.iter().map(Class::slots).sum(),
            in_use: state.in_use,
            high_water: state.high_water,
            mapped_bytes: state.classes.iter().map(|class| class.slots() * class.slot_size()).sum(),
        }
    }

    fn reserve_in(&self, class: usize, n: usize) -> io::Result<()> {
        if self.try_reserve(class, n).is_ok() {
            return Ok(());
        }
        let _growing = self.growing.lock();
        // Around again if another worker reserved from the new slab before us.
        while let Err(growth) = self.try_reserve(class, n) {
            let slab = growth.map()?;
            self.state.lock().classes[class].grow(slab);
        }
        Ok(())
    }

    fn try_reserve(&self, class: usize, n: usize) -> Result<(), Growth> {
        self.state.lock().classes[class].reserve(n)
    }

    fn take_from(&self, class: usize) -> io::Result<Stack> {
        let mut stack = Vec::with_capacity(1);
        self.take_into(class, 1, &mut stack)?;
        Ok(stack.remove(0))
    }

    fn take_into(&self, class: usize, n: usize, stacks: &mut Vec<Stack>) -> io::Result<()> {
        stacks.reserve(n);
        let bare = self.state.lock().take(class, n, stacks);
        let guards = stacks[bare..].iter().map(|stack| stack.extent().guard_range());
        // SAFETY: by invariant 3 the stacks are ours, and nothing runs on them yet.
        unsafe { guard::install(guards) }.inspect_err(|_| {
            self.state.lock().refuse(stacks.drain(bare..));
        })
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.in_use > 0 {
            // Invariant 4.
            state.classes.drain(..).for_each(Class::leak);
        }
    }
}

impl State {
    /// The index of the class of `size` bytes, other than the default class.
    fn class_of(&mut self, size: usize, guards: Guards) -> usize {
        let sizes = self.classes.iter().map(Class::slot_size);
        if let Some((index, _)) = sizes.enumerate().skip(DEFAULT + 1).find(|&(_, s)| s == size) {
            return index;
        }
        self.classes.push(Class::new(size, guards));
        self.classes.len() - 1
    }

    /// Pushes `n` reserved stacks to `stacks`, and answers from where on they have no guard yet.
    fn take(&mut self, class: usize, n: usize, stacks: &mut Vec<Stack>) -> usize {
        let size = self.classes[class].slot_size();
        let mut bare = stacks.len();
        for slot in self.classes[class].take(n) {
            let limit = match slot {
                Slot::Guarded(limit) => {
                    bare += 1;
                    limit
                }
                Slot::Bare(limit) => limit,
            };
            stacks.push(Stack::new(limit, size, class));
        }
        self.in_use += n;
        self.high_water = self.high_water.max(self.in_use);
        bare
    }

    fn give_back(&mut self, stacks: impl Iterator<Item = Stack>) {
        for stack in stacks {
            self.in_use -= 1;
            let class = &mut self.classes[stack.class()];
            class.give_back(stack.extent().limit());
            if stack.class() != DEFAULT {
                class.unreserve(1);
            }
        }
    }

    /// Takes back stacks that have no guard yet.
    fn refuse(&mut self, stacks: impl Iterator<Item = Stack>) {
        for stack in stacks {
            self.in_use -= 1;
            self.classes[stack.class()].refuse(stack.extent().limit());
        }
    }
}
