//! Operations that are given up, at every stage, and in races with what ends them otherwise.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{Action, Interest, SourceKind};

use super::Subject;
use super::bench::{Bench, Gate, POOL_THREADS};
use super::call::{Call, POISON, pattern};
use super::fds::{Fd, file, listener, make_fifo, pipe, socket, tcp_pair, unix_pair};
use super::random::Random;

/// How many bytes may be under way in small pieces, so that a writer need not wait for room.
const WINDOW: usize = 50;

/// Fails if a cancelled operation stays, or if its source stays with it: the descriptor is closed next.
pub fn a_waiting_operation_comes_back_cancelled(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..50 {
            let (near, far) = unix_pair();
            let read = Call::read(&near, 16);
            bench.pend(&read);
            bench.cancel_now(&read);
            read.poison();
            far.put(b"nobody");
            drop((near, far));
            bench.look();
            assert!(read.data().iter().all(|&byte| byte == POISON));
        }
    });
}

/// Fails if some kind of operation cannot be given up.
pub fn every_kind_of_waiting_operation_can_be_cancelled(subject: &Subject) {
    subject.bench(|bench| {
        let (near, _far) = tcp_pair();
        near.fill();
        let (listener, address) = listener();
        // A listener whose backlog is full does not answer.
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.owned.as_raw_fd(), 0) }, 0);
        let idle = super::fds::listener().0;
        let crowd: Vec<_> = (0..4).map(|_| socket(libc::AF_INET, SourceKind::Stream)).collect();
        for _ in 0..3 {
            let connects: Vec<Call> =
                crowd.iter().map(|near| Call::connect(near, &address)).collect();
            connects.iter().for_each(|connect| bench.submit(connect));
            let calls = [
                Call::read(&near, 1),
                Call::read_vectored(&near, &[1, 1]),
                Call::recv(&near, 1, 0),
                Call::recv(&near, 1, libc::MSG_PEEK),
                Call::write(&near, b"x"),
                Call::write_vectored(&near, b"xy", &[1, 1]),
                Call::send(&near, b"x", 0),
                Call::recv_message(&near, 1, 0),
                Call::send_message(&near, b"x", None),
                Call::poll(&near, Interest::Read),
                Call::poll(&near, Interest::Write),
                Call::accept(&idle),
            ];
            calls.iter().for_each(|call| bench.pend(call));
            bench.look();
            calls.iter().for_each(|call| bench.cancel_now(call));
            bench.settle();
            for connect in &connects {
                if bench.is_pending(connect) {
                    bench.cancel(connect);
                }
                if let Err(error) = bench.finish(connect) {
                    assert!(is_canceled(&error), "{error}");
                }
            }
        }
    });
}

/// Fails if giving one operation up disturbs those that wait beside it.
pub fn the_others_go_on_waiting(subject: &Subject) {
    subject.bench(|bench| {
        for given_up in 0..4 {
            let (near, far) = tcp_pair();
            let reads: Vec<Call> = (0..4).map(|_| Call::read(&near, 1)).collect();
            let poll = Call::poll(&near, Interest::Read);
            reads.iter().for_each(|read| bench.pend(read));
            bench.pend(&poll);
            bench.cancel_now(&reads[given_up]);
            far.put(b"abc");
            let mut bytes = Vec::new();
            for (at, read) in reads.iter().enumerate() {
                if at != given_up {
                    assert_eq!(bench.finish(read).unwrap(), 1);
                    bytes.extend_from_slice(read.data());
                }
            }
            bytes.sort_unstable();
            assert_eq!(bytes, b"abc");
            far.put(b"d");
            assert_eq!(bench.finish(&poll).unwrap(), 0);
        }
    });
}

/// Fails if what is queued behind busy threads cannot be given up before they are done.
pub fn a_queued_closure_comes_back_without_a_thread(subject: &Subject) {
    subject.bench(|bench| {
        let gate = Gate::new();
        let busy: Vec<Call> = (0..POOL_THREADS)
            .map(|_| {
                let gate = gate.clone();
                Call::run(move || gate.pass())
            })
            .collect();
        busy.iter().for_each(|run| bench.pend(run));
        bench.until_came(&gate, POOL_THREADS);
        let ran = Arc::new(AtomicBool::new(false));
        for _ in 0..20 {
            let ran = Arc::clone(&ran);
            let queued = Call::run(move || ran.store(true, Ordering::Relaxed));
            bench.pend(&queued);
            bench.cancel_now(&queued);
        }
        gate.open();
        for run in &busy {
            assert_eq!(bench.finish(run).unwrap(), 0);
        }
        assert_eq!(bench.run(&Call::run(|| ())).unwrap(), 0);
        assert!(!ran.load(Ordering::Relaxed), "a cancelled closure was run");
    });
}

/// Fails if an operation is handed back while a thread is in it.
pub fn a_running_closure_comes_back_finished(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let gate = Gate::new();
            let run = Call::run({
                let gate = gate.clone();
                move || gate.pass()
            });
            bench.pend(&run);
            bench.until_came(&gate, 1);
            bench.cancel(&run);
            bench.look();
            assert!(bench.is_pending(&run), "a thread is in it");
            gate.open();
            assert_eq!(bench.finish(&run).unwrap(), 0);
        }
    });
}

/// Fails if giving up what may not stop is an error of another kind, or loses the descriptor that it makes.
pub fn an_open_that_waits_is_given_up_or_finished(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("fifo");
        make_fifo(&path);
        for _ in 0..10 {
            let open = Call::open(&path, libc::O_WRONLY, 0);
            bench.pend(&open);
            bench.settle();
            bench.cancel(&open);
            bench.settle();
            // Opening for both never waits, and ends the waiting of others.
            let other = Call::open(&path, libc::O_RDWR, 0);
            let other = Fd::adopt(bench.run(&other), SourceKind::Pollable);
            match bench.finish(&open) {
                Err(error) => assert!(is_canceled(&error), "{error}"),
                opened => drop(Fd::adopt(opened, SourceKind::Pollable)),
            }
            drop(other);
        }
    });
}

/// Fails if every call of `cancel` makes a completion.
pub fn cancelling_twice_hands_back_once(subject: &Subject) {
    subject.bench(|bench| {
        let (near, _far) = unix_pair();
        for _ in 0..5 {
            let read = Call::read(&near, 1);
            let run = Call::run(|| ());
            bench.pend(&read);
            bench.pend(&run);
            for _ in 0..3 {
                bench.cancel(&read);
                bench.cancel(&run);
            }
            assert!(is_canceled(&bench.finish(&read).unwrap_err()));
            let _ = bench.finish(&run);
            bench.settle();
        }
    });
}

/// Fails if bytes disappear with the operation that would have had them.
pub fn a_cancelled_read_takes_nothing(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..50 {
            let (near, far) = tcp_pair();
            let read = Call::read(&near, 4);
            bench.pend(&read);
            far.put(b"data");
            bench.cancel(&read);
            match bench.finish(&read) {
                Ok(count) => assert_eq!(read.data()[..count], b"data"[..count]),
                Err(error) => {
                    assert!(is_canceled(&error));
                    near.expect_data();
                    assert_eq!(bench.whole_now(&Call::read(&near, 4), 4), b"data");
                }
            }
        }
    });
}

/// Fails if a byte is lost, doubled or written late when data and cancellation meet.
pub fn cancelling_races_with_data(subject: &Subject) {
    const BYTES: usize = 2_000;
    let backend = subject.backend();
    for (near, far) in [tcp_pair(), unix_pair()] {
        let received = AtomicUsize::new(0);
        let (far, received) = (&far, &received);
        thread::scope(|scope| {
            let mut bench = Bench::new(&backend);
            let mut random = Random::new();
            let mut old: VecDeque<Call> = VecDeque::new();
            scope.spawn(|| {
                let mut random = Random::new();
                for byte in 0..BYTES {
                    random.pause();
                    // A byte takes more of the buffer than it is long.
                    while byte - received.load(Ordering::Relaxed) > WINDOW {
                        thread::yield_now();
                    }
                    far.put(&[(byte % 100) as u8]);
                }
            });
            while received.load(Ordering::Relaxed) < BYTES {
                let read = Call::read(&near, 1);
                bench.submit(&read);
                random.pause();
                if random.chance() {
                    bench.look();
                }
                if bench.is_pending(&read) && random.chance() {
                    bench.cancel(&read);
                }
                match bench.finish(&read) {
                    Ok(count) => {
                        assert_eq!(count, 1);
                        let at = received.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(read.data(), [(at % 100) as u8]);
                    }
                    Err(error) => assert!(is_canceled(&error)),
                }
                // Watches the memory of those that are back.
                read.poison();
                old.push_back(read);
                if old.len() > 100 {
                    assert_eq!(old.pop_front().unwrap().data(), [POISON]);
                }
            }
        });
    }
}

/// Fails if a closure runs twice, or although it came back as cancelled, or not although it did not.
pub fn cancelling_races_with_the_pool(subject: &Subject) {
    subject.bench(|bench| {
        let mut random = Random::new();
        for _ in 0..500 {
            let runs: Vec<(Call, Arc<AtomicUsize>)> = (0..1 + random.below(5))
                .map(|_| {
                    let ran = Arc::new(AtomicUsize::new(0));
                    let count = Arc::clone(&ran);
                    (Call::run(move || _ = count.fetch_add(1, Ordering::Relaxed)), ran)
                })
                .collect();
            runs.iter().for_each(|(run, _)| bench.pend(run));
            for (run, _) in &runs {
                random.pause();
                if random.chance() && bench.is_pending(run) {
                    bench.cancel(run);
                }
            }
            for (run, ran) in &runs {
                let expected = match bench.finish(run) {
                    Ok(_) => 1,
                    Err(error) => {
                        assert!(is_canceled(&error));
                        0
                    }
                };
                assert_eq!(ran.load(Ordering::Relaxed), expected);
            }
        }
    });
}

/// Fails if a write that came back as cancelled has written something, or one that wrote is counted wrong.
pub fn cancelling_races_with_room(subject: &Subject) {
    const SIZE: usize = 4 << 20;
    let backend = subject.backend();
    for (near, far) in [tcp_pair(), unix_pair()] {
        let data = pattern(SIZE);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut bench = Bench::new(&backend);
                let mut random = Random::new();
                let mut sent = 0;
                while sent < SIZE {
                    let end = SIZE.min(sent + 1 + random.below(1 << 17));
                    let write = Call::write(&near, &data[sent..end]);
                    bench.submit(&write);
                    random.pause();
                    if bench.is_pending(&write) && random.chance() {
                        bench.cancel(&write);
                    }
                    match bench.finish(&write) {
                        Ok(count) => sent += count,
                        Err(error) => assert!(is_canceled(&error)),
                    }
                    // Sent later, it would show at the other end.
                    write.poison();
                }
                near.shut_down(libc::SHUT_WR);
            });
            let mut random = Random::new();
            let mut received = Vec::with_capacity(SIZE);
            loop {
                far.expect_data();
                let bytes = far.get(1 + random.below(1 << 17)).expect("read");
                if bytes.is_empty() {
                    break;
                }
                received.extend_from_slice(&bytes);
                random.pause();
            }
            assert!(received == data);
        });
    }
}

/// Fails if a connection is lost with the `accept` that was given up: taken from the backlog by nobody, or its
/// descriptor by nobody.
pub fn cancelling_races_with_connections(subject: &Subject) {
    const CONNECTIONS: usize = 200;
    subject.bench(|bench| {
        let (listener, address) = listener();
        thread::scope(|scope| {
            let peers = scope.spawn(move || {
                let mut random = Random::new();
                let mut connect = || {
                    random.pause();
                    TcpStream::connect(address).expect("connect")
                };
                (0..CONNECTIONS).map(|_| connect()).collect::<Vec<_>>()
            });
            let mut random = Random::new();
            let mut accepted = Vec::new();
            while accepted.len() < CONNECTIONS {
                let accept = Call::accept(&listener);
                bench.submit(&accept);
                random.pause();
                if random.chance() {
                    bench.look();
                }
                if bench.is_pending(&accept) && random.chance() {
                    bench.cancel(&accept);
                }
                match bench.finish(&accept) {
                    Err(error) => assert!(is_canceled(&error)),
                    fd => accepted.push(Fd::adopt(fd, SourceKind::Stream)),
                }
            }
            peers.join().expect("no panic");
        });
    });
}

/// Fails if a file that was opened as its operation was given up stays open: it is handed back, or never opened.
pub fn cancelling_races_with_opening(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut random = Random::new();
        for round in 0..300 {
            let path = dir.path().join(format!("{}", round % 10));
            let open = Call::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600);
            bench.submit(&open);
            random.pause();
            if bench.is_pending(&open) && random.chance() {
                bench.cancel(&open);
            }
            match bench.finish(&open) {
                Err(error) => assert!(is_canceled(&error)),
                fd => drop(Fd::adopt(fd, SourceKind::File)),
            }
        }
    });
}

/// Fails if some mixture of operations, on sources that two drivers share, ends in one that is not handed back or
/// handed back twice, or leaves something behind.
pub fn a_storm_of_everything(subject: &Subject) {
    const ROUNDS: usize = 150;
    let backend = subject.backend();
    let ((tcp, tcp_peer), (unix, unix_peer)) = (tcp_pair(), unix_pair());
    let ((reader, writer), file, (listener, address)) = (pipe(), file(), listener());
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("file");
    let some_call = |random: &mut Random| {
        let stream = [&tcp, &tcp_peer, &unix, &unix_peer][random.below(4)];
        let len = 1 + random.below(20_000);
        match random.below(16) {
            0 => Call::read(stream, len),
            1 => Call::read_vectored(stream, &[1, len]),
            2 => Call::write(stream, &vec![1; len]),
            3 => Call::write_vectored(stream, &vec![1; len], &[1, len - 1]),
            4 => Call::recv(stream, len, libc::MSG_PEEK),
            5 => Call::send(stream, &vec![1; len], 0),
            6 => Call::recv_message(stream, len, 0),
            7 => Call::send_message(stream, &vec![1; len], None),
            8 => Call::poll(stream, [Interest::Read, Interest::Write][random.below(2)]),
            9 => Call::read(&reader, len),
            10 => Call::write(&writer, &vec![1; len]),
            11 => Call::write_at(&file, &vec![1; len], len as u64),
            12 => Call::read_at(&file, len, len as u64),
            13 => Call::sync(&file, true),
            14 => Call::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600),
            _ => Call::run(thread::yield_now),
        }
    };
    let rage = || {
        let mut bench = Bench::new(&backend);
        let mut random = Random::new();
        for _ in 0..ROUNDS {
            let near = socket(libc::AF_INET, SourceKind::Stream);
            let connect = Call::connect(&near, &address);
            let accept = Call::accept(&listener);
            let mut calls: Vec<Call> =
                (0..random.below(12)).map(|_| some_call(&mut random)).collect();
            calls.extend([connect, accept]);
            calls.iter().for_each(|call| bench.submit(call));
            while random.chance() {
                random.pause();
                bench.wait(Some(Duration::from_micros(random.below(200) as u64)));
            }
            while let Some(left) = calls.len().checked_sub(1) {
                let call = calls.swap_remove(random.below(left + 1));
                if bench.is_pending(&call) {
                    bench.cancel(&call);
                }
                let opens =
                    matches!(call.op().action(), Action::Accept { .. } | Action::Open { .. });
                match bench.finish(&call) {
                    fd @ Ok(_) if opens => drop(Fd::adopt(fd, SourceKind::Pollable)),
                    _ => call.poison(),
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(rage);
        scope.spawn(rage);
    });
}

/// Fails if a source that two drivers wait on, in several ways, loses track while operations come and go.
pub fn cancelling_races_on_a_shared_source(subject: &Subject) {
    const BYTES: usize = 2_000;
    let backend = subject.backend();
    let (near, far) = tcp_pair();
    let received = AtomicUsize::new(0);
    let read_some = || {
        let mut random = Random::new();
        let mut bench = Bench::new(&backend);
        while received.load(Ordering::Acquire) < BYTES {
            let calls = [
                Call::read(&near, 1),
                Call::read(&near, 2),
                Call::poll(&near, Interest::Read),
                Call::recv(&near, 1, libc::MSG_PEEK),
            ];
            calls.iter().for_each(|call| bench.submit(call));
            random.pause();
            bench.wait(Some(Duration::from_micros(random.below(200) as u64)));
            for call in &calls {
                if bench.is_pending(call) {
                    bench.cancel(call);
                }
            }
            for (at, call) in calls.iter().enumerate() {
                match bench.finish(call) {
                    Ok(count) if at < 2 => {
                        received.fetch_add(count, Ordering::AcqRel);
                    }
                    Ok(_) => {}
                    Err(error) => assert!(is_canceled(&error)),
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(read_some);
        scope.spawn(read_some);
        let mut random = Random::new();
        let mut sent = 0;
        while sent < BYTES {
            while sent - received.load(Ordering::Relaxed) > WINDOW {
                thread::yield_now();
            }
            let count = (1 + random.below(3)).min(BYTES - sent);
            far.put(&[1; 3][..count]);
            sent += count;
            random.pause();
        }
    });
    assert_eq!(received.into_inner(), BYTES);
}
