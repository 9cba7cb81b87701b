//! The HTTP server, spoken to byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::drivers;

use super::program::{Running, example, run};

/// How long a client waits here.
const PATIENCE: Duration = Duration::from_secs(20);

const HELLO: &str = "GET /plaintext HTTP/1.1\r\nHost: test\r\n\r\n";

/// A server, and where it listens.
struct Server {
    program: Running,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let (program, line) = Running::start(example("http").args(arguments));
        let address = line.strip_prefix("listening on http://").expect("the address");
        Self { program, address: address.parse().expect("an address") }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// Sends a request that the server closes the connection after, and returns the answer.
    fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // A server that refuses early need not read it all.
        let _ = stream.write_all(request.as_ref());
        rest(&mut stream)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// All that comes until the server closes.
#[track_caller]
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the rest of the answer");
    String::from_utf8(answer).expect("text")
}

/// One answer, head and body.
#[track_caller]
fn one_answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a byte of the head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).expect("the body");
    (head, String::from_utf8(body).expect("text"))
}

#[track_caller]
fn assert_status(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "not {status}: {answer}");
}

/// Fails if some driver cannot serve, or keep a connection.
#[test]
fn requests_are_answered_on_every_pair_of_drivers() {
    for io in drivers::io_names() {
        for timer in drivers::timer_names() {
            let mut server = Server::start(&["--io", io, "--timer", timer]);
            let mut stream = server.connect();
            for _ in 0..100 {
                stream.write_all(HELLO.as_bytes()).expect("to ask");
                let (head, body) = one_answer(&mut stream);
                assert_status(&head, "200 OK");
                assert!(head.contains("\r\nDate: ") && head.contains(" GMT\r\n"), "{head}");
                assert_eq!(body, "Hello, World!");
            }
            server.program.assert_alive();
        }
    }
}

/// Fails if requests that come together get lost or change places.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let requests: String = (0..1000)
        .map(|number| {
            let body = number.to_string();
            format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        })
        .collect();
    let mut writer = stream.try_clone().expect("another handle");
    let sender = thread::spawn(move || writer.write_all(requests.as_bytes()));
    for number in 0..1000 {
        let (head, body) = one_answer(&mut stream);
        assert_status(&head, "200 OK");
        assert_eq!(body, number.to_string());
    }
    sender.join().expect("the sender").expect("all were sent");
}

/// Fails if a request must come in one piece.
#[test]
fn fragments_make_a_request() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let request = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).expect("to ask");
        thread::sleep(Duration::from_millis(1));
    }
    let (head, body) = one_answer(&mut stream);
    assert_status(&head, "200 OK");
    assert_eq!(body, "hello");
}

/// Fails if a method, a path or a version is treated wrongly.
#[test]
fn methods_paths_and_versions() {
    let server = Server::start(&[]);
    let ask = |line: &str| server.ask(format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert!(ask("GET /plaintext?a=b HTTP/1.1").ends_with("\r\n\r\nHello, World!"));
    assert!(ask("GET http://a/plaintext HTTP/1.1").ends_with("\r\n\r\nHello, World!"));
    assert_status(&ask("GET /nowhere HTTP/1.1"), "404 Not Found");
    let wrong = ask("DELETE /plaintext HTTP/1.1");
    assert_status(&wrong, "405 Method Not Allowed");
    assert!(wrong.contains("\r\nAllow: GET, HEAD\r\n"), "{wrong}");
    let head = ask("HEAD /plaintext HTTP/1.1");
    assert_status(&head, "200 OK");
    assert!(head.contains("\r\nContent-Length: 13\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_status(&ask("GET / HTTP/2.0"), "505 HTTP Version Not Supported");
}

/// Fails if a connection is kept that should be closed, or the other way round.
#[test]
fn connections_end_when_asked() {
    let server = Server::start(&[]);
    // In HTTP/1.0 closing is the default, and the host is not needed.
    let old = server.ask("GET /plaintext HTTP/1.0\r\n\r\n");
    assert_status(&old, "200 OK");
    let mut kept = server.connect();
    for _ in 0..2 {
        kept.write_all(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").expect("to ask");
        assert!(one_answer(&mut kept).0.contains("\r\nConnection: keep-alive\r\n"));
    }
    // What comes after the last request is not answered.
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: te, Close\r\n\r\n";
    let last = server.ask([request, HELLO].concat());
    assert!(last.contains("\r\nConnection: close\r\n"), "{last}");
    assert!(!last.contains("Hello, World!"), "{last}");
}

/// Fails if what is no request is not refused, or harms the server.
#[test]
fn nonsense_is_refused() {
    let mut server = Server::start(&[]);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(100));
    for (request, status) in [
        ("\0\x01\x02 nonsense\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 Bad Request"),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400 Bad Request"),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "400 Bad Request",
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "413 Content Too Large",
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n",
            "413 Content Too Large",
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "501 Not Implemented",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", "417 Expectation Failed"),
        (&long, "431 Request Header Fields Too Large"),
        (&many, "431 Request Header Fields Too Large"),
    ] {
        let answer = server.ask(request);
        assert_status(&answer, status);
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    server.program.assert_alive();
}

/// Fails if the largest body is too large, or is not asked for when the client waits to be.
#[test]
fn large_bodies_come_back() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let body = "0123456789abcdef".repeat(64 * 1024);
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n";
    for _ in 0..2 {
        write!(stream, "{head}Expect: 100-continue\r\n\r\n").expect("to ask");
        assert_eq!(one_answer(&mut stream).0, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body.as_bytes()).expect("to send the body");
        assert!(one_answer(&mut stream).1 == body, "another body came back");
    }
}

/// Fails if a client that has said all it wants to say is not answered.
#[test]
fn half_closed_connections_are_answered() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all([HELLO, HELLO].concat().as_bytes()).expect("to ask");
    stream.shutdown(Shutdown::Write).expect("to close one half");
    assert_eq!(rest(&mut stream).matches("Hello, World!").count(), 2);
    let mut stream = server.connect();
    stream.write_all(b"GET /plain").expect("to begin");
    stream.shutdown(Shutdown::Write).expect("to close one half");
    assert_status(&rest(&mut stream), "400 Bad Request");
}

/// Fails if a client can hold a connection by sending a byte now and then, or by sending nothing.
#[test]
fn slow_clients_are_let_go() {
    let server = Server::start(&["--timeout", "0.5"]);
    let start = Instant::now();
    let mut idle = server.connect();
    let mut slow = server.connect();
    let mut writer = slow.try_clone().expect("another handle");
    let trickle = thread::spawn(move || {
        // A request line that goes on and on: never wrong, never complete.
        for byte in b"GET /".iter().chain(std::iter::repeat(&b'a')) {
            let sent = writer.write_all(&[*byte]);
            if sent.is_err() || start.elapsed() > PATIENCE {
                return sent;
            }
            thread::sleep(Duration::from_millis(20));
        }
        unreachable!("the iterator has no end")
    });
    assert_eq!(rest(&mut idle), "", "nothing was asked");
    let mut answer = [0; 30];
    slow.read_exact(&mut answer).expect("to be let go");
    assert_status(str::from_utf8(&answer).expect("text"), "408 Request Timeout");
    assert!(start.elapsed() >= Duration::from_millis(500), "that was too early");
    // Whoever waits longer than the time-out between requests, but is quick, is not slow.
    let mut quick = server.connect();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(200));
        quick.write_all(HELLO.as_bytes()).expect("to ask");
        assert_status(&one_answer(&mut quick).0, "200 OK");
    }
    drop((slow, quick));
    assert!(trickle.join().expect("the trickle").is_err(), "the connection stayed open");
}

/// Fails if the server does not end when it is told to, goes on taking connections, or leaves the request unanswered that it
/// is reading.
#[test]
fn a_signal_ends_it_after_what_is_being_answered() {
    for io in drivers::io_names() {
        let server = Server::start(&["--io", io]);
        let mut idle = server.connect();
        idle.write_all(HELLO.as_bytes()).expect("to ask");
        assert_status(&one_answer(&mut idle).0, "200 OK");
        let mut asks = server.connect();
        asks.write_all(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .expect("to ask");
        assert_status(&one_answer(&mut asks).0, "100 Continue");
        server.program.signal(libc::SIGTERM);
        let start = Instant::now();
        while TcpStream::connect(server.address).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it goes on listening");
        }
        asks.write_all(b"right").expect("to go on");
        let (head, body) = one_answer(&mut asks);
        assert_status(&head, "200 OK");
        assert_eq!(body, "right");
        let (status, _) = server.program.ended(PATIENCE);
        assert!(status.success(), "{io}: {status}");
        assert_eq!(rest(&mut idle), "");
    }
}

/// Fails if clients that vanish take the server with them, or leave it unable to answer.
#[test]
fn vanishing_clients_do_no_harm() {
    let mut server = Server::start(&[]);
    for _ in 0..100 {
        let mut stream = server.connect();
        stream.write_all(HELLO.repeat(100).as_bytes()).expect("to ask");
        // Closing with answers unread resets the connection.
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the first byte");
    }
    let answer = server.ask("GET /plaintext HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("Hello, World!"), "{answer}");
    server.program.assert_alive();
}

/// Fails if a well-known client does not agree with all this. Without curl, there is nothing to ask.
#[test]
fn curl_agrees() {
    let server = Server::start(&[]);
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        run(
            command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments),
            PATIENCE,
        )
    };
    match Command::new("curl").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        version => assert!(version.expect("curl runs").status.success()),
    }
    let hello = server.url("/plaintext");
    assert_eq!(curl(&[&hello]).assert_success(), "Hello, World!");
    assert_eq!(curl(&["--http1.0", &hello]).assert_success(), "Hello, World!");
    let twice = curl(&[&hello, &hello, "--write-out", "%{num_connects}"]);
    assert_eq!(twice.assert_success(), "Hello, World!1Hello, World!0");
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    assert_eq!(curl(&[&status[..], &["--head", &hello]].concat()).assert_success(), "200");
    assert_eq!(curl(&[&status[..], &[&server.url("/no")]].concat()).assert_success(), "404");
    let echo = server.url("/echo");
    assert_eq!(curl(&["--data", "some body", &echo]).assert_success(), "some body");
    let file = concat!("@", env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let lock = include_str!("../../Cargo.lock");
    assert_eq!(curl(&["--data-binary", file, &echo]).assert_success(), lock);
}

/// Fails if bad options, or an address that cannot be had, do not end the program with an error.
#[test]
fn bad_options_are_refused() {
    for (arguments, code, complaint) in [
        (["--io", "carrier-pigeon"], 2, "--io"),
        (["--timeout=-1", "--workers=1"], 2, "--timeout"),
        (["--timeout", "nan"], 2, "--timeout"),
        (["--addr", "256.0.0.1:0"], 1, "256.0.0.1:0"),
        (["--addr", "127.0.0.1"], 1, "127.0.0.1"),
    ] {
        let ended = run(example("http").args(arguments), PATIENCE);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(complaint), "{arguments:?}: {}", ended.errors);
    }
}
