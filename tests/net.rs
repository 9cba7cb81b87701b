//! TCP through routines.

mod util;

#[path = "net/ends.rs"]
mod ends;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{bounded, unbounded};
use rust_routines::fs::{self, File};
use rust_routines::io::copy;
use rust_routines::net::unix::{UnixDatagram, UnixStream};
use rust_routines::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use rust_routines::{Builder, WaitReason, scope, sleep, spawn, yield_now};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use util::{both_worlds, bounded as in_time, eventually, runtime, until_waiting};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Two ends of one connection.
fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

/// Sends everything back until the other side closes.
fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            read => stream.write_all(&buffer[..read])?,
        }
        total += 1;
    }
}

/// Fails if bytes get lost or changed on their way to a server and back.
#[test]
fn round_trips() {
    both_worlds(|| {
        let (listener, address) = listener();
        let server = spawn(move || echo(listener.accept().unwrap().0).unwrap());
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
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

/// Fails if a server of std's, or a client, cannot tell ours from its own kind.
#[test]
fn talks_to_std() {
    both_worlds(|| {
        let (listener, address) = listener();
        let server = spawn(move || echo(listener.accept().unwrap().0).unwrap());
        let client = thread::spawn(move || {
            let mut client = StdStream::connect(address).unwrap();
            for i in 0..100 {
                client.write_all(&[i; 10]).unwrap();
                let mut answer = [0; 10];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [i; 10]);
            }
        });
        server.join().unwrap();
        client.join().unwrap();
    });
}

/// Fails if connections disturb each other, hold threads, or are forgotten, when there are many.
#[test]
fn many_connections() {
    const CONNECTIONS: u64 = 300;
    in_time(|| {
        let runtime = runtime(2);
        let (listener, address) = listener();
        runtime.spawn(move || {
            for stream in listener.incoming().take(CONNECTIONS as usize) {
                let stream = stream.unwrap();
                Builder::new().spread().spawn(move || echo(stream)).unwrap();
            }
        });
        let (go_on, gate) = bounded::<()>(0);
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|i| {
                let gate = gate.clone();
                runtime.spawn(move || {
                    let mut client = TcpStream::connect(address).unwrap();
                    let _ = gate.recv();
                    for round in 0..10 {
                        let message = (i * 1_000 + round).to_le_bytes();
                        client.write_all(&message).unwrap();
                        let mut answer = [0; 8];
                        client.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, message);
                    }
                })
            })
            .collect();
        // All are connected, and idle: their servers read, and nobody else does anything.
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, CONNECTIONS);
        until_waiting(runtime.handle(), WaitReason::IoRead, CONNECTIONS);
        assert!(runtime.metrics().pool.threads <= 128);
        drop((go_on, gate));
        clients.into_iter().for_each(|client| client.join().unwrap());
        runtime.shutdown();
    });
}

/// Fails if a slow reader is not waited for, or what has waited arrives otherwise than sent.
#[test]
fn large_transfer_with_slow_reader() {
    in_time(|| {
        let mut random = util::random();
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8 << 20).collect();
        let (mut client, mut server) = pair();
        // By default the kernel takes in a bit over 4 MiB when it has the time.
        SockRef::from(&client).set_send_buffer_size(256 * 1024).unwrap();
        let runtime = runtime(2);
        let sent = data.clone();
        let sender = runtime.spawn(move || client.write_all(&sent).unwrap());
        // Nobody reads yet: it must come to wait.
        until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
        let receiver = runtime.spawn(move || {
            let mut received: Vec<u8> = Vec::new();
            let mut buffer = vec![0; 70_000];
            loop {
                let most = random.usize(1..buffer.len());
                match server.read(&mut buffer[..most]).unwrap() {
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

/// Fails if the two directions of a connection block each other.
#[test]
fn directions_are_independent() {
    in_time(|| {
        let (client, server) = pair();
        let (client, server) = (Arc::new(client), Arc::new(server));
        let runtime = runtime(2);
        let flood = |stream: &Arc<TcpStream>| {
            let stream = stream.clone();
            runtime.spawn(move || {
                let block = [7; 10_000];
                (0..1_000).for_each(|_| (&*stream).write_all(&block).unwrap());
                stream.shutdown(Shutdown::Write).unwrap();
            })
        };
        let drain = |stream: &Arc<TcpStream>| {
            let stream = stream.clone();
            runtime.spawn(move || io::copy(&mut &*stream, &mut io::sink()).unwrap())
        };
        let floods = [flood(&client), flood(&server)];
        until_waiting(runtime.handle(), WaitReason::IoWrite, 2);
        let drains = [drain(&client), drain(&server)];
        floods.into_iter().for_each(|routine| routine.join().unwrap());
        drains.into_iter().for_each(|routine| assert_eq!(routine.join().unwrap(), 10_000_000));
        runtime.shutdown();
    });
}

/// Fails if a read or write that takes too long does not end in time, ends with another error than std's, or
/// leaves the connection unusable.
#[test]
fn timeouts() {
    both_worlds(|| {
        let (mut client, mut server) = pair();
        let timeout = Duration::from_millis(20);
        client.set_read_timeout(Some(timeout)).unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            let error = client.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(start.elapsed() >= timeout && start.elapsed() < util::PATIENCE);
        }
        // A clone has the same timeout, another connection has not.
        let mut clone = client.try_clone().unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(timeout));
        assert_eq!(clone.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        server.write_all(b"late").unwrap();
        let mut buffer = [0; 4];
        client.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"late");
        client.set_write_timeout(Some(timeout)).unwrap();
        let error = loop {
            match client.write(&[0; 100_000]) {
                Ok(written) => assert!(written > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(client.set_read_timeout(Some(Duration::ZERO)).is_err());
        assert_eq!(
            util::error_kind(TcpStream::connect_timeout(
                &client.peer_addr().unwrap(),
                Duration::ZERO
            )),
            Some(ErrorKind::InvalidInput)
        );
    });
}

/// Fails if timed reads on many workers' connections mix up who has run out of time.
#[test]
fn timeouts_race_with_data() {
    in_time(|| {
        let mut random = util::random();
        let runtime = runtime(2);
        let routines: Vec<_> = (0..100)
            .map(|_| {
                let (mut client, mut server) = pair();
                let (delay, timeout) = (random.u64(1..15_000), random.u64(1..15_000));
                let writer = runtime.spawn(move || {
                    for i in 0..10_u8 {
                        sleep(Duration::from_micros(delay));
                        server.write_all(&[i]).unwrap();
                    }
                    server
                });
                let reader = runtime.spawn(move || {
                    client.set_read_timeout(Some(Duration::from_micros(timeout))).unwrap();
                    let mut expected = 0;
                    while expected < 10 {
                        let mut byte = [0];
                        let start = Instant::now();
                        match client.read(&mut byte) {
                            Ok(read) => {
                                assert_eq!((read, byte), (1, [expected]));
                                expected += 1;
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                                assert!(start.elapsed() >= Duration::from_micros(timeout));
                            }
                        }
                    }
                });
                (writer, reader)
            })
            .collect();
        for (writer, reader) in routines {
            reader.join().unwrap();
            drop(writer.join().unwrap());
        }
        runtime.shutdown();
    });
}

/// Fails if the handles of one connection cannot be used on different workers at once.
#[test]
fn clones_work_on_several_workers() {
    in_time(|| {
        let runtime = runtime(3);
        let (client, server) = pair();
        let echo = runtime.spawn(move || echo(server).unwrap());
        let (mut writer, mut reader) = (client.try_clone().unwrap(), client);
        let on_other_worker = |f: Box<dyn FnOnce() + Send>| {
            Builder::new().spread().spawn_on(runtime.handle(), f).unwrap()
        };
        let writes = on_other_worker(Box::new(move || {
            for i in 0..2_000_u32 {
                writer.write_all(&i.to_le_bytes()).unwrap();
                if i % 16 == 0 {
                    sleep(Duration::from_micros(10));
                }
            }
        }));
        let reads = on_other_worker(Box::new(move || {
            for i in 0..2_000_u32 {
                let mut answer = [0; 4];
                reader.read_exact(&mut answer).unwrap();
                assert_eq!(u32::from_le_bytes(answer), i);
            }
        }));
        writes.join().unwrap();
        reads.join().unwrap();
        echo.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a connection that one worker has waited for cannot wander to another, and to plain threads.
#[test]
fn connection_wanders_between_workers() {
    in_time(|| {
        let (one, other) = (runtime(1), runtime(1));
        let (client, server) = pair();
        let server = one.spawn(move || echo(server).unwrap());
        let mut client = Some(client);
        for i in 0..60_u8 {
            let mut stream = client.take().unwrap();
            let turn = move || {
                stream.write_all(&[i]).unwrap();
                let mut answer = [0];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [i]);
                stream
            };
            client = Some(match i % 3 {
                0 => one.spawn(turn).join().unwrap(),
                1 => other.spawn(turn).join().unwrap(),
                _ => turn(),
            });
        }
        drop(client);
        server.join().unwrap();
        one.shutdown();
        other.shutdown();
    });
}

/// Fails if a descriptor number that is used again, by another connection and worker, gets the readiness, or
/// the lack of it, of its predecessor.
#[test]
fn descriptor_numbers_are_reused() {
    in_time(|| {
        let runtime = runtime(2);
        let (listener, address) = listener();
        runtime.spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                Builder::new().spread().spawn(move || drop(echo(stream))).unwrap();
            }
        });
        let clients: Vec<_> = (0..8_u8)
            .map(|me| {
                let client = move || {
                    for i in 0..60_u8 {
                        let mut stream = TcpStream::connect(address).unwrap();
                        stream.write_all(&[me, i]).unwrap();
                        let mut answer = [0; 2];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, [me, i]);
                        if i % 8 == me {
                            yield_now();
                        }
                    }
                };
                Builder::new().spread().spawn_on(runtime.handle(), client).unwrap()
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        drop(runtime);
    });
}

/// Fails if a refused connection, or a listener on a taken port, is not told as std tells it.
#[test]
fn errors_are_those_of_std() {
    both_worlds(|| {
        let (listener, address) = listener();
        assert_eq!(util::error_kind(TcpListener::bind(address)), Some(ErrorKind::AddrInUse));
        drop(listener);
        let refused = Some(ErrorKind::ConnectionRefused);
        assert_eq!(util::error_kind(TcpStream::connect(address)), refused);
        let limit = Duration::from_secs(30);
        assert_eq!(util::error_kind(TcpStream::connect_timeout(&address, limit)), refused);
        let none: [SocketAddr; 0] = [];
        assert_eq!(util::error_kind(TcpStream::connect(&none[..])), Some(ErrorKind::InvalidInput));
        assert!(TcpStream::connect("127.0.0.1").is_err());
    });
}

/// Fails if names are not looked up, or one address that refuses keeps the next from being tried.
#[test]
fn connects_by_name_and_by_list() {
    both_worlds(|| {
        let (listener, address) = listener();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let by_list = TcpStream::connect(&[closed, address][..]).unwrap();
        assert_eq!(by_list.peer_addr().unwrap(), address);
        let by_name = TcpStream::connect(("localhost", address.port())).unwrap();
        assert_eq!(by_name.peer_addr().unwrap().port(), address.port());
        drop(listener);
    });
}

/// Fails if routines that accept from the same listener get a connection twice or not at all.
#[test]
fn several_accept_from_one_listener() {
    in_time(|| {
        let runtime = runtime(2);
        let (listener, address) = listener();
        let (report, reports) = unbounded();
        for i in 0..4 {
            let (listener, report) = (listener.try_clone().unwrap(), report.clone());
            Builder::new()
                .spread()
                .spawn_on(runtime.handle(), move || {
                    while let Ok((_stream, peer)) = listener.accept() {
                        report.send((i, peer)).unwrap();
                    }
                })
                .unwrap();
        }
        until_waiting(runtime.handle(), WaitReason::IoRead, 4);
        let clients: Vec<_> = (0..100).map(|_| StdStream::connect(address).unwrap()).collect();
        let mut peers: Vec<_> = reports.iter().take(100).map(|(_, peer)| peer).collect();
        let mut expected: Vec<_> =
            clients.iter().map(|client| client.local_addr().unwrap()).collect();
        peers.sort();
        expected.sort();
        assert_eq!(peers, expected);
        assert!(reports.try_recv().is_err());
        drop(runtime);
    });
}

/// Fails if peeking takes, or vectored calls use one buffer only.
#[test]
#[cfg_attr(rr_faults, ignore = "counts on whole transfers")]
fn peek_and_vectored() {
    both_worlds(|| {
        let (mut client, mut server) = pair();
        let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        assert_eq!(client.write_vectored(&parts).unwrap(), 7);
        let mut buffer = [0; 16];
        eventually("all has arrived", || server.peek(&mut buffer).unwrap() == 7);
        let (mut left, mut right) = ([0; 4], [0; 8]);
        let mut parts = [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)];
        assert_eq!(server.read_vectored(&mut parts).unwrap(), 7);
        assert_eq!((&left, &right[..3]), (b"one ", &b"two"[..]));
        assert_eq!(server.read(&mut []).unwrap(), 0);
    });
}

/// Fails if sockets cannot be turned into std's and back, or block a worker afterwards.
#[test]
fn conversion_from_and_to_std() {
    both_worlds(|| {
        let (client, server) = pair();
        let std = StdStream::from(client);
        // std's own timeout works again, so the mode is right.
        std.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        assert_eq!(util::error_kind((&std).read(&mut [0; 1])), Some(ErrorKind::WouldBlock));
        // The kernel may have rounded it up.
        let timeout = std.read_timeout().unwrap();
        let mut client = TcpStream::from(std);
        assert_eq!(client.read_timeout().unwrap(), timeout);
        assert_eq!(util::error_kind(client.read(&mut [0; 1])), Some(ErrorKind::WouldBlock));
        (&server).write_all(b"x").unwrap();
        client.set_read_timeout(None).unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    });
}

/// Fails if buffers on a routine's stack, borrowed by scoped routines, are not what the kernel fills.
#[test]
fn scoped_routines_read_into_borrowed_buffers() {
    both_worlds(|| {
        let (client, server) = pair();
        let mut buffers = [[0_u8; 100]; 10];
        let mut stream = &server;
        scope(|scope| {
            scope.spawn(|| (0..10).for_each(|i| (&client).write_all(&[i; 100]).unwrap()));
            for buffer in &mut buffers {
                stream.read_exact(buffer).unwrap();
            }
        });
        assert!(buffers.iter().zip(0..).all(|(buffer, i)| *buffer == [i; 100]));
    });
}

/// Fails if a routine that is unwound while a read is pending leaves the kernel, or the driver, a buffer that
/// has gone.
#[test]
fn canceled_reads_leave_no_trace() {
    in_time(|| {
        for _ in 0..20 {
            let doomed = runtime(2);
            let mut peers = Vec::new();
            for _ in 0..10 {
                let (client, mut server) = pair();
                peers.push(client);
                doomed.spawn(move || {
                    let mut buffer = [0; 256];
                    let _ = server.read_exact(&mut buffer);
                });
            }
            until_waiting(doomed.handle(), WaitReason::IoRead, 10);
            let writer = thread::spawn(move || {
                for peer in &mut peers {
                    let _ = peer.write_all(&[1; 200]);
                }
            });
            drop(doomed);
            writer.join().unwrap();
        }
    });
}

/// Fails if what socket2 sets on our types does not arrive, or harms what they do.
#[test]
fn options_that_std_does_not_know() {
    both_worlds(|| {
        let (mut client, mut server) = pair();
        let options = SockRef::from(&client);
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(77)).with_retries(3);
        options.set_tcp_keepalive(&keepalive).unwrap();
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        options.set_linger(Some(Duration::from_secs(2))).unwrap();
        assert_eq!(options.linger().unwrap(), Some(Duration::from_secs(2)));
        options.set_send_buffer_size(32 * 1024).unwrap();
        // The kernel takes double, for its books.
        assert_eq!(options.send_buffer_size().unwrap(), 64 * 1024);
        options.bind_device(Some(b"lo")).unwrap();
        assert_eq!(options.device().unwrap().as_deref(), Some(&b"lo"[..]));
        client.set_quickack(true).unwrap();
        assert!(client.quickack().unwrap());
        let writer = spawn(move || client.write_all(&[7; 500_000]).map(|()| client));
        let mut received = vec![0; 500_000];
        server.read_exact(&mut received).unwrap();
        assert!(received.iter().all(|byte| *byte == 7));
        drop(writer.join().unwrap().unwrap());

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        SockRef::from(&udp).set_recv_buffer_size(16 * 1024).unwrap();
        assert_eq!(SockRef::from(&udp).recv_buffer_size().unwrap(), 32 * 1024);
        let (unix, _other) = UnixStream::pair().unwrap();
        assert_eq!(SockRef::from(&unix).r#type().unwrap(), Type::STREAM);
        let (unix, _other) = UnixDatagram::pair().unwrap();
        SockRef::from(&unix).set_passcred(true).unwrap();
        assert!(SockRef::from(&unix).passcred().unwrap());
    });
}

/// Fails if a listener whose options were set before it was bound does not become ours.
#[test]
fn listeners_with_options_come_from_socket2() {
    fn listen(address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(std::net::TcpListener::from(socket).into())
    }
    in_time(|| {
        let runtime = runtime(2);
        let one = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = one.local_addr().unwrap();
        let other = listen(address).unwrap();
        assert_eq!(util::error_kind(TcpListener::bind(address)), Some(ErrorKind::AddrInUse));
        assert_eq!(one.incoming().size_hint(), (usize::MAX, None));
        for listener in [one, other] {
            runtime.spawn(move || {
                for stream in listener.incoming() {
                    let Ok(stream) = stream else { return };
                    spawn(|| drop(echo(stream)));
                }
            });
        }
        until_waiting(runtime.handle(), WaitReason::IoRead, 2);
        let clients: Vec<_> = (0..20_u8)
            .map(|i| {
                runtime.spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[i]).unwrap();
                    let mut answer = [0];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [i]);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        drop(runtime);
    });
}

/// Fails if a copy loses, changes or keeps something, or does not end with what it copies.
#[test]
fn copies_between_sockets_and_files() {
    both_worlds(|| {
        let data: Vec<u8> = (0..3_000_001_u32).map(|i| (i * 7 % 251) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::write(&from, &data).unwrap();
        let ((mut near, mut relay_in), (mut relay_out, mut far)) = (pair(), pair());
        let reader = spawn(move || {
            let copied = copy(&mut File::open(from).unwrap(), &mut near).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            copied
        });
        let relay = spawn(move || {
            let copied = copy(&mut relay_in, &mut &relay_out).unwrap();
            relay_out.flush().unwrap();
            copied
        });
        let mut file = File::create(&to).unwrap();
        // std's takes them, too.
        assert_eq!(io::copy(&mut far, &mut file).unwrap(), data.len() as u64);
        assert_eq!(reader.join().unwrap(), data.len() as u64);
        assert_eq!(relay.join().unwrap(), data.len() as u64);
        assert!(fs::read(&to).unwrap() == data);
        assert_eq!(copy(&mut io::empty(), &mut file).unwrap(), 0);

        let (mut client, server) = pair();
        client.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        (&server).write_all(b"then silence").unwrap();
        let mut received = Vec::new();
        let error = copy(&mut client, &mut received).unwrap_err();
        assert_eq!((error.kind(), &received[..]), (ErrorKind::WouldBlock, &b"then silence"[..]));
    });
}

/// Fails if a handle whose socket was put into blocking mode by another one holds its worker.
#[test]
fn a_handle_waits_whatever_the_mode_of_its_socket() {
    in_time(|| {
        let runtime = runtime(1);
        let (client, mut server) = pair();
        let std = StdStream::from(client.try_clone().unwrap());
        let waits = |read: fn(&TcpStream) -> io::Result<usize>| {
            let client = client.try_clone().unwrap();
            let reads = runtime.spawn(move || read(&client));
            until_waiting(runtime.handle(), WaitReason::IoRead, 1);
            reads
        };
        let read = waits(|mut client| client.read_exact(&mut [0; 4]).map(|()| 4));
        server.write_all(b"data").unwrap();
        assert_eq!(read.join().unwrap().unwrap(), 4);
        let vectored =
            waits(|mut client| client.read_vectored(&mut [IoSliceMut::new(&mut [0; 4])]));
        server.write_all(b"data").unwrap();
        assert_ne!(vectored.join().unwrap().unwrap(), 0);
        let fills = runtime.spawn(move || (&client).write_all(&[0; 1 << 23]));
        until_waiting(runtime.handle(), WaitReason::IoWrite, 1);
        server.read_exact(&mut vec![0; 1 << 23]).unwrap();
        fills.join().unwrap().unwrap();
        drop(std);
        runtime.shutdown();
    });
}
