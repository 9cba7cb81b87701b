//! Child processes of routines.

mod util;

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command as StdCommand;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::os::fd::Watched;
use rust_routines::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use rust_routines::signal::Signal;
use rust_routines::time::timeout;
use rust_routines::{Runtime, WaitReason, scope, sleep, spawn, yield_now};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use util::{
    FOREVER, MOMENT, OnDrop, both_worlds, bounded as in_time, child as in_process, error_kind,
    eventually, is_child, runtime, text, until_waiting,
};

/// A shell with a script.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Ends when its input does.
fn cat() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::O_NONBLOCK != 0
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Fails if what a command is told does not reach the child, or what the child says does not come back.
#[test]
fn commands_arrive() {
    both_worlds(|| {
        let dir = tempfile::tempdir().unwrap();
        let output = shell("echo \"$0 $1 $ONE $TWO $GONE\"; pwd -P; echo complaint >&2; exit 3")
            .arg("zero")
            .args(["first"])
            .env("ONE", "1")
            .envs([("TWO", "2")])
            .env("GONE", "here")
            .env_remove("GONE")
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        let path = dir.path().canonicalize().unwrap();
        let expected = format!("zero first 1 2 \n{}\n", path.display());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert_eq!(output.stderr, b"complaint\n");
        assert!(shell("true").status().unwrap().success());
        assert_eq!(shell("exit 7").status().unwrap().code(), Some(7));
        let emptied = Command::new("/usr/bin/env").env_clear().env("ONLY", "one").output().unwrap();
        assert_eq!(emptied.stdout, b"ONLY=one\n");
    });
}

/// Fails if a command does not tell what was set, or what belongs to Unix does not reach the child.
#[test]
fn commands_tell_what_was_set() {
    both_worlds(|| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $0; ps -o pgid= -p $$; echo $$"]).arg0("another-name");
        command.env("SET", "1").env_remove("UNSET").current_dir("/").process_group(0);
        assert_eq!(command.get_program(), "sh");
        assert_eq!(command.get_args().count(), 2);
        let envs: Vec<_> = command.get_envs().collect();
        assert_eq!(envs, [("SET".as_ref(), Some("1".as_ref())), ("UNSET".as_ref(), None)]);
        assert_eq!(command.get_current_dir(), Some("/".as_ref()));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "another-name");
        assert_eq!(lines[1], lines[2], "it leads a group of its own");
    });
}

/// Fails if `exec` does not put the program in the place of this one.
#[test]
fn exec_takes_the_place_of_the_process() {
    if is_child() {
        let error = spawn(|| Command::new("echo").arg("in its place").exec()).join().unwrap();
        panic!("{error}");
    }
    let output = in_process("exec_takes_the_place_of_the_process", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("in its place"), "{}", text(&output));
}

/// Fails if what std's extension traits do to a command is lost.
#[test]
fn std_commands_convert() {
    both_worlds(|| {
        let mut std = StdCommand::new("sh");
        std.args(["-c", "echo $0"]).arg0("ignored");
        let mut command = Command::from(std);
        command.as_std_mut().arg("name");
        assert_eq!(format!("{command:?}"), format!("{:?}", command.as_std()));
        let mut std = StdCommand::from(command);
        assert_eq!(std.output().unwrap().stdout, b"name\n");
        assert_eq!(Command::from(std).output().unwrap().stdout, b"name\n");
    });
}

/// Fails if a wait holds its worker, or misses the end.
#[test]
fn others_run_while_a_child_is_waited_for() {
    in_time(|| {
        let runtime = runtime(1);
        let mut child = cat();
        let input = child.stdin.take().unwrap();
        let waits = runtime.spawn(move || child.wait().unwrap());
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        runtime.spawn(|| (0..100).for_each(|_| yield_now())).join().unwrap();
        assert!(!waits.is_finished());
        drop(input);
        assert!(waits.join().unwrap().success());
        runtime.shutdown();
    });
}

/// Fails if children disturb each other when there are many, or each of them takes a thread.
#[test]
fn many_children() {
    const CHILDREN: u64 = 200;
    in_time(|| {
        let runtime = runtime(2);
        let routines: Vec<_> = (0..CHILDREN)
            .map(|number| {
                runtime.spawn(move || {
                    let mut child = cat();
                    let mut input = child.stdin.take().unwrap();
                    writeln!(input, "{number}").unwrap();
                    let mut output = BufReader::new(child.stdout.take().unwrap());
                    let mut line = String::new();
                    output.read_line(&mut line).unwrap();
                    assert_eq!(line, format!("{number}\n"));
                    (child, input, output)
                })
            })
            .collect();
        // All are alive at once.
        let children: Vec<_> =
            routines.into_iter().map(|routine| routine.join().unwrap()).collect();
        let (ends, inputs): (Vec<_>, Vec<_>) = children
            .into_iter()
            .map(|(mut child, input, output)| {
                (runtime.spawn(move || (child.wait().unwrap(), output)), input)
            })
            .unzip();
        until_waiting(runtime.handle(), WaitReason::IoRead, CHILDREN);
        assert!(runtime.metrics().pool.threads <= 128);
        drop(inputs);
        for end in ends {
            let (status, mut output) = end.join().unwrap();
            assert!(status.success());
            assert_eq!(output.read(&mut [0]).unwrap(), 0);
        }
        runtime.shutdown();
    });
}

/// Fails if a child and its parent wait for each other, one to write, one to read.
#[test]
fn much_output_on_both_pipes() {
    const BYTES: usize = 1 << 20;
    both_worlds(|| {
        for script in [
            "head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2",
            "head -c 1048576 /dev/zero >&2; head -c 1048576 /dev/zero",
            "head -c 1048576 /dev/zero >&2 & head -c 1048576 /dev/zero; wait",
        ] {
            let output = shell(script).output().unwrap();
            assert!(output.status.success());
            assert_eq!((output.stdout.len(), output.stderr.len()), (BYTES, BYTES));
        }
        let only_one = shell("head -c 1048576 /dev/zero").stderr(Stdio::null()).output().unwrap();
        assert_eq!((only_one.stdout.len(), only_one.stderr.len()), (BYTES, 0));
        let only_other = shell("head -c 1048576 /dev/zero >&2").stdout(Stdio::null()).output();
        assert_eq!(only_other.unwrap().stderr.len(), BYTES);
    });
}

/// Fails if a stream that was set is not heeded, or `output` leaves its own settings behind.
#[test]
fn output_keeps_what_was_set() {
    both_worlds(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut command = shell("cat; echo done; echo bad >&2");
        command.stdout(fs::File::create(&path).unwrap());
        let output = command.output().unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b""[..], &b"bad\n"[..]));
        assert_eq!(fs::read(&path).unwrap(), b"done\n");
        let mut again = shell("test -z \"$(cat)\"").stdin(Stdio::null()).spawn().unwrap();
        assert!(again.stdout.is_none() && again.stderr.is_none() && again.stdin.is_none());
        assert!(again.wait().unwrap().success());
        let mut command = shell("true");
        command.output().unwrap();
        let child = command.spawn().unwrap();
        assert!(child.stdout.is_none() && child.stderr.is_none());
    });
}

/// Fails if a child that was killed is not told from one that has exited.
#[test]
fn killed_child() {
    both_worlds(|| {
        let mut child = cat();
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.signal(), status.code()), (Some(libc::SIGKILL), None));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap(), status);
        assert_eq!(child.try_wait().unwrap(), Some(status));
        assert_eq!(child.wait_timeout(FOREVER).unwrap(), Some(status));
        assert!(child.id() > 0);
    });
}

/// Fails if a child cannot be signalled by one while another waits for it.
#[test]
fn signalled_while_somebody_waits() {
    both_worlds(|| {
        let mut child = cat();
        // Waiting closes it.
        let input = child.stdin.take();
        let process = child.pidfd().unwrap();
        let clone = process.try_clone().unwrap();
        scope(|scope| {
            let waits = scope.spawn(|| child.wait().unwrap());
            process.send_signal(Signal::TERM).unwrap();
            assert_eq!(waits.join().unwrap().signal(), Some(libc::SIGTERM));
        });
        // Nobody else is meant who may have its number now.
        process.kill().unwrap();
        clone.send_signal(Signal::TERM).unwrap();
        drop(input);
    });
}

/// Fails if a signal does not arrive, or one to a child that has ended is an error or goes to somebody else.
#[test]
fn children_are_signalled() {
    both_worlds(|| {
        let mut child = shell("trap 'exit 7' USR1; echo ready; while :; do read line; done");
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let nonsense = Signal::from_raw(1000);
        assert_eq!(error_kind(child.send_signal(nonsense)), Some(ErrorKind::InvalidInput));
        let process = child.pidfd().unwrap();
        assert_eq!(error_kind(process.send_signal(nonsense)), Some(ErrorKind::InvalidInput));
        child.send_signal(Signal::USR1).unwrap();
        // The shell looks at its traps between commands.
        let _ = input.write_all(b"\n");
        assert_eq!(child.wait().unwrap().code(), Some(7));
        child.send_signal(Signal::USR1).unwrap();
        assert_eq!(child.pidfd().unwrap_err().raw_os_error(), Some(libc::ESRCH));
    });
}

/// Fails if the descriptor of a child does not tell of its end, or cannot be had of one that has ended unnoticed.
#[test]
fn descriptors_of_children_tell_of_their_end() {
    both_worlds(|| {
        let mut child = shell("exit 3").spawn().unwrap();
        let process = Watched::new(child.pidfd().unwrap());
        process.wait_readable().unwrap();
        let again = Watched::new(child.pidfd().unwrap());
        again.wait_readable().unwrap();
        again.inner().kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));

        let mut std = StdCommand::new("true").spawn().unwrap();
        std.wait().unwrap();
        assert_eq!(Child::from(std).pidfd().unwrap_err().raw_os_error(), Some(libc::ESRCH));
    });
}

/// Fails if a wait does not end with its timeout, or not with the child.
#[test]
fn wait_timeout_ends_either_way() {
    both_worlds(|| {
        let mut child = cat();
        let input = child.stdin.take();
        let start = Instant::now();
        assert_eq!(child.wait_timeout(MOMENT).unwrap(), None);
        assert!(start.elapsed() >= MOMENT);
        assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
        drop(input);
        assert!(child.wait_timeout(FOREVER).unwrap().unwrap().success());
    });
}

/// Fails if waiting for a child that waits for its input never ends.
#[test]
fn waiting_closes_the_input() {
    both_worlds(|| {
        let mut child = cat();
        assert!(child.stdin.is_some());
        assert!(child.wait().unwrap().success());
        assert!(child.stdin.is_none());
        assert!(cat().wait_with_output().unwrap().status.success());
    });
}

/// Fails if an error of starting a process is not the system's.
#[test]
fn what_cannot_be_started() {
    both_worlds(|| {
        let missing = Command::new("/no/such/program").spawn();
        assert_eq!(missing.unwrap_err().raw_os_error(), Some(libc::ENOENT));
        let missing = Command::new("no-such-program-anywhere").status();
        assert_eq!(error_kind(missing), Some(ErrorKind::NotFound));
        let directory = Command::new("/").output();
        assert_eq!(error_kind(directory), Some(ErrorKind::PermissionDenied));
        let zero = Command::new("tr\0ue").spawn();
        assert_eq!(error_kind(zero), Some(ErrorKind::InvalidInput));
        let nowhere = Command::new("true").current_dir("/no/such/directory").spawn();
        assert_eq!(error_kind(nowhere), Some(ErrorKind::NotFound));
    });
}

/// Fails if dropping a child ends it, or closes pipes that were taken from it.
#[test]
fn dropped_child_lives_on() {
    both_worlds(|| {
        let mut child = cat();
        let id = child.id();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        drop(child);
        input.write_all(b"still here\n").unwrap();
        let mut answer = [0; 11];
        output.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still here\n");
        drop(input);
        assert_eq!(output.read(&mut answer).unwrap(), 0);
        // So as not to leave it behind.
        // SAFETY: the status is not asked for.
        assert_eq!(unsafe { libc::waitpid(id as i32, std::ptr::null_mut(), 0) }, id as i32);
    });
}

/// Fails if a child that is to go with its handle lives on or stays a zombie, or goes with one that became std's.
#[test]
fn killed_when_dropped() {
    both_worlds(|| {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let id = Pid::from_raw(child.id() as i32).unwrap();
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        drop(child);
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
        drop(input);
        eventually("it is reaped", || {
            assert!(shell("true").status().unwrap().success());
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(id), options).is_err_and(|error| error == Errno::CHILD)
        });
        let mut child = std::process::Child::from(command.spawn().unwrap());
        let mut output = ChildStdout::from(child.stdout.take().unwrap());
        let mut input = child.stdin.take().unwrap();
        let id = child.id();
        drop(child);
        input.write_all(b"!").unwrap();
        output.read_exact(&mut [0]).unwrap();
        drop(input);
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
        // So as not to leave it behind.
        // SAFETY: the status is not asked for.
        assert_eq!(unsafe { libc::waitpid(id as i32, std::ptr::null_mut(), 0) }, id as i32);
    });
}

/// Fails if a child that somebody else has waited for hangs a wait.
#[test]
fn somebody_else_waits() {
    both_worlds(|| {
        let mut child = shell("true").spawn().unwrap();
        let id = child.id() as i32;
        // SAFETY: the status is not asked for.
        assert_eq!(unsafe { libc::waitpid(id, std::ptr::null_mut(), 0) }, id);
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    });
}

/// Fails if a routine that writes more than a pipe holds keeps its worker, or is not told that nobody reads.
#[test]
fn writing_waits_for_the_reader() {
    in_time(|| {
        let runtime = runtime(1);
        let mut child = cat();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let writer = runtime.spawn(move || {
            let result = input.write_all(&vec![b'x'; 1 << 20]);
            (result, input)
        });
        until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
        let mut output = BufReader::new(output);
        let mut read = 0;
        while read < 1 << 20 {
            let amount = output.fill_buf().unwrap().len();
            read += amount;
            output.consume(amount);
        }
        let (result, mut input) = writer.join().unwrap();
        result.unwrap();
        let writer = runtime.spawn(move || input.write_all(&vec![b'x'; 1 << 20]));
        until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(error_kind(writer.join().unwrap()), Some(ErrorKind::BrokenPipe));
        runtime.shutdown();
    });
}

/// Fails if a child gets a pipe in a mode that it does not expect.
#[test]
fn pipes_convert() {
    both_worlds(|| {
        let mut first = shell("sleep 0.01; echo hello").stdout(Stdio::piped()).spawn().unwrap();
        let between = first.stdout.take().unwrap();
        assert!(is_nonblocking(&between));
        let second = Command::new("tr").args(["a-z", "A-Z"]).stdin(between).output().unwrap();
        assert_eq!(second.stdout, b"HELLO\n");
        assert!(first.wait().unwrap().success());

        let mut child = cat();
        let output = child.stdout.take().unwrap();
        let std = std::process::ChildStdout::from(output);
        assert!(!is_nonblocking(&std));
        let mut output = ChildStdout::from(std);
        assert!(is_nonblocking(&output));
        let input = OwnedFd::from(child.stdin.take().unwrap());
        assert!(!is_nonblocking(&input));
        drop(input);
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
        child.wait().unwrap();
    });
}

/// Fails if a child cannot be handed over by std, or to it.
#[test]
fn std_children_convert() {
    both_worlds(|| {
        let mut std = StdCommand::new("cat");
        std.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::from(std.spawn().unwrap());
        child.stdin.as_mut().unwrap().write_all(b"hello").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"hello");
        let child = std::process::Child::from(cat());
        assert!(!is_nonblocking(child.stdout.as_ref().unwrap()));
        assert!(child.wait_with_output().unwrap().status.success());
    });
}

/// Fails if what stands in for a pipe and cannot be waited for is an error.
#[test]
fn files_for_pipes() {
    both_worlds(|| {
        let mut child = shell("true").stderr(Stdio::piped()).spawn().unwrap();
        child.stdout = Some(OwnedFd::from(fs::File::open("Cargo.toml").unwrap()).into());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, fs::read("Cargo.toml").unwrap());
    });
}

/// Fails if a command that was cut short behaves otherwise the next time.
#[test]
fn output_that_is_cut_short_leaves_the_command_as_it_was() {
    both_worlds(|| {
        let mut command = shell("cat");
        assert!(timeout(Duration::ZERO, || command.output()).is_err());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        assert!(child.stdout.is_none() && child.stderr.is_none());
        drop(child.stdin.take());
        child.wait().unwrap();
    });
}

/// Fails if children of calls that were cut short remain as zombies.
#[test]
fn children_of_calls_that_are_cut_short_are_reaped() {
    if !is_child() {
        let output = in_process("children_of_calls_that_are_cut_short_are_reaped", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    both_worlds(|| {
        let (input, open) = io::pipe().unwrap();
        let mut command = shell("cat");
        command.stdin(input).stdout(Stdio::null());
        for _ in 0..5 {
            assert!(timeout(MOMENT * 20, || command.status()).is_err());
            assert!(timeout(MOMENT * 20, || command.output()).is_err());
            let child = command.spawn().unwrap();
            assert!(timeout(MOMENT, || child.wait_with_output()).is_err());
        }
        drop((command, open));
        eventually("no child is left", || {
            assert!(shell("true").status().unwrap().success());
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            waitid(WaitId::All, options).is_err_and(|error| error == Errno::CHILD)
        });
    });
}

/// Fails if a child that outlives its shell keeps `wait` from seeing the shell's end.
#[test]
fn grandchildren_are_not_waited_for() {
    both_worlds(|| {
        let mut command = shell("cat >/dev/null <&3 & echo started");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        // SAFETY: `dup2` may be called between `fork` and `exec`.
        unsafe {
            command.pre_exec(move || match libc::dup2(theirs.as_raw_fd(), 3) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        drop(ours);
    });
}

/// Fails if a routine that waits for a child cannot be unwound, or leaves something open.
#[test]
fn shutdown_leaves_nothing_open() {
    if !is_child() {
        let output = in_process("shutdown_leaves_nothing_open", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    in_time(|| {
        // What is opened once and stays.
        runtime(1).spawn(|| shell("true").status().unwrap()).join().unwrap();
        let before = open_descriptors();
        let inputs: Vec<_> = [0, 1, 2]
            .into_iter()
            .map(|how| {
                let runtime = runtime(1);
                let mut child = shell("cat; sleep 1000")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                let (id, input) = (child.id(), child.stdin.take());
                runtime.spawn(move || match how {
                    0 => drop(child.wait()),
                    1 => drop(child.wait_timeout(FOREVER)),
                    _ => drop(child.wait_with_output()),
                });
                until_waiting(runtime.handle(), WaitReason::IoRead, 1);
                let left = runtime.shutdown_timeout(Duration::ZERO);
                assert_eq!(left.len(), 1);
                // SAFETY: takes no pointers. The child was not waited for, so the number is its own.
                assert_eq!(unsafe { libc::kill(id as i32, 0) }, 0, "the child lives on");
                // SAFETY: as above; the status is not asked for.
                unsafe {
                    libc::kill(id as i32, libc::SIGKILL);
                    assert_eq!(libc::waitpid(id as i32, std::ptr::null_mut(), 0), id as i32);
                }
                input
            })
            .collect();
        drop(inputs);
        assert_eq!(open_descriptors(), before);
    });
}

/// Fails if a child cannot be waited for when no descriptor is left, or starting one is not an error then.
#[test]
fn without_descriptors() {
    if !is_child() {
        let output = in_process("without_descriptors", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    both_worlds(|| {
        let mut child = cat();
        let input = child.stdin.take().unwrap();
        let mut other = shell("exec cat >/dev/null").stdin(Stdio::piped()).spawn().unwrap();
        let mut talks = shell("echo out; echo err >&2");
        let talks = talks.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (ending, result) = waits_in_its_destructor();
        let mut hoard = Vec::new();
        let full = loop {
            match fs::File::open("/dev/null") {
                Ok(file) => hoard.push(file),
                Err(error) => break error,
            }
        };
        assert_eq!(full.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(cat_error().raw_os_error(), Some(libc::EMFILE));
        let output = talks.wait_with_output().unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        drop(ending);
        assert!(result.recv().unwrap().is_err());
        assert_eq!(child.wait_timeout(MOMENT).unwrap(), None);
        let closes = thread::spawn(move || {
            thread::sleep(MOMENT);
            drop(input);
        });
        assert!(child.wait().unwrap().success());
        assert!(other.wait().unwrap().success());
        closes.join().unwrap();
    });
}

/// Fails if a destructor that waits for a child hangs the shutdown, or turns in circles.
#[test]
fn destructor_that_waits_gives_up_at_shutdown() {
    in_time(|| {
        let (runtime, result) = waits_in_its_destructor();
        drop(runtime);
        assert!(result.recv().unwrap().is_err());
    });
}

/// The same of a limit, and of a thread.
#[test]
fn destructor_that_waits_gives_up_at_the_limit() {
    both_worlds(|| {
        let mut child = cat();
        let input = child.stdin.take();
        let mut end = None;
        let unwound = timeout(MOMENT, || {
            let _guard = OnDrop(|| end = Some(child.wait()));
            sleep(FOREVER);
        });
        assert!(unwound.is_err());
        assert_eq!(error_kind(end.unwrap()), Some(ErrorKind::TimedOut));
        drop(input);
        assert!(child.wait().unwrap().success());
    });
}

/// A runtime with a routine whose destructor waits for a child, and what comes of that.
fn waits_in_its_destructor() -> (Runtime, mpsc::Receiver<io::Result<ExitStatus>>) {
    let (sender, receiver) = mpsc::channel();
    let runtime = runtime(1);
    let mut child = cat();
    runtime.spawn(move || {
        let _input = child.stdin.take();
        let _guard = OnDrop(|| sender.send(child.wait()).unwrap());
        sleep(FOREVER);
    });
    until_waiting(runtime.handle(), WaitReason::Sleep, 1);
    (runtime, receiver)
}

/// Why a child with pipes cannot be started.
fn cat_error() -> io::Error {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_err()
}

/// Fails if commands that run at once mix up what belongs to each.
#[test]
fn outputs_at_once() {
    in_time(|| {
        scope(|scope| {
            for number in 0..30 {
                scope.spawn(move || {
                    let script = format!("echo {number}; echo {number} >&2; exit {number}");
                    let output = shell(&script).output().unwrap();
                    let line = format!("{number}\n");
                    assert_eq!(output.status.code(), Some(number));
                    assert_eq!(output.stdout, line.as_bytes());
                    assert_eq!(output.stderr, line.as_bytes());
                });
            }
        });
    });
}
