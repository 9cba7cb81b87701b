//! How a child process is to be started.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

use super::Child;
use super::child::Left;
use crate::blocking::call_system;

/// A process to be started, as [`std::process::Command`] is.
///
/// # Examples
///
/// ```
/// use rust_routines_core::process::Command;
///
/// let output = Command::new("echo").arg("hello").output()?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Command {
    std: std::process::Command,
    /// The streams that were set here; std does not tell.
    stdin_is_set: bool,
    stdout_is_set: bool,
    stderr_is_set: bool,
    left: Left,
}

impl Command {
    /// A command that runs `program`, which is looked for in `PATH` if it is a mere name.
    pub fn new<S: AsRef<OsStr>>(program: S) -> Self {
        std::process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
        self.std.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.std.args(args);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env<K, V>(&mut self, key: K, val: V) -> &mut Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.std.env(key, val);
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.std.envs(vars);
        self
    }

    /// Leaves a variable out of the child's environment.
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Self {
        self.std.env_remove(key);
        self
    }

    /// Leaves out all variables, those set so far and those that the child would inherit.
    pub fn env_clear(&mut self) -> &mut Self {
        self.std.env_clear();
        self
    }

    /// Sets the child's working directory.
    pub fn current_dir<P: AsRef<Path>>(&mut self, dir: P) -> &mut Self {
        self.std.current_dir(dir);
        self
    }

    /// Sets the child's standard input: by default ours, and nothing for [`output`](Self::output).
    pub fn stdin<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Self {
        self.std.stdin(cfg);
        self.stdin_is_set = true;
        self
    }

    /// Sets the child's standard output: by default ours, and a pipe for [`output`](Self::output).
    pub fn stdout<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Self {
        self.std.stdout(cfg);
        self.stdout_is_set = true;
        self
    }

    /// Sets the child's standard error: by default ours, and a pipe for [`output`](Self::output).
    pub fn stderr<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Self {
        self.std.stderr(cfg);
        self.stderr_is_set = true;
        self
    }

    /// Whether the process is to be killed if its [`Child`] is dropped before its end is known; it lives on by default. So
    /// are those of [`output`](Self::output), [`status`](Self::status) and [`Child::wait_with_output`], if a
    /// [limit](crate::time::timeout) or a shutdown cuts these short. Processes that it has started itself are not killed.
    ///
    /// ```
    /// use rust_routines_core::process::Command;
    /// use rust_routines_core::time::timeout;
    /// use std::time::Duration;
    ///
    /// let mut forever = Command::new("sleep");
    /// forever.arg("infinity").kill_on_drop(true);
    /// assert!(timeout(Duration::from_millis(5), move || forever.status()).is_err());
    /// ```
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Self {
        self.left = if kill_on_drop { Left::Killed } else { Left::Alone };
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such program, else what the system reports.
    pub fn spawn(&mut self) -> io::Result<Child> {
        let std = &mut self.std;
        Child::adopt(call_system(|| std.spawn())?, self.left)
    }

    /// Starts the process, waits for its end, and answers how that came and what the process wrote.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> io::Result<Output> {
        // The defaults of std's `output`, for this time only.
        if !self.stdin_is_set {
            self.std.stdin(Stdio::null());
        }
        if !self.stdout_is_set {
            self.std.stdout(Stdio::piped());
        }
        if !self.stderr_is_set {
            self.std.stderr(Stdio::piped());
        }
        let this_time = ThisTime(self);
        let child = this_time.0.spawn();
        drop(this_time);
        child?.wait_with_output()
    }

    /// Starts the process, waits for its end, and answers how that came.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn) and [`Child::wait`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        let mut child = self.spawn()?;
        child.reap_at_least();
        child.wait()
    }

    /// The program.
    pub fn get_program(&self) -> &OsStr {
        self.std.get_program()
    }

    /// The arguments, without the name of the program.
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.std.get_args()
    }

    /// The variables of the child's environment that were set here, and with `None` those left out.
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.std.get_envs()
    }

    /// The child's working directory, if it is not to be ours.
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.std.get_current_dir()
    }

    /// Sets the name that the child is told it has, in the place of the program.
    ///
    /// ```
    /// use rust_routines_core::process::Command;
    ///
    /// let output = Command::new("sh").arg0("another-name").args(["-c", "echo $0"]).output()?;
    /// assert_eq!(output.stdout, b"another-name\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
        self.std.arg0(arg);
        self
    }

    /// Sets the child's user, and leaves out our supplementary groups if we are root.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.std.uid(id);
        self
    }

    /// Sets the child's group.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.std.gid(id);
        self
    }

    /// Puts the child into a process group: that of this number, or for zero one of its own.
    pub fn process_group(&mut self, pgroup: i32) -> &mut Self {
        self.std.process_group(pgroup);
        self
    }

    /// Runs `f` in the child before the program.
    ///
    /// In a routine it is a thread of the I/O driver's pool that forks. So what `f` asks of the kernel about its parent,
    /// `PR_SET_PDEATHSIG` above all, is about that thread, which ends after a while without work.
    ///
    /// # Safety
    ///
    /// As for [`CommandExt::pre_exec`]: `f` runs after `fork` in a process of many threads, of which it is the only
    /// one left, so that it must not allocate, lock, or use this runtime.
    pub unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: forwarded from the caller.
        unsafe { self.std.pre_exec(f) };
        self
    }

    /// Runs the program in the place of this process, with all its threads and routines, and returns only if
    /// that fails.
    ///
    /// As with [`CommandExt::exec`], parts of the process may have been changed by then; destructors do not run.
    pub fn exec(&mut self) -> io::Error {
        let std = &mut self.std;
        call_system(|| std.exec())
    }

    /// Std's command, to look at.
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// Std's command, for whatever else there is to set.
    ///
    /// Set the standard streams here and not there: [`output`](Self::output) would not know of it.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }
}

/// Takes back what [`Command::output`] sets by itself, also if that is unwound.
struct ThisTime<'a>(&'a mut Command);

impl Drop for ThisTime<'_> {
    fn drop(&mut self) {
        let Command { std, stdin_is_set, stdout_is_set, stderr_is_set, .. } = &mut *self.0;
        if !*stdin_is_set {
            std.stdin(Stdio::inherit());
        }
        if !*stdout_is_set {
            std.stdout(Stdio::inherit());
        }
        if !*stderr_is_set {
            std.stderr(Stdio::inherit());
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

/// Standard streams that were set before are not known to [`Command::output`]: set them afterwards.
impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Self {
        Self {
            std,
            stdin_is_set: false,
            stdout_is_set: false,
            stderr_is_set: false,
            left: Left::Alone,
        }
    }
}

/// After [`Command::output`], std's own `output` takes streams that were not set for inherited.
impl From<Command> for std::process::Command {
    fn from(command: Command) -> Self {
        command.std
    }
}
