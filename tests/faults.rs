//! Programs on drivers with [bad manners](rust_routines_conformance::Faulty): transfers are cut short, completions late
//! and out of order, operations interrupted, waits over for nothing. What reads and writes as std says it must notices
//! none of it.
//!
//! Stamped for every I/O driver, or the one that `RUST_ROUTINES_IO` names. `RR_FAULT_SEED` repeats the faults.

mod util;

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rust_routines::driver::IoBackend;
use rust_routines::fs::{self, File, OpenOptions};
use rust_routines::net::unix::UnixStream;
use rust_routines::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use rust_routines::{Runtime, WaitReason, blocking, scope, sleep, spawn};
use rust_routines_conformance::Faulty;
use util::{bounded, builder, random, until_waiting};

/// A runtime of two workers on `backend` and faults.
fn runtime(backend: impl IoBackend) -> Runtime {
    builder().io(Faulty::new(backend)).workers(2).build().expect("a runtime can be made")
}

/// Runs a program on `backend` and faults, until all its routines have ended.
fn run(backend: impl IoBackend, program: fn()) {
    bounded(|| {
        let runtime = runtime(backend);
        runtime.spawn(program).join().expect("the program does not panic");
        runtime.shutdown();
    });
}

macro_rules! for_each_driver {
    ($($feature:literal: $module:ident, $backend:ident;)*) => { $(
        #[cfg(feature = $feature)]
        mod $module {
            use rust_routines::drivers::$backend;

            fn is_asked_for() -> bool {
                let asked = std::env::var("RUST_ROUTINES_IO").unwrap_or_default();
                asked.is_empty() || asked == stringify!($module)
            }

            for_each_driver! { @tests $backend:
                echoes requests datagrams unix_streams files files_that_many_read timeouts work_of_every_kind
            }

            #[test]
            fn canceled_operations_leave_no_trace() {
                if is_asked_for() {
                    super::canceled_operations_leave_no_trace($backend::new);
                }
            }
        }
    )* };
    (@tests $backend:ident: $($program:ident)*) => { $(
        #[test]
        fn $program() {
            if is_asked_for() {
                super::run($backend::new(), super::$program);
            }
        }
    )* };
}

for_each_driver! {
    "io-mio": mio, Mio;
    "io-polling": polling, Polling;
    "io-uring": uring, Uring;
    "io-pool": pool, Pool;
}

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at ^ (at >> 8)) % 251) as u8).collect()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Sends everything back until the other side closes.
fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; 5_000];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// Fails if a byte is lost, doubled or moved on its way there and back, while both ways are busy.
fn echoes() {
    const CLIENTS: usize = 8;
    const SIZE: usize = 200_000;
    let (listener, address) = listener();
    let server = spawn(move || {
        for _ in 0..CLIENTS {
            let (stream, _) = listener.accept().unwrap();
            spawn(move || echo(stream).unwrap());
        }
    });
    let data = pattern(SIZE);
    scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(address).unwrap();
                let (mut out, data) = (stream.try_clone().unwrap(), data.clone());
                spawn(move || {
                    out.write_all(&data).unwrap();
                    out.shutdown(Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                assert!(back == pattern(SIZE));
            });
        }
    });
    server.join().unwrap();
}

/// Fails if requests on kept connections are mixed up, or an answer does not end where it says.
fn requests() {
    const CLIENTS: usize = 6;
    const REQUESTS: usize = 20;
    let (listener, address) = listener();
    let server = spawn(move || {
        for _ in 0..CLIENTS {
            let (stream, _) = listener.accept().unwrap();
            spawn(move || serve(stream).unwrap());
        }
    });
    scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
                for request in 0..REQUESTS {
                    let len = client * 997 + request * 101;
                    write!(stream.get_mut(), "GET /{len} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
                    let (mut line, mut body) = (String::new(), vec![0; len]);
                    stream.read_line(&mut line).unwrap();
                    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                    assert_eq!(line, format!("Content-Length: {len}\r\n"));
                    stream.read_line(&mut line).unwrap();
                    stream.read_exact(&mut body).unwrap();
                    assert!(body == pattern(len));
                }
            });
        }
    });
    server.join().unwrap();
}

/// Answers every request with as many bytes as it asks for.
fn serve(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request)? > 0 {
        if !request.ends_with("\r\n\r\n") {
            continue;
        }
        let len = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
        let len = len.and_then(|len| len.parse().ok()).expect("a request");
        let out = stream.get_mut();
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n")?;
        out.write_all(&pattern(len))?;
        request.clear();
    }
    Ok(())
}

/// Fails if a datagram is cut, or arrives from somebody else.
fn datagrams() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let echo = spawn(move || {
        let mut buffer = [0; 2_000];
        loop {
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..len], from).unwrap();
            if len == 0 {
                return;
            }
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in (0..100).rev().map(|step| step * 15) {
        client.send_to(&pattern(len), address).unwrap();
        let mut buffer = [0; 2_000];
        let (received, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((received, from), (len, address));
        assert!(buffer[..len] == pattern(len));
    }
    echo.join().unwrap();
}

/// Fails if Unix sockets differ in this from TCP.
fn unix_streams() {
    let (near, far) = UnixStream::pair().unwrap();
    let echo = spawn(move || echo(far).unwrap());
    let mut out = near.try_clone().unwrap();
    let writer = spawn(move || {
        for chunk in pattern(300_000).chunks(7_777) {
            out.write_all(chunk).unwrap();
        }
        out.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    (&near).read_to_end(&mut back).unwrap();
    assert!(back == pattern(300_000));
    writer.join().unwrap();
    echo.join().unwrap();
}

/// Fails if a copied file differs: written in pieces, read in others, appended to, at positions.
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data = pattern(300_000);
    fs::write(&from, &data).unwrap();
    assert!(fs::read(&from).unwrap() == data);

    let (mut source, mut copy) = (File::open(&from).unwrap(), File::create(&to).unwrap());
    let mut buffer = vec![0; 11_111];
    loop {
        match source.read(&mut buffer).unwrap() {
            0 => break,
            read => copy.write_all(&buffer[..read]).unwrap(),
        }
    }
    copy.sync_all().unwrap();
    let mut more = OpenOptions::new().append(true).open(&to).unwrap();
    more.write_all(&data[..1_000]).unwrap();
    let copied = fs::read(&to).unwrap();
    assert!(copied[..300_000] == data && copied[300_000..] == data[..1_000]);
}

/// Fails if positioned reads of one file get each other's data.
fn files_that_many_read() {
    const PIECE: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let data = pattern(20 * PIECE);
    write_at_random(&path, &data, PIECE);
    let file = File::open(&path).unwrap();
    scope(|scope| {
        for (number, piece) in data.chunks(PIECE).enumerate() {
            let file = &file;
            scope.spawn(move || {
                let mut read = vec![0; PIECE];
                file.read_exact_at(&mut read, (number * PIECE) as u64).unwrap();
                assert!(read == piece);
            });
        }
    });
}

fn write_at_random(path: &Path, data: &[u8], piece: usize) {
    let file = File::create(path).unwrap();
    let mut pieces: Vec<_> = data.chunks(piece).enumerate().collect();
    random().shuffle(&mut pieces);
    for (number, bytes) in pieces {
        file.write_all_at(bytes, (number * piece) as u64).unwrap();
    }
}

/// Fails if a byte gets lost with a read that timed out, if a timeout does not strike, or strikes who is in time.
fn timeouts() {
    const BYTES: usize = 300;
    let (mut near, mut far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(Duration::from_micros(200))).unwrap();
    let writer = spawn(move || {
        let mut random = random();
        for byte in 0..BYTES {
            if random.u8(..4) == 0 {
                sleep(Duration::from_micros(random.u64(..600)));
            }
            far.write_all(&[byte as u8]).unwrap();
        }
        far
    });
    let (mut received, mut buffer) = (0, [0; 3]);
    while received < BYTES {
        match near.read(&mut buffer) {
            Ok(count) => {
                assert!(count > 0);
                for &byte in &buffer[..count] {
                    assert_eq!(byte, received as u8);
                    received += 1;
                }
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
            }
        }
    }
    let _far = writer.join().unwrap();
    let error = near.read(&mut buffer).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
}

/// Fails if one kind of waiting keeps another from its end.
fn work_of_every_kind() {
    scope(|scope| {
        for number in 0..30_u64 {
            scope.spawn(move || {
                let (mut near, mut far) = UnixStream::pair().unwrap();
                let name = format!("faults.{}.{number}", std::process::id());
                let path = env::temp_dir().join(name);
                sleep(Duration::from_micros(number * 50));
                let squared = blocking(move || number * number);
                far.write_all(&squared.to_le_bytes()).unwrap();
                let mut bytes = [0; 8];
                near.read_exact(&mut bytes).unwrap();
                fs::write(&path, bytes).unwrap();
                assert_eq!(fs::read(&path).unwrap(), (number * number).to_le_bytes());
                fs::remove_file(&path).unwrap();
            });
        }
    });
}

/// Fails if a routine that is unwound while something of it is pending leaves the driver a buffer that has gone, or
/// is never let go.
fn canceled_operations_leave_no_trace<B: IoBackend>(backend: fn() -> B) {
    bounded(|| {
        for _ in 0..5 {
            let doomed = runtime(backend());
            let mut peers = Vec::new();
            for _ in 0..10 {
                let (peer, mut doomed_end) = UnixStream::pair().unwrap();
                peers.push(peer);
                doomed.spawn(move || {
                    let mut buffer = [0; 256];
                    let _ = doomed_end.read_exact(&mut buffer);
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
