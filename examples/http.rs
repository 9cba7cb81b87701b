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
//! error and is let go. Each connection owns two buffers, which it reuses: a request costs no allocation.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use httparse::{Header, Request, Status};
use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{Runtime, drivers, sleep, spawn};

/// Headers that a request may have.
const MOST_HEADERS: usize = 64;

/// Bytes that a request's head may have.
const MOST_HEAD: usize = 16 * 1024;

/// Bytes that a request's body may have.
const MOST_BODY: usize = 1024 * 1024;

/// Bytes to make room for before each read.
const CHUNK: usize = 4 * 1024;

/// Answers are written once they are this long, even if more requests have come in already.
const BATCH: usize = 64 * 1024;

/// How long, and how much, to listen to a client that was told to go away. To close at once would reset the
/// connection, and the client might never see the answer.
const LINGER: Duration = Duration::from_secs(1);
const MOST_LINGER: usize = 256 * 1024;

/// How long to wait when the process has no descriptor for the next connection.
const NO_DESCRIPTORS: Duration = Duration::from_millis(50);

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
    let options = Options::parse();
    let result = options.runtime().map_err(Into::into).and_then(|runtime| {
        runtime.handle().scope(|scope| {
            scope.spawn(|| serve(&options)).join().expect("the server does not panic")
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    match Duration::try_from_secs_f64(seconds) {
        Ok(_) => Ok(seconds),
        Err(error) => Err(error.to_string()),
    }
}

/// Accepts connections for ever.
fn serve(options: &Options) -> Result<()> {
    let listener =
        TcpListener::bind(&options.addr).with_context(|| format!("cannot listen on {}", options.addr))?;
    println!("listening on http://{}", listener.local_addr()?);
    let timeout = options.timeout();
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                spawn(move || Connection::new(stream, timeout).serve());
            }
            // The connection died in the queue; or it stays there until others have ended.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(NO_DESCRIPTORS),
        }
    }
    Ok(())
}

/// A connection, and what has come in and not yet gone out on it.
struct Connection {
    stream: TcpStream,
    timeout: Option<Duration>,
    /// Received bytes, of which the first `taken` belong to requests that have been answered.
    input: Vec<u8>,
    taken: usize,
    /// Answers to be sent.
    output: Vec<u8>,
}

/// Whether the connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    KeepAlive,
    Close,
}

/// What the first bytes of the input are.
enum Parsed {
    /// A request of this length, which has been answered.
    Answered(usize, Next),
    /// The beginning of a request, that is known to need this many bytes. `Expect` asks to be told to go on.
    Partial { need: usize, expect: bool },
    /// Nothing that could be answered but with this error.
    Refused(&'static str),
}

impl Connection {
    fn new(stream: TcpStream, timeout: Option<Duration>) -> Self {
        Self { stream, timeout, input: Vec::new(), taken: 0, output: Vec::new() }
    }

    /// Serves the connection to its end. That a client resets it, or cannot be reached any more, is no more than
    /// that: the end.
    fn serve(mut self) {
        // Answers are written whole: nothing is to be gained by waiting for more.
        let _ = self.stream.set_nodelay(true);
        if self.stream.set_write_timeout(self.timeout).is_ok() && self.exchange().is_ok() {
            self.linger();
        }
    }

    /// Answers requests until either side wants to close. An error means that nobody is there any more.
    fn exchange(&mut self) -> io::Result<()> {
        let mut asked_to_go_on = false;
        let mut deadline = self.deadline();
        loop {
            match answer(&self.input[self.taken..], &mut self.output) {
                Parsed::Answered(length, next) => {
                    self.taken += length;
                    asked_to_go_on = false;
                    deadline = None;
                    if next == Next::Close {
                        return self.flush();
                    }
                    if self.output.len() >= BATCH {
                        self.flush()?;
                    }
                }
                Parsed::Partial { need, expect } => {
                    if expect && !asked_to_go_on {
                        asked_to_go_on = true;
                        self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    self.flush()?;
                    deadline = deadline.or_else(|| self.deadline());
                    match self.receive(need, deadline) {
                        Ok(0) => return Ok(()),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            // One that has not begun a request has nothing to be told.
                            if self.input.len() > self.taken {
                                refuse("408 Request Timeout", &mut self.output);
                            }
                            return self.flush();
                        }
                        Err(error) => return Err(error),
                    }
                }
                Parsed::Refused(status) => {
                    refuse(status, &mut self.output);
                    return self.flush();
                }
            }
        }
    }

    /// When the client's time for a request is over: however little it sends at a time, it gets no more.
    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// Receives more, in a buffer that can hold a request of `need` bytes. `WouldBlock` if the time is over.
    fn receive(&mut self, need: usize, deadline: Option<Instant>) -> io::Result<usize> {
        self.input.drain(..self.taken);
        self.taken = 0;
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        let length = self.input.len();
        self.input.resize((length + CHUNK).max(need), 0);
        let received = self.stream.read(&mut self.input[length..]);
        self.input.truncate(length + received.as_ref().map_or(0, |received| *received));
        received
    }

    /// Sends the answers.
    fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }

    /// Lets the client read the last answer before the connection is closed.
    fn linger(mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(LINGER));
        self.input.resize(CHUNK, 0);
        let mut left = MOST_LINGER;
        while let Ok(received @ 1..) = self.stream.read(&mut self.input) {
            left = left.saturating_sub(received);
            if left == 0 {
                break;
            }
        }
    }
}
