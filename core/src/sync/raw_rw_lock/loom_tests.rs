//! Every interleaving of small cases of readers and writers.

use super::*;
use crate::primitive::model;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::spawn;

struct Locked {
    raw: RawRwLock,
    count: UnsafeCell<u32>,
}

// SAFETY: `count` is touched by who holds the lock; loom reports a race otherwise.
unsafe impl Sync for Locked {}

fn locked() -> Arc<Locked> {
    Arc::new(Locked { raw: RawRwLock::unlocked(), count: UnsafeCell::new(0) })
}

impl Locked {
    fn get(&self) -> u32 {
        // SAFETY: under the lock, as loom checks.
        self.count.with(|count| unsafe { *count })
    }

    fn look(&self) {
        self.raw.read(Patience::Patient);
        self.get();
        self.raw.unlock_read();
    }

    /// Answers whether it got the lock.
    fn add(&self, patience: Patience) -> bool {
        let acquired = self.raw.write(patience);
        if acquired {
            // SAFETY: under the lock, as loom checks.
            self.count.with_mut(|count| unsafe { *count += 1 });
            self.raw.unlock_write();
        }
        acquired
    }

    fn assert_at_rest(&self) {
        assert_eq!(self.raw.state.load(Ordering::Relaxed), 0);
        let queues = self.raw.queues.lock();
        assert!(queues.readers.is_empty() && queues.writers.is_empty());
    }
}

/// Fails (by loom's deadlock detection) if the last reader passes by a writer that is about to park.
#[test]
fn loom_last_reader_wakes_writer() {
    model(|| {
        let shared = locked();
        shared.raw.read(Patience::Patient);
        let (one, other) = (shared.clone(), shared.clone());
        let reader = spawn(move || one.look());
        let writer = spawn(move || other.add(Patience::Patient));
        shared.get();
        shared.raw.unlock_read();
        assert!(writer.join().unwrap());
        reader.join().unwrap();
        assert_eq!(shared.get(), 1);
        shared.assert_at_rest();
    });
}

/// Fails if two write at a time, or one of them or a reader is forgotten.
#[test]
fn loom_writers_and_reader() {
    model(|| {
        let shared = locked();
        let (one, other) = (shared.clone(), shared.clone());
        let writer = spawn(move || one.add(Patience::Patient));
        let reader = spawn(move || other.look());
        assert!(shared.add(Patience::Patient));
        assert!(writer.join().unwrap());
        reader.join().unwrap();
        assert_eq!(shared.get(), 2);
        shared.assert_at_rest();
    });
}

/// Fails if readers go on waiting for a writer that has given up: here the first reader waits for the second.
#[test]
fn loom_writer_that_gives_up_lets_readers_in() {
    model(|| {
        let shared = locked();
        shared.raw.read(Patience::Patient);
        let (one, other) = (shared.clone(), shared.clone());
        let writer = spawn(move || one.add(Patience::Until(Instant::now())));
        let reader = spawn(move || other.look());
        reader.join().unwrap();
        shared.get();
        shared.raw.unlock_read();
        writer.join().unwrap();
        shared.assert_at_rest();
    });
}

/// Fails if a writer is handed the lock after it gave up, or a reader let in after it did.
#[test]
fn loom_hand_over_or_timeout() {
    model(|| {
        let shared = locked();
        let (one, other) = (shared.clone(), shared.clone());
        let writer = spawn(move || one.add(Patience::Until(Instant::now())));
        let reader = spawn(move || {
            if other.raw.read(Patience::Until(Instant::now())) {
                other.get();
                other.raw.unlock_read();
            }
        });
        shared.add(Patience::Patient);
        writer.join().unwrap();
        reader.join().unwrap();
        shared.assert_at_rest();
    });
}

/// Fails if a lock that is reserved for a writer who was woken is not taken by it, or by another.
#[test]
fn loom_reservation() {
    model(|| {
        let shared = locked();
        let other = shared.clone();
        let writer = spawn(move || other.add(Patience::Until(Instant::now())));
        shared.add(Patience::Patient);
        shared.look();
        shared.add(Patience::Patient);
        shared.look();
        let got = writer.join().unwrap();
        assert_eq!(shared.get(), if got { 3 } else { 2 });
        shared.assert_at_rest();
    });
}

/// Fails if another writer comes between, or waiting readers are not let in: the first waits for them.
#[test]
fn loom_downgrade_lets_readers_in() {
    model(|| {
        let shared = locked();
        shared.raw.write(Patience::Patient);
        let (one, other) = (shared.clone(), shared.clone());
        let reader = spawn(move || one.look());
        let writer = spawn(move || other.add(Patience::Until(Instant::now())));
        shared.raw.turn_to_read();
        assert_eq!(shared.get(), 0);
        reader.join().unwrap();
        assert_eq!(shared.get(), 0);
        shared.raw.unlock_read();
        writer.join().unwrap();
        shared.assert_at_rest();
    });
}
