//! What the compiler knows of our types is what it knows of those that they stand in for. It is checked when this file
//! is compiled.

use std::cell::Cell;
use std::io::{Read, Seek, Write};
use std::iter::FusedIterator;
use std::os::unix::fs::FileExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::Stdio;
use std::rc::Rc;

use static_assertions::{assert_impl_all, assert_not_impl_any};

/// Asserts the same of channels here and there.
macro_rules! of_channels {
    ($($channel:ident),*) => {$(
        assert_impl_all!($channel::Sender<Cell<u8>>: Send, Sync, UnwindSafe, RefUnwindSafe, Clone);
        assert_impl_all!($channel::Receiver<Cell<u8>>: Send, Sync, UnwindSafe, RefUnwindSafe, Clone);
        assert_not_impl_any!($channel::Sender<Rc<u8>>: Send, Sync);
        assert_not_impl_any!($channel::Receiver<Rc<u8>>: Send, Sync);
        assert_impl_all!($channel::Iter<'static, u8>: Send, Sync);
        assert_impl_all!($channel::IntoIter<u8>: Send, Sync);
        assert_impl_all!($channel::Select<'static>: Send, Sync, Clone, Default);
        assert_not_impl_any!($channel::Select<'static>: UnwindSafe, RefUnwindSafe);
        assert_not_impl_any!($channel::SelectedOperation<'static>: Send, Sync);
        assert_impl_all!($channel::TrySelectError: Send, Sync, Copy);
    )*};
}

/// The same of locks.
macro_rules! of_locks {
    ($($sync:path),*) => {$({
        use $sync::{Barrier, Condvar, LazyLock, Mutex, MutexGuard, Once, OnceLock, RwLock};
        use $sync::{RwLockReadGuard, RwLockWriteGuard};
        assert_impl_all!(Mutex<Cell<u8>>: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_not_impl_any!(Mutex<Rc<u8>>: Send, Sync);
        assert_impl_all!(MutexGuard<'static, u8>: Sync, UnwindSafe);
        assert_not_impl_any!(MutexGuard<'static, u8>: Send);
        assert_not_impl_any!(MutexGuard<'static, Cell<u8>>: Sync);
        assert_impl_all!(RwLock<u8>: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_not_impl_any!(RwLock<Cell<u8>>: Sync);
        assert_not_impl_any!(RwLockReadGuard<'static, u8>: Send);
        assert_not_impl_any!(RwLockWriteGuard<'static, u8>: Send);
        assert_impl_all!(RwLockReadGuard<'static, u8>: Sync);
        assert_impl_all!(RwLockWriteGuard<'static, u8>: Sync);
        assert_impl_all!(Condvar: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(Once: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(Barrier: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(OnceLock<u8>: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_not_impl_any!(OnceLock<Cell<u8>>: Sync, RefUnwindSafe);
        assert_impl_all!(LazyLock<u8>: Send, Sync);
        assert_not_impl_any!(LazyLock<Rc<u8>>: Send, Sync);
    })*};
}

/// The same of processes and the standard streams.
macro_rules! of_processes {
    ($($root:ident),*) => {$({
        use $root::io::{PipeReader, PipeWriter, Stderr, Stdin, StdinLock, Stdout, StdoutLock};
        use $root::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
        assert_impl_all!(Child: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(ChildStdin: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(ChildStdout: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(ChildStderr: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(PipeReader: Send, Sync, UnwindSafe, RefUnwindSafe, Into<Stdio>);
        assert_impl_all!(PipeWriter: Send, Sync, UnwindSafe, RefUnwindSafe, Into<Stdio>);
        assert_impl_all!(Stdout: Into<Stdio>);
        assert_impl_all!(Stderr: Into<Stdio>);
        assert_impl_all!(Command: Send, Sync);
        assert_not_impl_any!(Command: UnwindSafe, RefUnwindSafe);
        assert_impl_all!(Stdin: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(Stdout: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(Stderr: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_not_impl_any!(StdinLock<'static>: Send);
        assert_not_impl_any!(StdoutLock<'static>: Send);
    })*};
}

/// The same of sockets and files.
macro_rules! of_sockets_and_files {
    ($($root:ident),*) => {$({
        use $root::fs::{DirBuilder, DirEntry, File, OpenOptions, ReadDir};
        use $root::net::{Incoming, TcpListener, TcpStream, UdpSocket};
        use $root::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
        assert_impl_all!(File: Send, Sync, UnwindSafe, RefUnwindSafe, Read, Write, Seek, FileExt, Into<Stdio>);
        assert_impl_all!(&File: Read, Write, Seek);
        assert_impl_all!(OpenOptions: Send, Sync, UnwindSafe, RefUnwindSafe, Clone);
        assert_impl_all!(DirBuilder: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(DirEntry: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(ReadDir: Send, Sync, UnwindSafe, RefUnwindSafe, Iterator);
        assert_impl_all!(TcpStream: Send, Sync, UnwindSafe, RefUnwindSafe, Read, Write);
        assert_impl_all!(&TcpStream: Read, Write);
        assert_impl_all!(TcpListener: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(Incoming<'static>: Send, Sync, UnwindSafe, RefUnwindSafe, FusedIterator);
        assert_impl_all!(UdpSocket: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(UnixStream: Send, Sync, UnwindSafe, RefUnwindSafe, Read, Write);
        assert_impl_all!(&UnixStream: Read, Write);
        assert_impl_all!(UnixListener: Send, Sync, UnwindSafe, RefUnwindSafe);
        assert_impl_all!(&UnixListener: IntoIterator);
        assert_impl_all!(UnixDatagram: Send, Sync, UnwindSafe, RefUnwindSafe);
    })*};
}

/// What is only to be compiled: a lock may be declared before what its value borrows, and a guard may pass for one of a value
/// that lives shorter.
macro_rules! of_borrows {
    ($($sync:path),*) => {$({
        use $sync::{OnceLock, RwLock, RwLockReadGuard};
        fn shorten<'a>(guard: RwLockReadGuard<'_, &'a i32>, other: &'a i32) -> i32 {
            **guard + *other
        }
        let once = OnceLock::new();
        let five = 5;
        let lock = RwLock::new(&five);
        {
            let (text, six) = (String::from("text"), 6);
            once.set(&text).unwrap();
            assert_eq!(shorten(lock.read().unwrap(), &six), 11);
        }
    })*};
}

#[test]
fn borrows_are_those_of_std() {
    of_borrows!(rust_routines::sync, std::sync);
}

#[test]
fn types_have_the_traits_of_their_models() {
    use rust_routines::channel;
    of_channels!(channel, crossbeam_channel);
    of_locks!(rust_routines::sync, std::sync);
    of_processes!(rust_routines, std);
    of_sockets_and_files!(rust_routines, std);
    assert_eq!(
        rust_routines::available_parallelism().ok(),
        std::thread::available_parallelism().ok()
    );
    assert_impl_all!(rust_routines::Routine: Send, Sync, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(std::thread::Thread: Send, Sync, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(rust_routines::Scope<'static, 'static>: Send, Sync, RefUnwindSafe);
    assert_impl_all!(std::thread::Scope<'static, 'static>: Send, Sync, RefUnwindSafe);
    assert_impl_all!(rust_routines::os::fd::Watched<u8>: Send, Sync);
    assert_not_impl_any!(rust_routines::os::fd::Watched<Rc<u8>>: Send, Sync);
    assert_not_impl_any!(rust_routines::sync::Permit<'static>: Clone);
    assert_impl_all!(rust_routines::sync::CancellationToken: Send, Sync, Clone, UnwindSafe);
    assert_impl_all!(rust_routines::sync::DropGuard: Send, Sync, UnwindSafe, RefUnwindSafe);
    assert_not_impl_any!(rust_routines::sync::DropGuard: Clone);
    assert_impl_all!(rust_routines::sync::Semaphore: Send, Sync, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(rust_routines::sync::WaitGroup: Send, Sync, Clone, UnwindSafe);
    assert_impl_all!(channel::oneshot::Sender<Cell<u8>>: Send, Sync);
    assert_not_impl_any!(channel::oneshot::Sender<u8>: Clone);
}
