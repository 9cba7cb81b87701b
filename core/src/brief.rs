//! A lock for a few instructions.
//!
//! It guards the lists of those who wait: sections of some nanoseconds in which no foreign code runs and
//! nobody blocks. Taking it is one atomic operation and releasing it a plain store, half of what a lock costs
//! that keeps a queue of its own; a channel takes one lock per operation, so this is a good part of its time.
//!
//! Who finds it taken waits longer each time before it looks again ([`LONGEST`]). That is not politeness: while
//! one processor looks, the state moves between their caches, which takes longer than the section itself; left
//! alone, the holder gets dozens of operations done in a row. `rust-routines-peers mpmc --workers 2` and `mpsc` of
//! `benches/peers` show what becomes of a busy channel then.
//!
//! The price is paid when the holder loses its processor in the section. Then the others yield theirs,
//! and soon sleep, so that the holder gets on whatever its priority.

#[cfg(not(any(rr_loom, rr_shuttle)))]
pub(crate) use self::real::{Brief, BriefGuard};

#[cfg(any(rr_loom, rr_shuttle))]
pub(crate) use crate::primitive::{Mutex as Brief, MutexGuard as BriefGuard};

#[cfg(not(any(rr_loom, rr_shuttle)))]
mod real {
    use std::cell::UnsafeCell;
    use std::hint::spin_loop;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// The shortest and the longest pause between two looks, in spin-loop hints, of which each takes 10 to
    /// 40 ns. The longest makes some tens of operations, and is short beside a wake-up.
    const SHORTEST: u32 = 8;
    const LONGEST: u32 = 512;

    /// Hints spent before the thread takes the holder for preempted.
    const PATIENCE: u32 = 8 * LONGEST;

    /// Times to yield before it sleeps, and for how long then.
    const YIELDS: u32 = 20;
    const SLEEP: Duration = Duration::from_micros(100);

    /// See the [module docs](super).
    #[derive(Debug, Default)]
    pub(crate) struct Brief<T> {
        held: AtomicBool,
        value: UnsafeCell<T>,
    }

    // SAFETY: `value` is reached by the holder alone.
    unsafe impl<T: Send> Sync for Brief<T> {}

    /// Releases the lock when dropped.
    #[derive(Debug)]
    pub(crate) struct BriefGuard<'a, T>(&'a Brief<T>);

    impl<T> Brief<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }

        #[inline]
        pub(crate) fn lock(&self) -> BriefGuard<'_, T> {
            if self.held.swap(true, Ordering::Acquire) {
                self.lock_contended();
            }
            BriefGuard(self)
        }

        #[cold]
        fn lock_contended(&self) {
            let (mut pause, mut spent, mut yields) = (SHORTEST, 0, 0);
            loop {
                if spent < PATIENCE {
                    (0..pause).for_each(|_| spin_loop());
                    spent += pause;
                    pause = (pause * 2).min(LONGEST);
                } else if yields < YIELDS {
                    thread::yield_now();
                    yields += 1;
                } else {
                    thread::sleep(SLEEP);
                }
                if !self.held.load(Ordering::Relaxed) && !self.held.swap(true, Ordering::Acquire) {
                    return;
                }
            }
        }
    }

    impl<T> Drop for BriefGuard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            self.0.held.store(false, Ordering::Release);
        }
    }

    impl<T> Deref for BriefGuard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: this is the holder.
            unsafe { &*self.0.value.get() }
        }
    }

    impl<T> DerefMut for BriefGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: this is the holder.
            unsafe { &mut *self.0.value.get() }
        }
    }
}

#[cfg(all(test, not(any(rr_loom, rr_shuttle))))]
mod tests {
    use std::thread;

    use super::Brief;

    // Breaks if two hold it at once: increments get lost.
    #[test]
    fn one_holder_at_a_time() {
        const EACH: u64 = 100_000;
        let lock = Brief::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let mut count = lock.lock();
                        *count += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4 * EACH);
    }
}
