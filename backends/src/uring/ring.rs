//! A ring of one worker: entries go in, completions come out, and the kernel is entered as seldom as
//! possible.
//!
//! # When the kernel is entered
//!
//! Only by [`Ring::enter`], which submits whatever is queued, and by a [`push`](Ring::push) that finds
//! the queue full. With the best of the [setups](Setup) the kernel does its part of the work only inside
//! such a call, and a flag in shared memory tells that there is some. So a look at an idle ring is three
//! loads, and a busy worker that looks around every few microseconds makes a system call only when there
//! is something to submit or to collect.
//!
//! # When a queue is full
//!
//! The kernel takes all entries whenever it is entered, so a full submission queue is emptied by that. Should
//! it refuse (no memory, or too many completions that wait to be collected), entries wait in a backlog
//! until the next call. Completions beyond the room for them are kept by the kernel, which says so
//! in another flag and delivers them at the next call.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

/// The longest time that is asked for at once. A driver may return early, and a sum of very long times and
/// the clock would not fit what the kernel counts with.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// How the kernel is to run what it puts off until a worker has time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Setup {
    /// When this worker asks for completions, and only then. One thread submits. Linux 6.1.
    Deferred,
    /// When this worker is in the kernel anyway. Linux 5.19.
    Cooperative,
    /// Whenever it likes, interrupting the worker.
    Plain,
}

/// What the rings of a backend are to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The first that the kernel knows is taken.
    pub(super) setups: &'static [Setup],
    /// Room for submissions.
    pub(super) submissions: u32,
    /// Room for completions.
    pub(super) completions: u32,
    /// Opcodes to do without.
    pub(super) without: &'static [u8],
}

impl Shape {
    /// Large enough that a turn of a busy worker fits, small enough for hundreds of rings: the kernel counts
    /// their memory, here 28 KiB, as locked, of which a user usually may have 8 MiB.
    pub(super) const DEFAULT: Self = Self {
        setups: &[Setup::Deferred, Setup::Cooperative, Setup::Plain],
        submissions: 128,
        completions: 1024,
        without: &[],
    };

    /// Two pages, for where memory is short.
    fn frugal(self) -> Self {
        Self {
            submissions: self.submissions.min(32),
            completions: self.completions.min(128),
            ..self
        }
    }
}

/// See the [module docs](self).
pub(super) struct Ring {
    ring: IoUring,
    /// What did not fit into the queue, oldest first.
    backlog: VecDeque<squeue::Entry>,
    /// The opcodes that this kernel knows, a bit each.
    opcodes: u64,
}

impl Ring {
    /// A ring for the calling thread, of which at most `threads` of the kernel's own work at once.
    ///
    /// # Errors
    ///
    /// What the kernel says if it has no io_uring, denies it, or has run out of something; `Unsupported` if
    /// it is too old.
    pub(super) fn new(shape: Shape, threads: u32) -> io::Result<Self> {
        let mut result = Self::build(shape, threads);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::OutOfMemory) {
            result = Self::build(shape.frugal(), threads);
        }
        result.map_err(|error| match error.raw_os_error() {
            // Says it all, and keeps its code.
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => error,
            _ => io::Error::new(error.kind(), format!("the kernel refuses an io_uring: {error}")),
        })
    }

    fn build(shape: Shape, threads: u32) -> io::Result<Self> {
        let mut setups = shape.setups.iter();
        let ring = loop {
            let Some(&setup) = setups.next() else { return Err(io::ErrorKind::Unsupported.into()) };
            match set_up(setup, shape) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => break result?,
            }
        };
        // Came with 5.13, as did polls that stay, and after timeouts, internal polling and completions that
        // are never dropped.
        if !ring.params().is_feature_resource_tagging() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "Linux 5.13 is needed"));
        }
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let known = |opcode: u8| probe.is_supported(opcode) && !shape.without.contains(&opcode);
        let opcodes = (0..64).filter(|&code| known(code)).fold(0, |all, code| all | 1 << code);
        // Since 5.15; before, the number of processors limits them.
        let _ = ring.submitter().register_iowq_max_workers(&mut [threads, threads]);
        let ring = Self { ring, backlog: VecDeque::new(), opcodes };
        for needed in [opcode::PollAdd::CODE, opcode::AsyncCancel::CODE] {
            if !ring.knows(needed) {
                let message = format!("operation {needed} is missing");
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        }
        Ok(ring)
    }

    /// Whether the kernel has an operation.
    pub(super) fn knows(&self, opcode: u8) -> bool {
        self.opcodes >> opcode & 1 == 1
    }

    /// Whether a transfer can be told to wait for readiness before it tries. That came in 5.19, with this
    /// operation.
    pub(super) fn polls_first(&self) -> bool {
        self.knows(opcode::Socket::CODE)
    }

    /// Queues an entry for the next call of the kernel.
    ///
    /// # Safety
    ///
    /// What the entry points to stays valid until its completion has been [collected](Self::next).
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: forwarded from the caller.
        if !self.backlog.is_empty() || !unsafe { self.try_push(&entry) } {
            self.backlog.push_back(entry);
            self.work_off_backlog();
        }
    }

    /// Whether completions can be collected without a call.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Submits what is queued, and waits until there is a completion or the time is over. `None` waits without
    /// limit, zero not at all. May return early and empty-handed.
    ///
    /// # Errors
    ///
    /// Only those from which there is no recovery.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.work_off_backlog();
        let result = match timeout {
            Some(Duration::ZERO) => self.look(),
            // What waits here is not submitted yet, so nothing would end the sleep.
            _ if !self.backlog.is_empty() => self.look(),
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let timeout = Timespec::from(timeout.min(LONGEST_WAIT));
                let args = SubmitArgs::new().timespec(&timeout);
                self.ring.submitter().submit_with_args(1, &args)
            }
        };
        match result {
            Err(error) if is_passing(&error) => Ok(()),
            result => result.map(drop),
        }
    }

    /// The oldest completion that has arrived.
    pub(super) fn next(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// A call that does not wait, if there is a reason for one.
    fn look(&mut self) -> io::Result<usize> {
        let queue = self.ring.submission();
        let queued = queue.len();
        if queued == 0 && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        drop(queue);
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: there are so many entries, and no argument.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued as u32, 0, flags, None) }
    }

    /// Makes room and moves the backlog into the queue.
    #[cold]
    fn work_off_backlog(&mut self) {
        while let Some(entry) = self.backlog.front().cloned() {
            // SAFETY: `push` made its caller promise that what it points to stays valid.
            if unsafe { self.try_push(&entry) } {
                self.backlog.pop_front();
            } else if !matches!(self.ring.submit(), Ok(1..)) {
                // The kernel takes nothing now. What is wrong for good shows when `enter` finds it.
                return;
            }
        }
    }

    /// # Safety
    ///
    /// As for [`push`](Self::push).
    unsafe fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: forwarded from the caller.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("backlog", &self.backlog.len()).finish_non_exhaustive()
    }
}

fn set_up(setup: Setup, shape: Shape) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(shape.completions);
    match setup {
        Setup::Deferred => {
            builder.setup_single_issuer().setup_defer_taskrun();
            builder.setup_taskrun_flag().setup_submit_all();
        }
        Setup::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }
        Setup::Plain => {}
    }
    builder.build(shape.submissions)
}

/// Whether a call has failed for a reason that passes: a signal, the end of the time, a lack of memory, or of
/// room for completions until some have been collected.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EINTR, libc::ETIME, libc::EAGAIN, libc::EBUSY];
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}
