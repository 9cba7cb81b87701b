//! Finds the examples' programs, and runs them.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// What an example is made of. One that is older than any of this may not be what the sources say.
const SOURCES: [&str; 6] =
    ["Cargo.lock", "backends/src", "core/src", "examples", "src", "timers/src"];

/// Their names.
const EXAMPLES: [&str; 7] =
    ["tour", "http", "sieve", "pipeline", "worker_pool", "side_by_side", "custom_driver"];

/// The features that matter to an example, and whether this test has them.
const FEATURES: [(&str, bool); 7] = [
    ("io-mio", cfg!(feature = "io-mio")),
    ("io-polling", cfg!(feature = "io-polling")),
    ("io-pool", cfg!(feature = "io-pool")),
    ("io-uring", cfg!(feature = "io-uring")),
    ("timer-hashed", cfg!(feature = "timer-hashed")),
    ("timer-heap", cfg!(feature = "timer-heap")),
    ("timer-hierarchical", cfg!(feature = "timer-hierarchical")),
];

/// How often to look whether a program has ended.
const POLL: Duration = Duration::from_millis(5);

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A program that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// A command that runs the example of that name, without what this process's environment says of drivers.
pub(crate) fn example(name: &str) -> Command {
    let mut command = Command::new(path(name));
    command
        .env_remove("RUST_ROUTINES_IO")
        .env_remove("RUST_ROUTINES_TIMER")
        .env_remove("RUST_ROUTINES_WORKERS")
        .stdin(Stdio::null());
    command
}

/// The program of an example. `cargo test` builds the examples beside the tests; only where it was told to build
/// nothing but this test, they are built here.
pub(crate) fn path(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let test = env::current_exe().expect("the path of this test");
    // The test is in `<profile>/deps`, the examples are in `<profile>/examples`.
    let profile = test.parent().and_then(Path::parent).expect("cargo's folder for the profile");
    let program = profile.join("examples").join(name);
    BUILT.call_once(|| {
        if !EXAMPLES.iter().all(|name| is_current(&profile.join("examples").join(name))) {
            build(profile);
        }
    });
    assert!(
        program.is_file(),
        "{} is missing: `cargo build --examples`, with this test's profile and features, makes it",
        program.display()
    );
    program
}

/// Whether the program is there and no source is newer.
fn is_current(program: &Path) -> bool {
    let Ok(built) = program.metadata().and_then(|metadata| metadata.modified()) else {
        return false;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    SOURCES.iter().all(|source| newest(&root.join(source)) <= built)
}

/// When a file, or the newest in a folder, was changed.
fn newest(path: &Path) -> SystemTime {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| newest(&entry.expect("an entry of a source folder").path()))
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH),
        Err(_) => path.metadata().and_then(|metadata| metadata.modified()).expect("a source file"),
    }
}

/// Lets cargo build the examples into the folder of this test's profile, with this test's features.
fn build(profile: &Path) {
    let folder = profile.file_name().and_then(|name| name.to_str()).expect("a profile's name");
    let features: Vec<_> = FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let target = profile.parent().expect("cargo's target folder");
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "rust-routines", "--examples"])
        .args(["--no-default-features", "--features", &features.join(",")])
        .args(["--profile", if folder == "debug" { "dev" } else { folder }])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        built.status.success(),
        "cargo cannot build the examples:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

/// Runs a program to its end, which must come within `limit`.
#[track_caller]
pub(crate) fn run(command: &mut Command, limit: Duration) -> Ended {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let output = read_all(child.stdout.take().expect("its output"));
    let errors = read_all(child.stderr.take().expect("its errors"));
    let status = ended(&mut child, limit);
    let output = output.join().expect("the output is read");
    let errors = errors.join().expect("the errors are read");
    match status {
        Some(status) => Ended { status, output, errors },
        None => panic!("{command:?} took more than {limit:?}:\n{output}\n{errors}"),
    }
}

impl Ended {
    /// The program succeeded, and had nothing to complain about.
    #[track_caller]
    pub(crate) fn assert_success(&self) -> &str {
        assert!(self.status.success(), "{}:\n{}{}", self.status, self.output, self.errors);
        assert_eq!(self.errors, "", "there is no terminal to show progress on");
        &self.output
    }
}

/// How the child ended. If it does not within `limit`, it is killed.
fn ended(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the state of the program") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            child.kill().expect("to kill the program");
            child.wait().expect("the program's end");
            return None;
        }
        thread::sleep(POLL);
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("the pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Starts a program and waits for the first line of its output.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut running = Self { child, output };
        let mut line = String::new();
        running.output.read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "{command:?} ended without a word");
        (running, line.trim_end().to_owned())
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: takes no pointers. The program was not waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// What the program still has to say, and how it ends, which must be within `limit`.
    #[track_caller]
    pub(crate) fn ended(mut self, limit: Duration) -> (ExitStatus, String) {
        let status = ended(&mut self.child, limit).expect("the program ends in time");
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("the output is read");
        (status, rest)
    }

    /// The program is still there.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        let status = self.child.try_wait().expect("the state of the program");
        assert_eq!(status, None, "the program ended by itself");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
