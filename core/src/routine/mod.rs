//! Routines: what runs, how it is spawned, joined, named and waited for.

pub(crate) mod builder;
pub(crate) mod cell;
pub(crate) mod completion;
pub(crate) mod fiber;
pub(crate) mod group;
mod handle;
pub(crate) mod join;
pub(crate) mod local;
pub(crate) mod scope;
pub(crate) mod token;

pub use builder::Builder;
pub use cell::Canceled;
pub use group::Group;
pub(crate) use handle::count_as_switch;
pub use handle::{Routine, RoutineId, current, park, park_timeout, yield_now};
pub use join::JoinHandle;
pub use local::{AccessError, LocalKey};
pub use scope::{Scope, ScopedJoinHandle};
