//! What a runtime tells of its routines.

mod util;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rust_routines::channel::bounded;
use rust_routines::{Builder, Canceled, Dump, WaitReason, park, sleep};
use util::{FOREVER, MOMENT, bounded as in_time, eventually, runtime, until_waiting};

/// The names and waits of a dump, sorted.
fn told(dump: &Dump) -> Vec<(&str, WaitReason)> {
    let mut told: Vec<_> = dump
        .routines
        .iter()
        .map(|routine| (routine.name.as_deref().unwrap_or_default(), routine.reason))
        .collect();
    told.sort_by_key(|(name, _)| *name);
    told
}

/// Fails if a routine that waits is not told of, twice, or with another wait; whoever asks, and how many do.
#[test]
fn tells_who_waits_for_what() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded::<()>(0);
        let spawn = |name: &str, f: Box<dyn FnOnce() + Send>| {
            Builder::new().name(name.to_owned()).spread().spawn_on(runtime.handle(), f).unwrap()
        };
        let received = receiver.clone();
        let mut routines = vec![
            spawn("parker", Box::new(park)),
            spawn("receiver", Box::new(move || assert!(received.recv().is_err()))),
            spawn("sleeper", Box::new(|| sleep(FOREVER))),
        ];
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, 1);
        until_waiting(runtime.handle(), WaitReason::Park, 1);
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let expected = [
            ("parker", WaitReason::Park),
            ("receiver", WaitReason::ChannelReceive),
            ("sleeper", WaitReason::Sleep),
        ];
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let dump = runtime.handle().dump(FOREVER);
                        assert_eq!(told(&dump), expected);
                        assert!(dump.silent.is_empty());
                        assert!(dump.routines.iter().all(|at| at.spawned_at.file() == file!()));
                        let ids: HashSet<_> = dump.routines.iter().map(|at| at.id).collect();
                        assert!(
                            routines.iter().all(|routine| ids.contains(&routine.routine().id()))
                        );
                    }
                });
            }
        });
        // One that asks waits for the answers itself.
        let handle = runtime.handle().clone();
        let dump = runtime.spawn(move || handle.dump(FOREVER)).join().unwrap();
        assert_eq!(told(&dump)[1..], expected);
        assert_eq!(told(&dump)[0], ("", WaitReason::ChannelReceive));
        assert!(
            dump.to_string().contains("       1  routine 'sleeper', spawned at tests/dump.rs:")
        );

        drop(sender);
        routines.remove(1).join().unwrap();
        routines[0].routine().unpark();
        routines.remove(0).join().unwrap();
        assert_eq!(told(&runtime.handle().dump(FOREVER)), expected[2..]);
        let handle = runtime.handle().clone();
        drop(runtime);
        assert!(routines.remove(0).join().unwrap_err().is::<Canceled>());
        assert!(handle.dump(FOREVER).routines.is_empty(), "there are no workers to wait for");
    });
}

/// Fails if whoever asks as the runtime ends waits for workers that have gone.
#[test]
fn ends_with_the_runtime() {
    in_time(|| {
        for round in 0..50 {
            let runtime = runtime(2);
            let handle = runtime.handle().clone();
            let (begins, begun) = bounded(0);
            let asker = thread::spawn(move || {
                begins.send(()).unwrap();
                (0..20).for_each(|_| drop(handle.dump(Duration::MAX)));
            });
            begun.recv().unwrap();
            thread::sleep(Duration::from_micros(round * 5));
            drop(runtime);
            asker.join().unwrap();
        }
    });
}

/// Fails if a worker that cannot answer keeps the others' answers, or what it runs is not told.
#[test]
fn tells_of_a_worker_that_computes() {
    in_time(|| {
        let runtime = runtime(2);
        let (computes, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (at_it, until) = (computes.clone(), stop.clone());
        let computer = Builder::new().name("computer".to_owned());
        let computer = computer.spawn_on(runtime.handle(), move || {
            at_it.store(true, Ordering::Relaxed);
            while !until.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let computer = computer.unwrap();
        eventually("it computes", || computes.load(Ordering::Relaxed));
        let sleeper = runtime.spawn(|| sleep(Duration::MAX));
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let dump = loop {
            // The other one may be late, too, on a machine that is busy.
            let dump = runtime.handle().dump(MOMENT);
            if dump.silent.len() == 1 && dump.routines.len() == 2 {
                break dump;
            }
        };
        assert_eq!(told(&dump), [("", WaitReason::Sleep), ("computer", WaitReason::None)]);
        assert!(dump.to_string().ends_with(" has not answered\n"), "{dump}");
        stop.store(true, Ordering::Relaxed);
        computer.join().unwrap();
        assert_eq!(told(&runtime.handle().dump(FOREVER)), [("", WaitReason::Sleep)]);
        drop(runtime);
        assert!(sleeper.join().unwrap_err().is::<Canceled>());
    });
}
