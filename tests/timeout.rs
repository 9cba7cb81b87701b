//! `time::timeout`: it ends every wait in time, undoes it, and touches nothing else.

mod util;

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::select;
use rust_routines::channel::{self, Receiver, bounded, unbounded};
use rust_routines::fs::File;
use rust_routines::io::pipe;
use rust_routines::net::{TcpListener, TcpStream, UdpSocket};
use rust_routines::os::fd::Watched;
use rust_routines::os::unix::net::{UnixDatagram, UnixListener};
use rust_routines::process::{Command, Stdio};
use rust_routines::sync::{
    Barrier, CancellationToken, Condvar, Mutex, Once, RwLock, Semaphore, WaitGroup,
};
use rust_routines::time::{Elapsed, interval, timeout, timeout_at};
use rust_routines::{WaitReason, blocking, park, scope, sleep, sleep_until, spawn, yield_now};
use util::{
    FOREVER, MOMENT, OnDrop, PATIENCE, Population, both_worlds, bounded as in_time, eventually,
    hog, random, refuse, runtime, until_waiting,
};

/// Runs `wait`, which would never end, under a limit.
#[track_caller]
fn is_cut_short<T>(what: &str, wait: impl FnOnce() -> T) {
    let start = Instant::now();
    assert!(timeout(MOMENT, wait).is_err(), "{what} has returned");
    assert!(start.elapsed() >= MOMENT, "{what} ended early");
    assert!(start.elapsed() < PATIENCE, "{what} took {:?}", start.elapsed());
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Fails if an error of the system that is also the sign of a cancellation is taken for one: the call would have timed
/// out long before its time, or be unwound.
#[test]
fn only_a_limit_that_has_passed_is_reached() {
    in_time(|| {
        let canceled = |result: io::Result<TcpStream>| {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        };
        let check = move || {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            canceled(TcpStream::connect(address));
            canceled(TcpStream::connect_timeout(&address, FOREVER));
            canceled(timeout(FOREVER, || TcpStream::connect(address)).unwrap());
        };
        let thread = thread::spawn(move || {
            refuse(libc::SYS_connect, libc::ECANCELED).unwrap();
            check();
            let runtime = runtime(1);
            runtime.spawn(check).join().unwrap();
            runtime.shutdown();
        });
        thread.join().unwrap();
    });
}

/// Breaks if a loop of calls that are done at once does not end.
#[test]
fn calls_that_need_not_wait_end_too() {
    both_worlds(|| {
        let file = File::open("Cargo.toml").unwrap();
        let look = || loop {
            file.metadata().unwrap();
        };
        assert!(timeout::<()>(MOMENT, look).is_err());
    });
}

/// Breaks if a blocking call does not heed the limit of its caller, or leaves something behind when it is cut
/// short: each is used once more afterwards.
#[test]
fn every_wait_on_a_channel_or_lock_is_cut_short() {
    both_worlds(|| {
        in_time(|| {
            let (sender, receiver) = bounded::<i32>(1);
            is_cut_short("recv", || receiver.recv());
            is_cut_short("recv_timeout", || receiver.recv_timeout(FOREVER));
            is_cut_short("a loop", || receiver.iter().count());
            is_cut_short("select", || {
                select! { recv(receiver) -> _ => (), recv(channel::never::<()>()) -> _ => () }
            });
            is_cut_short("ready", || {
                let mut select = channel::Select::new();
                select.recv(&receiver);
                select.ready()
            });
            sender.send(1).unwrap();
            is_cut_short("send", || sender.send(2));
            is_cut_short("send_timeout", || sender.send_timeout(2, FOREVER));
            assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);
            is_cut_short("after", || channel::after(FOREVER).recv());
            is_cut_short("never", || channel::never::<()>().recv());

            let mutex = Mutex::new(());
            let held = mutex.lock().unwrap();
            is_cut_short("lock", || drop(mutex.lock()));
            drop(held);
            assert!(mutex.try_lock().is_ok(), "not poisoned: nobody held it");
            let lock = RwLock::new(());
            let held = lock.read().unwrap();
            is_cut_short("write", || drop(lock.write()));
            assert!(lock.try_read().is_ok(), "the writer that left bars nobody");
            drop(held);
            let held = lock.write().unwrap();
            is_cut_short("read", || drop(lock.read()));
            drop(held);
            assert!(lock.try_write().is_ok());
            let condvar = Condvar::new();
            let mut notified = mutex.lock().unwrap();
            is_cut_short("condvar", || notified = condvar.wait(mutex.lock().unwrap()).unwrap());
        });
    });
}

/// As above.
#[test]
fn every_other_wait_is_cut_short() {
    both_worlds(|| {
        in_time(|| {
            is_cut_short("sleep", || sleep(FOREVER));
            is_cut_short("an endless sleep", || sleep(Duration::MAX));
            is_cut_short("park", || {
                loop {
                    park();
                }
            });
            is_cut_short("yield_now", || {
                loop {
                    yield_now();
                }
            });
            let semaphore = Semaphore::new(1);
            is_cut_short("acquire", || {
                drop(semaphore.acquire_many(1).and_then(|_permit| semaphore.acquire()))
            });
            assert_eq!(semaphore.available_permits(), 1);
            let group = WaitGroup::new();
            is_cut_short("a wait group", || group.clone().wait());
            is_cut_short("a barrier", || {
                Barrier::new(2).wait();
            });
            is_cut_short("a token", || CancellationToken::new().wait());
            let once = Once::new();
            let (entered, entering) = bounded::<()>(0);
            let (leave, left) = bounded::<()>(0);
            scope(|scope| {
                scope.spawn(|| {
                    once.call_once(|| {
                        entered.send(()).unwrap();
                        left.recv().unwrap();
                    });
                });
                entering.recv().unwrap();
                is_cut_short("once", || once.call_once(|| ()));
                let routine = spawn(|| sleep(MOMENT * 20));
                is_cut_short("join", || routine.join());
                leave.send(()).unwrap();
            });
            assert!(once.is_completed());
        });
    });
}

/// Breaks if an operation is not taken back from its driver, or touches its buffer afterwards.
#[test]
fn input_and_output_are_cut_short_and_lose_nothing() {
    both_worlds(|| {
        in_time(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            is_cut_short("accept", || listener.accept());
            let (mut near, mut far) = connection();
            let mut buffer = [7; 64];
            is_cut_short("read", || near.read(&mut buffer));
            is_cut_short("peek", || near.peek(&mut buffer));
            near.set_read_timeout(Some(FOREVER)).unwrap();
            is_cut_short("read with a timeout", || near.read(&mut buffer));
            far.write_all(b"data").unwrap();
            // Long enough for a driver that still had the buffer.
            sleep(MOMENT);
            assert_eq!(buffer, [7; 64]);
            near.read_exact(&mut buffer[..4]).unwrap();
            assert_eq!(&buffer[..4], b"data");
            let written = Cell::new(0);
            is_cut_short("write", || {
                loop {
                    written.update(|sum| sum + near.write(&[1; 65536]).unwrap());
                }
            });
            drop(near);
            assert_eq!(
                std::io::copy(&mut far, &mut std::io::sink()).unwrap(),
                written.get() as u64
            );
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            is_cut_short("recv_from", || socket.recv_from(&mut buffer));
        });
    });
}

/// As above, of what is no socket on the network.
#[test]
fn waits_for_files_children_and_descriptors_are_cut_short() {
    both_worlds(|| {
        in_time(|| {
            let (mut output, mut input) = pipe().unwrap();
            is_cut_short("read", || output.read(&mut [0]));
            let written = Cell::new(0);
            is_cut_short("write", || {
                loop {
                    written.update(|sum| sum + input.write(&[1; 4096]).unwrap());
                }
            });
            drop(input);
            let read = std::io::copy(&mut output, &mut std::io::sink()).unwrap();
            assert_eq!(read, written.get() as u64);

            let directory = tempfile::tempdir().unwrap();
            let path = |name| directory.path().join(name);
            let listener = UnixListener::bind(path("listener")).unwrap();
            is_cut_short("accept", || listener.accept());
            let (near, far) = UnixDatagram::pair().unwrap();
            is_cut_short("recv", || near.recv(&mut [0]));
            is_cut_short("send", || {
                loop {
                    far.send(&[1; 4096]).unwrap();
                }
            });
            let watched = Watched::new(listener);
            is_cut_short("wait_readable", || watched.wait_readable());

            let open = || File::options().create(true).append(true).open(path("file")).unwrap();
            let (ours, theirs) = (open(), open());
            theirs.lock().unwrap();
            is_cut_short("lock", || ours.lock());
            is_cut_short("lock_shared", || ours.lock_shared());
            theirs.unlock().unwrap();
            open().try_lock().expect("who was cut short has no lock");

            let mut command = Command::new("sleep");
            let mut child = command.arg("3600").stdout(Stdio::piped()).spawn().unwrap();
            is_cut_short("wait", || child.wait());
            let mut output = child.stdout.take().unwrap();
            is_cut_short("a child's output", || output.read(&mut [0]));
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().code(), None);
        });
    });
}

/// Breaks if the socket's own timeout is mistaken for the limit, or the other way round.
#[test]
fn the_earlier_of_two_deadlines_decides() {
    both_worlds(|| {
        in_time(|| {
            let (mut near, _far) = connection();
            near.set_read_timeout(Some(MOMENT)).unwrap();
            let error = timeout(FOREVER, || near.read(&mut [0])).unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            let (_sender, receiver) = bounded::<()>(0);
            let received = timeout(FOREVER, || receiver.recv_timeout(MOMENT));
            assert_eq!(received, Ok(Err(channel::RecvTimeoutError::Timeout)));
        });
    });
}

/// Breaks if a loop over what is always there goes on for ever.
#[test]
fn a_loop_that_never_waits_ends() {
    both_worlds(|| {
        in_time(|| {
            let (sender, receiver) = bounded(1);
            is_cut_short("send and receive", || {
                loop {
                    sender.send(()).unwrap();
                    receiver.recv().unwrap();
                }
            });
            drop(receiver);
            let (sender, receiver) = unbounded();
            is_cut_short("send", || {
                loop {
                    sender.send(()).unwrap();
                }
            });
            is_cut_short("select", || {
                loop {
                    select! {
                        recv(receiver) -> _ => sender.send(()).unwrap(),
                        recv(channel::never::<()>()) -> _ => (),
                    }
                }
            });
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            is_cut_short("input", || {
                loop {
                    let _ = socket.send_to(&[], socket.local_addr().unwrap());
                }
            });
        });
    });
}

/// Breaks if nested limits mix up whose time has passed, or leave a limit behind.
#[test]
fn nested_limits_end_each_at_its_own_time() {
    both_worlds(|| {
        in_time(|| {
            let inner_first = timeout(FOREVER, || timeout(MOMENT, || sleep(FOREVER)));
            assert!(matches!(inner_first, Ok(Err(Elapsed { .. }))));
            let mut after_inner = false;
            let outer_first = timeout(MOMENT, || {
                let inner = timeout(FOREVER, || sleep(FOREVER));
                after_inner = true;
                inner
            });
            assert!(outer_first.is_err());
            assert!(!after_inner, "the inner one has time left");
            let deadline = Instant::now() + MOMENT;
            let both = timeout_at(deadline, || timeout_at(deadline, || sleep(FOREVER)).is_err());
            assert_eq!(both, Ok(true), "the inner one is first");
            sleep(MOMENT * 2);
            assert!(bounded::<()>(1).0.send(()).is_ok());
        });
    });
}

/// Breaks if what came in spite of all is thrown away, or a closure that never blocks is disturbed.
#[test]
fn what_is_returned_late_is_returned() {
    both_worlds(|| {
        in_time(|| {
            assert_eq!(timeout(Duration::ZERO, || 1), Ok(1));
            assert!(timeout(Duration::ZERO, || sleep(FOREVER)).is_err());
            assert!(timeout_at(Instant::now() - MOMENT, || sleep(FOREVER)).is_err());
            assert_eq!(timeout(Duration::MAX, || sleep(MOMENT)), Ok(()));
            // A closure that the pool has begun with is waited for; with one that it has not, it never does.
            let mut limit = MOMENT;
            loop {
                let done = AtomicUsize::new(0);
                let end = timeout(limit, || {
                    blocking(|| {
                        std::thread::sleep(limit * 2);
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                });
                assert_eq!(usize::from(end.is_ok()), done.into_inner());
                if end.is_ok() {
                    break;
                }
                limit *= 2;
            }
        });
    });
}

/// Breaks if destructors do not run, or a mutex does not tell that its data may be half changed.
#[test]
fn the_closure_is_unwound() {
    both_worlds(|| {
        in_time(|| {
            let population = Population::new();
            let mutex = Mutex::new(0);
            let unwound = timeout(MOMENT, || {
                let _member = population.member();
                let _guard = mutex.lock().unwrap();
                sleep(FOREVER);
            });
            assert!(unwound.is_err());
            assert_eq!(population.alive(), 0);
            assert!(mutex.is_poisoned());
        });
    });
}

/// Breaks if a panic is mistaken for the limit, or one that is caught inside lets the closure go on.
#[test]
fn panics_pass_and_catching_does_not_help() {
    both_worlds(|| {
        in_time(|| {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _ = timeout(FOREVER, || resume_unwind(Box::new("mine")));
            }));
            assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "mine");
            let mut caught = 0;
            let ended = timeout(MOMENT, || {
                while caught < 3 {
                    let end = catch_unwind(AssertUnwindSafe(|| sleep(FOREVER)));
                    caught += usize::from(end.is_err());
                }
                sleep(FOREVER);
            });
            assert!(ended.is_err());
            assert_eq!(caught, 3);
        });
    });
}

/// Breaks if a destructor that writes to a peer who does not read waits for it, limit or not.
#[test]
fn destructors_do_not_wait_beyond_the_limit() {
    struct Farewell(TcpStream, Arc<Mutex<Option<std::io::Error>>>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let error = loop {
                if let Err(error) = self.0.write(&[0; 65536]) {
                    break error;
                }
            };
            *self.1.lock().unwrap() = Some(error);
        }
    }
    both_worlds(|| {
        in_time(|| {
            let (near, _far) = connection();
            let end = Arc::new(Mutex::new(None));
            is_cut_short("a stubborn destructor", || {
                let _farewell = Farewell(near, end.clone());
                sleep(FOREVER);
            });
            let error = end.lock().unwrap().take().unwrap();
            // As std has it for the timeout of a socket.
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        });
    });
}

/// Breaks if a routine takes the panic of a neighbour, which waits in a destructor, for its own.
#[test]
fn a_panicking_neighbour_does_not_matter() {
    in_time(|| {
        let runtime = runtime(1);
        let (told, panics) = bounded(1);
        let neighbour = runtime.spawn(move || {
            let _guard = OnDrop(move || {
                told.send(()).unwrap();
                sleep(MOMENT * 5);
            });
            resume_unwind(Box::new("its own"));
        });
        let cut_short = runtime.spawn(move || {
            panics.recv().unwrap();
            is_cut_short("beside a panic", || sleep(FOREVER));
        });
        assert!(cut_short.join().is_ok());
        assert!(neighbour.join().is_err());
        runtime.shutdown();
    });
}

/// Breaks if a limit is forgotten, or an error told that is none, because a neighbour waits in a destructor.
#[test]
fn limits_hold_beside_a_destructor_that_waits() {
    in_time(|| {
        let runtime = runtime(1);
        let (told, panics) = bounded(0);
        let (open, gate) = bounded::<()>(0);
        let cut_short = |wait: fn()| runtime.spawn(move || is_cut_short("beside a panic", wait));
        // This one begins to wait before, ...
        let early = runtime.spawn(move || {
            let (_sender, receiver) = bounded::<()>(0);
            assert!(timeout(MOMENT * 20, || receiver.recv()).is_err());
        });
        eventually("it has begun", || runtime.metrics().parks == 1);
        let neighbour = runtime.spawn(move || {
            let _guard = OnDrop(move || {
                told.send(()).unwrap();
                let _ = gate.recv();
            });
            resume_unwind(Box::new("its own"));
        });
        panics.recv().unwrap();
        early.join().unwrap();
        // ... and these cannot be told from one that unwinds until the neighbour is done.
        let late = [
            cut_short(|| drop(Semaphore::new(0).acquire())),
            cut_short(|| CancellationToken::new().wait()),
            cut_short(|| assert!(!Barrier::new(2).wait().is_leader())),
        ];
        let looks = runtime.metrics().timers_fired;
        eventually("they look", || runtime.metrics().timers_fired >= looks + 50);
        drop(open);
        assert!(neighbour.join().is_err());
        for routine in late {
            routine.join().unwrap();
        }
        runtime.shutdown();
    });
}

/// Breaks if a destructor that waits on beyond the limit, and looks now and then whether it must, loses its place to
/// those who have come later.
#[test]
fn destructors_keep_their_place() {
    in_time(|| {
        let runtime = runtime(1);
        let semaphore = Arc::new(Semaphore::new(0));
        let (came, order) = unbounded();
        let acquires = |name| {
            let (semaphore, came) = (semaphore.clone(), came.clone());
            move || {
                semaphore.acquire().unwrap().forget();
                came.send(name).unwrap();
            }
        };
        let first = acquires("the destructor");
        let first = runtime.spawn(move || {
            timeout(MOMENT, || {
                let _acquires = OnDrop(first);
                sleep(FOREVER);
            })
        });
        until_waiting(runtime.handle(), WaitReason::Semaphore, 1);
        let second = runtime.spawn(acquires("one who came later"));
        until_waiting(runtime.handle(), WaitReason::Semaphore, 2);
        let looks = runtime.metrics().timers_fired;
        eventually("it looks", || runtime.metrics().timers_fired >= looks + 3);
        let handle = runtime.handle().clone();
        let give = move || {
            // Not while it looks. Nobody begins to as long as this runs.
            while handle.metrics().ready > 0 {
                yield_now();
            }
            semaphore.add_permits(1);
            semaphore.add_permits(1);
        };
        runtime.spawn(give).join().unwrap();
        assert_eq!(order.recv(), Ok("the destructor"));
        assert_eq!(order.recv(), Ok("one who came later"));
        assert!(first.join().unwrap().is_err());
        second.join().unwrap();
        runtime.shutdown();
    });
}

/// Breaks if a lock takes the panic of a neighbour, which waits in a destructor, for its holder's.
#[test]
fn a_neighbours_panic_poisons_nothing() {
    in_time(|| {
        let runtime = runtime(1);
        let locks = Arc::new((Mutex::new(()), RwLock::new(())));
        let (told, panics) = bounded(0);
        let (open, gate) = bounded::<()>(0);
        let (locked, holds) = bounded(0);
        let holder = runtime.spawn({
            let locks = locks.clone();
            move || {
                let _guards = (locks.0.lock().unwrap(), locks.1.write().unwrap());
                locked.send(()).unwrap();
                panics.recv().unwrap();
            }
        });
        holds.recv().unwrap();
        let neighbour = runtime.spawn(move || {
            let _guard = OnDrop(move || {
                told.send(()).unwrap();
                let _ = gate.recv();
            });
            resume_unwind(Box::new("its own"));
        });
        holder.join().unwrap();
        drop(open);
        assert!(neighbour.join().is_err());
        assert!(!locks.0.is_poisoned() && !locks.1.is_poisoned());
        runtime.shutdown();
    });
}

/// Breaks if a wait of a destructor that the limit cuts short, and that goes on, misses a notification in between.
#[test]
fn a_notification_is_not_lost_to_the_limit() {
    in_time(|| {
        let runtime = runtime(1);
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let due = Instant::now() + MOMENT * 10;
        let notifier = runtime.spawn({
            let state = state.clone();
            move || {
                sleep_until(due);
                *state.0.lock().unwrap() = true;
                state.1.notify_one();
            }
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        let waiter = runtime.spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            timeout_at(due + MOMENT, || {
                let _guard = OnDrop(|| {
                    let mut notified = state.0.lock().unwrap();
                    while !*notified {
                        notified = state.1.wait(notified).unwrap();
                    }
                });
                // Then both are late, and the worker, which has seen neither, ends the sleep before the wait.
                hog(MOMENT * 20, || false);
                // Unwound before it looks.
                let _ = socket.recv(&mut [0]);
            })
        });
        assert!(waiter.join().unwrap().is_err());
        notifier.join().unwrap();
        runtime.shutdown();
    });
}

/// Breaks if a tick that never comes is waited for by a destructor, which can wait no longer.
#[test]
fn a_destructor_gives_up_an_endless_interval() {
    both_worlds(|| {
        in_time(|| {
            let mut interval = interval(Duration::MAX);
            interval.tick();
            is_cut_short("an endless interval", || interval.tick());
            is_cut_short("its destructor", || {
                let _guard = OnDrop(|| _ = interval.tick());
                sleep(FOREVER);
            });
        });
    });
}

/// Breaks if the limit is that of the worker and not of the routine, or is inherited.
#[test]
fn others_are_not_limited() {
    in_time(|| {
        let runtime = runtime(1);
        let done = runtime.spawn(|| {
            let neighbour = spawn(|| sleep(MOMENT * 5));
            let child = timeout(MOMENT, || spawn(|| sleep(MOMENT * 5)));
            assert!(timeout(MOMENT, || sleep(FOREVER)).is_err());
            neighbour.join().unwrap();
            child.unwrap().join().unwrap();
            // A scope is waited for, since its routines borrow.
            let mut slept = false;
            let end = timeout(MOMENT, || {
                scope(|scope| {
                    scope.spawn(|| {
                        sleep(MOMENT * 3);
                        slept = true;
                    });
                });
            });
            assert!(end.is_ok());
            assert!(slept);
        });
        done.join().unwrap();
        runtime.shutdown();
    });
}

/// Receives with limits that pass about when the messages come. Answers how many it got.
fn receive_impatiently(receiver: &Receiver<u64>, seed: u64) -> (u64, u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut count, mut sum) = (0, 0);
    loop {
        let limit = Duration::from_micros(random.u64(0..200));
        match timeout(limit, || receiver.recv()) {
            Ok(Ok(message)) => {
                count += 1;
                sum += message;
            }
            Ok(Err(_)) => return (count, sum),
            Err(_) => {}
        }
    }
}

/// Breaks if a message is lost or comes twice when the limit and a sender compete for a receiver, whether routine or
/// thread, or a sender's limit takes back what was delivered.
#[test]
fn racing_with_messages_loses_none() {
    const SENDERS: u64 = 4;
    const MESSAGES: u64 = 500;
    in_time(|| {
        let mut random = random();
        for capacity in [0, 1, 16] {
            let runtime = runtime(2);
            let (sender, receiver) = bounded(capacity);
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let (receiver, seed) = (receiver.clone(), random.u64(..));
                    runtime.spawn(move || receive_impatiently(&receiver, seed))
                })
                .collect();
            let seed = random.u64(..);
            let thread = std::thread::spawn(move || receive_impatiently(&receiver, seed));
            let senders: Vec<_> = (0..SENDERS)
                .map(|number| {
                    let (sender, mut random) = (sender.clone(), random.fork());
                    runtime.spawn(move || {
                        let mut sent = 0;
                        let mut next = number;
                        while next < SENDERS * MESSAGES {
                            let limit = Duration::from_micros(random.u64(0..200));
                            if timeout(limit, || sender.send(next)).is_ok_and(|sent| sent.is_ok()) {
                                sent += 1;
                                next += SENDERS;
                            }
                            if random.u8(..) < 64 {
                                sleep(Duration::from_micros(random.u64(0..100)));
                            }
                        }
                        sent
                    })
                })
                .collect();
            drop(sender);
            let sent: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
            let received = receivers.into_iter().map(|receiver| receiver.join().unwrap());
            let received = received.chain([thread.join().unwrap()]);
            let (count, sum) = received.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            let total = SENDERS * MESSAGES;
            assert_eq!((sent, count, sum), (total, total, total * (total - 1) / 2));
            runtime.shutdown();
        }
    });
}
