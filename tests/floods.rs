//! What floods a worker starves nobody else there. Counted and not timed, so that a busy machine slows both sides alike:
//! the flood stops when the others have had what they want, or after far more than that should take.

mod util;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rust_routines::net::unix::UnixStream;
use rust_routines::sleep;
use util::{bounded as in_time, runtime};

/// Pairs of routines that write to each other.
const PAIRS: usize = 8;

/// Routines that sleep.
const SLEEPERS: usize = 1_000;

/// How often the timer must fire, and the ping come back.
const WANTED: usize = 20;

/// Round trips in which it must have. A worker makes a few hundred in a millisecond, and the slowest timer looks up
/// every ten: ten times what it takes then.
const MOST_TRIPS: usize = 500_000;

/// Sleeps in which it must have. Some thousands would do, but where another thread waits for the socket, the flood goes on
/// while that waits for a processor.
const MOST_SLEEPS: usize = 10_000_000;

/// How much of a flood there has been, and how it ends.
#[derive(Clone, Default)]
struct Flood {
    count: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Flood {
    fn goes_on(&self, most: usize) -> bool {
        !self.over.load(Ordering::Relaxed) && self.count.fetch_add(1, Ordering::Relaxed) < most
    }

    fn end(&self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.count.load(Ordering::Relaxed)
    }
}

/// Sends back what comes until the other side closes.
fn reflect(mut stream: UnixStream) {
    let mut message = [0];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message).unwrap();
    }
}

fn call(stream: &mut UnixStream) {
    let mut answer = [0];
    stream.write_all(&[7]).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [7]);
}

/// Fails if a worker looks at its timers only when there is no I/O left.
#[test]
fn flood_of_io_does_not_starve_timers() {
    in_time(|| {
        let runtime = runtime(1);
        let flood = Flood::default();
        for _ in 0..PAIRS {
            let (mut client, server) = UnixStream::pair().unwrap();
            runtime.spawn(move || reflect(server));
            let flood = flood.clone();
            runtime.spawn(move || {
                while flood.goes_on(MOST_TRIPS) {
                    call(&mut client);
                }
            });
        }
        let wanted = || (0..WANTED).for_each(|_| sleep(Duration::from_millis(1)));
        runtime.spawn(wanted).join().unwrap();
        let trips = flood.end();
        assert!(trips < MOST_TRIPS, "the timer fired {WANTED} times only after the flood");
        runtime.shutdown();
    });
}

/// Fails if a worker looks at its I/O only when no timer is due.
#[test]
fn flood_of_timers_does_not_starve_io() {
    in_time(|| {
        let runtime = runtime(1);
        let flood = Flood::default();
        for _ in 0..SLEEPERS {
            let flood = flood.clone();
            runtime.spawn(move || {
                while flood.goes_on(MOST_SLEEPS) {
                    sleep(Duration::from_micros(1));
                }
            });
        }
        let (mut client, server) = UnixStream::pair().unwrap();
        runtime.spawn(move || reflect(server));
        runtime.spawn(move || (0..WANTED).for_each(|_| call(&mut client))).join().unwrap();
        let sleeps = flood.end();
        assert!(sleeps < MOST_SLEEPS, "{WANTED} messages came back only after the flood");
        runtime.shutdown();
    });
}
