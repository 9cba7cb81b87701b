//! A driver with bad manners, for testing what is built on drivers: [`Faulty`].
//!
//! Which faults there are stands at the type.
//!
//! # Why this is sound
//!
//! 1. The inner driver never sees the operation that was submitted here, but a [`StandIn`] with the same
//!    pointers, or with pointers to the first part of the same memory. The memory is the submitted operation's,
//!    and stays valid until that is handed back (contract, point 2).
//! 2. A stand-in is pinned in a box from before the inner driver gets it until that has answered `Done` or has
//!    pushed it, after which the inner driver does not touch it (point 2 again, which the inner driver owes us).
//! 3. An operation is handed back from [`Stage::Back`] only, in which it has no stand-in. Each is on the list
//!    from the `submit` that answers `Pending` to the push that takes it off, so it is pushed once (point 3).
//! 4. A driver that is dropped with operations (which point 6 forbids) leaks their stand-ins.

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use rust_routines_core::driver::operation::{canceled, is_canceled};
use rust_routines_core::driver::{
    Action, Completions, DriverWaker, IoBackend, IoConfig, IoDriver, OpRef, Operation, PoolMetrics,
    Submitted,
};

/// A fault strikes one time in so many.
const ODDS: u32 = 4;

/// The most waits by which something is put off.
const WAITS: u32 = 3;

/// How long a wait may take while something is put off, if it is not over at once.
const NAP: Duration = Duration::from_micros(100);

/// A cut is this short, or else of any length.
const SMALL: usize = 16;

/// A backend whose drivers do what a driver may do and hardly ever does. What works on it does not rely on luck.
///
/// Every fault is one that the [contract](rust_routines_core::driver::io) allows, and that the kernel, a loaded
/// machine or another driver may show some day:
///
/// | fault | what becomes of it |
/// |---|---|
/// | a transfer is cut short | fewer bytes than there were, at least one |
/// | refused for no reason | what could be done at once is pending, and tried some waits later |
/// | interrupted | withdrawn from the inner driver while it waits there, and submitted again |
/// | late | what has finished is handed back some waits later |
/// | out of order | what is handed back together is shuffled |
/// | woken for nothing | `wait` returns early and empty-handed |
///
/// Only byte streams and regular files are cut: a part of a datagram, a packet or a counter is not what a short
/// transfer would give. A connection that is being made is not interrupted: to begin it again is something else.
///
/// It wraps any backend, and goes wherever one goes, `Runtime::builder().io` among others. The faults are random; the
/// seed is printed, for the test harness to show when a test fails, and `RR_FAULT_SEED` sets it. The time per operation
/// grows with the number of those that are pending, so it is not for thousands of them.
///
/// ```
/// # use rust_routines_core::driver::{IoBackend, IoConfig, IoDriver};
/// # struct Pigeons;
/// # impl Pigeons { fn new() -> Self { Self } }
/// # impl IoBackend for Pigeons {
/// #     fn name(&self) -> &'static str { "pigeons" }
/// #     fn driver(&self, _: &IoConfig) -> std::io::Result<Box<dyn IoDriver>> {
/// #         Err(std::io::ErrorKind::Unsupported.into())
/// #     }
/// # }
/// use rust_routines_conformance::Faulty;
///
/// let backend = Faulty::new(Pigeons::new());
/// assert_eq!(backend.name(), "faulty");
/// ```
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    seed: u64,
    /// How many drivers there have been: each has faults of its own.
    drivers: AtomicU64,
}

impl<B: IoBackend> Faulty<B> {
    /// Faults in the drivers of `inner`, by the seed in `RR_FAULT_SEED` or else by chance.
    pub fn new(inner: B) -> Self {
        let seed = std::env::var("RR_FAULT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("repeat the faults with RR_FAULT_SEED={seed}");
        Self::with_seed(inner, seed)
    }

    /// Faults in the drivers of `inner`, by the given seed.
    pub fn with_seed(inner: B, seed: u64) -> Self {
        Self { inner, seed, drivers: AtomicU64::new(0) }
    }
}

impl<B: IoBackend> IoBackend for Faulty<B> {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        let number = self.drivers.fetch_add(1, Ordering::Relaxed);
        let dice = Rng::with_seed(self.seed.wrapping_add(number));
        let inner = self.inner.driver(config)?;
        Ok(Box::new(Driver { inner, dice, errands: Vec::new(), back: Completions::new() }))
    }

    fn pool_metrics(&self) -> PoolMetrics {
        self.inner.pool_metrics()
    }
}

struct Driver {
    inner: Box<dyn IoDriver>,
    dice: Rng,
    /// In the order in which they were submitted.
    errands: Vec<Errand>,
    /// What the inner driver has handed back; empty between calls.
    back: Completions,
}

/// A pending operation.
struct Errand {
    op: OpRef,
    /// Whether our caller has given it up.
    canceled: bool,
    stage: Stage,
}

enum Stage {
    /// To be submitted to the inner driver, after so many waits.
    Ahead(u32),
    /// With the inner driver.
    Out {
        stand_in: Pin<Box<StandIn>>,
        /// Whether we have cancelled it there, to submit it again.
        withdrawn: bool,
    },
    /// To be handed back, after so many waits.
    Back(u32, io::Result<usize>),
}

/// What the inner driver gets in place of an operation.
struct StandIn {
    op: Operation,
    /// The buffers of a vectored action that was cut.
    _vectors: Vec<libc::iovec>,
}

impl StandIn {
    fn op(self: &Pin<Box<Self>>) -> OpRef {
        // SAFETY: it is pinned, and kept until the inner driver is done with it, see the module docs.
        unsafe { self.op.as_ref() }
    }
}

// SAFETY: contract, points 2 and 3: see the module docs.
unsafe impl IoDriver for Driver {
    fn submit(&mut self, op: OpRef) -> Submitted {
        let stage = if self.strikes() {
            Stage::Ahead(self.waits())
        } else {
            match self.send_out(op.action()) {
                Stage::Back(0, result) => return Submitted::Done(result),
                stage => stage,
            }
        };
        self.errands.push(Errand { op, canceled: false, stage });
        Submitted::Pending
    }

    fn cancel(&mut self, op: OpRef) {
        let errand = self.errands.iter_mut().find(|errand| errand.op == op);
        let errand = errand.expect("only a pending operation is cancelled");
        errand.canceled = true;
        match &errand.stage {
            Stage::Ahead(waits) => errand.stage = Stage::Back(*waits, Err(canceled())),
            Stage::Out { stand_in, .. } => self.inner.cancel(stand_in.op()),
            Stage::Back(..) => {}
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        if self.strikes() {
            return Ok(());
        }
        self.submit_those_ahead();
        self.withdraw_one();
        let put_off = self.errands.iter().any(|errand| !matches!(errand.stage, Stage::Out { .. }));
        let timeout = match timeout {
            _ if put_off && self.dice.bool() => Some(Duration::ZERO),
            Some(timeout) if put_off => Some(timeout.min(NAP)),
            None if put_off => Some(NAP),
            timeout => timeout,
        };
        self.inner.wait(timeout, &mut self.back)?;
        self.receive();
        self.hand_back(done);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        self.inner.waker()
    }
}

impl Driver {
    fn strikes(&mut self) -> bool {
        self.dice.u32(..ODDS) == 0
    }

    fn waits(&mut self) -> u32 {
        self.dice.u32(..=WAITS)
    }

    /// How long a result is kept.
    fn lateness(&mut self) -> u32 {
        if self.strikes() { 1 + self.waits() } else { 0 }
    }

    /// Submits a stand-in for an action.
    fn send_out(&mut self, action: Action) -> Stage {
        let (action, vectors) =
            if self.strikes() { self.cut(action) } else { (action, Vec::new()) };
        // SAFETY: the pointers are those of an operation that is ours until it is handed back, or to `vectors`, which
        // does not move what it points to; it is not handed back before the stand-in is.
        let op = unsafe { Operation::new(action) };
        let stand_in = Box::pin(StandIn { op, _vectors: vectors });
        match self.inner.submit(stand_in.op()) {
            Submitted::Done(result) => Stage::Back(self.lateness(), result),
            Submitted::Pending => Stage::Out { stand_in, withdrawn: false },
        }
    }

    fn submit_those_ahead(&mut self) {
        for at in 0..self.errands.len() {
            match &mut self.errands[at].stage {
                Stage::Ahead(0) => {}
                Stage::Ahead(waits) => {
                    *waits -= 1;
                    continue;
                }
                _ => continue,
            }
            let action = self.errands[at].op.action();
            self.errands[at].stage = self.send_out(action);
        }
    }

    /// Cancels one of those that wait at the inner driver, to submit it again once it is back.
    fn withdraw_one(&mut self) {
        if self.errands.is_empty() || !self.strikes() {
            return;
        }
        let at = self.dice.usize(..self.errands.len());
        let Errand { op, canceled: false, stage } = &mut self.errands[at] else { return };
        if let Stage::Out { stand_in, withdrawn } = stage
            && !matches!(op.action(), Action::Connect { .. })
        {
            *withdrawn = true;
            self.inner.cancel(stand_in.op());
        }
    }

    /// Takes in what the inner driver has handed back.
    fn receive(&mut self) {
        let mut back = mem::take(&mut self.back);
        for (stand_in, result) in back.drain() {
            let at = self.errands.iter().position(|errand| errand.is(stand_in));
            let at = at.expect("the inner driver hands back what it holds");
            let Errand { canceled, stage, .. } = &self.errands[at];
            let again = matches!(stage, Stage::Out { withdrawn: true, .. }) && !canceled;
            self.errands[at].stage = match result {
                Err(error) if again && is_canceled(&error) => Stage::Ahead(self.waits()),
                result => Stage::Back(self.lateness(), result),
            };
        }
        self.back = back;
    }

    /// Hands back what is not put off any longer.
    fn hand_back(&mut self, done: &mut Completions) {
        let mut ready = Vec::new();
        for mut errand in mem::take(&mut self.errands) {
            match errand.stage {
                Stage::Back(0, result) => ready.push((errand.op, result)),
                Stage::Back(ref mut waits, _) => {
                    *waits -= 1;
                    self.errands.push(errand);
                }
                _ => self.errands.push(errand),
            }
        }
        if self.strikes() {
            self.dice.shuffle(&mut ready);
        }
        ready.into_iter().for_each(|(op, result)| done.push(op, result));
    }

    /// The same action for fewer bytes, if a transfer of its kind may come out so, and its buffers.
    fn cut(&mut self, mut action: Action) -> (Action, Vec<libc::iovec>) {
        let mut vectors = Vec::new();
        match &mut action {
            Action::Read { source, len, .. }
            | Action::ReadAt { source, len, .. }
            | Action::Recv { source, len, flags: 0, .. }
                if may_stop_anywhere(source.fd, Transfer::Read) =>
            {
                *len = self.fewer(*len);
            }
            Action::Write { source, len, .. }
            | Action::WriteAt { source, len, .. }
            | Action::Send { source, len, flags: 0, .. }
                if may_stop_anywhere(source.fd, Transfer::Write(*len)) =>
            {
                *len = self.fewer(*len);
            }
            Action::ReadVectored { source, bufs, count }
            | Action::ReadVectoredAt { source, bufs, count, .. } => {
                // SAFETY: the operation is ours, so its pointers are valid.
                vectors = unsafe { std::slice::from_raw_parts(*bufs, *count) }.to_vec();
                if may_stop_anywhere(source.fd, Transfer::Read) {
                    self.cut_vectors(&mut vectors);
                }
                (*bufs, *count) = (vectors.as_ptr(), vectors.len());
            }
            Action::WriteVectored { source, bufs, count }
            | Action::WriteVectoredAt { source, bufs, count, .. } => {
                // SAFETY: as above.
                vectors = unsafe { std::slice::from_raw_parts(*bufs, *count) }.to_vec();
                let len = vectors.iter().map(|vector| vector.iov_len).sum();
                if may_stop_anywhere(source.fd, Transfer::Write(len)) {
                    self.cut_vectors(&mut vectors);
                }
                (*bufs, *count) = (vectors.as_ptr(), vectors.len());
            }
            _ => {}
        }
        (action, vectors)
    }

    fn cut_vectors(&mut self, vectors: &mut [libc::iovec]) {
        let mut left = self.fewer(vectors.iter().map(|vector| vector.iov_len).sum());
        for vector in vectors {
            vector.iov_len = vector.iov_len.min(left);
            left -= vector.iov_len;
        }
    }

    /// A length below `len`, but not zero, where there is one.
    fn fewer(&mut self, len: usize) -> usize {
        let most = if self.dice.bool() { len } else { len.min(SMALL) };
        if most < 2 { len } else { self.dice.usize(1..most) }
    }
}

impl Errand {
    fn is(&self, inner: OpRef) -> bool {
        matches!(&self.stage, Stage::Out { stand_in, .. } if stand_in.op() == inner)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.errands.drain(..).for_each(mem::forget);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.errands.len();
        f.debug_struct("Driver").field("inner", &self.inner).field("pending", &pending).finish()
    }
}

#[derive(Clone, Copy)]
enum Transfer {
    Read,
    /// Of so many bytes.
    Write(usize),
}

/// Whether a transfer on this descriptor may stop after any byte, with nothing lost.
fn may_stop_anywhere(fd: RawFd, transfer: Transfer) -> bool {
    if let Some(kind) = socket_type(fd) {
        return kind == libc::SOCK_STREAM;
    }
    // SAFETY: open, since an operation on it is pending, and not closed here.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let Ok(kind) = file.metadata().map(|metadata| metadata.file_type()) else { return false };
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // Whole blocks for a file, packets for a pipe.
    if flags & libc::O_DIRECT != 0 {
        return false;
    }
    match transfer {
        // All or nothing, up to this size.
        Transfer::Write(len) if kind.is_fifo() => len > libc::PIPE_BUF,
        _ => kind.is_file() || kind.is_fifo(),
    }
}

/// `SOCK_STREAM` and the like, or `None` if it is no socket.
fn socket_type(fd: RawFd) -> Option<i32> {
    let mut kind = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: both are valid for writing, and `len` says how large the first is.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &mut len)
    };
    (result == 0).then_some(kind)
}
