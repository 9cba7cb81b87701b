//! The two seams of the runtime: [`IoDriver`] and [`TimerDriver`].
//!
//! Everything a backend's author needs is in this module and documented as a contract; nothing else
//! of the runtime is. Core names no backend, and a backend never calls the scheduler: drivers hand
//! back what has finished, and the scheduler wakes the routines.

pub(crate) mod cached;
pub(crate) mod edges;
pub mod io;
pub mod operation;
pub(crate) mod perform;
mod thread;
pub mod timer;

pub use io::{Completions, DriverWaker, IoBackend, IoConfig, IoDriver, PoolMetrics, Submitted};
pub use operation::{Action, Attempt, Interest, OpQueue, OpRef, Operation, Source, SourceKind};
pub use thread::spawn_thread;
pub use timer::{TimerBackend, TimerDriver, TimerId, TimerKey};
