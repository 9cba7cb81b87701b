//! How late those run that are woken, while something else floods the scheduler: the tail, and not the mean.
//!
//! ```text
//! cargo bench --all-features --bench tail
//! ```
//!
//! | beside | is bounded by |
//! |---|---|
//! | nothing | the way out of the worker's sleep |
//! | ready routines that compute | the order of the ready queue: behind all of them, the time they take together |
//! | echo over loopback | how much I/O is handled between two looks at timers and inbox |
//! | routines that sleep for 1 ms | how many of them expire between two looks at I/O and inbox |
//!
//! Beside each, some routines wait for a timer, a message of a thread, one of a routine of the other worker, or bytes of
//! a thread on a socket, and say how late they have run: after the deadline, or after the clock was read for the
//! message. The next comes a few milliseconds after they have answered, so that each wake-up counts once, however late
//! it is; if they have not come to wait again by then, that counts as well. With 10,000 ready routines of 20 µs, the goal
//! is 5 ms at p99.9. Other processes count in full: a machine that does something else shows time slices of its kernel.
//!
//! Without `--bench` among its arguments the program makes one short round, to see that it works.

mod compute;

use std::convert::Infallible;
use std::env;
use std::io::{Read, Write};
use std::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use rust_routines::channel::{Receiver, bounded};
use rust_routines::net::TcpStream;
use rust_routines::{Builder, Handle, JoinHandle, Runtime, drivers, sleep, sleep_until, yield_now};

use self::compute::{calibrate, compute};

/// Enough for a routine on the other worker, and what the goal is stated for.
const WORKERS: usize = 2;

/// What a ready routine computes between two yields, in microseconds.
const SLICE: u64 = 20;

/// What a routine of the flood of timers sleeps.
const NAP: Duration = Duration::from_millis(1);

/// Bytes of a message of the echo.
const MESSAGE: usize = 64;

/// Routines that each waker wakes.
const WOKEN: usize = 4;

/// The least and the most time between two wake-ups of a routine, in microseconds. It is not fixed, lest it keep step
/// with the flood.
const PAUSE: (u64, u64) = (1_000, 3_000);

type Flood = (&'static str, fn(&Scene));

type Waker = (&'static str, fn(&Scene) -> JoinHandle<Lateness>);

const FLOODS: [Flood; 4] = [
    ("nothing", |_| {}),
    ("ready routines", ready_routines),
    ("echo", echo),
    ("sleepers", sleepers),
];

const WAKERS: [Waker; 4] = [
    ("timer", by_timer),
    ("message of a thread", by_thread),
    ("message of the other worker", by_other_worker),
    ("socket", by_socket),
];

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    routines: usize,
    connections: usize,
    /// From when all are let go until they are woken: for what they do first to pass.
    settling: Duration,
    time: Duration,
}

/// As a benchmark.
const FULL: Size = Size {
    routines: 10_000,
    connections: 64,
    settling: Duration::from_millis(500),
    time: Duration::from_secs(3),
};

/// As a test.
const SHORT: Size = Size {
    routines: 100,
    connections: 4,
    settling: Duration::from_millis(5),
    time: Duration::from_millis(30),
};

/// In nanoseconds.
type Lateness = Histogram<u64>;

/// What the routines of a flood and those that are woken beside it share.
#[derive(Clone)]
struct Scene {
    runtime: Handle,
    size: Size,
    per_micro: u64,
    /// What messages count time from.
    start: Instant,
    /// Is closed when all are in their places.
    gate: Receiver<Infallible>,
    over: Arc<AtomicBool>,
}

impl Scene {
    /// Spawns on both workers in turn.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Scene) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let scene = self.clone();
        let spread = Builder::new().spread();
        spread.spawn_on(&self.runtime, move || work(&scene)).expect("room for a routine")
    }

    /// Spawns on another worker than that.
    fn spawn_apart(&self, from: ThreadId, work: Box<dyn FnOnce(&Scene) + Send>) {
        self.spawn(move |scene| {
            if thread::current().id() == from { scene.spawn_apart(from, work) } else { work(scene) }
        });
    }

    fn wait_for_start(&self) {
        let closed = self.gate.recv();
        assert!(closed.is_err(), "nobody sends");
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Wakes somebody now and then, who is told when that was.
    fn keep_waking(&self, mut wake: impl FnMut(Duration)) {
        self.wait_for_start();
        sleep(self.size.settling);
        while !self.is_over() {
            sleep(pause());
            wake(self.start.elapsed());
        }
    }

    /// How much later than that it is now.
    fn note(&self, lateness: &mut Lateness, woken: Duration) {
        let late = self.start.elapsed().saturating_sub(woken);
        let nanoseconds = u64::try_from(late.as_nanos()).expect("less than centuries");
        lateness.record(nanoseconds).expect("the histogram grows as it must");
    }
}

fn pause() -> Duration {
    Duration::from_micros(fastrand::u64(PAUSE.0..=PAUSE.1))
}

fn lateness() -> Lateness {
    Histogram::new(3).expect("three digits can be had")
}

// ------------------------------------------------------------------------------------- the floods

fn ready_routines(scene: &Scene) {
    for _ in 0..scene.size.routines {
        scene.spawn(|scene| {
            scene.wait_for_start();
            while !scene.is_over() {
                compute(SLICE * scene.per_micro);
                yield_now();
            }
        });
    }
}

fn echo(scene: &Scene) {
    for _ in 0..scene.size.connections {
        let (client, server) = connection();
        scene.spawn(move |scene| {
            let mut stream = TcpStream::from(client);
            let mut message = [1; MESSAGE];
            scene.wait_for_start();
            while !scene.is_over() {
                stream.write_all(&message).expect("the server is there");
                stream.read_exact(&mut message).expect("the server is there");
            }
        });
        scene.spawn(move |_| {
            let mut stream = TcpStream::from(server);
            let mut message = [0; MESSAGE];
            while stream.read_exact(&mut message).is_ok() {
                stream.write_all(&message).expect("the client is there");
            }
        });
    }
}

fn sleepers(scene: &Scene) {
    for _ in 0..scene.size.routines {
        scene.spawn(|scene| {
            scene.wait_for_start();
            while !scene.is_over() {
                sleep(NAP);
            }
        });
    }
}

/// Two ends, on loopback.
fn connection() -> (net::TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let near = net::TcpStream::connect(listener.local_addr().expect("it is bound"));
    let near = near.expect("somebody listens");
    let (far, _) = listener.accept().expect("it is connected");
    [&near, &far].into_iter().for_each(|end| end.set_nodelay(true).expect("no delay"));
    (near, far)
}

// ------------------------------------------------------------------------------- who is woken, and how

fn by_timer(scene: &Scene) -> JoinHandle<Lateness> {
    scene.spawn(|scene| {
        let mut lateness = lateness();
        scene.wait_for_start();
        sleep(scene.size.settling);
        while !scene.is_over() {
            let due = Instant::now() + pause();
            sleep_until(due);
            scene.note(&mut lateness, due - scene.start);
        }
        lateness
    })
}

fn by_thread(scene: &Scene) -> JoinHandle<Lateness> {
    let (wake, be_woken) = letters();
    let scene_too = scene.clone();
    thread::spawn(move || scene_too.keep_waking(wake));
    scene.spawn(be_woken)
}

fn by_other_worker(scene: &Scene) -> JoinHandle<Lateness> {
    scene.spawn(|scene| {
        let (wake, be_woken) = letters();
        let here = thread::current().id();
        scene.spawn_apart(here, Box::new(|scene| scene.keep_waking(wake)));
        be_woken(scene)
    })
}

/// What sends a message and waits until it has been received, and what receives until there are no more.
fn letters() -> (impl FnMut(Duration) + Send, impl FnOnce(&Scene) -> Lateness + Send) {
    let (sender, inbox) = bounded(1);
    let (noted, is_noted) = bounded(1);
    let wake = move |now| {
        sender.send(now).expect("the receiver is there");
        is_noted.recv().expect("the receiver is there");
    };
    let be_woken = move |scene: &Scene| {
        let mut lateness = lateness();
        for woken in inbox {
            scene.note(&mut lateness, woken);
            noted.send(()).expect("the sender waits");
        }
        lateness
    };
    (wake, be_woken)
}

fn by_socket(scene: &Scene) -> JoinHandle<Lateness> {
    let (mut near, far) = connection();
    let scene_too = scene.clone();
    thread::spawn(move || {
        scene_too.keep_waking(|now| {
            let now = u64::try_from(now.as_nanos()).expect("less than centuries");
            near.write_all(&now.to_ne_bytes()).expect("the receiver is there");
            near.read_exact(&mut [0]).expect("the receiver is there");
        });
    });
    scene.spawn(|scene| {
        let mut stream = TcpStream::from(far);
        let mut lateness = lateness();
        let mut woken = [0; 8];
        while stream.read_exact(&mut woken).is_ok() {
            scene.note(&mut lateness, Duration::from_nanos(u64::from_ne_bytes(woken)));
            stream.write_all(&[0]).expect("the sender waits");
        }
        lateness
    })
}

// ------------------------------------------------------------------------------------- the table

/// What has come of each waker beside a flood.
fn measure(driver: &str, flood: fn(&Scene), size: Size, per_micro: u64) -> Vec<Lateness> {
    let builder = Runtime::builder().workers(WORKERS).io_named(driver);
    let runtime = builder.expect("its name was listed").build().expect("a runtime");
    let (open, gate) = bounded(0);
    let scene = Scene {
        runtime: runtime.handle().clone(),
        size,
        per_micro,
        start: Instant::now(),
        gate,
        over: Arc::default(),
    };
    let woken = WAKERS.map(|(_, waker)| (0..WOKEN).map(|_| waker(&scene)).collect::<Vec<_>>());
    flood(&scene);
    while !all_wait(&runtime) {
        thread::sleep(NAP);
    }
    drop(open);
    thread::sleep(size.settling + size.time);
    scene.over.store(true, Ordering::Relaxed);
    let merge = |routines: Vec<JoinHandle<Lateness>>| {
        let mut sum = lateness();
        for routine in routines {
            let part = routine.join().expect("no routine panics");
            sum.add(part).expect("both have three digits");
        }
        sum
    };
    let latenesses = woken.into_iter().map(merge).collect();
    runtime.shutdown();
    latenesses
}

fn all_wait(runtime: &Runtime) -> bool {
    let metrics = runtime.metrics();
    metrics.parked == metrics.live
}

fn main() {
    let full = env::args().any(|argument| argument == "--bench");
    let size = if full { FULL } else { SHORT };
    let per_micro = calibrate();
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["beside", "woken by", "I/O driver", "times", "p50", "p99", "p99.9", "most"]);
    for (beside, flood) in FLOODS {
        for driver in drivers::io_names() {
            let latenesses = measure(driver, flood, size, per_micro);
            for ((by, _), lateness) in WAKERS.iter().zip(latenesses) {
                let quantiles = [0.5, 0.99, 0.999, 1.0].map(|quantile| {
                    format!("{:.3}", lateness.value_at_quantile(quantile) as f64 / 1e6)
                });
                let about = [beside, by, driver].map(str::to_owned);
                let times = lateness.len().to_string();
                table.add_row(about.into_iter().chain([times]).chain(quantiles));
            }
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!(
        "{table}\nmilliseconds; {WORKERS} workers, {} routines of {SLICE} µs, {} connections",
        size.routines, size.connections
    );
}
