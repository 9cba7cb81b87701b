//! The I/O drivers.
//!
//! | group | shows | is bounded by |
//! |---|---|---|
//! | TCP echo, Unix echo | 64 bytes there and back over a stream on loopback | four system calls and the kernel's side of them; with one connection, by the wake-ups |
//! | datagrams | the same over UDP | the same |
//! | connections | one made, accepted, told a byte, and reset | some ten system calls, most of all the kernel's handshake |
//! | cached reads | 4 KiB at a random place of a file that the kernel has cached | one `preadv2` (1.3 µs on the machine of the design), which no driver should have to leave its worker for |
//! | uncached reads | the same, of what the kernel was told to forget | the disk, if the folder for temporary files is on one, and what it does at once; with one routine, two wake-ups of a thread or a completion |
//! | writes | 4 KiB to a random place of a file, into the kernel's cache | one `pwrite`, which may wait for the disk: hence what the hand-over to a thread or a ring costs |
//! | blocking | an empty closure on the pool and back | with one routine, two wake-ups of a thread across cores |
//! | sleeps | 100 µs | the 100 µs, over the number of routines; beyond it, how exactly the driver's wait ends |
//!
//! The time is that of all turns together by their number.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group};
use rust_routines::fs::File;
use rust_routines::net::{TcpListener, TcpStream, UdpSocket};
use rust_routines::os::unix::net::UnixStream;
use rust_routines::{Runtime, blocking, drivers, spawn};
use rustix::fs::{Advice, fadvise};
use socket2::SockRef;

use crate::{on_each, sampling, share, sleeps};

/// Bytes of a message.
const MESSAGE: usize = 64;

/// Bytes of a page, and of a read.
const PAGE: usize = 4096;

/// Pages of the file.
const PAGES: u64 = 1024;

criterion_group! {
    name = benches;
    config = sampling();
    targets =
        tcp_echo, unix_echo, datagrams, connections, cached_reads, uncached_reads, writes,
        blocking_closures, short_sleeps
}

fn tcp_echo(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("TCP echo"), |routines| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        echo(routines, move || {
            let near = TcpStream::connect(address)?;
            let (far, _) = listener.accept()?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            Ok((near, far))
        })
    });
}

fn unix_echo(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("Unix echo"), |routines| {
        echo(routines, UnixStream::pair)
    });
}

/// Messages there and back over streams.
fn echo<S: Read + Write + Send + 'static>(
    routines: usize,
    pair: impl Fn() -> io::Result<(S, S)>,
) -> impl FnMut(u64) -> Duration + Send {
    let connect = |_| {
        let (near, mut far) = pair().expect("a connection");
        spawn(move || {
            let mut message = [0; MESSAGE];
            while far.read_exact(&mut message).is_ok() {
                far.write_all(&message).expect("the client is there");
            }
        });
        near
    };
    let mut streams: Vec<_> = (0..routines).map(connect).collect();
    move |turns| {
        share(turns, streams.iter_mut(), |stream, turns| {
            let mut answer = [0; MESSAGE];
            for turn in 0..turns {
                let message = [turn as u8; MESSAGE];
                stream.write_all(&message).expect("the server is there");
                stream.read_exact(&mut answer).expect("the server is there");
                assert_eq!(answer, message);
            }
        })
    }
}

fn datagrams(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("datagrams"), |routines| {
        let pair = || -> io::Result<_> {
            let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            near.connect(far.local_addr()?)?;
            far.connect(near.local_addr()?)?;
            Ok((near, far))
        };
        let connect = |_| {
            let (near, far) = pair().expect("two sockets");
            spawn(move || {
                let mut message = [0; MESSAGE];
                while let Ok(count) = far.recv(&mut message) {
                    far.send(&message[..count]).expect("room for a datagram");
                }
            });
            near
        };
        let sockets: Vec<_> = (0..routines).map(connect).collect();
        move |turns| {
            share(turns, sockets.iter(), |socket, turns| {
                let mut answer = [0; MESSAGE];
                for turn in 0..turns {
                    let message = [turn as u8; MESSAGE];
                    socket.send(&message).expect("room for a datagram");
                    assert_eq!(socket.recv(&mut answer).expect("an answer"), MESSAGE);
                    assert_eq!(answer, message);
                }
            })
        }
    });
}

fn connections(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("connections"), |routines| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                spawn(move || {
                    stream.write_all(b"!").expect("the client is there");
                    // Until it resets the connection.
                    stream.read(&mut [0]).expect_err("a reset");
                });
            }
        });
        move |turns| {
            share(turns, 0..routines, |_, turns| {
                for _ in 0..turns {
                    let mut stream = TcpStream::connect(address).expect("a connection");
                    // One that is closed in order occupies its port for a minute.
                    let socket = SockRef::from(&stream);
                    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
                    stream.read_exact(&mut [0]).expect("the server is there");
                }
            })
        }
    });
}

fn cached_reads(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("cached reads"), |routines| {
        let file = file();
        move |turns| share(turns, 0..routines, |_, turns| read(&file, turns, |_| ()))
    });
}

fn uncached_reads(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("uncached reads"), |routines| {
        let file = file();
        // The kernel forgets only what is on the disk.
        file.sync_all().expect("to store it");
        fadvise(&file, 0, None, Advice::Random).expect("a file");
        move |turns| {
            let page = NonZeroU64::new(PAGE as u64);
            let forget = |position| {
                fadvise(&file, position, page, Advice::DontNeed).expect("a file");
            };
            share(turns, 0..routines, |_, turns| read(&file, turns, forget))
        }
    });
}

fn writes(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("writes"), |routines| {
        let file = file();
        move |turns| {
            share(turns, 0..routines, |_, turns| {
                let mut random = fastrand::Rng::new();
                for _ in 0..turns {
                    let page = random.u64(..PAGES);
                    let content = [page as u8; PAGE];
                    file.write_all_at(&content, page * PAGE as u64).expect("room for a page");
                }
            })
        }
    });
}

/// A temporary file of [`PAGES`] pages.
fn file() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    for page in 0..PAGES {
        file.write_all(&[page as u8; PAGE]).expect("to write it");
    }
    File::from(file)
}

/// Reads pages at random, each after `prepare` has learned its position.
fn read(file: &File, turns: u64, prepare: impl Fn(u64)) {
    let mut random = fastrand::Rng::new();
    let mut content = [0; PAGE];
    for _ in 0..turns {
        let page = random.u64(..PAGES);
        let position = page * PAGE as u64;
        prepare(position);
        file.read_exact_at(&mut content, position).expect("a page");
        assert_eq!(content[0], page as u8);
    }
}

fn blocking_closures(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("blocking"), |routines| {
        move |turns| {
            share(turns, 0..routines, |_, turns| {
                (0..turns).for_each(|turn| assert_eq!(blocking(|| black_box(turn)), turn));
            })
        }
    });
}

fn short_sleeps(criterion: &mut Criterion) {
    on_each_driver(criterion.benchmark_group("sleeps"), sleeps);
}

fn on_each_driver<F>(group: BenchmarkGroup<'_, WallTime>, prepare: fn(usize) -> F)
where
    F: FnMut(u64) -> Duration + Send,
{
    let builder = |name: &str| Runtime::builder().io_named(name).expect("its name was listed");
    on_each(group, drivers::io_names().collect(), builder, prepare);
}
