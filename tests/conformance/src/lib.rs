//! Suites that every driver of Rust Routines must pass, its own and yours.
//!
//! The contracts of the two seams are written where the traits are, in
//! [`rust_routines_core::driver`]; here they are tests. A suite is a macro that stamps the same tests
//! into a module per driver, so a failure reads `hierarchical::cancel_after_expiry_does_nothing`, and
//! every test says in a line what would make it fail.
//!
//! Add this crate to the `dev-dependencies` of yours, from the repository that you have the runtime from:
//!
//! ```toml
//! [dev-dependencies]
//! rust-routines-conformance = { git = "…", version = "0.1" }
//! ```
//!
//! The drivers of `examples/custom_driver`, made of public items alone, go through all of this in
//! `tests/conformance/tests/custom_driver.rs`.
//!
//! # Timers
//!
//! In the `tests/conformance.rs` of yours:
//!
//! ```
//! # #![allow(dead_code)]
//! # use std::collections::BTreeMap;
//! # use rust_routines_core::driver::{TimerDriver, TimerId, TimerKey};
//! # #[derive(Debug)] struct Sundial { minutes: u64 }
//! # impl TimerDriver for Sundial {
//! #     fn name(&self) -> &'static str { "sundial" }
//! #     fn insert(&mut self, _: u64, _: TimerKey) -> TimerId { TimerId(0) }
//! #     fn cancel(&mut self, _: TimerId) -> Option<TimerKey> { None }
//! #     fn next_deadline(&self) -> Option<u64> { None }
//! #     fn advance(&mut self, _: u64, _: &mut Vec<TimerKey>) {}
//! #     fn len(&self) -> usize { 0 }
//! # }
//! use std::time::Duration;
//!
//! use rust_routines_conformance::timer_driver_suite;
//!
//! timer_driver_suite!(
//!     sundial,
//!     || Sundial { minutes: 15 },
//!     granularity = Duration::from_secs(15 * 60)
//! );
//! # fn main() {}
//! ```
//!
//! Stamp it once for every shape a driver comes in, the smallest ones above all: a wheel with one
//! slot goes round more often in a test than a roomy one does in a year. See
//! [`timer_driver_suite!`] and [`timer`].
//!
//! # I/O
//!
//! The same for a backend, on sockets of the loopback interface, pipes and temporary files. Each test starts
//! its own binary again, to be alone in a process where it counts what is left behind; so the file must use the
//! standard test harness. [`faulty_driver_suite!`] stamps the suite once more, on a driver that is interrupted, late
//! and out of order on purpose:
//!
//! ```
//! # #![allow(dead_code)]
//! # use std::io;
//! # use rust_routines_core::driver::{IoBackend, IoConfig, IoDriver};
//! # #[derive(Default)] struct Pigeons;
//! # impl Pigeons { fn new() -> Self { Self } }
//! # impl IoBackend for Pigeons {
//! #     fn name(&self) -> &'static str { "pigeons" }
//! #     fn driver(&self, _: &IoConfig) -> io::Result<Box<dyn IoDriver>> { todo!() }
//! # }
//! use rust_routines_conformance::{faulty_driver_suite, io_driver_suite};
//!
//! io_driver_suite!(pigeons, Pigeons::new);
//! faulty_driver_suite!(faulty_pigeons, Pigeons::new);
//! # fn main() {}
//! ```
//!
//! See [`io_driver_suite!`] and [`io`].
//!
//! # Faults
//!
//! [`Faulty`] is what the last of these puts around a backend. It goes wherever a backend goes, so a program can be
//! tested on it: what reads and writes as std says it must notices nothing.

mod faulty;
pub mod io;
pub mod timer;

pub use self::faulty::Faulty;
