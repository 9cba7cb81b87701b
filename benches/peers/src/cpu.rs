//! Batches of pure computation, for contestants whose API is that of `std`: the module around says whose `spawn` and
//! `unbounded` channel these are.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{spawn, unbounded};
use crate::workload::{HEAVY, compute};

/// Batches, of which each does the rounds that it has by its number.
pub(super) fn batches(turns: u64, rounds: fn(u64) -> u64) {
    (0..turns).for_each(|_| batch(rounds, 1));
}

/// Does the same on so many workers, of which all but one are busy until the batch waits.
#[allow(dead_code, reason = "not all contestants choose their workers")]
pub(super) fn batches_of_one_worker(turns: u64, workers: usize, rounds: fn(u64) -> u64) {
    (0..turns).for_each(|_| batch(rounds, workers));
}

fn batch(rounds: fn(u64) -> u64, workers: usize) {
    let busy = (workers > 1).then(|| Busy::others(workers - 1));
    let (arrival, arrivals) = unbounded();
    let tasks: Vec<_> = (0..HEAVY)
        .map(|number| {
            let arrival = arrival.clone();
            let (start, started) = unbounded();
            let task = spawn(move || {
                arrival.send(()).expect("the other end is there");
                started.recv().expect("the other end is there");
                compute(rounds(number))
            });
            (start, task)
        })
        .collect();
    for _ in 0..HEAVY {
        arrivals.recv().expect("the other end is there");
    }
    drop(busy);
    for (start, _) in &tasks {
        start.send(()).expect("the other end is there");
    }
    for (_, task) in tasks {
        assert_ne!(task.join().expect("no task panics"), 0);
    }
}

/// Keeps workers busy until it is dropped.
struct Busy {
    enough: Arc<AtomicBool>,
}

impl Busy {
    /// Keeps so many busy, none of which is that of the caller: it does not give way until they are.
    fn others(count: usize) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let busy = Arc::new(AtomicUsize::new(0));
        for number in 1..=count {
            let (enough, now_busy) = (enough.clone(), busy.clone());
            spawn(move || {
                now_busy.fetch_add(1, Ordering::Relaxed);
                while !enough.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
            // What was spawned last may be kept for this worker.
            spawn(|| ());
            while busy.load(Ordering::Relaxed) < number {
                spin_loop();
            }
        }
        // What is spawned after this is a batch of its own, not the rest of one that others have begun to take.
        spawn(|| ()).join().expect("nothing does not panic");
        Self { enough }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
    }
}
