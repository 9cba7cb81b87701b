//! The HTTP servers of the peers, each as simple as one would write it there: `benches/peers/src/http.rs` is ours.
//! Prints where it listens, and serves until it is killed.

#[path = "../../src/plaintext.rs"]
mod plaintext;

use std::io::{self, Read, Write};

use clap::{Parser, ValueEnum};

use plaintext::{Connection, Next};

#[derive(Debug, Parser)]
struct Options {
    server: Server,

    /// Worker threads [default: one per core]
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Server {
    /// A task of tokio per connection
    Tokio,
    /// A coroutine of may per connection
    May,
    /// A task of smol per connection
    Smol,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let workers = match options.workers {
        Some(workers) => workers,
        None => std::thread::available_parallelism()?.get(),
    };
    match options.server {
        Server::Tokio => tokio_server(workers),
        Server::May => may_server(workers),
        Server::Smol => smol_server(workers),
    }
}

fn tokio_server(workers: usize) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn serve(mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut connection = Connection::new();
        loop {
            let received = stream.read(connection.room()).await?;
            if connection.received(received)? == Next::Close {
                return Ok(());
            }
            stream.write_all(&connection.output).await?;
        }
    }

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            tokio::spawn(serve(listener.accept().await?.0));
        }
    })
}

fn may_server(workers: usize) -> io::Result<()> {
    use may::net::{TcpListener, TcpStream};

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

    may::config().set_workers(workers);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    announce(listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        may::go!(move || serve(stream));
    }
    Ok(())
}

fn smol_server(workers: usize) -> io::Result<()> {
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    use smol::net::{TcpListener, TcpStream};

    async fn serve(mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut connection = Connection::new();
        loop {
            let received = stream.read(connection.room()).await?;
            if connection.received(received)? == Next::Close {
                return Ok(());
            }
            stream.write_all(&connection.output).await?;
        }
    }

    // SAFETY: there is no other thread yet.
    unsafe { std::env::set_var("SMOL_THREADS", workers.to_string()) };
    smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            smol::spawn(serve(listener.accept().await?.0)).detach();
        }
    })
}

fn announce(address: std::net::SocketAddr) {
    println!("listening on http://{address}");
}
