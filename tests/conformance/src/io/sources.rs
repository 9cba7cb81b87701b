//! Descriptors as drivers remember them: shared, duplicated, closed and numbered anew.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{Interest, Source, SourceKind};

use super::Subject;
use super::bench::Bench;
use super::call::{Call, pattern};
use super::fds::{Fd, listener, pipe, tcp_pair, unix_pair};
use super::random::Random;
use super::transfers::write_all;

/// Fails if one of several is forgotten, or if they are not served in the order they came.
pub fn all_that_wait_for_one_source_are_served(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let reads: Vec<Call> = (0..10).map(|_| Call::read(&near, 4)).collect();
            reads.iter().for_each(|read| bench.pend(read));
            for (at, read) in reads.iter().enumerate() {
                far.put(&[at as u8; 4]);
                assert_eq!(bench.finish(read).unwrap(), 4);
                assert_eq!(read.data(), [at as u8; 4]);
            }
        }
    });
}

/// Fails if an event lets one go on where there is enough for all.
pub fn one_event_serves_as_many_as_it_can(subject: &Subject) {
    subject.bench(|bench| {
        let (listener, address) = listener();
        for waiting in [1, 3, 8] {
            let accepts: Vec<Call> = (0..waiting).map(|_| Call::accept(&listener)).collect();
            accepts.iter().for_each(|accept| bench.pend(accept));
            // Two more than wait: they are there at once for who comes next.
            let peers = (0..waiting + 2).map(|_| TcpStream::connect(address).expect("connect"));
            let _peers: Vec<TcpStream> = peers.collect();
            for accept in &accepts {
                Fd::adopt(bench.finish(accept), SourceKind::Stream);
            }
            for _ in 0..2 {
                Fd::adopt(bench.run(&Call::accept(&listener)), SourceKind::Stream);
            }
        }
    });
}

/// Fails if an event is missed that arrives while those of the last one are still being served.
pub fn an_event_in_the_middle_of_another_is_not_missed(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        let (near, far) = unix_pair();
        thread::scope(|scope| {
            let (go, going) = mpsc::channel();
            let far = &far;
            scope.spawn(move || {
                let mut random = Random::new();
                while let Ok(bytes) = going.recv() {
                    for _ in 0..bytes {
                        far.put(b"x");
                        random.pause();
                    }
                }
            });
            for _ in 0..500 {
                let reads: Vec<Call> =
                    (0..2 + random.below(3)).map(|_| Call::read(&near, 1)).collect();
                reads.iter().for_each(|read| bench.pend(read));
                go.send(reads.len()).expect("the other thread listens");
                for read in &reads {
                    assert_eq!(bench.finish(read).unwrap(), 1);
                }
            }
        });
    });
}

/// Fails if one kind of operation holds up another that could go on.
pub fn different_operations_wait_for_one_source(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let read = Call::read(&near, 2);
            let peek = Call::recv(&near, 1, libc::MSG_PEEK);
            let poll = Call::poll(&near, Interest::Read);
            let vectored = Call::read_vectored(&near, &[1, 1]);
            for call in [&read, &peek, &poll, &vectored] {
                bench.pend(call);
            }
            far.put(b"abcd");
            assert_eq!(bench.finish(&read).unwrap(), 2);
            assert_eq!(bench.finish(&vectored).unwrap(), 2);
            assert_eq!([read.data(), vectored.data()].concat(), b"abcd");
            // Those two do not take anything, but may have been asked too late.
            far.put(b"e");
            assert_eq!(bench.finish(&peek).unwrap(), 1);
            assert_eq!(bench.finish(&poll).unwrap(), 0);
        }
    });
}

/// Fails if the directions of a source share more than the source.
pub fn reading_and_writing_wait_side_by_side(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let read = Call::read(&near, 64);
            bench.pend(&read);
            let (write, _) = bench.pend_write(&near, &[1; 64]);
            far.put(b"data");
            assert_eq!(bench.whole(&read, 4), b"data");
            bench.look();
            assert!(bench.is_pending(&write), "there is no room");

            bench.pend(&read);
            while bench.is_pending(&write) {
                let _ = far.get(1 << 16);
                bench.settle();
            }
            assert!(bench.finish(&write).unwrap() > 0);
            bench.look();
            assert!(bench.is_pending(&read), "there is no data");
            bench.cancel_now(&read);
        }
    });
}

/// Fails if what one driver takes, another still counts on.
pub fn two_drivers_share_a_source(subject: &Subject) {
    let backend = subject.backend();
    let (mut one, mut two) = (Bench::new(&backend), Bench::new(&backend));
    for (near, far) in [tcp_pair(), unix_pair()] {
        for round in 0..20 {
            let (first, second) = (Call::read(&near, 4), Call::read(&near, 4));
            one.pend(&first);
            two.pend(&second);
            far.put(b"1");
            let since = std::time::Instant::now();
            while one.is_pending(&first) && two.is_pending(&second) {
                assert!(since.elapsed() < super::bench::PATIENCE, "round {round}");
                one.wait(Some(Duration::from_millis(1)));
                two.wait(Some(Duration::from_millis(1)));
            }
            one.settle();
            two.settle();
            assert!(one.is_pending(&first) || two.is_pending(&second), "there was one byte");
            far.put(b"2");
            assert_eq!(one.finish(&first).unwrap(), 1);
            assert_eq!(two.finish(&second).unwrap(), 1);
        }
    }
}

/// Fails if a connection is lost, or kept waiting, between two workers that accept.
pub fn drivers_on_two_threads_share_a_listener(subject: &Subject) {
    const CONNECTIONS: usize = 200;
    let backend = subject.backend();
    let (listener, address) = listener();
    let left = AtomicUsize::new(CONNECTIONS);
    let serve = || {
        let mut random = Random::new();
        let mut bench = Bench::new(&backend);
        let mut accept = Call::accept(&listener);
        bench.submit(&accept);
        while left.load(Ordering::Acquire) > 0 {
            if bench.is_pending(&accept) {
                bench.wait(Some(Duration::from_millis(10)));
            } else {
                Fd::adopt(bench.finish(&accept), SourceKind::Stream).put(b"served");
                left.fetch_sub(1, Ordering::AcqRel);
                random.pause();
                accept = Call::accept(&listener);
                bench.submit(&accept);
            }
        }
        if bench.is_pending(&accept) {
            bench.cancel_now(&accept);
        }
    };
    thread::scope(|scope| {
        scope.spawn(serve);
        scope.spawn(serve);
        let mut random = Random::new();
        let mut bench = Bench::new(&backend);
        for _ in 0..CONNECTIONS {
            let near = TcpStream::connect(address).expect("connect");
            let near = Fd::new(near, SourceKind::Stream);
            assert_eq!(bench.run_whole(&Call::read(&near, 6), 6), b"served");
            random.pause();
        }
    });
}

/// Fails if the directions of a socket belong to one driver.
pub fn one_driver_reads_while_another_writes(subject: &Subject) {
    const SIZE: usize = 1 << 20;
    let backend = subject.backend();
    for (near, far) in [tcp_pair(), unix_pair()] {
        let data = pattern(SIZE);
        thread::scope(|scope| {
            scope.spawn(|| write_all(&mut Bench::new(&backend), &near, &data));
            scope.spawn(|| {
                let mut bench = Bench::new(&backend);
                let mut echoed = 0;
                while echoed < SIZE {
                    let read = Call::read(&far, 10_000);
                    let count = bench.run(&read).expect("read");
                    write_all(&mut bench, &far, &read.data()[..count]);
                    echoed += count;
                }
            });
            let mut bench = Bench::new(&backend);
            let mut back = Vec::new();
            while back.len() < SIZE {
                let read = Call::read(&near, 50_000);
                let count = bench.run(&read).expect("read");
                back.extend_from_slice(&read.data()[..count]);
            }
            assert!(back == data);
        });
    }
}

/// Fails if a long line of operations on one source loses some of them, or is slow to leave.
pub fn a_thousand_operations_wait_for_one_source(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        for (near, far) in [tcp_pair(), unix_pair()] {
            let mut reads: Vec<Call> = (0..1_000).map(|_| Call::read(&near, 1)).collect();
            reads.iter().for_each(|read| bench.pend(read));
            for at in (1..reads.len()).rev() {
                reads.swap(at, random.below(at + 1));
            }
            let (given_up, rest) = reads.split_at(500);
            given_up.iter().for_each(|read| bench.cancel(read));
            far.put(&[1; 500]);
            let mut bytes = 0;
            for read in given_up {
                match bench.finish(read) {
                    Ok(count) => bytes += count,
                    Err(error) => assert!(is_canceled(&error)),
                }
            }
            // Those that were given up too late have had bytes of the others.
            far.put(&vec![1; bytes]);
            rest.iter().for_each(|read| assert_eq!(bench.finish(read).unwrap(), 1));
        }
    });
}

/// Fails if closing one descriptor of a file ends the waiting on another.
pub fn a_duplicate_outlives_its_original(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair(), pipe()] {
            let duplicate = near.duplicate();
            let (first, second) = (Call::read(&near, 1), Call::read(&duplicate, 1));
            bench.pend(&first);
            bench.pend(&second);
            far.put(b"ab");
            bench.finish(&first).expect("read");
            bench.finish(&second).expect("read");
            // Also that which is under way.
            bench.pend(&second);
            drop(near);
            bench.look();
            assert!(bench.is_pending(&second), "nobody has sent anything");
            far.put(b"c");
            assert_eq!(bench.finish(&second).unwrap(), 1);
            assert_eq!(second.data(), b"c");
            for byte in b"cdef" {
                let read = Call::read(&duplicate, 1);
                bench.pend(&read);
                far.put(&[*byte]);
                assert_eq!(bench.finish(&read).unwrap(), 1);
                assert_eq!(read.data(), [*byte]);
            }
        }
    });
}

/// Fails if what is known of a closed file is believed of the next one with its number.
pub fn a_reused_number_is_a_new_file(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        let mut reused = 0;
        let mut last = -1;
        for round in 0..100 {
            let (near, far) = if random.chance() { tcp_pair() } else { unix_pair() };
            reused += i32::from(near.owned.as_raw_fd() == last);
            last = near.owned.as_raw_fd();
            // Each of these leaves the driver with another idea of the file.
            if random.chance() {
                far.put(b"early");
                assert_eq!(bench.run_whole(&Call::read(&near, 5), 5), b"early", "round {round}");
            }
            if random.chance() {
                let (write, _) = bench.pend_write(&near, b"x");
                bench.cancel_now(&write);
            }
            let read = Call::read(&near, 16);
            bench.pend(&read);
            match random.below(3) {
                0 => {
                    bench.cancel_now(&read);
                    // An event that nobody waits for and nobody collects.
                    far.put(b"too late");
                }
                1 => {
                    far.put(b"in time");
                    assert_eq!(bench.whole(&read, 7), b"in time");
                }
                _ => {
                    drop(far);
                    assert_eq!(bench.finish(&read).unwrap_or(0), 0);
                }
            }
        }
        // Other tests of the process take numbers too, so not every time.
        assert!(reused > 0, "no number was ever reused");
    });
}

/// Fails if the end of a stream is overlooked that was told before the descriptor came under another id.
pub fn another_id_does_not_hide_the_end(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..5 {
            let (mut near, far) = tcp_pair();
            let first = Call::read(&near, 10);
            bench.pend(&first);
            bench.look();
            bench.cancel_now(&first);
            far.put(b"request");
            far.shut_down(libc::SHUT_WR);
            bench.settle();

            near.source = Source::new(near.source.fd, near.source.kind);
            let other = Call::poll(&near, Interest::Priority);
            bench.pend(&other);
            bench.look();
            bench.cancel_now(&other);
            assert_eq!(bench.run_whole(&Call::read(&near, 10), 7), b"request");
            assert_eq!(bench.run(&Call::read(&near, 10)).unwrap(), 0);
        }
    });
}

/// Fails if events of a file that lives on through a duplicate are taken for those of the file that has
/// its old number now.
pub fn a_reused_number_is_not_taken_for_the_duplicated_file(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let (old, old_peer) = unix_pair();
            let read = Call::read(&old, 1);
            bench.pend(&read);
            bench.look();
            bench.cancel_now(&read);
            let duplicate = old.duplicate();
            let (spare, new_peer) = unix_pair();
            // The number now stands for another file, under another id.
            let number = old.owned.as_raw_fd();
            // SAFETY: takes no pointers, and both descriptors are owned here.
            assert!(unsafe { libc::dup3(spare.owned.as_raw_fd(), number, libc::O_CLOEXEC) } >= 0);
            let new = Fd::new(old.owned, SourceKind::Pollable);

            let (read, poll) = (Call::read(&new, 1), Call::poll(&new, Interest::Read));
            bench.pend(&read);
            bench.pend(&poll);
            old_peer.put(b"old");
            bench.settle();
            let both_wait = bench.is_pending(&read) && bench.is_pending(&poll);
            assert!(both_wait, "that was another file");
            new_peer.put(b"nn");
            assert_eq!(bench.finish(&read).unwrap(), 1);
            assert_eq!(bench.finish(&poll).unwrap(), 0);
            assert_eq!(read.data(), b"n");
            assert_eq!(bench.whole_now(&Call::read(&duplicate, 3), 3), b"old");
        }
    });
}

/// Fails if a driver that takes a limited number of events at once forgets the rest.
pub fn a_thousand_sources_are_all_served(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        let mut pairs: Vec<(Fd, Fd)> = (0..1_000).map(|_| unix_pair()).collect();
        for round in 0..3u8 {
            let reads: Vec<Call> = pairs.iter().map(|(near, _)| Call::read(near, 8)).collect();
            reads.iter().for_each(|read| bench.pend(read));
            for at in (1..pairs.len()).rev() {
                pairs.swap(at, random.below(at + 1));
            }
            pairs.iter().for_each(|(_, far)| far.put(&[round; 3]));
            for read in &reads {
                assert_eq!(bench.whole(read, 3), [round; 3]);
            }
        }
    });
}
