//! What a relay costs: bytes from one connection to another, over loopback, through `io::copy` here, through std's, and by
//! `splice(2)` (on a thread, which is the best that could be had of it).

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rust_routines::{io, net, spawn};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How much is relayed.
const BYTES: usize = 64 << 20;

/// How much is written and read at a time at the two ends.
const PIECE: usize = 64 << 10;

/// How large the pipe of a splice is made: the most that anybody may have.
const PIPE: usize = 1 << 20;

/// Writes at one end, takes note of the relay in the middle, and reads at the other end.
fn relayed<S>(pair: impl Fn() -> (S, S), relay: impl FnOnce(S, S) + Send)
where
    S: Read + Write + Send,
{
    let ((mut source, from), (to, mut sink)) = (pair(), pair());
    thread::scope(|scope| {
        scope.spawn(move || {
            let piece = [1; PIECE];
            (0..BYTES / PIECE).for_each(|_| source.write_all(&piece).expect("the relay reads"));
        });
        scope.spawn(move || relay(from, to));
        let mut piece = vec![0; PIECE];
        let mut count = 0;
        while let read @ 1.. = sink.read(&mut piece).expect("the relay writes") {
            count += read;
        }
        assert_eq!(count, BYTES);
    });
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound"));
    let (far, _) = listener.accept().expect("it is connected");
    (near.expect("somebody listens"), far)
}

fn unix() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("there are descriptors")
}

/// Relays in a routine.
fn in_routine(relay: impl FnOnce() -> std::io::Result<u64> + Send + 'static) {
    let copied = spawn(relay).join().expect("the relay does not panic");
    assert_eq!(copied.expect("both ends are there"), BYTES as u64);
}

fn spliced(from: impl AsFd, to: impl AsFd) {
    let (output, input) = pipe_with(PipeFlags::CLOEXEC).expect("there are descriptors");
    fcntl_setpipe_size(&input, PIPE).expect("this user has few pipes");
    while let mut left @ 1.. =
        splice(&from, None, &input, None, PIPE, SpliceFlags::MOVE).expect("from a socket")
    {
        while left > 0 {
            left -= splice(&output, None, &to, None, left, SpliceFlags::MOVE).expect("to a socket");
        }
    }
}

fn copies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Bytes(BYTES as u64)).sample_size(10);
    macro_rules! kinds {
        ($($pair:ident, $stream:ty;)*) => {$(
            group.bench_function(concat!(stringify!($pair), "/io::copy"), |bench| {
                bench.iter(|| relayed($pair, |from, to| in_routine(move || {
                    io::copy(&mut <$stream>::from(from), &mut <$stream>::from(to))
                })));
            });
            group.bench_function(concat!(stringify!($pair), "/std::io::copy"), |bench| {
                bench.iter(|| relayed($pair, |from, to| in_routine(move || {
                    std::io::copy(&mut <$stream>::from(from), &mut <$stream>::from(to))
                })));
            });
            group.bench_function(concat!(stringify!($pair), "/splice"), |bench| {
                bench.iter(|| relayed($pair, |from, to| spliced(&from, black_box(&to))));
            });
        )*};
    }
    kinds! {
        tcp, net::TcpStream;
        unix, net::unix::UnixStream;
    }
    group.finish();
}

criterion_group!(benches, copies);
criterion_main!(benches);
