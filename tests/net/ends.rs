//! How connections and listeners end, and what a peer leaves behind.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rust_routines::channel::bounded;
use rust_routines::fs::File;
use rust_routines::net::{Shutdown, TcpListener, TcpStream};
use rust_routines::os::fd::{OwnedFd, Watched};
use rust_routines::time::timeout;
use rust_routines::{WaitReason, sleep, spawn};
use socket2::SockRef;

use super::pair;
use super::util::{self, both_worlds, bounded as in_time, runtime, until_waiting};

/// Fails if a peer that resets the connection is taken for one that has closed it, or a wait goes on.
#[test]
fn reset_is_an_error() {
    both_worlds(|| {
        let (mut client, server) = pair();
        client.write_all(b"never read").unwrap();
        let (to, from) = bounded(1);
        // Closing with unread data resets.
        let closer = spawn(move || {
            to.send(()).unwrap();
            sleep(Duration::from_millis(5));
            let _unread = server.peek(&mut [0; 1]).unwrap();
            drop(server);
        });
        from.recv().unwrap();
        let error = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = client.write_all(&[0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        closer.join().unwrap();
    });
}

/// Fails if closing one direction closes the other, or does not reach a reader that waits.
#[test]
fn half_close() {
    both_worlds(|| {
        let (mut client, mut server) = pair();
        let reader = spawn(move || {
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            server.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "QUESTION");
        assert_eq!(client.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        reader.join().unwrap();
    });
}

/// Fails if a call that waits does not return when another handle shuts the connection down.
#[test]
fn shutdown_wakes_reader() {
    in_time(|| {
        let runtime = runtime(2);
        let (client, _server) = pair();
        let client = Arc::new(client);
        let reader = runtime.spawn({
            let client = client.clone();
            move || (&*client).read(&mut [0; 1]).unwrap()
        });
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        client.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
        runtime.shutdown();
    });
}

/// Fails if a listener that is shut down takes connections, or keeps whoever waits for one, or its loop.
#[test]
fn shutdown_ends_a_servers_loop() {
    in_time(|| {
        let runtime = runtime(2);
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let serve = |listener: &TcpListener| {
            let end = listener.incoming().find_map(Result::err).unwrap();
            assert_eq!(end.kind(), ErrorKind::InvalidInput);
        };
        let clone = listener.try_clone().unwrap();
        let routines = [listener.clone(), listener.clone()]
            .map(|listener| runtime.spawn(move || serve(&listener)));
        let thread = thread::spawn(move || serve(&clone));
        until_waiting(runtime.handle(), WaitReason::IoRead, 2);
        let client = TcpStream::connect(address).unwrap();
        listener.shutdown().unwrap();
        routines.into_iter().for_each(|routine| routine.join().unwrap());
        thread.join().unwrap();
        serve(&listener);
        assert_eq!(listener.shutdown().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(
            util::error_kind(TcpStream::connect(address)),
            Some(ErrorKind::ConnectionRefused)
        );
        drop(client);
        runtime.shutdown();
    });
}

/// Fails if closing one handle of a connection, or many others that get its number, disturbs who waits on another.
#[test]
fn a_handle_is_closed_while_another_waits() {
    in_time(|| {
        let runtime = runtime(2);
        let (client, mut server) = pair();
        for round in 0..50_u8 {
            let (spare, mut waiting) = (client.try_clone().unwrap(), client.try_clone().unwrap());
            let reader = runtime.spawn(move || {
                let mut byte = [0];
                waiting.read_exact(&mut byte).map(|()| byte[0])
            });
            until_waiting(runtime.handle(), WaitReason::IoRead, 1);
            runtime.spawn(move || drop(spare)).join().unwrap();
            drop(client.try_clone().unwrap());
            assert!(!reader.is_finished());
            server.write_all(&[round]).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), round);
        }
        runtime.shutdown();
    });
}

/// Fails if what nobody takes, an urgent byte or an entry in the error queue, keeps a waiting thread busy or hides what
/// comes.
#[test]
#[cfg_attr(rr_faults, ignore = "counts on whole transfers")]
fn what_nobody_takes_disturbs_nobody() {
    type Receive = fn(&TcpStream, &mut [u8]) -> io::Result<usize>;
    const WAYS: [Receive; 4] = [
        |stream, buffer| stream.peek(buffer),
        |mut stream, buffer| stream.read(buffer),
        |mut stream, buffer| stream.read_vectored(&mut [IoSliceMut::new(buffer)]),
        |stream, buffer| File::from(OwnedFd::from(stream.try_clone()?)).read(buffer),
    ];
    util::both_worlds_alone(|| {
        for receive in WAYS {
            let (near, far) = pair();
            util::leave_in_error_queue(&near, || assert_eq!((&near).write(b"x").unwrap(), 1));
            util::assert_idle(|| {
                timeout(util::QUIET, || receive(&near, &mut [0; 8])).unwrap_err();
            });
            let sender = spawn(move || {
                sleep(util::MOMENT);
                (&far).write_all(b"data").unwrap();
                far
            });
            assert_eq!(receive(&near, &mut [0; 8]).unwrap(), 4);
            sender.join().unwrap();
        }
        let (near, far) = pair();
        SockRef::from(&far).send_out_of_band(b"!").unwrap();
        Watched::new(&near).wait_priority().unwrap();
        util::assert_idle(|| {
            timeout(util::QUIET, || near.peek(&mut [0; 8])).unwrap_err();
        });
    });
}

/// Fails if the end of what the peer writes keeps those busy who wait for room, or ends their wait.
#[test]
fn waiting_for_room_goes_on_when_the_peer_writes_no_more() {
    type Send = fn(&TcpStream, &[u8]) -> io::Result<usize>;
    const WAYS: [Send; 3] = [
        |mut stream, data| stream.write(data),
        |mut stream, data| stream.write_vectored(&[IoSlice::new(data)]),
        |stream, _| Watched::new(stream).wait_writable().map(|()| 1),
    ];
    util::both_worlds_alone(|| {
        for send in WAYS {
            let (near, mut far) = pair();
            far.shutdown(Shutdown::Write).unwrap();
            let data = vec![0; 1 << 20];
            let mut is_full = false;
            // The other end's kernel may make room once more.
            while !is_full {
                while timeout(util::MOMENT, || (&near).write(&data)).is_ok() {}
                util::assert_idle(|| {
                    is_full = timeout(util::QUIET, || send(&near, &data)).is_err();
                });
            }
            let reader = spawn(move || far.read_to_end(&mut Vec::new()));
            assert_ne!(send(&near, &data).unwrap(), 0);
            near.shutdown(Shutdown::Write).unwrap();
            reader.join().unwrap().unwrap();
        }
    });
}
