//! Workloads with more routines than anyone has threads.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rust_routines::channel::{Sender, bounded};
use rust_routines::{JoinHandle, sleep, spawn};

use crate::workload::{FAN_OUT, LAST_PRIME, LEAVES, Numbers, PRIMES, SLEEPERS, crowd, late, nap};

pub(crate) fn sieve(turns: u64) {
    for _ in 0..turns {
        let (sender, mut numbers) = bounded(0);
        spawn(move || (2..=LAST_PRIME).for_each(|n| sender.send(n).expect("a filter is there")));
        let mut prime = 0;
        for _ in 0..PRIMES {
            prime = numbers.recv().expect("there is one more");
            let (sender, rest) = bounded(0);
            let unfiltered = mem::replace(&mut numbers, rest);
            spawn(move || {
                for number in unfiltered.iter().filter(|number| number % prime != 0) {
                    sender.send(number).expect("a filter is there");
                }
            });
        }
        assert_eq!(prime, LAST_PRIME);
        assert!(numbers.recv().is_err());
    }
}

pub(crate) fn skynet(turns: u64) {
    for _ in 0..turns / LEAVES {
        let (sender, result) = bounded(1);
        node(sender, 0, LEAVES);
        assert_eq!(result.recv(), Ok(LEAVES * (LEAVES - 1) / 2));
    }
}

/// Sends the sum of the numbers of its leaves.
fn node(parent: Sender<u64>, first: u64, leaves: u64) {
    if leaves == 1 {
        parent.send(first).expect("the parent waits");
        return;
    }
    let (sender, sums) = bounded(FAN_OUT as usize);
    let share = leaves / FAN_OUT;
    for child in 0..FAN_OUT {
        let sender = sender.clone();
        spawn(move || node(sender, first + child * share, share));
    }
    parent.send(sums.iter().take(FAN_OUT as usize).sum()).expect("the parent waits");
}

pub(crate) fn sleeps() -> Vec<Duration> {
    let sleeper = |number| {
        move || {
            let start = Instant::now();
            sleep(nap(number));
            late(number, start.elapsed())
        }
    };
    let sleepers: Vec<_> = (0..SLEEPERS).map(|number| spawn(sleeper(number))).collect();
    sleepers.into_iter().map(|sleeper| sleeper.join().expect("no sleeper panics")).collect()
}

/// All wait for the end of one channel.
pub(crate) fn parked(count: u64) -> Numbers {
    let park = || {
        let (end, waiting) = bounded::<()>(0);
        let (all, arrival) = bounded(1);
        let arrived = Arc::new(AtomicU64::new(0));
        let parked: Vec<_> = (0..count)
            .map(|_| {
                let (waiting, all, arrived) = (waiting.clone(), all.clone(), arrived.clone());
                spawn(move || {
                    if arrived.fetch_add(1, Ordering::Relaxed) + 1 == count {
                        all.send(()).expect("the other end is there");
                    }
                    assert!(waiting.recv().is_err());
                })
            })
            .collect();
        arrival.recv().expect("the last one comes");
        (end, parked)
    };
    let wake = |(end, parked): (Sender<()>, Vec<JoinHandle<()>>)| {
        drop(end);
        for routine in parked {
            routine.join().expect("no routine panics");
        }
    };
    crowd(count, park, wake)
}
