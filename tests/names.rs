//! Look-ups of names, which nobody answers.

mod util;

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rust_routines::net::unix::UnixStream;
use rust_routines::net::{TcpStream, ToSocketAddrs};
use rust_routines::time::timeout;
use rust_routines::{WaitReason, io, sleep};
use util::{LIMIT, bounded as in_time, eventually, runtime, until_waiting};

/// Runs `body` in a child process in which the look-up of a name without dots waits until somebody opens the FIFO that
/// `body` is given: there the C library looks for aliases before it asks anybody.
fn with_slow_names(test: &str, body: impl FnOnce(&Path)) {
    if util::is_child() {
        in_time(|| body(Path::new(&std::env::var_os("HOSTALIASES").unwrap())));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("aliases");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let aliases = fifo.to_str().unwrap();
    let variables = [("HOSTALIASES", aliases), ("RES_OPTIONS", "timeout:1 attempts:1")];
    let output = util::child(test, &variables);
    assert!(output.status.success(), "{}", util::text(&output));
}

/// Opens the FIFO as soon as somebody reads it. `None` if `is_over` first, with a C library that knows no aliases.
fn answer_slowly(fifo: &Path, is_over: impl Fn() -> bool) -> Option<std::fs::File> {
    let mut writer = std::fs::File::options();
    writer.write(true).custom_flags(libc::O_NONBLOCK);
    let mut aliases = None;
    eventually("the look-up asks", || {
        aliases = writer.open(fifo).ok();
        aliases.is_some() || is_over()
    });
    if aliases.is_some() {
        // It would be read again for the next of several questions.
        std::fs::remove_file(fifo).unwrap();
    }
    aliases
}

fn connect_to_nowhere() -> io::Result<()> {
    TcpStream::connect(("nowhere-in-particular", 1)).map(drop)
}

/// Fails if a name server that does not answer holds up more than the routine that asks.
#[test]
fn slow_name_look_ups_hold_up_nobody() {
    with_slow_names("slow_name_look_ups_hold_up_nobody", |fifo| {
        let runtime = runtime(1);
        let asks = runtime.spawn(connect_to_nowhere);
        let aliases = answer_slowly(fifo, || asks.is_finished());
        if aliases.is_some() {
            until_waiting(runtime.handle(), WaitReason::Blocking, 1);
            let (mut near, far) = UnixStream::pair().unwrap();
            let other = runtime.spawn(move || {
                sleep(Duration::from_millis(1));
                let found = "localhost:80".to_socket_addrs().unwrap().next();
                io::copy(&mut &far, &mut &far).map(|_| found)
            });
            near.write_all(b"ping").unwrap();
            near.read_exact(&mut [0; 4]).unwrap();
            drop(near);
            assert!(other.join().unwrap().unwrap().is_some());
            assert!(!asks.is_finished());
        }
        drop(aliases);
        assert!(asks.join().unwrap().is_err());
        runtime.shutdown();
    });
}

/// Fails if who looks up a name waits for the answer longer than a time limit allows.
#[test]
fn a_time_limit_ends_the_wait_for_a_name() {
    with_slow_names("a_time_limit_ends_the_wait_for_a_name", |fifo| {
        let runtime = runtime(1);
        let limited = || timeout(Duration::from_millis(5), connect_to_nowhere);
        // `Ok` is a C library that knows no aliases.
        assert!(limited().map_or(true, |connected| connected.is_err()));
        let asks = runtime.spawn(limited);
        assert!(asks.join().unwrap().map_or(true, |connected| connected.is_err()));
        // Those that have been given up leave the pool to others.
        for _ in 0..200 {
            let _ =
                runtime.spawn(|| timeout(Duration::from_micros(100), connect_to_nowhere)).join();
        }
        assert!(runtime.metrics().pool.threads < 128);
        let aliases = answer_slowly(fifo, || runtime.metrics().live == 0);
        drop(aliases);
        // With room for the answer: a limit that does not strike.
        let found = || timeout(LIMIT, || "localhost:80".to_socket_addrs().map(Iterator::count));
        assert!(found().unwrap().unwrap() > 0);
        assert!(runtime.spawn(found).join().unwrap().unwrap().unwrap() > 0);
        runtime.shutdown();
    });
}
