//! Waiting for descriptors of somebody else's: sockets of C libraries, `inotify`, timers, devices. And what
//! [`std::os::fd`] has.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::driver::edges::Edges;
use crate::driver::perform::{poll_events, poll_now};
use crate::driver::{Action, Interest, Source, SourceKind};
use crate::fs::stat::set_non_blocking;
use crate::io::submit;

/// A descriptor, in whatever owns it, whose readiness can be waited for.
///
/// For what this crate has no type of its own for. The waits park the routine, or block the thread,
/// until the descriptor is ready; what is then done with it is the caller's affair, and
/// [`read_with`](Self::read_with) and [`write_with`](Self::write_with) put the two together.
///
/// - *Ready* means that an operation would not block: there is data, or room, or an end or an error to
///   tell, or urgent data. It is what holds at this moment, as with `poll(2)`, so a wait that comes
///   after the event is not too late. Regular files, directories and the like are always ready.
/// - By the time the caller acts, somebody else may have been faster. In blocking mode that call then
///   blocks its thread and with it a worker: leave a descriptor in that mode only if nobody else reads
///   (or writes) it, otherwise make it [`nonblocking`](Self::nonblocking).
/// - Any number of routines and threads may wait for one descriptor at once, through one `Watched` or
///   several, in either direction. All of them are woken.
/// - The descriptor must not be closed behind the back of its owner, as a C library might that
///   reconnects: who waits for it then waits in vain, and whoever gets the same number next is taken for
///   it. Make a new `Watched` whenever the library has a new descriptor; that costs nothing.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// use rust_routines_core::os::fd::Watched;
///
/// // Stands for the socket of some library.
/// let (socket, mut peer) = UnixStream::pair()?;
/// let socket = Watched::nonblocking(socket)?;
///
/// let writer = std::thread::spawn(move || peer.write_all(b"hello"));
/// let mut greeting = [0; 5];
/// let read = socket.read_with(|mut socket| socket.read(&mut greeting))?;
/// assert_eq!(&greeting[..read], b"hello");
/// writer.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Watched<T> {
    inner: T,
    /// What drivers know the descriptor by: another one whenever it may be another file.
    id: u64,
}

impl<T: AsFd> Watched<T> {
    /// Takes a descriptor in the mode that it is in.
    pub fn new(inner: T) -> Self {
        let id = fresh_id(&inner);
        Self { inner, id }
    }

    /// Takes a descriptor and puts it into non-blocking mode.
    ///
    /// The mode belongs to the open file and not to the descriptor: it changes for all who share it,
    /// duplicates and other processes included, and stays after [`into_inner`](Self::into_inner).
    ///
    /// # Errors
    ///
    /// What `ioctl(2)` reports.
    pub fn nonblocking(inner: T) -> io::Result<Self> {
        set_non_blocking(inner.as_fd(), true)?;
        Ok(Self::new(inner))
    }

    /// What owns the descriptor.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// What owns the descriptor, which may be given another one.
    pub fn inner_mut(&mut self) -> &mut T {
        self.id = fresh_id(&self.inner);
        &mut self.inner
    }

    /// Gives the owner of the descriptor back. Nobody waits for it: that would be through a borrow.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Waits until there is something to read.
    ///
    /// # Errors
    ///
    /// What the I/O driver reports.
    pub fn wait_readable(&self) -> io::Result<()> {
        self.wait(Interest::Read, None)
    }

    /// Waits until there is something to read, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// `TimedOut`, or what the I/O driver reports.
    pub fn wait_readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.wait(Interest::Read, Instant::now().checked_add(timeout))
    }

    /// Waits until there is room to write.
    ///
    /// # Errors
    ///
    /// What the I/O driver reports.
    pub fn wait_writable(&self) -> io::Result<()> {
        self.wait(Interest::Write, None)
    }

    /// Waits until there is room to write, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// `TimedOut`, or what the I/O driver reports.
    pub fn wait_writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.wait(Interest::Write, Instant::now().checked_add(timeout))
    }

    /// Waits until there is something urgent: urgent data, or a change in a file of `/proc` or `/sys` that reports such
    /// (`poll(2)` calls it `POLLPRI`). Ordinary data does not end the wait, an error does.
    ///
    /// # Errors
    ///
    /// What the I/O driver reports.
    pub fn wait_priority(&self) -> io::Result<()> {
        self.wait(Interest::Priority, None)
    }

    /// Waits until there is something urgent, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// `TimedOut`, or what the I/O driver reports.
    pub fn wait_priority_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.wait(Interest::Priority, Instant::now().checked_add(timeout))
    }

    /// Calls `f` until it answers something else than `WouldBlock`, and waits in between until there is
    /// something to read.
    ///
    /// `f` must answer `WouldBlock` only if the descriptor itself had nothing to give, else this turns in
    /// circles.
    ///
    /// # Errors
    ///
    /// Those of `f` and of [`wait_readable`](Self::wait_readable).
    pub fn read_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.retry(Interest::Read, f)
    }

    /// Calls `f` until it answers something else than `WouldBlock`, and waits in between until there is
    /// room to write.
    ///
    /// `f` must answer `WouldBlock` only if the descriptor itself had no room, else this turns in circles.
    ///
    /// # Errors
    ///
    /// Those of `f` and of [`wait_writable`](Self::wait_writable).
    pub fn write_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.retry(Interest::Write, f)
    }

    fn retry<R>(
        &self,
        interest: Interest,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let (mut has_waited, mut edges) = (false, None);
        loop {
            match f(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            let fd = self.inner.as_fd().as_raw_fd();
            // Something is told that `f` does not take, and would end every wait at once. Without a descriptor to
            // spare it does.
            let wanted = poll_events(interest);
            if has_waited
                && edges.is_none()
                && poll_now(fd, wanted)? != 0
                && let Ok(new) = Edges::of(fd, wanted)
            {
                edges = Some(Watched::new(new));
                // There may be something after all, and some files tell of it only once.
                continue;
            }
            match &edges {
                None => self.wait(interest, None)?,
                Some(edges) => {
                    edges.wait(Interest::Read, None)?;
                    edges.inner.take();
                }
            }
            has_waited = true;
        }
    }

    pub(crate) fn wait(&self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        let fd = self.inner.as_fd();
        let source = Source { fd: fd.as_raw_fd(), id: self.id, kind: SourceKind::Pollable };
        let action = Action::Poll { source, interest };
        // SAFETY: `fd` borrows the descriptor, so that it stays open until `submit` is done.
        unsafe { submit(action, deadline) }.map(drop)
    }
}

impl<T: AsFd> AsFd for Watched<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.inner).finish()
    }
}

fn fresh_id(inner: &impl AsFd) -> u64 {
    Source::new(inner.as_fd().as_raw_fd(), SourceKind::Pollable).id
}
