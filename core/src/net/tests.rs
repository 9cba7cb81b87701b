//! Sockets on loopback, used from plain threads.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{mem, ptr};

use super::descriptor::bounded;
use super::unix::UnixDatagram;
use super::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

const SHORT: Duration = Duration::from_millis(30);

/// Both ends of a new connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

/// An address on loopback where nobody listens.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn is_non_blocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK != 0
}

fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
}

fn loop_until_error<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        call()?;
    }
}

/// Breaks if bytes are lost or reordered when both ends have to wait.
#[test]
fn much_data_makes_the_round_trip() {
    bounded(|| {
        let (client, server) = pair();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|i| (i % 251) as u8).collect();
        let echo = thread::spawn(move || io::copy(&mut &server, &mut &server).unwrap());
        let client = Arc::new(client);
        let writer = {
            let (client, sent) = (Arc::clone(&client), sent.clone());
            thread::spawn(move || {
                (&*client).write_all(&sent).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            })
        };
        let mut received = Vec::new();
        (&*client).read_to_end(&mut received).unwrap();
        assert!(received == sent);
        writer.join().unwrap();
        assert_eq!(echo.join().unwrap(), sent.len() as u64);
    });
}

/// Breaks if one closed direction takes the other along.
#[test]
fn half_closed_connection_still_answers() {
    bounded(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
        server.write_all(b"answer").unwrap();
        drop(server);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
    });
}

/// Breaks if a reset is taken for the end of the stream.
#[test]
fn reset_is_an_error() {
    bounded(|| {
        let (mut client, server) = pair();
        client.write_all(b"never read").unwrap();
        server.peek(&mut [0; 1]).unwrap();
        // Closing with unread data makes the kernel reset the connection.
        drop(server);
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// Breaks if `shutdown` does not reach a call that already waits.
#[test]
fn shutdown_ends_a_waiting_read() {
    bounded(|| {
        let (client, _server) = pair();
        let client = Arc::new(client);
        let reader = {
            let client = Arc::clone(&client);
            thread::spawn(move || (&*client).read(&mut [0; 1]).unwrap())
        };
        thread::sleep(SHORT);
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    });
}

/// Breaks if a timeout is ignored, early, of another kind than std's, or poisons the stream.
#[test]
fn read_timeout_expires_and_the_stream_goes_on() {
    bounded(|| {
        let (mut client, mut server) = pair();
        client.set_read_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        would_block(client.read(&mut [0; 1]));
        assert!(start.elapsed() >= SHORT);
        would_block(client.peek(&mut [0; 1]));
        would_block(client.read_vectored(&mut [IoSliceMut::new(&mut [0; 1])]));
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 2]).unwrap(), 1);
        client.set_read_timeout(None).unwrap();
        assert_eq!(client.read_timeout().unwrap(), None);
    });
}

/// Breaks if writing to a peer that does not read ignores its timeout.
#[test]
fn write_timeout_expires() {
    bounded(|| {
        let (mut client, _server) = pair();
        client.set_write_timeout(Some(SHORT)).unwrap();
        let block = vec![0; 1 << 20];
        would_block(loop_until_error(|| client.write(&block)));
        would_block(loop_until_error(|| client.write_vectored(&[IoSlice::new(&block)])));
    });
}

/// Breaks if a clone keeps a timeout of its own, unlike a socket option.
#[test]
fn clones_share_the_timeouts() {
    bounded(|| {
        let (client, _server) = pair();
        let mut clone = client.try_clone().unwrap();
        client.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(SHORT));
        would_block(clone.read(&mut [0; 1]));
        clone.set_write_timeout(Some(SHORT)).unwrap();
        drop(clone);
        assert_eq!(client.write_timeout().unwrap(), Some(SHORT));
    });
}

/// Breaks if zero, which std refuses, means "none" or "at once", or if a vast timeout overflows.
#[test]
fn extreme_timeouts() {
    bounded(|| {
        let (mut client, mut server) = pair();
        for refused in [
            client.set_read_timeout(Some(Duration::ZERO)),
            client.set_write_timeout(Some(Duration::ZERO)),
            TcpStream::connect_timeout(&refusing(), Duration::ZERO).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        client.set_read_timeout(Some(Duration::MAX)).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 2]).unwrap(), 1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::MAX).unwrap();
    });
}

/// Breaks if a conversion forgets a timeout or leaves the socket in the wrong mode.
#[test]
fn conversions_carry_mode_and_timeouts() {
    let (client, server) = pair();
    assert!(is_non_blocking(&client) && is_non_blocking(&server));
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let client = std::net::TcpStream::from(client);
    assert!(!is_non_blocking(&client));
    assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_secs(2)));
    assert_eq!(client.write_timeout().unwrap(), None);
    client.set_write_timeout(Some(Duration::from_secs(3))).unwrap();

    let client = TcpStream::from(OwnedFd::from(client));
    assert!(is_non_blocking(&client));
    assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_secs(2)));
    assert_eq!(client.write_timeout().unwrap(), Some(Duration::from_secs(3)));

    let raw = client.into_raw_fd();
    assert!(!is_non_blocking(&raw));
    // SAFETY: `into_raw_fd` has just given it up.
    let client = unsafe { TcpStream::from_raw_fd(raw) };
    assert!(is_non_blocking(&client));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::from(listener);
    assert!(is_non_blocking(&listener));
    assert!(!is_non_blocking(&OwnedFd::from(listener)));
}

/// Breaks if an iteration skips a connection or ends.
#[test]
fn incoming_yields_every_connection() {
    bounded(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients = thread::spawn(move || {
            for number in 0..5_u8 {
                TcpStream::connect(address).unwrap().write_all(&[number]).unwrap();
            }
        });
        let numbers: Vec<u8> = listener
            .incoming()
            .take(5)
            .map(|stream| {
                let mut number = [0];
                stream.unwrap().read_exact(&mut number).unwrap();
                number[0]
            })
            .collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        clients.join().unwrap();
    });
}

/// Breaks if a listener's clone listens on its own.
#[test]
fn cloned_listener_accepts() {
    bounded(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let _client = TcpStream::connect(address).unwrap();
        clone.accept().unwrap();
    });
}

/// Breaks if connecting stops at the first address, or hides why the last one failed.
#[test]
fn connect_tries_every_address() {
    bounded(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[refusing(), good][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);

        let error = TcpStream::connect(refusing()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        let error = TcpStream::connect_timeout(&refusing(), SHORT).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        let nothing: &[SocketAddr] = &[];
        let error = TcpStream::connect(nothing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = TcpListener::bind(nothing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}

/// Breaks if a connection attempt that nobody answers ignores its timeout.
#[test]
fn connect_timeout_expires() {
    bounded(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = listener.local_addr().unwrap();
        // Once its queue is full, the listener drops what else arrives without a word.
        let mut queued = Vec::new();
        let error = loop {
            let start = Instant::now();
            match TcpStream::connect_timeout(&address, SHORT) {
                Ok(stream) => queued.push(stream),
                Err(error) => {
                    assert!(start.elapsed() >= SHORT);
                    break error;
                }
            }
            assert!(queued.len() < 10, "the queue never fills");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

/// Breaks if the queue has only the 128 places that std asks for.
#[test]
fn burst_of_connections_is_queued() {
    bounded(|| {
        let cap = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let burst = cap.trim().parse().unwrap_or(0).min(400_usize);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let clients: Vec<_> = (0..burst).map(connect).collect::<Result<_, _>>().unwrap();
        assert_eq!(listener.incoming().take(burst).flatten().count(), clients.len());
    });
}

/// Breaks if asking for nothing waits for something.
#[test]
fn empty_buffers_do_not_wait() {
    bounded(|| {
        let (mut client, _server) = pair();
        assert_eq!(client.read(&mut []).unwrap(), 0);
        assert_eq!(client.peek(&mut []).unwrap(), 0);
        assert_eq!(client.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(client.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(client.write_vectored(&[]).unwrap(), 0);
    });
}

/// Breaks if peeking takes the bytes.
#[test]
fn peek_leaves_the_bytes() {
    bounded(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"abc").unwrap();
        let mut buf = [0; 3];
        assert!(server.peek(&mut buf).unwrap() > 0);
        buf = [0; 3];
        server.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"abc");
    });
}

/// Breaks if buffers are mixed up, or if more of them than one system call takes are an error.
#[test]
fn vectored_reads_and_writes() {
    bounded(|| {
        let (mut client, mut server) = pair();
        let parts = vec![IoSlice::new(b"ab"); 2000];
        assert_eq!(client.write_vectored(&parts).unwrap(), 2 * 1024);
        drop(client);
        let (mut head, mut tail) = ([0; 3], [0; 2]);
        let mut bufs = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(server.read_vectored(&mut bufs).unwrap(), 5);
        assert_eq!((&head, &tail), (b"aba", b"ba"));
        let mut singles = vec![0; 2000];
        let mut bufs: Vec<_> = singles.chunks_mut(1).map(IoSliceMut::new).collect();
        assert_eq!(server.read_vectored(&mut bufs).unwrap(), 1024);
    });
}

/// Breaks if an option is set on something else than the socket.
#[test]
fn socket_options() {
    let (client, _server) = pair();
    client.set_nodelay(true).unwrap();
    client.set_ttl(17).unwrap();
    assert!(client.try_clone().unwrap().nodelay().unwrap());
    assert_eq!(client.ttl().unwrap(), 17);
    assert!(client.take_error().unwrap().is_none());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_ttl(18).unwrap();
    assert_eq!(listener.ttl().unwrap(), 18);
    assert!(listener.take_error().unwrap().is_none());
}

/// Breaks if a descriptor that is no socket, or none of this family, is more than an error.
#[test]
fn foreign_descriptors_are_errors() {
    bounded(|| {
        let file = || OwnedFd::from(std::fs::File::open("Cargo.toml").unwrap());
        let no_socket = Some(libc::ENOTSOCK);
        let mut stream = TcpStream::from(file());
        assert_eq!(stream.read(&mut [0; 1]).unwrap_err().raw_os_error(), no_socket);
        assert_eq!(stream.write(&[0; 1]).unwrap_err().raw_os_error(), no_socket);
        assert_eq!(stream.peer_addr().unwrap_err().raw_os_error(), no_socket);
        assert_eq!(stream.read_timeout().unwrap(), None);
        drop(std::net::TcpStream::from(stream));
        let listener = TcpListener::from(file());
        assert_eq!(listener.accept().unwrap_err().raw_os_error(), no_socket);

        let datagrams = UdpSocket::from(file());
        assert_eq!(datagrams.recv(&mut [0; 1]).unwrap_err().raw_os_error(), no_socket);
        assert_eq!(datagrams.recv_from(&mut [0; 1]).unwrap_err().raw_os_error(), no_socket);
        let address = SocketAddr::from((LOCAL, 1));
        assert_eq!(datagrams.send_to(b"x", address).unwrap_err().raw_os_error(), no_socket);

        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"x").unwrap();
        let error = UdpSocket::from(OwnedFd::from(other)).recv_from(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let inet = UdpSocket::bind("127.0.0.1:0").unwrap();
        inet.send_to(b"x", inet.local_addr().unwrap()).unwrap();
        let error = UnixDatagram::from(OwnedFd::from(inet)).recv_from(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

        let path = std::env::temp_dir().join(format!("rr-net-{}", std::process::id()));
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = TcpListener::from(OwnedFd::from(unix)).accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}

/// Breaks if a type converts to other addresses than with std's trait.
#[test]
fn addresses_are_those_of_std() {
    fn same<A: ToSocketAddrs + std::net::ToSocketAddrs + ?Sized>(address: &A) {
        let ours = ToSocketAddrs::to_socket_addrs(address).map(Vec::from_iter);
        let theirs = std::net::ToSocketAddrs::to_socket_addrs(address).map(Vec::from_iter);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
            (ours, theirs) => assert_eq!(ours.unwrap_err().kind(), theirs.unwrap_err().kind()),
        }
    }
    let v4: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let v6: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
    for address in [v4, v6] {
        same(&address);
        same(&(address.ip(), 81));
        same(&address.to_string());
        same(address.to_string().as_str());
        same(&(address.ip().to_string().as_str(), 82));
        same(&(address.ip().to_string(), 83));
        match address {
            SocketAddr::V4(v4) => (same(&v4), same(&(*v4.ip(), 84))),
            SocketAddr::V6(v6) => (same(&v6), same(&(*v6.ip(), 84))),
        };
    }
    same(&&[v4, v6][..]);
    for name in ["localhost:80", "localhost", "localhost:eighty", "", ":80"] {
        same(name);
    }
    same(&("localhost", 80));
    assert!(ToSocketAddrs::to_socket_addrs(&("127.0.0.1", 80)).unwrap().all(|a| a.ip() == LOCAL));
}

const LOCAL: IpAddr = IpAddr::V4(super::Ipv4Addr::LOCALHOST);

/// Breaks if a wait begins anew with each signal that interrupts it.
#[test]
fn signals_do_not_put_a_timeout_off() {
    extern "C" fn ignore(_signal: libc::c_int) {}

    bounded(|| {
        // SAFETY: a `sigaction` is plain data for which zero is valid; the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &action, ptr::null_mut()), 0);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        let waiter = thread::spawn(move || would_block(socket.recv(&mut [0; 1])));
        while !waiter.is_finished() {
            // SAFETY: a thread that has not been joined has not gone away, finished or not.
            unsafe { libc::pthread_kill(waiter.as_pthread_t(), libc::SIGUSR2) };
            thread::sleep(SHORT / 10);
        }
        waiter.join().unwrap();
    });
}

/// Breaks if `{:?}` shows our insides.
#[test]
fn debug_is_that_of_std() {
    let (client, _server) = pair();
    let ours = format!("{client:?}");
    assert!(ours.starts_with("TcpStream { addr: 127.0.0.1:"), "{ours}");
    assert_eq!(ours, format!("{:?}", std::net::TcpStream::from(client)));
}
