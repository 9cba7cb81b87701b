//! Select in routines: what crossbeam-channel's own suite, which runs on threads and is run on these channels
//! apart from this, does not show.

mod util;

#[path = "select/edges.rs"]
mod edges;
#[path = "select/given_up.rs"]
mod given_up;
#[path = "select/syntax.rs"]
mod syntax;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rust_routines::channel::{
    Receiver, Select, Sender, TryRecvError, TrySendError, bounded, never, select, unbounded,
};
use rust_routines::{Builder, Handle, WaitReason, yield_now};
use util::{Population, bounded as in_time, eventually, runtime, until_waiting};

/// Runs `f` in a routine, or on a thread, and answers with how to wait for it.
fn start<T: Send + 'static>(
    on: Option<&Handle>,
    f: impl FnOnce() -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T> {
    match on {
        Some(runtime) => {
            let routine = Builder::new().spread().spawn_on(runtime, f).unwrap();
            Box::new(move || routine.join().unwrap())
        }
        None => {
            let thread = thread::spawn(f);
            Box::new(move || thread.join().unwrap())
        }
    }
}

/// Calls `check` with every pair of places that differ: on one worker, on two, in two runtimes, on threads.
fn pairs(check: impl Fn(Option<&Handle>, Option<&Handle>)) {
    let (one, two) = (runtime(1), runtime(2));
    check(Some(one.handle()), Some(one.handle()));
    check(Some(two.handle()), Some(two.handle()));
    check(Some(one.handle()), Some(two.handle()));
    check(Some(one.handle()), None);
    check(None, Some(one.handle()));
    check(None, None);
    one.shutdown();
    two.shutdown();
}

// Breaks if a routine in a select is listed under another reason than that, or holds up its worker.
#[test]
fn wait_reason_is_select() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded::<u8>(0);
        for _ in 0..3 {
            let receiver = receiver.clone();
            runtime.spawn(move || {
                select! { recv(receiver) -> message => message, recv(never()) -> never => never }
            });
        }
        until_waiting(runtime.handle(), WaitReason::Select, 3);
        let watching = runtime.spawn({
            let receiver = receiver.clone();
            move || {
                let mut list = Select::new();
                list.recv(&receiver);
                list.ready()
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 4);
        assert_eq!(WaitReason::Select.to_string(), "selecting among channels");
        assert_eq!(runtime.spawn(|| 1).join().unwrap(), 1);
        (0..3).for_each(|i| sender.send(i).unwrap());
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        drop(sender);
        assert_eq!(watching.join().unwrap(), 0);
        runtime.shutdown();
    });
}

// Breaks if two who both select do not find each other, wherever they run; or if messages of one to the other
// get lost or out of order.
#[test]
fn both_sides_select() {
    const ROUNDS: u32 = 500;
    in_time(|| {
        pairs(|one, other| {
            for capacity in [0, 1] {
                let (sender, receiver) = bounded(capacity);
                let (mute, silence) = bounded::<u32>(0);
                let (voice, deaf) = bounded::<u32>(0);
                let sending = start(one, move || {
                    for i in 0..ROUNDS {
                        select! {
                            send(sender, i) -> sent => sent.unwrap(),
                            recv(silence) -> _ => unreachable!("nobody sends"),
                        }
                    }
                });
                let receiving = start(other, move || {
                    for i in 0..ROUNDS {
                        select! {
                            recv(receiver) -> message => assert_eq!(message, Ok(i)),
                            send(voice, 0) -> _ => unreachable!("nobody receives"),
                        }
                    }
                });
                sending();
                receiving();
                drop((mute, deaf));
            }
        });
    });
}

// Breaks if two who offer each other both directions at once do not agree on one of them each time.
#[test]
fn both_sides_offer_both_directions() {
    const ROUNDS: u32 = 500;
    fn trade(sender: &Sender<u32>, receiver: &Receiver<u32>) -> (u32, u32) {
        let (mut sent, mut received) = (0, 0);
        for _ in 0..ROUNDS {
            select! {
                send(sender, sent) -> result => {
                    result.unwrap();
                    sent += 1;
                }
                recv(receiver) -> message => {
                    assert_eq!(message, Ok(received));
                    received += 1;
                }
            }
        }
        (sent, received)
    }
    in_time(|| {
        pairs(|one, other| {
            let ((to, from), (back, forth)) = (bounded(0), bounded(0));
            let (first, second) = ((to.clone(), forth.clone()), (back.clone(), from.clone()));
            let first = start(one, move || trade(&first.0, &first.1));
            let second = start(other, move || trade(&second.0, &second.1));
            let ((sent, received), (sent_back, received_back)) = (first(), second());
            assert_eq!((sent, received), (received_back, sent_back));
            assert_eq!(sent + received, ROUNDS);
            drop((to, from, back, forth));
        });
    });
}

// Breaks if one who sends and receives in the same rendezvous meets himself, or if among many the pairs get
// mixed up.
#[test]
fn nobody_meets_himself() {
    in_time(|| {
        let (one, two) = (runtime(1), runtime(2));
        let (sender, receiver) = bounded::<usize>(0);
        let (stop, stopped) = bounded::<()>(0);
        let total = Arc::new(AtomicUsize::new(0));
        let traders: Vec<_> = (0..9)
            .map(|me| {
                let place = [Some(one.handle()), Some(two.handle()), None][me % 3];
                let (sender, receiver, stopped) =
                    (sender.clone(), receiver.clone(), stopped.clone());
                let total = total.clone();
                start(place, move || {
                    let (mut sent, mut received) = (0, 0);
                    loop {
                        select! {
                            send(sender, me) -> result => {
                                result.unwrap();
                                sent += 1;
                            }
                            recv(receiver) -> other => {
                                assert_ne!(other, Ok(me), "met himself");
                                received += 1;
                            }
                            recv(stopped) -> _ => return (sent, received),
                        }
                        total.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        eventually("they trade", || total.load(Ordering::Relaxed) > 5_000);
        drop(stop);
        let counts: Vec<(usize, usize)> = traders.into_iter().map(|wait| wait()).collect();
        let (sent, received): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
        assert_eq!(sent.iter().sum::<usize>(), received.iter().sum::<usize>());
        one.shutdown();
        two.shutdown();
    });
}

// Breaks if routines of two runtimes and threads, each of which selects from its neighbours, get stuck.
#[test]
fn ring_of_selects() {
    in_time(|| {
        let (one, two) = (runtime(1), runtime(2));
        let (first, mut receiver) = bounded::<u32>(0);
        let (stop, stopped) = bounded::<()>(0);
        let members: Vec<_> = (0..9)
            .map(|i| {
                let place = [Some(one.handle()), Some(two.handle()), None][i % 3];
                let (sender, next) = bounded(0);
                let receiver = std::mem::replace(&mut receiver, next);
                let stopped = stopped.clone();
                start(place, move || {
                    loop {
                        // When it is over, neighbours may go first.
                        let message = select! {
                            recv(receiver) -> message => message,
                            recv(stopped) -> _ => return,
                        };
                        let Ok(message) = message else { return };
                        select! {
                            send(sender, message + 1) -> sent => if sent.is_err() { return },
                            recv(stopped) -> _ => return,
                        }
                    }
                })
            })
            .collect();
        for round in 0..200 {
            first.send(round).unwrap();
            assert_eq!(receiver.recv(), Ok(round + 9));
        }
        drop(stop);
        members.into_iter().for_each(|wait| wait());
        one.shutdown();
        two.shutdown();
    });
}

// Breaks if a routine that shutdown unwinds from a select stays enlisted in one of its channels: a later message
// would go to it, or a later receiver wait for it.
#[test]
fn canceled_selects_leave_no_trace() {
    in_time(|| {
        let population = Population::new();
        let doomed = runtime(2);
        let (sender, receiver) = bounded(0);
        let (full_sender, full_receiver) = bounded(1);
        let (empty_sender, empty_receiver) = unbounded();
        full_sender.send(population.member()).unwrap();
        for _ in 0..10 {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            let (full_sender, empty_receiver) = (full_sender.clone(), empty_receiver.clone());
            let population = population.clone();
            doomed.spawn(move || {
                select! {
                    send(sender, population.member()) -> _ => {}
                    send(full_sender, population.member()) -> _ => {}
                    recv(empty_receiver) -> _ => {}
                    recv(never::<()>()) -> _ => drop(receiver),
                }
                unreachable!("none is ready");
            });
        }
        until_waiting(doomed.handle(), WaitReason::Select, 10);
        let left = doomed.shutdown_timeout(Duration::ZERO);
        assert!(
            left.len() == 10 && left.iter().all(|left| left.routine.reason == WaitReason::Select)
        );
        // A message is not made before there is somebody to have it.
        assert_eq!((population.alive(), population.dropped()), (1, 0));
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        assert!(matches!(sender.try_send(population.member()), Err(TrySendError::Full(_))));
        empty_sender.send(population.member()).unwrap();
        assert_eq!((empty_receiver.len(), full_receiver.len()), (1, 1));
        drop((empty_receiver.recv().unwrap(), full_receiver.recv().unwrap()));
        full_sender.try_send(population.member()).unwrap();
        assert_eq!((full_receiver.len(), population.alive()), (1, 1));

        let living = runtime(1);
        let received = living.spawn(move || receiver.recv().is_ok());
        sender.send(population.member()).unwrap();
        assert!(received.join().unwrap());
        living.shutdown();
    });
}

// Breaks if shutdown unwinds a receiver whose partner has chosen it and will write to its stack.
#[test]
fn shutdown_waits_for_partner_of_receiver() {
    in_time(|| {
        let population = Population::new();
        let doomed = runtime(1);
        let (sender, receiver) = bounded(0);
        let received = doomed.spawn(move || receiver.recv().is_ok());
        until_waiting(doomed.handle(), WaitReason::ChannelReceive, 1);
        let mut list = Select::new();
        list.send(&sender);
        let operation = list.select();
        let shutdown = thread::spawn(move || doomed.shutdown_timeout(Duration::ZERO));
        // It can be seen to have begun only by what it may not do.
        (0..50).for_each(|_| yield_now());
        assert!(!shutdown.is_finished() && !received.is_finished());
        operation.send(&sender, population.member()).unwrap();
        shutdown.join().unwrap();
        assert!(received.join().unwrap());
        assert_eq!((population.alive(), population.dropped()), (0, 1));
    });
}

// Breaks if a receiver sleeps on when the one that was about to send to it is unwound, or if shutdown ends the
// wait of one that another is about to send to.
#[test]
fn partner_is_unwound_while_it_makes_its_message() {
    in_time(|| {
        for doomed_is_receiver in [false, true] {
            let (doomed, living) = (runtime(1), runtime(1));
            let (sending_on, receiving_on) =
                if doomed_is_receiver { (&living, &doomed) } else { (&doomed, &living) };
            let (sender, receiver) = bounded(0);
            let (gate, opened) = bounded::<()>(0);
            let sending = sending_on.spawn({
                let sender = sender.clone();
                move || {
                    select! {
                        send(sender, opened.recv().map_or(1, |()| 0)) -> sent => sent.unwrap(),
                        recv(never::<()>()) -> _ => {}
                    }
                }
            });
            until_waiting(sending_on.handle(), WaitReason::Select, 1);
            let receiving = receiving_on.spawn(move || receiver.recv());
            // It has met the sender, which now makes its message: both wait to receive.
            until_waiting(receiving_on.handle(), WaitReason::ChannelReceive, 1);
            until_waiting(sending_on.handle(), WaitReason::ChannelReceive, 1);
            if doomed_is_receiver {
                let shutdown = thread::spawn(move || doomed.shutdown_timeout(Duration::ZERO));
                (0..50).for_each(|_| yield_now());
                assert!(!shutdown.is_finished() && !receiving.is_finished());
                drop(gate);
                assert_eq!(receiving.join().unwrap(), Ok(1));
                sending.join().unwrap();
                shutdown.join().unwrap();
            } else {
                doomed.shutdown_timeout(Duration::ZERO);
                assert!(sending.join().is_err());
                until_waiting(living.handle(), WaitReason::ChannelReceive, 1);
                sender.send(2).unwrap();
                assert_eq!(receiving.join().unwrap(), Ok(2));
            }
            living.shutdown();
        }
    });
}

/// How the messages of a rendezvous are spread over 64 routines: the smallest share, and the longest time that one
/// of them waited, counted in messages that others got.
fn spread_over(workers: usize, receive: fn(&Receiver<usize>, &Receiver<usize>) -> Option<usize>) {
    const ROUTINES: usize = 64;
    const EACH: usize = if cfg!(debug_assertions) { 100 } else { 500 };
    let runtime = runtime(workers);
    let ((sender, receiver), (other_sender, other_receiver)) = (bounded(0), bounded(0));
    let receiving: Vec<_> = (0..ROUTINES)
        .map(|_| {
            let (receiver, other_receiver) = (receiver.clone(), other_receiver.clone());
            start(Some(runtime.handle()), move || {
                let (mut last, mut count, mut longest) = (0, 0, 0);
                while let Some(number) = receive(&receiver, &other_receiver) {
                    longest = longest.max(number - last);
                    (last, count) = (number, count + 1);
                }
                (count, longest.max(ROUTINES * EACH - last))
            })
        })
        .collect();
    eventually("all wait", || runtime.metrics().parked == ROUTINES as u64);
    let sending = runtime.spawn(move || {
        (1..=ROUTINES * EACH).for_each(|number| sender.send(number).unwrap());
        drop(other_sender);
    });
    sending.join().unwrap();
    let (counts, longest): (Vec<_>, Vec<_>) = receiving.into_iter().map(|wait| wait()).unzip();
    let (least, longest) = (*counts.iter().min().unwrap(), *longest.iter().max().unwrap());
    println!(
        "{workers} workers, {EACH} each: the unluckiest got {least}; \
         {longest} others were served in one wait"
    );
    assert_eq!(counts.iter().sum::<usize>(), ROUTINES * EACH);
    // With several workers it is the system that decides which of them gets on.
    if workers == 1 {
        assert!(least >= EACH / 2, "{counts:?}");
        assert!(longest <= ROUTINES * 10, "{longest}");
    }
    runtime.shutdown();
}

// Breaks if one of many who wait in a channel, or in selects, is passed over again and again.
#[test]
fn the_unluckiest_of_many() {
    in_time(|| {
        for workers in [1, 2] {
            spread_over(workers, |receiver, _| receiver.recv().ok());
            spread_over(workers, |receiver, other| {
                select! {
                    recv(receiver) -> number => number.ok(),
                    recv(other) -> number => number.ok(),
                }
            });
            spread_over(workers, |receiver, other| {
                let mut list = Select::new_biased();
                let (_, at) = (list.recv(other), list.recv(receiver));
                let operation = list.select();
                match operation.index() == at {
                    true => operation.recv(receiver).ok(),
                    false => operation.recv(other).ok(),
                }
            });
        }
    });
}

// Breaks if a select prefers one of its cases, or a biased one does not.
#[test]
fn cases_take_turns() {
    const ROUNDS: usize = 4_000;
    in_time(|| {
        let (sender, receiver) = unbounded();
        let (other_sender, other_receiver) = unbounded();
        for i in 0..ROUNDS {
            sender.send(i).unwrap();
            other_sender.send(i).unwrap();
        }
        let mut list = Select::new();
        list.recv(&receiver);
        list.recv(&other_receiver);
        let mut firsts = 0;
        for _ in 0..ROUNDS {
            let operation = list.select();
            if operation.index() == 0 {
                operation.recv(&receiver).unwrap();
                firsts += 1;
            } else {
                operation.recv(&other_receiver).unwrap();
            }
        }
        // Far beyond what chance does: some thirty deviations.
        assert!((ROUNDS / 4..ROUNDS * 3 / 4).contains(&firsts), "{firsts} of {ROUNDS}");
        let mut list = Select::new_biased();
        list.recv(&receiver);
        list.recv(&other_receiver);
        while !receiver.is_empty() {
            let operation = list.select();
            assert_eq!(operation.index(), 0);
            operation.recv(&receiver).unwrap();
        }
        assert!(list.select().recv(&other_receiver).is_ok());
    });
}
