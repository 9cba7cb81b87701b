//! Whether a worker's thread is kept from running, for the monitor.
//!
//! Where more threads want to run than there are processors, the kernel takes a processor away from a worker in the midst of a
//! routine for tens of milliseconds. From outside that looks like a routine that keeps its worker, but nothing is wrong with
//! it. Two things tell them apart: a routine that computes has used processor time, and one that waits in a system call
//! leaves its thread asleep.
//!
//! Known on Linux only; elsewhere no thread is ever said to be kept from running.

use std::time::Duration;

/// A thread of this process. It may have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    #[cfg(target_os = "linux")]
    id: libc::pid_t,
    /// What its processor time is read from, if that can be had.
    #[cfg(target_os = "linux")]
    clock: Option<libc::clockid_t>,
}

impl Thread {
    pub(crate) fn current() -> Self {
        #[cfg(target_os = "linux")]
        {
            let mut clock = 0;
            // SAFETY: the calling thread exists, and the clock's place is ours.
            let (id, error) = unsafe {
                (libc::gettid(), libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock))
            };
            Self { id, clock: (error == 0).then_some(clock) }
        }
        #[cfg(not(target_os = "linux"))]
        Self {}
    }

    /// How long the thread has run on a processor.
    pub(crate) fn processor_time(self) -> Option<Duration> {
        #[cfg(target_os = "linux")]
        {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the time's place is ours; the clock of a thread that has ended is refused.
            let result = unsafe { libc::clock_gettime(self.clock?, &raw mut time) };
            let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
            (result == 0).then_some(Duration::new(seconds.ok()?, nanos.ok()?))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Whether the thread runs, or would if it were given a processor. Reads a file of `/proc`.
    pub(crate) fn is_runnable(self) -> bool {
        #[cfg(target_os = "linux")]
        {
            let stat = std::fs::read(format!("/proc/self/task/{}/stat", self.id));
            // The state comes after the thread's name, which may hold anything.
            let state = stat.ok().and_then(|stat| {
                let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
                stat.get(name_ends + 2).copied()
            });
            state == Some(b'R')
        }
        #[cfg(not(target_os = "linux"))]
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    // Breaks if a thread that blocks is taken for one that wants to run, one that computes for one that does not, or one
    // that has ended for either.
    #[test]
    fn a_thread_is_seen_to_run_block_and_end() {
        let ours = Thread::current();
        let before = ours.processor_time().unwrap();
        while ours.processor_time().unwrap() < before + Duration::from_millis(1) {}
        assert!(ours.is_runnable());

        let (tell, told) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        // A name like what comes after it.
        let blocks = move || {
            tell.send(Thread::current()).unwrap();
            let _ = stopped.recv();
        };
        let other = thread::Builder::new().name("a) R 1 (b".to_owned()).spawn(blocks).unwrap();
        let theirs = told.recv().unwrap();
        while theirs.is_runnable() {
            thread::yield_now();
        }
        assert!(theirs.processor_time().is_some());
        drop(stop);
        other.join().unwrap();
        // It is joined a little before it has ended.
        while theirs.is_runnable() {
            thread::yield_now();
        }
    }
}
