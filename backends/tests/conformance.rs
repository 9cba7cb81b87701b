//! The I/O suite, twice per backend: as it is, and with faults injected.

use rust_routines_conformance::{faulty_driver_suite, io_driver_suite};

#[cfg(feature = "mio")]
io_driver_suite!(mio, rust_routines_backends::Mio::new);
#[cfg(feature = "polling")]
io_driver_suite!(polling, rust_routines_backends::Polling::new);
#[cfg(feature = "uring")]
io_driver_suite!(uring, rust_routines_backends::Uring::new);
#[cfg(feature = "pool")]
io_driver_suite!(pool, rust_routines_backends::Pool::new);

#[cfg(feature = "mio")]
faulty_driver_suite!(faulty_mio, rust_routines_backends::Mio::new);
#[cfg(feature = "polling")]
faulty_driver_suite!(faulty_polling, rust_routines_backends::Polling::new);
#[cfg(feature = "uring")]
faulty_driver_suite!(faulty_uring, rust_routines_backends::Uring::new);
#[cfg(feature = "pool")]
faulty_driver_suite!(faulty_pool, rust_routines_backends::Pool::new);
