//! The standard streams, of processes of their own.

mod util;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, resume_unwind};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use rust_routines::channel::bounded;
use rust_routines::io::macros::{eprintln, println};
use rust_routines::io::{PipeReader, PipeWriter, pipe, stderr, stdin, stdout};
use rust_routines::time::timeout;
use rust_routines::{Handle, WaitReason, sleep, spawn, yield_now};
use util::{PATIENCE, bounded as in_time, runtime, until_waiting};

/// Set in the children, to the test and to whether it runs in a routine.
const PART: &str = "RUST_ROUTINES_STDIO_PART";

/// What a child exits with when all was well; not zero, which means that no test ran.
const FINE: i32 = 42;

/// What lines of ours begin with, to tell them from those of the test harness.
const MARK: &str = "> ";

/// In the parent: calls `parent` with a command that runs the test of that name again in a process of its
/// own, once where the body runs on a thread and once in a routine. There: runs `child` and exits.
fn in_child(test: &str, parent: impl Fn(Command), child: impl Fn() + Send + 'static) {
    if let Ok(part) = env::var(PART) {
        in_time(|| match &*part {
            "routine" => spawn(child).join().unwrap(),
            _ => child(),
        });
        process::exit(FINE);
    }
    for part in ["thread", "routine"] {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.env(PART, part).env_remove("RUST_BACKTRACE").env("RUST_ROUTINES_WORKERS", "1");
        parent(command);
    }
}

/// The child has ended well, and soon.
#[track_caller]
fn assert_fine(mut child: Child) {
    assert_eq!(ended(&mut child).code(), Some(FINE));
}

#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the child does not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The next line of ours.
fn next_line(output: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child says nothing more");
        // The harness begins a line that the child goes on with.
        if let Some(at) = line.find(MARK) {
            return line[at + MARK.len()..].trim_end().to_owned();
        }
    }
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::O_NONBLOCK != 0
}

/// Both ends of a terminal: the one that its user has, and the one that programs have.
fn terminal() -> (File, File) {
    let (mut user, mut program) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: the two descriptors are valid for writing, and the rest is left out.
    let opened = unsafe { libc::openpty(&mut user, &mut program, none, none.cast(), none.cast()) };
    assert_eq!(opened, 0, "{}", io::Error::last_os_error());
    // SAFETY: the call has just made them.
    unsafe { (File::from_raw_fd(user), File::from_raw_fd(program)) }
}

/// Answers each line.
fn answer_lines() {
    for line in stdin().lines() {
        writeln!(stdout(), "{MARK}{}", line.unwrap().to_uppercase()).unwrap();
    }
}

/// Fails if printing in a destructor, to where there is no room, ends the process as a second panic.
#[test]
fn failed_printing_is_no_second_panic() {
    in_child(
        "failed_printing_is_no_second_panic",
        |mut command| assert_fine(command.stdout(Stdio::null()).spawn().unwrap()),
        || {
            let full = File::options().write(true).open("/dev/full").unwrap();
            // Made before, since a driver with faults says so.
            let runtime = spawn(Handle::try_current).join().unwrap().unwrap();
            // The test harness prints, too, and not in here.
            for stream in [1, 2] {
                // SAFETY: takes no pointers, and nobody reads from what these were.
                assert_eq!(unsafe { libc::dup2(full.as_raw_fd(), stream) }, stream);
            }
            let print = || println!("no room");
            assert!(catch_unwind(print).is_err(), "it fails");
            let print_and_unwind = || {
                let unwound = catch_unwind(|| {
                    let _print = util::OnDrop(print);
                    let _print = util::OnDrop(|| eprintln!("no room"));
                    resume_unwind(Box::new("mine"));
                });
                assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"mine"));
            };
            print_and_unwind();
            // Nor if a neighbour seems to be the one that unwinds.
            let (gate, opens) = bounded::<()>(0);
            let neighbour = spawn(move || {
                let _waits = util::OnDrop(|| assert!(opens.recv().is_err()));
                resume_unwind(Box::new(()));
            });
            until_waiting(&runtime, WaitReason::ChannelReceive, 1);
            print_and_unwind();
            drop(gate);
            neighbour.join().unwrap_err();
        },
    );
}

/// Fails if a line is lost, held back, or changed on its way through pipes.
#[test]
fn lines_through_pipes() {
    in_child(
        "lines_through_pipes",
        |mut command| {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            for number in 0..100 {
                writeln!(input, "line {number}").unwrap();
                assert_eq!(next_line(&mut output), format!("LINE {number}"));
            }
            // Without an end of its own.
            write!(input, "the last").unwrap();
            drop(input);
            assert_eq!(next_line(&mut output), "THE LAST");
            drop(output);
            assert_fine(child);
        },
        answer_lines,
    );
}

/// Fails if what the macros print is not what std's would, or goes elsewhere.
#[test]
fn macros_print_what_std_prints() {
    in_child(
        "macros_print_what_std_prints",
        |mut command| {
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(FINE), "{output:?}");
            let (stdout, stderr) = (output.stdout, output.stderr);
            let stdout = String::from_utf8(stdout).unwrap();
            assert!(stdout.ends_with("> one 2\n\n{3}> no end"), "{stdout:?}");
            let stderr = String::from_utf8(stderr).unwrap();
            assert!(stderr.ends_with("> one 2\n\n{3}> no end"), "{stderr:?}");
        },
        || {
            use rust_routines::io::macros::{eprint, eprintln, print, println};

            let two = 2;
            println!("{MARK}one {two}");
            println!();
            print!("{{{}}}", 3);
            print!("{MARK}no end");
            eprintln!("{MARK}one {two}");
            eprintln!();
            eprint!("{{{}}}", 3);
            eprint!("{MARK}no end");
        },
    );
}

/// Fails if printing for somebody who does not read holds up the worker.
#[test]
fn printing_to_a_slow_reader_parks() {
    in_child(
        "printing_to_a_slow_reader_parks",
        |mut command| {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            // Before anybody has read the output.
            assert_eq!(next_line(&mut stderr), "others run");
            let mut printed = String::new();
            child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
            assert_eq!(printed.matches("much").count(), 1 << 16);
            assert_fine(child);
        },
        || {
            let runtime = runtime(1);
            let prints =
                runtime.spawn(|| rust_routines::io::macros::print!("{}", "much".repeat(1 << 16)));
            until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
            runtime.spawn(|| eprintln!("{MARK}others run")).join().unwrap();
            prints.join().unwrap();
            runtime.shutdown();
        },
    );
}

/// Fails if a pipe loses bytes, holds its worker, or one of its ends is not what std's is.
#[test]
fn pipes_park() {
    in_time(|| {
        let runtime = runtime(1);
        let (mut reader, writer) = pipe().unwrap();
        assert!(is_nonblocking(&reader) && is_nonblocking(&writer));
        let reads = runtime.spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        let clone = writer.try_clone().unwrap();
        // More than a pipe holds.
        let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let sent = data.clone();
        let writes = runtime.spawn(move || (&clone).write_all(&sent).unwrap());
        writes.join().unwrap();
        (&writer).write_all(b"the end").unwrap();
        assert!(!reads.is_finished());
        drop(writer);
        let received = reads.join().unwrap().unwrap();
        assert!(received.strip_suffix(b"the end").unwrap() == data);

        let (reader, writer) = pipe().unwrap();
        drop(reader);
        assert_eq!((&writer).write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (PipeReader::from(reader), PipeWriter::from(writer));
        assert!(is_nonblocking(&reader) && is_nonblocking(&writer));
        let (mut reader, writer) = (io::PipeReader::from(reader), OwnedFd::from(writer));
        assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        runtime.shutdown();
    });
}

/// Fails if a child that shares an end, and the mode of it, makes who waits for that end hold the worker.
#[test]
fn an_end_that_a_child_shares_still_parks() {
    in_time(|| {
        let runtime = runtime(1);
        let (mut reader, mut writer) = pipe().unwrap();
        let (shares, shared) = bounded(1);
        let reads = runtime.spawn(move || {
            let mut child = rust_routines::process::Command::new("true");
            child.stdin(reader.try_clone().unwrap()).status().unwrap();
            let late = timeout(Duration::from_millis(5), || reader.read(&mut [0]));
            assert!(late.is_err());
            shares.send(()).unwrap();
            reader.read_exact(&mut [0; 5]).unwrap();
        });
        shared.recv().unwrap();
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        let writes = runtime.spawn(move || {
            let mut child = rust_routines::process::Command::new("true");
            child.stdout(writer.try_clone().unwrap()).status().unwrap();
            writer.write_all(b"bytes").unwrap();
        });
        writes.join().unwrap();
        reads.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a standard stream that is closed is an error, which it is not in std.
#[test]
fn closed_streams_are_empty_and_take_everything() {
    in_child(
        "closed_streams_are_empty_and_take_everything",
        |mut command| assert_fine(command.spawn().unwrap()),
        || {
            // The drivers have all the descriptors that they need then, and will not get these.
            stdout().write_all(b"open\n").unwrap();
            // SAFETY: takes no pointers. Nobody else in this process uses them.
            unsafe { (libc::close(0), libc::close(1)) };
            assert_eq!(stdin().read(&mut [0; 4]).unwrap(), 0);
            stdout().write_all(&[0; 10_000]).unwrap();
            rust_routines::io::macros::println!("into the void");
        },
    );
}

/// Fails if a terminal is not read and written line by line, does not end at ctrl-d, or is left in
/// another mode.
#[test]
fn lines_through_a_terminal() {
    in_child(
        "lines_through_a_terminal",
        |mut command| {
            let (mut user, program) = terminal();
            let (stdin, stdout) = (program.try_clone().unwrap(), program.try_clone().unwrap());
            let child = command.stdin(stdin).stdout(stdout).spawn().unwrap();
            drop(command);
            let mut output = BufReader::new(user.try_clone().unwrap());
            for number in 0..20 {
                writeln!(user, "line {number}").unwrap();
                assert_eq!(next_line(&mut output), format!("LINE {number}"));
                assert!(!is_nonblocking(&program));
            }
            user.write_all(b"\x04").unwrap();
            assert_fine(child);
        },
        || {
            assert!(stdin().is_terminal() && stdout().is_terminal() && !stderr().is_terminal());
            answer_lines();
        },
    );
}

/// Fails if a socket will not do for the streams, as inetd and systemd have it.
#[test]
fn lines_through_a_socket() {
    in_child(
        "lines_through_a_socket",
        |mut command| {
            let (mut near, far) = UnixStream::pair().unwrap();
            let same = far.try_clone().unwrap();
            command.stdin(OwnedFd::from(same)).stdout(OwnedFd::from(far.try_clone().unwrap()));
            let child = command.spawn().unwrap();
            drop(command);
            let mut output = BufReader::new(near.try_clone().unwrap());
            for number in 0..20 {
                writeln!(near, "line {number}").unwrap();
                assert_eq!(next_line(&mut output), format!("LINE {number}"));
                assert!(!is_nonblocking(&far));
            }
            near.shutdown(Shutdown::Write).unwrap();
            assert_fine(child);
        },
        answer_lines,
    );
}

/// Fails if an input that somebody else has put into non-blocking mode is an error instead of a wait.
#[test]
fn nonblocking_input() {
    in_child(
        "nonblocking_input",
        |mut command| {
            for terminal_too in [false, true] {
                let (mut user, program) = match terminal_too {
                    true => terminal(),
                    false => {
                        let (near, far) = UnixStream::pair().unwrap();
                        (OwnedFd::from(near).into(), OwnedFd::from(far).into())
                    }
                };
                let on: libc::c_int = 1;
                // SAFETY: `on` is borrowed for the call.
                unsafe { libc::ioctl(program.as_raw_fd(), libc::FIONBIO, &on) };
                command.stdin(program.try_clone().unwrap()).stdout(Stdio::piped());
                let mut child = command.spawn().unwrap();
                let mut output = BufReader::new(child.stdout.take().unwrap());
                for number in 0..5 {
                    thread::sleep(Duration::from_millis(2));
                    writeln!(user, "line {number}").unwrap();
                    assert_eq!(next_line(&mut output), format!("LINE {number}"));
                }
                child.kill().unwrap();
                child.wait().unwrap();
            }
        },
        answer_lines,
    );
}

/// Fails if files, which are always ready, are read or written in part.
#[test]
fn files_for_streams() {
    const BYTES: usize = 300_000;
    in_child(
        "files_for_streams",
        |mut command| {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            let data: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
            fs::write(&from, &data).unwrap();
            command.stdin(File::open(&from).unwrap()).stdout(File::create(&to).unwrap());
            assert_fine(command.spawn().unwrap());
            assert!(fs::read(&to).unwrap().ends_with(&data));
        },
        || {
            let mut data = Vec::new();
            stdin().read_to_end(&mut data).unwrap();
            assert_eq!(data.len(), BYTES);
            stdout().write_all(&data).unwrap();
        },
    );
}

/// Fails if `/dev/null` is waited for, or an error.
#[test]
fn nothing_for_streams() {
    in_child(
        "nothing_for_streams",
        |mut command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            assert_fine(command.spawn().unwrap());
        },
        || {
            let mut line = String::new();
            assert_eq!(stdin().read_line(&mut line).unwrap(), 0);
            assert_eq!(stdin().lock().fill_buf().unwrap(), b"");
            writeln!(stdout(), "unheard").unwrap();
            stderr().lock().write_all(&[b'x'; 100_000]).unwrap();
        },
    );
}

/// Fails if a routine that waits for input holds its worker, or a runtime or the process cannot end because
/// of it.
#[test]
fn silent_input_holds_nobody_up() {
    in_child(
        "silent_input_holds_nobody_up",
        |mut command| {
            let (user, program) = terminal();
            for stdin in [Stdio::piped(), program.into()] {
                let mut child = command.stdin(stdin).stdout(Stdio::null()).spawn().unwrap();
                let _input = child.stdin.take();
                assert_fine(child);
            }
            drop(user);
        },
        || {
            let runtime = runtime(1);
            let reader = runtime.spawn(|| stdin().read(&mut [0]));
            until_waiting(runtime.handle(), WaitReason::IoRead, 1);
            runtime.spawn(|| (0..100).for_each(|_| yield_now())).join().unwrap();
            let left = runtime.shutdown_timeout(Duration::from_millis(1));
            assert_eq!(left.len(), 1);
            assert!(reader.join().is_err());
            // The lock is free again, and this one still waits when the process ends.
            spawn(|| stdin().read(&mut [0]));
            sleep(Duration::from_millis(2));
        },
    );
}

/// Fails if a routine whose output nobody takes holds its worker, cannot be unwound, or loses bytes.
#[test]
fn slow_reader_is_waited_for() {
    const BYTES: usize = 1 << 20;
    in_child(
        "slow_reader_is_waited_for",
        |mut command| {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut errors = BufReader::new(child.stderr.take().unwrap());
            assert_eq!(next_line(&mut errors), "waiting");
            let mut data = Vec::new();
            child.stdout.take().unwrap().read_to_end(&mut data).unwrap();
            assert!(data.iter().filter(|byte| **byte == b'x').count() >= BYTES);
            assert_fine(child);
        },
        || {
            let runtime = runtime(1);
            let writer = runtime.spawn(|| stdout().write_all(&[b'x'; BYTES]).unwrap());
            until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
            runtime.spawn(|| (0..100).for_each(|_| yield_now())).join().unwrap();
            writeln!(stderr(), "{MARK}waiting").unwrap();
            writer.join().unwrap();
            runtime.shutdown();
        },
    );
}

/// Fails if a stopped output cannot be given up.
#[test]
fn stopped_output_can_be_given_up() {
    in_child(
        "stopped_output_can_be_given_up",
        |mut command| {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let _output = child.stdout.take();
            assert_fine(child);
        },
        || {
            let runtime = runtime(1);
            let writer = runtime.spawn(|| stdout().write_all(&[b'x'; 1 << 20]));
            until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
            assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 1);
            assert!(writer.join().is_err());
        },
    );
}

/// Fails if what routines write in one call is torn apart, or errors go elsewhere.
#[test]
fn pieces_stay_whole() {
    in_child(
        "pieces_stay_whole",
        |mut command| {
            let child =
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            let output = child.unwrap().wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(FINE));
            for (text, stream) in [(output.stdout, "out"), (output.stderr, "err")] {
                let text = String::from_utf8(text).unwrap();
                let lines: Vec<_> = text.lines().filter(|line| line.contains(MARK)).collect();
                assert_eq!(lines.len(), 800, "{text}");
                for line in lines {
                    let words: Vec<_> = line.split(' ').collect();
                    assert_eq!(words[1], stream);
                    assert!(words[2..].iter().all(|word| *word == words[2]), "{line}");
                }
            }
        },
        || {
            let runtime = runtime(2);
            writeln!(stdout()).unwrap();
            runtime.handle().scope(|scope| {
                for number in 0..8 {
                    scope.spawn(move || {
                        for _ in 0..100 {
                            let mut word = format!("{number} ").repeat(100);
                            word.pop();
                            writeln!(stdout(), "{MARK}out {word}").unwrap();
                            let mut errors = stderr().lock();
                            write!(errors, "{MARK}err ").unwrap();
                            yield_now();
                            writeln!(errors, "{word}").unwrap();
                        }
                    });
                }
            });
            runtime.shutdown();
        },
    );
}

/// Fails if another file in the place of standard input is taken for the one before.
#[test]
fn redirected_input() {
    in_child(
        "redirected_input",
        |mut command| {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            thread::sleep(Duration::from_millis(5));
            input.write_all(b"first\n").unwrap();
            assert_fine(child);
        },
        || {
            let mut line = String::new();
            stdin().read_line(&mut line).unwrap();
            assert_eq!(line, "first\n");
            let (mut near, far) = UnixStream::pair().unwrap();
            // SAFETY: takes no pointers. Standard input may be replaced.
            assert_eq!(unsafe { libc::dup2(far.as_raw_fd(), 0) }, 0);
            let writer = thread::spawn(move || {
                thread::sleep(Duration::from_millis(5));
                near.write_all(b"second\n").unwrap();
                near
            });
            stdin().read_line(&mut line).unwrap();
            assert_eq!(line, "first\nsecond\n");
            drop(writer.join().unwrap());
        },
    );
}
