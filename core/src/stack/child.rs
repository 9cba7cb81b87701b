//! Runs a test in a process of its own, for tests that die or change what belongs to the process.

use std::env;
use std::process::{self, Command, Output};

/// What a child exits with when its body has come to its end; not 0, which means that no test ran.
pub(super) const FINISHED: i32 = 42;

/// In the parent: runs `test` again, in a process of its own. In that process: runs `body` and
/// exits.
pub(super) fn in_child(module: &str, test: &str, body: fn()) -> Output {
    const CHILD: &str = "RUST_ROUTINES_STACK_TEST";
    if env::var_os(CHILD).is_some() {
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both only set limits of this process: no core file, and a minute of time.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &no_core);
            libc::alarm(60);
        }
        body();
        process::exit(FINISHED);
    }
    let (_crate, module) = module.split_once("::").expect("a module of this crate");
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[track_caller]
pub(super) fn assert_finished(output: &Output) {
    assert!(
        output.status.code() == Some(FINISHED),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
