//! The flavours of channels, against each other: what a message costs, by who sends and who receives.
//!
//! ```text
//! cargo bench --bench channels
//! ```
//!
//! | row | shows | is bounded by |
//! |---|---|---|
//! | there and back | two routines that take turns | without a buffer as with one, two switches |
//! | 1 to 1 | a stream | a lock for each message and side; with little room, a switch for each as well |
//! | 4 to 1, 4 to 4 | producers that share a channel, and consumers | the same; with two workers, the way of a cache line from one core to the other |
//! | uncontended | a routine that sends to itself, and never waits | the lock alone, twice |
//!
//! Each with one worker and with all of them, since what is won by a second core can be lost on the way to it. The time
//! is that of all messages by their number; there and back are two, and count as one.
//!
//! `select` is over four channels for 128 messages, all in use. `oneshot` is a channel for each answer, which goes along
//! with the question, or is made for each message. A rendezvous with oneself is left out, and so is a stream of one.

mod table;

use std::hint::black_box;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use rust_routines::channel::{Receiver, Sender, bounded, oneshot, select, unbounded};
use rust_routines::{Runtime, spawn};

/// Messages that a roomy channel holds.
const CAPACITY: usize = 128;

/// Channels of a `select`.
const CASES: usize = 4;

#[derive(Clone, Copy)]
enum Workload {
    ThereAndBack,
    Stream { producers: usize, consumers: usize },
    Uncontended,
}

const WORKLOADS: [(&str, Workload); 5] = [
    ("there and back", Workload::ThereAndBack),
    ("1 to 1", Workload::Stream { producers: 1, consumers: 1 }),
    ("4 to 1", Workload::Stream { producers: 4, consumers: 1 }),
    ("4 to 4", Workload::Stream { producers: 4, consumers: 4 }),
    ("uncontended", Workload::Uncontended),
];

/// The sending side of a flavour. Not behind a pointer, since the call would be part of what is measured.
trait Sends: Clone + Send + 'static {
    fn send(&self, message: u64);
    fn try_send(&self, message: u64);
}

trait Receives: Clone + Send + 'static {
    fn recv(&self) -> u64;
    fn try_recv(&self) -> u64;
}

impl Sends for Sender<u64> {
    fn send(&self, message: u64) {
        self.send(message).expect("the receiver is there");
    }

    fn try_send(&self, message: u64) {
        self.try_send(message).expect("there is room");
    }
}

impl Receives for Receiver<u64> {
    fn recv(&self) -> u64 {
        self.recv().expect("the sender is there")
    }

    fn try_recv(&self) -> u64 {
        self.try_recv().expect("there is a message")
    }
}

impl Sends for [Sender<u64>; CASES] {
    fn send(&self, message: u64) {
        Sends::send(&self[message as usize % CASES], message);
    }

    fn try_send(&self, message: u64) {
        Sends::try_send(&self[message as usize % CASES], message);
    }
}

impl Receives for [Receiver<u64>; CASES] {
    fn recv(&self) -> u64 {
        let [first, second, third, fourth] = self;
        let message = select! {
            recv(first) -> message => message,
            recv(second) -> message => message,
            recv(third) -> message => message,
            recv(fourth) -> message => message,
        };
        message.expect("the sender is there")
    }

    fn try_recv(&self) -> u64 {
        let [first, second, third, fourth] = self;
        let message = select! {
            recv(first) -> message => message,
            recv(second) -> message => message,
            recv(third) -> message => message,
            recv(fourth) -> message => message,
            default => unreachable!("there is a message"),
        };
        message.expect("the sender is there")
    }
}

fn four() -> ([Sender<u64>; CASES], [Receiver<u64>; CASES]) {
    let pairs = [(); CASES].map(|()| bounded(CAPACITY));
    (pairs.each_ref().map(|(sender, _)| sender.clone()), pairs.map(|(_, receiver)| receiver))
}

impl Workload {
    /// Does it with channels that `make` makes.
    fn run<S: Sends, R: Receives>(self, make: fn() -> (S, R), turns: u64) {
        match self {
            Workload::ThereAndBack => there_and_back(make, turns),
            Workload::Stream { producers, consumers } => stream(make, producers, consumers, turns),
            Workload::Uncontended => uncontended(make, turns),
        }
    }
}

fn there_and_back<S: Sends, R: Receives>(make: fn() -> (S, R), turns: u64) {
    let (ping, pings) = make();
    let (pong, pongs) = make();
    let other = spawn(move || (0..turns).for_each(|_| pong.send(pings.recv())));
    for turn in 0..turns {
        ping.send(turn);
        assert_eq!(pongs.recv(), turn);
    }
    other.join().expect("the other routine does not panic");
}

fn questions(turns: u64) {
    let (ask, questions) = bounded::<(u64, oneshot::Sender<u64>)>(CAPACITY);
    let other = spawn(move || {
        for (number, answer) in questions {
            answer.send(number).expect("somebody waits");
        }
    });
    for turn in 0..turns {
        let (answer, question) = oneshot::channel();
        ask.send((turn, answer)).expect("the other routine is there");
        assert_eq!(question.recv(), Ok(turn));
    }
    drop(ask);
    other.join().expect("the other routine does not panic");
}

fn stream<S: Sends, R: Receives>(
    make: fn() -> (S, R),
    producers: usize,
    consumers: usize,
    turns: u64,
) {
    let (sender, receiver) = make();
    let consume = |index| {
        let (receiver, share) = (receiver.clone(), share(turns, index, consumers));
        spawn(move || {
            (0..share).for_each(|_| {
                black_box(receiver.recv());
            })
        })
    };
    let produce = |index| {
        let (sender, share) = (sender.clone(), share(turns, index, producers));
        spawn(move || (0..share).for_each(|turn| sender.send(turn)))
    };
    let consumers = (0..consumers).map(consume).collect::<Vec<_>>();
    let producers = (0..producers).map(produce).collect::<Vec<_>>();
    for routine in producers.into_iter().chain(consumers) {
        routine.join().expect("nobody panics");
    }
}

fn uncontended<S: Sends, R: Receives>(make: fn() -> (S, R), turns: u64) {
    let (sender, receiver) = make();
    for turn in 0..turns {
        sender.try_send(turn);
        assert_eq!(receiver.try_recv(), turn);
    }
}

fn alone(turns: u64) {
    for turn in 0..turns {
        let (sender, receiver) = oneshot::channel();
        sender.send(turn).expect("the receiver is there");
        assert_eq!(receiver.try_recv(), Ok(turn));
    }
}

/// The share of one of several routines in the turns.
fn share(turns: u64, index: usize, routines: usize) -> u64 {
    let routines = routines as u64;
    turns / routines + u64::from((index as u64) < turns % routines)
}

/// A row of the table.
struct Row<'a, 'b> {
    group: &'a mut BenchmarkGroup<'b, WallTime>,
    runtime: Runtime,
    workload: Workload,
    workers: String,
}

impl Row<'_, '_> {
    fn flavour<S: Sends, R: Receives>(&mut self, name: &str, make: fn() -> (S, R)) {
        let workload = self.workload;
        self.cell(name, move |turns| workload.run(make, turns));
    }

    fn cell(&mut self, name: &str, work: impl Fn(u64) + Copy + Send + 'static) {
        let id = BenchmarkId::new(name, &self.workers);
        self.group.bench_function(id, |bencher| {
            bencher.iter_custom(|turns| {
                let measured = self.runtime.spawn(move || {
                    let start = Instant::now();
                    work(turns);
                    start.elapsed()
                });
                measured.join().expect("the workload does not panic")
            });
        });
    }
}

fn channels(criterion: &mut Criterion) {
    let all = available_parallelism().map_or(1, usize::from);
    for (name, workload) in WORKLOADS {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        let is_alone = matches!(workload, Workload::Uncontended);
        let mut counts = if is_alone { vec![1] } else { vec![1, all] };
        counts.dedup();
        for count in counts {
            let runtime = Runtime::builder().workers(count).build().expect("a runtime");
            let workers = format!("{count} worker{}", if count == 1 { "" } else { "s" });
            let mut row = Row { group: &mut group, runtime, workload, workers };
            if !is_alone {
                row.flavour("bounded(0)", || bounded(0));
            }
            row.flavour("bounded(1)", || bounded(1));
            row.flavour("bounded(128)", || bounded(CAPACITY));
            row.flavour("unbounded", unbounded);
            row.flavour("select of 4", four);
            match workload {
                Workload::ThereAndBack => row.cell("oneshot", questions),
                Workload::Uncontended => row.cell("oneshot", alone),
                Workload::Stream { .. } => {}
            }
            row.runtime.shutdown();
        }
    }
}

criterion_group! {
    name = benches;
    config = table::sampling(20, Duration::from_millis(300), Duration::from_secs(1));
    targets = channels
}

fn main() {
    table::run("channels, per message", benches);
}
