//! What belongs to the operating system, where [`std::os`] has it.

pub mod fd;

/// The parts of [`std::os::unix`] that wait.
pub mod unix {
    pub use crate::fs::unix as fs;
    pub use crate::net::unix as net;
}
