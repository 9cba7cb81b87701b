//! Scheduler, routines, channels and driver traits of Rust Routines.
//!
//! Users depend on `rust-routines`, which puts this together with the drivers that its features choose.
//! This crate knows no driver by name; what a driver's author needs is in [`driver`].

pub mod channel;
pub mod driver;
pub mod fs;
pub mod io;
pub mod net;
pub mod os;
pub mod process;
pub mod signal;
pub mod sync;
pub mod time;

mod backoff;
mod blocking;
mod brief;
mod claim;
mod limit;
mod park;
mod primitive;
mod routine;
mod runtime;
mod stack;
mod unwinding;
mod wait_list;

pub use blocking::blocking;
pub use park::WaitReason;
pub use routine::{
    AccessError, Builder, Canceled, Group, JoinHandle, LocalKey, Routine, RoutineId, Scope,
    ScopedJoinHandle, current, park, park_timeout, yield_now,
};
pub use runtime::{Dump, Handle, Leftover, Metrics, RoutineState, Runtime, RuntimeBuilder};
pub use std::thread::available_parallelism;
pub use time::{sleep, sleep_until};
