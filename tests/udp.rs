//! UDP through routines.

mod util;

use std::io::{self, ErrorKind};
use std::net::UdpSocket as StdSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::unbounded;
use rust_routines::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use rust_routines::{Builder, WaitReason, sleep, spawn};
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;
use util::{both_worlds, bounded as in_time, eventually, runtime, until_waiting};

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two sockets that are connected to each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let ((one, here), (other, there)) = (socket(), socket());
    one.connect(there).unwrap();
    other.connect(here).unwrap();
    (one, other)
}

/// Sends everything back to where it came from, until that is empty.
fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(socket.send_to(&buffer[..len], from).unwrap(), len);
        if len == 0 {
            return;
        }
    }
}

/// Fails if datagrams get lost, changed or credited to the wrong sender between routines.
#[test]
fn round_trips() {
    both_worlds(|| {
        let (server, address) = socket();
        let server = spawn(move || echo(&server));
        let (client, _) = socket();
        for i in (0..200_u32).rev() {
            let message = i.to_le_bytes().repeat(i as usize);
            client.send_to(&message, address).unwrap();
            let mut answer = [0; 1000];
            let (len, from) = client.recv_from(&mut answer).unwrap();
            assert_eq!((&answer[..len], from), (&message[..], address));
        }
        server.join().unwrap();
    });
}

/// Fails if std's sockets, connected or not, cannot tell ours from their own kind; or IPv6 from IPv4.
#[test]
fn talks_to_std() {
    both_worlds(|| {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may be without IPv6.
            let Ok(server) = UdpSocket::bind(any) else { continue };
            let address = server.local_addr().unwrap();
            let server = spawn(move || echo(&server));
            let client = thread::spawn(move || {
                let client = StdSocket::bind(any).unwrap();
                client.connect(address).unwrap();
                for i in 1..=100 {
                    client.send(&vec![i; i.into()]).unwrap();
                    let mut answer = [0; 200];
                    let len = client.recv(&mut answer).unwrap();
                    assert_eq!(answer[..len], vec![i; i.into()]);
                }
                client.send(&[]).unwrap();
            });
            server.join().unwrap();
            client.join().unwrap();
        }
    });
}

/// Fails if a datagram is cut, joined or counted otherwise than std does it: what does not fit is lost, and
/// an empty one is one too, also for who has no room at all.
#[test]
fn boundaries() {
    both_worlds(|| {
        let (one, other) = pair();
        for message in [&b"too long for it"[..], b"", b"fits", b"gone"] {
            one.send(message).unwrap();
        }
        let mut buffer = [0; 4];
        assert_eq!(other.peek(&mut buffer).unwrap(), 4);
        assert_eq!(other.recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"too ");
        assert_eq!(other.recv(&mut buffer).unwrap(), 0);
        let from = one.local_addr().unwrap();
        assert_eq!(other.peek_from(&mut buffer[..2]).unwrap(), (2, from));
        assert_eq!(other.recv_from(&mut buffer).unwrap(), (4, from));
        assert_eq!(&buffer, b"fits");
        assert_eq!(other.recv(&mut []).unwrap(), 0);
        other.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        assert_eq!(util::error_kind(other.recv(&mut buffer)), Some(ErrorKind::WouldBlock));
        assert_eq!(util::error_kind(other.recv(&mut [])), Some(ErrorKind::WouldBlock));
        assert!(one.send(&[0; 70_000]).is_err());
        one.send(b"still works").unwrap();
        assert_eq!(other.recv(&mut buffer).unwrap(), 4);
    });
}

/// Fails if a receiver that waits does not get an empty datagram, or the peek of one takes it.
#[test]
fn who_waits_gets_an_empty_datagram() {
    in_time(|| {
        let runtime = runtime(2);
        let (one, other) = pair();
        let receiver = runtime.spawn(move || {
            let from = other.peek_from(&mut [0; 8]).unwrap();
            assert_eq!(other.recv_from(&mut []).unwrap(), from);
            assert_eq!(other.recv(&mut []).unwrap(), 0);
            assert_eq!(other.recv(&mut [0; 8]).unwrap(), 0);
            from
        });
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        (0..3).for_each(|_| assert_eq!(one.send(&[]).unwrap(), 0));
        assert_eq!(receiver.join().unwrap(), (0, one.local_addr().unwrap()));
        runtime.shutdown();
    });
}

/// Fails if a receive that takes too long does not end in time, with std's error, or takes a datagram along.
#[test]
fn timeouts() {
    both_worlds(|| {
        let (one, other) = pair();
        let timeout = Duration::from_millis(20);
        other.set_read_timeout(Some(timeout)).unwrap();
        let clone = other.try_clone().unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(timeout));
        let mut buffer = [0; 8];
        let calls: [&mut dyn FnMut() -> std::io::Result<usize>; 4] = [
            &mut || other.recv(&mut [0; 8]),
            &mut || other.peek(&mut [0; 8]),
            &mut || other.recv_from(&mut [0; 8]).map(|(len, _)| len),
            &mut || clone.peek_from(&mut [0; 8]).map(|(len, _)| len),
        ];
        for call in calls {
            let start = Instant::now();
            assert_eq!(call().unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(start.elapsed() >= timeout && start.elapsed() < util::PATIENCE);
        }
        one.send(b"late").unwrap();
        assert_eq!(other.recv(&mut buffer).unwrap(), 4);
        other.set_write_timeout(Some(timeout)).unwrap();
        assert_eq!(other.write_timeout().unwrap(), Some(timeout));
        let zero = Some(ErrorKind::InvalidInput);
        assert_eq!(util::error_kind(other.set_read_timeout(Some(Duration::ZERO))), zero);
        assert_eq!(util::error_kind(other.set_write_timeout(Some(Duration::ZERO))), zero);
    });
}

/// Fails if nobody hears that a connected peer has gone, or who waits is not told.
#[test]
fn a_peer_that_has_gone_is_an_error() {
    both_worlds(|| {
        let (one, other) = pair();
        drop(other);
        one.send(b"anybody?").unwrap();
        let refused = Some(ErrorKind::ConnectionRefused);
        assert_eq!(util::error_kind(one.recv(&mut [0; 8])), refused);
        // Told once.
        one.send(b"anybody?").unwrap();
        eventually("it is refused", || one.take_error().unwrap().is_some());
        assert!(one.take_error().unwrap().is_none());
    });
    in_time(|| {
        let runtime = runtime(1);
        let (one, other) = pair();
        drop(other);
        let one = Arc::new(one);
        let receiver = runtime.spawn({
            let one = one.clone();
            move || util::error_kind(one.recv(&mut [0; 8]))
        });
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        one.send(b"anybody?").unwrap();
        assert_eq!(receiver.join().unwrap(), Some(ErrorKind::ConnectionRefused));
        runtime.shutdown();
    });
}

/// Fails if who receives waits for ever, or spins, where somebody has shut the socket down: before or during the call. The
/// answers are std's.
#[test]
fn a_socket_that_is_shut_down_is_waited_for_by_nobody() {
    fn received(socket: &UdpSocket) {
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0);
    }
    fn peeked(socket: &UdpSocket) {
        assert_eq!(socket.peek(&mut [0; 8]).unwrap(), 0);
    }
    fn received_from(socket: &UdpSocket) {
        let error = util::error_kind(socket.recv_from(&mut [0; 8]));
        assert_eq!(error, Some(ErrorKind::InvalidInput));
    }
    fn peeked_from(socket: &UdpSocket) {
        let error = util::error_kind(socket.peek_from(&mut [0; 8]));
        assert_eq!(error, Some(ErrorKind::InvalidInput));
    }
    const CALLS: [fn(&UdpSocket); 4] = [received, peeked, received_from, peeked_from];
    both_worlds(|| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let ((one, other), (lone, _)) = (pair(), socket());
            one.send(b"x").unwrap();
            SockRef::from(&other).shutdown(how).unwrap();
            SockRef::from(&lone).shutdown(how).unwrap_err();
            // What came before is still there.
            assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
            for call in CALLS.into_iter().chain(CALLS) {
                call(&other);
                call(&lone);
            }
        }
    });
    in_time(|| {
        let runtime = runtime(2);
        for connected in [true, false] {
            let socket = if connected { pair().0 } else { socket().0 };
            let socket = &socket;
            thread::scope(|threads| {
                runtime.handle().scope(|routines| {
                    for call in CALLS {
                        routines.spawn(move || call(socket));
                        threads.spawn(move || call(socket));
                    }
                    until_waiting(runtime.handle(), WaitReason::IoRead, 4);
                    sleep(util::MOMENT);
                    assert_eq!(SockRef::from(socket).shutdown(Shutdown::Both).is_ok(), connected);
                });
            });
        }
        runtime.shutdown();
    });
}

/// Fails if who receives takes the end of sending for an end of receiving, or a thread that waits keeps a processor busy.
#[test]
fn a_socket_that_sends_no_more_is_waited_for_as_ever() {
    const WAIT: Duration = Duration::from_millis(50);
    /// Waits twice, and answers how much of that the thread was busy.
    fn check() -> Duration {
        let (one, other) = pair();
        SockRef::from(&other).shutdown(Shutdown::Write).unwrap();
        other.set_read_timeout(Some(WAIT)).unwrap();
        let spent = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let before = spent();
        assert_eq!(util::error_kind(other.recv(&mut [0; 8])), Some(ErrorKind::WouldBlock));
        assert_eq!(util::error_kind(other.peek_from(&mut [0; 8])), Some(ErrorKind::WouldBlock));
        let busy = spent() - before;
        one.send(b"x").unwrap();
        assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
        busy
    }
    in_time(|| {
        assert!(check() < WAIT);
        // A worker may have been busy with others.
        spawn(check).join().unwrap();
    });
}

/// Fails if an error queue that nobody reads keeps a waiting thread busy, hides what comes, or keeps the socket open when
/// the wait is over.
#[test]
fn an_error_queue_that_nobody_reads_disturbs_nobody() {
    type Receive = fn(&UdpSocket, &mut [u8]) -> io::Result<usize>;
    const WAYS: [Receive; 3] = [
        |socket, buffer| socket.recv(buffer),
        |socket, buffer| Ok(socket.recv_from(buffer)?.0),
        |socket, buffer| Ok(socket.peek_from(buffer)?.0),
    ];
    util::both_worlds_alone(|| {
        for receive in WAYS {
            let (one, other) = pair();
            util::leave_in_error_queue(&other, || assert_eq!(other.send(b"x").unwrap(), 1));
            other.set_read_timeout(Some(util::QUIET)).unwrap();
            util::assert_idle(|| {
                let nothing = receive(&other, &mut [0; 8]);
                assert_eq!(util::error_kind(nothing), Some(ErrorKind::WouldBlock));
            });
            other.set_read_timeout(None).unwrap();
            let sender = spawn(move || {
                sleep(util::MOMENT);
                one.send(b"data").unwrap();
            });
            assert_eq!(receive(&other, &mut [0; 8]).unwrap(), 4);
            sender.join().unwrap();
            let address = other.local_addr().unwrap();
            drop(other);
            UdpSocket::bind(address).unwrap();
        }
    });
}

/// Fails if addresses that are no use, or not there, are told otherwise than std tells it.
#[test]
fn errors_are_those_of_std() {
    both_worlds(|| {
        let (socket, address) = socket();
        assert_eq!(util::error_kind(UdpSocket::bind(address)), Some(ErrorKind::AddrInUse));
        let none: &[SocketAddr] = &[];
        let invalid = Some(ErrorKind::InvalidInput);
        assert_eq!(util::error_kind(UdpSocket::bind(none)), invalid);
        assert_eq!(util::error_kind(socket.connect(none)), invalid);
        assert_eq!(util::error_kind(socket.send_to(b"x", none)), invalid);
        assert_eq!(util::error_kind(socket.peer_addr()), Some(ErrorKind::NotConnected));
        let std = StdSocket::bind("127.0.0.1:0").unwrap();
        let ours = socket.send(b"to whom?").unwrap_err().raw_os_error();
        assert_eq!(ours, std.send(b"to whom?").unwrap_err().raw_os_error());
        socket.connect(("localhost", std.local_addr().unwrap().port())).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), std.local_addr().unwrap());
    });
}

/// Fails if several handles of one socket, on several workers, get a datagram twice or not at all.
#[test]
fn several_receive_from_one_socket() {
    const DATAGRAMS: u32 = 500;
    in_time(|| {
        let runtime = runtime(3);
        let (server, address) = socket();
        let (report, reports) = unbounded();
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let (server, report) = (server.try_clone().unwrap(), report.clone());
                let receiver = move || {
                    let mut buffer = [0; 8];
                    loop {
                        match server.recv_from(&mut buffer).unwrap() {
                            (4, _) => report.send(buffer[..4].try_into().unwrap()).unwrap(),
                            (0, _) => return,
                            other => panic!("{other:?}"),
                        }
                    }
                };
                Builder::new().spread().spawn_on(runtime.handle(), receiver).unwrap()
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::IoRead, 4);
        let (client, _) = socket();
        // So few at a time that the kernel need not drop any.
        let mut received: Vec<u32> = Vec::new();
        for first in (0..DATAGRAMS).step_by(20) {
            for i in first..first + 20 {
                client.send_to(&i.to_le_bytes(), address).unwrap();
            }
            received.extend(reports.iter().take(20).map(u32::from_le_bytes));
        }
        received.sort();
        assert!(received.into_iter().eq(0..DATAGRAMS));
        (0..4).for_each(|_| assert_eq!(client.send_to(&[], address).unwrap(), 0));
        receivers.into_iter().for_each(|receiver| receiver.join().unwrap());
        assert!(reports.try_recv().is_err());
        runtime.shutdown();
    });
}

/// Fails if pairs disturb each other, hold threads, or are forgotten, when there are many.
#[test]
fn many_pairs() {
    const PAIRS: usize = 200;
    in_time(|| {
        let runtime = runtime(2);
        let routines: Vec<_> = (0..PAIRS)
            .map(|me| {
                let (client, server) = pair();
                let address = server.local_addr().unwrap();
                let server = Builder::new()
                    .spread()
                    .spawn_on(runtime.handle(), move || echo(&server))
                    .unwrap();
                let client = move || {
                    for round in 0..20 {
                        let message = (me * 1_000 + round).to_le_bytes();
                        client.send(&message).unwrap();
                        let mut answer = [0; 16];
                        let (len, from) = client.recv_from(&mut answer).unwrap();
                        assert_eq!((&answer[..len], from), (&message[..], address));
                        sleep(Duration::from_micros(300));
                    }
                    client
                };
                (server, Builder::new().spread().spawn_on(runtime.handle(), client).unwrap())
            })
            .collect();
        let (servers, clients): (Vec<_>, Vec<_>) = routines.into_iter().unzip();
        let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        // Servers alone are left, and idle.
        until_waiting(runtime.handle(), WaitReason::IoRead, PAIRS as u64);
        clients.iter().for_each(|client| assert_eq!(client.send(&[]).unwrap(), 0));
        servers.into_iter().for_each(|server| server.join().unwrap());
        runtime.shutdown();
    });
}

/// Fails if a receiver outlives the runtime that is shut down around it, or its buffer and address are written
/// to after they have gone.
#[test]
fn canceled_receives_leave_no_trace() {
    in_time(|| {
        for _ in 0..20 {
            let doomed = runtime(2);
            let mut peers = Vec::new();
            for _ in 0..10 {
                let (peer, socket) = pair();
                peers.push(peer);
                doomed.spawn(move || {
                    let mut buffer = [0; 256];
                    let _ = socket.recv_from(&mut buffer);
                    let _ = socket.recv(&mut buffer);
                });
            }
            until_waiting(doomed.handle(), WaitReason::IoRead, 10);
            let sender = thread::spawn(move || {
                for peer in &peers {
                    let _ = peer.send(&[1; 200]);
                }
            });
            drop(doomed);
            sender.join().unwrap();
        }
    });
}

/// Fails if an option is not set on the socket itself, or read from it.
#[test]
fn options() {
    let (socket, _) = socket();
    let std = StdSocket::from(OwnedFd::from(socket.try_clone().unwrap()));
    socket.set_ttl(17).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_multicast_ttl_v4(18).unwrap();
    socket.set_multicast_loop_v4(false).unwrap();
    assert_eq!((std.ttl().unwrap(), socket.ttl().unwrap()), (17, 17));
    assert_eq!((std.broadcast().unwrap(), socket.broadcast().unwrap()), (true, true));
    assert_eq!((std.multicast_ttl_v4().unwrap(), socket.multicast_ttl_v4().unwrap()), (18, 18));
    assert!(!std.multicast_loop_v4().unwrap() && !socket.multicast_loop_v4().unwrap());
    assert!(socket.take_error().unwrap().is_none());
    let (group, any) = (Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::LOCALHOST);
    socket.join_multicast_v4(&group, &any).unwrap();
    assert_eq!(
        util::error_kind(socket.join_multicast_v4(&group, &any)),
        Some(ErrorKind::AddrInUse)
    );
    socket.leave_multicast_v4(&group, &any).unwrap();
    assert!(socket.leave_multicast_v4(&group, &any).is_err());
    // A machine may be without IPv6.
    if let Ok(socket) = UdpSocket::bind("[::1]:0") {
        socket.set_multicast_loop_v6(false).unwrap();
        assert!(!socket.multicast_loop_v6().unwrap());
        let nobody = Ipv6Addr::LOCALHOST;
        assert!(socket.join_multicast_v6(&nobody, 0).is_err());
        assert!(socket.leave_multicast_v6(&nobody, 0).is_err());
    }
}

/// Fails if sockets cannot be turned into std's and back, forget their timeouts, or block a worker afterwards.
#[test]
fn conversion_from_and_to_std() {
    both_worlds(|| {
        let (one, other) = pair();
        assert!(format!("{one:?}").starts_with("UdpSocket { addr: 127.0.0.1:"));
        other.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let std = StdSocket::from(other);
        // std's own timeout works, so the mode is right.
        assert_eq!(util::error_kind(std.recv(&mut [0; 1])), Some(ErrorKind::WouldBlock));
        let other = UdpSocket::from(OwnedFd::from(std));
        assert!(other.read_timeout().unwrap() >= Some(Duration::from_millis(20)));
        assert_eq!(util::error_kind(other.recv(&mut [0; 1])), Some(ErrorKind::WouldBlock));
        one.send(b"x").unwrap();
        assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
    });
}
