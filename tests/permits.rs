//! The rest of `sync`: semaphores, wait groups, barriers, initialization and cancellation between routines of two
//! runtimes and threads.

mod util;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{RecvError, RecvTimeoutError, Select, TryRecvError, never, select};
use rust_routines::sync::{
    AcquireTimeoutError, Barrier, CancellationToken, DropGuard, LazyLock, Mutex, Once, OnceLock,
    Semaphore, TryAcquireError, WaitGroup,
};
use rust_routines::time::timeout;
use rust_routines::{Group, WaitReason, group, sleep, yield_now};
use util::{FOREVER, MOMENT, both_worlds, bounded as in_time, in_a_mix, runtime, until_waiting};

fn panics<T>(f: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

fn is_shared<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
fn is_sync<T: Sync>() {}

/// Breaks if a type promises less than std's, or looks different.
#[test]
fn types_are_as_stds() {
    is_shared::<(Barrier, Once, OnceLock<u8>, LazyLock<u8>, Semaphore, WaitGroup)>();
    is_shared::<CancellationToken>();
    is_sync::<LazyLock<u8, Box<dyn FnOnce() -> u8 + Send>>>();
    assert_eq!(format!("{:?}", Barrier::new(1)), format!("{:?}", std::sync::Barrier::new(1)));
    assert_eq!(
        format!("{:?}", Barrier::new(0).wait()),
        format!("{:?}", std::sync::Barrier::new(0).wait())
    );
    assert_eq!(format!("{:?}", Once::new()), format!("{:?}", std::sync::Once::new()));
    let (ours, theirs) = (OnceLock::new(), std::sync::OnceLock::new());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    ours.set(1).unwrap();
    theirs.set(1).unwrap();
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    let (ours, theirs) = (LazyLock::new(|| 1), std::sync::LazyLock::new(|| 1));
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert_eq!(*ours + *theirs, 2);
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

/// Breaks if more permits are out than there are, or somebody is never served.
#[test]
fn semaphore_in_a_mix() {
    const PERMITS: usize = 3;
    in_time(|| {
        let (semaphore, held) = (Semaphore::new(PERMITS), AtomicUsize::new(0));
        in_a_mix(4, |number| {
            for round in 0..300 {
                let permit = match (number + round) % 5 {
                    0 => semaphore.acquire_many(PERMITS).ok(),
                    1 => semaphore.acquire_timeout(Duration::from_micros(50)).ok(),
                    2 => semaphore.try_acquire().ok(),
                    _ => semaphore.acquire().ok(),
                };
                let Some(permit) = permit else { continue };
                let now = held.fetch_add(permit.permits(), Ordering::Relaxed) + permit.permits();
                assert!(now <= PERMITS);
                if round % 16 == 0 {
                    yield_now();
                }
                held.fetch_sub(permit.permits(), Ordering::Relaxed);
            }
        });
        assert_eq!(semaphore.available_permits(), PERMITS);
    });
}

/// Breaks if those who came later are served first, or one who wants many is passed by.
#[test]
fn semaphore_serves_in_order() {
    in_time(|| {
        let runtime = runtime(1);
        let shared = Arc::new((Semaphore::new(1), Mutex::new(Vec::new())));
        for (number, permits) in [2, 1, 0, 3].into_iter().enumerate() {
            let in_routine = shared.clone();
            runtime.spawn(move || {
                in_routine.0.acquire_many(permits).unwrap().forget();
                in_routine.1.lock().unwrap().push(number);
            });
            // The one that wants none does not wait.
            let waiting = [1, 2, 2, 3][number];
            until_waiting(runtime.handle(), WaitReason::Semaphore, waiting);
        }
        let served = |expected: &[usize]| {
            util::eventually("they are served", || *shared.1.lock().unwrap() == expected);
        };
        served(&[2]);
        // There is a permit, but the one who wants two was first.
        assert!(matches!(shared.0.try_acquire(), Err(TryAcquireError::NoPermits)));
        shared.0.add_permits(1);
        served(&[2, 0]);
        shared.0.add_permits(3);
        served(&[2, 0, 1]);
        assert_eq!(shared.0.available_permits(), 2);
        shared.0.add_permits(1);
        served(&[2, 0, 1, 3]);
        runtime.shutdown();
    });
}

/// Breaks if an error is wrong, a timeout early, or permits of one who gave up get lost.
#[test]
fn semaphore_errors() {
    both_worlds(|| {
        let semaphore = Semaphore::new(0);
        let start = Instant::now();
        let timeout = semaphore.acquire_timeout(MOMENT).unwrap_err();
        assert!(timeout == AcquireTimeoutError::Timeout && start.elapsed() >= MOMENT);
        assert_eq!(semaphore.acquire_deadline(start).unwrap_err(), AcquireTimeoutError::Timeout);
        semaphore.add_permits(1);
        assert_eq!(semaphore.acquire_deadline(start).unwrap().permits(), 1);
        assert_eq!(semaphore.acquire_timeout(Duration::MAX).unwrap().permits(), 1);
        assert_eq!(semaphore.try_acquire_many(2).unwrap_err(), TryAcquireError::NoPermits);
        assert_eq!(semaphore.acquire_many(0).unwrap().permits(), 0);

        let mut permit = semaphore.acquire().unwrap();
        assert!(permit.split(2).is_none());
        let part = permit.split(1).unwrap();
        assert_eq!((permit.permits(), part.permits()), (0, 1));
        permit.merge(part);
        let other = Semaphore::new(1);
        assert!(panics(|| permit.merge(other.acquire().unwrap())));
        assert_eq!((permit.permits(), other.available_permits()), (1, 1));

        semaphore.close();
        assert!(semaphore.is_closed() && semaphore.acquire().is_err());
        assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
        assert_eq!(semaphore.acquire_timeout(FOREVER).unwrap_err(), AcquireTimeoutError::Closed);
        drop(permit);
        assert_eq!(semaphore.available_permits(), 1);

        assert!(panics(|| Semaphore::new(Semaphore::MAX_PERMITS + 1)));
        let full = Semaphore::new(Semaphore::MAX_PERMITS);
        assert!(panics(|| full.add_permits(1)) && panics(|| full.add_permits(usize::MAX)));
        assert_eq!(full.available_permits(), Semaphore::MAX_PERMITS);
    });
}

/// Breaks if closing forgets one who waits.
#[test]
fn closing_wakes_all_who_wait() {
    in_time(|| {
        let runtime = runtime(2);
        let semaphore = Arc::new(Semaphore::new(1));
        let waits: Vec<_> = (0..8)
            .map(|number| {
                let semaphore = semaphore.clone();
                runtime.spawn(move || semaphore.acquire_many(2 + number).is_err())
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::Semaphore, 8);
        semaphore.close();
        assert!(waits.into_iter().all(|wait| wait.join().unwrap()));
        runtime.shutdown();
    });
}

/// Breaks if permits that keep their semaphore outlive it, are given back twice or never, or keep it when they are gone.
#[test]
fn owned_permits_travel() {
    in_time(|| {
        let semaphore = Arc::new(Semaphore::new(3));
        let mut two = semaphore.acquire_many_owned(2).unwrap();
        let one = two.split(1).unwrap();
        assert!(two.split(2).is_none());
        assert_eq!(semaphore.try_acquire_many_owned(2).unwrap_err(), TryAcquireError::NoPermits);
        let last = semaphore.try_acquire_owned().unwrap();
        let waits = semaphore.clone();
        let runtime = runtime(2);
        let waiting = runtime.spawn(move || {
            let permit = waits.acquire_owned().unwrap();
            thread::spawn(move || drop(permit)).join().unwrap();
        });
        rust_routines::spawn(move || drop(last)).join().unwrap();
        waiting.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
        two.merge(one);
        assert_eq!(two.permits(), 2);
        two.forget();
        assert_eq!((semaphore.available_permits(), Arc::strong_count(&semaphore)), (1, 1));
        assert!(panics(|| {
            let mut ours = semaphore.acquire_owned().unwrap();
            ours.merge(Arc::new(Semaphore::new(1)).acquire_owned().unwrap());
        }));
        assert_eq!(semaphore.available_permits(), 1);
        semaphore.close();
        assert!(semaphore.acquire_owned().is_err());
    });
}

/// Breaks if a round has not exactly one leader, or one passes before all have come.
#[test]
fn barrier_in_a_mix() {
    const ROUNDS: usize = 100;
    in_time(|| {
        let (barrier, arrived, leaders) =
            (Barrier::new(9), AtomicUsize::new(0), AtomicUsize::new(0));
        in_a_mix(3, |_| {
            for round in 1..=ROUNDS {
                arrived.fetch_add(1, Ordering::Relaxed);
                leaders.fetch_add(barrier.wait().is_leader().into(), Ordering::Relaxed);
                assert!(arrived.load(Ordering::Relaxed) >= 9 * round);
            }
        });
        assert_eq!(leaders.into_inner(), ROUNDS);
        assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
    });
}

/// Breaks if one returns before all others have left, or a clone of a clone does not count.
#[test]
fn wait_group_in_a_mix() {
    in_time(|| {
        let (group, left) = (WaitGroup::new(), AtomicUsize::new(0));
        assert_eq!(format!("{group:?}"), "WaitGroup { count: 1 }");
        let members = Mutex::new((0..9).map(|_| group.clone()).collect::<Vec<_>>());
        thread::scope(|scope| {
            scope.spawn(|| {
                in_a_mix(3, |number| {
                    let member = members.lock().unwrap().pop().unwrap();
                    let again = member.clone();
                    drop(member);
                    left.fetch_add(1, Ordering::Relaxed);
                    if number < 3 { again.wait() } else { drop(again) }
                });
            });
            group.wait();
            assert_eq!(left.load(Ordering::Relaxed), 9);
        });
        WaitGroup::default().wait();
    });
}

/// Breaks if a closure runs twice, is not waited for, or its panic is not handled as std handles it.
#[test]
fn initialization_as_in_std() {
    in_time(|| {
        let (once, lock, calls) = (Once::new(), OnceLock::new(), AtomicUsize::new(0));
        let lazy = LazyLock::new(|| calls.fetch_add(1, Ordering::Relaxed));
        in_a_mix(3, |number| {
            once.call_once(|| {
                yield_now();
                calls.fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.load(Ordering::Relaxed) >= 1);
            let init = || {
                yield_now();
                number
            };
            let value = if number == 0 { lock.wait() } else { lock.get_or_init(init) };
            assert_eq!(lock.get(), Some(value));
            assert_eq!(*lazy, 1);
        });
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    });
    both_worlds(|| {
        let once = Once::new();
        assert!(panics(|| once.call_once(|| panic!("at first"))) && !once.is_completed());
        assert!(panics(|| once.call_once(|| unreachable!())) && panics(|| once.wait()));
        once.call_once_force(|state| assert!(state.is_poisoned()));
        once.call_once_force(|_| unreachable!());
        once.wait();
        once.wait_force();
        assert!(once.is_completed());

        let mut lock = OnceLock::new();
        assert!(panics(|| lock.get_or_init(|| panic!("at first"))));
        assert_eq!((lock.get(), lock.set(1), lock.set(2)), (None, Ok(()), Err(2)));
        *lock.get_mut().unwrap() = 3;
        let copy = lock.clone();
        assert_eq!((copy == lock, lock.take(), lock.take()), (true, Some(3), None));
        assert_eq!((copy.into_inner(), OnceLock::from(4)), (Some(3), OnceLock::from(4)));
        let dropped = util::Population::new();
        drop(OnceLock::from(dropped.member()));
        drop(LazyLock::new({
            let member = dropped.member();
            move || member
        }));
        assert_eq!((dropped.alive(), dropped.dropped()), (0, 2));

        let lazy: LazyLock<u8, _> = LazyLock::new(|| panic!("always"));
        assert!(panics(|| *lazy) && LazyLock::get(&lazy).is_none());
        let again = catch_unwind(AssertUnwindSafe(|| *lazy)).unwrap_err();
        let message = Some(&"LazyLock instance has previously been poisoned");
        assert_eq!(again.downcast_ref::<&str>(), message);
        let mut lazy = LazyLock::<Cell<u8>>::default();
        lazy.set(2);
        *lazy.get_mut() += 1;
        assert_eq!(LazyLock::get_mut(&mut lazy).map(|cell| cell.get()), Some(3));
    });
}

/// Breaks if a cancellation does not reach a descendant or one who waits, or reaches an ancestor.
#[test]
fn cancellation_goes_down_the_tree() {
    in_time(|| {
        let runtime = runtime(2);
        let token = CancellationToken::new();
        let (child, sibling) = (token.child_token(), token.child_token());
        let grandchild = child.child_token();
        let waits = [&grandchild, &child, &grandchild].map(|token| {
            let token = token.clone();
            runtime.spawn(move || token.wait())
        });
        until_waiting(runtime.handle(), WaitReason::Cancellation, 3);
        assert_eq!(grandchild.cancelled().try_recv(), Err(TryRecvError::Empty));
        assert!(!child.wait_timeout(MOMENT));
        child.cancel();
        child.cancel();
        for wait in waits {
            wait.join().unwrap();
        }
        assert!(grandchild.is_cancelled() && !token.is_cancelled() && !sibling.is_cancelled());
        assert_eq!(grandchild.cancelled().recv(), Err(RecvError));
        assert!(child.child_token().is_cancelled());
        assert_eq!(child.child_token().cancelled().recv(), Err(RecvError));
        token.cancel();
        assert!(sibling.wait_timeout(Duration::ZERO));
        runtime.shutdown();
    });
}

/// Breaks if a guard's end does not tell those who wait for its token or a descendant, however it comes; or if one that was
/// disarmed does.
#[test]
fn guards_of_tokens_cancel_at_their_end() {
    in_time(|| {
        let runtime = runtime(2);
        let ends: [fn(DropGuard); 3] = [
            drop,
            |_guard| std::panic::resume_unwind(Box::new("no luck")),
            |_guard| assert!(timeout(MOMENT, || sleep(FOREVER)).is_err()),
        ];
        for end in ends {
            let token = CancellationToken::new();
            let child = token.child_token();
            let wait = runtime.spawn(move || child.wait());
            until_waiting(runtime.handle(), WaitReason::Cancellation, 1);
            let guard = token.clone().drop_guard();
            assert!(!token.is_cancelled());
            drop(runtime.spawn(move || end(guard)).join());
            assert!(token.is_cancelled());
            wait.join().unwrap();
        }
        let token = CancellationToken::new().drop_guard().disarm();
        assert!(!token.is_cancelled());
        // A shutdown by force unwinds the one that holds the guard.
        let guard = token.clone().drop_guard();
        let _holder = runtime.spawn(move || {
            let _guard = guard;
            sleep(FOREVER);
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        runtime.shutdown_timeout(Duration::ZERO);
        assert!(token.is_cancelled());
    });
}

/// Breaks if who waits for a token's channel, alone or among others, is not told of its deadline, or before.
#[test]
fn channels_of_tokens_disconnect_at_their_deadline() {
    both_worlds(|| {
        let far = CancellationToken::new().with_timeout(FOREVER);
        assert_eq!(far.cancelled().try_recv(), Err(TryRecvError::Empty));
        assert_eq!(far.cancelled().clone().recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
        let near = far.with_timeout(MOMENT);
        let mut select = Select::new();
        select.recv(far.cancelled());
        let place = select.recv(near.cancelled());
        assert_eq!(select.ready(), place);
        assert!(Instant::now() >= near.deadline().unwrap());

        let (token, other) = (CancellationToken::new().with_timeout(MOMENT), never::<()>());
        select! {
            recv(token.cancelled()) -> gone => assert_eq!(gone, Err(RecvError)),
            recv(other) -> _ => unreachable!(),
        }
        assert!(Instant::now() >= token.deadline().unwrap() && token.is_cancelled());
        assert_eq!(token.cancelled().try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(token.cancelled().recv_timeout(MOMENT), Err(RecvTimeoutError::Disconnected));

        let token = CancellationToken::new().with_timeout(MOMENT);
        assert_eq!(token.cancelled().recv_timeout(FOREVER), Err(RecvTimeoutError::Disconnected));
        assert!(token.is_cancelled());
        let token = CancellationToken::new().with_timeout(MOMENT);
        assert_eq!(token.cancelled().recv(), Err(RecvError));
        thread::scope(|scope| {
            scope.spawn(|| far.cancel());
            assert_eq!(far.cancelled().recv(), Err(RecvError));
        });
    });
}

/// Breaks if a deadline is early or not inherited, or costs the parent anything.
#[test]
fn cancellation_by_deadline() {
    both_worlds(|| {
        let token = CancellationToken::new();
        let start = Instant::now();
        let child = token.with_timeout(MOMENT);
        let grandchild = child.with_timeout(FOREVER);
        assert_eq!(grandchild.deadline(), child.deadline());
        grandchild.wait();
        assert!(start.elapsed() >= MOMENT && grandchild.is_cancelled() && child.is_cancelled());
        assert_eq!(grandchild.cancelled().recv(), Err(RecvError));
        assert!(!token.is_cancelled() && token.deadline().is_none());
        assert!(token.with_deadline(start).is_cancelled());
        assert!(token.with_timeout(Duration::MAX).deadline().is_none());
        assert!(!token.with_timeout(FOREVER).wait_timeout(MOMENT));
    });
}

/// Breaks if a long chain of tokens is cancelled or dropped by recursion, which no routine's stack would hold.
#[test]
fn deep_trees_need_no_stack() {
    const DEPTH: usize = 100_000;
    both_worlds(|| {
        let root = CancellationToken::new();
        let chain = || (0..DEPTH).fold(root.clone(), |token, _| token.child_token());
        drop(chain());
        let leaf = chain();
        root.cancel();
        assert!(leaf.is_cancelled());
        // Here the leaf alone keeps all the others.
        let orphan = (0..DEPTH).fold(CancellationToken::new(), |token, _| token.child_token());
        drop(orphan);
    });
}

/// Breaks if those whom shutdown unwinds leave a trace: a place in a list, permits, an arrival.
#[test]
fn shutdown_leaves_no_trace() {
    in_time(|| {
        let doomed = runtime(2);
        let shared = Arc::new((Semaphore::new(1), Barrier::new(2), OnceLock::new()));
        let (group, token) = (WaitGroup::new(), CancellationToken::new());
        let held = shared.0.acquire().unwrap();
        let waits: [Box<dyn FnOnce() + Send>; 5] = [
            Box::new({
                let shared = shared.clone();
                move || drop(shared.0.acquire_many(9))
            }),
            Box::new({
                let shared = shared.clone();
                move || assert!(!shared.1.wait().is_leader())
            }),
            Box::new({
                let shared = shared.clone();
                move || assert_eq!(*shared.2.wait(), 1)
            }),
            Box::new({
                let group = group.clone();
                move || group.wait()
            }),
            Box::new({
                let token = token.clone();
                move || token.wait()
            }),
        ];
        waits.into_iter().for_each(|wait| drop(doomed.spawn(wait)));
        for reason in [
            WaitReason::Semaphore,
            WaitReason::Barrier,
            WaitReason::Once,
            WaitReason::WaitGroup,
            WaitReason::Cancellation,
        ] {
            until_waiting(doomed.handle(), reason, 1);
        }
        thread::scope(|scope| {
            // One behind the doomed that wants less.
            let behind = scope.spawn(|| shared.0.acquire().map(|permit| permit.permits()));
            assert_eq!(doomed.shutdown_timeout(Duration::ZERO).len(), 5);
            drop(held);
            assert_eq!(behind.join().unwrap(), Ok(1));
            let barrier = || scope.spawn(|| shared.1.wait().is_leader());
            let pair = [barrier(), barrier()].map(|thread| thread.join().unwrap());
            assert!(pair[0] != pair[1]);
        });
        shared.2.set(1).unwrap();
        group.wait();
        token.cancel();
        assert_eq!(shared.0.available_permits(), 1);
    });
}

/// Fails if the message of a panic that a caller's mistake leads to names a place in this crate.
#[test]
fn mistakes_are_reported_where_they_are_made() {
    if util::is_child() {
        assert!(panics(|| Semaphore::new(usize::MAX)));
        let (one, other) = (Semaphore::new(1), Semaphore::new(1));
        assert!(panics(|| one.add_permits(usize::MAX)));
        assert!(panics(|| one.acquire().unwrap().merge(other.acquire().unwrap())));
        let limited = |group: &Group<'_, '_, ()>| {
            group.limit(0);
            Ok(())
        };
        assert!(panics(|| group(limited)));
        return;
    }
    let output = util::child("mistakes_are_reported_where_they_are_made", &[]);
    let text = util::text(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches(concat!(" panicked at ", file!())).count(), 4, "{text}");
}
