//! Ten thousand idle connections beside busy ones, on every I/O driver that is compiled in.
//!
//! The clients live in a process of their own, since a process may have 20,000 descriptors here. It is this
//! program again, running the ignored test below.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{Builder, Runtime, WaitReason, drivers, spawn};

use self::support::chosen::builder;
use self::support::watchdog::watchdog;

mod support {
    pub(crate) mod chosen;
    pub(crate) mod watchdog;
}

/// Idle connections, where the limits of the process allow.
const IDLE: usize = 10_000;

/// Busy ones, and how often each of them asks and is answered.
const BUSY: usize = 64;
const ROUNDS: usize = 100;

/// Descriptors of a process that are not connections, generously.
const OTHERS: usize = 500;

/// What the pool driver promises.
const MOST_POOL_THREADS: usize = 128;

/// How long one driver may take.
const LIMIT: Duration = Duration::from_secs(25);

/// Tells the clients' process where the server listens, and how many idle connections to make.
const SERVER: &str = "RUST_ROUTINES_TEST_SERVER";
const CONNECTIONS: &str = "RUST_ROUTINES_TEST_CONNECTIONS";

/// Raises the limit on descriptors as far as it goes, and says how many idle connections fit below.
fn idle_connections() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both take valid pointers, and only change a limit of this process.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    let allowed = usize::try_from(limit.rlim_max).unwrap_or(usize::MAX);
    let idle = IDLE.min(allowed.saturating_sub(BUSY + OTHERS));
    if idle < IDLE {
        eprintln!(
            "REDUCED: {idle} idle connections, since a process may have {allowed} descriptors"
        );
    }
    idle
}

/// Echoes until the client goes.
fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 256];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// A process that is killed if it is not waited for.
struct Clients(Child);

impl Clients {
    fn start(server: SocketAddr, idle: usize) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "clients", "--ignored", "--nocapture"])
            .env(SERVER, server.to_string())
            .env(CONNECTIONS, idle.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Lets them talk, now that all are connected, and waits until they have.
    fn finish(mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait().unwrap();
        assert!(status.success(), "the clients: {status}");
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Fails if it has ended, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Routines that wait to read.
fn reading(runtime: &Runtime) -> usize {
    let waits = runtime.metrics().parked_by_reason;
    let reads = waits.iter().find(|(reason, _)| *reason == WaitReason::IoRead);
    reads.map_or(0, |(_, count)| usize::try_from(*count).unwrap())
}

/// Waits, as long as the watchdog allows, until `condition` holds.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}

// Breaks if a driver loses an event or an operation among many, needs a thread for a connection that only
// waits, or cannot end thousands of them.
#[test]
fn ten_thousand_idle_connections_do_not_disturb_busy_ones() {
    let idle = idle_connections();
    for name in drivers::io_names() {
        let _watchdog = watchdog(LIMIT, "ten thousand connections");
        let runtime = builder().io_named(name).unwrap().build().unwrap();
        let listener = runtime.spawn(|| TcpListener::bind("127.0.0.1:0").unwrap()).join().unwrap();
        let address = listener.local_addr().unwrap();
        let start = Instant::now();
        let clients = Clients::start(address, idle);
        let server = Builder::new().name("server".into()).spawn_on(runtime.handle(), move || {
            for stream in listener.incoming().take(idle + BUSY) {
                let stream = stream.unwrap();
                spawn(move || echo(stream));
            }
        });
        server.unwrap().join().unwrap();
        // The server is counted as finished a moment after it was joined.
        wait_until(|| {
            reading(&runtime) == idle + BUSY && runtime.metrics().live == (idle + BUSY) as u64
        });
        let connected = start.elapsed();
        let waiting = runtime.metrics();
        let threads = fs::read_dir("/proc/self/task").unwrap().count();

        let start = Instant::now();
        clients.finish();
        wait_until(|| runtime.metrics().live == 0);
        let pool = runtime.metrics().pool;
        println!(
            "{name}: {} connections in {connected:?}, talked and gone in {:?}; {threads} threads, {pool:?}",
            idle + BUSY,
            start.elapsed()
        );
        assert!(pool.threads_peak <= MOST_POOL_THREADS, "{pool:?}");
        // Workers with their spares, the monitor, the driver's own, and the test's.
        assert!(threads <= MOST_POOL_THREADS + 3 * waiting.workers + 8, "{threads} threads");
        assert!(
            waiting.pool.threads <= MOST_POOL_THREADS && waiting.pool.queued == 0,
            "{waiting:?}"
        );
        runtime.shutdown();
    }
}

// Not a test of its own: the clients of the one above.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn clients() {
    let (Ok(server), Ok(idle)) = (env::var(SERVER), env::var(CONNECTIONS)) else { return };
    let _watchdog = watchdog(LIMIT, "the clients");
    idle_connections();
    let server: SocketAddr = server.parse().unwrap();
    let connect = || std::net::TcpStream::connect(server).unwrap();
    let idle: Vec<_> = (0..idle.parse().unwrap()).map(|_| connect()).collect();
    let busy: Vec<_> = (0..BUSY).map(|_| connect()).collect();

    // Until the server has seen all of them.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let talk = |mut stream: std::net::TcpStream, rounds: usize| {
        for round in 0..rounds {
            let message: [u8; 100] = std::array::from_fn(|n| (n * 7 + round) as u8);
            stream.write_all(&message).unwrap();
            let mut answer = [0; 100];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
        }
    };
    let busy: Vec<_> =
        busy.into_iter().map(|stream| thread::spawn(move || talk(stream, ROUNDS))).collect();
    busy.into_iter().for_each(|thread| thread.join().unwrap());
    // Those that were idle are as alive as the others.
    idle.into_iter().for_each(|stream| talk(stream, 1));
}
