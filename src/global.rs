//! The runtime that free functions use outside of routines. Made on first use, lives as long as the
//! process, as threads do that nobody joins. A program that leaves the choice of its drivers to this one runs also where
//! the kernel refuses the first choice.

use std::env;
use std::io;

use parking_lot::Mutex;
use rust_routines_core::Handle;

use crate::drivers::{io_names, usable};
use crate::runtime::{Runtime, RuntimeBuilder};

static GLOBAL: Mutex<Option<Runtime>> = Mutex::new(None);

/// The runtime of the calling routine, or else the global one.
///
/// # Errors
///
/// If the global runtime cannot be made: the operating system refuses, or an environment variable makes no
/// sense. A later call tries again.
pub(crate) fn current() -> io::Result<Handle> {
    if let Some(handle) = Handle::try_current() {
        return Ok(handle);
    }
    let mut global = GLOBAL.lock();
    let runtime = match &mut *global {
        Some(runtime) => runtime,
        none => none.insert(from_environment()?.build()?),
    };
    Ok(runtime.handle().clone())
}

fn from_environment() -> io::Result<RuntimeBuilder> {
    let mut builder = Runtime::builder();
    if let Some(count) = number("RUST_ROUTINES_WORKERS")? {
        builder = builder.workers(count);
    }
    if let Some(bytes) = number("RUST_ROUTINES_STACK_SIZE")? {
        builder = builder.stack_size(bytes);
    }
    let io = variable("RUST_ROUTINES_IO")?;
    if let Some(name) = io.as_deref().or(io_names().next()) {
        builder =
            builder.io_named(usable(name)).map_err(|error| about("RUST_ROUTINES_IO", error))?;
    }
    if let Some(name) = variable("RUST_ROUTINES_TIMER")? {
        builder =
            builder.timer_named(&name).map_err(|error| about("RUST_ROUTINES_TIMER", error))?;
    }
    Ok(builder)
}

fn number(name: &str) -> io::Result<Option<usize>> {
    let Some(value) = variable(name)? else { return Ok(None) };
    value.parse().map(Some).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{name}={value:?}: {error}"))
    })
}

/// An error that says which variable is to blame.
fn about(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// The value of an environment variable; an empty one counts as not set.
fn variable(name: &str) -> io::Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok((!value.is_empty()).then_some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {error}"))),
    }
}
