//! Whose turn it is: routines that yield, and those that are woken, share their worker. Calls that may wait, but need not,
//! let the others run now and then: nobody interrupts a loop of them. Calls that may not wait do not.

mod util;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rust_routines::channel::{
    self, Receiver, Select, Sender, bounded, never, select, tick, unbounded,
};
use rust_routines::sync::CancellationToken;
use rust_routines::{park, sleep, spawn, time, yield_now};
use util::{MOMENT, Neighbour, bounded as in_time, eventually, runtime};

/// How often a call of `round` is enough for the end of a turn. The most that is counted is 128 operations of a channel.
const ROUNDS: usize = 1000;

/// Fails if no neighbour on the same worker gets a turn while `round` is called again and again.
#[track_caller]
fn gives_way(what: &str, round: impl FnMut() + Send + 'static) {
    assert_ne!(turns_of_a_neighbour(round), 0, "{what}");
}

/// Fails if one does.
#[track_caller]
fn goes_on(what: &str, round: impl FnMut() + Send + 'static) {
    assert_eq!(turns_of_a_neighbour(round), 0, "{what}");
}

/// How many turns a neighbour on the same worker has while `round` is called again and again.
fn turns_of_a_neighbour(mut round: impl FnMut() + Send + 'static) -> usize {
    loop {
        let runtime = runtime(1);
        let routine = runtime.spawn(move || (turns_beside(&mut round), round));
        let turns;
        (turns, round) = routine.join().unwrap();
        runtime.shutdown();
        if let Some(turns) = turns {
            return turns;
        }
    }
}

/// How many turns a neighbour has. `None` if it is on another worker: on a busy machine a spare one may have started it.
fn turns_beside(round: &mut impl FnMut()) -> Option<usize> {
    let neighbour = Neighbour::start();
    let before = neighbour.turns();
    (0..ROUNDS).for_each(|_| round());
    let during = neighbour.turns() - before;
    neighbour.end().then_some(during)
}

/// A receiver that will not be found empty.
fn full() -> Receiver<()> {
    let (sender, receiver) = unbounded();
    // Messages without a size take no memory. Enough for some repetitions.
    (0..500 * ROUNDS).for_each(|_| sender.send(()).unwrap());
    receiver
}

/// Fails if the turns of a channel are counted so that they always end at calls that do not give way.
#[test]
fn batches_of_messages() {
    in_time(|| {
        let receiver = full();
        gives_way("receive one and look for another", move || {
            receiver.recv().unwrap();
            receiver.try_recv().unwrap();
        });
        let receiver = full();
        gives_way("receive a batch", move || {
            receiver.recv().unwrap();
            assert_eq!(receiver.try_iter().take(31).count(), 31);
        });
        let (sender, _receiver) = bounded(100 * ROUNDS);
        gives_way("send two", move || {
            sender.send(()).unwrap();
            sender.try_send(()).unwrap();
        });
    });
}

/// Fails if who does not heed that the other side has gone keeps the worker.
#[test]
fn channels_whose_other_side_has_gone() {
    in_time(|| {
        let (sender, receiver) = bounded::<()>(1);
        drop(receiver);
        let (to_nobody, other) = (sender.clone(), never::<()>());
        gives_way("send", move || assert!(sender.send(()).is_err()));
        gives_way("select a send", move || {
            select! {
                send(to_nobody, ()) -> sent => assert!(sent.is_err()),
                recv(other) -> _ => unreachable!(),
            }
        });
        let (sender, receiver) = unbounded::<()>();
        drop(sender);
        let (from_nobody, other) = (receiver.clone(), never::<()>());
        gives_way("receive", move || assert!(receiver.recv().is_err()));
        gives_way("select a receive", move || {
            select! {
                recv(from_nobody) -> received => assert!(received.is_err()),
                recv(other) -> _ => unreachable!(),
            }
        });
        let token = CancellationToken::new();
        token.cancel();
        let other = never::<()>();
        gives_way("select a cancellation", move || {
            select! {
                recv(token.cancelled()) -> cancelled => assert!(cancelled.is_err()),
                recv(other) -> _ => unreachable!(),
            }
        });
    });
}

/// Fails if who is late for each tick keeps the worker.
#[test]
fn ticks_that_are_late() {
    in_time(|| {
        let ticks = tick(Duration::ZERO);
        let (again, other) = (ticks.clone(), never::<()>());
        gives_way("receive", move || {
            ticks.recv().unwrap();
        });
        gives_way("select", move || {
            select! {
                recv(again) -> _ => (),
                recv(other) -> _ => unreachable!(),
            }
        });
    });
}

/// Fails if the wait for readiness counts for nothing, as what is done then does.
#[test]
fn readiness() {
    in_time(|| {
        // As many as a worker may do between two looks at its clock, which are more than turns of a channel.
        let receiver = full();
        gives_way("ready", move || {
            for _ in 0..64 {
                let mut select = Select::new();
                select.recv(&receiver);
                select.ready();
                receiver.try_recv().unwrap();
            }
        });
    });
}

/// Fails if who may not wait is suspended all the same, for instance with a lock of std's that the neighbours want.
#[test]
fn calls_that_may_not_wait() {
    in_time(|| {
        let receiver = full();
        goes_on("look for a message", move || receiver.try_recv().unwrap());
        let (receiver, other) = (full(), never::<()>());
        goes_on("select a message, if there is one", move || {
            select! {
                recv(receiver) -> received => received.unwrap(),
                recv(other) -> _ => unreachable!(),
                default => unreachable!(),
            }
        });
        let (sender, _receiver) = unbounded();
        goes_on("send where there is always room", move || sender.send(()).unwrap());
        let ((sender, _receiver), other) = (unbounded(), never::<()>());
        goes_on("select a send where there is always room", move || {
            select! {
                send(sender, ()) -> sent => sent.unwrap(),
                recv(other) -> _ => unreachable!(),
            }
        });
        let ((sender, _receiver), other) = (bounded(100 * ROUNDS), never::<()>());
        goes_on("select a send, if there is room", move || {
            select! {
                send(sender, ()) -> sent => sent.unwrap(),
                recv(other) -> _ => unreachable!(),
                default => unreachable!(),
            }
        });
        let (gone, other) = (unbounded::<()>().1, never::<()>());
        goes_on("select an end, if there is one", move || {
            select! {
                recv(gone) -> received => assert!(received.is_err()),
                recv(other) -> _ => unreachable!(),
                default => unreachable!(),
            }
        });
    });
}

/// Fails if a send where there is always room, whose limit has passed, waits for a neighbour's destructor to find out
/// whether it unwinds itself: with a lock of std's that others of its worker want.
#[test]
fn sends_under_a_lock_of_std_wait_for_no_destructor() {
    struct Waits(Sender<()>, Receiver<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            self.1.recv().unwrap();
        }
    }
    in_time(|| {
        let runtime = runtime(1);
        let (tell, told) = unbounded();
        let (release, released) = unbounded();
        let unwinds = runtime.spawn(|| {
            let _waits = Waits(tell, released);
            resume_unwind(Box::new(()));
        });
        told.recv().unwrap();
        let lock = Arc::new(Mutex::new(()));
        let (sender, receiver) = unbounded();
        let other = lock.clone();
        let wants = runtime.spawn(move || receiver.into_iter().for_each(|()| drop(other.lock())));
        let holds = runtime.spawn(move || {
            let begun = Instant::now();
            let past_the_limit = || {
                let guard = lock.lock();
                while begun.elapsed() <= 2 * MOMENT {
                    sender.send(()).unwrap();
                }
                (0..ROUNDS).for_each(|_| sender.send(()).unwrap());
                drop(guard);
                release.send(()).unwrap();
                loop {
                    yield_now();
                }
            };
            assert!(time::timeout(MOMENT, past_the_limit).is_err());
        });
        holds.join().unwrap();
        wants.join().unwrap();
        unwinds.join().unwrap_err();
    });
}

/// Fails if a limit, or the shutdown of the runtime, does not end a loop over ticks that are late.
#[test]
fn loops_over_late_ticks_can_be_ended() {
    util::both_worlds(|| {
        let ticks = tick(Duration::ZERO);
        assert!(time::timeout(MOMENT, || ticks.iter().for_each(drop)).is_err());
        let lateness = || channel::after(Duration::ZERO).recv();
        assert!(
            time::timeout::<()>(MOMENT, || loop {
                lateness().unwrap();
            })
            .is_err()
        );
    });
    in_time(|| {
        let runtime = runtime(1);
        let (started, has_started) = unbounded();
        runtime.spawn(move || {
            started.send(()).unwrap();
            tick(Duration::ZERO).iter().for_each(drop);
        });
        has_started.recv().unwrap();
        assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 1);
    });
}

/// Fails if routines that yield do not take turns, or starve what comes from outside.
#[test]
fn yielding_lets_everybody_run() {
    in_time(|| {
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        let turns: Arc<[AtomicUsize; 3]> = Arc::default();
        for i in 0..3 {
            let (stop, turns) = (stop.clone(), turns.clone());
            runtime.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    yield_now();
                    turns[i].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // From outside, from inside, by timer and by a wake-up from a thread.
        runtime.spawn(|| spawn(|| sleep(Duration::from_millis(1))).join().unwrap()).join().unwrap();
        let parked = runtime.spawn(park);
        parked.routine().unpark();
        parked.join().unwrap();
        let count = || [0, 1, 2].map(|i| turns[i].load(Ordering::Relaxed));
        let before = count();
        eventually("one has had many turns", || count()[0] > before[0] + 10_000);
        let after = count();
        for i in 1..3 {
            assert!(after[i] > before[i] + 5_000, "{before:?} {after:?}");
        }
        stop.store(true, Ordering::Relaxed);
        runtime.shutdown();
    });
}

/// What a routine of a runtime with one worker answers. Again, if the machine stood still meanwhile and the monitor
/// therefore had a second worker start some.
fn on_one_worker<T: Send + 'static>(routine: fn() -> T) -> T {
    loop {
        let runtime = runtime(1);
        let answer = runtime.spawn(routine).join().unwrap();
        let stuck = runtime.metrics().stuck;
        runtime.shutdown_timeout(Duration::ZERO);
        if stuck == 0 {
            return answer;
        }
    }
}

/// Fails if a routine that has been woken waits for all that merely yield.
#[test]
fn the_woken_go_before_those_that_yield() {
    in_time(|| {
        let turns = on_one_worker(|| {
            const CROWD: usize = 1_000;
            let turns = Arc::new(AtomicUsize::new(0));
            let stop = Arc::new(AtomicBool::new(false));
            let (sender, receiver) = bounded::<usize>(0);
            let woken = {
                let turns = turns.clone();
                spawn(move || receiver.recv().map(|sent| turns.load(Ordering::Relaxed) - sent))
            };
            let (start, started) = bounded::<()>(0);
            let (arrive, arrivals) = unbounded();
            let crowd: Vec<_> = (0..CROWD)
                .map(|_| {
                    let (turns, stop) = (turns.clone(), stop.clone());
                    let (started, arrive) = (started.clone(), arrive.clone());
                    spawn(move || {
                        arrive.send(()).unwrap();
                        assert!(started.recv().is_err());
                        while !stop.load(Ordering::Relaxed) {
                            turns.fetch_add(1, Ordering::Relaxed);
                            yield_now();
                        }
                    })
                })
                .collect();
            assert_eq!(arrivals.iter().take(CROWD).count(), CROWD);
            drop(start);
            // Then all of them yield.
            while turns.load(Ordering::Relaxed) < 2 * CROWD {
                yield_now();
            }
            sender.send(turns.load(Ordering::Relaxed)).unwrap();
            let turns = woken.join().unwrap().unwrap();
            stop.store(true, Ordering::Relaxed);
            crowd.into_iter().for_each(|routine| routine.join().unwrap());
            turns
        });
        assert!(turns < 10, "{turns} turns of others");
    });
}

/// Fails if a routine that yields goes on before one that was ready then.
#[test]
fn yielding_lets_all_run_that_are_ready() {
    in_time(|| {
        let ran = on_one_worker(|| {
            let ran = Arc::new(AtomicUsize::new(0));
            let senders: Vec<_> = (0..100)
                .map(|_| {
                    let (ran, (sender, receiver)) = (ran.clone(), unbounded());
                    spawn(move || {
                        for () in receiver {
                            ran.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    sender
                })
                .collect();
            let wake_all = || senders.iter().for_each(|sender| sender.send(()).unwrap());
            wake_all();
            // All have started then.
            while ran.load(Ordering::Relaxed) < 100 {
                yield_now();
            }
            let round = |_| {
                wake_all();
                yield_now();
                ran.load(Ordering::Relaxed)
            };
            (0..20).map(round).collect::<Vec<_>>()
        });
        assert!(ran.iter().copied().eq((200..=2_100).step_by(100)), "{ran:?}");
    });
}

/// Fails if routines that wake each other for ever keep one that yields from its turns.
#[test]
fn those_that_yield_get_their_share() {
    in_time(|| {
        let passed = on_one_worker(|| {
            let passed = Arc::new(AtomicUsize::new(0));
            // Messages go round, and several at a time: somebody is ready always.
            let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| bounded(8)).unzip();
            receivers.rotate_left(1);
            for sender in &senders[..2] {
                sender.send(()).unwrap();
            }
            for (sender, receiver) in std::iter::zip(senders, receivers) {
                let passed = passed.clone();
                spawn(move || {
                    for () in receiver {
                        passed.fetch_add(1, Ordering::Relaxed);
                        if sender.send(()).is_err() {
                            break;
                        }
                    }
                });
            }
            (0..100).for_each(|_| yield_now());
            let before = passed.load(Ordering::Relaxed);
            (0..1_000).for_each(|_| yield_now());
            passed.load(Ordering::Relaxed) - before
        });
        assert!((1_000..100_000).contains(&passed), "{passed} messages in 1,000 turns");
    });
}
