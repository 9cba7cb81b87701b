//! A process that was started, and the wait for its end.

use std::io::{self, Read};
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::both::read_both;
use super::pidfd::PidFd;
use super::{ChildStderr, ChildStdin, ChildStdout};
use crate::backoff::Backoff;
use crate::driver::Interest;
use crate::os::fd::Watched;
use crate::signal::Signal;

/// A child process, as [`std::process::Child`] is.
///
/// Dropping it neither ends the process nor waits for it, unless [`kill_on_drop`](super::Command::kill_on_drop) was asked for.
/// A process that has ended and was not waited for keeps its number until this process ends.
#[derive(Debug)]
pub struct Child {
    /// What writes to the child's standard input, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// What reads the child's standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// What reads the child's standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
    process: Process,
    /// Readable when the child has ended. Opened for the first wait that needs it.
    end: Option<Watched<PidFd>>,
}

/// Children for whose end nobody will wait any more.
static ORPHANS: Mutex<Vec<std::process::Child>> = Mutex::new(Vec::new());

/// A child, and what becomes of it without us.
#[derive(Debug)]
struct Process {
    std: Option<std::process::Child>,
    /// Whether it was waited for, so that its number may be somebody else's.
    is_gone: bool,
    left: Left,
}

/// What to do with a child that nobody has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// As std does: nothing.
    Alone,
    /// See that it does not stay a zombie, as nobody has a handle to wait for it with.
    Reaped,
    /// And end it.
    Killed,
}

impl Process {
    fn new(std: std::process::Child, left: Left) -> Self {
        Self { std: Some(std), is_gone: false, left }
    }

    fn std(&self) -> &std::process::Child {
        self.std.as_ref().expect(OURS)
    }

    fn std_mut(&mut self) -> &mut std::process::Child {
        self.std.as_mut().expect(OURS)
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.std_mut().try_wait()?;
        self.is_gone |= status.is_some();
        Ok(status)
    }
}

const OURS: &str = "it is given away when this is dropped";

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut std) = self.std.take()
            && self.left != Left::Alone
            && let Ok(None) = std.try_wait()
        {
            if self.left == Left::Killed {
                // Refused only for a child that has become somebody else's.
                let _ = std.kill();
            }
            ORPHANS.lock().push(std);
        }
    }
}

impl Child {
    /// Takes a child that has just been started. Orphans that have ended meanwhile make room for it.
    pub(super) fn adopt(std: std::process::Child, left: Left) -> io::Result<Self> {
        ORPHANS.lock().retain_mut(|orphan| matches!(orphan.try_wait(), Ok(None)));
        let mut process = Process::new(std, left);
        let std = process.std_mut();
        Ok(Self {
            stdin: std.stdin.take().map(ChildStdin::of_pipe).transpose()?,
            stdout: std.stdout.take().map(ChildStdout::of_pipe).transpose()?,
            stderr: std.stderr.take().map(ChildStderr::of_pipe).transpose()?,
            process,
            end: None,
        })
    }

    /// From here on somebody waits for its end who may be cut short, and nobody else has a handle to do so.
    pub(super) fn reap_at_least(&mut self) {
        if self.process.left == Left::Alone {
            self.process.left = Left::Reaped;
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.std().id()
    }

    /// Forces the process to end (`SIGKILL`). One that has ended, waited for or not, is no error.
    ///
    /// # Errors
    ///
    /// What `kill(2)` reports.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.std_mut().kill()
    }

    /// Sends the process a signal. One that has ended, waited for or not, is no error.
    ///
    /// # Errors
    ///
    /// What `kill(2)` reports: `InvalidInput` for a signal that does not exist.
    pub fn send_signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        // SAFETY: takes no pointers; the process was not waited for, so the number is its own.
        match unsafe { libc::kill(self.id() as libc::pid_t, signal.as_raw()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A descriptor of the process, with which it can be signalled by one routine while another waits for it.
    ///
    /// The process is found by its number. So nobody else may have waited for it, nor may `SIGCHLD` be ignored: once it has
    /// ended, its number might be another's.
    ///
    /// ```
    /// use rust_routines_core::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = child.pidfd()?;
    /// let status = std::thread::scope(|scope| {
    ///     let waits = scope.spawn(|| child.wait());
    ///     process.kill()?;
    ///     waits.join().unwrap()
    /// });
    /// assert!(!status?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `pidfd_open(2)` reports: that no descriptor is left, for instance, or that the kernel is older than Linux 5.3.
    /// `ESRCH` if the end of the process is known already.
    pub fn pidfd(&mut self) -> io::Result<PidFd> {
        if self.process.is_gone {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        PidFd::open(self.id())
    }

    /// Closes our end of the child's input, waits until the process ends, and answers how that came. Once
    /// known, it is answered again and again.
    ///
    /// # Errors
    ///
    /// What `waitpid(2)` reports, if somebody else has waited for the child for instance.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// Waits like [`wait`](Self::wait), for `timeout` at the longest. `None` if the process runs on.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// How the process has ended; `None` if it runs.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Closes our end of the child's input, reads its output and errors, both at once, waits until the
    /// process ends, and answers how that came.
    ///
    /// # Errors
    ///
    /// Those of reading and of [`wait`](Self::wait).
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        self.reap_at_least();
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        match (self.stdout.take(), self.stderr.take()) {
            (Some(out), Some(err)) => {
                read_both((&out.pipe, &mut stdout), (&err.pipe, &mut stderr))?;
            }
            (out, err) => {
                out.map(|mut out| out.read_to_end(&mut stdout)).transpose()?;
                err.map(|mut err| err.read_to_end(&mut stderr)).transpose()?;
            }
        }
        Ok(Output { status: self.wait()?, stdout, stderr })
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        if let Some(status) = self.try_wait()? {
            return Ok(Some(status));
        }
        if let Some(end) = self.end() {
            match end.wait(Interest::Read, deadline) {
                Ok(()) => {}
                // Else it is the caller's limit that has passed, in a destructor.
                Err(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return self.try_wait();
                }
                Err(error) => return Err(error),
            }
        }
        // There now, as a rule. Not yet if a debugger has to be told first, or if there is nothing to wait
        // for the child with.
        self.look_until(deadline)
    }

    /// What to wait for the end of the child with. It has not been waited for, so its number is its own.
    fn end(&mut self) -> Option<&Watched<PidFd>> {
        if self.end.is_none() {
            self.end = PidFd::open(self.id()).ok().map(Watched::new);
        }
        self.end.as_ref()
    }

    /// Looks for the end of the child now and then.
    fn look_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        let mut backoff = Backoff::new();
        loop {
            let status = self.try_wait()?;
            if status.is_some() {
                return Ok(status);
            }
            match backoff.sleep(deadline) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                slept => slept?,
            }
        }
    }
}

/// Its pipes are put into non-blocking mode.
impl From<std::process::Child> for Child {
    fn from(std: std::process::Child) -> Self {
        let mut process = Process::new(std, Left::Alone);
        // Who gave it to us may have waited for it.
        process.is_gone = !matches!(process.try_wait(), Ok(None));
        let std = process.std_mut();
        Self {
            stdin: std.stdin.take().map(Into::into),
            stdout: std.stdout.take().map(Into::into),
            stderr: std.stderr.take().map(Into::into),
            process,
            end: None,
        }
    }
}

/// Its pipes are put back into blocking mode. Std kills no child that is dropped.
impl From<Child> for std::process::Child {
    fn from(mut child: Child) -> Self {
        let mut std = child.process.std.take().expect(OURS);
        std.stdin = child.stdin.map(Into::into);
        std.stdout = child.stdout.map(Into::into);
        std.stderr = child.stderr.map(Into::into);
        std
    }
}
