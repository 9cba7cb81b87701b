//! The I/O suite, once per backend.

#[cfg(feature = "mio")]
rust_routines_conformance::io_driver_suite!(mio, rust_routines_backends::Mio::new);
#[cfg(feature = "polling")]
rust_routines_conformance::io_driver_suite!(polling, rust_routines_backends::Polling::new);
#[cfg(feature = "uring")]
rust_routines_conformance::io_driver_suite!(uring, rust_routines_backends::Uring::new);
#[cfg(feature = "pool")]
rust_routines_conformance::io_driver_suite!(pool, rust_routines_backends::Pool::new);
