//! What a reservation ran into.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;

/// Why there are no more stacks: inside an [`io::Error`] of kind `OutOfMemory`.
#[derive(Debug)]
pub(super) enum Exhausted {
    /// The kernel refused the memory.
    Memory { stacks: usize, stack_size: usize, limit: Limit, source: io::Error },
    /// `mprotect` guards would have used up the process's mappings.
    Mappings { stacks: usize, free: usize, max_map_count: usize },
}

/// The limit that most likely made the kernel refuse memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `RLIMIT_AS`, in bytes.
    AddressSpace(libc::rlim_t),
    /// `RLIMIT_DATA`, in bytes.
    Data(libc::rlim_t),
    /// `vm.overcommit_memory` is 2.
    StrictOvercommit,
    /// None of them: what the machine has.
    Machine,
}

impl Exhausted {
    /// The error for `stacks` stacks that could not be mapped.
    pub(super) fn memory(stacks: usize, stack_size: usize, source: io::Error) -> Self {
        Self::Memory { stacks, stack_size, limit: Limit::in_force(), source }
    }
}

impl Limit {
    fn in_force() -> Self {
        if let Some(bytes) = resource_limit(libc::RLIMIT_AS) {
            return Self::AddressSpace(bytes);
        }
        if let Some(bytes) = resource_limit(libc::RLIMIT_DATA) {
            return Self::Data(bytes);
        }
        match fs::read_to_string("/proc/sys/vm/overcommit_memory") {
            Ok(mode) if mode.trim() == "2" => Self::StrictOvercommit,
            _ => Self::Machine,
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

/// The soft limit on `resource`, if there is one.
fn resource_limit(resource: Resource) -> Option<libc::rlim_t> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is writable; on an error it stays infinite.
    unsafe { libc::getrlimit(resource, &mut limit) };
    Some(limit.rlim_cur).filter(|&bytes| bytes != libc::RLIM_INFINITY)
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { stacks, stack_size, limit, source } => {
                write!(f, "cannot map {stacks} more stacks of {stack_size} bytes")?;
                match limit {
                    Limit::AddressSpace(bytes) => write!(f, " within RLIMIT_AS, {bytes} bytes")?,
                    Limit::Data(bytes) => write!(f, " within RLIMIT_DATA, {bytes} bytes")?,
                    Limit::StrictOvercommit => f.write_str(" while vm.overcommit_memory is 2")?,
                    Limit::Machine => {}
                }
                write!(f, ": {source}")
            }
            Self::Mappings { stacks, free, max_map_count } => write!(
                f,
                "cannot guard {stacks} more stacks, only {free}: a guard takes two mappings, and \
                 half of those that vm.max_map_count ({max_map_count}) left is kept for the rest of the \
                 process; raise it, or use Linux 6.13 or later, whose guards take none"
            ),
        }
    }
}

impl Error for Exhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Memory { source, .. } => Some(source),
            Self::Mappings { .. } => None,
        }
    }
}

impl From<Exhausted> for io::Error {
    fn from(exhausted: Exhausted) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, exhausted)
    }
}
