//! Starting threads where there may be no room for them.

use std::io;
use std::thread::{self, JoinHandle};

use crate::runtime::worker::Worker;
use crate::stack;

/// Address space that must be free to start a thread: the stack of one, and as much again several times over for
/// what else happens meanwhile.
const ROOM: usize = 16 << 20;

/// Starts a thread, as `std::thread::Builder` does, or says why not.
///
/// The first thing that a thread of `std` does is to map a stack for its signal handlers, and if that fails the
/// process is aborted. So this makes sure that there is room for both, and leaves other callers of `mmap` time to
/// fail first. Everything in the runtime and its backends that starts threads does it here, lest one of a
/// [bound](crate::RuntimeBuilder::bind_workers) worker is bound, too.
///
/// # Errors
///
/// `OutOfMemory` where the address space is used up, else what the operating system says.
pub fn spawn_thread(name: String, f: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    stack::check_room(ROOM)?;
    let unbound = Worker::unbound();
    thread::Builder::new().name(name).spawn(move || {
        if let Some(allowed) = unbound {
            allowed.apply();
        }
        f();
    })
}
