//! Selecting, for contestants whose API is that of crossbeam-channel; see `channels.rs`.

use super::channel::{self, Receiver, Select, Sender, bounded};
use super::spawn;
use crate::workload::CAPACITY;

pub(super) fn select_4(turns: u64) {
    let (senders, receivers) = feed(4, turns);
    let mut sum = 0;
    for _ in 0..turns {
        let message = channel::select! {
            recv(receivers[0]) -> message => message,
            recv(receivers[1]) -> message => message,
            recv(receivers[2]) -> message => message,
            recv(receivers[3]) -> message => message,
        };
        sum += message.expect("a sender is there");
    }
    check(sum, senders, turns);
}

pub(super) fn select_32(turns: u64) {
    let (senders, receivers) = feed(32, turns);
    let mut select = Select::new();
    for receiver in &receivers {
        select.recv(receiver);
    }
    let mut sum = 0;
    for _ in 0..turns {
        let operation = select.select();
        let receiver = &receivers[operation.index()];
        sum += operation.recv(receiver).expect("a sender is there");
    }
    check(sum, senders, turns);
}

/// Channels, and a producer for each. The senders are returned so that no channel is ready because its end has come.
fn feed(channels: u64, turns: u64) -> (Vec<Sender<u64>>, Vec<Receiver<u64>>) {
    let produce = |_| {
        let (sender, receiver) = bounded(CAPACITY);
        let producer = sender.clone();
        spawn(move || {
            let numbers = 0..turns / channels;
            numbers.for_each(|turn| producer.send(turn).expect("the receiver is there"));
        });
        (sender, receiver)
    };
    (0..channels).map(produce).unzip()
}

fn check(sum: u64, senders: Vec<Sender<u64>>, turns: u64) {
    let channels = senders.len() as u64;
    let share = turns / channels;
    assert_eq!(sum, channels * (share * (share - 1) / 2));
}
