//! The drivers that `RUST_ROUTINES_IO` and `RUST_ROUTINES_TIMER` ask for, so that the whole suite can be
//! run on each pair.

use std::env;

use rust_routines::{Runtime, RuntimeBuilder};

/// A builder with the chosen drivers, or the defaults.
pub(crate) fn builder() -> RuntimeBuilder {
    let mut builder = Runtime::builder();
    if let Some(name) = variable("RUST_ROUTINES_IO") {
        builder = builder.io_named(&name).expect("a driver that is compiled in");
    }
    if let Some(name) = variable("RUST_ROUTINES_TIMER") {
        builder = builder.timer_named(&name).expect("a timer that is compiled in");
    }
    builder
}

/// An environment variable, unless empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
