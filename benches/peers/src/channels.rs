//! Channels, for contestants whose API is that of crossbeam-channel: the module around says whose `spawn` and `channel`
//! these are.

use super::channel::{bounded, unbounded};
use super::spawn;
use crate::workload::{BURST, CAPACITY, LIMIT, PAIRS, PRODUCERS};

pub(super) fn ping_pong(turns: u64) {
    let (ping, pings) = bounded(0);
    let (pong, pongs) = bounded(0);
    let other = spawn(move || {
        for number in pings {
            pong.send(number + 1).expect("the other end is there");
        }
    });
    for turn in 0..turns {
        ping.send(turn).expect("the other end is there");
        assert_eq!(pongs.recv(), Ok(turn + 1));
    }
    drop(ping);
    other.join().expect("the other does not panic");
}

pub(super) fn ping_pongs(turns: u64) {
    let pairs: Vec<_> = (0..PAIRS).map(|_| spawn(move || ping_pong(turns / PAIRS))).collect();
    for pair in pairs {
        pair.join().expect("no pair panics");
    }
}

pub(super) fn spsc(turns: u64) {
    let (sender, receiver) = bounded(CAPACITY);
    let producer = spawn(move || {
        for turn in 0..turns {
            sender.send(turn).expect("the receiver is there");
        }
    });
    for turn in 0..turns {
        assert_eq!(receiver.recv(), Ok(turn));
    }
    producer.join().expect("the producer does not panic");
}

pub(super) fn mpmc(turns: u64) {
    let share = turns / PRODUCERS;
    let (sender, receiver) = bounded(CAPACITY);
    let consumers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let receiver = receiver.clone();
            spawn(move || receiver.iter().sum::<u64>())
        })
        .collect();
    for _ in 0..PRODUCERS {
        let sender = sender.clone();
        spawn(move || (0..share).for_each(|turn| sender.send(turn).expect("a receiver is there")));
    }
    drop(sender);
    let sums = consumers.into_iter().map(|consumer| consumer.join().expect("no consumer panics"));
    assert_eq!(sums.sum::<u64>(), PRODUCERS * (share * (share - 1) / 2));
}

pub(super) fn mpsc(turns: u64) {
    let share = BURST / PRODUCERS;
    for _ in 0..turns / BURST {
        let (sender, receiver) = unbounded();
        for _ in 0..PRODUCERS {
            let sender = sender.clone();
            spawn(move || {
                (0..share).for_each(|turn| sender.send(turn).expect("the receiver is there"));
            });
        }
        drop(sender);
        assert_eq!(receiver.iter().sum::<u64>(), PRODUCERS * (share * (share - 1) / 2));
    }
}

/// Each receive sets a timer and stops it, as the answer comes in time.
pub(super) fn timer_churn(turns: u64) {
    let (ping, pings) = bounded(1);
    let (pong, pongs) = bounded(1);
    let other = spawn(move || {
        for number in pings {
            pong.send(number + 1).expect("the other end is there");
        }
    });
    for turn in 0..turns {
        ping.send(turn).expect("the other end is there");
        assert_eq!(pongs.recv_timeout(LIMIT), Ok(turn + 1));
    }
    drop(ping);
    other.join().expect("the other does not panic");
}
