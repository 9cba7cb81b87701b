//! Our HTTP server, as simple as those of the peers in `others/src/http.rs`; `examples/http` is one that takes care.
//! Prints where it listens, and serves until it is killed.

mod plaintext;

use std::io::{self, Read, Write};

use clap::Parser;
use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{Builder, Runtime};

use plaintext::{Connection, Next};

#[derive(Debug, Parser)]
struct Options {
    /// The I/O driver
    #[arg(long, default_value = "mio")]
    io: String,

    /// Worker threads [default: one per core]
    #[arg(long)]
    workers: Option<usize>,

    /// Bind each worker to a processor
    #[arg(long)]
    bind: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut builder = Runtime::builder().io_named(&options.io)?.bind_workers(options.bind);
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    let runtime = builder.build()?;
    runtime.spawn(listen).join().expect("the server does not panic")
}

fn listen() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on http://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        Builder::new().spread().spawn(move || serve(stream))?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new();
    loop {
        let received = stream.read(connection.room())?;
        if connection.received(received)? == Next::Close {
            return Ok(());
        }
        stream.write_all(&connection.output)?;
    }
}
