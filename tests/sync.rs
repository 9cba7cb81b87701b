//! Locks and condition variables between routines of two runtimes and threads: what std promises, that nobody
//! starves, and what shutdown leaves behind.

mod util;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RawMutex, RawRwLock, RwLock, RwLockReadGuard,
    RwLockWriteGuard, TryLockError,
};
use rust_routines::time::timeout;
use rust_routines::{Runtime, WaitReason, sleep, yield_now};
use util::{
    FOREVER, MOMENT, both_worlds, bounded as in_time, eventually, in_a_mix, runtime, until_waiting,
    waiting,
};

fn panics(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

/// Compiles only if a bound does *not* hold: otherwise there are two methods of that name.
macro_rules! assert_not {
    ($type:ty: $bound:path) => {
        const _: fn() = || {
            trait Ambiguous<A> {
                fn method() {}
            }
            struct Holds;
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + $bound> Ambiguous<Holds> for T {}
            let _ = <$type as Ambiguous<_>>::method;
        };
    };
}

fn is_shared<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
fn is_sync<T: Sync>() {}

assert_not!(MutexGuard<'static, u8>: Send);
assert_not!(RwLockReadGuard<'static, u8>: Send);
assert_not!(RwLockWriteGuard<'static, u8>: Send);
assert_not!(MutexGuard<'static, Cell<u8>>: Sync);
assert_not!(Mutex<*const u8>: Sync);
assert_not!(RwLock<Cell<u8>>: Sync);
assert_not!(lock_api_guard::Guard: Send);

mod lock_api_guard {
    pub(super) type Guard = <super::RawMutex as lock_api::RawMutex>::Guard;
}

/// Breaks if a type promises more or less than std's about threads and unwinding, or looks different.
#[test]
fn types_are_as_stds() {
    is_shared::<Mutex<Cell<u8>>>();
    is_shared::<RwLock<u8>>();
    is_shared::<Condvar>();
    is_sync::<MutexGuard<'static, u8>>();
    is_sync::<RwLockReadGuard<'static, u8>>();
    is_sync::<RwLockWriteGuard<'static, u8>>();

    let (ours, theirs) = (Mutex::new(5), std::sync::Mutex::new(5));
    assert_eq!(format!("{ours:?} {ours:#?}"), format!("{theirs:?} {theirs:#?}"));
    let (our_guard, their_guard) = (ours.lock().unwrap(), theirs.lock().unwrap());
    assert_eq!(format!("{ours:?} {our_guard:?}"), format!("{theirs:?} {their_guard:?}"));
    assert_eq!(our_guard.to_string(), "5");
    let (ours, theirs) = (RwLock::new("x"), std::sync::RwLock::new("x"));
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    let (our_guard, their_guard) = (ours.write().unwrap(), theirs.write().unwrap());
    assert_eq!(format!("{ours:?} {our_guard:?}"), format!("{theirs:?} {their_guard:?}"));
    assert_eq!(format!("{:?}", Condvar::new()), format!("{:?}", std::sync::Condvar::new()));

    assert_eq!(*Mutex::<u8>::default().lock().unwrap(), 0);
    assert_eq!(Mutex::from(3).into_inner().unwrap(), 3);
    assert_eq!(RwLock::from(3).into_inner().unwrap(), 3);
    *Mutex::new(1).get_mut().unwrap() += *RwLock::new(1).get_mut().unwrap();
    let unsized_: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    assert_eq!(unsized_.lock().unwrap().len(), 3);
}

/// Breaks if a lock is held twice, or what one holder writes is not seen by the next.
#[test]
fn one_holder_at_a_time_in_any_mix() {
    const ROUNDS: u64 = 2000;
    in_time(|| {
        let (mutex, lock) = (Mutex::new(0), RwLock::new((0, 0)));
        in_a_mix(4, |number| {
            for round in 0..ROUNDS {
                let mut count = mutex.lock().unwrap();
                let before = *count;
                if round % 512 == 0 {
                    yield_now();
                }
                *count = before + 1;
                drop(count);
                if round % 4 == number as u64 % 4 {
                    let mut pair = lock.write().unwrap();
                    pair.0 += 1;
                    if round % 512 == 0 {
                        yield_now();
                    }
                    pair.1 += 1;
                } else {
                    let pair = lock.read().unwrap();
                    assert_eq!(pair.0, pair.1);
                }
            }
        });
        assert_eq!(mutex.into_inner().unwrap(), 12 * ROUNDS);
        assert_eq!(lock.into_inner().unwrap().0, 12 * ROUNDS / 4);
    });
}

/// Breaks if a panic under a lock is not told to those who lock later, or told for readers.
#[test]
fn panics_poison() {
    both_worlds(|| {
        let mutex = Mutex::new(1);
        *mutex.lock().unwrap() = 2;
        assert!(panics(|| {
            let _held = mutex.lock().unwrap();
            panic!("under the lock");
        }));
        assert!(mutex.is_poisoned());
        assert_eq!(format!("{mutex:?}"), "Mutex { data: 2, poisoned: true, .. }");
        assert_eq!(*mutex.lock().unwrap_err().into_inner(), 2);
        assert!(
            matches!(mutex.try_lock(), Err(TryLockError::Poisoned(guard)) if **guard.get_ref() == 2)
        );
        mutex.clear_poison();
        let changed = Condvar::new();
        let (guard, result) = changed.wait_timeout(mutex.lock().unwrap(), Duration::ZERO).unwrap();
        assert!(result.timed_out() && *guard == 2);
        drop(guard);
        assert_eq!(mutex.into_inner().unwrap(), 2);

        let lock = RwLock::new(1);
        assert!(panics(|| {
            let _held = lock.read().unwrap();
            panic!("a reader");
        }));
        assert!(!lock.is_poisoned());
        assert!(panics(|| {
            let _held = lock.write().unwrap();
            panic!("a writer");
        }));
        assert!(lock.is_poisoned() && lock.read().is_err() && lock.write().is_err());
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        assert!(lock.into_inner().is_err());

        // A guard that is made and dropped while its routine unwinds poisons nothing.
        let mutex = Mutex::new(0);
        assert!(panics(|| {
            let _locks = util::OnDrop(|| *mutex.lock().unwrap() += 1);
            panic!("elsewhere");
        }));
        assert_eq!(mutex.into_inner().unwrap(), 1);
    });
}

/// Breaks if `try_lock` waits, or says something else than std's.
#[test]
fn attempts_do_not_wait() {
    both_worlds(|| {
        let mutex = Mutex::new(());
        let held = mutex.try_lock().unwrap();
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        let lock = RwLock::new(());
        let (one, other) = (lock.try_read().unwrap(), lock.try_read().unwrap());
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop((one, other));
        let held = lock.try_write().unwrap();
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        let reads = RwLockWriteGuard::downgrade(held);
        assert!(lock.try_read().is_ok() && lock.try_write().is_err());
        drop(reads);
        assert!(lock.try_write().is_ok());
    });
}

/// Breaks if a wait is shown under another name, or not at all.
#[test]
fn waits_show_their_reasons() {
    in_time(|| {
        let runtime = runtime(2);
        let shared = Arc::new((Mutex::new(()), RwLock::new(()), Mutex::new(false), Condvar::new()));
        let held = (shared.0.lock().unwrap(), shared.1.write().unwrap());
        for _ in 0..3 {
            let all = [0, 1, 2, 3].map(|_| shared.clone());
            let [one, two, three, four] = all;
            runtime.spawn(move || drop(one.0.lock().unwrap()));
            runtime.spawn(move || drop(two.1.read().unwrap()));
            runtime.spawn(move || drop(three.1.write().unwrap()));
            runtime.spawn(move || {
                let guard = four.2.lock().unwrap();
                drop(four.3.wait_while(guard, |ready| !*ready).unwrap());
            });
        }
        for reason in [
            WaitReason::Mutex,
            WaitReason::RwLockRead,
            WaitReason::RwLockWrite,
            WaitReason::Condvar,
        ] {
            until_waiting(runtime.handle(), reason, 3);
        }
        drop(held);
        *shared.2.lock().unwrap() = true;
        shared.3.notify_all();
        runtime.shutdown();
    });
}

/// How long a crowd fights for a lock.
const CROWDED: Duration = Duration::from_secs(1);

/// How often others at most had a lock while one waited, and how often it was had at all, where others take it again
/// as soon as they have it. In turns and not in time: a machine that stands still starves nobody.
fn worst_wait(lock: impl Fn(usize) + Sync) -> (u64, u64) {
    const WORK: Duration = Duration::from_micros(50);
    let (turns, worst) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + CROWDED;
    in_a_mix(3, |number| {
        while Instant::now() < end {
            let before = turns.load(Ordering::Relaxed);
            lock(number);
            let others = turns.fetch_add(1, Ordering::Relaxed) - before;
            worst.fetch_max(others, Ordering::Relaxed);
            if number == 1 {
                // One that comes seldom, and is on a worker of its own with its like.
                sleep(WORK);
            }
        }
    });
    (worst.into_inner(), turns.into_inner())
}

/// Breaks if those who lock again at once starve one that waits. The bound is generous: a busy machine has a thread
/// wait for others that hold no lock, too.
#[test]
fn nobody_starves() {
    in_time(|| {
        let mutex = Mutex::new(());
        let hold = || util::hog(Duration::from_micros(50), || false);
        let (worst, all) = worst_wait(|_| {
            let _guard = mutex.lock().unwrap();
            hold();
        });
        println!("worst wait for a mutex: {worst} turns of {all}");
        assert!(worst < all / 4, "{worst} of {all}");
        for (writers, what) in [(1, "few writers"), (8, "few readers")] {
            let lock = RwLock::new(());
            let (worst, all) = worst_wait(|number| {
                if number < writers {
                    let _guard = lock.write().unwrap();
                    hold();
                } else {
                    let _guard = lock.read().unwrap();
                    hold();
                }
            });
            println!("worst wait for a read-write lock with {what}: {worst} turns of {all}");
            assert!(worst < all / 4, "{what}: {worst} of {all}");
        }
    });
}

/// Breaks if a list that is long, so that all in it have waited for long, is served by handing the lock from one to the
/// next: then every lock is a wait, and the lock is held by those who are not running yet.
#[test]
fn long_lists_do_not_make_every_lock_wait() {
    const ROUTINES: u64 = 200;
    const LOCKS: u64 = 500;
    in_time(|| {
        let runtime = runtime(2);
        let mutex = Mutex::new(0);
        let held = mutex.lock().unwrap();
        runtime.handle().scope(|scope| {
            for _ in 0..ROUTINES {
                scope.spawn(|| {
                    for _ in 0..LOCKS {
                        *mutex.lock().unwrap() += 1;
                        (0..100).for_each(|_| std::hint::spin_loop());
                    }
                });
            }
            until_waiting(runtime.handle(), WaitReason::Mutex, ROUTINES);
            // Past the time after which one who comes too late is handed the lock.
            std::thread::sleep(MOMENT);
            drop(held);
        });
        assert_eq!(*mutex.lock().unwrap(), ROUTINES * LOCKS);
        let metrics = runtime.metrics();
        println!("{} waits", metrics.parks);
        assert!(metrics.parks < ROUTINES * LOCKS / 4, "{} waits", metrics.parks);
        runtime.shutdown();
    });
}

/// Breaks if readers that overlap keep a writer out, or a reader gets in before a writer that has waited longer.
#[test]
fn readers_queue_behind_waiting_writer() {
    in_time(|| {
        let runtime = runtime(1);
        let lock = Arc::new(RwLock::new(0));
        let held = lock.read().unwrap();
        let writer = runtime.spawn({
            let lock = lock.clone();
            move || *lock.write().unwrap() = 1
        });
        until_waiting(runtime.handle(), WaitReason::RwLockWrite, 1);
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let lock = lock.clone();
                runtime.spawn(move || *lock.read().unwrap())
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::RwLockRead, 3);
        drop(held);
        writer.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 1);
        }
        runtime.shutdown();
    });
}

/// Breaks if a raw lock times out early, late or not at all, or keeps a trace of those who gave up.
#[test]
fn raw_locks_time_out() {
    both_worlds(|| {
        let mutex: lock_api::Mutex<RawMutex, u8> = lock_api::Mutex::new(1);
        let held = mutex.lock();
        assert!(mutex.is_locked());
        for _ in 0..3 {
            let start = Instant::now();
            assert!(mutex.try_lock_for(MOMENT).is_none());
            assert!(start.elapsed() >= MOMENT && start.elapsed() < util::PATIENCE);
            assert!(mutex.try_lock_until(start).is_none());
        }
        lock_api::MutexGuard::unlock_fair(held);
        assert!(mutex.try_lock_for(Duration::MAX).is_some());
        assert!(mutex.try_lock_until(Instant::now() - MOMENT).is_some());

        let lock: lock_api::RwLock<RawRwLock, u8> = lock_api::RwLock::new(1);
        let held = lock.read();
        assert!(lock.try_write_for(MOMENT).is_none());
        // The writer has gone, so readers need not wait for it.
        assert!(lock.try_read_for(FOREVER).is_some());
        drop(held);
        let held = lock.try_write_for(FOREVER).unwrap();
        assert!(lock.try_read_until(Instant::now() + MOMENT).is_none());
        let held = lock_api::RwLockWriteGuard::downgrade(held);
        assert!(lock.is_locked() && !lock.is_locked_exclusive());
        drop(held);
        assert!(!lock.is_locked());
    });
}

/// Breaks if readers that queued behind a writer stay there when it has given up.
#[test]
fn writer_that_gives_up_lets_readers_in() {
    in_time(|| {
        let runtime = runtime(1);
        let lock = Arc::new(lock_api::RwLock::<RawRwLock, ()>::new(()));
        let held = lock.read();
        let writer = runtime.spawn({
            let lock = lock.clone();
            move || lock.try_write_for(Duration::from_millis(50)).is_some()
        });
        util::eventually("the writer waits, or has given up on a busy machine", || {
            waiting(runtime.handle(), WaitReason::RwLockWrite) == 1 || writer.is_finished()
        });
        let reader = runtime.spawn({
            let lock = lock.clone();
            move || drop(lock.read())
        });
        // Not before, and without any unlock.
        reader.join().unwrap();
        assert!(!writer.join().unwrap());
        drop(held);
        runtime.shutdown();
    });
}

/// Breaks if a wait returns without a notification or the mutex, or a notification is lost or remembered.
#[test]
fn condvar_notifies_those_who_wait() {
    in_time(|| {
        let runtime = runtime(2);
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        // Nobody waits: nothing happens.
        shared.1.notify_one();
        shared.1.notify_all();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waits = Vec::new();
        for number in 0..6 {
            let (shared, order) = (shared.clone(), order.clone());
            waits.push(runtime.spawn(move || {
                let mut passed = shared.1.wait(shared.0.lock().unwrap()).unwrap();
                *passed += 1;
                order.lock().unwrap().push(number);
            }));
            until_waiting(runtime.handle(), WaitReason::Condvar, number + 1);
        }
        for number in 0..3 {
            shared.1.notify_one();
            util::eventually("one passes", || order.lock().unwrap().len() as u64 == number + 1);
            assert_eq!(waiting(runtime.handle(), WaitReason::Condvar), 5 - number);
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        shared.1.notify_all();
        waits.into_iter().for_each(|wait| wait.join().unwrap());
        assert_eq!(*shared.0.lock().unwrap(), 6);
        runtime.shutdown();
    });
}

/// Breaks if a timeout is early, not told, or leaves a trace that takes a notification.
#[test]
fn condvar_times_out() {
    both_worlds(|| {
        let (mutex, changed) = (Mutex::new(false), Condvar::new());
        let start = Instant::now();
        let (guard, result) = changed.wait_timeout(mutex.lock().unwrap(), MOMENT).unwrap();
        assert!(result.timed_out() && start.elapsed() >= MOMENT);
        let (guard, result) = changed.wait_timeout_while(guard, MOMENT, |ready| !*ready).unwrap();
        assert!(result.timed_out() && !*guard);
        let (guard, result) =
            changed.wait_timeout_while(guard, Duration::MAX, |ready| *ready).unwrap();
        assert!(!result.timed_out());
        drop(guard);
        assert!(mutex.try_lock().is_ok());
        thread::scope(|scope| {
            scope.spawn(|| {
                *mutex.lock().unwrap() = true;
                changed.notify_one();
            });
            let guard = mutex.lock().unwrap();
            let (guard, result) =
                changed.wait_timeout_while(guard, FOREVER, |ready| !*ready).unwrap();
            assert!(*guard && !result.timed_out());
        });
    });
}

/// Breaks if a notification is lost with one who was notified and then gave up on the mutex.
#[test]
fn a_notification_outlives_who_gives_up() {
    in_time(|| {
        let runtime = runtime(1);
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let wait = |limit: Duration| {
            let shared = shared.clone();
            runtime.spawn(move || {
                timeout(limit, || {
                    let (count, changed) = &*shared;
                    *changed.wait_while(count.lock().unwrap(), |count| *count == 0).unwrap() -= 1;
                })
            })
        };
        // Unless this one has given up before it is notified.
        let first = wait(Duration::from_millis(50));
        let waiting = || waiting(runtime.handle(), WaitReason::Condvar);
        eventually("the first waits", || waiting() == 1 || first.is_finished());
        let second = wait(FOREVER);
        eventually("both wait", || waiting() == 2 || first.is_finished() && waiting() == 1);
        let mut count = shared.0.lock().unwrap();
        *count += 1;
        shared.1.notify_one();
        assert!(first.join().unwrap().is_err());
        drop(count);
        assert!(second.join().unwrap().is_ok());
        runtime.shutdown();
    });
}

/// Breaks if a condition variable with two mutexes, which is allowed here, confuses them.
#[test]
fn condvar_with_two_mutexes() {
    in_time(|| {
        let (mutexes, changed) = ([Mutex::new(0), Mutex::new(0)], Condvar::new());
        in_a_mix(2, |number| {
            let mutex = &mutexes[number % 2];
            *mutex.lock().unwrap() += 1;
            changed.notify_all();
            let passed = changed.wait_while(mutex.lock().unwrap(), |count| *count < 3).unwrap();
            assert_eq!(*passed, 3);
        });
    });
}

/// Breaks if messages get lost, or somebody sleeps on, between producers and consumers of all kinds.
#[test]
fn condvar_in_a_mix() {
    const EACH: usize = 300;
    in_time(|| {
        let (queue, filled, emptied) = (Mutex::new(Vec::new()), Condvar::new(), Condvar::new());
        let received = AtomicUsize::new(0);
        in_a_mix(4, |number| {
            for _ in 0..EACH {
                let guard = queue.lock().unwrap();
                // Three in a row are one of each kind.
                if number / 3 % 2 == 0 {
                    let mut guard = emptied.wait_while(guard, |queue| queue.len() == 2).unwrap();
                    guard.push(number);
                    filled.notify_one();
                } else {
                    let mut guard = filled.wait_while(guard, |queue| queue.is_empty()).unwrap();
                    guard.pop();
                    received.fetch_add(1, Ordering::Relaxed);
                    emptied.notify_one();
                }
            }
        });
        assert_eq!(received.into_inner(), 6 * EACH);
    });
}

/// Leaves routines of a runtime in waits that only shutdown can end.
fn shut_down_waiting(doomed: Runtime, waits: &[(WaitReason, u64)]) {
    for (reason, count) in waits {
        until_waiting(doomed.handle(), *reason, *count);
    }
    let total: u64 = waits.iter().map(|(_, count)| count).sum();
    assert_eq!(doomed.shutdown_timeout(Duration::ZERO).len() as u64, total);
}

/// Breaks if those whom shutdown unwinds stay in a list, take a wake-up along, or keep a lock.
#[test]
fn shutdown_leaves_no_trace() {
    in_time(|| {
        let shared = Arc::new((Mutex::new(0), RwLock::new(0), Mutex::new(false), Condvar::new()));
        let (doomed, other) = (runtime(2), runtime(1));
        let held = (shared.0.lock().unwrap(), shared.1.read().unwrap());
        for runtime in [&doomed, &other] {
            for _ in 0..4 {
                let all = [0, 1, 2].map(|_| shared.clone());
                let [one, two, four] = all;
                runtime.spawn(move || *one.0.lock().unwrap() += 1);
                runtime.spawn(move || *two.1.write().unwrap() += 1);
                runtime.spawn(move || {
                    let guard = four.2.lock().unwrap();
                    drop(four.3.wait_while(guard, |ready| !*ready).unwrap());
                });
            }
        }
        let reasons = [WaitReason::Mutex, WaitReason::RwLockWrite, WaitReason::Condvar];
        for reason in reasons {
            until_waiting(other.handle(), reason, 4);
        }
        shut_down_waiting(doomed, &reasons.map(|reason| (reason, 4)));
        drop(held);
        *shared.2.lock().unwrap() = true;
        shared.3.notify_all();
        other.shutdown();
        assert_eq!((*shared.0.lock().unwrap(), *shared.1.write().unwrap()), (4, 4));
    });
}

/// Breaks if shutdown cannot end a routine that waits for itself.
#[test]
fn shutdown_ends_deadlocks() {
    in_time(|| {
        let doomed = runtime(1);
        let shared = Arc::new((Mutex::new(()), RwLock::new(())));
        let (one, other) = (shared.clone(), shared.clone());
        doomed.spawn(move || {
            let _held = one.0.lock().unwrap();
            let _again = one.0.lock();
        });
        doomed.spawn(move || {
            let _held = other.1.read().unwrap();
            let _again = other.1.write();
        });
        shut_down_waiting(doomed, &[(WaitReason::Mutex, 1), (WaitReason::RwLockWrite, 1)]);
        // Unwound while holding it.
        assert!(shared.0.is_poisoned() && shared.0.try_lock().is_err());
        shared.0.clear_poison();
        assert!(shared.0.try_lock().is_ok() && shared.1.try_write().is_ok());
    });
}

/// Breaks if a destructor that locks while shutdown unwinds its routine goes on without the lock.
#[test]
fn destructors_get_their_locks_in_a_shutdown() {
    in_time(|| {
        let doomed = runtime(1);
        let shared = Arc::new((Mutex::new(0), AtomicBool::new(false)));
        let held = shared.0.lock().unwrap();
        let in_routine = shared.clone();
        doomed.spawn(move || {
            let _locks = util::OnDrop(|| {
                in_routine.1.store(true, Ordering::Release);
                *in_routine.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            });
            sleep(FOREVER);
        });
        until_waiting(doomed.handle(), WaitReason::Sleep, 1);
        thread::scope(|scope| {
            scope.spawn(|| doomed.shutdown_timeout(Duration::ZERO));
            util::eventually("it is unwound", || shared.1.load(Ordering::Acquire));
            thread::sleep(MOMENT);
            assert_eq!(*held, 0);
            drop(held);
        });
        assert_eq!(*shared.0.lock().unwrap(), 1);
    });
}
