//! Channels between routines and threads: errors, order, fairness, and that no message is lost.

mod util;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, bounded, unbounded,
};
use rust_routines::{Builder, Handle, Runtime, WaitReason, sleep, spawn, yield_now};
use util::{
    Counted, FOREVER, MOMENT, Neighbour, Population, both_worlds, bounded as in_time, eventually,
    message, runtime, until_waiting,
};

/// Fails if an operation that cannot go on says something else than crossbeam-channel's would.
#[test]
fn errors_tell_what_is_the_matter() {
    both_worlds(|| {
        for capacity in [0, 1, 4] {
            let (sender, receiver) = bounded(capacity);
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(receiver.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
            let deadline = Instant::now() + MOMENT;
            assert_eq!(receiver.recv_deadline(deadline), Err(RecvTimeoutError::Timeout));
            assert!(Instant::now() >= deadline);
            for i in 0..capacity {
                sender.try_send(i).unwrap();
            }
            assert_eq!(sender.try_send(7), Err(TrySendError::Full(7)));
            assert_eq!(sender.send_timeout(7, MOMENT), Err(SendTimeoutError::Timeout(7)));
            let deadline = Instant::now() + MOMENT;
            assert_eq!(sender.send_deadline(7, deadline), Err(SendTimeoutError::Timeout(7)));
            assert!(Instant::now() >= deadline);
            drop(receiver);
            assert_eq!(sender.send(7), Err(SendError(7)));
            assert_eq!(sender.try_send(7), Err(TrySendError::Disconnected(7)));
            assert_eq!(sender.send_timeout(7, FOREVER), Err(SendTimeoutError::Disconnected(7)));
        }
        let (sender, receiver) = unbounded();
        for i in 0..100 {
            sender.send(i).unwrap();
        }
        drop(sender);
        // What is in the channel is received before the end is told.
        assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.recv_timeout(FOREVER), Err(RecvTimeoutError::Disconnected));
        assert_eq!(receiver.recv_deadline(Instant::now()), Err(RecvTimeoutError::Disconnected));
    });
}

/// Fails if the state that a channel shows is not the state it is in.
#[test]
fn length_and_capacity() {
    both_worlds(|| {
        let (sender, receiver) = bounded(2);
        assert_eq!((sender.capacity(), receiver.capacity()), (Some(2), Some(2)));
        for length in 0..=2 {
            assert_eq!((sender.len(), receiver.len()), (length, length));
            assert_eq!((sender.is_empty(), receiver.is_empty()), (length == 0, length == 0));
            assert_eq!((sender.is_full(), receiver.is_full()), (length == 2, length == 2));
            let _ = sender.try_send(length);
        }
        let (sender, receiver) = bounded::<u8>(0);
        assert!(sender.is_full() && sender.is_empty() && receiver.is_full() && receiver.is_empty());
        let (sender, receiver) = unbounded::<u8>();
        sender.send(1).unwrap();
        assert_eq!((sender.capacity(), receiver.capacity(), receiver.len()), (None, None, 1));
        assert!(!sender.is_full() && !receiver.is_empty());

        let (other_sender, other_receiver) = unbounded::<u8>();
        assert!(sender.same_channel(&sender.clone()) && !sender.same_channel(&other_sender));
        assert!(
            receiver.same_channel(&receiver.clone()) && !receiver.same_channel(&other_receiver)
        );
        assert_eq!(format!("{sender:?} {receiver:?}"), "Sender { .. } Receiver { .. }");
    });
}

/// Fails if a send into a rendezvous returns before its message is received.
#[test]
fn rendezvous_waits_for_receiver() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded(0);
        let sent = runtime.spawn(move || sender.send(1).unwrap());
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 1);
        assert!(!sent.is_finished());
        assert_eq!(receiver.len(), 0);
        assert_eq!(receiver.recv(), Ok(1));
        sent.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if `try_send` does not meet a waiting receiver, or `try_recv` a waiting sender.
#[test]
fn attempts_meet_those_who_wait() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded(0);
        let received = runtime.spawn({
            let receiver = receiver.clone();
            move || receiver.recv().unwrap()
        });
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, 1);
        sender.try_send(5).unwrap();
        assert_eq!(sender.try_send(6), Err(TrySendError::Full(6)));
        assert_eq!(received.join().unwrap(), 5);
        let sent = runtime.spawn(move || sender.send(7).unwrap());
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 1);
        assert_eq!(receiver.try_recv(), Ok(7));
        sent.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if those who wait are not told when the other side goes.
#[test]
fn disconnection_wakes_all_who_wait() {
    in_time(|| {
        let runtime = runtime(2);
        for capacity in [Some(0), Some(3), None] {
            let channel = || capacity.map_or_else(unbounded, bounded::<u32>);
            let (sender, receiver) = channel();
            let routines: Vec<_> = (0..10)
                .map(|_| {
                    let receiver = receiver.clone();
                    runtime.spawn(move || receiver.recv())
                })
                .collect();
            let thread = thread::spawn({
                let receiver = receiver.clone();
                move || receiver.recv_timeout(FOREVER)
            });
            until_waiting(runtime.handle(), WaitReason::ChannelReceive, 10);
            let other = sender.clone();
            drop(sender);
            thread::sleep(Duration::from_millis(1));
            assert_eq!(util::waiting(runtime.handle(), WaitReason::ChannelReceive), 10);
            drop(other);
            routines.into_iter().for_each(|r| assert_eq!(r.join().unwrap(), Err(RecvError)));
            assert_eq!(thread.join().unwrap(), Err(RecvTimeoutError::Disconnected));

            if capacity.is_none() {
                continue;
            }
            let (sender, receiver) = channel();
            while sender.try_send(0).is_ok() {}
            let routines: Vec<_> = (0..10)
                .map(|i| {
                    let sender = sender.clone();
                    runtime.spawn(move || sender.send(i))
                })
                .collect();
            until_waiting(runtime.handle(), WaitReason::ChannelSend, 10);
            let thread = thread::spawn(move || sender.send_timeout(99, FOREVER));
            drop(receiver);
            for (i, routine) in (0..).zip(routines) {
                assert_eq!(routine.join().unwrap(), Err(SendError(i)));
            }
            assert_eq!(thread.join().unwrap(), Err(SendTimeoutError::Disconnected(99)));
        }
        runtime.shutdown();
    });
}

/// Fails if those who wait are not served in the order in which they came.
#[test]
fn waiters_are_served_in_order() {
    in_time(|| {
        for workers in [1, 3] {
            let runtime = runtime(workers);
            let (sender, receiver) = bounded::<u32>(0);
            let (report, reports) = unbounded();
            for i in 0..20 {
                let (receiver, report) = (receiver.clone(), report.clone());
                runtime.spawn(move || report.send((i, receiver.recv().unwrap())).unwrap());
                until_waiting(runtime.handle(), WaitReason::ChannelReceive, u64::from(i) + 1);
            }
            (0..20).for_each(|i| sender.send(i).unwrap());
            for _ in 0..20 {
                let (waiter, message) = reports.recv().unwrap();
                assert_eq!(waiter, message);
            }
            for capacity in [0, 2] {
                let (sender, receiver) = bounded(capacity);
                (0..capacity).for_each(|_| sender.try_send(0).unwrap());
                for i in 1..=20 {
                    let sender = sender.clone();
                    runtime.spawn(move || sender.send(i).unwrap());
                    until_waiting(runtime.handle(), WaitReason::ChannelSend, i);
                }
                let received: Vec<_> = receiver.iter().take(20 + capacity).skip(capacity).collect();
                assert_eq!(received, (1..=20).collect::<Vec<_>>());
            }
            runtime.shutdown();
        }
    });
}

/// Fails if the iterators of a receiver do not end, wait, or own as they should.
#[test]
fn iterators() {
    both_worlds(|| {
        let (sender, receiver) = bounded(10);
        (0..5).for_each(|i| sender.send(i).unwrap());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let routine = spawn(move || {
            for i in 0..100 {
                sender.send(i).unwrap();
                if i % 10 == 0 {
                    yield_now();
                }
            }
        });
        let mut sum = 0;
        for i in &receiver {
            sum += i;
            if i == 49 {
                break;
            }
        }
        sum += receiver.into_iter().sum::<u32>();
        assert_eq!(sum, 4950);
        routine.join().unwrap();
    });
}

/// Fails if a message is leaked or dropped twice, wherever it is when its channel goes.
#[test]
fn messages_are_dropped_once() {
    in_time(|| {
        let population = Population::new();
        for capacity in [Some(0), Some(1), Some(5), None] {
            for receiver_first in [true, false] {
                let (sender, receiver) = capacity.map_or_else(unbounded, bounded::<Counted>);
                let senders: Vec<_> = (0..4)
                    .map(|_| {
                        let (sender, population) = (sender.clone(), population.clone());
                        spawn(move || {
                            for _ in 0..10 {
                                let _ = sender.send_timeout(population.member(), MOMENT);
                                drop(sender.try_send(population.member()));
                            }
                        })
                    })
                    .collect();
                for _ in 0..7 {
                    drop(receiver.recv_timeout(MOMENT));
                }
                if receiver_first {
                    drop(receiver);
                    senders.into_iter().for_each(|routine| routine.join().unwrap());
                    drop(sender);
                } else {
                    drop(sender);
                    senders.into_iter().for_each(|routine| routine.join().unwrap());
                    drop(receiver);
                }
                assert_eq!(population.alive(), 0);
            }
        }
        assert_eq!(population.dropped(), 4 * 2 * 4 * 20);
    });
}

/// Fails if messages stay alive in a channel without receivers.
#[test]
fn last_receiver_discards_messages() {
    in_time(|| {
        let population = Population::new();
        let (sender, receiver) = unbounded();
        for _ in 0..10 {
            sender.send(population.member()).unwrap();
        }
        drop(receiver.clone());
        assert_eq!(population.alive(), 10);
        drop(receiver);
        assert_eq!(population.alive(), 0);
        assert!(sender.send(population.member()).is_err());
        assert_eq!((population.alive(), population.dropped()), (0, 11));
    });
}

/// Fails if the destructor of a discarded message that uses its own channel deadlocks.
#[test]
fn destructor_of_message_uses_channel() {
    struct Reentrant(Sender<Reentrant>, Arc<AtomicUsize>);
    impl Drop for Reentrant {
        fn drop(&mut self) {
            self.1.fetch_add(self.0.len() + 1, Ordering::SeqCst);
            let _ = self.0.is_full();
        }
    }
    both_worlds(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = bounded(3);
        for _ in 0..3 {
            sender.send(Reentrant(sender.clone(), drops.clone())).unwrap();
        }
        drop(receiver);
        assert_eq!(drops.load(Ordering::SeqCst), 3);
    });
}

/// Fails if a discarded message is leaked, or the process aborts, because the destructors of others panic.
#[test]
fn destructors_of_messages_that_panic_keep_no_other_from_being_dropped() {
    struct Panicking(#[expect(dead_code)] Counted);
    impl Drop for Panicking {
        fn drop(&mut self) {
            resume_unwind(Box::new("in a destructor"));
        }
    }
    both_worlds(|| {
        let population = Population::new();
        let (sender, receiver) = unbounded();
        for _ in 0..5 {
            sender.send(Panicking(population.member())).unwrap();
        }
        let payload = catch_unwind(AssertUnwindSafe(|| drop(receiver))).unwrap_err();
        assert_eq!(message(&*payload), "in a destructor");
        assert_eq!((population.alive(), population.dropped()), (0, 5));
    });
}

/// Fails if somebody who gave up is still found by the other side.
#[test]
fn those_who_gave_up_leave_no_trace() {
    in_time(|| {
        let runtime = runtime(2);
        let population = Population::new();
        let (sender, receiver) = bounded(0);
        let giving_up: Vec<_> = (0..20)
            .map(|i| {
                let (sender, population) = (sender.clone(), population.clone());
                runtime.spawn(move || {
                    let timeout = Duration::from_millis(i % 5);
                    sender.send_timeout(population.member(), timeout).unwrap_err()
                })
            })
            .collect();
        for routine in giving_up {
            assert!(matches!(routine.join().unwrap(), SendTimeoutError::Timeout(_)));
        }
        assert_eq!(population.alive(), 0);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        let giving_up: Vec<_> = (0..20)
            .map(|i| {
                let receiver: Receiver<Counted> = receiver.clone();
                runtime.spawn(move || receiver.recv_timeout(Duration::from_millis(i % 5)).is_err())
            })
            .collect();
        giving_up.into_iter().for_each(|routine| assert!(routine.join().unwrap()));
        assert!(matches!(sender.try_send(population.member()), Err(TrySendError::Full(_))));

        // One who gives up between others does not break the line.
        let (sender, receiver) = bounded(0);
        let patient = |i: u32| {
            let sender = sender.clone();
            runtime.spawn(move || sender.send(i).unwrap())
        };
        let first = patient(1);
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 1);
        let hasty = runtime.spawn({
            let sender = sender.clone();
            move || sender.send_timeout(2, Duration::from_millis(30)).is_err()
        });
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 2);
        let last = patient(3);
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 3);
        assert!(hasty.join().unwrap());
        assert_eq!((receiver.recv(), receiver.recv()), (Ok(1), Ok(3)));
        first.join().unwrap();
        last.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a routine that shutdown unwinds from a channel stays enlisted there, or its message does.
#[test]
fn canceled_routines_leave_no_trace() {
    in_time(|| {
        let population = Population::new();
        let doomed = runtime(2);
        let (sender, receiver) = bounded(0);
        for _ in 0..10 {
            let (sender, population) = (sender.clone(), population.clone());
            doomed.spawn(move || sender.send(population.member()).is_ok());
        }
        let (other_sender, other_receiver) = bounded::<Counted>(1);
        for _ in 0..10 {
            let receiver = other_receiver.clone();
            doomed.spawn(move || receiver.recv().is_ok());
        }
        until_waiting(doomed.handle(), WaitReason::ChannelSend, 10);
        until_waiting(doomed.handle(), WaitReason::ChannelReceive, 10);
        let left = doomed.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 20);
        assert_eq!((population.alive(), population.dropped()), (0, 10));
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        assert!(matches!(sender.try_send(population.member()), Err(TrySendError::Full(_))));
        other_sender.try_send(population.member()).unwrap();
        assert_eq!(other_receiver.len(), 1);
        drop(other_receiver.try_recv().unwrap());
        assert_eq!(population.alive(), 0);
    });
}

/// Fails if a panic between operations, or while its routine holds handles, breaks the channel.
#[test]
fn panic_of_one_end_is_a_disconnection() {
    in_time(|| {
        let (sender, receiver) = bounded::<u8>(0);
        let routine = spawn(move || {
            sender.send(1).unwrap();
            let _held = sender;
            resume_unwind(Box::new(()));
        });
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(receiver.recv(), Err(RecvError));
        assert!(routine.join().is_err());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            receiver.recv().unwrap_or_else(|_| resume_unwind(Box::new(2)))
        }));
        assert!(caught.is_err());
    });
}

/// Fails if routines of two runtimes, and threads, cannot talk in a ring.
#[test]
fn ring_of_runtimes_and_threads() {
    in_time(|| {
        for capacity in [0, 1] {
            let (one, other) = (runtime(1), runtime(2));
            let (first, mut receiver) = bounded::<u32>(capacity);
            let mut threads = Vec::new();
            for i in 0..9 {
                let (sender, next) = bounded(capacity);
                let forward = move || {
                    for message in receiver {
                        if sender.send(message + 1).is_err() {
                            break;
                        }
                    }
                };
                receiver = next;
                match i % 3 {
                    0 => drop(one.spawn(forward)),
                    1 => drop(other.spawn(forward)),
                    _ => threads.push(thread::spawn(forward)),
                }
            }
            for round in 0..200 {
                first.send(round).unwrap();
                assert_eq!(receiver.recv(), Ok(round + 9));
            }
            drop(first);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            one.shutdown();
            other.shutdown();
        }
    });
}

/// Who sent a message, and the how manieth of the sender's it is.
#[derive(Debug)]
struct Message {
    sender: u32,
    number: u32,
    _counted: Counted,
}

/// What one participant of the mix knows when it is over.
#[derive(Default)]
struct Tally {
    /// Messages that were sent successfully, or received.
    messages: Vec<(u32, u32)>,
}

fn send_at_random(
    sender: Sender<Message>,
    id: u32,
    population: &Population,
    mut random: fastrand::Rng,
) -> Tally {
    let mut tally = Tally::default();
    for number in 0..random.u32(50..150) {
        let message = Message { sender: id, number, _counted: population.member() };
        let result = match random.u8(0..6) {
            0 | 1 => sender.send(message).map_err(|SendError(message)| (message, true)),
            2 => sender.try_send(message).map_err(|error| {
                let gone = error.is_disconnected();
                (error.into_inner(), gone)
            }),
            3 => {
                let timeout = Duration::from_micros(random.u64(0..300));
                sender.send_timeout(message, timeout).map_err(|error| {
                    let gone = error.is_disconnected();
                    (error.into_inner(), gone)
                })
            }
            4 => {
                let other = sender.clone();
                other.send(message).map_err(|SendError(message)| (message, true))
            }
            _ => {
                yield_now();
                sender.send(message).map_err(|SendError(message)| (message, true))
            }
        };
        match result {
            Ok(()) => tally.messages.push((id, number)),
            Err((message, gone)) => {
                // The very message comes back.
                assert_eq!((message.sender, message.number), (id, number));
                if gone {
                    break;
                }
            }
        }
    }
    tally
}

fn receive_at_random(receiver: Receiver<Message>, mut random: fastrand::Rng) -> Tally {
    let mut tally = Tally::default();
    let mut newest = HashMap::new();
    let most = if random.u8(0..4) == 0 { random.usize(0..60) } else { usize::MAX };
    while tally.messages.len() < most {
        let result = match random.u8(0..5) {
            0 | 1 => receiver.recv().map_err(|RecvError| true),
            2 => receiver.try_recv().map_err(|error| error.is_disconnected()),
            3 => {
                let timeout = Duration::from_micros(random.u64(0..300));
                receiver.recv_timeout(timeout).map_err(|error| error.is_disconnected())
            }
            _ => {
                yield_now();
                receiver.clone().recv().map_err(|RecvError| true)
            }
        };
        match result {
            Ok(Message { sender, number, .. }) => {
                // Each receiver sees each sender's messages in order.
                if let Some(before) = newest.insert(sender, number) {
                    assert!(before < number, "{before} before {number} of sender {sender}");
                }
                tally.messages.push((sender, number));
            }
            Err(true) => break,
            Err(false) => {}
        }
    }
    tally
}

/// Runs `f` on a thread or in a routine, and answers with how to wait for it.
fn start<T: Send + 'static>(
    on: Option<&Handle>,
    f: impl FnOnce() -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T> {
    match on {
        Some(runtime) => {
            let routine = runtime.spawn(f);
            Box::new(move || routine.join().unwrap())
        }
        None => {
            let thread = thread::spawn(f);
            Box::new(move || thread.join().unwrap())
        }
    }
}

fn mix(random: &mut fastrand::Rng, runtimes: &[Runtime; 2]) {
    let capacity = *random.choice(&[Some(0), Some(0), Some(1), Some(3), Some(64), None]).unwrap();
    let population = Population::new();
    let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
    let place = |random: &mut fastrand::Rng| {
        runtimes.get(random.usize(0..3)).map(|runtime| runtime.handle())
    };
    let senders: Vec<_> = (0..random.u32(1..6))
        .map(|id| {
            let place = place(random);
            let (sender, population, random) = (sender.clone(), population.clone(), random.fork());
            start(place, move || send_at_random(sender, id, &population, random))
        })
        .collect();
    let receivers: Vec<_> = (0..random.u32(1..6))
        .map(|_| {
            let place = place(random);
            let (receiver, random) = (receiver.clone(), random.fork());
            start(place, move || receive_at_random(receiver, random))
        })
        .collect();
    drop(sender);
    // Whether messages may be left over: if not all receivers stay to the end.
    let keeper = random.bool().then(|| receiver.clone());
    drop(receiver);
    let mut received = Vec::new();
    if let Some(keeper) = keeper {
        received.extend(receive_at_random(keeper.clone(), random.fork()).messages);
        received.extend(keeper.iter().map(|message| (message.sender, message.number)));
    }
    let mut sent = Vec::new();
    senders.into_iter().for_each(|wait| sent.extend(wait().messages));
    receivers.into_iter().for_each(|wait| received.extend(wait().messages));
    let (all_sent, all_received) = (sent.len(), received.len());
    sent.sort_unstable();
    received.sort_unstable();
    received.dedup();
    assert_eq!(received.len(), all_received, "a message was received twice");
    let lost = sent.iter().filter(|message| received.binary_search(message).is_err()).count();
    let invented = received.iter().any(|message| sent.binary_search(message).is_err());
    assert!(!invented, "a message was received whose send failed");
    assert_eq!(lost, all_sent - all_received);
    // What was sent and not received went with the channel.
    assert_eq!(population.alive(), 0);
    if capacity == Some(0) {
        assert_eq!(lost, 0, "in a rendezvous nothing can be left over");
    }
}

/// Fails if in any mix of routines of two runtimes and threads, of ways to send and to receive, of timeouts
/// and early leavers, a message is lost, doubled, or overtakes another.
#[test]
fn messages_are_conserved() {
    in_time(|| {
        let mut random = util::random();
        let runtimes = [runtime(1), runtime(2)];
        let start = Instant::now();
        for _ in 0..100 {
            mix(&mut random, &runtimes);
            if start.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        let [one, other] = runtimes;
        one.shutdown();
        other.shutdown();
    });
}

/// Fails if the senders, or the receivers, of a busy channel starve one another.
#[test]
fn nobody_starves() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded::<usize>(1);
        let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
        // By a routine of the only worker, so that none begins before all are there.
        let all = counts.clone();
        runtime.spawn(move || {
            for i in 0..4 {
                let sender = sender.clone();
                spawn(move || while sender.send(i).is_ok() {});
                let (receiver, counts) = (receiver.clone(), all.clone());
                spawn(move || {
                    for _ in 0..2_000 {
                        counts[receiver.recv().unwrap()].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let count = || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
        eventually("all is received", || count().iter().sum::<usize>() == 8_000);
        // A tenth of an even share: how uneven the shares are depends on how they take turns.
        assert!(count().iter().all(|count| *count > 200), "{:?}", count());
        runtime.shutdown();
    });
}

/// Fails if a routine that waits in a channel holds up its thread.
#[test]
fn waiting_routines_take_no_thread() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = unbounded();
        let routines: Vec<_> = (0..5_000)
            .map(|_| {
                let receiver = receiver.clone();
                runtime.spawn(move || receiver.recv().unwrap())
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, 5_000);
        (0..5_000_u32).for_each(|i| sender.send(i).unwrap());
        let sum: u32 = routines.into_iter().map(|routine| routine.join().unwrap()).sum();
        assert_eq!(sum, (0..5_000).sum());
        runtime.shutdown();
    });
}

/// Fails if a channel of large, or of no, messages tears or miscounts them.
#[test]
fn messages_of_all_sizes() {
    in_time(|| {
        for capacity in [0, 2] {
            let (sender, receiver) = bounded(capacity);
            spawn(move || (0..100_u64).for_each(|i| sender.send([i; 100]).unwrap()));
            for (i, message) in (0..).zip(receiver) {
                assert_eq!(message, [i; 100]);
            }
            let (sender, receiver) = bounded(capacity);
            spawn(move || (0..100).for_each(|_| sender.send(()).unwrap()));
            sleep(MOMENT);
            assert_eq!(receiver.iter().count(), 100);
        }
    });
}

/// Fails if handles cannot be sent and shared exactly where messages can be sent.
#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    check::<Sender<std::cell::Cell<u8>>>();
    check::<Receiver<std::cell::Cell<u8>>>();
}

/// How many messages a sender sends in a row while another routine of its worker could run. `None` if that has
/// started on another worker.
fn most_in_a_row(messages: usize) -> Option<usize> {
    let (sender, receiver) = bounded(0);
    let receiving: Vec<_> = (0..64)
        .map(|_| {
            let receiver = receiver.clone();
            Builder::new().spread().spawn(move || receiver.iter().count()).unwrap()
        })
        .collect();
    let neighbour = Neighbour::start();
    let (mut last, mut in_a_row, mut most) = (0, 0, 0);
    for message in 0..messages {
        sender.send(message).unwrap();
        let now = neighbour.turns();
        in_a_row = if now == last { in_a_row + 1 } else { 0 };
        (last, most) = (now, most.max(in_a_row));
    }
    drop(sender);
    let received: usize = receiving.into_iter().map(|routine| routine.join().unwrap()).sum();
    assert_eq!(received, messages);
    neighbour.end().then_some(most)
}

// Breaks if a sender that always finds somebody waiting on another worker keeps its own worker to itself.
#[test]
fn sender_that_need_not_wait_gives_way_to_its_worker() {
    in_time(|| {
        let runtime = runtime(2);
        let measured: Vec<_> = (0..100)
            .filter_map(|_| runtime.spawn(|| most_in_a_row(50_000)).join().unwrap())
            .take(10)
            .collect();
        assert!(measured.len() >= 5, "they were hardly ever on one worker: {measured:?}");
        // One send in 128 ends a turn.
        assert!(measured.iter().all(|&most| most <= 128), "{measured:?}");
    });
}
