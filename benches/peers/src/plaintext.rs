//! What the HTTP servers of all contestants have in common: they parse with httparse and answer `GET /plaintext`, on
//! connections that are kept alive and may be pipelined. What reads and writes is their own.

use std::cell::RefCell;
use std::io;
use std::time::SystemTime;

use httparse::{EMPTY_HEADER, Request, Status};

/// Bytes of the buffer for requests of a connection. Longer ones end it.
const BUFFER: usize = 1024;

/// What a connection has received and not yet answered, and what it is to send.
pub(crate) struct Connection {
    input: Box<[u8; BUFFER]>,
    pending: usize,
    pub(crate) output: Vec<u8>,
}

/// What to do after that.
#[derive(PartialEq)]
pub(crate) enum Next {
    Send,
    Close,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self { input: Box::new([0; BUFFER]), pending: 0, output: Vec::new() }
    }

    /// Where to receive more. What was sent is forgotten.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.output.clear();
        &mut self.input[self.pending..]
    }

    /// Answers the requests that are complete after `count` more bytes.
    pub(crate) fn received(&mut self, count: usize) -> io::Result<Next> {
        if count == 0 {
            return Ok(Next::Close);
        }
        self.pending += count;
        let mut answered = 0;
        loop {
            let mut headers = [EMPTY_HEADER; 16];
            let mut request = Request::new(&mut headers);
            match request.parse(&self.input[answered..self.pending]) {
                Ok(Status::Complete(length)) => {
                    answered += length;
                    let found = request.method == Some("GET") && request.path == Some("/plaintext");
                    answer(found, &mut self.output);
                }
                Ok(Status::Partial) => break,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        self.input.copy_within(answered..self.pending, 0);
        self.pending -= answered;
        Ok(Next::Send)
    }
}

fn answer(found: bool, output: &mut Vec<u8>) {
    output.extend_from_slice(if found {
        b"HTTP/1.1 200 OK\r\n"
    } else {
        b"HTTP/1.1 404 Not Found\r\n"
    });
    output.extend_from_slice(b"Content-Length: 13\r\nContent-Type: text/plain\r\nDate: ");
    append_date(output);
    output.extend_from_slice(b"\r\n\r\n");
    output.extend_from_slice(if found { b"Hello, World!" } else { b"404 Not Found" });
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
