//! Extremes: of number, of size, of time, and after the end.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rust_routines::channel::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, Select, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TrySelectError, after, at, bounded, never, select, tick,
    unbounded,
};
use rust_routines::{Builder, WaitReason, spawn};

use super::util::{self, bounded as in_time, runtime, until_waiting};

/// Longer than any test runs.
const FOREVER: Duration = Duration::from_secs(3600);

// Breaks if a select among very many receivers misses one, parked or not, or takes time that grows with their
// square.
#[test]
fn among_a_thousand_receivers() {
    in_time(|| {
        let mut random = util::random();
        let runtime = runtime(2);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..1_000).map(|_| bounded::<usize>(0)).unzip();
        let (report, reports) = unbounded();
        let selecting = runtime.spawn(move || {
            let mut list = Select::new();
            receivers.iter().for_each(|receiver| _ = list.recv(receiver));
            for _ in 0..300 {
                let operation = list.select();
                let at = operation.index();
                report.send((at, operation.recv(&receivers[at]).unwrap())).unwrap();
            }
            // Others on the way here find nobody.
            assert_eq!(list.try_select().map(drop), Err(TrySelectError));
        });
        for i in 0..300 {
            if i % 2 == 0 {
                until_waiting(runtime.handle(), WaitReason::Select, 1);
            }
            let at = random.usize(..senders.len());
            senders[at].send(i).unwrap();
            assert_eq!(reports.recv(), Ok((at, i)));
        }
        selecting.join().unwrap();
        runtime.shutdown();
    });
}

// Breaks if a thousand cases on the same two ends of one channel cannot wait and be withdrawn together.
#[test]
fn the_same_channel_a_thousand_times() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded(0);
        let selecting = runtime.spawn({
            let (sender, receiver) = (sender.clone(), receiver.clone());
            move || {
                let mut list = Select::new();
                for _ in 0..500 {
                    list.recv(&receiver);
                    list.send(&sender);
                }
                let operation = list.select();
                assert_eq!(operation.index() % 2, 0);
                operation.recv(&receiver)
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        sender.send(5).unwrap();
        assert_eq!(selecting.join().unwrap(), Ok(5));
        assert!(sender.try_send(6).is_err());
        runtime.shutdown();
    });
}

// Breaks if messages without size are miscounted, or made up.
#[test]
fn messages_without_size() {
    in_time(|| {
        for capacity in [0, 1, usize::MAX] {
            let (sender, receiver) = bounded(capacity);
            let sending = spawn(move || {
                for _ in 0..300 {
                    select! {
                        send(sender, ()) -> sent => sent.unwrap(),
                        recv(never::<()>()) -> _ => {}
                    }
                }
            });
            let mut count = 0;
            while select! { recv(receiver) -> unit => unit.is_ok(), recv(never::<()>()) -> it => it.is_ok() }
            {
                count += 1;
            }
            assert_eq!(count, 300);
            sending.join().unwrap();
        }
    });
}

// Breaks if messages larger than what a select keeps anywhere are torn, in whichever way they change hands.
#[test]
fn messages_of_64_kib() {
    in_time(|| {
        // A message may be copied a few times on its way, on the stack.
        let builder = || Builder::new().stack_size(4 << 20);
        for capacity in [0, 1, 4] {
            let (sender, receiver) = bounded::<[u64; 8192]>(capacity);
            let sending = builder().spawn(move || {
                for i in 0..20 {
                    select! {
                        send(sender, [i; 8192]) -> sent => assert!(sent.is_ok()),
                        recv(never::<()>()) -> _ => {}
                    }
                    assert!(sender.send([i + 100; 8192]).is_ok());
                }
            });
            let receiving = builder().spawn(move || {
                for i in 0..20 {
                    assert!(receiver.recv().unwrap().iter().all(|word| *word == i));
                    select! {
                        recv(receiver) -> it => assert!(it.unwrap().iter().all(|word| *word == i + 100)),
                        recv(never::<()>()) -> _ => {}
                    }
                }
            });
            sending.unwrap().join().unwrap();
            receiving.unwrap().join().unwrap();
        }
    });
}

// Breaks if the largest capacity takes memory, or overflows when places are promised.
#[test]
fn largest_capacity() {
    in_time(|| {
        let (sender, receiver) = bounded(usize::MAX);
        let (mut list, mut other) = (Select::new(), Select::new());
        list.send(&sender);
        other.send(&sender);
        let (operation, second) = (list.select(), other.select());
        sender.send(1).unwrap();
        operation.send(&sender, 2).unwrap();
        second.send(&sender, 3).unwrap();
        assert_eq!((sender.capacity(), sender.is_full()), (Some(usize::MAX), false));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    });
}

// Breaks if places that selects were promised are given to others too, or are not taken into account.
#[test]
fn promised_places_count() {
    in_time(|| {
        let (sender, receiver) = bounded(2);
        let (mut list, mut other) = (Select::new(), Select::new());
        list.send(&sender);
        other.send(&sender);
        let (operation, second) = (list.select(), other.select());
        assert!(sender.try_send(0).is_err());
        assert_eq!(list.try_select().map(drop), Err(TrySelectError));
        assert_eq!(list.try_ready(), Err(TryReadyError));
        assert!(receiver.try_recv().is_err());
        second.send(&sender, 1).unwrap();
        operation.send(&sender, 2).unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
    });
}

// Breaks if a tick of no length stops, or keeps others from being chosen.
#[test]
fn tick_of_zero() {
    in_time(|| {
        let ticks = tick(Duration::ZERO);
        let (sender, receiver) = unbounded();
        let (mut ticked, mut received) = (0, 0);
        for i in 0..1_000 {
            sender.send(i).unwrap();
            select! {
                recv(ticks) -> moment => {
                    assert!(moment.unwrap() <= Instant::now());
                    ticked += 1;
                }
                recv(receiver) -> number => {
                    assert_eq!(number, Ok(received));
                    received += 1;
                }
            }
        }
        assert!(ticked > 100 && received > 100, "{ticked} ticks, {received} messages");
        assert!(ticks.try_recv().is_ok());
    });
}

// Breaks if a deadline in the past, or a timeout of zero, keeps what need not wait from happening, or lets
// something wait.
#[test]
fn deadlines_in_the_past() {
    in_time(|| {
        let Some(past) = Instant::now().checked_sub(Duration::from_secs(1)) else { return };
        let (sender, receiver) = bounded(1);
        assert_eq!(receiver.recv_deadline(past), Err(RecvTimeoutError::Timeout));
        assert_eq!(sender.send_deadline(1, past), Ok(()));
        assert_eq!(sender.send_deadline(2, past), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(1));

        let mut list = Select::new();
        list.recv(&receiver);
        let quiet = never::<()>();
        list.recv(&quiet);
        assert_eq!(list.select_deadline(past).map(drop), Err(SelectTimeoutError));
        assert_eq!(list.select_timeout(Duration::ZERO).map(drop), Err(SelectTimeoutError));
        assert_eq!(list.ready_deadline(past), Err(ReadyTimeoutError));
        sender.send(3).unwrap();
        assert_eq!(list.ready_deadline(past), Ok(0));
        assert_eq!(list.select_deadline(past).unwrap().recv(&receiver), Ok(3));
        assert_eq!(Select::new().select_deadline(past).map(drop), Err(SelectTimeoutError));

        let missed = select! { recv(receiver) -> _ => false, default(Duration::ZERO) => true };
        assert!(missed);
        assert_eq!(at(past).recv(), Ok(past));
        select! {
            recv(at(past)) -> moment => assert_eq!(moment, Ok(past)),
            recv(after(FOREVER)) -> _ => unreachable!("too early"),
        }
    });
}

// Breaks if a select does not see what is left in a channel without senders, or that one without receivers takes
// no more.
#[test]
fn after_the_other_side_has_gone() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded(5);
        (0..3).for_each(|i| sender.send(i).unwrap());
        drop(sender);
        let (open, other) = bounded::<i32>(0);
        for expected in [Ok(0), Ok(1), Ok(2), Err(RecvError), Err(RecvError)] {
            select! {
                recv(receiver) -> message => assert_eq!(message, expected),
                recv(other) -> _ => unreachable!("nobody sends"),
            }
        }
        // Whoever waits when the other side goes is told, and gets back what it wanted to send.
        let message = Arc::new(7);
        let (sender, receiver) = bounded(0);
        let waiting = runtime.spawn({
            let message = message.clone();
            move || {
                let (_open, other) = (open, other);
                select! {
                    send(sender, message) -> sent => sent,
                    recv(other) -> _ => Ok(()),
                }
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        drop(receiver);
        assert_eq!(waiting.join().unwrap(), Err(SendError(message)));
        runtime.shutdown();
    });
}

// Breaks if a select keeps a message that nobody has fetched, after it was forgotten: it must go with its channel.
#[test]
fn forgotten_operation_leaks_nothing() {
    in_time(|| {
        let population = util::Population::new();
        let (sender, receiver) = bounded(2);
        sender.send(population.member()).unwrap();
        let mut list = Select::new();
        list.recv(&receiver);
        mem::forget(list.select());
        assert_eq!((receiver.len(), population.alive()), (0, 1));
        drop((sender, receiver));
        assert_eq!((population.alive(), population.dropped()), (0, 1));
    });
}
