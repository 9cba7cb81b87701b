//! I/O drivers for Rust Routines, one feature each.
//!
//! | feature | type | how |
//! |---|---|---|
//! | `mio` | [`Mio`] | a readiness reactor per worker; what cannot be waited for goes to threads |
//! | `polling` | [`Polling`] | the same reactor on another selector |
//! | `uring` | [`Uring`] | an io_uring per worker, sockets and files alike; closures go to threads |
//! | `pool` | [`Pool`] | one readiness poller for all; whatever is not done at once goes to threads |
//!
//! A program names them only to choose one, `Runtime::builder().io(Mio::new())` for instance.
//!
//! Inside, the backends share what they have in common: `threads` is the pool of threads for work that
//! blocks, `task` rules who may touch an operation while other threads know of it, `signal` makes
//! waking a driver cheap, `readiness` turns edges into completions, and `reactor` makes a driver of all
//! that and any selector; `uring` brings its own part of the kernel. How an operation is performed is core's business
//! ([`OpRef::attempt`](rust_routines_core::driver::OpRef::attempt)), so there is no code per operation
//! here.

#[cfg(any(feature = "mio", feature = "polling", feature = "pool"))]
mod key;
#[cfg(feature = "mio")]
mod mio;
#[cfg(feature = "polling")]
mod polling;
#[cfg(feature = "pool")]
mod pool;
#[cfg(any(feature = "mio", feature = "polling"))]
mod reactor;
#[cfg(any(feature = "mio", feature = "polling"))]
mod readiness;
#[cfg(any(feature = "mio", feature = "polling", feature = "uring", feature = "pool"))]
mod signal;
#[cfg(any(feature = "mio", feature = "polling", feature = "uring", feature = "pool"))]
mod task;
#[cfg(any(feature = "mio", feature = "polling", feature = "uring", feature = "pool"))]
mod threads;
#[cfg(feature = "uring")]
mod uring;

#[cfg(feature = "mio")]
pub use self::mio::Mio;
#[cfg(feature = "polling")]
pub use self::polling::Polling;
#[cfg(feature = "pool")]
pub use self::pool::Pool;
#[cfg(feature = "uring")]
pub use self::uring::Uring;
