//! Tests of the pool. What may harm the process, or depends on all of it, runs in a child.

use std::backtrace::Backtrace;
use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use corosensei::stack::{STACK_ALIGNMENT, Stack as _};
use corosensei::{Coroutine, CoroutineResult};

use super::child::{assert_finished, in_child};
use super::guard::guard_size;
use super::*;

const SIZE: usize = 256 * 1024;

impl StackPool {
    /// One stack, its pages untouched.
    pub(super) fn take(&self) -> io::Result<Stack> {
        self.take_from(DEFAULT)
    }

    fn default_size(&self) -> usize {
        self.state.lock().classes[DEFAULT].slot_size()
    }
}

/// Both kinds of guards, or the one that this system has.
fn kinds() -> Vec<Guards> {
    let mut kinds = vec![Guards::Protect, Guards::supported()];
    kinds.dedup();
    kinds
}

/// Whether the byte at `address` can be read, without reading it.
fn readable(address: usize) -> bool {
    let mut ends = [0; 2];
    // SAFETY: the kernel checks the address, and fails with EFAULT where we would fault.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let written = libc::write(ends[1], address as *const _, 1);
        ends.iter().for_each(|&end| assert_eq!(libc::close(end), 0));
        written == 1
    }
}

/// Whether `address` is in memory.
fn resident(address: usize) -> bool {
    let mut page = 0_u8;
    // SAFETY: for one page the kernel writes one byte.
    let result = unsafe {
        libc::mincore(
            (address / page_size() * page_size()) as *mut _,
            page_size(),
            (&raw mut page).cast(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    page & 1 == 1
}

fn read(address: usize) -> usize {
    // SAFETY: called for aligned addresses within stacks that the test owns.
    unsafe { (address as *const usize).read() }
}

fn write(address: usize, value: usize) {
    // SAFETY: called for aligned addresses within stacks that the test owns.
    unsafe { (address as *mut usize).write(value) }
}

/// The highest word of a stack.
fn first_word(stack: &Stack) -> usize {
    stack.base().get() - size_of::<usize>()
}

// Breaks if sizes are not checked, or rounded the wrong way.
#[test]
fn sizes_are_checked_and_rounded_up_to_pages() {
    for size in [0, 1, page_size(), guard_size() + 4096, isize::MAX as usize + 1, usize::MAX] {
        assert_eq!(StackPool::new(size).unwrap_err().kind(), ErrorKind::InvalidInput, "{size}");
    }
    let pool = StackPool::new(SIZE + 1).unwrap();
    assert_eq!(pool.default_size(), SIZE + page_size());
    // Valid, but more than there is.
    let pool = StackPool::new(isize::MAX as usize / 2).unwrap();
    assert_eq!(pool.reserve(1).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(pool.reserve(8).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(pool.reserve(usize::MAX).unwrap_err().kind(), ErrorKind::OutOfMemory);
}

// Breaks if guards are missing, misplaced, or lost when pages are given back.
#[test]
fn a_stack_is_usable_above_its_guard_and_nowhere_else() {
    for kind in kinds() {
        let pool = StackPool::with_guards(SIZE, kind).unwrap();
        pool.reserve(3).unwrap();
        for _reuse in 0..2 {
            let mut stacks = vec![pool.take().unwrap()];
            pool.take_many(2, &mut stacks).unwrap();
            for stack in &stacks {
                let extent = stack.extent();
                assert_eq!(extent.size(), SIZE);
                assert_eq!(stack.base().get() % STACK_ALIGNMENT, 0);
                assert_eq!(stack.limit().get() % page_size(), 0);
                let guard = extent.guard_range();
                assert_eq!(guard.start, stack.limit().get());
                assert!(guard.clone().step_by(page_size()).all(|page| !readable(page)), "{kind:?}");
                for word in [guard.end, stack.base().get() - SIZE / 2, first_word(stack)] {
                    write(word, 1);
                }
            }
            pool.give_back(stacks.remove(0));
            pool.give_back_many(&mut stacks);
            assert!(stacks.is_empty());
        }
    }
}

// Breaks if a coroutine finds less stack than promised, or cannot unwind it.
#[test]
fn a_coroutine_recurses_suspends_and_panics_on_a_stack() {
    fn recurse(depth: usize) -> usize {
        let frame = std::hint::black_box([depth; 16]);
        if depth == 0 { frame[0] } else { recurse(depth - 1) + std::hint::black_box(frame)[1] }
    }
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(1).unwrap();
    let mut coroutine = Coroutine::with_stack(pool.take().unwrap(), |yielder, ()| {
        yielder.suspend(recurse(100));
        assert!(catch_unwind(|| panic!("on purpose")).is_err());
    });
    assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(5050)));
    assert!(matches!(coroutine.resume(()), CoroutineResult::Return(())));
    pool.give_back(coroutine.into_stack());
    assert_eq!(pool.metrics().in_use, 0);
}

// Breaks if stacks are handed out by age, or with what the last user left on them.
#[test]
fn the_last_stack_given_back_is_taken_first_and_is_clean() {
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(8).unwrap();
    let mut stacks: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    let limits: Vec<_> = stacks.iter().map(|stack| stack.limit()).collect();
    stacks.iter().for_each(|stack| write(first_word(stack), 7));
    pool.give_back(stacks.remove(0));
    pool.give_back_many(&mut stacks);

    let last = pool.take().unwrap();
    assert_eq!(last.limit(), limits[2]);
    pool.take_many(3, &mut stacks).unwrap();
    assert_eq!(stacks.last().unwrap().limit(), limits[1]);
    stacks.push(last);
    assert!(stacks.iter().all(|stack| read(first_word(stack)) == 0));
    assert_eq!(stacks.iter().map(|stack| stack.limit()).collect::<HashSet<_>>().len(), 4);
    pool.give_back_many(&mut stacks);
}

// Breaks if trim is off by a page at either end, or removes the guard.
#[test]
fn trim_gives_back_all_but_what_is_kept() {
    for kind in kinds() {
        let pool = StackPool::with_guards(SIZE, kind).unwrap();
        pool.reserve(1).unwrap();
        let stack = pool.take().unwrap();
        let (extent, base) = (stack.extent(), stack.base().get());
        let fill = || (extent.usable().start..base).step_by(8).for_each(|word| write(word, word));

        for keep in [SIZE, SIZE - guard_size(), 3 * page_size(), page_size(), 1, 0] {
            fill();
            // SAFETY: nothing runs on this stack.
            unsafe { extent.trim(keep) };
            let kept = (base - keep).max(extent.usable().start) / page_size() * page_size();
            for page in extent.usable().step_by(page_size()) {
                assert_eq!(resident(page), page >= kept, "{kind:?} {keep}");
            }
            assert!((kept..base).step_by(8).all(|word| read(word) == word));
            assert!(!readable(extent.guard_range().end - 1));
        }
        pool.give_back(stack);
    }
}

// Breaks if pages stay with the pool: 64 MiB would then be resident.
#[test]
fn stacks_given_back_hold_no_memory() {
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(256).unwrap();
    let mut stacks = Vec::new();
    pool.take_many(256, &mut stacks).unwrap();
    let extents: Vec<_> = stacks.iter().map(Stack::extent).collect();
    for extent in &extents {
        extent.usable().step_by(page_size()).for_each(|page| write(page, 1));
    }
    pool.give_back_many(&mut stacks);
    for extent in &extents {
        assert!(extent.usable().step_by(page_size()).all(|page| !resident(page)));
    }
}

// Breaks if other sizes share slots with the default, or are not reused.
#[test]
fn sized_stacks_have_classes_of_their_own() {
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(1).unwrap();
    let default = pool.take().unwrap();
    let same = pool.take_sized(SIZE).unwrap();
    let large = pool.take_sized(SIZE + 1).unwrap();
    let huge = pool.take_sized(1 << 30).unwrap();
    assert_eq!(same.extent().size(), SIZE);
    assert_eq!(large.extent().size(), 2 * SIZE);
    assert_eq!(huge.extent().size(), 1 << 30);
    write(huge.extent().usable().start, 1);
    for size in [0, 1, usize::MAX, isize::MAX as usize] {
        assert_eq!(pool.take_sized(size).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(pool.take_sized(1 << 60).unwrap_err().kind(), ErrorKind::OutOfMemory);

    let limit = large.limit();
    let mapped = pool.metrics().mapped;
    pool.give_back_many(&mut vec![default, same, large, huge]);
    let again = pool.take_sized(2 * SIZE).unwrap();
    assert_eq!(again.limit(), limit);
    pool.give_back(again);
    assert_eq!(pool.metrics().mapped, mapped);
    // The reservation of a sized stack ended with it, that of the default stack did not.
    pool.unreserve(1);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.unreserve(1))).is_err());
}

// Breaks if the counts drift.
#[test]
fn metrics_count_stacks_and_bytes() {
    let pool = StackPool::new(SIZE).unwrap();
    assert_eq!(
        pool.metrics(),
        StackMetrics { mapped: 0, in_use: 0, high_water: 0, mapped_bytes: 0 }
    );
    pool.reserve(65).unwrap();
    let mut stacks = Vec::new();
    pool.take_many(65, &mut stacks).unwrap();
    stacks.push(pool.take_sized(4 * SIZE).unwrap());
    pool.give_back_many(&mut stacks);
    let metrics = pool.metrics();
    assert_eq!((metrics.in_use, metrics.high_water), (0, 66));
    assert_eq!(metrics.mapped, 65 + 16);
    assert_eq!(metrics.mapped_bytes, 65 * SIZE + 16 * 4 * SIZE);
}

// Breaks if a stack can be taken that nobody reserved.
#[test]
fn taking_without_a_reservation_panics() {
    let pool = StackPool::new(SIZE).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| pool.take())).is_err());
    pool.reserve(1).unwrap();
    let stack = pool.take().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| pool.take())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.unreserve(1))).is_err());
    pool.give_back(stack);
    pool.unreserve(1);
}

// Breaks if a slot is lost, or handed out unguarded, when the kernel refuses its guard.
#[cfg(target_os = "linux")]
#[test]
fn a_refused_guard_is_an_error_and_is_tried_again() {
    if Guards::supported() == Guards::Protect {
        return;
    }
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(3).unwrap();
    let first = pool.take().unwrap();
    // Locked pages cannot have guards.
    let next = (first.limit().get() + SIZE) as *const _;
    // SAFETY: locks a page of a slot that is not in use.
    assert_eq!(unsafe { libc::mlock2(next, page_size(), libc::MLOCK_ONFAULT as _) }, 0);
    let mut stacks = vec![first];
    assert_eq!(pool.take().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(pool.take_many(2, &mut stacks).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!((stacks.len(), pool.metrics().in_use), (1, 1));
    // SAFETY: as above.
    assert_eq!(unsafe { libc::munlock(next, page_size()) }, 0);
    pool.take_many(2, &mut stacks).unwrap();
    assert!(stacks.iter().all(|stack| !readable(stack.limit().get())));
    assert_eq!(stacks.iter().map(|stack| stack.limit()).collect::<HashSet<_>>().len(), 3);
    pool.give_back_many(&mut stacks);
}

// Breaks if a guard costs a mapping: vm.max_map_count is reached at a third of these.
#[test]
fn a_hundred_thousand_stacks_have_guards() {
    if Guards::supported() == Guards::Protect {
        return;
    }
    let pool = StackPool::new(SIZE).unwrap();
    let mut stacks = Vec::new();
    for _ in 0..1000 {
        pool.reserve(100).unwrap();
        stacks.extend((0..100).map(|_| pool.take().unwrap()));
    }
    assert!(stacks.iter().step_by(997).all(|stack| !readable(stack.limit().get())));
    assert_eq!(stacks.iter().map(|stack| stack.limit()).collect::<HashSet<_>>().len(), 100_000);
    pool.give_back_many(&mut stacks);
}

// Breaks if a reservation costs more than address space.
#[test]
fn a_million_stacks_are_reserved_under_default_limits() {
    if Guards::supported() == Guards::Protect {
        return;
    }
    let pool = StackPool::new(SIZE).unwrap();
    for _ in 0..1000 {
        pool.reserve(1000).unwrap();
    }
    let metrics = pool.metrics();
    assert!((1_000_000..1_100_000).contains(&metrics.mapped), "{metrics:?}");
    pool.unreserve(1_000_000);
    pool.reserve(1_000_000).unwrap();
    assert_eq!(pool.metrics(), metrics);
}

// Breaks if guards run into vm.max_map_count, or hold their share after the pool.
#[cfg(target_os = "linux")]
#[test]
fn mprotect_guards_stop_well_short_of_max_map_count() {
    assert_finished(&in_child(
        module_path!(),
        "mprotect_guards_stop_well_short_of_max_map_count",
        || {
            let max: usize =
                fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
            let pool = StackPool::with_guards(32 * 1024, Guards::Protect).unwrap();
            let fill = |pool: &StackPool| {
                let mut reserved = 0;
                loop {
                    match pool.reserve(500) {
                        Ok(()) => reserved += 500,
                        Err(error) => return (reserved, error),
                    }
                    assert!(reserved < max);
                }
            };
            let (reserved, error) = fill(&pool);
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            assert!(error.to_string().contains("vm.max_map_count"), "{error}");
            assert!(reserved > max / 5, "{reserved}");
            let used = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
            assert!(used < max * 3 / 5, "{used}");
            // The process is well: it can start threads, print backtraces and map memory.
            thread::spawn(|| assert!(!Backtrace::force_capture().to_string().is_empty()))
                .join()
                .unwrap();
            drop(vec![1_u8; 100 << 20]);
            // What is reserved can be taken.
            let mut stacks = Vec::new();
            pool.take_many(reserved, &mut stacks).unwrap();
            assert!(stacks.iter().step_by(97).all(|stack| !readable(stack.limit().get())));
            pool.give_back_many(&mut stacks);
            // Another pool shares the budget, and has all of it when this one is gone.
            let other = StackPool::with_guards(SIZE, Guards::Protect).unwrap();
            assert!(other.reserve(500).is_err());
            drop(pool);
            assert_eq!(fill(&other).0, reserved);
        },
    ));
}

// Breaks if the pool takes the last of the address space, or aborts, or keeps what it could not
// use.
#[cfg(target_os = "linux")]
#[test]
fn the_address_space_limit_is_an_error_and_leaves_room() {
    assert_finished(&in_child(
        module_path!(),
        "the_address_space_limit_is_an_error_and_leaves_room",
        || {
            let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
            // SAFETY: sets a limit of this process.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
            let pool = StackPool::new(SIZE).unwrap();
            let error = pool.reserve(4096).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            assert!(error.to_string().contains("RLIMIT_AS, 1073741824 bytes"), "{error}");
            assert_eq!(pool.metrics().mapped, 0);
            // In steps it gets nearly all, though slabs of the usual size do not fit at the end.
            let fill = || (0..).take_while(|_| pool.reserve(16).is_ok()).count();
            let steps = fill();
            assert!((3000..4000).contains(&(16 * steps)), "{steps}");
            drop(vec![1_u8; 16 << 20]);
            // A reservation ended makes room for another, and so does a pool.
            pool.unreserve(160);
            assert_eq!(fill(), 10);
            assert!(pool.take_sized(64 << 20).is_err());
            drop(pool);
            let pool = StackPool::new(SIZE).unwrap();
            pool.give_back(pool.take_sized(64 << 20).unwrap());
        },
    ));
}

// Breaks if a pool leaves its slabs behind. In a child, where nobody else maps anything.
#[test]
fn a_dropped_pool_unmaps_its_slabs() {
    assert_finished(&in_child(module_path!(), "a_dropped_pool_unmaps_its_slabs", || {
        for kind in kinds() {
            let pool = StackPool::with_guards(SIZE, kind).unwrap();
            pool.reserve(200).unwrap();
            let stack = pool.take().unwrap();
            let word = first_word(&stack);
            assert!(readable(word));
            pool.give_back(stack);
            drop(pool);
            assert!(!readable(word));
        }
    }));
}

// Breaks if a stack can lose its memory: then this faults.
#[test]
fn a_pool_dropped_before_its_stacks_leaks_them() {
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(1).unwrap();
    let stack = pool.take().unwrap();
    drop(pool);
    write(first_word(&stack), 1);
}

// Breaks if two threads ever get the same slot, or counts are lost.
#[test]
fn workers_share_a_pool() {
    for kind in kinds() {
        let pool = StackPool::with_guards(64 * 1024, kind).unwrap();
        thread::scope(|scope| {
            for worker in 1..=4 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..100 {
                        let n = (worker * 7 + round) % 20 + 1;
                        pool.reserve(n + 1).unwrap();
                        let mut stacks = vec![pool.take().unwrap()];
                        pool.take_many(n, &mut stacks).unwrap();
                        stacks.push(pool.take_sized(128 * 1024).unwrap());
                        for stack in &stacks {
                            assert_eq!(read(first_word(stack)), 0);
                            write(first_word(stack), worker);
                        }
                        thread::yield_now();
                        assert!(stacks.iter().all(|stack| read(first_word(stack)) == worker));
                        pool.give_back(stacks.remove(0));
                        pool.give_back_many(&mut stacks);
                        pool.unreserve(n + 1);
                    }
                });
            }
        });
        let metrics = pool.metrics();
        assert_eq!(metrics.in_use, 0);
        assert!((2..=4 * 22).contains(&metrics.high_water), "{metrics:?}");
    }
}

// Breaks if neighbours share cache sets, or the colour eats into the next page.
#[test]
fn neighbours_have_different_colours() {
    let pool = StackPool::new(SIZE).unwrap();
    pool.reserve(16).unwrap();
    let mut stacks = Vec::new();
    pool.take_many(16, &mut stacks).unwrap();
    let tops = stacks.iter().map(|stack| stack.base().get() % page_size());
    assert_eq!(tops.collect::<HashSet<_>>().len(), 16);
    assert!(stacks.iter().all(|s| s.extent().usable().end - s.base().get() <= 1024));
    pool.give_back_many(&mut stacks);
}
