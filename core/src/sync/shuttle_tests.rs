//! Every type under random schedules, with more threads than loom could take.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread::{JoinHandle, spawn, yield_now};

use super::{
    Barrier, CancellationToken, Condvar, LazyLock, Mutex, Once, OnceLock, RawMutex, RawRwLock,
    RwLock, RwLockWriteGuard, Semaphore, TryLockError, WaitGroup,
};
use crate::park::Patience;
use crate::primitive::{AtomicUsize, Ordering, explore};

const SCHEDULES: usize = 10_000;
const THREADS: usize = 4;

/// Runs `f` on so many threads at a time, with their numbers, and waits for them.
fn together<T: Send + Sync + 'static>(
    shared: &Arc<T>,
    threads: usize,
    f: impl Fn(&T, usize) + Copy + Send + 'static,
) {
    let threads: Vec<JoinHandle<()>> = (0..threads)
        .map(|number| {
            let shared = shared.clone();
            spawn(move || f(&shared, number))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Counts in two ways: under the lock, and atomically.
struct Locked(RawMutex, Cell<usize>, AtomicUsize);

// SAFETY: the cell is used under the lock, which is what is tested.
unsafe impl Sync for Locked {}

/// Fails if increments get lost, or a thread is never woken: some give up, some try, some wait.
#[test]
fn shuttle_mutex() {
    explore(SCHEDULES, || {
        let (raw, cell) = (RawMutex::unlocked(), Cell::new(0));
        let locked = Arc::new(Locked(raw, cell, AtomicUsize::new(0)));
        together(&locked, THREADS, |Locked(raw, cell, count), number| {
            for round in 0..3 {
                let acquired = match (number + round) % 4 {
                    0 => raw.acquire(Patience::Until(Instant::now())),
                    1 => raw.try_acquire(),
                    _ => raw.acquire(Patience::Patient),
                };
                if acquired {
                    let before = cell.get();
                    yield_now();
                    cell.set(before + 1);
                    count.fetch_add(1, Ordering::Relaxed);
                    if round == 1 { raw.release_fairly() } else { raw.release() }
                }
            }
        });
        assert_eq!(locked.1.get(), locked.2.load(Ordering::Relaxed));
        assert!(locked.0.try_acquire());
    });
}

/// Fails if a reader sees half of a write, or somebody is never woken.
#[test]
fn shuttle_rw_lock() {
    explore(SCHEDULES, || {
        let lock = Arc::new(RwLock::new((0, 0)));
        together(&lock, THREADS, |lock, number| {
            for round in 0..3 {
                if (number + round) % 2 == 0 {
                    let pair = lock.read().unwrap();
                    yield_now();
                    assert_eq!(pair.0, pair.1);
                } else {
                    let mut pair = lock.write().unwrap();
                    pair.0 += 1;
                    yield_now();
                    pair.1 += 1;
                    if round == 1 {
                        let pair = RwLockWriteGuard::downgrade(pair);
                        assert_eq!(pair.0, pair.1);
                    }
                }
            }
        });
        assert_eq!(*lock.try_write().unwrap(), (6, 6));
    });
}

/// Fails if somebody stays locked out when others give up, each in its own way.
#[test]
fn shuttle_rw_lock_with_timeouts() {
    explore(SCHEDULES, || {
        let raw = Arc::new(RawRwLock::unlocked());
        together(&raw, THREADS, |raw, number| {
            for round in 0..3 {
                let patience = match (number + round) % 3 {
                    0 => Patience::Until(Instant::now()),
                    _ => Patience::Patient,
                };
                if number % 2 == 0 {
                    if raw.read(patience) {
                        yield_now();
                        raw.unlock_read();
                    }
                } else if raw.write(patience) {
                    yield_now();
                    raw.unlock_write();
                }
            }
        });
        assert!(raw.try_write());
    });
}

/// Fails if a notification is lost: a queue of one place between two producers and two consumers.
#[test]
fn shuttle_condvar() {
    explore(SCHEDULES, || {
        let queue = Arc::new((Mutex::new(None), Condvar::new(), Condvar::new()));
        together(&queue, THREADS, |(place, filled, emptied), number| {
            for _ in 0..2 {
                let guard = place.lock().unwrap();
                if number % 2 == 0 {
                    let mut guard = emptied.wait_while(guard, |place| place.is_some()).unwrap();
                    *guard = Some(number);
                    filled.notify_one();
                } else {
                    let mut guard = filled.wait_while(guard, |place| place.is_none()).unwrap();
                    guard.take();
                    emptied.notify_one();
                }
            }
        });
        assert!(matches!(queue.0.try_lock(), Ok(place) if place.is_none()));
    });
}

/// Fails if `notify_all` leaves one behind, whether or not others give up meanwhile.
#[test]
fn shuttle_condvar_notify_all() {
    explore(SCHEDULES, || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        together(&shared, THREADS, |(ready, changed), number| match number {
            0 => {
                *ready.lock().unwrap() = true;
                changed.notify_all();
            }
            1 => {
                let guard = ready.lock().unwrap();
                let (ready, result) =
                    changed.wait_timeout_while(guard, Duration::ZERO, |ready| !*ready).unwrap();
                assert_ne!(*ready, result.timed_out());
            }
            _ => drop(changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap()),
        });
    });
}

/// Fails if a round has not exactly one leader, or rounds mix.
#[test]
fn shuttle_barrier() {
    explore(SCHEDULES, || {
        let shared = Arc::new((Barrier::new(3), AtomicUsize::new(0), AtomicUsize::new(0)));
        together(&shared, 3, |(barrier, arrived, leaders), _| {
            for round in 1..=3 {
                arrived.fetch_add(1, Ordering::Relaxed);
                let result = barrier.wait();
                assert!(arrived.load(Ordering::Relaxed) >= 3 * round);
                leaders.fetch_add(usize::from(result.is_leader()), Ordering::Relaxed);
            }
        });
        assert_eq!(shared.2.load(Ordering::Relaxed), 3);
    });
}

/// Fails if a closure runs twice, or somebody goes on before it has returned.
#[test]
fn shuttle_once() {
    explore(SCHEDULES, || {
        let shared = Arc::new((Once::new(), OnceLock::new(), AtomicUsize::new(0)));
        together(&shared, THREADS, |(once, lock, calls), number| {
            match number {
                0 => once.wait(),
                _ => once.call_once(|| {
                    yield_now();
                    calls.fetch_add(1, Ordering::Relaxed);
                }),
            }
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            let value = match number {
                0 => *lock.wait(),
                1 => lock.set(1).map_or_else(|_| *lock.get().unwrap(), |()| 1),
                _ => *lock.get_or_init(|| number),
            };
            assert_eq!(lock.get(), Some(&value));
        });
    });
}

/// Fails if the closure runs twice, or its value is seen too early.
#[test]
fn shuttle_lazy_lock() {
    explore(SCHEDULES, || {
        let calls = Arc::new(AtomicUsize::new(0));
        let make = {
            let calls = calls.clone();
            move || {
                yield_now();
                calls.fetch_add(1, Ordering::Relaxed) + 1
            }
        };
        let lazy = Arc::new(LazyLock::new(make));
        together(&lazy, 3, |lazy, _| assert_eq!(**lazy, 1));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

/// Fails if one returns before the others have left.
#[test]
fn shuttle_wait_group() {
    explore(SCHEDULES, || {
        let group = WaitGroup::new();
        let left = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (group, left) = (group.clone(), left.clone());
                spawn(move || {
                    left.fetch_add(1, Ordering::Relaxed);
                    if number == 0 {
                        drop(group.clone())
                    }
                    if number == 1 { group.wait() } else { drop(group) }
                })
            })
            .collect();
        group.wait();
        assert_eq!(left.load(Ordering::Relaxed), 3);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Fails if permits get lost or multiply, or somebody is not served.
#[test]
fn shuttle_semaphore() {
    explore(SCHEDULES, || {
        let shared = Arc::new((Semaphore::new(2), AtomicUsize::new(0)));
        together(&shared, THREADS, |(semaphore, held), number| {
            for round in 0..2 {
                let permit = match (number + round) % 4 {
                    0 => semaphore.acquire_many(2).ok(),
                    1 => semaphore.acquire_deadline(Instant::now()).ok(),
                    _ => semaphore.acquire().ok(),
                };
                if let Some(permit) = permit {
                    let now = held.fetch_add(permit.permits(), Ordering::Relaxed);
                    assert!(now + permit.permits() <= 2);
                    yield_now();
                    held.fetch_sub(permit.permits(), Ordering::Relaxed);
                }
            }
        });
        assert_eq!(shared.0.available_permits(), 2);
    });
}

/// Fails if somebody goes on waiting for a token that was cancelled, itself or through its parent.
#[test]
fn shuttle_cancellation() {
    explore(SCHEDULES, || {
        let token = CancellationToken::new();
        let shared = Arc::new((token.child_token(), token));
        together(&shared, THREADS, |(child, token), number| match number {
            0 => token.cancel(),
            1 => assert!(child.cancelled().recv().is_err()),
            2 => child.wait(),
            _ => token.child_token().child_token().wait(),
        });
    });
}

/// Fails if a mutex that is tried is locked by nobody.
#[test]
fn shuttle_try_lock() {
    explore(SCHEDULES, || {
        let shared = Arc::new((Mutex::new(0), AtomicUsize::new(0)));
        together(&shared, 3, |(mutex, successes), _| match mutex.try_lock() {
            Ok(mut count) => {
                *count += 1;
                successes.fetch_add(1, Ordering::Relaxed);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Poisoned(_)) => unreachable!("nobody panics"),
        });
        let successes = shared.1.load(Ordering::Relaxed);
        assert!(successes >= 1);
        assert_eq!(*shared.0.lock().unwrap(), successes);
    });
}
