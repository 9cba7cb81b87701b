//! Timeouts finer than the milliseconds of `epoll_wait`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Timeouts from here on are left to `epoll_wait`. They are rarely slept to their end on a busy
/// worker, and those that are end with a short one: see [`Alarm::plan`].
const COARSE: Duration = Duration::from_millis(8);

/// How much later than asked the alarm may ring rather than be set anew: well below what it takes to
/// wake a thread, well above the time between the scheduler's look at the clock and ours.
const TOLERANCE: Duration = Duration::from_micros(5);

/// A timer that the selector watches like any descriptor.
///
/// `mio` rounds a timeout up to whole milliseconds, and the kernel then adds up to a thousandth of it.
/// A `timerfd` has neither fault, but setting it is a system call per `wait`, so it is set only for
/// timeouts below [`COARSE`], and not while it will ring early enough anyway: ringing too early is
/// legal, and the scheduler's next `wait` sets it right.
///
/// Rejected: `epoll_pwait2`, one call instead of two, but with the same slack, and past `mio`'s back.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    rings_at: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let timer = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { timer, rings_at: None })
    }

    /// The timeout for the selector so that `wait` ends when `timeout` is over; `None` if the alarm
    /// takes care of that.
    ///
    /// A coarse timeout is shortened by more than the kernel may add, so it ends early and the
    /// scheduler asks again: 30 s take three more calls until the last, exact one.
    pub(super) fn plan(&mut self, timeout: Duration) -> io::Result<Option<Duration>> {
        if timeout.is_zero() {
            return Ok(Some(timeout));
        }
        if timeout >= COARSE {
            let short = timeout - timeout / 256 - Duration::from_millis(1);
            // `mio` would round up.
            let rest = Duration::from_nanos(u64::from(short.subsec_nanos() % 1_000_000));
            return Ok(Some(short - rest));
        }
        let wanted = Instant::now() + timeout;
        if self.rings_at.is_none_or(|rings_at| rings_at > wanted + TOLERANCE) {
            self.set(timeout)?;
            self.rings_at = Some(wanted);
        }
        Ok(None)
    }

    /// The alarm has rung.
    pub(super) fn rang(&mut self) {
        self.rings_at = None;
    }

    fn set(&self, timeout: Duration) -> io::Result<()> {
        let value = libc::timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: interval, it_value: value };
        // SAFETY: `spec` is initialised and borrowed for the call; the old value is not asked for.
        let result =
            unsafe { libc::timerfd_settime(self.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}
