//! Runtimes: building them, and what they count.

mod util;

use std::collections::HashSet;
use std::env;
use std::hint::black_box;
use std::io::ErrorKind;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rust_routines::channel::bounded;
use rust_routines::driver::{TimerDriver, TimerId, TimerKey};
use rust_routines::process::Command;
use rust_routines::{
    Builder, Handle, JoinHandle, Runtime, WaitReason, blocking, park, park_timeout, sleep, spawn,
    yield_now,
};
use util::{FOREVER, bounded as in_time, eventually, runtime, until_waiting};

/// Fails if a number that makes no sense is anything else than an error.
#[test]
fn invalid_numbers_are_errors() {
    in_time(|| {
        let name = util::unique_name();
        let named = || util::builder().name(name.clone());
        let invalid = [
            named().workers(0),
            named().workers(65_536),
            named().workers(usize::MAX),
            named().workers(1).pool_threads(0),
            named().workers(1).stack_size(0),
            named().workers(1).stack_size(1),
            named().workers(1).stack_size(usize::MAX),
            named().workers(1).name("zero\0byte"),
        ];
        for builder in invalid {
            let text = format!("{builder:?}");
            let error = builder.build().expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error}");
        }
        util::until_no_threads(&name);
    });
}

/// Fails if drivers cannot be chosen by name, or an unknown name does not tell which there are.
#[test]
fn drivers_by_name() {
    in_time(|| {
        for io in rust_routines::drivers::io_names() {
            for timer in rust_routines::drivers::timer_names() {
                let builder = Runtime::builder().io_named(io).unwrap().timer_named(timer).unwrap();
                let runtime = builder.workers(1).build().unwrap();
                let metrics = runtime.metrics();
                assert_eq!((metrics.io_driver, metrics.timer_driver), (io, timer));
                runtime.spawn(|| sleep(Duration::from_millis(1))).join().unwrap();
                let handle = runtime.handle().clone();
                runtime.shutdown();
                assert_eq!(handle.metrics().timer_driver, timer);
            }
        }
        for name in ["", "Mio", "mio ", "epoll", "hashed"] {
            let error = Runtime::builder().io_named(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let first = rust_routines::drivers::io_names().next().unwrap();
            assert!(error.to_string().contains(first), "{error}");
        }
        let error = Runtime::builder().timer_named("sundial").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("sundial"), "{error}");
    });
}

#[inline(never)]
fn use_much_stack() {
    black_box([1_u8; 2 << 20]);
}

/// Fails if the global runtime does not heed the environment, or nonsense there is not an error that one
/// can read.
#[test]
fn environment_configures_global_runtime() {
    in_time(|| {
        if util::is_child() {
            let enter = || {
                // More than anybody has by default.
                if env::var("RUST_ROUTINES_STACK_SIZE").is_ok_and(|size| size == "8000000") {
                    use_much_stack();
                }
                rust_routines::Handle::try_current()
            };
            match Builder::new().spawn(enter) {
                Ok(routine) => {
                    let metrics = routine.join().unwrap().unwrap().metrics();
                    let (io, timer) = (metrics.io_driver, metrics.timer_driver);
                    println!("made={},{io},{timer};", metrics.workers);
                }
                Err(error) => {
                    println!("refused={:?},{error};", error.kind());
                    // The next attempt says so again, and the panicking functions say it, too.
                    let payload = catch_unwind(|| spawn(|| ())).unwrap_err();
                    println!("spawn={};", util::message(&*payload));
                    let payload = catch_unwind(|| rust_routines::scope(|_| ())).unwrap_err();
                    println!("scope={};", util::message(&*payload));
                }
            }
            return;
        }
        let run = |variables: &[(&str, &str)]| {
            let test = "environment_configures_global_runtime";
            let mut all = vec![
                ("RUST_ROUTINES_WORKERS", ""),
                ("RUST_ROUTINES_STACK_SIZE", ""),
                ("RUST_ROUTINES_IO", ""),
                ("RUST_ROUTINES_TIMER", ""),
            ];
            all.extend(variables);
            let output = util::child(test, &all);
            let text = util::text(&output);
            assert!(output.status.success(), "{text}");
            text
        };
        let cpus = thread::available_parallelism().unwrap().get().to_string();
        let default_io = rust_routines::drivers::io_names().next().unwrap();
        let default_timer = rust_routines::drivers::timer_names().next().unwrap();
        let text = run(&[]);
        assert!(text.contains(&format!("made={cpus},{default_io},{default_timer};")), "{text}");
        let (io, timer) =
            (rust_routines::drivers::io_names(), rust_routines::drivers::timer_names());
        let (io, timer) = (io.last().unwrap(), timer.last().unwrap());
        let text = run(&[
            ("RUST_ROUTINES_WORKERS", "3"),
            ("RUST_ROUTINES_STACK_SIZE", "8000000"),
            ("RUST_ROUTINES_IO", io),
            ("RUST_ROUTINES_TIMER", timer),
        ]);
        assert!(text.contains(&format!("made=3,{io},{timer};")), "{text}");
        for (name, value) in [
            ("RUST_ROUTINES_WORKERS", "0"),
            ("RUST_ROUTINES_WORKERS", "-1"),
            ("RUST_ROUTINES_WORKERS", "many"),
            ("RUST_ROUTINES_WORKERS", " 2"),
            ("RUST_ROUTINES_WORKERS", "99999999999999999999999"),
            ("RUST_ROUTINES_STACK_SIZE", "1"),
            ("RUST_ROUTINES_STACK_SIZE", "1M"),
            ("RUST_ROUTINES_IO", "carrier pigeon"),
            ("RUST_ROUTINES_TIMER", "sundial"),
        ] {
            let text = run(&[(name, value)]);
            assert!(text.contains("refused=InvalidInput"), "{name}={value:?}: {text}");
            // Numbers that a builder would not take, either, are not told from what one was given.
            let is_builders = ["0", "1"].contains(&value);
            assert!(
                is_builders || text.contains(&format!("refused=InvalidInput,{name}")),
                "{text}"
            );
            assert!(text.contains("spawn=failed to make the global runtime: "), "{text}");
            assert!(text.contains("scope=failed to make the global runtime: "), "{text}");
        }
    });
}

/// The processors that the calling thread may use.
#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    // SAFETY: the set is plain data, of the size that is stated; zero is the calling thread.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        assert_eq!(libc::sched_getaffinity(0, size, &mut allowed), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &allowed)).collect()
    }
}

/// Fails if the number of workers is that of the machine's cores instead of those that the process may use.
#[test]
#[cfg(target_os = "linux")]
fn workers_respect_affinity() {
    in_time(|| {
        let test = "workers_respect_affinity";
        if util::is_child() {
            // SAFETY: a zeroed set is an empty one, and the calls only read and write it.
            unsafe {
                let mut one: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(allowed()[0], &mut one);
                assert_eq!(libc::sched_setaffinity(0, size_of_val(&one), &one), 0);
            }
            let runtime = rust_routines::Runtime::builder().build().unwrap();
            println!("workers={};", runtime.metrics().workers);
            return;
        }
        let output = util::child(test, &[]);
        let text = util::text(&output);
        assert!(output.status.success() && text.contains("workers=1;"), "{text}");
    });
}

/// Fails if bound workers share a processor without need, or if what the runtime starts is bound, too.
#[test]
#[cfg(target_os = "linux")]
fn bound_workers_bind_nobody_else() {
    in_time(|| {
        let all = allowed();
        let runtime = util::builder().workers(2).bind_workers(true).build().unwrap();
        let mut workers = HashSet::new();
        eventually("both workers have started one", || {
            let spread = Builder::new().spread().spawn_on(runtime.handle(), allowed).unwrap();
            workers.insert(spread.join().unwrap());
            assert!(workers.iter().all(|processors| processors.len() == 1), "{workers:?}");
            workers.len() == all.len().min(2)
        });
        let others = runtime.spawn(|| {
            let unbound = util::runtime(1).spawn(allowed).join().unwrap();
            let child = Command::new("nproc").output().unwrap();
            (blocking(allowed), unbound, String::from_utf8(child.stdout).unwrap())
        });
        assert_eq!(others.join().unwrap(), (all.clone(), all.clone(), format!("{}\n", all.len())));
    });
}

/// Fails if the runtime miscounts.
#[test]
fn metrics_are_exact_where_they_can_be() {
    in_time(|| {
        let runtime = runtime(2);
        assert_eq!(runtime.metrics().workers, 2);
        let (sender, receiver) = bounded::<u8>(0);
        let parked: Vec<_> = (0..10)
            .map(|_| {
                let receiver = receiver.clone();
                runtime.spawn(move || receiver.recv().is_err())
            })
            .collect();
        let sleepers: Vec<_> = (0..5).map(|_| runtime.spawn(|| park_timeout(FOREVER))).collect();
        let joiner = runtime.spawn(move || {
            parked.into_iter().for_each(|routine| assert!(routine.join().unwrap()));
        });
        let panics: Vec<_> =
            (0..7).map(|_| runtime.spawn(|| std::panic::resume_unwind(Box::new(())))).collect();
        panics.into_iter().for_each(|routine: JoinHandle<()>| drop(routine.join()));
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, 10);
        until_waiting(runtime.handle(), WaitReason::Park, 5);
        until_waiting(runtime.handle(), WaitReason::Join, 1);
        eventually("the routines that panicked are counted", || runtime.metrics().finished == 7);
        let metrics = runtime.metrics();
        assert_eq!(
            (metrics.spawned, metrics.finished, metrics.panicked, metrics.canceled, metrics.live),
            (23, 7, 7, 0, 16),
            "{metrics:?}"
        );
        assert_eq!((metrics.parked, metrics.parked_by_reason.len()), (16, 3), "{metrics:?}");
        assert_eq!((metrics.parks, metrics.timers_armed, metrics.timers_fired), (16, 5, 0));
        eventually("both workers sleep", || runtime.metrics().workers_sleeping == 2);
        assert_eq!(runtime.metrics().ready, 0);

        drop((sender, receiver));
        joiner.join().unwrap();
        sleepers.iter().for_each(|sleeper| sleeper.routine().unpark());
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        let handle = runtime.handle().clone();
        runtime.shutdown();
        let metrics = handle.metrics();
        assert_eq!(
            (metrics.spawned, metrics.finished, metrics.panicked, metrics.canceled, metrics.live),
            (23, 23, 7, 0, 0)
        );
        assert_eq!((metrics.parked, metrics.stacks_in_use, metrics.stacks_cached), (0, 0, 0));
        assert_eq!(metrics.ready, 0);
        // A joiner may find several of those it joins ended.
        assert!((16..=25).contains(&metrics.parks), "{metrics:?}");
    });
}

/// Fails if routines are not counted as ready while, and only while, they wait for their turn.
#[test]
fn metrics_count_the_ready() {
    let turns = || {
        let metrics = || Handle::try_current().unwrap().metrics();
        let stop = Arc::new(AtomicBool::new(false));
        let others = [(); 3].map(|()| {
            let stop = stop.clone();
            spawn(move || {
                park();
                while !stop.load(Ordering::Relaxed) {
                    yield_now();
                }
            })
        });
        while metrics().parked < 3 {
            yield_now();
        }
        let parked = metrics().ready;
        others.iter().for_each(|other| other.routine().unpark());
        let woken = metrics().ready;
        let yielding = [(); 5].map(|()| {
            yield_now();
            metrics().ready
        });
        stop.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
        let ended = metrics().ready;
        // Else a spare worker has started some.
        let undisturbed = metrics().stuck == 0;
        let ready = (parked, woken, yielding, ended);
        assert!(!undisturbed || ready == (0, 3, [3; 5], 0), "{ready:?}");
        undisturbed
    };
    in_time(|| assert!((0..100).any(|_| runtime(1).spawn(turns).join().unwrap())));
}

/// Fails if routines that shutdown ends are not counted as such.
#[test]
fn metrics_count_the_canceled() {
    in_time(|| {
        let runtime = runtime(2);
        for _ in 0..10 {
            runtime.spawn(park);
        }
        until_waiting(runtime.handle(), WaitReason::Park, 10);
        let handle = runtime.handle().clone();
        runtime.shutdown_timeout(Duration::ZERO);
        let metrics = handle.metrics();
        assert_eq!((metrics.canceled, metrics.panicked, metrics.finished), (10, 0, 10));
        assert_eq!((metrics.live, metrics.ready), (0, 0));
        Builder::new().spawn_on(&handle, || ()).unwrap_err();
        let metrics = handle.metrics();
        assert_eq!((metrics.spawned, metrics.live), (10, 0), "a refused spawn is none");
    });
}

/// Fails if the threads of a runtime do not carry its name.
#[test]
fn threads_carry_the_name() {
    in_time(|| {
        let name = util::unique_name();
        let runtime = util::builder().name(name.clone()).workers(3).build().unwrap();
        runtime.spawn(|| blocking(|| ())).join().unwrap();
        for suffix in ["-0", "-1", "-2", "-monitor"] {
            // A thread gives itself its name.
            let whole = format!("{name}{suffix}");
            eventually(&whole, || util::threads_named(&name).contains(&whole));
        }
        let inside = runtime.spawn(|| thread::current().name().map(str::to_owned)).join().unwrap();
        assert!(inside.unwrap().starts_with(&name));
        runtime.shutdown();
        util::until_no_threads(&name);
    });
}

/// Fails if several runtimes at once share more than they should.
#[test]
fn several_runtimes_at_once() {
    in_time(|| {
        let runtimes: Vec<_> = (1..=4).map(runtime).collect();
        for (i, runtime) in runtimes.iter().enumerate() {
            for _ in 0..=i {
                runtime.spawn(|| spawn(|| ()).join().unwrap()).join().unwrap();
            }
        }
        for (i, runtime) in runtimes.into_iter().enumerate() {
            let handle = runtime.handle().clone();
            runtime.shutdown();
            assert_eq!(handle.metrics().finished, 2 * (i as u64 + 1));
        }
    });
}

/// A timer that is never asked for anything.
#[derive(Debug)]
struct Rude;

impl TimerDriver for Rude {
    fn name(&self) -> &'static str {
        "rude"
    }

    fn insert(&mut self, _deadline: u64, _key: TimerKey) -> TimerId {
        unreachable!("nobody sleeps")
    }

    fn cancel(&mut self, _id: TimerId) -> Option<TimerKey> {
        None
    }

    fn next_deadline(&self) -> Option<u64> {
        None
    }

    fn advance(&mut self, _now: u64, _expired: &mut Vec<TimerKey>) {}

    fn len(&self) -> usize {
        0
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        resume_unwind(Box::new("rude"));
    }
}

/// Fails if a driver that panics as it is dropped keeps the shutdown.
#[test]
fn driver_that_cannot_be_dropped_keeps_nobody() {
    in_time(|| {
        let runtime = util::builder().workers(2).timer(|| Rude).build().unwrap();
        assert_eq!(runtime.spawn(|| 7).join().unwrap(), 7);
        runtime.shutdown();
    });
}
