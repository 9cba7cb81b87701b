//! Descriptors of somebody else's, waited for by routines.

mod util;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rust_routines::os::fd::Watched;
use rust_routines::os::unix::net;
use rust_routines::time::timeout;
use rust_routines::{WaitReason, scope, sleep, spawn, yield_now};
use rust_routines_conformance::io::sockets::touch_host_name;
use socket2::SockRef;
use util::{FOREVER, MOMENT, both_worlds, bounded as in_time, error_kind, runtime, until_waiting};

/// A watched socket in blocking mode, and its peer.
fn pair() -> (Watched<UnixStream>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Watched::new(near), far)
}

/// A watched socket in non-blocking mode, and its peer.
fn nonblocking_pair() -> (Watched<UnixStream>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Watched::nonblocking(near).unwrap(), far)
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::O_NONBLOCK != 0
}

/// Writes until there is no room.
fn fill(mut socket: &UnixStream) {
    while socket.write(&[0; 4096]).is_ok() {}
}

/// Fails if a wait ends before its event, misses it, or misses one that came before.
#[test]
fn waits_for_its_event() {
    both_worlds(|| {
        let (socket, mut far) = pair();
        let come = Arc::new(AtomicBool::new(false));
        let writer = spawn({
            let come = come.clone();
            move || {
                sleep(MOMENT);
                come.store(true, Ordering::SeqCst);
                far.write_all(b"x").unwrap();
                far
            }
        });
        socket.wait_readable().unwrap();
        assert!(come.load(Ordering::SeqCst));
        socket.wait_readable().unwrap();
        socket.inner().read_exact(&mut [0]).unwrap();
        let timeout = socket.wait_readable_timeout(MOMENT);
        assert_eq!(error_kind(timeout), Some(ErrorKind::TimedOut));
        drop(writer.join().unwrap());
        // The end of the file is an event too.
        socket.wait_readable().unwrap();
    });
}

/// Fails if a timeout does not end the wait, ends it early, or breaks the next one.
#[test]
fn timeouts_end_waits() {
    both_worlds(|| {
        let (socket, mut far) = nonblocking_pair();
        for _ in 0..3 {
            let start = Instant::now();
            let timeout = socket.wait_readable_timeout(MOMENT);
            assert_eq!(error_kind(timeout), Some(ErrorKind::TimedOut));
            assert!(start.elapsed() >= MOMENT);
        }
        let at_once = socket.wait_readable_timeout(Duration::ZERO);
        assert_eq!(error_kind(at_once), Some(ErrorKind::TimedOut));
        socket.wait_writable_timeout(Duration::ZERO).unwrap();
        socket.wait_writable_timeout(FOREVER).unwrap();
        fill(socket.inner());
        let full = socket.wait_writable_timeout(MOMENT);
        assert_eq!(error_kind(full), Some(ErrorKind::TimedOut));
        far.write_all(b"x").unwrap();
        socket.wait_readable_timeout(Duration::MAX).unwrap();
    });
}

/// Fails if ordinary data passes for urgent, or urgent data is missed, before the wait or during it.
#[test]
fn priority_is_what_is_urgent() {
    both_worlds(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = Watched::nonblocking(listener.accept().unwrap().0).unwrap();
        far.write_all(b"ordinary").unwrap();
        near.wait_readable().unwrap();
        let none = near.wait_priority_timeout(MOMENT);
        assert_eq!(error_kind(none), Some(ErrorKind::TimedOut));
        let sender = spawn(move || {
            sleep(MOMENT);
            SockRef::from(&far).send_out_of_band(b"!").unwrap();
            far
        });
        near.wait_priority().unwrap();
        near.wait_priority_timeout(Duration::ZERO).unwrap();
        let mut urgent = [MaybeUninit::uninit()];
        assert_eq!(SockRef::from(near.inner()).recv_out_of_band(&mut urgent).unwrap(), 1);
        let none = near.wait_priority_timeout(MOMENT);
        assert_eq!(error_kind(none), Some(ErrorKind::TimedOut));
        drop(sender.join().unwrap());
    });
}

/// Fails if a waiting routine holds its worker.
#[test]
fn others_run_meanwhile() {
    in_time(|| {
        let runtime = runtime(1);
        let (socket, mut far) = nonblocking_pair();
        let waits = runtime.spawn(move || socket.wait_readable().unwrap());
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        runtime.spawn(|| (0..100).for_each(|_| yield_now())).join().unwrap();
        assert!(!waits.is_finished());
        far.write_all(b"x").unwrap();
        waits.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if bytes are lost, or a wait too many is made, when both sides have to wait for each other.
#[test]
fn read_with_and_write_with_carry_a_stream() {
    both_worlds(|| {
        const BYTES: usize = 1 << 20;
        let (near, far) = nonblocking_pair();
        let far = Watched::nonblocking(far).unwrap();
        let writer = spawn(move || {
            let data: Vec<u8> = (0..BYTES).map(|i| i as u8).collect();
            let mut rest = &data[..];
            while !rest.is_empty() {
                let written = far.write_with(|mut socket| socket.write(rest)).unwrap();
                rest = &rest[written..];
            }
        });
        let mut data = Vec::new();
        let mut buffer = vec![0; 50_000];
        loop {
            match near.read_with(|mut socket| socket.read(&mut buffer)).unwrap() {
                0 => break,
                read => data.extend_from_slice(&buffer[..read]),
            }
        }
        writer.join().unwrap();
        assert_eq!(data.len(), BYTES);
        assert!(data.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    });
}

/// Fails if an error queue that nobody reads has the closure called over and over, or hides what comes.
#[test]
fn an_error_queue_that_nobody_reads_does_not_keep_a_closure_busy() {
    util::both_worlds_alone(|| {
        let [near, far] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        near.connect(far.local_addr().unwrap()).unwrap();
        far.connect(near.local_addr().unwrap()).unwrap();
        util::leave_in_error_queue(&near, || assert_eq!(near.send(b"x").unwrap(), 1));
        let near = Watched::nonblocking(near).unwrap();
        let calls = Cell::new(0);
        let read = || {
            near.read_with(|near| {
                calls.set(calls.get() + 1);
                near.recv(&mut [0; 8])
            })
        };
        timeout(util::QUIET, read).unwrap_err();
        assert!(calls.get() < 10, "{} calls", calls.get());
        let sender = spawn(move || {
            sleep(MOMENT);
            far.send(b"data").unwrap();
        });
        assert_eq!(read().unwrap(), 4);
        sender.join().unwrap();
    });
}

/// Fails if a change is missed that the kernel tells only to who asks first.
#[cfg_attr(rr_faults, ignore = "a wait that is made anew asks again")]
#[test]
fn what_is_told_once_ends_the_wait() {
    both_worlds(|| {
        for _ in 0..5 {
            let name = Watched::new(File::open("/proc/sys/kernel/hostname").unwrap());
            let toucher = spawn(|| {
                sleep(MOMENT);
                rust_routines::blocking(touch_host_name)
            });
            let result = name.wait_priority_timeout(util::PATIENCE);
            match toucher.join().unwrap() {
                Ok(()) => result.unwrap(),
                Err(error) => println!("not tried, as a host's name must not be set here: {error}"),
            }
        }
    });
}

/// Fails if an error of the closure is taken for something to wait for.
#[test]
fn other_errors_come_out() {
    both_worlds(|| {
        let (socket, far) = nonblocking_pair();
        let refused = socket.read_with(|_| Err::<(), _>(ErrorKind::Interrupted.into()));
        assert_eq!(error_kind(refused), Some(ErrorKind::Interrupted));
        drop(far);
        let broken = socket.write_with(|mut socket| socket.write(b"x"));
        assert_eq!(error_kind(broken), Some(ErrorKind::BrokenPipe));
    });
}

/// Fails if files that no selector takes are an error, or are waited for.
#[test]
fn regular_files_are_always_ready() {
    both_worlds(|| {
        let file = Watched::new(File::open("Cargo.toml").unwrap());
        file.wait_readable().unwrap();
        file.wait_writable().unwrap();
        let mut first = [0];
        assert_eq!(file.read_with(|mut file| file.read(&mut first)).unwrap(), 1);
        Watched::new(File::open("/dev/null").unwrap()).wait_readable().unwrap();
        Watched::new(File::open(".").unwrap()).wait_readable().unwrap();
    });
}

/// Fails if the mode is changed unasked, or not when asked for.
#[test]
fn mode_is_left_alone() {
    let (socket, _far) = pair();
    assert!(!is_nonblocking(&socket));
    let socket = Watched::nonblocking(socket.into_inner()).unwrap();
    assert!(is_nonblocking(&socket));
    assert!(is_nonblocking(&socket.into_inner()));
}

/// Fails if only one of those who wait for the same event is woken, whatever they wait through.
#[test]
fn all_who_wait_are_woken() {
    in_time(|| {
        let runtime = runtime(2);
        for _ in 0..20 {
            let (socket, mut far) = nonblocking_pair();
            let other = Watched::new(socket.inner().try_clone().unwrap());
            runtime.handle().scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| socket.wait_readable().unwrap());
                    scope.spawn(|| Watched::new(socket.as_fd()).wait_readable().unwrap());
                    scope.spawn(|| other.wait_readable().unwrap());
                }
                until_waiting(runtime.handle(), WaitReason::IoRead, 9);
                far.write_all(b"x").unwrap();
            });
        }
        runtime.shutdown();
    });
}

/// Fails if a socket of ours and a `Watched` around it keep word of its readiness from each other.
#[test]
fn watched_beside_its_owner() {
    in_time(|| {
        let runtime = runtime(1);
        let (near, far) = UnixStream::pair().unwrap();
        let (near, mut far) = (net::UnixStream::from(near), far);
        runtime.handle().scope(|scope| {
            for round in 0..20 {
                let owner = scope.spawn(|| (&near).read(&mut [0]).unwrap());
                until_waiting(runtime.handle(), WaitReason::IoRead, 1);
                let watched = scope.spawn(|| Watched::new(&near).wait_readable().unwrap());
                until_waiting(runtime.handle(), WaitReason::IoRead, 2);
                far.write_all(b"xx").unwrap();
                assert_eq!(owner.join().unwrap(), 1);
                watched.join().unwrap();
                assert_eq!((&near).read(&mut [0]).unwrap(), 1, "round {round}");
            }
        });
        runtime.shutdown();
    });
}

/// Fails if bytes get lost between routines that take them from one descriptor, or one is left waiting.
#[test]
fn readers_share_a_descriptor() {
    both_worlds(|| {
        const MESSAGES: usize = 500;
        let (socket, far) = nonblocking_pair();
        let far = Watched::nonblocking(far).unwrap();
        let mut taken = [0; 3];
        scope(|scope| {
            for taken in &mut taken {
                let socket = &socket;
                scope.spawn(move || {
                    let mut byte = [0];
                    while socket.read_with(|mut socket| socket.read(&mut byte)).unwrap() != 0 {
                        *taken += 1;
                        yield_now();
                    }
                });
            }
            for round in 0..MESSAGES {
                far.write_with(|mut socket| socket.write_all(b"x")).unwrap();
                if round % 10 == 0 {
                    yield_now();
                }
            }
            drop(far);
        });
        assert_eq!(taken.iter().sum::<usize>(), MESSAGES);
    });
}

/// Fails if the two directions of a descriptor disturb each other.
#[test]
fn both_directions_at_once() {
    in_time(|| {
        let runtime = runtime(1);
        let (socket, mut far) = nonblocking_pair();
        fill(socket.inner());
        runtime.handle().scope(|scope| {
            let reader = scope.spawn(|| socket.wait_readable().unwrap());
            let writer = scope.spawn(|| socket.wait_writable().unwrap());
            until_waiting(runtime.handle(), WaitReason::IoRead, 1);
            until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
            far.write_all(b"x").unwrap();
            reader.join().unwrap();
            assert!(!writer.is_finished());
            far.set_nonblocking(true).unwrap();
            while far.read(&mut [0; 4096]).is_ok() {}
            writer.join().unwrap();
        });
        runtime.shutdown();
    });
}

/// Fails if what is known of a closed descriptor is believed of the next one with its number.
#[test]
fn numbers_are_reused() {
    both_worlds(|| {
        for _ in 0..200 {
            let (socket, mut far) = nonblocking_pair();
            let reader = spawn(move || {
                let mut byte = [0];
                socket.read_with(|mut socket| socket.read(&mut byte)).unwrap();
                byte
            });
            yield_now();
            far.write_all(b"x").unwrap();
            assert_eq!(reader.join().unwrap(), *b"x");
        }
    });
}

/// Fails if another file under the same number is taken for the one before.
#[test]
fn inner_may_be_replaced() {
    both_worlds(|| {
        let (socket, mut far) = nonblocking_pair();
        let mut watched = Watched::new(OwnedFd::from(socket.into_inner()));
        // Registered now.
        assert!(watched.wait_readable_timeout(MOMENT).is_err());
        let number = watched.as_fd().as_raw_fd();
        let (other, mut other_far) = UnixStream::pair().unwrap();
        rustix::io::dup2(&other, watched.inner_mut()).unwrap();
        assert_eq!(watched.as_fd().as_raw_fd(), number);
        assert!(far.write_all(b"x").is_err(), "the first one is closed");
        let waits = spawn(move || watched.wait_readable());
        sleep(MOMENT);
        other_far.write_all(b"x").unwrap();
        waits.join().unwrap().unwrap();
    });
}

/// Fails if a foreign listener cannot be waited for in the way that event loops do.
#[test]
fn foreign_listener() {
    both_worlds(|| {
        let listener = Watched::nonblocking(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = listener.inner().local_addr().unwrap();
        let client = spawn(move || {
            rust_routines::blocking(|| TcpStream::connect(address).unwrap().write_all(b"hello"))
        });
        let (mut stream, _) = listener.read_with(TcpListener::accept).unwrap();
        client.join().unwrap().unwrap();
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).unwrap();
        assert_eq!(greeting, "hello");
    });
}

/// Fails if a shutdown does not end the wait, or leaves the descriptor open.
#[test]
fn shutdown_ends_waits() {
    in_time(|| {
        for with_timeout in [false, true] {
            let runtime = runtime(1);
            let (socket, mut far) = nonblocking_pair();
            runtime.spawn(move || match with_timeout {
                true => socket.wait_readable_timeout(FOREVER),
                false => socket.wait_readable(),
            });
            until_waiting(runtime.handle(), WaitReason::IoRead, 1);
            let left = runtime.shutdown_timeout(Duration::ZERO);
            assert_eq!(left.len(), 1);
            assert_eq!(left[0].routine.reason, WaitReason::IoRead);
            assert_eq!(far.read(&mut [0]).unwrap(), 0, "closed as the routine was unwound");
        }
    });
}
