//! Unix sockets through routines.

mod util;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixDatagram as StdDatagram, UnixStream as StdStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::unbounded;
use rust_routines::net::Shutdown;
use rust_routines::net::unix::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use rust_routines::{Builder, WaitReason, sleep, spawn};
use tempfile::TempDir;
use util::{both_worlds, bounded as in_time, runtime, until_waiting};

/// A path for a socket, in a directory that goes with the second part.
fn path() -> (PathBuf, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (dir.path().join("socket"), dir)
}

fn listener() -> (UnixListener, PathBuf, TempDir) {
    let (path, dir) = path();
    (UnixListener::bind(&path).unwrap(), path, dir)
}

/// A bound datagram socket.
fn bound() -> (UnixDatagram, PathBuf, TempDir) {
    let (path, dir) = path();
    (UnixDatagram::bind(&path).unwrap(), path, dir)
}

/// Sends everything back until the other side closes.
fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

fn would_block<T>(result: io::Result<T>) {
    assert_eq!(util::error_kind(result), Some(ErrorKind::WouldBlock));
}

/// Sends until there is no room, with a timeout that ends it.
fn fill(socket: &UnixDatagram, mut send: impl FnMut(&UnixDatagram) -> io::Result<usize>) -> usize {
    socket.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut sent = 0;
    loop {
        match send(socket) {
            Ok(_) => sent += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                socket.set_write_timeout(None).unwrap();
                return sent;
            }
        }
    }
}

/// Fails if bytes get lost or changed on their way to a server and back, or an address is not std's.
#[test]
fn round_trips() {
    both_worlds(|| {
        let (listener, path, _dir) = listener();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        let server = spawn(move || {
            let (stream, peer) = listener.accept().unwrap();
            assert!(peer.is_unnamed());
            echo(stream).unwrap();
        });
        let mut client = UnixStream::connect(&path).unwrap();
        assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
        assert!(client.local_addr().unwrap().is_unnamed());
        for i in 0..200_u32 {
            client.write_all(&i.to_le_bytes()).unwrap();
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_le_bytes(answer), i);
        }
        drop(client);
        server.join().unwrap();
    });
}

/// Fails if a client of std's cannot tell ours from its own kind, or we a server of std's.
#[test]
fn talks_to_std() {
    both_worlds(|| {
        let (listener, path, _dir) = listener();
        let server = spawn(move || echo(listener.incoming().next().unwrap().unwrap()).unwrap());
        let client = thread::spawn(move || {
            let mut client = StdStream::connect(path).unwrap();
            for i in 0..100 {
                client.write_all(&[i; 10]).unwrap();
                let mut answer = [0; 10];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [i; 10]);
            }
        });
        server.join().unwrap();
        client.join().unwrap();

        let (ours, _path, _dir) = bound();
        let (path, _dir) = self::path();
        let theirs = StdDatagram::bind(&path).unwrap();
        ours.send_to(b"question", &path).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = theirs.recv_from(&mut buffer).unwrap();
        theirs.send_to_addr(&buffer[..len], &from).unwrap();
        let (len, from) = ours.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.as_pathname()), (&b"question"[..], Some(&*path)));
    });
}

/// Fails if addresses without a path do not work, or are reported as others.
#[test]
fn abstract_names() {
    both_worlds(|| {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rust-routines-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        assert_eq!(util::error_kind(UnixListener::bind_addr(&address)), Some(ErrorKind::AddrInUse));
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        assert_eq!((&server).read(&mut [0; 8]).unwrap(), 1);

        let address = SocketAddr::from_abstract_name(format!("{name}-datagrams")).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to_addr(b"one", &address).unwrap();
        assert!(receiver.recv_from(&mut [0; 8]).unwrap().1.is_unnamed());
        sender.connect_addr(&address).unwrap();
        sender.send(b"two").unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 3);
        receiver.send_to_addr(b"three", &address).unwrap();
        let (_, from) = receiver.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from.as_abstract_name(), address.as_abstract_name());
    });
}

/// Fails if a slow reader is not waited for, or what has waited arrives otherwise than sent.
#[test]
fn large_transfer_with_slow_reader() {
    in_time(|| {
        let mut random = util::random();
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(4 << 20).collect();
        let (mut left, mut right) = UnixStream::pair().unwrap();
        let runtime = runtime(2);
        let sent = data.clone();
        let sender = runtime.spawn(move || left.write_all(&sent).unwrap());
        // Nobody reads yet: it must come to wait.
        until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
        let receiver = runtime.spawn(move || {
            let mut received: Vec<u8> = Vec::new();
            let mut buffer = vec![0; 70_000];
            loop {
                let most = random.usize(1..buffer.len());
                match right.read(&mut buffer[..most]).unwrap() {
                    0 => return received,
                    read => received.extend(&buffer[..read]),
                }
                if random.u8(0..50) == 0 {
                    sleep(Duration::from_micros(300));
                }
            }
        });
        sender.join().unwrap();
        assert!(receiver.join().unwrap() == data);
        runtime.shutdown();
    });
}

/// Fails if closing one direction closes the other, does not reach a reader that waits, or writing to a peer
/// that has gone kills the process.
#[test]
fn half_close() {
    both_worlds(|| {
        let (mut left, mut right) = UnixStream::pair().unwrap();
        let reader = spawn(move || {
            let mut text = String::new();
            right.read_to_string(&mut text).unwrap();
            right.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        left.write_all(b"question").unwrap();
        left.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        left.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "QUESTION");
        assert_eq!(left.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        reader.join().unwrap();
        let (mut left, right) = UnixStream::pair().unwrap();
        drop(right);
        assert_eq!(left.write(b"anybody?").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// Fails if a call that waits does not return when another handle shuts its direction down.
#[test]
fn shutdown_wakes_who_waits() {
    in_time(|| {
        let runtime = runtime(2);
        let (stream, _peer) = UnixStream::pair().unwrap();
        let (datagram, _peer) = UnixDatagram::pair().unwrap();
        let (stream, datagram) = (Arc::new(stream), Arc::new(datagram));
        let reader = runtime.spawn({
            let stream = stream.clone();
            move || (&*stream).read(&mut [0; 1]).unwrap()
        });
        let receiver = runtime.spawn({
            let datagram = datagram.clone();
            move || datagram.recv(&mut [0; 1]).unwrap()
        });
        until_waiting(runtime.handle(), WaitReason::IoRead, 2);
        stream.shutdown(Shutdown::Both).unwrap();
        datagram.shutdown(Shutdown::Read).unwrap();
        assert_eq!((reader.join().unwrap(), receiver.join().unwrap()), (0, 0));
        let (len, from) = datagram.recv_from(&mut [0; 1]).unwrap();
        assert!(len == 0 && from.is_unnamed());
        runtime.shutdown();
    });
}

/// Fails if who accepts or receives waits for ever, or spins, where the socket has been shut down: before or during the
/// call. The answers are std's.
#[test]
fn a_socket_that_is_shut_down_is_waited_for_by_nobody() {
    const EINVAL: Option<i32> = Some(libc::EINVAL);
    let accept = |listener: &UnixListener| listener.accept().unwrap_err().raw_os_error();
    let nothing = |datagram: &UnixDatagram| {
        assert_eq!(datagram.recv(&mut [0; 1]).unwrap(), 0);
        let (len, from) = datagram.recv_from(&mut [0; 1]).unwrap();
        assert!(len == 0 && from.is_unnamed());
    };
    both_worlds(move || {
        let (listener, path, _dir) = listener();
        let _last = StdStream::connect(path).unwrap();
        listener.shutdown().unwrap();
        // What came before is still there.
        listener.accept().unwrap();
        assert_eq!([accept(&listener), accept(&listener)], [EINVAL; 2]);

        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"x").unwrap();
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(other.recv(&mut [0; 1]).unwrap(), 1);
        nothing(&other);
        nothing(&other);
    });
    in_time(|| {
        let runtime = runtime(2);
        let (listener, _path, _dir) = listener();
        let (datagram, _datagram_path, _datagram_dir) = bound();
        thread::scope(|threads| {
            runtime.handle().scope(|routines| {
                routines.spawn(|| assert_eq!(accept(&listener), EINVAL));
                routines.spawn(|| nothing(&datagram));
                threads.spawn(|| assert_eq!(accept(&listener), EINVAL));
                threads.spawn(|| nothing(&datagram));
                until_waiting(runtime.handle(), WaitReason::IoRead, 2);
                sleep(util::MOMENT);
                listener.shutdown().unwrap();
                datagram.shutdown(Shutdown::Read).unwrap();
            });
        });
        runtime.shutdown();
    });
}

/// Fails if a call that takes too long does not end in time, with std's error, or asking for nothing waits.
#[test]
fn timeouts() {
    both_worlds(|| {
        let timeout = Duration::from_millis(20);
        let late = |start: Instant| start.elapsed() >= timeout && start.elapsed() < util::PATIENCE;
        let (mut left, mut right) = UnixStream::pair().unwrap();
        left.set_read_timeout(Some(timeout)).unwrap();
        let mut clone = left.try_clone().unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(timeout));
        for _ in 0..3 {
            let start = Instant::now();
            would_block(clone.read(&mut [0; 8]));
            would_block(clone.read_vectored(&mut [IoSliceMut::new(&mut [0; 8])]));
            assert!(late(start));
        }
        assert_eq!(left.read(&mut []).unwrap(), 0);
        assert_eq!(left.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        right.write_all(b"late").unwrap();
        left.read_exact(&mut [0; 4]).unwrap();
        left.set_write_timeout(Some(timeout)).unwrap();
        let start = Instant::now();
        assert_eq!(left.write_all(&[0; 4 << 20]).unwrap_err().kind(), ErrorKind::WouldBlock);
        would_block(left.write_vectored(&[IoSlice::new(&[0; 1 << 20])]));
        assert!(late(start));
        let zero = Some(Duration::ZERO);
        assert_eq!(left.set_read_timeout(zero).unwrap_err().kind(), ErrorKind::InvalidInput);

        let (one, _other) = UnixDatagram::pair().unwrap();
        one.set_read_timeout(Some(timeout)).unwrap();
        let start = Instant::now();
        would_block(one.recv(&mut [0; 8]));
        would_block(one.recv_from(&mut [0; 8]));
        assert!(late(start));
        // Nobody reads: sending waits too, with and without an address.
        let start = Instant::now();
        assert!(fill(&one, |one| one.send(&[1; 1000])) > 0);
        let (receiver, path, _dir) = bound();
        let sender = UnixDatagram::unbound().unwrap();
        assert!(fill(&sender, |sender| sender.send_to(&[1; 10], &path)) > 0);
        assert!(start.elapsed() >= Duration::from_millis(10));
        drop(receiver);
    });
}

/// Fails if a datagram is cut, joined or counted otherwise than std does it.
#[test]
fn boundaries() {
    both_worlds(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        for message in [&b"too long for it"[..], b"", b"fits", b"gone"] {
            assert_eq!(one.send(message).unwrap(), message.len());
        }
        let mut buffer = [0; 4];
        assert_eq!(other.recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"too ");
        assert_eq!(other.recv(&mut buffer).unwrap(), 0);
        let (len, from) = other.recv_from(&mut buffer).unwrap();
        assert_eq!((len, &buffer, from.is_unnamed()), (4, b"fits", true));
        assert_eq!(other.recv(&mut []).unwrap(), 0);
        other.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        would_block(other.recv(&mut []));
    });
}

/// Fails if a peer that has gone is not told of, to who sends and who waits to send. (Who receives is not
/// told by the kernel.)
#[test]
fn a_peer_that_has_gone_is_an_error() {
    both_worlds(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"never read").unwrap();
        drop(other);
        assert_eq!(one.send(b"x").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
    in_time(|| {
        let runtime = runtime(2);
        let (receiver, path, _dir) = bound();
        let (connected, single) =
            (UnixDatagram::unbound().unwrap(), UnixDatagram::unbound().unwrap());
        connected.connect(&path).unwrap();
        fill(&connected, |connected| connected.send(b"x"));
        let senders = [
            runtime.spawn(move || connected.send(b"x").unwrap_err()),
            runtime.spawn(move || single.send_to(b"x", &path).unwrap_err()),
        ];
        until_waiting(runtime.handle(), WaitReason::IoWrite, 2);
        drop(receiver);
        for sender in senders {
            assert_eq!(sender.join().unwrap().kind(), ErrorKind::ConnectionRefused);
        }
        runtime.shutdown();
    });
}

/// Fails if paths that are no use are told otherwise than std tells it.
#[test]
fn errors_are_those_of_std() {
    both_worlds(|| {
        let (listener, path, dir) = listener();
        assert_eq!(util::error_kind(UnixListener::bind(&path)), Some(ErrorKind::AddrInUse));
        assert_eq!(util::error_kind(UnixDatagram::bind(&path)), Some(ErrorKind::AddrInUse));
        drop(listener);
        let refused = Some(ErrorKind::ConnectionRefused);
        assert_eq!(util::error_kind(UnixStream::connect(&path)), refused);
        let sender = UnixDatagram::unbound().unwrap();
        assert_eq!(util::error_kind(sender.send_to(b"x", &path)), refused);
        let nowhere = dir.path().join("nowhere");
        assert_eq!(util::error_kind(UnixStream::connect(&nowhere)), Some(ErrorKind::NotFound));
        assert_eq!(util::error_kind(sender.send_to(b"x", &nowhere)), Some(ErrorKind::NotFound));
        assert_eq!(util::error_kind(sender.send(b"x")), Some(ErrorKind::NotConnected));
        assert_eq!(util::error_kind(sender.peer_addr()), Some(ErrorKind::NotConnected));
        for impossible in ["x".repeat(200), "a\0b".to_owned()] {
            let invalid = Some(ErrorKind::InvalidInput);
            assert_eq!(util::error_kind(UnixListener::bind(&impossible)), invalid);
            assert_eq!(util::error_kind(UnixStream::connect(&impossible)), invalid);
            assert_eq!(util::error_kind(sender.send_to(b"x", &impossible)), invalid);
        }
    });
}

/// Fails if senders that wait for a recipient's queue are forgotten, or a datagram gets lost: with and
/// without a connection, and where the recipient is connected to the sender.
#[test]
fn a_full_queue_is_waited_for() {
    const EACH: usize = 600;
    in_time(|| {
        let runtime = runtime(2);
        let (receiver, path, _dir) = bound();
        let senders: Vec<_> = (0..6)
            .map(|i| {
                let sender = UnixDatagram::unbound().unwrap();
                let path = path.clone();
                let send = move || {
                    if i % 2 == 0 {
                        sender.connect(&path).unwrap();
                        (0..EACH).for_each(|_| assert_eq!(sender.send(&[i]).unwrap(), 1));
                    } else {
                        (0..EACH).for_each(|_| assert_eq!(sender.send_to(&[i], &path).unwrap(), 1));
                    }
                };
                Builder::new().spread().spawn_on(runtime.handle(), send).unwrap()
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::IoWrite, 6);
        let receiver = runtime.spawn(move || {
            let mut counts = [0; 6];
            for _ in 0..6 * EACH {
                let mut from = [0];
                assert_eq!(receiver.recv(&mut from).unwrap(), 1);
                counts[usize::from(from[0])] += 1;
            }
            assert_eq!(counts, [EACH; 6]);
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        receiver.join().unwrap();

        let ((one, _path, _one), (other, path, _other)) = (bound(), bound());
        other.connect(one.local_addr().unwrap().as_pathname().unwrap()).unwrap();
        let filled = fill(&one, |one| one.send_to(&[0; 1000], &path));
        let sender = runtime.spawn(move || one.send_to(b"last", &path).unwrap());
        until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
        (0..filled).for_each(|_| assert_eq!(other.recv(&mut [0; 2000]).unwrap(), 1000));
        assert_eq!((sender.join().unwrap(), other.recv(&mut [0; 8]).unwrap()), (4, 4));
        runtime.shutdown();
    });
}

/// Fails if a sender waits for whom it is connected to instead of for whom it sends to, or does not wait for
/// either.
#[test]
fn a_connection_to_another_is_not_waited_for() {
    in_time(|| {
        let runtime = runtime(1);
        let ((connected, path, _connected), (receiver, elsewhere, _receiver)) = (bound(), bound());
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        let filled = fill(&sender, |sender| sender.send(b"x"));
        let other = UnixDatagram::unbound().unwrap();
        let filled_elsewhere = fill(&other, |other| other.send_to(b"x", &elsewhere));
        // A timeout ends the wait.
        sender.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
        would_block(sender.send_to(b"x", &elsewhere));
        sender.set_write_timeout(None).unwrap();

        let routine = runtime.spawn(move || {
            for _ in 0..100 {
                assert_eq!(sender.send_to(b"late", &elsewhere).unwrap(), 4);
            }
        });
        (0..filled_elsewhere).for_each(|_| assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 1));
        (0..100).for_each(|_| assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 4));
        routine.join().unwrap();
        // Which are all still there.
        (0..filled).for_each(|_| assert_eq!(connected.recv(&mut [0; 8]).unwrap(), 1));
        runtime.shutdown();
    });
}

/// Fails if connecting to a listener that is behind is an error, as it is underneath, or is never tried again.
#[test]
fn a_full_backlog_is_waited_for() {
    in_time(|| {
        let (listener, path, _dir) = listener();
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
        let runtime = runtime(2);
        let connect = |path: &PathBuf| {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        };
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let path = path.clone();
                runtime.spawn(move || connect(&path))
            })
            .collect();
        let thread = thread::spawn(move || connect(&path));
        // Those for whom there is no place.
        util::eventually("most pause", || util::waiting(runtime.handle(), WaitReason::Sleep) >= 15);
        let server = runtime.spawn(move || {
            for stream in (&listener).into_iter().take(21) {
                stream.unwrap().write_all(&[1]).unwrap();
            }
        });
        clients.into_iter().for_each(|client| client.join().unwrap());
        thread.join().unwrap();
        server.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if several handles of one socket, on several workers, get a datagram twice or not at all.
#[test]
fn several_receive_from_one_socket() {
    const DATAGRAMS: u32 = 500;
    in_time(|| {
        let runtime = runtime(3);
        let (one, other) = UnixDatagram::pair().unwrap();
        let (report, reports) = unbounded();
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let (other, report) = (other.try_clone().unwrap(), report.clone());
                let receiver = move || {
                    let mut buffer = [0; 8];
                    loop {
                        match other.recv(&mut buffer).unwrap() {
                            4 => report.send(buffer[..4].try_into().unwrap()).unwrap(),
                            0 => return,
                            len => panic!("{len}"),
                        }
                    }
                };
                Builder::new().spread().spawn_on(runtime.handle(), receiver).unwrap()
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::IoRead, 4);
        let sender = runtime.spawn(move || {
            for i in 0..DATAGRAMS {
                assert_eq!(one.send(&i.to_le_bytes()).unwrap(), 4);
            }
            (0..4).for_each(|_| assert_eq!(one.send(&[]).unwrap(), 0));
        });
        sender.join().unwrap();
        receivers.into_iter().for_each(|receiver| receiver.join().unwrap());
        drop(report);
        let mut received: Vec<u32> = reports.iter().map(u32::from_le_bytes).collect();
        received.sort();
        assert!(received.into_iter().eq(0..DATAGRAMS));
        runtime.shutdown();
    });
}

/// Fails if connections disturb each other, hold threads, or are forgotten, when there are many.
#[test]
fn many_pairs() {
    const PAIRS: u64 = 200;
    in_time(|| {
        let runtime = runtime(2);
        let routines: Vec<_> = (0..PAIRS)
            .map(|me| {
                let (mut client, server) = UnixStream::pair().unwrap();
                Builder::new()
                    .spread()
                    .spawn_on(runtime.handle(), move || echo(server).unwrap())
                    .unwrap();
                let client = move || {
                    for round in 0..20 {
                        let message = (me * 1_000 + round).to_le_bytes();
                        client.write_all(&message).unwrap();
                        let mut answer = [0; 8];
                        client.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, message);
                        sleep(Duration::from_micros(300));
                    }
                    client
                };
                Builder::new().spread().spawn_on(runtime.handle(), client).unwrap()
            })
            .collect();
        let clients: Vec<_> = routines.into_iter().map(|routine| routine.join().unwrap()).collect();
        // Servers alone are left, and idle.
        until_waiting(runtime.handle(), WaitReason::IoRead, PAIRS);
        drop(clients);
        runtime.shutdown();
    });
}

/// Fails if a routine outlives the runtime that is shut down around it, wherever it waits, or its buffer is
/// written to after it has gone.
#[test]
fn canceled_calls_leave_no_trace() {
    in_time(|| {
        for _ in 0..20 {
            let doomed = runtime(2);
            let mut peers = Vec::new();
            for _ in 0..5 {
                let (peer, socket) = UnixDatagram::pair().unwrap();
                peers.push(OwnedFd::from(peer));
                doomed.spawn(move || {
                    let mut buffer = [0; 256];
                    let _ = socket.recv_from(&mut buffer);
                    let _ = socket.recv(&mut buffer);
                });
                let (peer, mut stream) = UnixStream::pair().unwrap();
                peers.push(OwnedFd::from(peer));
                doomed.spawn(move || drop(stream.read_exact(&mut [0; 256])));
            }
            let (receiver, path, _dir) = bound();
            let sender = UnixDatagram::unbound().unwrap();
            fill(&sender, |sender| sender.send_to(b"x", &path));
            doomed.spawn(move || sender.send_to(b"x", &path));
            until_waiting(doomed.handle(), WaitReason::IoRead, 10);
            until_waiting(doomed.handle(), WaitReason::IoWrite, 1);
            let writer = thread::spawn(move || {
                for peer in peers {
                    let _ = StdStream::from(peer).write(&[1; 200]);
                }
            });
            drop(doomed);
            writer.join().unwrap();
            drop(receiver);
        }
    });
}

/// Fails if a routine whose calls never have to wait cannot be shut down.
#[test]
fn calls_that_need_not_wait_are_canceled_too() {
    in_time(|| {
        let doomed = runtime(1);
        let (receiver, path, _dir) = bound();
        let (started, has_started) = unbounded();
        doomed.spawn(move || {
            let sender = UnixDatagram::unbound().unwrap();
            loop {
                sender.send_to(b"x", &path).unwrap();
                receiver.recv_from(&mut [0; 8]).unwrap();
                let _ = started.try_send(());
            }
        });
        has_started.recv().unwrap();
        drop(has_started);
        drop(doomed);
    });
}

/// Fails if sockets cannot be turned into std's and back, forget their timeouts, or block a worker afterwards.
#[test]
fn conversion_from_and_to_std() {
    both_worlds(|| {
        let (left, right) = UnixStream::pair().unwrap();
        assert!(format!("{left:?}").starts_with("UnixStream {"));
        left.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let std = StdStream::from(left);
        // std's own timeout works, so the mode is right.
        would_block((&std).read(&mut [0; 1]));
        let mut left = UnixStream::from(OwnedFd::from(std));
        would_block(left.read(&mut [0; 1]));
        (&right).write_all(b"x").unwrap();
        left.read_exact(&mut [0; 1]).unwrap();

        let (one, other) = UnixDatagram::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let std = StdDatagram::from(one);
        would_block(std.recv(&mut [0; 1]));
        let one = UnixDatagram::from(OwnedFd::from(std));
        would_block(one.recv(&mut [0; 1]));
        other.send(b"x").unwrap();
        assert_eq!(one.recv(&mut [0; 8]).unwrap(), 1);

        let (listener, path, _dir) = listener();
        let std = std::os::unix::net::UnixListener::from(listener);
        let client = thread::spawn(move || StdStream::connect(path).unwrap());
        std.accept().unwrap();
        client.join().unwrap();
        let listener = UnixListener::from(OwnedFd::from(std)).try_clone().unwrap();
        assert!(listener.take_error().unwrap().is_none());
    });
}
