//! A small HTTP/1.1 server: plain blocking code, a routine per connection.
//!
//! ```text
//! cargo run --release --example http -- --addr 127.0.0.1:8080
//! curl -i http://127.0.0.1:8080/plaintext
//! wrk -t2 -c512 -d10s http://127.0.0.1:8080/plaintext
//! ```
//!
//! | path | methods | answer |
//! |---|---|---|
//! | `/` | GET, HEAD | what there is |
//! | `/plaintext` | GET, HEAD | `Hello, World!` |
//! | `/echo` | POST, PUT | the body of the request |
//!
//! It speaks HTTP/1.0 and 1.1, keeps connections alive, takes pipelined requests and answers all that have come in
//! with one write. A client that is slower than the time-out, or that sends more than a request may have, gets an
//! error and is let go. Ctrl-c ends the server, after what is being answered. Each connection owns two buffers, which
//! it reuses: a request costs no allocation. The text of the `Date` header is kept in a `thread_local!`: a routine
//! stays on its thread, so that just works.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use httparse::{Header, Request, Status};
use rust_routines::channel::RecvError;
use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::signal::{self, Signal};
use rust_routines::{Builder, Runtime, drivers, sleep};

/// Headers that a request may have.
const MOST_HEADERS: usize = 64;

/// Bytes that a request's head may have.
const MOST_HEAD: usize = 16 * 1024;

/// Bytes that a request's body may have.
const MOST_BODY: usize = 1024 * 1024;

/// Bytes of the buffers of a connection, unless a request or an answer needs more.
const BUFFER: usize = 4 * 1024;

/// Answers are sent once they are this long, even if more requests have come in already.
const BATCH: usize = 64 * 1024;

/// Seconds that can be given as the time-out: a day.
const LONGEST_TIMEOUT: f64 = 86_400.0;

/// How long, and how much, to listen to a client that was told to go away. To close at once would reset the
/// connection, and the client might never see the answer.
const LINGER: Duration = Duration::from_secs(1);
const MOST_LINGER: usize = 256 * 1024;

/// How long to wait when there is no descriptor or no stack for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// How long requests may take that are being answered at the end.
const GRACE: Duration = Duration::from_secs(1);

/// A small HTTP/1.1 server on Rust Routines.
#[derive(Debug, Parser)]
#[command(name = "http")]
struct Options {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    addr: String,

    /// Seconds that a client may take for a request, and between two; 0 waits for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", env = "RUST_ROUTINES_WORKERS",
          value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,

    /// The I/O driver [default: the first]
    #[arg(long, value_name = "NAME", env = "RUST_ROUTINES_IO",
          value_parser = PossibleValuesParser::new(drivers::io_names()))]
    io: Option<String>,

    /// The timer [default: the first]
    #[arg(long, value_name = "NAME", env = "RUST_ROUTINES_TIMER",
          value_parser = PossibleValuesParser::new(drivers::timer_names()))]
    timer: Option<String>,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let listener = TcpListener::bind(&options.addr)
        .with_context(|| format!("cannot listen on {}", options.addr))?;
    let door = listener.try_clone()?;
    let stop = signal::receiver(&[Signal::INT, Signal::TERM])?;
    let runtime = options.runtime()?;
    println!("listening on http://{}", listener.local_addr()?);
    let timeout = options.timeout();
    let server = runtime.spawn(move || serve(&listener, timeout));
    let _: Result<Signal, RecvError> = stop.recv();
    door.shutdown()?;
    server.join().map_err(|_| anyhow!("the server panicked"))?;
    // Clients that are between requests have nothing to lose.
    runtime.shutdown_timeout(GRACE);
    Ok(())
}

impl Options {
    fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = Runtime::builder().name("http");
        if let Some(workers) = self.workers {
            builder = builder.workers(workers.into());
        }
        if let Some(name) = &self.io {
            builder = builder.io_named(name)?;
        }
        if let Some(name) = &self.timer {
            builder = builder.timer_named(name)?;
        }
        builder.build()
    }

    fn timeout(&self) -> Option<Duration> {
        (self.timeout > 0.0).then(|| Duration::from_secs_f64(self.timeout))
    }
}

fn seconds(argument: &str) -> Result<f64, String> {
    let seconds: f64 = argument.parse().map_err(|error| format!("{error}"))?;
    if !(0.0..=LONGEST_TIMEOUT).contains(&seconds) {
        return Err(format!("not between 0 and {LONGEST_TIMEOUT}"));
    }
    Ok(seconds)
}

/// Accepts connections until the listener is shut down.
fn serve(listener: &TcpListener, timeout: Option<Duration>) {
    for stream in listener.incoming() {
        let served = stream.and_then(|stream| {
            let serve = move || Connection::new(stream, timeout).serve();
            // On all workers in turn: connections are alike, and this balances them from the first on.
            Builder::new().spread().spawn(serve)
        });
        match served {
            Ok(_) => {}
            // It had already been given up by the client.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                eprintln!("http: cannot take a connection: {error}");
                sleep(EXHAUSTED);
            }
        }
    }
}

/// A connection, and what has come in and not yet gone out on it.
struct Connection {
    stream: TcpStream,
    timeout: Option<Duration>,
    /// What was received and not yet answered is `pending` in `input`.
    input: Vec<u8>,
    pending: Range<usize>,
    /// Answers to be sent.
    output: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream, timeout: Option<Duration>) -> Self {
        Self { stream, timeout, input: vec![0; BUFFER], pending: 0..0, output: Vec::new() }
    }

    /// Serves the connection to its end. An error means that the client cannot be reached any more, and that is an
    /// end like any other.
    fn serve(mut self) {
        if self.exchange().is_ok() {
            self.linger();
        }
    }

    /// Answers requests until either side wants to close.
    fn exchange(&mut self) -> io::Result<()> {
        // Answers go out whole: there is nothing to be gained by waiting for more.
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(self.timeout)?;
        self.stream.set_read_timeout(self.timeout)?;
        let mut told_to_go_on = false;
        let mut deadline = None;
        loop {
            match answer(&self.input[self.pending.clone()], &mut self.output) {
                Parsed::Answered(length, next) => {
                    self.pending.start += length;
                    told_to_go_on = false;
                    if deadline.take().is_some() {
                        self.stream.set_read_timeout(self.timeout)?;
                    }
                    if next == Next::Close {
                        return self.flush();
                    }
                    if self.output.len() >= BATCH {
                        self.flush()?;
                    }
                }
                Parsed::Partial { need, waits } => {
                    if waits && !told_to_go_on {
                        told_to_go_on = true;
                        self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    self.flush()?;
                    let begun = !self.pending.is_empty();
                    match self.receive(need, &mut deadline) {
                        Ok(1..) => continue,
                        Ok(0) if begun => refuse(BAD_REQUEST, &mut self.output),
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                            return Err(error);
                        }
                        Err(_) if begun => refuse(REQUEST_TIMEOUT, &mut self.output),
                        // Nothing was asked, so there is nobody to be told.
                        Ok(0) | Err(_) => {}
                    }
                    return self.flush();
                }
            }
        }
    }

    /// Receives more, with room for a request of `need` bytes. `WouldBlock` if the client takes too long: for a
    /// request that has begun, that is counted from its first read on, however little comes at a time.
    fn receive(&mut self, need: usize, deadline: &mut Option<Instant>) -> io::Result<usize> {
        self.make_room(need);
        match self.timeout {
            Some(timeout) if !self.pending.is_empty() => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
                self.receive_until(deadline)
            }
            _ => self.receive_now(),
        }
    }

    /// Receives what fits, unless the time is over.
    fn receive_until(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.receive_now()
    }

    fn receive_now(&mut self) -> io::Result<usize> {
        let received = self.stream.read(&mut self.input[self.pending.end..])?;
        self.pending.end += received;
        Ok(received)
    }

    /// Moves what is pending to the front, and makes the buffer longer than that, and at least `need`. One that had
    /// to grow is given back as soon as it is empty.
    fn make_room(&mut self, need: usize) {
        self.input.copy_within(self.pending.clone(), 0);
        self.pending = 0..self.pending.len();
        let size = need.max(self.pending.len() + 1).next_multiple_of(BUFFER);
        if self.input.len() < size {
            self.input.resize(size, 0);
        } else if self.pending.is_empty() && self.input.len() > size {
            self.input = vec![0; size];
        }
    }

    /// Sends the answers.
    fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output)?;
            self.output.clear();
            self.output.shrink_to(BATCH);
        }
        Ok(())
    }

    /// Waits for the client to close too, so that it can read the last answer.
    fn linger(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + LINGER;
        let mut left = MOST_LINGER;
        self.pending = 0..0;
        while let Ok(received @ 1..) = self.receive_until(deadline)
            && left > received
        {
            left -= received;
            self.pending = 0..0;
        }
    }
}

/// What the first bytes of the input were.
enum Parsed {
    /// A request of that length, or an error. It has been answered.
    Answered(usize, Next),
    /// The beginning of a request that has at least `need` bytes. It `waits` if the client does not send the rest
    /// before it is told to go on.
    Partial { need: usize, waits: bool },
}

/// Whether the connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    KeepAlive,
    Close,
}

const OK: &str = "200 OK";
const BAD_REQUEST: &str = "400 Bad Request";
const NOT_FOUND: &str = "404 Not Found";
const NOT_ALLOWED: &str = "405 Method Not Allowed";
const REQUEST_TIMEOUT: &str = "408 Request Timeout";
const BODY_TOO_LARGE: &str = "413 Content Too Large";
const EXPECTATION_FAILED: &str = "417 Expectation Failed";
const HEAD_TOO_LARGE: &str = "431 Request Header Fields Too Large";
const NOT_IMPLEMENTED: &str = "501 Not Implemented";
const VERSION_NOT_SUPPORTED: &str = "505 HTTP Version Not Supported";

/// Answers the first request in `input`, if all of it is there.
fn answer(input: &[u8], output: &mut Vec<u8>) -> Parsed {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = Request::new(&mut []);
    let result = match request.parse_with_uninit_headers(input, &mut headers) {
        Ok(Status::Complete(length)) if length <= MOST_HEAD => {
            head(&request).map(|it| (length, it))
        }
        Ok(Status::Partial) if input.len() < MOST_HEAD => {
            return Parsed::Partial { need: 0, waits: false };
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => Err(VERSION_NOT_SUPPORTED),
        Err(_) => Err(BAD_REQUEST),
    };
    let (length, head) = match result {
        Ok(head) => head,
        Err(status) => {
            refuse(status, output);
            return Parsed::Answered(0, Next::Close);
        }
    };
    let end = length + head.body;
    match input.get(length..end) {
        Some(body) => {
            route(&head, body).write(&head, output);
            Parsed::Answered(end, head.next)
        }
        None => Parsed::Partial { need: end, waits: head.waits },
    }
}

/// What is to be known of a request.
struct Head<'a> {
    method: &'a str,
    path: &'a str,
    /// The 1 of HTTP/1.1.
    minor: u8,
    /// How long the body is.
    body: usize,
    /// Whether the client waits to be told that the body is welcome.
    waits: bool,
    next: Next,
}

/// Understands the head of a request, or says with which status to refuse it.
fn head<'a>(request: &Request<'_, 'a>) -> Result<Head<'a>, &'static str> {
    let minor = request.version.ok_or(BAD_REQUEST)?;
    let mut head = Head {
        method: request.method.ok_or(BAD_REQUEST)?,
        path: path(request.path.ok_or(BAD_REQUEST)?),
        minor,
        body: 0,
        waits: false,
        next: if minor == 0 { Next::Close } else { Next::KeepAlive },
    };
    let (mut hosts, mut length) = (0, None);
    for Header { name, value } in request.headers.iter() {
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    head.next = Next::Close;
                } else if minor == 0 && option.eq_ignore_ascii_case(b"keep-alive") {
                    head.next = Next::KeepAlive;
                }
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            let value = content_length(value)?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(BAD_REQUEST);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(NOT_IMPLEMENTED);
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(EXPECTATION_FAILED);
            }
            head.waits = minor > 0;
        }
    }
    if hosts > 1 || (hosts == 0 && minor > 0) {
        return Err(BAD_REQUEST);
    }
    head.body = length.unwrap_or(0);
    Ok(head)
}

/// The path of a request's target, without the query. A proxy's client names the server before it.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    path.split_once('?').map_or(path, |(path, _)| path)
}

fn content_length(value: &[u8]) -> Result<usize, &'static str> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BAD_REQUEST);
    }
    // What does not fit into a number is too large as well.
    let length = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    length.filter(|length| *length <= MOST_BODY).ok_or(BODY_TOO_LARGE)
}

/// What to answer.
struct Answer<'a> {
    status: &'static str,
    /// The methods that the path has.
    allow: Option<&'static str>,
    body: &'a [u8],
}

/// Finds the answer to a request.
fn route<'a>(head: &Head<'_>, body: &'a [u8]) -> Answer<'a> {
    let get: Option<&[u8]> = match head.path {
        "/" => Some(b"/plaintext greets, /echo sends back what was posted\n"),
        "/plaintext" => Some(b"Hello, World!"),
        _ => None,
    };
    match (get, head.path, head.method) {
        (Some(body), _, "GET" | "HEAD") => Answer { status: OK, allow: None, body },
        (Some(_), _, _) => Answer::error(NOT_ALLOWED, Some("GET, HEAD")),
        (None, "/echo", "POST" | "PUT") => Answer { status: OK, allow: None, body },
        (None, "/echo", _) => Answer::error(NOT_ALLOWED, Some("POST, PUT")),
        (None, _, _) => Answer::error(NOT_FOUND, None),
    }
}

impl Answer<'_> {
    fn error(status: &'static str, allow: Option<&'static str>) -> Self {
        Self { status, allow, body: status.as_bytes() }
    }

    fn write(&self, head: &Head<'_>, output: &mut Vec<u8>) {
        self.write_head(output);
        // Each version's default goes without saying.
        match (head.next, head.minor) {
            (Next::Close, 1..) => output.extend_from_slice(b"Connection: close\r\n"),
            (Next::KeepAlive, 0) => output.extend_from_slice(b"Connection: keep-alive\r\n"),
            _ => {}
        }
        output.extend_from_slice(b"\r\n");
        if head.method != "HEAD" {
            output.extend_from_slice(self.body);
        }
    }

    /// Writes the status line and the headers that do not depend on the request.
    fn write_head(&self, output: &mut Vec<u8>) {
        append(output, format_args!("HTTP/1.1 {}\r\n", self.status));
        append(output, format_args!("Content-Length: {}\r\n", self.body.len()));
        output.extend_from_slice(b"Content-Type: text/plain\r\nDate: ");
        append_date(output);
        output.extend_from_slice(b"\r\n");
        if let Some(methods) = self.allow {
            append(output, format_args!("Allow: {methods}\r\n"));
        }
    }
}

/// Answers what cannot be served, and after which the connection is closed.
fn refuse(status: &'static str, output: &mut Vec<u8>) {
    let answer = Answer::error(status, None);
    answer.write_head(output);
    output.extend_from_slice(b"Connection: close\r\n\r\n");
    output.extend_from_slice(answer.body);
}

fn append(output: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    output.write_fmt(text).expect("a vector takes everything");
}

/// Appends the time as HTTP writes it. It is put into words once per second.
fn append_date(output: &mut Vec<u8>) {
    thread_local! {
        static LATEST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LATEST.with_borrow_mut(|(latest, text)| {
        if *latest != second || text.is_empty() {
            *latest = second;
            *text = httpdate::fmt_http_date(now);
        }
        output.extend_from_slice(text.as_bytes());
    });
}
