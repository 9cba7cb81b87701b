//! Every interleaving of small cases of mutual exclusion.

use super::*;
use crate::primitive::model;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::spawn;

struct Locked {
    raw: RawMutex,
    count: UnsafeCell<u32>,
}

// SAFETY: `count` is touched by who holds the lock; loom reports a race otherwise.
unsafe impl Sync for Locked {}

fn locked() -> Arc<Locked> {
    Arc::new(Locked { raw: RawMutex::unlocked(), count: UnsafeCell::new(0) })
}

impl Locked {
    /// Answers whether it got the lock.
    fn add(&self, patience: Patience) -> bool {
        let acquired = self.raw.acquire(patience);
        if acquired {
            self.count();
            self.raw.release();
        }
        acquired
    }

    fn count(&self) -> u32 {
        // SAFETY: under the lock, as loom checks.
        self.count.with_mut(|count| unsafe {
            *count += 1;
            *count
        })
    }
}

/// Everything is as if nobody had ever been here.
fn is_at_rest(raw: &RawMutex) -> bool {
    raw.state.load(Ordering::Relaxed) == 0 && raw.waiters.lock().list.is_empty()
}

/// Fails (by loom's deadlock detection) if an unlock passes by one who is about to park, or if two hold
/// the lock. Whoever loses twice is handed it.
#[test]
fn loom_unlock_wakes_who_parks() {
    model(|| {
        let shared = locked();
        let other = shared.clone();
        let thread = spawn(move || {
            other.add(Patience::Patient);
            other.add(Patience::Patient);
        });
        shared.add(Patience::Patient);
        shared.add(Patience::Patient);
        thread.join().unwrap();
        assert_eq!(shared.count(), 5);
        assert!(is_at_rest(&shared.raw));
    });
}

/// Fails if one who gives up keeps a wake-up that another waits for.
#[test]
fn loom_who_gives_up_passes_the_wakeup_on() {
    model(|| {
        let shared = locked();
        assert!(shared.raw.acquire(Patience::Patient));
        let (one, other) = (shared.clone(), shared.clone());
        let impatient = spawn(move || one.add(Patience::Until(Instant::now())));
        let patient = spawn(move || other.add(Patience::Patient));
        shared.count();
        shared.raw.release();
        let got = impatient.join().unwrap();
        assert!(patient.join().unwrap());
        assert_eq!(shared.count(), if got { 4 } else { 3 });
        assert!(is_at_rest(&shared.raw));
    });
}

/// Fails if a lock is handed to one who has just given up, and stays locked.
#[test]
fn loom_hand_over_or_timeout() {
    model(|| {
        let shared = locked();
        let other = shared.clone();
        let impatient = spawn(move || other.add(Patience::Until(Instant::now())));
        for _ in 0..2 {
            assert!(shared.raw.acquire(Patience::Patient));
            shared.count();
            shared.raw.release_fairly();
        }
        let got = impatient.join().unwrap();
        assert_eq!(shared.count(), if got { 4 } else { 3 });
        assert!(is_at_rest(&shared.raw));
    });
}

/// Fails if a lock that is reserved for one who was woken is not taken by it, or by another.
#[test]
fn loom_reservation() {
    model(|| {
        let shared = locked();
        let other = shared.clone();
        let thread = spawn(move || other.add(Patience::Until(Instant::now())));
        for _ in 0..4 {
            assert!(shared.add(Patience::Patient));
        }
        let got = thread.join().unwrap();
        assert_eq!(shared.count(), if got { 6 } else { 5 });
        assert!(is_at_rest(&shared.raw));
    });
}

/// Fails if an unlock touches the word after another could have locked, unlocked and freed it.
#[test]
fn loom_unlock_touches_nothing_afterwards() {
    model(|| {
        let shared = locked();
        let drop_reference = |shared: &Locked| {
            shared.raw.acquire(Patience::Patient);
            let last = shared.count() == 3;
            shared.raw.release();
            if last {
                let state = (&raw const shared.raw.state).cast_mut();
                // SAFETY: all others have unlocked it for good; loom reports any access that is not
                // before this one, as if this freed the memory.
                unsafe { &mut *state }.with_mut(|_| ());
            }
        };
        let threads = [0, 1].map(|_| {
            let shared = shared.clone();
            spawn(move || drop_reference(&shared))
        });
        drop_reference(&shared);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
