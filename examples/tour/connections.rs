//! Opens a great many connections to itself, holds them all, and asks a question on each of them again and again.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use indicatif::{HumanCount, ProgressBar};
use rust_routines::channel::{Receiver, Sender, bounded, unbounded};
use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{Builder, JoinHandle, spawn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::options::Options;
use crate::report::{Memory, Report, counted, rate, time};

/// Descriptors to leave for drivers, pool threads and files.
const SPARE: u64 = 64;

/// Connections that may be on their way at once: fewer than a listener's queue holds, as one that finds it full
/// tries again only after a second.
const CONNECTING: usize = 256;

/// The question that says goodbye. The server hangs up first, so that it is its one port that the system keeps busy
/// for a minute afterwards, and not one for each client.
const GOODBYE: u64 = u64::MAX;

/// What an answer is made of, so that it cannot come out right by chance.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

pub(crate) fn run(options: &Options, progress: &ProgressBar) -> Result<Report> {
    let (count, limit) = affordable(options.connections)?;
    let requests = options.requests;
    progress.set_length(count + count * requests);
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    let server = spawn(move || serve(&listener, count));

    let start = Instant::now();
    let (ready, readies) = unbounded();
    let (go, gate) = unbounded();
    let (latencies, latency_queue) = unbounded();
    let (permit, permits) = bounded(CONNECTING);
    for id in 0..count {
        let client = Client { id, requests, ready: ready.clone(), gate: gate.clone() };
        let (permit, permits) = (permit.clone(), permits.clone());
        let (latencies, progress) = (latencies.clone(), progress.clone());
        let run = move || {
            let result = client.run(address, &permit, &permits, &progress);
            let _ = latencies.send(result);
        };
        Builder::new().spawn(run).context("cannot have a routine for each client")?;
    }
    drop((ready, latencies));
    // A client that fails says so in the other channel, and this one ends early.
    let opened = readies.iter().count() as u64;
    let connected = start.elapsed();
    let memory = Memory::now()?;

    let start = Instant::now();
    drop(go);
    let mut latency = Histogram::<u64>::new(3)?;
    for result in latency_queue {
        for nanoseconds in result? {
            latency.record(nanoseconds)?;
        }
    }
    let asked = start.elapsed();
    let served = server.join().map_err(|_| anyhow!("the server panicked"))??;
    let total = count * requests;
    ensure!(opened == count, "{count} connections were made, but {opened} were open");
    ensure!(
        served == total && latency.len() == total,
        "{total} requests were due, {served} were served and {} answered",
        latency.len()
    );
    let mut what = format!(
        "{} served on loopback, all open at once, {} answered",
        counted(count, "connection"),
        counted(total, "request")
    );
    if count < options.connections {
        what += &format!(
            " ({} need more than the {} files that this process may open)",
            HumanCount(options.connections),
            HumanCount(limit)
        );
    }
    let late = |quantile| time(Duration::from_nanos(latency.value_at_quantile(quantile)));
    let figures = vec![
        format!("{} connections per second", rate(count, connected)),
        format!(
            "{} requests per second with all clients asking at once; p50 {}, p99 {}",
            rate(total, asked),
            late(0.5),
            late(0.99)
        ),
    ];
    Ok(Report { what, figures, memory, digest: None })
}

/// How many of `wanted` connections, each with both its ends here, may be open; and the most files that may. Raises
/// the soft limit to the hard one.
fn affordable(wanted: u64) -> Result<(u64, u64)> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("cannot raise the limit of open files")?;
    let limit = maximum.unwrap_or(u64::MAX);
    let open = procfs::process::Process::myself()?.fd_count()? as u64;
    let most = limit.saturating_sub(open + SPARE) / 2;
    ensure!(most > 0, "{limit} open files are too few for a connection");
    Ok((wanted.min(most), limit))
}

/// Accepts that many connections. Returns how many requests came in on them.
fn serve(listener: &TcpListener, count: u64) -> Result<u64> {
    let mut handlers: Vec<JoinHandle<io::Result<u64>>> = Vec::new();
    for stream in listener.incoming().take(count as usize) {
        let stream = stream.context("cannot accept")?;
        handlers.push(spawn(move || answer_all(stream)));
    }
    let mut served = 0;
    for handler in handlers {
        served += handler.join().map_err(|_| anyhow!("a handler panicked"))?.context("serving")?;
    }
    Ok(served)
}

/// Answers requests until the client says goodbye. Returns how many.
fn answer_all(mut stream: TcpStream) -> io::Result<u64> {
    let mut number = [0; 8];
    // The first answer is to no question: it tells the client that it has been accepted.
    stream.write_all(&number)?;
    let mut served = 0;
    loop {
        stream.read_exact(&mut number)?;
        let question = u64::from_le_bytes(number);
        if question == GOODBYE {
            return Ok(served);
        }
        stream.write_all(&answer(question).to_le_bytes())?;
        served += 1;
    }
}

fn answer(question: u64) -> u64 {
    (question ^ question >> 31).wrapping_mul(MULTIPLIER)
}

/// The other end of a connection.
#[derive(Debug)]
struct Client {
    id: u64,
    requests: u64,
    /// Dropped or used up once it is connected.
    ready: Sender<()>,
    /// Ends when all are.
    gate: Receiver<()>,
}

impl Client {
    /// Connects, waits for the others, and asks its questions. Returns how many nanoseconds each
    /// answer took.
    fn run(
        self,
        address: SocketAddr,
        permit: &Sender<()>,
        permits: &Receiver<()>,
        progress: &ProgressBar,
    ) -> Result<Vec<u64>> {
        permit.send(()).context("no permits")?;
        let connected = connect(address);
        // A client that fails must give its permit back too.
        permits.recv().context("no permits")?;
        let mut stream = connected?;
        progress.inc(1);
        let _ = self.ready.send(());
        drop(self.ready);
        let _ = self.gate.recv();

        let mut latency = Vec::with_capacity(self.requests as usize);
        let mut reply = [0; 8];
        for request in 0..self.requests {
            let question = self.id * self.requests + request;
            let start = Instant::now();
            stream.write_all(&question.to_le_bytes()).context("cannot ask")?;
            stream.read_exact(&mut reply).context("no answer")?;
            latency.push(start.elapsed().as_nanos() as u64);
            ensure!(u64::from_le_bytes(reply) == answer(question), "wrong answer to {question}");
            progress.inc(1);
        }
        stream.write_all(&GOODBYE.to_le_bytes()).context("cannot say goodbye")?;
        ensure!(stream.read(&mut reply).context("no goodbye")? == 0, "an answer too much");
        Ok(latency)
    }
}

/// Connects, and waits until the server has accepted.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.read_exact(&mut [0; 8]).context("not accepted")?;
    Ok(stream)
}
