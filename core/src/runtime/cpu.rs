//! Which processor a thread runs on, and how to get off it.
//!
//! A kernel may put a thread that wakes up on the processor of the thread that woke it, though another one
//! is idle: Linux does so on virtual machines, where it takes a halted processor for one that its host has
//! preempted. Two workers then share one processor for milliseconds, and one that looks for work stops the
//! very worker that it looks at. So a worker that was called to help and finds itself where its caller runs
//! moves away ([`leave`]), at most once in [`INTERVAL`].

use std::time::Duration;

/// How often a worker may move: it costs two system calls and a cold cache.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// One more than the number of the processor that the thread runs on; zero where that cannot be known.
pub(crate) fn current() -> usize {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: takes nothing, and fails with -1.
        usize::try_from(unsafe { libc::sched_getcpu() } + 1).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// Has the kernel move the thread to any other of the processors that it may use. Does nothing if there is
/// no other one.
pub(crate) fn leave() {
    #[cfg(target_os = "linux")]
    // SAFETY: the sets are plain data, of the size that is stated; zero is the calling thread.
    unsafe {
        let size = size_of::<libc::cpu_set_t>();
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
            return;
        }
        let mut others = allowed;
        let here = current();
        if here == 0 || here > libc::CPU_SETSIZE as usize {
            return;
        }
        libc::CPU_CLR(here - 1, &mut others);
        // Fails if that leaves none.
        if libc::sched_setaffinity(0, size, &raw const others) == 0 {
            libc::sched_setaffinity(0, size, &raw const allowed);
        }
    }
}
