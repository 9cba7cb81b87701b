//! Runs a test's body in a process of its own: for bodies that die, or that change what belongs to the
//! process.

use std::env;
use std::io::Read;
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Says in a child which test's body it is to run.
const CHILD: &str = "RUST_ROUTINES_TEST_CHILD";

/// What a child exits with when its body has come to its end; not 0, which means that no test ran.
pub(crate) const FINISHED: i32 = 42;

/// How often a parent looks for the end of its child.
const POLL: Duration = Duration::from_millis(2);

/// How a child ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) errors: String,
}

/// In the parent: runs the test of that name again in a process of its own, for `limit` at the longest,
/// and answers how it ended. In that process: runs `body` and exits.
#[track_caller]
pub(crate) fn in_child(test: &str, limit: Duration, body: fn()) -> Ended {
    if env::var_os(CHILD).is_some_and(|child| child == test) {
        no_core_file();
        body();
        process::exit(FINISHED);
    }
    let mut child = Command::new(env::current_exe().expect("the path of this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child process");
    let mut pipe = child.stderr.take().expect("a pipe from the child");
    let reader = thread::spawn(move || {
        let mut errors = Vec::new();
        // What cannot be read any more is not needed: the status tells.
        let _ = pipe.read_to_end(&mut errors);
        String::from_utf8_lossy(&errors).into_owned()
    });
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the state of the child") {
            break Some(status);
        }
        if Instant::now() >= deadline {
            child.kill().expect("to kill the child");
            child.wait().expect("the end of the child");
            break None;
        }
        thread::sleep(POLL);
    };
    let errors = reader.join().expect("the child's messages");
    match status {
        Some(status) => Ended { status, errors },
        None => panic!("the child of {test} had not ended after {limit:?}:\n{errors}"),
    }
}

fn no_core_file() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads the limit, which is valid. Nothing depends on whether it is heeded.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}
