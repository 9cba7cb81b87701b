//! Goroutines for Rust: plain blocking code, a million of it at a time.
//!
//! [`spawn`] starts a *routine*, a task with a stack of its own. Inside, write ordinary blocking code: the
//! calls of this crate (`recv`, `join`, `sleep`, `read`, `accept`) park the routine and never its thread, so a
//! million routines share a handful of threads. There is no `async`, and nothing to colour.
//!
//! ```
//! use rust_routines::channel::bounded;
//!
//! let (sender, receiver) = bounded(0);
//! for i in 1..=100 {
//!     let sender = sender.clone();
//!     rust_routines::spawn(move || sender.send(i * i).unwrap());
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<u32>(), 338_350);
//! ```
//!
//! # What is where
//!
//! | here | like | what |
//! |---|---|---|
//! | [`spawn`], [`scope`], [`group`](group()), [`Builder`], [`JoinHandle`], [`park`], [`current`] | `std::thread` | routines |
//! | [`channel`], [`channel::select!`] | crossbeam-channel | message passing |
//! | [`sync`] | `std::sync` | locks and the like |
//! | [`net`], [`fs`], [`io`] | `std::net`, `std::os::unix::net`, `std::fs`, `std::io` | sockets, files, the standard streams |
//! | [`process`] | `std::process` | child processes |
//! | [`signal`] | — | signals, ctrl-c among them, as messages |
//! | [`os::fd::Watched`] | — | wait for any descriptor: sockets of C libraries, devices |
//! | [`sleep`], [`sleep_until`], [`time`] | `std::thread` | time, and limits to it |
//! | [`blocking`] | — | run anything that blocks its thread |
//! | [`routine_local!`] | `thread_local!` | values per routine |
//! | [`Runtime`] | — | workers, drivers, shutdown, metrics |
//! | [`driver`] | — | bring your own I/O driver or timer |
//!
//! [`guide`] puts these beside what they replace, for those who come [from Go](guide::from_go) and [from std or
//! crossbeam](guide::from_std).
//!
//! Outside of routines the same calls block the calling thread, so code need not know where it runs.
//!
//! # Choosing drivers
//!
//! Features add drivers; with several of a kind, the default is the first of the list.
//!
//! | feature | driver |
//! |---|---|
//! | `io-mio` (default) | an epoll reactor per worker, through mio |
//! | `io-polling` | the same reactor, through polling |
//! | `io-uring` | an io_uring per worker; Linux 5.13 or later |
//! | `io-pool` | up to 128 threads that block, and as many for closures |
//! | `timer-hierarchical` (default) | hierarchical wheel, exact to the nanosecond |
//! | `timer-hashed` | hashed wheel with a tick of 10 ms |
//! | `timer-heap` | four-ary heap, exact; time per timer grows with the logarithm of their number |
//!
//! [`Runtime::builder`] takes any of them, or one of yours: `examples/custom_driver` has one of each kind. The
//! global runtime, which free functions use outside of routines, heeds `RUST_ROUTINES_WORKERS`,
//! `RUST_ROUTINES_STACK_SIZE` (in bytes), `RUST_ROUTINES_IO` (`mio`, `polling`, `uring`, `pool`) and
//! `RUST_ROUTINES_TIMER` (`hierarchical`, `hashed`, `heap`). Where the kernel has no io_uring or denies it, the global
//! runtime uses the first of the other drivers in the place of `uring`, and warns through `tracing`; the builder's
//! runtimes report the error.
//!
//! # Placement
//!
//! A routine that has started stays on its worker: its thread-locals keep their address, so that safe code is
//! sound in it. (All but one thing: the initializer of a `thread_local!` must not block. `docs/soundness.md` in the repository
//! says why, and what else to know.) Idle workers take routines that have *not*
//! started. It follows that a started routine which is ready waits while another of its worker computes: put
//! long computation into a routine of its own, or call [`yield_now`] now and then. [`Builder::spread`] places
//! routines on all workers in turn.

#[cfg(not(any(
    feature = "io-mio",
    feature = "io-polling",
    feature = "io-uring",
    feature = "io-pool"
)))]
compile_error!(
    "rust-routines needs an I/O driver: enable the feature `io-mio`, `io-polling`, `io-uring` or \
     `io-pool`"
);

#[cfg(not(any(feature = "timer-hierarchical", feature = "timer-hashed", feature = "timer-heap")))]
compile_error!(
    "rust-routines needs a timer: enable the feature `timer-hierarchical`, `timer-hashed` or \
     `timer-heap`"
);

pub mod drivers;
mod global;
pub mod guide;
mod runtime;
mod spawn;

pub use rust_routines_core::{
    AccessError, Canceled, Dump, Group, Handle, JoinHandle, Leftover, LocalKey, Metrics, Routine,
    RoutineId, RoutineState, Scope, ScopedJoinHandle, WaitReason, available_parallelism, blocking,
    channel, current, driver, fs, io, net, os, park, park_timeout, process, routine_local, signal,
    sleep, sleep_until, sync, time, yield_now,
};

pub use crate::runtime::{Runtime, RuntimeBuilder};
pub use crate::spawn::{Builder, group, group_with_token, scope, spawn};
