//! Routines that cannot be unwound, and those who wait for them.

mod util;

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rust_routines::channel::{Receiver, Sender, bounded};
use rust_routines::sync::{Mutex, Semaphore};
use rust_routines::{
    Builder, Canceled, Leftover, Runtime, WaitReason, blocking, park, routine_local, sleep,
};
use util::{
    Counted, FOREVER, MOMENT, OnDrop, Population, bounded as in_time, eventually, runtime,
    until_waiting,
};

/// Catches every unwinding, for ever.
fn stubborn() {
    loop {
        let _ = catch_unwind(|| sleep(FOREVER));
    }
}

/// Says that it has begun, from when on it is not taken back, and ends when the gate opens.
fn hold(begun: &Sender<()>, gate: &Receiver<()>) {
    begun.send(()).unwrap();
    assert!(gate.recv().is_err());
}

/// Fails if a routine that cannot be unwound keeps the shutdown, or takes its worker's thread, and with it
/// what others have there, along.
#[test]
fn stubborn_routine_is_frozen() {
    struct OfThread(Arc<AtomicBool>);
    impl Drop for OfThread {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread_local! {
        static OF_THREAD: RefCell<Option<OfThread>> = const { RefCell::new(None) };
    }
    in_time(|| {
        for workers in [1, 2] {
            let name = util::unique_name();
            let runtime = util::builder().name(name.clone()).workers(workers).build().unwrap();
            let destroyed = Arc::new(AtomicBool::new(false));
            let population = Population::new();
            let (member, flag) = (population.member(), destroyed.clone());
            let frozen =
                Builder::new().name("stubborn".into()).spawn_on(runtime.handle(), move || {
                    let _member = member;
                    OF_THREAD.set(Some(OfThread(flag)));
                    stubborn();
                });
            let frozen = frozen.unwrap();
            let routine = frozen.routine().clone();
            let others: Vec<_> = (0..10)
                .map(|_| {
                    let member = population.member();
                    runtime.spawn(move || {
                        let _member = member;
                        park();
                    })
                })
                .collect();
            until_waiting(runtime.handle(), WaitReason::Sleep, 1);
            until_waiting(runtime.handle(), WaitReason::Park, 10);
            let handle = runtime.handle().clone();
            let left = runtime.shutdown_timeout(Duration::ZERO);
            let is_frozen: Vec<_> = left.iter().filter(|left| left.frozen).collect();
            assert_eq!((left.len(), is_frozen.len()), (11, 1), "{left:?}");
            assert_eq!(is_frozen[0].routine.name.as_deref(), Some("stubborn"));
            for other in others {
                assert!(other.join().unwrap_err().is::<Canceled>());
            }
            assert_eq!(population.alive(), 1, "its stack stays as it is");
            assert!(frozen.join().unwrap_err().is::<Canceled>());
            assert!(!destroyed.load(Ordering::SeqCst));
            eventually("one thread is left", || util::threads_named(&name).len() == 1);
            assert_eq!(handle.metrics().live, 0);
            routine.unpark();
        }
    });
}

/// Fails if a destructor that waits for what a frozen routine has keeps the shutdown; or if one is given up, too, that waits
/// for the end of another runtime.
#[test]
fn who_waits_for_a_frozen_routine_is_frozen() {
    let freeze = |workers| {
        let runtime = runtime(workers);
        let mutex = Arc::new(Mutex::new(()));
        let locks = mutex.clone();
        let stubborn = move || {
            let _guard = locks.lock().unwrap();
            stubborn();
        };
        Builder::new().spread().spawn_on(runtime.handle(), stubborn).unwrap();
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let waits = move || {
            let _locks = OnDrop(move || drop(mutex.lock()));
            park();
        };
        Builder::new().spread().spawn_on(runtime.handle(), waits).unwrap();
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|left| left.frozen), "{left:?}");
    };
    let end_another = |gate: Receiver<()>, one: Runtime| {
        let mut other = Some(runtime(1));
        one.spawn(stubborn);
        let (begun, begins) = bounded(0);
        let holder = other.as_ref().unwrap().spawn(move || blocking(|| hold(&begun, &gate)));
        begins.recv().unwrap();
        one.spawn(move || {
            let _ends = OnDrop(move || other.take().unwrap().shutdown());
            park();
        });
        until_waiting(one.handle(), WaitReason::Sleep, 1);
        until_waiting(one.handle(), WaitReason::Park, 1);
        let left = one.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.iter().filter(|left| left.frozen).count(), 1, "{left:?}");
        drop(holder.join());
    };
    // At once, since they are given some seconds.
    in_time(|| {
        thread::scope(|threads| {
            let (hold, gate) = bounded(0);
            let one = runtime(1);
            let ending = one.handle().clone();
            threads.spawn(|| end_another(gate, one));
            until_waiting(&ending, WaitReason::Shutdown, 1);
            let others = [1, 2].map(|workers| threads.spawn(move || freeze(workers)));
            // Has the worker look, as if some other of its routines did.
            while !others.iter().all(|other| other.is_finished()) {
                drop(ending.spawn(|| ()));
                thread::sleep(MOMENT);
            }
            drop(hold);
        });
    });
}

/// Fails if a destructor that waits for what somebody outside gives it is given up beside a frozen routine.
#[test]
fn who_waits_for_others_beside_a_frozen_routine_is_not_frozen() {
    in_time(|| {
        let runtime = runtime(1);
        let mutex = Arc::new(Mutex::new(()));
        let finished = Arc::new(AtomicBool::new(false));
        let frozen = runtime.spawn(stubborn);
        let handle = runtime.handle().clone();
        let (locked, is_locked) = mpsc::channel();
        let holder = thread::spawn({
            let mutex = mutex.clone();
            move || {
                let _guard = mutex.lock().unwrap();
                locked.send(()).unwrap();
                eventually("the routine is frozen", || frozen.is_finished());
                let looks = handle.metrics().timers_fired;
                eventually("the other looks", || handle.metrics().timers_fired >= looks + 2);
            }
        });
        is_locked.recv().unwrap();
        let has_finished = finished.clone();
        runtime.spawn(move || {
            let _locks = OnDrop(move || {
                drop(mutex.lock());
                finished.store(true, Ordering::SeqCst);
            });
            park();
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.iter().filter(|left| left.frozen).count(), 1, "{left:?}");
        assert!(has_finished.load(Ordering::SeqCst));
        holder.join().unwrap();
    });
}

/// Fails if code of a frozen routine runs after all, and that on the stack of its worker.
#[test]
fn locals_of_a_frozen_routine_stay() {
    routine_local! {
        static MEMBER: RefCell<Option<Counted>> = const { RefCell::new(None) };
    }
    in_time(|| {
        let runtime = runtime(1);
        let population = Population::new();
        let member = population.member();
        drop(runtime.spawn(move || {
            MEMBER.set(Some(member));
            stubborn();
        }));
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert!(left[0].frozen, "{left:?}");
        assert_eq!(population.alive(), 1);
    });
}

/// Fails if somebody who waits for a frozen routine in a scope keeps the shutdown, or is resumed.
#[test]
fn scope_around_stubborn_routine_is_frozen() {
    in_time(|| {
        let runtime = runtime(2);
        let population = Population::new();
        let member = population.member();
        runtime.spawn(move || {
            let _member = member;
            rust_routines::scope(|outer| {
                outer.spawn(|| {
                    rust_routines::scope(|inner| {
                        inner.spawn(stubborn);
                    });
                });
            });
        });
        until_waiting(runtime.handle(), WaitReason::Scope, 2);
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let handle = runtime.handle().clone();
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|left| left.frozen), "{left:?}");
        assert_eq!(population.alive(), 1);
        assert_eq!(handle.metrics().live, 0);
    });
}

/// Fails if a scope whose routines end by themselves, only later, is frozen because of an unrelated
/// stubborn routine, or resumed after it was.
#[test]
fn stubborn_routine_leaves_other_scopes_alone() {
    in_time(|| {
        for workers in [1, 2, 3] {
            let runtime = runtime(workers);
            let population = Population::new();
            let member = population.member();
            let frozen = runtime.spawn(stubborn);
            let (open, gate) = bounded(0);
            let (begun, begins) = bounded(0);
            let owner = runtime.spawn(move || {
                let _member = member;
                let mut ended = false;
                rust_routines::scope(|scope| {
                    scope.spawn(|| {
                        blocking(|| hold(&begun, &gate));
                        ended = true;
                    });
                });
                ended
            });
            begins.recv().unwrap();
            until_waiting(runtime.handle(), WaitReason::Blocking, 1);
            until_waiting(runtime.handle(), WaitReason::Scope, 1);
            until_waiting(runtime.handle(), WaitReason::Sleep, 1);
            let opener = thread::spawn(move || {
                eventually("it is frozen", || frozen.is_finished());
                drop(open);
            });
            let left = runtime.shutdown_timeout(Duration::ZERO);
            let frozen: Vec<_> = left.iter().filter(|left: &&Leftover| left.frozen).collect();
            assert_eq!(frozen.len(), 1, "{left:?}");
            let said = left[0].to_string();
            let begins = format!(
                "routine '<unnamed>' (id {}), spawned at tests/frozen.rs:",
                left[0].routine.id
            );
            assert!(
                said.starts_with(&begins) && said.ends_with(left[0].routine.reason.as_str()),
                "{said}"
            );
            assert!(owner.join().unwrap());
            assert_eq!(population.alive(), 0);
            opener.join().unwrap();
        }
    });
}

/// Fails if a scope over two runtimes is given up though it would end, or holds the shutdown of its owner's runtime up
/// though it will not.
#[test]
fn scope_over_two_runtimes_shares_the_fate_of_its_routines() {
    in_time(|| {
        let end = |with_member: bool| {
            let (one, other) = (runtime(1), runtime(1));
            let (open, gate) = bounded(0);
            let (begun, begins) = bounded(0);
            let (here, there) = (one.handle().clone(), other.handle().clone());
            let owner = one.spawn(move || {
                there.scope(|scope| {
                    scope.spawn(move || {
                        blocking(|| hold(&begun, &gate));
                        if with_member {
                            stubborn();
                        }
                    });
                });
            });
            begins.recv().unwrap();
            until_waiting(one.handle(), WaitReason::Scope, 1);
            if with_member {
                drop(open);
                until_waiting(other.handle(), WaitReason::Sleep, 1);
                let left = other.shutdown_timeout(Duration::ZERO);
                assert!(left.len() == 1 && left[0].frozen, "{left:?}");
                let left = one.shutdown_timeout(Duration::ZERO);
                assert!(left.len() == 1 && left[0].frozen, "{left:?}");
                assert!(owner.join().unwrap_err().is::<Canceled>());
            } else {
                let frozen = one.spawn(stubborn);
                until_waiting(one.handle(), WaitReason::Sleep, 1);
                let opener = thread::spawn(move || {
                    eventually("it is frozen", || frozen.is_finished());
                    // Has the worker look, as if some other of its routines did.
                    drop(here.spawn(|| ()).join());
                    drop(open);
                });
                let left = one.shutdown_timeout(Duration::ZERO);
                assert_eq!(left.iter().filter(|left| left.frozen).count(), 1, "{left:?}");
                owner.join().unwrap();
                opener.join().unwrap();
                other.shutdown();
            }
        };
        end(true);
        end(false);
    });
}

/// Fails if a destructor that is given up keeps its place among those who wait for permits.
#[test]
fn who_is_frozen_holds_no_other_up() {
    in_time(|| {
        let runtime = runtime(1);
        let semaphore = Arc::new(Semaphore::new(3));
        let wants = semaphore.clone();
        runtime.spawn({
            let semaphore = semaphore.clone();
            move || {
                let _permit = semaphore.acquire().unwrap();
                stubborn();
            }
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        runtime.spawn(move || {
            let _acquires = OnDrop(move || drop(wants.acquire_many(3)));
            park();
        });
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert!(left.len() == 2 && left.iter().all(|left| left.frozen), "{left:?}");
        assert_eq!(semaphore.try_acquire_many(2).unwrap().permits(), 2);
    });
}
