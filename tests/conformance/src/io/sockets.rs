//! Connections as they are made, and readiness itself.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rust_routines_core::driver::{Interest, Source, SourceKind};

use super::Subject;
use super::call::Call;
use super::fds::{Fd, deaf, listener, socket, tcp_pair, unix_pair};

/// Fails if connections are missed, or arrive without their peer's address, inheritable or blocking.
pub fn accept_waits_for_a_connection(subject: &Subject) {
    subject.bench(|bench| {
        let (listener, address) = listener();
        for early in [true, false, true, false] {
            let accept = Call::accept(&listener);
            let connect = || TcpStream::connect(address).expect("connect");
            let peer = if early {
                let peer = connect();
                bench.submit(&accept);
                peer
            } else {
                bench.pend(&accept);
                bench.look();
                assert!(bench.is_pending(&accept));
                connect()
            };
            let accepted = Fd::adopt(bench.finish(&accept), SourceKind::Stream);
            assert_eq!(accept.peer_port(), peer.local_addr().unwrap().port());

            let fd = accepted.owned.as_raw_fd();
            // SAFETY: takes no pointers.
            let close_on_exec = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            assert_eq!(close_on_exec & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            let peer = Fd::new(peer, SourceKind::Stream);
            let read = Call::read(&accepted, 10);
            bench.pend(&read);
            peer.put(b"hi");
            assert_eq!(bench.whole(&read, 2), b"hi");
        }
    });
}

/// Fails if a connection is reported before it is made, or not at all.
pub fn connect_finishes_once_the_peer_listens(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let (listener, address) = listener();
            let near = socket(libc::AF_INET, SourceKind::Stream);
            assert_eq!(bench.run(&Call::connect(&near, &address)).unwrap(), 0);
            let far = Fd::adopt(bench.run(&Call::accept(&listener)), SourceKind::Stream);

            let read = Call::read(&near, 10);
            bench.pend(&read);
            far.put(b"hello");
            assert_eq!(bench.whole(&read, 5), b"hello");
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("socket");
        let _listener = UnixListener::bind(&path).expect("bind");
        let near = socket(libc::AF_UNIX, SourceKind::Pollable);
        assert_eq!(bench.run(&Call::connect_unix(&near, &path)).unwrap(), 0);
    });
}

/// Fails if a refusal looks like success, or is waited for.
pub fn a_refused_connection_is_an_error(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let (_deaf, address) = deaf();
            let near = socket(libc::AF_INET, SourceKind::Stream);
            let error = bench.run(&Call::connect(&near, &address)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        let near = socket(libc::AF_UNIX, SourceKind::Pollable);
        let nowhere = tempfile::tempdir().expect("temporary directory").path().join("socket");
        let error = bench.now(&Call::connect_unix(&near, &nowhere)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}

/// Fails if the hang-up that a socket reports before it was ever connected ends its connection.
pub fn a_socket_that_was_polled_before_it_connects_still_connects(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..20 {
            let (listener, address) = listener();
            let near = socket(libc::AF_INET, SourceKind::Stream);
            assert_eq!(bench.run(&Call::poll(&near, Interest::Write)).unwrap(), 0);
            let connect = Call::connect(&near, &address);
            bench.submit(&connect);
            bench.look();
            assert_eq!(bench.finish(&connect).unwrap(), 0);
            let far = Fd::adopt(bench.run(&Call::accept(&listener)), SourceKind::Stream);
            let read = Call::read(&near, 10);
            bench.pend(&read);
            bench.look();
            assert!(bench.is_pending(&read));
            far.put(b"!");
            assert_eq!(bench.finish(&read).unwrap(), 1);
        }
    });
}

/// Fails if a connection is waited for that no readiness announces.
pub fn a_full_backlog_of_a_unix_listener_is_an_error(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("bind");
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut connected = Vec::new();
        loop {
            let near = socket(libc::AF_UNIX, SourceKind::Pollable);
            match bench.now(&Call::connect_unix(&near, &path)) {
                Ok(_) => connected.push(near),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
            assert!(connected.len() < 10);
        }
    });
}

/// Fails if readiness is reported in the wrong direction, late or never.
pub fn poll_reports_each_direction(subject: &Subject) {
    subject.bench(|bench| {
        for (near, far) in [tcp_pair(), unix_pair()] {
            assert_eq!(bench.now(&Call::poll(&near, Interest::Write)).unwrap(), 0);
            let readable = Call::poll(&near, Interest::Read);
            bench.pend(&readable);
            bench.look();
            assert!(bench.is_pending(&readable));
            far.put(b"data");
            assert_eq!(bench.finish(&readable).unwrap(), 0);
            // Nothing was read, so it is still ready.
            assert_eq!(bench.now(&Call::poll(&near, Interest::Read)).unwrap(), 0);
            assert_eq!(near.get(10).unwrap(), b"data");

            let filled = near.fill();
            let writable = Call::poll(&near, Interest::Write);
            bench.pend(&writable);
            far.drain(filled);
            assert_eq!(bench.finish(&writable).unwrap(), 0);

            let readable = Call::poll(&near, Interest::Read);
            bench.pend(&readable);
            drop(far);
            assert_eq!(bench.finish(&readable).unwrap(), 0);
        }
    });
}

/// Fails if urgent data is not reported to who polls, or is to who peeks. (Not to be tried beside a read:
/// the kernel drops an urgent byte that a read comes across.)
pub fn poll_reports_urgent_data(subject: &Subject) {
    subject.bench(|bench| {
        let (near, far) = tcp_pair();
        let peek = Call::recv(&near, 10, libc::MSG_PEEK);
        let poll = Call::poll(&near, Interest::Read);
        let priority = Call::poll(&near, Interest::Priority);
        bench.pend(&peek);
        bench.pend(&poll);
        bench.pend(&priority);
        // What the driver has not asked the kernel for yet, it does now.
        bench.look();
        // SAFETY: the byte is valid for reading.
        let sent =
            unsafe { libc::send(far.owned.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        assert_eq!(bench.finish(&poll).unwrap(), 0);
        assert_eq!(bench.finish(&priority).unwrap(), 0);
        bench.settle();
        assert!(bench.is_pending(&peek), "urgent data is not in the stream");
        assert_eq!(bench.now(&priority).unwrap(), 0);
        assert_eq!(bench.now(&Call::poll(&near, Interest::Read)).unwrap(), 0);
        let urgent = Call::recv(&near, 1, libc::MSG_OOB);
        assert_eq!(bench.now(&urgent).unwrap(), 1);
        assert_eq!(urgent.data(), b"!");
        bench.pend(&priority);
        bench.look();
        far.put(b"rest");
        assert_eq!(bench.finish(&peek).unwrap(), 4);
        bench.settle();
        assert!(bench.is_pending(&priority), "this is data like any other");
        bench.cancel_now(&priority);
    });
}

/// Fails if a change is missed that the kernel tells only to who asks first: the driver itself, when it asks again.
pub fn a_change_that_is_told_once_ends_a_poll(subject: &Subject) {
    subject.bench(|bench| {
        for _ in 0..5 {
            let name = File::open("/proc/sys/kernel/hostname").expect("the host's name");
            let name = Fd::new(name, SourceKind::Pollable);
            let poll = Call::poll(&name, Interest::Priority);
            // Done at once if another process changes a name now.
            bench.submit(&poll);
            bench.look();
            if let Err(error) = touch_host_name() {
                println!("not tried, as a host's name must not be set here: {error}");
                if bench.is_pending(&poll) {
                    bench.cancel(&poll);
                }
                return;
            }
            assert_eq!(bench.finish(&poll).unwrap(), 0);
        }
    });
}

/// Has the kernel tell that the host's name has changed: by a child with a name of its own, which it does not tell apart.
///
/// # Errors
///
/// If this process may not start such a child.
pub fn touch_host_name() -> io::Result<()> {
    let mut child = Command::new("true");
    let rename = || {
        let name = c"told-once";
        // SAFETY: the name is valid for reading.
        let renamed = unsafe {
            (libc::unshare(libc::CLONE_NEWUTS) == 0
                || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWUTS) == 0)
                && libc::sethostname(name.as_ptr(), name.count_bytes()) == 0
        };
        if renamed { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: makes system calls and nothing else.
    unsafe { child.pre_exec(rename) };
    child.status().map(drop)
}

/// Fails if two sources for one descriptor, as two callers make them who each wrap a foreign one, are in
/// each other's way.
pub fn a_foreign_descriptor_may_be_polled_twice(subject: &Subject) {
    subject.bench(|bench| {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(fd >= 0);
        // SAFETY: it is new and nobody else's.
        let mut foreign = Fd::new(unsafe { OwnedFd::from_raw_fd(fd) }, SourceKind::Pollable);
        for _ in 0..5 {
            let calls: Vec<Call> = (0..3)
                .map(|_| {
                    foreign.source = Source::new(fd, SourceKind::Pollable);
                    let call = Call::poll(&foreign, Interest::Read);
                    bench.pend(&call);
                    bench.look();
                    call
                })
                .collect();
            foreign.put(&1u64.to_ne_bytes());
            for call in &calls {
                assert_eq!(bench.finish(call).unwrap(), 0);
            }
            foreign.get(8).expect("reset");
        }
    });
}
