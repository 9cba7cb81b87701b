//! Signals of the operating system as messages.
//!
//! ```no_run
//! use rust_routines_core::channel::{select, tick};
//! use rust_routines_core::signal;
//! use std::time::Duration;
//!
//! let stop = signal::ctrl_c()?;
//! let ticks = tick(Duration::from_secs(1));
//! loop {
//!     select! {
//!         recv(ticks) -> _ => println!("working"),
//!         recv(stop) -> _ => break,
//!     }
//! }
//! println!("goodbye");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! - Each receiver gets each of its signals, whoever else does. Like the kernel's, signals of one kind
//!   merge while they wait to be received; no kind is lost.
//! - The first receiver of a signal ends what that signal does by default, for good: from then on ctrl-c
//!   no longer ends the process, even if no receiver is left. To end as if by the signal, call
//!   `signal_hook::low_level::emulate_default_handler`, or exit.
//! - Handlers that were there before, and those that others install through the crate `signal-hook`, run
//!   too. Child processes start with the defaults.
//! - A handler runs on the thread that the kernel interrupts, and so perhaps on the stack of a routine.
//!   It needs a few kilobytes there.
//!
//! There are no receivers for `SIGKILL` and `SIGSTOP`, which nobody can catch, nor for `SIGSEGV`,
//! `SIGBUS`, `SIGFPE` and `SIGILL`, which tell a thread of its own faults.

mod dispatch;

use std::fmt;
use std::io;

use crate::channel::Receiver;

/// The signals that cannot be received.
const REFUSED: [Signal; 6] = [
    Signal(libc::SIGKILL),
    Signal(libc::SIGSTOP),
    Signal(libc::SIGSEGV),
    Signal(libc::SIGBUS),
    Signal(libc::SIGFPE),
    Signal(libc::SIGILL),
];

/// A receiver of `SIGINT`, which a terminal sends for ctrl-c.
///
/// See the [module docs](self) for what becomes of the signal otherwise.
///
/// # Errors
///
/// If the handler or the thread behind it cannot be set up.
pub fn ctrl_c() -> io::Result<Receiver<()>> {
    dispatch::subscribe(&[Signal::INT], drop)
}

/// A receiver of several signals.
///
/// See the [module docs](self) for what becomes of them otherwise.
///
/// # Errors
///
/// `InvalidInput` for a signal that does not exist or cannot be received; else if the handler or the
/// thread behind it cannot be set up.
///
/// # Examples
///
/// ```no_run
/// use rust_routines_core::signal::{self, Signal};
///
/// let signals = signal::receiver(&[Signal::HUP, Signal::TERM])?;
/// for signal in signals {
///     if signal == Signal::TERM {
///         break;
///     }
///     println!("reading the configuration again");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn receiver(signals: &[Signal]) -> io::Result<Receiver<Signal>> {
    if let Some(signal) = signals.iter().find(|signal| !signal.can_be_received()) {
        let message = format!("{signal} cannot be received");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    dispatch::subscribe(signals, |signal| signal)
}

/// A signal of the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(libc::c_int);

impl Signal {
    /// A timer of `alarm(2)` has run out.
    pub const ALRM: Self = Self(libc::SIGALRM);
    /// A child process has stopped or ended.
    pub const CHLD: Self = Self(libc::SIGCHLD);
    /// The process goes on after it was stopped.
    pub const CONT: Self = Self(libc::SIGCONT);
    /// The terminal is gone; by custom also: read the configuration again.
    pub const HUP: Self = Self(libc::SIGHUP);
    /// Ctrl-c in the terminal.
    pub const INT: Self = Self(libc::SIGINT);
    /// A pipe is written that nobody reads.
    pub const PIPE: Self = Self(libc::SIGPIPE);
    /// Ctrl-\ in the terminal.
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// A request to end.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// Ctrl-z in the terminal.
    pub const TSTP: Self = Self(libc::SIGTSTP);
    /// For programs' own use.
    pub const USR1: Self = Self(libc::SIGUSR1);
    /// For programs' own use.
    pub const USR2: Self = Self(libc::SIGUSR2);
    /// The terminal has changed its size.
    pub const WINCH: Self = Self(libc::SIGWINCH);

    /// The signal of that number, which need not exist.
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// The number of the signal.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    fn can_be_received(self) -> bool {
        (1..=libc::SIGRTMAX()).contains(&self.0) && !REFUSED.contains(&self)
    }
}

/// Its name, as in `SIGINT`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_hook::low_level::signal_name(self.0) {
            Some(name) => f.pad(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
