//! Drivers from outside: an I/O driver on `poll(2)` and a timer on an ordered map, made of nothing but this crate's
//! public items, and a program that runs on them. What they must do is tested by the published suites, in
//! `tests/conformance/tests/custom_driver.rs`.
//!
//! `cargo run --release --example custom_driver`

mod ordered;
mod poll;

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{Runtime, fs, scope, sleep, spawn};

use self::ordered::Ordered;
use self::poll::Poll;

const CLIENTS: usize = 20;
const QUESTIONS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// Sends every line back.
fn echo(stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut stream, mut line) = (stream, String::new());
    while lines.read_line(&mut line)? > 0 {
        stream.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// Asks some questions, with pauses for thought. Answers how many were answered.
fn client(server: SocketAddr, number: usize) -> io::Result<u32> {
    let mut stream = TcpStream::connect(server)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    for question in 0..QUESTIONS {
        sleep(PAUSE);
        let asked = format!("question {question} of client {number}\n");
        stream.write_all(asked.as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        assert_eq!(answer, asked);
    }
    Ok(QUESTIONS)
}

fn program() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = listener.local_addr()?;
    spawn(move || {
        for stream in listener.incoming() {
            spawn(move || echo(stream?));
        }
    });
    let start = Instant::now();
    let answers: u32 = scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(server, number))).collect();
        clients.into_iter().map(|client| client.join().unwrap().unwrap()).sum()
    });
    println!("{answers} answers");
    eprintln!("in {:.1?}; every client has slept {:?}", start.elapsed(), QUESTIONS * PAUSE);

    // A file that has just been created is a matter for the helpers.
    let path = std::env::temp_dir().join(format!("custom_driver.{}", std::process::id()));
    fs::write(&path, "through a file")?;
    println!("{}", fs::read_to_string(&path)?);
    std::fs::remove_file(&path)
}

fn main() -> io::Result<()> {
    let runtime = Runtime::builder().io(Poll::new()).timer(Ordered::new).workers(2).build()?;
    // The server still accepts when the program is done; dropping the runtime unwinds it.
    runtime.spawn(program).join().expect("the program does not panic")
}
