//! Groups: the first error, cancellation of the rest, limits, panics.

mod util;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rust_routines::sync::{CancellationToken, Mutex};
use rust_routines::{group, group_with_token, sleep, spawn, yield_now};
use util::{bounded as in_time, runtime};

/// Breaks if what members borrow, return or leave behind gets lost, or the group returns before them.
#[test]
fn all_succeed() {
    in_time(|| {
        let (words, lengths) = (["one", "three"], Mutex::new(Vec::new()));
        let sum = group(|group| {
            let handles = words.map(|word| {
                let lengths = &lengths;
                group.spawn(move || {
                    yield_now();
                    lengths.lock().unwrap().push(word.len());
                    Ok::<_, ()>(word.len())
                })
            });
            Ok(handles.into_iter().map(|handle| handle.join().unwrap().unwrap()).sum::<usize>())
        });
        assert_eq!(sum, Ok(8));
        let mut lengths = lengths.into_inner().unwrap();
        lengths.sort_unstable();
        assert_eq!(lengths, [3, 5]);
        assert_eq!(group(|_| Ok::<_, ()>(7)), Ok(7));
    });
}

/// Breaks if members are not told when the token is cancelled that their group hangs on, or a failure goes up to it.
#[test]
fn hangs_on_the_token_of_its_maker() {
    in_time(|| {
        let above = CancellationToken::new();
        let failed = group_with_token(above.child_token(), |_| Err::<(), _>("for itself"));
        assert_eq!(failed, Err("for itself"));
        assert!(!above.is_cancelled());
        let result = group_with_token(above.child_token(), |group| {
            let token = group.token().clone();
            group.spawn(move || {
                token.wait();
                Err::<(), _>("told")
            });
            above.cancel();
            Ok(())
        });
        assert_eq!(result, Err("told"));
    });
}

/// Breaks if an error does not cancel the others, a later one takes its place, or a failed member can be
/// mistaken for one that succeeded.
#[test]
fn first_error_cancels_the_rest() {
    in_time(|| {
        let stopped = AtomicUsize::new(0);
        let result = group(|group| {
            for _ in 0..5 {
                let (token, stopped) = (group.token().clone(), &stopped);
                group.spawn(move || {
                    token.wait();
                    stopped.fetch_add(1, Ordering::Relaxed);
                    Err::<(), _>("a later one")
                });
            }
            let failed = group.spawn(|| Err::<(), _>("the first"));
            assert!(failed.join().unwrap().is_none());
            assert!(group.token().is_cancelled());
            Ok(())
        });
        assert_eq!(result, Err("the first"));
        assert_eq!(stopped.into_inner(), 5);
    });
}

/// Breaks if the closure's own error is not one like any other.
#[test]
fn error_of_the_closure_cancels_too() {
    in_time(|| {
        let result = group(|group| {
            let token = group.token().clone();
            group.spawn(move || {
                token.wait();
                Ok(())
            });
            Err::<(), _>("of the closure")
        });
        assert_eq!(result, Err("of the closure"));
    });
}

/// Breaks if more run than the limit says, a place is not given back (also by failures and panics), or
/// members spawned before it take places.
#[test]
fn limit_holds() {
    in_time(|| {
        let runtime = runtime(2);
        let (running, most, total) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let result = catch_unwind(AssertUnwindSafe(|| {
            runtime.handle().group(|group| {
                group.spawn(|| Ok(()));
                group.limit(3);
                for number in 0..60 {
                    let (running, most, total) = (&running, &most, &total);
                    group.spawn(move || {
                        let _leaves = util::OnDrop(|| {
                            running.fetch_sub(1, Ordering::Relaxed);
                        });
                        let now = running.fetch_add(1, Ordering::Relaxed) + 1;
                        most.fetch_max(now, Ordering::Relaxed);
                        total.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_micros(100));
                        assert!(number % 20 != 7, "a panic");
                        if number % 10 == 3 { Err("an error") } else { Ok(()) }
                    });
                }
                Ok(())
            })
        }));
        assert!(result.is_err(), "the panics propagate");
        assert_eq!((most.into_inner(), total.into_inner()), (3, 60));
        runtime.shutdown();
    });
}

/// Breaks if bad limits are accepted.
#[test]
fn limits_that_cannot_be() {
    in_time(|| {
        let bad = |limits: &[usize]| {
            catch_unwind(AssertUnwindSafe(|| {
                group(|group| {
                    limits.iter().for_each(|&limit| group.limit(limit));
                    Ok::<_, ()>(())
                })
            }))
            .is_err()
        };
        assert!(bad(&[0]) && bad(&[1, 1]) && !bad(&[usize::MAX]) && !bad(&[1]));
    });
}

/// Breaks if a panic, of a member or of the closure, does not cancel the others or gets lost.
#[test]
fn panics_cancel_and_propagate() {
    in_time(|| {
        for in_member in [true, false] {
            let stopped = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                group(|group| {
                    let (token, stopped) = (group.token().clone(), &stopped);
                    group.spawn(move || {
                        token.wait();
                        stopped.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, ()>(())
                    });
                    if in_member {
                        group.spawn(|| -> Result<(), ()> { panic!("in a member") });
                        return Ok(());
                    }
                    panic!("in the closure")
                })
            }));
            let payload = result.unwrap_err();
            let expected = if in_member { "a scoped routine panicked" } else { "in the closure" };
            assert!(util::message(&*payload).contains(expected));
            assert_eq!(stopped.into_inner(), 1);
        }
    });
}

/// Breaks if members cannot spawn members.
#[test]
fn members_spawn_members() {
    in_time(|| {
        let count = AtomicUsize::new(0);
        let result = spawn(move || {
            group(|group| {
                let (inner, count) = (group.clone(), &count);
                group.spawn(move || {
                    for _ in 0..3 {
                        inner.spawn(move || {
                            count.fetch_add(1, Ordering::Relaxed);
                            Err::<(), _>(5)
                        });
                    }
                    Ok(())
                });
                Ok(())
            })
            .map(|()| count.load(Ordering::Relaxed))
        });
        assert_eq!(result.join().unwrap(), Err(5));
    });
}
