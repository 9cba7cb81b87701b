//! The drivers that the enabled features bring, and which of them is the default.
//!
//! The order of the two lists below is the order of precedence. This is the only place that looks at the
//! features.

#[cfg(feature = "io-mio")]
pub use rust_routines_backends::Mio;
#[cfg(feature = "io-polling")]
pub use rust_routines_backends::Polling;
#[cfg(feature = "io-pool")]
pub use rust_routines_backends::Pool;
#[cfg(feature = "io-uring")]
pub use rust_routines_backends::Uring;
use rust_routines_core::RuntimeBuilder;
use rust_routines_core::driver::IoBackend;
#[cfg(feature = "timer-hashed")]
pub use rust_routines_timers::Hashed;
#[cfg(feature = "timer-heap")]
pub use rust_routines_timers::Heap;
#[cfg(feature = "timer-hierarchical")]
pub use rust_routines_timers::Hierarchical;

/// A driver's name, and how to give it to a builder.
pub(crate) type Choice = (&'static str, fn(RuntimeBuilder) -> RuntimeBuilder);

/// The I/O drivers, the default first.
pub(crate) const IO: &[Choice] = &[
    #[cfg(feature = "io-mio")]
    ("mio", |builder| builder.io(ready(Mio::new()))),
    #[cfg(feature = "io-polling")]
    ("polling", |builder| builder.io(ready(Polling::new()))),
    #[cfg(feature = "io-uring")]
    ("uring", |builder| builder.io(ready(Uring::new()))),
    #[cfg(feature = "io-pool")]
    ("pool", |builder| builder.io(ready(Pool::new()))),
];

/// The timers, the default first.
pub(crate) const TIMERS: &[Choice] = &[
    #[cfg(feature = "timer-hierarchical")]
    ("hierarchical", |builder| builder.timer(Hierarchical::new)),
    #[cfg(feature = "timer-hashed")]
    ("hashed", |builder| builder.timer(Hashed::new)),
    #[cfg(feature = "timer-heap")]
    ("heap", |builder| builder.timer(Heap::new)),
];

/// The names of the I/O drivers that are compiled in, the default first.
pub fn io_names() -> impl Iterator<Item = &'static str> {
    IO.iter().map(|(name, _)| *name)
}

/// The driver to use where `name` is wanted and another is better than none: that one, unless the kernel refuses
/// it and there is another. Then it is the first of the others, and the log says why.
pub(crate) fn usable(name: &str) -> &str {
    #[cfg(feature = "io-uring")]
    if name == "uring"
        && let Some(other) = io_names().find(|other| *other != name)
        && let Err(error) = Uring::available()
    {
        tracing::warn!(%error, "the I/O driver uring cannot be used; {other} takes its place");
        return other;
    }
    name
}

/// The names of the timers that are compiled in, the default first.
pub fn timer_names() -> impl Iterator<Item = &'static str> {
    TIMERS.iter().map(|(name, _)| *name)
}

/// A backend for a runtime: as it is, unless `.ci/faults` wants to see how the behaviour tests do on bad manners.
#[cfg(not(rr_faults))]
fn ready<B: IoBackend>(backend: B) -> B {
    backend
}

#[cfg(rr_faults)]
fn ready<B: IoBackend>(backend: B) -> impl IoBackend {
    rust_routines_conformance::Faulty::new(backend)
}
