//! What the behaviour tests have in common: bounded waits, a runtime with the drivers that the
//! environment names, child processes, and things that count their drops.

#![allow(dead_code, reason = "each test program compiles this anew and uses its own part of it")]

use std::env;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rust_routines::{Runtime, RuntimeBuilder, WaitReason};
use rustix::time::{ClockId, clock_gettime};

/// How long something may take that should take no time at all. The machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a whole test may take before it counts as hanging.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Short enough to wait for in every round of a test.
pub(crate) const MOMENT: Duration = Duration::from_millis(2);

/// How long those wait who must not be busy meanwhile.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// Longer than any test runs.
pub(crate) const FOREVER: Duration = Duration::from_secs(3600);

/// Runs `body`, and aborts the process with the test's name if it has not returned after `limit`.
///
/// A routine that hangs cannot be got rid of, so nothing less than the process would do.
pub(crate) fn within<T>(limit: Duration, body: impl FnOnce() -> T) -> T {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (done, is_done) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if is_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("\n{name}: still running after {limit:?}");
            std::process::abort();
        }
    });
    // Dropped on every way out of here.
    let _done = done;
    let result = body();
    drop(_done);
    watchdog.join().expect("the watchdog does not panic");
    result
}

/// [`within`] the usual limit.
pub(crate) fn bounded<T>(body: impl FnOnce() -> T) -> T {
    within(LIMIT, body)
}

/// Runs `check` on this thread and once more in a routine.
pub(crate) fn both_worlds(check: impl Fn() + Send + Clone + 'static) {
    bounded(|| {
        check();
        let check = check.clone();
        if let Err(panic) = rust_routines::spawn(check).join() {
            // The harness shows what a worker prints only with the test that started the worker.
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            panic!("in a routine: {}", message.unwrap_or("a panic without a message"));
        }
    });
}

/// Runs `check` on this thread and once more in a routine that has its worker for itself.
pub(crate) fn both_worlds_alone(check: impl Fn() + Send + Clone + 'static) {
    bounded(|| {
        check();
        let runtime = runtime(1);
        runtime.spawn(check).join().expect("in a routine");
        runtime.shutdown();
    });
}

/// Calls `wait` for what does not come, and fails if this thread was busy meanwhile. That should take [`QUIET`].
#[track_caller]
pub(crate) fn assert_idle(wait: impl FnOnce()) {
    let spent = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = spent();
    wait();
    let busy = spent() - before;
    assert!(busy < QUIET / 10, "busy for {busy:?} of {QUIET:?}");
}

/// Has the kernel leave an entry in the error queue of a socket, the time at which `send` sent something, and waits
/// until it is there.
pub(crate) fn leave_in_error_queue(socket: &impl AsFd, send: impl FnOnce()) {
    let fd = socket.as_fd().as_raw_fd();
    let stamps = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    let (option, value) = (libc::SO_TIMESTAMPING, (&raw const stamps).cast());
    // SAFETY: the value is valid for reading, and an integer of four bytes.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, 4) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
    send();
    let mut entry = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: one initialised entry.
    assert_eq!(unsafe { libc::poll(&mut entry, 1, PATIENCE.as_millis() as i32) }, 1);
    assert_eq!(entry.revents, libc::POLLERR);
}

/// Waits until `condition` holds, from a routine or a thread.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        rust_routines::sleep(Duration::from_millis(1));
    }
}

/// A builder with the drivers that the environment names, as the global runtime has them.
pub(crate) fn builder() -> RuntimeBuilder {
    let mut builder = Runtime::builder();
    if let Some(name) = variable("RUST_ROUTINES_IO") {
        builder = builder.io_named(&name).expect("RUST_ROUTINES_IO");
    }
    if let Some(name) = variable("RUST_ROUTINES_TIMER") {
        builder = builder.timer_named(&name).expect("RUST_ROUTINES_TIMER");
    }
    builder
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A runtime with the drivers that the environment names.
pub(crate) fn runtime(workers: usize) -> Runtime {
    builder().workers(workers).build().expect("a runtime can be made")
}

/// By how much the timer of this run may be late on principle.
pub(crate) fn tick() -> Duration {
    let name = variable("RUST_ROUTINES_TIMER");
    let name = name.or_else(|| rust_routines::drivers::timer_names().next().map(str::to_owned));
    match name.as_deref() {
        Some("hashed") => Duration::from_millis(10),
        _ => Duration::from_millis(1),
    }
}

/// Runs `f` with numbers from 0 to `3 * each` at a time: in routines of two runtimes and on threads.
pub(crate) fn in_a_mix(each: usize, f: impl Fn(usize) + Sync) {
    let (one, other) = (runtime(2), runtime(1));
    let f = &f;
    thread::scope(|threads| {
        one.handle().scope(|first| {
            other.handle().scope(|second| {
                for number in (0..3 * each).step_by(3) {
                    first.spawn(move || f(number));
                    second.spawn(move || f(number + 1));
                    threads.spawn(move || f(number + 2));
                }
            });
        });
    });
    one.shutdown();
    other.shutdown();
}

/// How many routines of `runtime` wait for `reason`.
pub(crate) fn waiting(runtime: &rust_routines::Handle, reason: WaitReason) -> u64 {
    let metrics = runtime.metrics();
    metrics.parked_by_reason.iter().find(|(other, _)| *other == reason).map_or(0, |(_, n)| *n)
}

/// Waits until exactly `count` routines of `runtime` wait for `reason`.
#[track_caller]
pub(crate) fn until_waiting(runtime: &rust_routines::Handle, reason: WaitReason, count: u64) {
    eventually(&format!("{count} routines are {reason}"), || waiting(runtime, reason) == count);
}

/// A routine that yields beside the caller, and counts its turns.
pub(crate) struct Neighbour {
    turns: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    routine: rust_routines::JoinHandle<ThreadId>,
}

impl Neighbour {
    /// Spawns it, and yields until it has started.
    pub(crate) fn start() -> Self {
        let (turns, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let routine = rust_routines::spawn({
            let (turns, done) = (turns.clone(), done.clone());
            move || {
                while !done.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    rust_routines::yield_now();
                }
                thread::current().id()
            }
        });
        while turns.load(Ordering::Relaxed) == 0 {
            rust_routines::yield_now();
        }
        Self { turns, done, routine }
    }

    pub(crate) fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }

    /// Ends it. `false` if it was on another worker, which may have started it.
    pub(crate) fn end(self) -> bool {
        self.done.store(true, Ordering::Relaxed);
        self.routine.join().unwrap() == thread::current().id()
    }
}

/// A generator whose seed is printed, and can be given back in `RUST_ROUTINES_SEED`.
pub(crate) fn random() -> fastrand::Rng {
    let seed = match variable("RUST_ROUTINES_SEED") {
        Some(seed) => seed.parse().expect("RUST_ROUTINES_SEED"),
        None => fastrand::u64(..),
    };
    println!("RUST_ROUTINES_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A short name that no other runtime of this process has, for its threads.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}z", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The names of this process's threads that begin with `prefix`.
pub(crate) fn threads_named(prefix: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is there");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Waits until no thread is left whose name begins with `prefix`.
#[track_caller]
pub(crate) fn until_no_threads(prefix: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = threads_named(prefix);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "threads are left: {left:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Set in child processes that [`child`] has started.
const CHILD: &str = "RUST_ROUTINES_TEST_CHILD";

/// Whether this process was started by [`child`].
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs the test of that name in a process of its own, where [`is_child`] holds.
pub(crate) fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let program = env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1").env_remove("RUST_BACKTRACE");
    for (name, value) in variables {
        command.env(name, value);
    }
    command.output().expect("the test program can be started")
}

/// Has the kernel refuse a system call with `error`, to this thread and to all that it will start.
pub(crate) fn refuse(call: libc::c_long, error: libc::c_int) -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        // The number of the system call comes first in what a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32)
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program =
        libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid for reading; the kernel copies it.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if refused { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a child has written, for assertions and their messages.
pub(crate) fn text(output: &Output) -> String {
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status)
}

/// Counts how many of its [`Counted`]s live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Population(Arc<(AtomicIsize, AtomicUsize)>);

impl Population {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub(crate) fn member(&self) -> Counted {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }

    /// How many live.
    pub(crate) fn alive(&self) -> isize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// How many have been dropped.
    pub(crate) fn dropped(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// Counts its drop.
#[derive(Debug)]
pub(crate) struct Counted(Population);

impl Drop for Counted {
    fn drop(&mut self) {
        let alive = self.0.0.0.fetch_sub(1, Ordering::SeqCst);
        self.0.0.1.fetch_add(1, Ordering::SeqCst);
        assert!(alive > 0, "dropped twice");
    }
}

/// Calls its function when dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Keeps the processor busy, without ever letting others run, until `condition` holds or `limit` has
/// passed. Answers whether it came to hold.
pub(crate) fn hog(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::hint::spin_loop();
    }
    condition()
}

/// The text of a panic's payload.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no text"
    }
}

/// The kind of the error in `result`.
pub(crate) fn error_kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}
