//! Scopes: routines that borrow, and what a scope waits for.

mod util;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rust_routines::channel::bounded;
use rust_routines::{Builder, Canceled, WaitReason, scope, sleep, spawn, yield_now};
use util::{Population, both_worlds, bounded as in_time, runtime, until_waiting};

/// Fails if scoped routines cannot borrow, mutably or shared, what lies around the scope.
#[test]
fn routines_borrow_from_outside() {
    both_worlds(|| {
        let text = String::from("shared");
        let mut numbers = vec![1, 2, 3, 4];
        let lengths = scope(|scope| {
            let (left, right) = numbers.split_at_mut(2);
            scope.spawn(|| left.iter_mut().for_each(|n| *n *= 10));
            scope.spawn(|| {
                yield_now();
                right.iter_mut().for_each(|n| *n *= 100);
            });
            let one = scope.spawn(|| text.len());
            let two = scope.spawn(|| text.len());
            one.join().unwrap() + two.join().unwrap()
        });
        assert_eq!(lengths, 12);
        assert_eq!(numbers, [10, 20, 300, 400]);
    });
}

/// Fails if a scope returns before the last routine in it has ended, joined or not.
#[test]
fn scope_waits_for_all() {
    both_worlds(|| {
        let ended = AtomicUsize::new(0);
        scope(|scope| {
            for i in 0..50 {
                let routine = scope.spawn({
                    let ended = &ended;
                    move || {
                        for _ in 0..i % 4 {
                            yield_now();
                        }
                        if i % 10 == 0 {
                            sleep(Duration::from_millis(2));
                        }
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                });
                if i % 2 == 0 {
                    drop(routine);
                }
            }
        });
        assert_eq!(ended.load(Ordering::SeqCst), 50);
    });
}

/// Fails if routines cannot spawn into the scope they run in, or into one of their own.
#[test]
fn scopes_nest() {
    both_worlds(|| {
        let count = AtomicUsize::new(0);
        scope(|outer| {
            outer.spawn(|| {
                outer.spawn(|| {
                    sleep(Duration::from_millis(1));
                    outer.spawn(|| count.fetch_add(1, Ordering::SeqCst));
                });
                scope(|inner| {
                    for _ in 0..10 {
                        inner.spawn(|| {
                            yield_now();
                            count.fetch_add(1, Ordering::SeqCst)
                        });
                    }
                });
                assert!(count.load(Ordering::SeqCst) >= 10);
            });
        });
        assert_eq!(count.load(Ordering::SeqCst), 11);
    });
}

/// Fails if a panic in the body of a scope passes by the routines that borrow what it would free.
#[test]
fn panic_in_body_waits_for_routines() {
    both_worlds(|| {
        let ended = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let borrowed = vec![1; 100];
            scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        sleep(Duration::from_millis(3));
                        ended.fetch_add(borrowed.len() / 100, Ordering::SeqCst);
                    });
                }
                resume_unwind(Box::new("the body"));
            });
        }));
        assert_eq!(ended.load(Ordering::SeqCst), 10);
        // The body's panic has precedence over those of routines.
        assert_eq!(util::message(&*caught.unwrap_err()), "the body");
    });
}

/// Fails if a panic that nobody has seen is lost, or one that somebody has seen is not.
#[test]
fn unjoined_panic_makes_scope_panic() {
    both_worlds(|| {
        let unjoined =
            catch_unwind(|| scope(|scope| drop(scope.spawn(|| resume_unwind(Box::new(1))))));
        let message = unjoined.unwrap_err();
        assert_eq!(util::message(&*message), "a scoped routine panicked and was not joined");

        // The handle goes when the routine has ended already.
        let late = catch_unwind(|| {
            scope(|scope| {
                let routine = scope.spawn(|| resume_unwind(Box::new(1)));
                util::eventually("the routine ends", || routine.is_finished());
                drop::<rust_routines::ScopedJoinHandle<'_, ()>>(routine);
            });
        });
        assert!(late.is_err());

        let result = scope(|scope| {
            let routine = scope.spawn(|| resume_unwind(Box::new(7)));
            let joined: thread::Result<()> = routine.join();
            *joined.unwrap_err().downcast::<i32>().unwrap()
        });
        assert_eq!(result, 7);
    });
}

/// Fails if the panic of one routine keeps the scope from waiting for the others.
#[test]
fn panic_of_one_waits_for_others() {
    both_worlds(|| {
        let ended = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                scope.spawn(|| resume_unwind(Box::new(())));
                for _ in 0..10 {
                    scope.spawn(|| {
                        sleep(Duration::from_millis(3));
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                }
            });
        }));
        assert!(caught.is_err());
        assert_eq!(ended.load(Ordering::SeqCst), 10);
    });
}

/// Fails if results cannot borrow, or are dropped when what they borrow has gone.
#[test]
fn results_may_borrow() {
    struct Checks<'a>(&'a AtomicUsize);
    impl Drop for Checks<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    both_worlds(|| {
        let words = ["one".to_owned(), "three".to_owned()];
        let longest = scope(|scope| {
            scope.spawn(|| words.iter().max_by_key(|word| word.len()).unwrap()).join().unwrap()
        });
        assert_eq!(longest, "three");

        let drops = AtomicUsize::new(0);
        scope(|scope| {
            scope.spawn(|| Checks(&drops));
            scope.spawn(|| {
                yield_now();
                Checks(&drops)
            });
            drop(scope.spawn(|| Checks(&drops)).join());
        });
        assert_eq!(drops.load(Ordering::SeqCst), 3);
    });
}

/// Fails if a handle that is dropped early ends its routine's borrow, or one that is forgotten keeps the
/// scope from returning.
#[test]
fn dropped_and_forgotten_handles() {
    both_worlds(|| {
        let ended = AtomicUsize::new(0);
        scope(|scope| {
            let work = || {
                sleep(Duration::from_millis(3));
                ended.fetch_add(1, Ordering::SeqCst);
            };
            drop(scope.spawn(work));
            std::mem::forget(scope.spawn(work));
            std::mem::forget(scope.spawn(|| ended.fetch_add(1, Ordering::SeqCst)));
        });
        assert_eq!(ended.load(Ordering::SeqCst), 3);
    });
}

/// Fails if what scoped routines capture and return is not dropped exactly once, and before the scope
/// returns.
#[test]
fn all_is_dropped_when_scope_returns() {
    in_time(|| {
        let population = Population::new();
        for round in 0..200 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                scope(|scope| {
                    for i in 0..5 {
                        let (captured, result) = (population.member(), population.member());
                        let routine = scope.spawn(move || {
                            let _captured = captured;
                            if i % 2 == 0 {
                                yield_now();
                            }
                            if (round + i) % 7 == 0 {
                                resume_unwind(Box::new(result));
                            }
                            result
                        });
                        if (round + i) % 3 == 0 {
                            drop(routine.join());
                        }
                    }
                });
            }));
            drop(caught);
            assert_eq!(population.alive(), 0);
        }
        assert_eq!(population.dropped(), 2_000);
    });
}

/// Fails if the last routine to leave and the owner that begins to wait miss each other.
#[test]
fn ends_of_scope_and_routine_race() {
    in_time(|| {
        let runtime = runtime(2);
        let handle = runtime.handle().clone();
        let rounds = |handle: &rust_routines::Handle| {
            for i in 0..1_000_u32 {
                let mut value = 0;
                handle.scope(|scope| {
                    scope.spawn(|| value = i);
                });
                assert_eq!(value, i);
            }
        };
        rounds(&handle);
        // The owner is a routine of the same runtime, and of another.
        spawn({
            let handle = handle.clone();
            move || rounds(&handle)
        })
        .join()
        .unwrap();
        runtime.spawn(move || rounds(&handle)).join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if names, or spawning errors, get lost with scopes.
#[test]
fn builder_spawns_into_scope() {
    both_worlds(|| {
        let word = String::from("borrowed");
        scope(|scope| {
            let named = Builder::new().name("scoped".into()).spawn_scoped(scope, || {
                (rust_routines::current().name().map(str::to_owned), word.len())
            });
            let named = named.unwrap();
            assert_eq!(named.routine().name(), Some("scoped"));
            assert_eq!(named.join().unwrap(), (Some("scoped".to_owned()), 8));
            let refused = Builder::new().stack_size(usize::MAX).spawn_scoped(scope, || word.len());
            assert!(refused.is_err());
        });
    });
}

/// Fails if the owner of a scope is ended by a shutdown while its routines still borrow from it.
#[test]
fn shutdown_ends_routines_before_owner() {
    in_time(|| {
        let runtime = runtime(2);
        let (report, reports) = bounded(1);
        runtime.spawn(move || {
            let ended = AtomicUsize::new(0);
            scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        let _count = util::OnDrop(|| {
                            ended.fetch_add(1, Ordering::SeqCst);
                        });
                        sleep(Duration::MAX);
                    });
                }
            });
            report.send(ended.load(Ordering::SeqCst)).unwrap();
            sleep(Duration::MAX);
            unreachable!("the runtime is shutting down");
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 10);
        until_waiting(runtime.handle(), WaitReason::Scope, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(reports.try_recv(), Ok(10));
        assert_eq!(left.len(), 11, "{left:?}");
        assert!(left.iter().all(|left| !left.frozen), "{left:?}");
    });
}

/// Fails if a scope on a plain thread hangs, or panics, when its runtime is shut down meanwhile.
#[test]
fn shutdown_under_scope_of_thread() {
    in_time(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let owner = thread::spawn(move || {
            handle.scope(|scope| {
                let joined = scope.spawn(|| sleep(Duration::MAX)).join();
                assert!(joined.unwrap_err().is::<Canceled>());
                let refused = Builder::new().spawn_scoped(scope, || ());
                assert!(refused.is_err());
            });
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 1);
        owner.join().unwrap();
    });
}
