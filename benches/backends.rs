//! The I/O drivers that are compiled in, against each other.
//!
//! ```text
//! cargo bench --all-features --bench backends
//! ```
//!
//! | group | shows | is bounded by |
//! |---|---|---|
//! | echo | 64 bytes there and back over TCP on loopback | four system calls and the kernel's TCP; with one connection, by the wake-ups |
//! | cached reads | 4 KiB at a random place of a file that the kernel has cached | one `preadv2` (1.3 µs on the machine of the design), which no driver should have to leave its worker for |
//! | blocking | an empty closure on the pool and back | with one routine, two wake-ups of a thread across cores |
//!
//! Each with 1 routine, which shows latency, and with 64, which show throughput: the time is that of all turns
//! together by their number.

mod table;

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use rust_routines::fs::File;
use rust_routines::net::{TcpListener, TcpStream};
use rust_routines::{Runtime, blocking, drivers, scope, spawn};

/// Routines, and with them connections.
const ROUTINES: [usize; 2] = [1, 64];

/// Bytes of a message.
const MESSAGE: usize = 64;

/// Bytes of a page, and of a read.
const PAGE: usize = 4096;

/// Pages of the file.
const PAGES: u64 = 1024;

fn echo(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("echo"), |routines| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        spawn(move || {
            for stream in listener.incoming().take(routines) {
                let stream = stream.expect("a connection");
                spawn(move || reflect(stream));
            }
        });
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            stream
        };
        let mut streams: Vec<_> = (0..routines).map(connect).collect();
        move |turns| {
            let start = Instant::now();
            scope(|scope| {
                for (index, stream) in streams.iter_mut().enumerate() {
                    scope.spawn(move || call(stream, share(turns, index, routines)));
                }
            });
            start.elapsed()
        }
    });
}

/// Sends back what comes, until the client hangs up.
fn reflect(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("no delay");
    let mut message = [0; MESSAGE];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message).expect("the client is there");
    }
}

fn call(stream: &mut TcpStream, turns: u64) {
    let mut answer = [0; MESSAGE];
    for turn in 0..turns {
        let message = [turn as u8; MESSAGE];
        stream.write_all(&message).expect("the server is there");
        stream.read_exact(&mut answer).expect("the server is there");
        assert_eq!(answer, message);
    }
}

fn cached_reads(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("cached reads"), |routines| {
        let mut file = tempfile::tempfile().expect("a temporary file");
        for page in 0..PAGES {
            file.write_all(&[page as u8; PAGE]).expect("to write it");
        }
        let file = File::from(file);
        move |turns| {
            let start = Instant::now();
            scope(|scope| {
                for index in 0..routines {
                    let file = &file;
                    scope.spawn(move || read(file, share(turns, index, routines)));
                }
            });
            start.elapsed()
        }
    });
}

fn read(file: &File, turns: u64) {
    let mut random = fastrand::Rng::new();
    let mut content = [0; PAGE];
    for _ in 0..turns {
        let page = random.u64(..PAGES);
        file.read_exact_at(&mut content, page * PAGE as u64).expect("a page");
        assert_eq!(content[0], page as u8);
    }
}

fn blocking_closures(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("blocking"), |routines| {
        move |turns| {
            let start = Instant::now();
            scope(|scope| {
                for index in 0..routines {
                    let turns = share(turns, index, routines);
                    scope.spawn(move || {
                        (0..turns).for_each(|turn| assert_eq!(blocking(|| turn), turn));
                    });
                }
            });
            start.elapsed()
        }
    });
}

/// Prepares and measures in a routine of a runtime with each driver, and each number of routines.
fn on_each_driver<F>(mut group: BenchmarkGroup<'_, WallTime>, prepare: fn(usize) -> F)
where
    F: FnMut(u64) -> Duration + Send,
{
    group.throughput(Throughput::Elements(1));
    for routines in ROUTINES {
        for name in drivers::io_names() {
            let builder = Runtime::builder().io_named(name).expect("its name was listed");
            let runtime = builder.build().expect("a runtime");
            let inside = |work: &mut (dyn FnMut() -> Duration + Send)| {
                let result = runtime.handle().scope(|scope| scope.spawn(work).join());
                result.expect("the benchmark does not panic")
            };
            let mut measure = None;
            inside(&mut || {
                measure = Some(prepare(routines));
                Duration::ZERO
            });
            let mut measure = measure.expect("it was prepared");
            group.bench_function(BenchmarkId::new(name, routines), |bencher| {
                bencher.iter_custom(|turns| inside(&mut || measure(turns)));
            });
            // Closes connections: then their servers end, and with them the runtime.
            drop(measure);
            runtime.shutdown();
        }
    }
}

/// The share of one of several routines in the turns.
fn share(turns: u64, index: usize, routines: usize) -> u64 {
    let routines = routines as u64;
    turns / routines + u64::from((index as u64) < turns % routines)
}

criterion_group! {
    name = benches;
    config = table::sampling(20, Duration::from_millis(500), Duration::from_secs(2));
    targets = echo, cached_reads, blocking_closures
}

fn main() {
    table::run("I/O drivers, per turn", benches);
}
