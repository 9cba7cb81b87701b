//! The Rust side of `benches/peers/run`: does one workload for about as long as asked, and prints how many
//! nanoseconds one turn of it took, or what else it counts. `main.go` is its counterpart.

mod channels;
mod cpu;
mod crowd;
mod files;
mod floors;
mod mutex;
mod select;
mod tasks;
mod workload;

use std::hint::black_box;
use std::io;
use std::thread;

use clap::Parser;
use corosensei::{Coroutine, CoroutineResult};
use rust_routines::channel::unbounded;
use rust_routines::fs::File;
use rust_routines::sync::Mutex;
use rust_routines::{Runtime, channel, spawn, yield_now};

use workload::{Numbers, Workload, even, uneven};

#[derive(Debug, Parser)]
struct Options {
    workload: Workload,

    /// Worker threads [default: one per core]
    #[arg(long)]
    workers: Option<usize>,

    /// The I/O driver [default: the first]
    #[arg(long)]
    io: Option<String>,

    /// The timer [default: the first]
    #[arg(long)]
    timer: Option<String>,

    /// How long to measure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

fn main() {
    let options = Options::parse();
    let numbers = match options.workload {
        Workload::RawSwitch => measure(&options, raw_switch),
        Workload::Yield => in_routine(&options, tasks::yields),
        Workload::SpawnJoin => in_routine(&options, tasks::spawn_join),
        Workload::SpawnBatch => in_routine(&options, tasks::spawn_batch),
        Workload::PingPong => in_routine(&options, channels::ping_pong),
        Workload::PingPongs => in_routine(&options, channels::ping_pongs),
        Workload::Spsc => in_routine(&options, channels::spsc),
        Workload::Mpmc => in_routine(&options, channels::mpmc),
        Workload::Mpsc => in_routine(&options, channels::mpsc),
        Workload::Select4 => in_routine(&options, select::select_4),
        Workload::Select32 => in_routine(&options, select::select_32),
        Workload::Mutex => in_routine(&options, mutex::mutex),
        Workload::MutexOfMany => in_routine(&options, mutex::mutex_of_many),
        Workload::Files => {
            files::file();
            in_routine(&options, files::files)
        }
        Workload::Sieve => in_routine(&options, crowd::sieve),
        Workload::Skynet => in_routine(&options, crowd::skynet),
        Workload::TimerChurn => in_routine(&options, channels::timer_churn),
        Workload::CpuEven => in_routine(&options, |turns| cpu::batches(turns, even)),
        Workload::CpuUneven => in_routine(&options, |turns| cpu::batches(turns, uneven)),
        Workload::CpuOneWorker => {
            let workers = options.workers();
            in_routine(&options, |turns| cpu::batches_of_one_worker(turns, workers, even))
        }
        Workload::Sleeps => once_in_routine(&options, || workload::lateness(crowd::sleeps)),
        Workload::Parked100k => once_in_routine(&options, || crowd::parked(100_000)),
        Workload::Parked1m => once_in_routine(&options, || crowd::parked(1_000_000)),
        Workload::CacheLine => measure(&options, floors::cache_line),
        Workload::Handoff => measure(&options, floors::handoff),
        Workload::Syscall => measure(&options, floors::syscall),
        Workload::Pread => {
            let file = workload::cached_file();
            measure(&options, |turns| floors::pread(&file, turns))
        }
    };
    workload::print(numbers);
}

impl Options {
    /// How many workers there are.
    fn workers(&self) -> usize {
        let cores = || thread::available_parallelism().expect("there are cores").get();
        self.workers.unwrap_or_else(cores)
    }
}

fn measure(options: &Options, work: impl Fn(u64)) -> Numbers {
    options.workload.measure(options.seconds, work)
}

fn in_routine(options: &Options, work: impl Fn(u64) + Send) -> Numbers {
    once_in_routine(options, || measure(options, work))
}

fn once_in_routine(options: &Options, work: impl FnOnce() -> Numbers + Send) -> Numbers {
    let runtime = runtime(options).expect("a runtime can be made");
    let numbers = runtime
        .handle()
        .scope(|scope| scope.spawn(work).join().expect("the workload does not panic"));
    runtime.shutdown();
    numbers
}

fn runtime(options: &Options) -> io::Result<Runtime> {
    let mut builder = Runtime::builder().workers(options.workers());
    if let Some(name) = &options.io {
        builder = builder.io_named(name)?;
    }
    if let Some(name) = &options.timer {
        builder = builder.timer_named(name)?;
    }
    builder.build()
}

fn raw_switch(turns: u64) {
    let mut coroutine = Coroutine::new(|yielder, first| {
        let mut turn: u64 = first;
        loop {
            turn = yielder.suspend(turn);
            if turn == 0 {
                return;
            }
        }
    });
    for turn in 1..=turns {
        black_box(coroutine.resume(turn));
    }
    assert!(matches!(coroutine.resume(0), CoroutineResult::Return(())));
}
