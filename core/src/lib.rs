//! Scheduler, routines, channels and driver traits of Rust Routines.

pub mod driver;

pub mod fs;
pub mod net;

mod blocking;
mod io;
mod stack;

pub use blocking::blocking;
