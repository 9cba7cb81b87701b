//! Coroutines of may. Its channels are unbounded, and each branch of its `select!` is a coroutine that is cancelled if
//! another wins: so only what is the same work as elsewhere is here. It has no files: a coroutine that reads one blocks its
//! worker.

#[path = "../../src/cpu.rs"]
mod cpu;
#[path = "../../src/files.rs"]
mod files;
#[path = "../../src/tasks.rs"]
mod tasks;

use std::fs::File;
use std::sync::Arc;

use may::coroutine::{JoinHandle, yield_now};
use may::go;
use may::sync::Mutex;
use may::sync::mpsc::{Sender, channel, channel as unbounded};

use crate::Options;
use crate::workload::{
    BURST, CROWD, FAN_OUT, LEAVES, LIMIT, Numbers, PRODUCERS, RIVALS, Workload, even, uneven,
};

pub(crate) fn run(options: &Options) -> Option<Numbers> {
    let work: fn(u64) = match options.workload {
        Workload::Yield => tasks::yields,
        Workload::SpawnJoin => tasks::spawn_join,
        Workload::SpawnBatch => tasks::spawn_batch,
        Workload::Mpsc => mpsc,
        Workload::Mutex => mutex,
        Workload::MutexOfMany => mutex_of_many,
        Workload::Files => {
            files::file();
            files::files
        }
        Workload::Skynet => skynet,
        Workload::TimerChurn => timer_churn,
        Workload::CpuEven => |turns| cpu::batches(turns, even),
        Workload::CpuUneven => |turns| cpu::batches(turns, uneven),
        _ => return None,
    };
    may::config().set_workers(options.workers());
    let (workload, seconds) = (options.workload, options.seconds);
    let measure = go!(move || workload.measure(seconds, work));
    Some(measure.join().expect("the workload does not panic"))
}

/// Spawns a coroutine.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    go!(work)
}

fn mpsc(turns: u64) {
    let share = BURST / PRODUCERS;
    for _ in 0..turns / BURST {
        let (sender, receiver) = channel();
        for _ in 0..PRODUCERS {
            let sender = sender.clone();
            go!(move || {
                (0..share).for_each(|turn| sender.send(turn).expect("the receiver is there"));
            });
        }
        drop(sender);
        assert_eq!(receiver.iter().sum::<u64>(), PRODUCERS * (share * (share - 1) / 2));
    }
}

fn mutex(turns: u64) {
    contend(turns, RIVALS);
}

fn mutex_of_many(turns: u64) {
    contend(turns, CROWD);
}

fn contend(turns: u64, rivals: u64) {
    let count = Arc::new(Mutex::new(0));
    let all: Vec<_> = (0..rivals)
        .map(|_| {
            let count = count.clone();
            go!(move || {
                for _ in 0..turns / rivals {
                    *count.lock().expect("no rival panics") += 1;
                }
            })
        })
        .collect();
    for rival in all {
        rival.join().expect("no rival panics");
    }
    assert_eq!(*count.lock().expect("no rival panics"), turns);
}

fn skynet(turns: u64) {
    for _ in 0..turns / LEAVES {
        let (sender, result) = channel();
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
    let (sender, sums) = channel();
    let share = leaves / FAN_OUT;
    for child in 0..FAN_OUT {
        let sender = sender.clone();
        go!(move || node(sender, first + child * share, share));
    }
    parent.send(sums.iter().take(FAN_OUT as usize).sum()).expect("the parent waits");
}

/// Each receive sets a timer and stops it, as the answer comes in time.
fn timer_churn(turns: u64) {
    let (ping, pings) = channel();
    let (pong, pongs) = channel();
    let other = go!(move || {
        for number in pings.iter() {
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
