//! What is measured: the same for all contestants. Both packages, this and `others`, contain this file; `main.go` says
//! the same in Go.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};
use std::{env, process};

use clap::ValueEnum;

/// Routines of a batch.
pub(crate) const BATCH: u64 = 1000;

/// Pairs that play ping-pong at once: more than there are cores, so that a core finds another when one waits.
pub(crate) const PAIRS: u64 = 100;

/// Room in a channel with a buffer.
pub(crate) const CAPACITY: usize = 128;

/// Who sends into a channel of many, and, if many receive, how many do.
pub(crate) const PRODUCERS: u64 = 4;

/// Messages that producers send before they begin anew: bounds what an unbounded channel has to hold, so that the
/// channel is measured and not the kernel's page faults.
pub(crate) const BURST: u64 = 100_000;

/// Who wants the mutex.
pub(crate) const RIVALS: u64 = 8;

/// Who wants it in a crowd: a list in which all wait for long.
pub(crate) const CROWD: u64 = 200;

/// Primes of the sieve, and the last of them.
pub(crate) const PRIMES: usize = 1500;
pub(crate) const LAST_PRIME: u64 = 12_553;

/// Leaves of the tree of skynet, and children of a node.
pub(crate) const LEAVES: u64 = 1_000_000;
pub(crate) const FAN_OUT: u64 = 10;

/// Who reads a file, how much of it at a time, and how long it is: 64 MiB.
pub(crate) const READERS: u64 = 256;
pub(crate) const BLOCK: usize = 4096;
pub(crate) const BLOCKS: u64 = 16_384;

/// Who computes in a batch, and a measure of how much: rounds of some nanoseconds each.
pub(crate) const HEAVY: u64 = 64;
const ROUNDS: u64 = 10_000;

/// Rounds that one of the heavy does, by its number; both functions have the same sum over all.
pub(crate) fn even(_number: u64) -> u64 {
    ROUNDS * (HEAVY + 1) / 2
}

pub(crate) fn uneven(number: u64) -> u64 {
    ROUNDS * (number + 1)
}

/// Does rounds of Marsaglia's xorshift, each of which needs the one before. Its result is never 0.
pub(crate) fn compute(rounds: u64) -> u64 {
    let mut number: u64 = black_box(88_172_645_463_325_252);
    for _ in 0..rounds {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
    }
    number
}

/// The limit of a receive that never takes that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);

/// Who sleeps, and how long each of them.
pub(crate) const SLEEPERS: u64 = 100_000;

pub(crate) fn nap(number: u64) -> Duration {
    Duration::from_millis(number * 7_919 % 1000 + 1)
}

/// How much later than it should a sleeper woke.
pub(crate) fn late(number: u64, slept: Duration) -> Duration {
    slept.checked_sub(nap(number)).expect("no sleep is too short")
}

/// What a contestant prints: numbers by name.
pub(crate) type Numbers = Vec<(&'static str, f64)>;

pub(crate) fn print(numbers: Numbers) {
    for (name, value) in numbers {
        println!("{name}={value:.2}");
    }
}

/// Quantiles of how late sleepers woke: of the second time, when all memory is there.
pub(crate) fn lateness(sleep: impl Fn() -> Vec<Duration>) -> Numbers {
    sleep();
    let mut late = sleep();
    late.sort_unstable();
    let quantile = |share: f64| late[(late.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    vec![("µs p50", quantile(0.5)), ("µs p99", quantile(0.99))]
}

/// What a crowd of routines that wait weighs, and what making and ending one of them takes: once, in a process that has
/// done nothing else, as for most programs it is the first time that counts.
pub(crate) fn crowd<T>(count: u64, park: impl FnOnce() -> T, wake: impl FnOnce(T)) -> Numbers {
    let before = resident();
    let start = Instant::now();
    let parked = park();
    let parking = start.elapsed();
    let grown = resident().saturating_sub(before);
    let start = Instant::now();
    wake(parked);
    let waking = start.elapsed();
    let each = |sum: f64| sum / count as f64;
    vec![
        ("B each", each(grown as f64)),
        ("ns to spawn and park each", each(parking.as_secs_f64() * 1e9)),
        ("ns to wake and finish each", each(waking.as_secs_f64() * 1e9)),
    ]
}

/// Bytes of memory that this process occupies.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kilobytes.map(|kilobytes: u64| kilobytes * 1024).expect("it is a number")
}

/// The block of the file that a reader reads in a turn: never near the last one.
pub(crate) fn block_of(reader: u64, turn: u64) -> u64 {
    (reader * 61 + turn * 6_151) % BLOCKS
}

/// What all of a block consists of.
pub(crate) fn first_byte(block: u64) -> u8 {
    (block % 251) as u8
}

/// A file without a name, which goes when the process does. Just written, it is in the kernel's cache.
pub(crate) fn cached_file() -> File {
    let path = env::temp_dir().join(format!("rust-routines-{}", process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let mut file = file.expect("a file can be made");
    fs::remove_file(&path).expect("it is there");
    for block in 0..BLOCKS {
        file.write_all(&[first_byte(block); BLOCK]).expect("there is room");
    }
    file
}

/// Turns that all others are a multiple of: divides by pairs, producers, rivals and channels to select from.
const STEP: u64 = 3200;
const _: () = assert!(STEP.is_multiple_of(PAIRS) && STEP.is_multiple_of(RIVALS * PRODUCERS));

/// A first, shorter run chooses the number of turns, and warms up. This is its share of the time, at least.
const FIRST_SHARE: f64 = 0.1;

/// "A routine" is what the contestant has for it: a routine, a task, a coroutine or a thread.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Workload {
    /// A coroutine without a runtime is resumed and suspends: what a switch is made of
    RawSwitch,
    /// Two routines yield to each other; a turn is one switch
    Yield,
    /// A routine is spawned and joined, one after the other
    SpawnJoin,
    /// Routines are spawned and joined a thousand at a time; a turn is one of them
    SpawnBatch,
    /// Two routines hand a number back and forth over channels without a buffer; a turn is there and back
    PingPong,
    /// The same of 100 pairs at once; a turn is there and back of one pair
    PingPongs,
    /// One routine sends to another, in a channel with room for 128; a turn is a message
    Spsc,
    /// Four send to four, in one channel with room for 128; a turn is a message
    Mpmc,
    /// Four send to one, in bursts that a channel holds as a whole; a turn is a message
    Mpsc,
    /// One routine selects from 4 channels with room for 128, each with its sender; a turn is a message
    Select4,
    /// The same from 32 channels
    Select32,
    /// Eight routines count under one mutex; a turn is a lock
    Mutex,
    /// Two hundred routines count under one mutex; a turn is a lock
    MutexOfMany,
    /// 256 routines read a cached file of 64 MiB, 4 KiB at a time at changing positions; a turn is a read
    Files,
    /// 1,500 primes through a chain of filters, one routine each, with rendezvous between; a turn is the whole sieve
    Sieve,
    /// A tree of routines, ten to each node, of which a million are leaves, sends sums to its root; a turn is a leaf
    Skynet,
    /// A routine answers another, which waits for that a second at most; a turn is there and back
    TimerChurn,
    /// 64 routines wait for a message each and then compute, all as long; a turn is the whole batch
    CpuEven,
    /// The same, but the second computes twice as long as the first, and so on; the whole is as much
    CpuUneven,
    /// As even, but all wait on the worker of the routine that spawned them, as the others were busy then
    CpuOneWorker,
    /// 100,000 routines sleep up to a second, to the millisecond
    Sleeps,
    /// 100,000 routines wait for the same event
    Parked100k,
    /// A million do
    Parked1m,
    /// Two threads write one word in turns, and wait busily; a turn is there and back
    CacheLine,
    /// Two threads of the system wake each other; a turn is there and back
    Handoff,
    /// A call of the kernel that does nothing
    Syscall,
    /// 4 KiB of a cached file are read by a plain thread
    Pread,
}

impl Workload {
    /// The fewest turns that can be done.
    fn step(self) -> u64 {
        match self {
            Self::SpawnBatch => BATCH,
            Self::Mpsc => BURST,
            Self::Files => READERS * 16,
            Self::Sieve | Self::CpuEven | Self::CpuUneven | Self::CpuOneWorker => 1,
            Self::Skynet => LEAVES,
            _ => STEP,
        }
    }

    /// Nanoseconds per turn of something that does as many turns as it is told.
    pub(crate) fn measure(self, seconds: f64, work: impl Fn(u64)) -> Numbers {
        let run = |turns| {
            let start = Instant::now();
            work(turns);
            start.elapsed().max(Duration::from_nanos(1))
        };
        let mut turns = self.step();
        let mut first = run(turns);
        while first.as_secs_f64() < seconds * FIRST_SHARE {
            turns *= 2;
            first = run(turns);
        }
        let steps = turns as f64 / self.step() as f64 * seconds / first.as_secs_f64();
        let turns = self.step() * (steps as u64).max(1);
        vec![("ns", run(turns).as_secs_f64() * 1e9 / turns as f64)]
    }
}
