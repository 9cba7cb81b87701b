//! What the machine and its kernel take for what every contestant does: no one is faster than that.

use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::getppid;

use crate::workload::{BLOCK, block_of, first_byte};

/// A number in a cache line of its own (two, as they are fetched in pairs).
#[repr(align(128))]
struct Line(AtomicU64);

/// One thread makes the number odd, the other even.
pub(crate) fn cache_line(turns: u64) {
    let line = Line(AtomicU64::new(0));
    let step = |from: u64| {
        while line.0.load(Ordering::Acquire) != from {
            spin_loop();
        }
        line.0.store(from + 1, Ordering::Release);
    };
    thread::scope(|scope| {
        scope.spawn(|| (0..turns).for_each(|turn| step(turn * 2 + 1)));
        (0..turns).for_each(|turn| step(turn * 2));
    });
}

/// The same, but who waits sleeps in the kernel, which std's `park` does with a futex.
pub(crate) fn handoff(turns: u64) {
    let line = Line(AtomicU64::new(0));
    let step = |from: u64, other: &thread::Thread| {
        while line.0.load(Ordering::Acquire) != from {
            thread::park();
        }
        line.0.store(from + 1, Ordering::Release);
        other.unpark();
    };
    let first = thread::current();
    thread::scope(|scope| {
        let second = scope.spawn(|| (0..turns).for_each(|turn| step(turn * 2 + 1, &first)));
        (0..turns).for_each(|turn| step(turn * 2, second.thread()));
    });
}

pub(crate) fn syscall(turns: u64) {
    for _ in 0..turns {
        black_box(getppid());
    }
}

/// Reads what one of the readers of `files.rs` does.
pub(crate) fn pread(file: &File, turns: u64) {
    let mut buffer = [0; BLOCK];
    for turn in 0..turns {
        let block = block_of(0, turn);
        file.read_exact_at(&mut buffer, block * BLOCK as u64).expect("the file is that long");
        assert_eq!(buffer[0], first_byte(block));
    }
}
