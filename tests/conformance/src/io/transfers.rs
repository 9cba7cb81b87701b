//! Bytes through sockets and pipes: partial, at the end, in the way of others.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread;

use rust_routines_core::driver::{Interest, SourceKind};

use super::Subject;
use super::bench::Bench;
use super::call::{Call, pattern};
use super::fds::{Fd, listener, pipe, socket, tcp_pair, terminal, udp, udp_pair, unix_pair};
use super::random::Random;

/// Every kind of stream, as the end to read from and the end to write to.
fn streams() -> [(&'static str, Fd, Fd); 3] {
    let (tcp, tcp_peer) = tcp_pair();
    let (unix, unix_peer) = unix_pair();
    let (reader, writer) = pipe();
    [("tcp", tcp, tcp_peer), ("unix", unix, unix_peer), ("pipe", reader, writer)]
}

/// Reads until the end of the file.
fn read_all(bench: &mut Bench, from: &Fd, chunk: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let read = Call::read(from, chunk);
        let count = bench.run(&read).expect("read");
        if count == 0 {
            return all;
        }
        all.extend_from_slice(&read.data()[..count]);
    }
}

/// Writes everything.
pub(super) fn write_all(bench: &mut Bench, to: &Fd, data: &[u8]) {
    let mut rest = data;
    while !rest.is_empty() {
        let count = bench.run(&Call::write(to, rest)).expect("write");
        assert!(count > 0);
        rest = &rest[count..];
    }
}

/// Fails if a source that is ready costs a wait.
pub fn what_is_there_is_read_at_once(subject: &Subject) {
    subject.bench(|bench| {
        for (kind, near, far) in streams() {
            far.put(b"hello");
            near.expect_data();
            assert_eq!(bench.whole_now(&Call::read(&near, 64), 5), b"hello", "{kind}");
            bench.whole_now(&Call::write(&far, b"back"), 4);
        }
    });
}

/// Fails if an operation that has to wait is lost, comes back early or has the wrong data.
pub fn a_read_waits_for_data(subject: &Subject) {
    subject.bench(|bench| {
        for (kind, near, far) in streams() {
            for round in 0..10 {
                let read = Call::read(&near, 64);
                bench.pend(&read);
                bench.look();
                assert!(bench.is_pending(&read), "{kind}: nothing to read in round {round}");
                far.put(&[round; 7]);
                assert_eq!(bench.whole(&read, 7), [round; 7], "{kind}");
                read.poison();
            }
        }
    });
}

/// Fails if a driver that skips system calls on a drained source misses the next request.
pub fn requests_on_one_connection_are_all_answered(subject: &Subject) {
    let mut random = Random::new();
    let backend = subject.backend();
    let (near, far) = tcp_pair();
    let sizes: Vec<usize> = (0..500).map(|_| 1 + random.below(100)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bench = Bench::new(&backend);
            for &size in &sizes {
                write_all(&mut bench, &far, &vec![1; size]);
                let mut answered = 0;
                while answered < size {
                    answered += bench.run(&Call::read(&far, 4096)).expect("answer");
                }
            }
        });
        let mut bench = Bench::new(&backend);
        for &size in &sizes {
            let mut asked = 0;
            while asked < size {
                asked +=
                    bench.run(&Call::read(&near, [7, 64, 4096][random.below(3)])).expect("ask");
            }
            random.pause();
            write_all(&mut bench, &near, &vec![2; size]);
        }
    });
}

/// Fails if a read that got less than it asked for is taken to mean that nothing comes after: the end
/// of the file arrives before, together with or after the data, and before or after the driver looks.
pub fn a_short_read_before_the_end_hides_neither_data_nor_the_end(subject: &Subject) {
    let mut random = Random::new();
    subject.bench(|bench| {
        for _ in 0..60 {
            for (kind, near, far) in streams() {
                let first = Call::read(&near, 64);
                let waits = random.chance();
                if waits {
                    bench.pend(&first);
                }
                if random.chance() {
                    bench.look();
                }
                far.put(b"last words");
                let words = if waits && random.chance() {
                    let words = bench.whole(&first, 10);
                    drop(far);
                    words
                } else {
                    drop(far);
                    if waits {
                        bench.whole(&first, 10)
                    } else {
                        near.expect_data();
                        bench.whole_now(&first, 10)
                    }
                };
                assert_eq!(words, b"last words", "{kind}");
                assert_eq!(bench.run(&Call::read(&near, 64)).unwrap(), 0, "{kind}");
            }
        }
    });
}

/// Fails if the end of the file is reported once and then waited for again.
pub fn the_end_of_file_stays(subject: &Subject) {
    subject.bench(|bench| {
        for (kind, near, far) in streams() {
            let read = Call::read(&near, 64);
            bench.pend(&read);
            drop(far);
            assert_eq!(bench.finish(&read).unwrap(), 0, "{kind}");
            for _ in 0..3 {
                assert_eq!(bench.run(&Call::read(&near, 64)).unwrap(), 0, "{kind}");
                bench.look();
            }
        }
    });
}

/// Fails if the end of one direction is taken for the end of both.
pub fn half_of_a_connection_may_close(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let read = Call::read(&near, 64);
            bench.pend(&read);
            far.shut_down(libc::SHUT_WR);
            assert_eq!(bench.finish(&read).unwrap(), 0);

            // Full, the other direction waits as ever, and goes on when there is room.
            let (write, filled) = bench.pend_write(&near, &[3; 1000]);
            bench.look();
            assert!(bench.is_pending(&write), "there is no room");
            far.drain(filled);
            let count = bench.finish(&write).unwrap();
            assert!(count > 0);
            assert_eq!(bench.run(&Call::read(&near, 64)).unwrap(), 0);
        }
    });
}

/// Fails if an operation outlives its connection, or reports something else than the reset.
pub fn a_reset_ends_what_waits(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..5 {
            let (near, far) = tcp_pair();
            let read = Call::read(&near, 64);
            bench.pend(&read);
            let (write, _) = bench.pend_write(&near, &[0; 64]);
            // Closing with unread data, or without lingering, resets the connection.
            far.set_option(libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 });
            drop(far);
            let results = [bench.finish(&read), bench.finish(&write)];
            // Whoever comes first takes the error from the socket.
            assert!(results.iter().any(|result| {
                matches!(result, Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
            }));
            let gone = bench.run(&Call::write(&near, &[0; 64])).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
        }
    });
}

/// Fails if a full buffer fails a write, or room is not noticed.
pub fn a_write_waits_for_room(subject: &Subject) {
    subject.bench(|bench| {
        for (kind, near, far) in streams() {
            let (mut sent, mut received) = (0, 0);
            for _ in 0..5 {
                let (write, filled) = bench.pend_write(&far, &[9; 4096]);
                sent += filled;
                bench.look();
                assert!(bench.is_pending(&write), "{kind}: there is no room");
                while bench.is_pending(&write) {
                    match near.get(1 << 16) {
                        Ok(data) => received += data.len(),
                        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    }
                    bench.settle();
                }
                sent += bench.finish(&write).expect("write");
            }
            drop(far);
            received += read_all(bench, &near, 1 << 16).len();
            assert_eq!(received, sent, "{kind}");
        }
    });
}

/// Fails if a write waits for a reader that is gone, or if the process gets `SIGPIPE` for it.
pub fn writing_to_a_closed_pipe_fails(subject: &Subject) {
    subject.bench(|bench| {
        for (kind, near, far) in streams().into_iter().skip(1) {
            let (write, _) = bench.pend_write(&far, &[0; 64]);
            drop(near);
            let error = bench.finish(&write).unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
                "{kind}: {error}"
            );
        }
        let (near, far) = unix_pair();
        drop(near);
        let error = bench.now(&Call::send(&far, b"anybody?", 0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

/// Fails if parts of a transfer are lost, doubled or reordered, whatever their sizes.
pub fn large_transfers_arrive_whole(subject: &Subject) {
    let backend = subject.backend();
    for size in [1, 64 << 10, 8 << 20] {
        for (kind, near, far) in streams() {
            let data = pattern(size);
            let data = &data;
            let backend = &backend;
            thread::scope(|scope| {
                scope.spawn(move || write_all(&mut Bench::new(backend), &far, data));
                let read = read_all(&mut Bench::new(backend), &near, 1 << 18);
                assert!(read == *data, "{kind}: {size} bytes differ");
            });
        }
    }
}

/// Fails if a transfer that keeps the driver busy for long damages data, or starves.
pub fn a_long_transfer_arrives_whole(subject: &Subject) {
    const SIZE: usize = 64 << 20;
    let backend = &subject.backend();
    // Not a multiple of any size that is in use on the way.
    let data = &pattern((1 << 20) + 4_099);
    for (kind, near, far) in streams() {
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut bench = Bench::new(backend);
                let mut sent = 0;
                while sent < SIZE {
                    let at = sent % data.len();
                    let next = &data[at..data.len().min(at + (SIZE - sent))];
                    write_all(&mut bench, &far, next);
                    sent += next.len();
                }
                // It closes with its end here.
            });
            let mut bench = Bench::new(backend);
            let mut received = 0;
            loop {
                let at = received % data.len();
                let read = Call::read(&near, (1 << 18).min(data.len() - at));
                let count = bench.run(&read).expect("read");
                let is_right = read.data()[..count] == data[at..at + count];
                assert!(is_right, "{kind}: after {received} bytes");
                received += count;
                if count == 0 {
                    break;
                }
            }
            assert_eq!(received, SIZE, "{kind}");
        });
    }
}

/// Fails if what waits goes on waiting when its socket is shut down from here, through another descriptor.
pub fn shutting_down_ends_what_waits(subject: &Subject) {
    subject.bench(|bench| {
        for (near, _far) in [tcp_pair(), unix_pair()] {
            let (write, _) = bench.pend_write(&near, &[1; 64]);
            let (read, poll) = (Call::read(&near, 1), Call::poll(&near, Interest::Read));
            bench.pend(&read);
            bench.pend(&poll);
            bench.look();
            near.duplicate().shut_down(libc::SHUT_RDWR);
            assert_eq!(bench.finish(&read).unwrap(), 0);
            assert_eq!(bench.finish(&write).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(bench.finish(&poll).unwrap(), 0);
        }
        let (listener, _) = listener();
        let accepts = [Call::accept(&listener), Call::accept(&listener)];
        accepts.iter().for_each(|accept| bench.pend(accept));
        listener.duplicate().shut_down(libc::SHUT_RD);
        for accept in &accepts {
            assert_eq!(bench.finish(accept).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    });
}

/// Fails if an operation on a queue waits for ever, or its driver spins, when that has been shut down: before it came or
/// while it waits.
pub fn a_queue_that_is_shut_down_has_an_end(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (number, early) in [true, false].into_iter().enumerate() {
            let path = |name: &str| dir.path().join(format!("{name} {number}"));
            let unix = UnixDatagram::bind(path("datagrams")).expect("bind");
            for near in [udp().0, udp_pair().0, Fd::new(unix, SourceKind::Queue)] {
                let calls = [
                    Call::recv(&near, 8, 0),
                    Call::recv(&near, 8, libc::MSG_PEEK),
                    Call::recv_message(&near, 8, 0),
                    Call::recv_message(&near, 8, libc::MSG_PEEK),
                    Call::read(&near, 8),
                    Call::read_vectored(&near, &[4, 4]),
                ];
                if !early {
                    calls.iter().for_each(|call| bench.pend(call));
                    bench.look();
                }
                near.shut_down(libc::SHUT_RD);
                for call in &calls {
                    let result = if early { bench.now(call) } else { bench.finish(call) };
                    assert_eq!(result.expect("the end"), 0, "{call:?}");
                }
            }
            let listener = UnixListener::bind(path("connections")).expect("bind");
            let listener = Fd::new(listener, SourceKind::Queue);
            let accepts = [Call::accept(&listener), Call::accept(&listener)];
            if !early {
                accepts.iter().for_each(|accept| bench.pend(accept));
                bench.look();
            }
            listener.shut_down(libc::SHUT_RDWR);
            for accept in &accepts {
                let result = if early { bench.now(accept) } else { bench.finish(accept) };
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
            }
        }
        // What came before is not lost.
        let (near, far) = udp_pair();
        far.put(b"last");
        near.expect_data();
        near.shut_down(libc::SHUT_RD);
        assert_eq!(bench.now(&Call::recv(&near, 8, 0)).unwrap(), 4);
        assert_eq!(bench.now(&Call::recv(&near, 8, 0)).unwrap(), 0);
    });
}

/// Fails if the two directions of a socket get in each other's way.
pub fn both_directions_of_one_socket_may_be_busy(subject: &Subject) {
    const SIZE: usize = 2 << 20;
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let data = pattern(SIZE);
            let mut ask = Sending { from: &data, to: &near, sent: 0, call: None };
            let mut heard = Receiving { from: &far, data: Vec::new(), call: None };
            let mut back = Receiving { from: &near, data: Vec::new(), call: None };
            let (mut answered, mut answer) = (0, None);
            while back.data.len() < SIZE {
                ask.go_on(bench);
                heard.go_on(bench, SIZE);
                back.go_on(bench, SIZE);
                let mut echo =
                    Sending { from: &heard.data, to: &far, sent: answered, call: answer.take() };
                echo.go_on(bench);
                (answered, answer) = (echo.sent, echo.call);
                let calls = [&ask.call, &heard.call, &back.call, &answer];
                let calls: Vec<&Call> = calls.into_iter().flatten().collect();
                if !calls.is_empty() {
                    bench.any_of(&calls);
                }
            }
            assert!(back.data == data);
            for call in [ask.call, answer].into_iter().flatten() {
                bench.finish(&call).expect("write");
            }
        }
    });
}

/// Bytes on their way out, one write at a time.
struct Sending<'a> {
    from: &'a [u8],
    to: &'a Fd,
    sent: usize,
    call: Option<Call>,
}

impl Sending<'_> {
    fn go_on(&mut self, bench: &mut Bench) {
        if let Some(call) = self.call.take_if(|call| !bench.is_pending(call)) {
            self.sent += bench.finish(&call).expect("write");
        }
        if self.call.is_none() && self.sent < self.from.len() {
            let call = Call::write(self.to, &self.from[self.sent..]);
            bench.submit(&call);
            self.call = Some(call);
        }
    }
}

/// Bytes on their way in, one read at a time.
struct Receiving<'a> {
    from: &'a Fd,
    data: Vec<u8>,
    call: Option<Call>,
}

impl Receiving<'_> {
    fn go_on(&mut self, bench: &mut Bench, until: usize) {
        if let Some(call) = self.call.take_if(|call| !bench.is_pending(call)) {
            let count = bench.finish(&call).expect("read");
            self.data.extend_from_slice(&call.data()[..count]);
        }
        if self.call.is_none() && self.data.len() < until {
            let call = Call::read(self.from, 1 << 16);
            bench.submit(&call);
            self.call = Some(call);
        }
    }
}

/// Fails if vectored operations use one buffer only, or the wrong order.
pub fn vectors_are_filled_and_sent_in_order(subject: &Subject) {
    subject.bench(|bench| {
        for (_, near, far) in streams() {
            let read = Call::read_vectored(&near, &[0, 3, 1, 100]);
            bench.pend(&read);
            bench.run_whole(&Call::write_vectored(&far, b"abcdefgh", &[2, 0, 5, 1]), 8);
            assert_eq!(bench.whole(&read, 8), b"abcdefgh");
        }
    });
}

/// Fails if flags are ignored, or if a peek is mistaken for a read.
pub fn peeking_leaves_the_data(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let peek = Call::recv(&near, 64, libc::MSG_PEEK);
            bench.pend(&peek);
            bench.run_whole(&Call::send(&far, b"look", 0), 4);
            assert!(bench.finish(&peek).unwrap() > 0);
            for _ in 0..3 {
                assert!(bench.now(&Call::recv(&near, 64, libc::MSG_PEEK)).unwrap() > 0);
            }
            assert_eq!(bench.whole_now(&Call::recv(&near, 64, 0), 4), b"look");
        }
    });
}

/// Fails if an empty buffer is waited for, as no blocking call would.
pub fn nothing_is_transferred_at_once(subject: &Subject) {
    subject.bench(|bench| {
        for (kind, near, far) in streams() {
            // Known to the driver as not ready, both ways.
            far.fill();
            while near.get(1 << 20).is_ok() {}
            let wait = Call::read(&near, 1);
            bench.pend(&wait);
            bench.look();
            bench.cancel_now(&wait);

            if kind != "unix" {
                // A Unix socket waits for a message even then.
                assert_eq!(bench.now(&Call::read(&near, 0)).unwrap(), 0, "{kind}");
                assert_eq!(bench.now(&Call::read_vectored(&near, &[0, 0])).unwrap(), 0, "{kind}");
            }
            far.fill();
            assert_eq!(bench.now(&Call::write(&far, &[])).unwrap(), 0, "{kind}");
            assert_eq!(bench.now(&Call::write_vectored(&far, &[], &[0])).unwrap(), 0, "{kind}");
        }
        let near = socket(libc::AF_INET, SourceKind::Stream);
        let error = bench.now(&Call::recv(&near, 1, 0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    });
}

/// Fails if a datagram shorter than the buffer is taken to have been the last.
pub fn datagrams_keep_their_boundaries(subject: &Subject) {
    subject.bench(|bench| {
        let (near, far) = udp_pair();
        for _ in 0..10 {
            let first = Call::recv(&near, 1500, 0);
            bench.pend(&first);
            far.put(b"one");
            far.put(b"twenty");
            far.put(b"3");
            assert_eq!(bench.finish(&first).unwrap(), 3);
            assert_eq!(bench.run(&Call::recv(&near, 1500, 0)).unwrap(), 6);
            assert_eq!(bench.run(&Call::read(&near, 1500)).unwrap(), 1);
        }
    });
}

/// Fails if a datagram is damaged, or lost, that had to wait for the recipient, even if another took the place that
/// became free.
pub fn a_full_queue_of_datagrams_is_waited_for(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("socket");
        let far = UnixDatagram::bind(&path).expect("bind");
        let far = Fd::new(far, SourceKind::Queue);
        let near: Vec<Fd> = (0..8)
            .map(|_| {
                let near = UnixDatagram::unbound().expect("socket");
                near.connect(&path).expect("connect");
                Fd::new(near, SourceKind::Queue)
            })
            .collect();
        while bench.run(&Call::send(&near[0], b"filling", libc::MSG_DONTWAIT)).is_ok() {}
        let sends = [
            Call::send(&near[0], b"send 0", 0),
            Call::send(&near[1], b"send 1", 0),
            Call::write(&near[2], b"write 2"),
            Call::write(&near[3], b"write 3"),
            Call::write_vectored(&near[4], b"vectors 4", &[3, 6]),
            Call::write_vectored(&near[5], b"vectors 5", &[6, 3]),
            Call::send_message(&near[6], b"message 6", None),
            Call::send_message(&near[7], b"message 7", None),
        ];
        for send in &sends {
            bench.pend(send);
            bench.look();
            assert!(bench.is_pending(send), "the queue is full");
        }
        let mut received = Vec::new();
        while sends.iter().any(|send| bench.is_pending(send)) {
            // One place at a time.
            received.push(far.get(64).expect("a datagram"));
            bench.settle();
        }
        while let Ok(data) = far.get(64) {
            received.push(data);
        }
        received.retain(|data| data != b"filling");
        received.sort();
        for send in &sends {
            assert_eq!(bench.finish(send).unwrap(), send.data().len());
        }
        let mut sent: Vec<_> = sends.iter().map(|send| send.data().to_vec()).collect();
        sent.sort();
        assert_eq!(received, sent);
    });
}

/// Fails if messages arrive without their sender, go to another address, are counted longer than the room
/// for them, or not at all when they are empty.
pub fn messages_come_with_their_sender(subject: &Subject) {
    subject.bench(|bench| {
        let ((near, address), (far, sender)) = (udp(), udp());
        for data in [&b"one"[..], b"", b"longer than the room for it"] {
            for early in [true, false] {
                let received = Call::recv_message(&near, 8, 0);
                if !early {
                    bench.pend(&received);
                    bench.look();
                    assert!(bench.is_pending(&received));
                }
                let sent = Call::send_message(&far, data, Some(&address));
                assert_eq!(bench.now(&sent).unwrap(), data.len());
                if early {
                    near.expect_data();
                    let peeked = Call::recv_message(&near, 8, libc::MSG_PEEK);
                    assert_eq!(bench.now(&peeked).unwrap(), data.len().min(8));
                    assert_eq!(peeked.peer_port(), sender.port());
                    bench.submit(&received);
                }
                assert_eq!(bench.finish(&received).unwrap(), data.len().min(8));
                assert_eq!(received.peer_port(), sender.port());
                assert_eq!(received.data()[..data.len().min(8)], data[..data.len().min(8)]);
                assert_eq!(received.message_flags() & libc::MSG_TRUNC != 0, data.len() > 8);
            }
        }
        // Without room there is still something to wait for.
        let received = Call::recv_message(&near, 0, 0);
        bench.pend(&received);
        assert_eq!(bench.now(&Call::send_message(&far, b"gone", Some(&address))).unwrap(), 4);
        assert_eq!(bench.finish(&received).unwrap(), 0);
        let nothing = Call::recv_message(&near, 8, 0);
        bench.pend(&nothing);
        bench.cancel_now(&nothing);
    });
}

/// Fails if a read that stops at the mark of urgent data is taken to have drained the socket.
pub fn reading_goes_on_behind_urgent_data(subject: &Subject) {
    let mut random = Random::new();
    subject.bench(|bench| {
        for _ in 0..30 {
            let (near, far) = tcp_pair();
            let first = Call::read(&near, 64);
            let waits = random.chance();
            if waits {
                bench.pend(&first);
            }
            far.put(b"before");
            // SAFETY: the byte is valid for reading.
            let sent = unsafe {
                libc::send(far.owned.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB)
            };
            assert_eq!(sent, 1);
            far.put(b"after");
            let mut read = bench_read(bench, &first, waits);
            while read.len() < 11 {
                let next = Call::read(&near, 64);
                read.extend(bench_read(bench, &next, false));
            }
            assert_eq!(read, b"beforeafter");
        }
    });

    fn bench_read(bench: &mut Bench, call: &Call, submitted: bool) -> Vec<u8> {
        let count = if submitted { bench.finish(call) } else { bench.run(call) };
        call.data()[..count.expect("read")].to_vec()
    }
}

/// Fails if a read that stops at a passed descriptor is taken to have drained the socket.
pub fn reading_goes_on_behind_a_passed_descriptor(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..10 {
            let (near, far) = unix_pair();
            let first = Call::read(&near, 64);
            bench.pend(&first);
            send_descriptor(&far, b"one");
            send_descriptor(&far, b"two");
            far.put(b"three");
            let count = bench.finish(&first).expect("read");
            let mut read = first.data()[..count].to_vec();
            while read.len() < 11 {
                let next = Call::read(&near, 64);
                let count = bench.run(&next).expect("read");
                read.extend_from_slice(&next.data()[..count]);
            }
            assert_eq!(read, b"onetwothree");
        }
    });
}

/// Fails if a kind of file that a driver treats in another way than sockets and pipes is not waited for.
pub fn a_terminal_is_read_and_written(subject: &Subject) {
    subject.bench(|bench| {
        let (near, far) = terminal();
        for round in 1..10 {
            let read = Call::read(&near, 64);
            bench.pend(&read);
            bench.look();
            assert!(bench.is_pending(&read), "nothing to read in round {round}");
            if round % 2 == 0 {
                bench.cancel_now(&read);
                continue;
            }
            far.put(&[round; 7]);
            assert_eq!(bench.finish(&read).unwrap(), 7);
            assert_eq!(&read.data()[..7], [round; 7]);
        }
        let (write, filled) = bench.pend_write(&near, &[8; 16]);
        far.drain(filled);
        let written = bench.finish(&write).unwrap();
        assert!((1..=16).contains(&written));
        far.drain(written);
    });
}

/// Sends `data` along with a descriptor.
fn send_descriptor(to: &Fd, data: &[u8]) {
    let mut control = [0u64; 4];
    let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: a message header is integers and pointers, for which zero is valid; the parts outlive
    // the call, and `control` has room for one descriptor and is aligned for its header.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<i32>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(to.owned.as_raw_fd());
        let sent = libc::sendmsg(to.owned.as_raw_fd(), &raw const message, 0);
        assert_eq!(sent, data.len() as isize, "{}", io::Error::last_os_error());
    }
}
