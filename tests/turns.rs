//! Calls that may wait, but need not, let the other routines of their worker run now and then: nobody interrupts a loop
//! of them. Calls that may not wait do not.

mod util;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rust_routines::channel::{
    self, Receiver, Select, Sender, bounded, never, select, tick, unbounded,
};
use rust_routines::sync::CancellationToken;
use rust_routines::{sleep, time, yield_now};
use util::{MOMENT, Neighbour, bounded as in_time, runtime};

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
    struct Slow(Sender<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            sleep(10 * MOMENT);
        }
    }
    in_time(|| {
        let runtime = runtime(1);
        let (tell, told) = unbounded();
        let unwinds = runtime.spawn(|| {
            let _slow = Slow(tell);
            resume_unwind(Box::new(()));
        });
        told.recv().unwrap();
        let lock = Arc::new(Mutex::new(()));
        let (sender, receiver) = unbounded();
        let other = lock.clone();
        let wants = runtime.spawn(move || receiver.into_iter().for_each(|()| drop(other.lock())));
        let holds = runtime.spawn(move || {
            let rounds = || loop {
                let guard = lock.lock();
                (0..ROUNDS).for_each(|_| sender.send(()).unwrap());
                drop(guard);
                yield_now();
            };
            assert!(time::timeout(MOMENT, rounds).is_err());
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
