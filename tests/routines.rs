//! Routines: spawning, names, joining, detaching, panics, and what is dropped when.

mod util;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::thread;
use std::time::Duration;

use rust_routines::channel::{bounded, unbounded};
use rust_routines::{Builder, Handle, JoinHandle, current, go, sleep, spawn, yield_now};
use util::{Counted, OnDrop, Population, bounded as in_time, eventually, runtime};

/// Fails if a result gets lost or mixed up on its way to a joining thread.
#[test]
fn join_returns_result_to_thread() {
    in_time(|| {
        assert_eq!(spawn(|| 6 * 7).join().unwrap(), 42);
        assert_eq!(spawn(|| "text".to_owned()).join().unwrap(), "text");
    });
}

/// Fails if a result gets lost or mixed up on its way to a joining routine.
#[test]
fn join_returns_result_to_routine() {
    in_time(|| {
        let outer = spawn(|| {
            let inner: Vec<_> = (0..10).map(|i| spawn(move || i * i)).collect();
            inner.into_iter().map(|inner| inner.join().unwrap()).sum::<i32>()
        });
        assert_eq!(outer.join().unwrap(), 285);
    });
}

/// Fails if the join of a routine that sleeps returns early, or that of an ended one waits.
#[test]
fn join_waits_exactly_for_the_end() {
    in_time(|| {
        for in_routine in [true, false] {
            let check = || {
                let (go_on, gate) = bounded::<()>(0);
                let routine = spawn(move || gate.recv().is_ok());
                assert!(!routine.is_finished());
                go_on.send(()).unwrap();
                eventually("the routine ends", || routine.is_finished());
                assert!(routine.join().unwrap());
            };
            if in_routine { spawn(check).join().unwrap() } else { check() }
        }
    });
}

/// Fails if the join handle is bound to the one that spawned.
#[test]
fn anybody_may_join() {
    in_time(|| {
        let (sender, receiver) = bounded::<JoinHandle<u32>>(1);
        let joiner = spawn(move || receiver.recv().unwrap().join().unwrap());
        sender.send(spawn(|| 1)).unwrap();
        assert_eq!(joiner.join().unwrap(), 1);
        let routine = spawn(|| 2);
        assert_eq!(thread::spawn(move || routine.join().unwrap()).join().unwrap(), 2);
    });
}

/// Fails if a routine of one runtime cannot wait for one of another.
#[test]
fn join_across_runtimes() {
    in_time(|| {
        let (one, other) = (runtime(1), runtime(2));
        let handle = other.handle().clone();
        let sum = one.spawn(move || {
            let routines: Vec<_> = (0..100)
                .map(|i| {
                    handle.spawn(move || {
                        yield_now();
                        i
                    })
                })
                .collect();
            routines.into_iter().map(|routine| routine.join().unwrap()).sum::<u32>()
        });
        assert_eq!(sum.join().unwrap(), 4950);
        one.shutdown();
        other.shutdown();
    });
}

/// Fails if a panic does anything else than end its routine and come out of `join`.
#[test]
fn panic_comes_out_of_join() {
    in_time(|| {
        let payload = spawn(|| panic!("on purpose {}", 1)).join().unwrap_err();
        assert_eq!(util::message(&*payload), "on purpose 1");
        let payload = spawn(|| panic_any(vec![1, 2, 3])).join().unwrap_err();
        assert_eq!(*payload.downcast::<Vec<i32>>().unwrap(), [1, 2, 3]);
        // The runtime goes on, and routines see panics of theirs only.
        let outer = spawn(|| spawn(|| panic!("inner, on purpose")).join().is_err());
        assert!(outer.join().unwrap());
        assert!(!spawn(thread::panicking).join().unwrap());
    });
}

/// Fails if a panic in one of many routines disturbs those on the same worker.
#[test]
fn panics_leave_neighbours_alone() {
    in_time(|| {
        let runtime = runtime(2);
        let routines: Vec<_> = (0..200)
            .map(|i| {
                runtime.spawn(move || {
                    yield_now();
                    if i % 3 == 0 {
                        std::panic::resume_unwind(Box::new(i));
                    }
                    yield_now();
                    i
                })
            })
            .collect();
        for (i, routine) in routines.into_iter().enumerate() {
            match routine.join() {
                Ok(result) => assert_eq!(result, i),
                Err(payload) => {
                    assert_eq!(*payload.downcast::<usize>().unwrap(), i);
                    assert_eq!(i % 3, 0);
                }
            }
        }
        eventually("all panics are counted", || runtime.metrics().panicked == 67);
        runtime.shutdown();
    });
}

/// Fails if catching a panic inside a routine, with waits before, meanwhile and after, goes wrong.
#[test]
fn panics_can_be_caught_across_waits() {
    in_time(|| {
        let routine = spawn(|| {
            for round in 0..50 {
                let caught = catch_unwind(|| {
                    yield_now();
                    let _guard = OnDrop(yield_now);
                    std::panic::resume_unwind(Box::new(round));
                });
                assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), round);
                assert!(!thread::panicking());
                sleep(Duration::from_micros(10));
            }
        });
        routine.join().unwrap();
    });
}

/// Fails if a panic message does not say which routine it was and where that came from.
#[test]
fn panic_message_names_routine() {
    in_time(|| {
        if util::is_child() {
            let teller = Builder::new().name("teller".into());
            let named = teller.spawn(|| panic!("the safe is empty")).unwrap();
            println!("id={};", named.routine().id());
            named.join().unwrap_err();
            spawn(|| panic!("nobody knows me")).join().unwrap_err();
            thread::spawn(|| panic!("a thread")).join().unwrap_err();
            return;
        }
        let output = util::child("panic_message_names_routine", &[]);
        let text = util::text(&output);
        assert!(output.status.success(), "{text}");
        let id = text.split("id=").nth(1).unwrap().split(';').next().unwrap();
        let line = text.lines().find(|line| line.contains("'teller'")).expect(&text);
        assert!(line.contains(&format!("(id {id})")), "{line}");
        assert!(line.contains("tests/routines.rs:"), "{line}");
        assert!(text.contains("the safe is empty"), "{text}");
        assert!(text.contains("routine '<unnamed>'"), "{text}");
        let count = text.lines().filter(|line| line.starts_with("routine '")).count();
        assert_eq!(count, 2, "the thread's panic is not a routine's: {text}");
    });
}

/// Fails if a backtrace goes on below what the routine was spawned with, unless it is asked for in full.
#[test]
fn backtraces_end_where_the_routine_begins() {
    in_time(|| {
        if util::is_child() {
            spawn(|| panic!("the safe is empty")).join().unwrap_err();
            return;
        }
        let trace = |kind| {
            let variables = [("RUST_BACKTRACE", kind)];
            let output = util::child("backtraces_end_where_the_routine_begins", &variables);
            util::text(&output)
        };
        let (short, full) = (trace("1"), trace("full"));
        assert!(short.contains("backtraces_end_where_the_routine_begins"), "{short}");
        assert!(!short.contains("corosensei"), "{short}");
        assert!(full.contains("corosensei"), "{full}");
    });
}

/// Fails if the first runtime of a process cannot be made while its maker unwinds (the panic hook
/// cannot be set then).
#[test]
fn first_spawn_while_unwinding() {
    in_time(|| {
        if util::is_child() {
            let caught = catch_unwind(|| {
                let _guard = OnDrop(|| assert_eq!(spawn(|| 5).join().unwrap(), 5));
                panic!("on purpose");
            });
            caught.unwrap_err();
            let named = Builder::new().name("later".into()).spawn(|| panic!("once more")).unwrap();
            named.join().unwrap_err();
            return;
        }
        let output = util::child("first_spawn_while_unwinding", &[]);
        assert!(output.status.success(), "{}", util::text(&output));
    });
}

/// Fails if the names of routines, or of threads asked the same way, are wrong.
#[test]
fn names_and_ids() {
    in_time(|| {
        let routine = Builder::new().name("agnes".into()).spawn(|| {
            assert_eq!(current().name(), Some("agnes"));
            sleep(Duration::from_millis(1));
            assert_eq!(current().name(), Some("agnes"));
            (current().id(), current())
        });
        let routine = routine.unwrap();
        assert_eq!(routine.routine().name(), Some("agnes"));
        let id = routine.routine().id();
        let site = routine.routine().spawned_at().unwrap();
        assert!(site.file().ends_with("routines.rs"), "{site}");
        let (inner, who) = routine.join().unwrap();
        assert_eq!(inner, id);
        // The handle works when the routine has ended.
        assert_eq!((who.id(), who.name()), (id, Some("agnes")));
        assert!(format!("{who:?}").contains("agnes"));
        assert_eq!(spawn(|| current().name().map(str::to_owned)).join().unwrap(), None);

        assert_eq!(current().name(), thread::current().name());
        assert_eq!(current().id(), current().id());
        assert!(current().spawned_at().is_none());
        let other = thread::spawn(|| current().id()).join().unwrap();
        assert_ne!(other, current().id());
    });
}

/// Fails if two routines share an id, whoever spawned them.
#[test]
fn ids_are_unique() {
    in_time(|| {
        let (sender, receiver) = unbounded();
        for _ in 0..20 {
            let from_thread = sender.clone();
            thread::spawn(move || from_thread.send(current().id()).unwrap());
            let sender = sender.clone();
            spawn(move || {
                for _ in 0..100 {
                    let sender = sender.clone();
                    spawn(move || sender.send(current().id()).unwrap());
                }
            });
        }
        drop(sender);
        let mut ids: Vec<_> = receiver.iter().collect();
        assert_eq!(ids.len(), 2020);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2020);
    });
}

/// Fails if `spawn` inside of a routine leaves its runtime.
#[test]
fn spawn_stays_in_runtime() {
    in_time(|| {
        let runtime = runtime(1);
        assert!(Handle::try_current().is_none());
        let nested = runtime.spawn(|| {
            let inner = spawn(|| thread::current().id()).join().unwrap();
            assert!(Handle::try_current().is_some());
            (inner, thread::current().id())
        });
        let (inner, outer) = nested.join().unwrap();
        assert_eq!(inner, outer, "there is one worker only");
        assert_eq!(runtime.metrics().spawned, 2);
        runtime.shutdown();
    });
}

/// Fails if a detached routine is cut short, or its result leaks or is dropped twice.
#[test]
fn detached_routine_goes_on_and_drops_its_result() {
    in_time(|| {
        let results = Population::new();
        let (go_on, gate) = bounded::<()>(0);
        let result = results.member();
        drop(spawn(move || {
            gate.recv().unwrap();
            result
        }));
        assert_eq!(results.alive(), 1);
        go_on.send(()).unwrap();
        eventually("the result is dropped", || results.alive() == 0);
        assert_eq!(results.dropped(), 1);
    });
}

/// Fails if the result of an ended routine is not dropped along with its handle, there and then.
#[test]
fn dropped_handle_drops_result() {
    in_time(|| {
        let results = Population::new();
        let result = results.member();
        let routine = spawn(move || result);
        eventually("the routine ends", || routine.is_finished());
        assert_eq!(results.alive(), 1);
        drop(routine);
        assert_eq!((results.alive(), results.dropped()), (0, 1));
    });
}

/// Fails if the end of a routine and the drop of its handle, at the same time, lose the result or drop it
/// twice.
#[test]
fn detaching_races_with_the_end() {
    in_time(|| {
        let mut random = util::random();
        let results = Population::new();
        for _ in 0..2_000 {
            let result = results.member();
            let routine = spawn(move || result);
            for _ in 0..random.u32(0..200) {
                std::hint::spin_loop();
            }
            match random.u8(0..3) {
                0 => drop(routine),
                1 => drop(routine.join().unwrap()),
                _ => {
                    let _ = routine.is_finished();
                    thread::yield_now();
                    drop(routine);
                }
            }
        }
        eventually("all results are dropped", || results.alive() == 0);
        assert_eq!(results.dropped(), 2_000);
    });
}

/// Fails if what a closure has captured, its result and its panic's payload are not dropped exactly once
/// each, whichever way the routine goes.
#[test]
fn everything_is_dropped_once() {
    in_time(|| {
        let population = Population::new();
        let mut handles = Vec::new();
        for i in 0..300 {
            let (captured, local, result) =
                (population.member(), population.member(), population.member());
            let routine = spawn(move || -> (Counted, u8) {
                let _captured = captured;
                let local = local;
                if i % 2 == 0 {
                    yield_now();
                }
                if i % 3 == 0 {
                    std::panic::resume_unwind(Box::new((local, result)));
                }
                (result, 1)
            });
            match i % 5 {
                0 => drop(routine),
                1 => drop(routine.join()),
                _ => handles.push(routine),
            }
        }
        for handle in handles {
            drop(handle.join());
        }
        eventually("all is dropped", || population.alive() == 0);
        assert_eq!(population.dropped(), 900);
    });
}

/// Fails if a destructor that panics in a result that nobody takes does more than end there.
#[test]
fn panicking_destructor_of_unwanted_result_is_contained() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new(()));
        }
    }
    in_time(|| {
        let runtime = runtime(1);
        drop(runtime.spawn(|| {
            yield_now();
            Grenade
        }));
        let finished = runtime.spawn(|| Grenade);
        eventually("the routine ends", || finished.is_finished());
        drop(finished);
        // A payload of that kind, too.
        drop(runtime.spawn(|| {
            yield_now();
            panic_any(Grenade);
        }));
        assert_eq!(runtime.spawn(|| 3).join().unwrap(), 3);
        runtime.shutdown();
    });
}

/// Fails if a routine that joins itself waits for ever instead of being told.
#[test]
fn joining_oneself_panics() {
    in_time(|| {
        let (sender, receiver) = bounded::<JoinHandle<()>>(1);
        let (report, reports) = bounded(1);
        let me = spawn(move || {
            let me = receiver.recv().unwrap();
            let caught = catch_unwind(AssertUnwindSafe(|| me.join()));
            let payload = caught.unwrap_err();
            report.send(util::message(&*payload).to_owned()).unwrap();
        });
        sender.send(me).unwrap();
        let message = reports.recv().unwrap();
        assert!(message.contains("cannot join itself"), "{message}");
    });
}

/// Fails if closures or results that are large, or have no size, or an uncommon alignment, are torn.
#[test]
fn closures_and_results_of_all_sizes() {
    #[repr(align(128))]
    struct Aligned([u8; 3]);
    in_time(|| {
        let large = [7_u64; 1024];
        let sum = spawn(move || large.iter().sum::<u64>()).join().unwrap();
        assert_eq!(sum, 7 * 1024);
        let large = spawn(|| std::array::from_fn::<usize, 1024, _>(|i| i)).join().unwrap();
        assert!(large.iter().enumerate().all(|(i, value)| i == *value));
        spawn(|| ()).join().unwrap();
        let aligned = Aligned([1, 2, 3]);
        let back = spawn(move || {
            let aligned = aligned;
            assert_eq!((&raw const aligned).addr() % 128, 0);
            aligned
        });
        assert_eq!(back.join().unwrap().0, [1, 2, 3]);
    });
}

/// Fails if a stack of the size one asks for is not that large.
#[test]
fn stack_size_is_honoured() {
    #[inline(never)]
    fn dig(depth: usize) -> usize {
        let page = std::hint::black_box([1_u8; 4096]);
        if depth == 0 { 0 } else { dig(depth - 1) + usize::from(page[depth % 4096]) }
    }
    in_time(|| {
        let deep = Builder::new().stack_size(8 << 20).spawn(|| dig(1000)).unwrap();
        assert_eq!(deep.join().unwrap(), 1000);
        let runtime = util::builder().workers(1).stack_size(8 << 20).build().unwrap();
        assert_eq!(runtime.spawn(|| dig(1000)).join().unwrap(), 1000);
        runtime.shutdown();
        // The default must do for this in a debug build.
        let text = spawn(|| format!("{:#?}", (0..100).map(Some).collect::<Vec<_>>()));
        assert!(text.join().unwrap().contains("99"));
    });
}

/// Fails if a stack size that cannot be is a panic instead of an error.
#[test]
fn impossible_stack_size_is_an_error() {
    in_time(|| {
        for size in [usize::MAX, usize::MAX / 2, 1 << 62] {
            let error = Builder::new().stack_size(size).spawn(|| ()).unwrap_err();
            let kind = error.kind();
            let expected = [std::io::ErrorKind::InvalidInput, std::io::ErrorKind::OutOfMemory];
            assert!(expected.contains(&kind), "{size}: {error}");
        }
        // As small as it may be, or an error: not a crash.
        for size in [0, 1, 4096, 16384] {
            match Builder::new().stack_size(size).spawn(|| ()) {
                Ok(routine) => routine.join().unwrap(),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput),
            }
        }
        spawn(|| ()).join().unwrap();
    });
}

/// Fails if wake-ups of joiners get lost among many.
#[test]
fn many_joins_in_any_order() {
    in_time(|| {
        let mut random = util::random();
        let runtime = runtime(4);
        let mut routines: Vec<_> = (0..10_000)
            .map(|i| {
                let yields = random.u8(0..3);
                runtime.spawn(move || {
                    for _ in 0..yields {
                        yield_now();
                    }
                    i
                })
            })
            .collect();
        random.shuffle(&mut routines);
        let half = routines.split_off(5_000);
        let inside =
            runtime.spawn(|| half.into_iter().map(|routine| routine.join().unwrap()).sum::<u64>());
        let outside: u64 = routines.into_iter().map(|routine| routine.join().unwrap()).sum();
        assert_eq!(outside + inside.join().unwrap(), (0..10_000).sum());
        runtime.shutdown();
    });
}

/// Fails if a chain of routines, each joining the next, loses a wake-up or needs stack for it.
#[test]
fn long_chain_of_joins() {
    fn link(depth: u32) -> u32 {
        if depth == 0 { 0 } else { spawn(move || link(depth - 1)).join().unwrap() + 1 }
    }
    in_time(|| assert_eq!(spawn(|| link(2_000)).join().unwrap(), 2_000));
}

/// Fails if a routine that was started moves to another thread.
#[test]
fn started_routine_stays_on_its_thread() {
    in_time(|| {
        let runtime = runtime(4);
        let routines: Vec<_> = (0..200)
            .map(|_| {
                runtime.spawn(|| {
                    let home = thread::current().id();
                    for _ in 0..50 {
                        yield_now();
                        assert_eq!(thread::current().id(), home);
                    }
                    sleep(Duration::from_millis(1));
                    assert_eq!(thread::current().id(), home);
                    spawn(|| ()).join().unwrap();
                    assert_eq!(thread::current().id(), home);
                })
            })
            .collect();
        routines.into_iter().for_each(|routine| routine.join().unwrap());
        runtime.shutdown();
    });
}

/// Fails if `spread` does not go round the workers.
#[test]
fn spread_uses_all_workers() {
    in_time(|| {
        let runtime = runtime(3);
        let handle = runtime.handle().clone();
        let threads = move || {
            let (go_on, gate) = bounded::<()>(0);
            let routines: Vec<_> = (0..30)
                .map(|_| {
                    let gate = gate.clone();
                    let routine = move || {
                        let _ = gate.recv();
                        thread::current().id()
                    };
                    Builder::new().spread().spawn_on(&handle, routine).unwrap()
                })
                .collect();
            drop(go_on);
            routines
                .into_iter()
                .map(|routine| routine.join().unwrap())
                .collect::<HashSet<_>>()
                .len()
        };
        // Unstarted ones are still stolen from a worker that gets no processor.
        let several = runtime.spawn(move || (0..100).any(|_| threads() >= 2));
        assert!(several.join().unwrap());
        runtime.shutdown();
    });
}

/// Fails if `go!` takes its code otherwise than documented.
#[test]
fn go_takes_calls_blocks_and_closures() {
    fn double(n: u32) -> u32 {
        2 * n
    }
    in_time(|| {
        let n = 4;
        assert_eq!(go!(double(n)).join().unwrap(), 8);
        assert_eq!(go!(|| 3).join().unwrap(), 3);
        assert_eq!(go!(move || n + 1).join().unwrap(), 5);
        let closure = move || n;
        assert_eq!(go!(closure).join().unwrap(), 4);
        let text = String::from("moved");
        let block = go! {
            let length = text.len();
            length + 1
        };
        assert_eq!(block.join().unwrap(), 6);
    });
}

/// Fails if `go!` leaves a closure or a function uncalled since it does not know it for one.
#[test]
fn go_calls_closures_that_say_what_they_return_and_functions_of_modules() {
    mod work {
        use std::sync::atomic::{AtomicUsize, Ordering};

        static DONE: AtomicUsize = AtomicUsize::new(0);

        pub(super) fn one() {
            DONE.fetch_add(1, Ordering::Relaxed);
        }

        pub(super) fn done() -> usize {
            DONE.load(Ordering::Relaxed)
        }
    }
    in_time(|| {
        let routine = go!(move || -> Result<(), String> {
            work::one();
            Ok(())
        });
        routine.join().unwrap().unwrap();
        assert_eq!(work::done(), 1);
        go!(work::one).join().unwrap();
        assert_eq!(work::done(), 2);
    });
}

/// Fails if a handle cannot be sent and shared, as std's can.
#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<JoinHandle<u8>>();
    check::<JoinHandle<std::cell::Cell<u8>>>();
    check::<rust_routines::Routine>();
    check::<Handle>();
    check::<rust_routines::Runtime>();
}
