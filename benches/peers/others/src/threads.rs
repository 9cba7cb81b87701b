//! Threads of the system. The workloads are those of Rust Routines, file by file.

#[path = "../../src/channels.rs"]
mod channels;
#[path = "../../src/cpu.rs"]
mod cpu;
#[path = "../../src/files.rs"]
mod files;
#[path = "../../src/mutex.rs"]
mod mutex;
#[path = "../../src/select.rs"]
mod select;
#[path = "../../src/tasks.rs"]
#[expect(dead_code, reason = "of these, only one by one is for threads")]
mod tasks;

use std::fs::File;
use std::sync::Mutex;
use std::thread::{spawn, yield_now};

use crossbeam_channel::{self as channel, unbounded};

use crate::Options;
use crate::workload::{Numbers, Workload, even, uneven};

pub(crate) fn run(options: &Options) -> Option<Numbers> {
    let work: fn(u64) = match options.workload {
        Workload::SpawnJoin => tasks::spawn_join,
        Workload::PingPong => channels::ping_pong,
        Workload::PingPongs => channels::ping_pongs,
        Workload::Spsc => channels::spsc,
        Workload::Mpmc => channels::mpmc,
        Workload::Mpsc => channels::mpsc,
        Workload::Select4 => select::select_4,
        Workload::Select32 => select::select_32,
        Workload::Mutex => mutex::mutex,
        Workload::MutexOfMany => mutex::mutex_of_many,
        Workload::Files => {
            files::file();
            files::files
        }
        Workload::TimerChurn => channels::timer_churn,
        Workload::CpuEven => |turns| cpu::batches(turns, even),
        Workload::CpuUneven => |turns| cpu::batches(turns, uneven),
        _ => return None,
    };
    Some(options.workload.measure(options.seconds, work))
}
