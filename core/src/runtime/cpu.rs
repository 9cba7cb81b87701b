//! Keeps workers on processors of their own.
//!
//! A kernel may put a thread that wakes up on the processor of whoever woke it, though another one is idle: Linux
//! does so for a waker that is about to sleep, which most wakers say they are, and on virtual machines, where it takes
//! a halted processor for one that its host has preempted. Two workers then share one processor for milliseconds; one
//! that looks for work, or spins for an answer, stops the very worker that it waits for.
//!
//! So each worker has a *seat*, the processor that it was last seen on. One that wakes up on another's seat moves
//! back to its own ([`leave`]), at most once in [`INTERVAL`]; one that runs where it has no seat takes it over before
//! it wakes others. No thread is bound for longer than the move takes, unless the
//! [builder](super::RuntimeBuilder::bind_workers) was asked for it: it could not be left to the kernel where to run
//! beside other programs, and threads and processes inherit what their parents are bound to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often a worker may move: it costs two system calls and a cold cache.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// A processor as [`current`] numbers it: one more than the system does, or zero if it is not known.
pub(crate) type Cpu = usize;

/// Whose a seat is, to a worker that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The worker's own; so is every processor where no seats are kept.
    Itself,
    Nobody,
    Another,
}

/// Who sits where.
#[derive(Debug)]
pub(crate) struct Seats {
    /// By processor: one more than the index of the worker, or zero. Empty where workers do not keep seats.
    workers: Box<[AtomicUsize]>,
}

impl Seats {
    /// Seats for `workers` workers, if there is a processor for each.
    pub(crate) fn new(workers: usize) -> Self {
        let processors = if workers > 1 && workers <= allowed() { configured() } else { 0 };
        Self { workers: (0..processors).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Whose seat `cpu` is.
    pub(crate) fn holder(&self, cpu: Cpu, worker: usize) -> Holder {
        // Relaxed: hints, which order nothing.
        match self.seat(cpu).map(|seat| seat.load(Ordering::Relaxed)) {
            Some(0) => Holder::Nobody,
            Some(holder) if holder != worker + 1 => Holder::Another,
            _ => Holder::Itself,
        }
    }

    /// Seats `worker` on `cpu` instead of `from`, whoever had its seat there.
    pub(crate) fn take(&self, cpu: Cpu, worker: usize, from: Cpu) {
        // First, since it may be the same, lost to another meanwhile.
        if let Some(seat) = self.seat(from) {
            let relaxed = Ordering::Relaxed;
            let _ = seat.compare_exchange(worker + 1, 0, relaxed, relaxed);
        }
        if let Some(seat) = self.seat(cpu) {
            seat.store(worker + 1, Ordering::Relaxed);
        }
    }

    fn seat(&self, cpu: Cpu) -> Option<&AtomicUsize> {
        self.workers.get(cpu.checked_sub(1)?)
    }
}

/// The processor that the thread runs on.
pub(crate) fn current() -> Cpu {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: takes nothing, and fails with -1.
        usize::try_from(unsafe { libc::sched_getcpu() } + 1).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// Has the kernel move the thread to `seat` or, if it is there already or may not run there, to any other processor
/// that it may use. Does nothing if there is none.
pub(crate) fn leave(seat: Cpu) {
    #[cfg(target_os = "linux")]
    if let Some(allowed) = affinity() {
        let known = 1..=libc::CPU_SETSIZE as usize;
        let here = current();
        if !known.contains(&here) {
            return;
        }
        // SAFETY: the sets are plain data, of the size that is stated; zero is the calling thread.
        unsafe {
            let mut target = allowed;
            if seat != here && known.contains(&seat) && libc::CPU_ISSET(seat - 1, &allowed) {
                libc::CPU_ZERO(&mut target);
                libc::CPU_SET(seat - 1, &mut target);
            } else {
                libc::CPU_CLR(here - 1, &mut target);
            }
            let size = size_of::<libc::cpu_set_t>();
            // Fails if that leaves none.
            if libc::sched_setaffinity(0, size, &raw const target) == 0 {
                libc::sched_setaffinity(0, size, &raw const allowed);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = seat;
}

/// Binds the thread to one of the processors that it may use, by turns of `number`, if the kernel lets it. Answers which
/// those were.
pub(crate) fn bind(number: usize) -> Option<Allowed> {
    #[cfg(target_os = "linux")]
    {
        let allowed = affinity()?;
        // SAFETY: the sets are plain data, for which zero is valid, and the numbers are below their size.
        unsafe {
            let is_allowed = |&cpu: &usize| libc::CPU_ISSET(cpu, &allowed);
            let turn = number % libc::CPU_COUNT(&allowed).max(1) as usize;
            let mut one = std::mem::zeroed();
            libc::CPU_SET((0..libc::CPU_SETSIZE as usize).filter(is_allowed).nth(turn)?, &mut one);
            Allowed(one).apply();
        }
        Some(Allowed(allowed))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = number;
        None
    }
}

/// Processors that a thread may use.
#[derive(Clone, Copy)]
pub(crate) struct Allowed(#[cfg(target_os = "linux")] libc::cpu_set_t);

impl Allowed {
    /// Has the calling thread use these and no others.
    pub(crate) fn apply(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the set is plain data, of the size that is stated; zero is the calling thread.
        unsafe {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const self.0);
        }
    }
}

/// How many processors the thread may use, if that is known.
fn allowed() -> usize {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the set is plain data.
        affinity().map_or(0, |set| unsafe { libc::CPU_COUNT(&set) } as usize)
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// How many processors there are, in use or not.
fn configured() -> usize {
    // SAFETY: takes a number, and fails with -1.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }).unwrap_or(0)
}

/// The processors that the thread may use. `None` where they are more than the set has room for.
#[cfg(target_os = "linux")]
fn affinity() -> Option<libc::cpu_set_t> {
    // SAFETY: the set is plain data, of the size that is stated; zero is the calling thread.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        (libc::sched_getaffinity(0, size, &raw mut allowed) == 0).then_some(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Breaks if two workers believe that a processor is theirs, or one that has moved keeps others away from where
    // it was.
    #[test]
    fn a_processor_is_the_seat_of_one_worker() {
        let seats = Seats { workers: (0..2).map(|_| AtomicUsize::new(0)).collect() };
        let holders = |cpu| [0, 1].map(|worker| seats.holder(cpu, worker));
        assert_eq!(holders(1), [Holder::Nobody; 2]);
        seats.take(1, 0, 0);
        assert_eq!(holders(1), [Holder::Itself, Holder::Another]);
        seats.take(2, 0, 1);
        assert_eq!(holders(1), [Holder::Nobody; 2]);
        seats.take(2, 1, 1);
        assert_eq!(holders(2), [Holder::Another, Holder::Itself]);
        // The first finds out, and takes it back; the other moves on.
        seats.take(2, 0, 2);
        assert_eq!(holders(2), [Holder::Itself, Holder::Another]);
        seats.take(1, 1, 2);
        assert_eq!(holders(2), [Holder::Itself, Holder::Another]);
        seats.take(2, 1, 1);
        // The first does not know yet, and moves on.
        seats.take(1, 0, 2);
        assert_eq!(holders(2), [Holder::Another, Holder::Itself]);
        assert_eq!(holders(1), [Holder::Itself, Holder::Another]);
    }

    // Breaks if workers that must share move about, or one that cannot tell where it is.
    #[test]
    fn without_a_processor_for_each_nobody_keeps_a_seat() {
        let shared = Seats::new(usize::MAX);
        let seats = Seats { workers: Box::new([AtomicUsize::new(0)]) };
        for (seats, cpu) in [(&shared, 1), (&seats, 0), (&seats, 2)] {
            seats.take(cpu, 0, cpu);
            assert_eq!(seats.holder(cpu, 1), Holder::Itself);
        }
    }

    // Breaks if a thread is still bound after it was moved.
    #[test]
    fn a_thread_that_left_may_come_back() {
        let before = allowed();
        // To any other, to one that there is, and to one that there is not.
        for seat in [0, 1, 2, usize::MAX] {
            leave(seat);
            assert_eq!(allowed(), before);
        }
    }
}
