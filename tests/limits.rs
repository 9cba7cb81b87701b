//! At the limits of the system: errors that say so, and everything else goes on. No hang, no abort.
//!
//! What takes something away from the whole process runs in a process of its own.

#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::fs::{self, read_dir};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{Receiver, bounded, unbounded};
use rust_routines::fs::OpenOptions;
use rust_routines::net::{TcpListener, UdpSocket};
use rust_routines::os::fd::Watched;
use rust_routines::os::unix::net::UnixStream;
use rust_routines::time::timeout;
use rust_routines::{
    Builder, JoinHandle, Runtime, RuntimeBuilder, blocking, drivers, sleep, spawn,
};
use socket2::{Domain, SockAddr, Socket, Type};

use self::support::child::{Ended, FINISHED, in_child};
use self::support::chosen::builder;
use self::support::watchdog::watchdog;

mod support {
    pub(crate) mod child;
    pub(crate) mod chosen;
    pub(crate) mod watchdog;
}

const LIMIT: Duration = Duration::from_secs(50);

/// Sets the soft limit on a resource of this process, and lowers the hard one to it if asked to.
fn set_limit(resource: libc::__rlimit_resource_t, value: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both take valid pointers, and only change a limit of this process.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = value.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

/// Has this process count as a user's who has no other, and who may have `tasks` threads. Root is not
/// limited.
fn limit_threads(tasks: u64) {
    // SAFETY: no pointers; changes who this process, which is a child of a test, runs as.
    unsafe {
        if libc::geteuid() == 0 {
            let nobody = 1_000_000 + libc::getpid().unsigned_abs();
            assert_eq!(libc::setgid(nobody), 0);
            assert_eq!(libc::setuid(nobody), 0);
        }
    }
    set_limit(libc::RLIMIT_NPROC, tasks);
}

/// Threads of this process.
fn threads() -> usize {
    read_dir("/proc/self/task").expect("procfs").count()
}

/// Address space of this process.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("procfs");
    pages.split(' ').next().expect("a number").parse::<u64>().expect("a number") * 4096
}

/// The number that the next file descriptor will have: a limit of that many leaves none.
fn next_descriptor() -> u64 {
    let file = fs::File::open("/dev/null").expect("a descriptor");
    file.as_raw_fd().unsigned_abs().into()
}

/// A builder for each I/O driver that is compiled in.
fn each_driver() -> impl Iterator<Item = RuntimeBuilder> {
    drivers::io_names().map(|name| builder().io_named(name).expect("a driver that is compiled in"))
}

/// The body of the child has come to its end.
#[track_caller]
fn assert_finished(ended: &Ended) {
    assert!(ended.status.code() == Some(FINISHED), "{}:\n{}", ended.status, ended.errors);
}

/// Waits, bounded by the test's own time, until `condition` holds.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Uses everything once: routines, channels, timers, sockets, files, the pool.
fn exercise(runtime: &Runtime) {
    runtime
        .spawn(|| {
            let (sender, receiver) = bounded(0);
            let routine = spawn(move || receiver.iter().sum::<u64>());
            (0..10).for_each(|n| sender.send(n).expect("a receiver"));
            drop(sender);
            assert_eq!(routine.join().expect("a sum"), 45);
            sleep(Duration::from_micros(100));
            assert_eq!(blocking(|| 42), 42);
            match rust_routines::fs::read("/proc/self/stat") {
                Ok(text) => assert!(!text.is_empty()),
                Err(error) => assert_no_thread(&error),
            }
        })
        .join()
        .expect("no panic");
}

/// The error of a file operation that needs a thread when there is none.
#[track_caller]
fn assert_no_thread(error: &io::Error) {
    // It says what is missing, and not that the file was not ready.
    assert_eq!(error.kind(), ErrorKind::Other, "{error:?}");
    assert!(error.to_string().contains("no thread for blocking I/O"), "{error:?}");
}

// Breaks if a worker's thread that cannot be had leaves the others waiting, or is reported late.
#[test]
fn building_without_threads_is_an_error() {
    let ended = in_child("building_without_threads_is_an_error", LIMIT, || {
        limit_threads(1);
        let before = threads();
        let mut built = 0;
        for tasks in 1..16 {
            set_limit(libc::RLIMIT_NPROC, tasks);
            for builder in each_driver() {
                match builder.workers(4).build() {
                    Ok(runtime) => {
                        built += 1;
                        exercise(&runtime);
                        runtime.shutdown();
                    }
                    Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}"),
                }
                wait_until(|| threads() == before);
            }
        }
        assert!(built > 0, "in the end there are enough");
    });
    assert_finished(&ended);
}

// Breaks if thousands of workers that started before the first that did not are leaked.
#[test]
fn building_with_far_too_many_workers_is_an_error() {
    let ended = in_child("building_with_far_too_many_workers_is_an_error", LIMIT, || {
        limit_threads(200);
        let before = threads();
        for builder in each_driver() {
            let error = builder.workers(4000).build().expect_err("there are not that many");
            assert!(error.raw_os_error().is_some(), "{error}");
            wait_until(|| threads() == before);
        }
    });
    assert_finished(&ended);
}

// Breaks if a driver that gets no descriptor panics, hangs the builder, or leaks those it has.
#[test]
fn building_without_descriptors_is_an_error() {
    let ended = in_child("building_without_descriptors_is_an_error", LIMIT, || {
        let many = next_descriptor() + 200;
        let mut outcomes = [0, 0];
        for builder in each_driver() {
            // The first of all sets up what the process keeps, std's random seeds for one.
            set_limit(libc::RLIMIT_NOFILE, many);
            exercise(&builder.build().expect("a runtime"));
        }
        let first = next_descriptor();
        for spare in 0..24 {
            for builder in each_driver() {
                set_limit(libc::RLIMIT_NOFILE, first + spare);
                let result = builder.workers(3).build();
                set_limit(libc::RLIMIT_NOFILE, many);
                outcomes[usize::from(result.is_ok())] += 1;
                match result {
                    Ok(runtime) => exercise(&runtime),
                    Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}"),
                }
                assert_eq!(next_descriptor(), first, "descriptors are left");
            }
        }
        assert!(outcomes[1] > 0, "in the end there are enough");
    });
    assert_finished(&ended);
}

// Breaks if threads or stacks that find no room take the process with them.
#[test]
fn building_without_address_space_is_an_error() {
    let ended = in_child("building_without_address_space_is_an_error", LIMIT, || {
        let mut outcomes = [0, 0];
        let before = threads();
        for mebibytes in [1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 4096] {
            for builder in each_driver() {
                // Stacks take whole mebibytes. Std aborts if nothing is left for the signal stack of a thread that starts.
                set_limit(libc::RLIMIT_AS, address_space() + (mebibytes << 20) + (512 << 10));
                let result = builder.workers(4).build();
                set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
                outcomes[usize::from(result.is_ok())] += 1;
                match result {
                    Ok(runtime) => exercise(&runtime),
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::WouldBlock),
                        "{error:?}"
                    ),
                }
                wait_until(|| threads() == before);
            }
        }
        assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
    });
    assert_finished(&ended);
}

/// Spawns, again if there is no room: what workers keep at hand they give back for the asking, but not at once.
fn insist<T>(mut spawn: impl FnMut() -> io::Result<JoinHandle<T>>) -> JoinHandle<T> {
    loop {
        match spawn() {
            Ok(routine) => return routine,
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}"),
        }
        sleep(Duration::from_micros(100));
    }
}

/// Address space to spawn in. Threads that are only just starting still reserve 64 MiB each for their allocator,
/// and std aborts if nothing is left for the signal stack of one.
const ROOM: u64 = 512 << 20;

/// Whether every other thread of the process sleeps, so that none of them is only just starting.
fn all_others_sleep() -> bool {
    read_dir("/proc/self/task").expect("a list of threads").all(|task| {
        let path = task.expect("a thread").path();
        // One that has ended meanwhile counts as asleep.
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_else(|_| ") S".to_owned());
        let state = stat.rsplit(") ").next().map(str::to_owned).unwrap_or_default();
        // SAFETY: takes no pointers.
        let own = unsafe { libc::gettid() }.to_string();
        state.starts_with('S') || path.ends_with(own)
    })
}

/// Spawns routines that wait until there is no room for another, lets all of them go on, and does it again.
fn spawn_to_the_limit(options: &Builder) {
    for builder in each_driver() {
        set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
        let runtime = builder.workers(2).build().expect("a runtime");
        exercise(&runtime);
        wait_until(all_others_sleep);
        set_limit(libc::RLIMIT_AS, address_space() + ROOM);
        let mut first = 0;
        for _ in 0..2 {
            let (release, held) = unbounded::<()>();
            let waits = |held: &Receiver<()>| {
                let held = held.clone();
                move || held.recv().is_err()
            };
            let root = insist(|| {
                let (options, held) = (options.clone(), held.clone());
                Builder::new().spawn_on(runtime.handle(), move || {
                    let mut routines: Vec<_> = (0..first)
                        .map(|_| insist(|| options.clone().spawn(waits(&held))))
                        .collect();
                    loop {
                        match options.clone().spawn(waits(&held)) {
                            Ok(routine) => routines.push(routine),
                            Err(error) => return (routines, error),
                        }
                    }
                })
            });
            let (routines, error) = root.join().expect("no panic");
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            assert!(routines.len() >= 16, "room for {} only", routines.len());
            // Not to the last one, since it varies how many stacks lie with the workers.
            first = routines.len() * 9 / 10;
            drop((release, held));
            for routine in routines {
                assert!(routine.join().expect("no panic"));
            }
            wait_until(|| runtime.metrics().live == 0);
        }
        set_limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
        exercise(&runtime);
        runtime.shutdown();
    }
}

// Breaks if a spawn without room for its stack panics, aborts, loses routines spawned before, or uses the
// room up for good.
#[test]
fn spawning_beyond_the_address_space_is_an_error_and_all_before_complete() {
    let test = "spawning_beyond_the_address_space_is_an_error_and_all_before_complete";
    assert_finished(&in_child(test, LIMIT, || spawn_to_the_limit(&Builder::new())));
}

// The same for routines that bring a stack of their own size.
#[test]
fn spawning_own_stacks_beyond_the_address_space_is_an_error() {
    let test = "spawning_own_stacks_beyond_the_address_space_is_an_error";
    let ended = in_child(test, LIMIT, || spawn_to_the_limit(&Builder::new().stack_size(1 << 20)));
    assert_finished(&ended);
}

fn tcp_socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket")
}

// Breaks if `accept` swallows the error, spins on it, or never sees the connections that wait.
#[test]
fn accept_without_descriptors_is_an_error_and_the_listener_recovers() {
    const CLIENTS: usize = 20;
    let test = "accept_without_descriptors_is_an_error_and_the_listener_recovers";
    let ended = in_child(test, LIMIT, || {
        for builder in each_driver() {
            let many = next_descriptor() + 200;
            set_limit(libc::RLIMIT_NOFILE, many);
            let runtime = builder.workers(2).build().expect("a runtime");
            exercise(&runtime);
            let (results, reports) = unbounded();
            let (go_on, commands) = bounded::<()>(0);
            let (address, listening) = bounded(1);
            let server = runtime.spawn(move || {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
                address.send(listener.local_addr().expect("its address")).expect("the test");
                for () in commands {
                    results.send(listener.accept().map(|(stream, _)| stream)).expect("the test");
                }
            });
            let address = listening.recv().expect("a listener");

            // An accept that waits when the descriptors are used up.
            go_on.send(()).expect("the server");
            wait_until(|| runtime.metrics().parked == 1);
            let mut client = TcpStream::connect(address).expect("a connection");
            let mut streams = vec![reports.recv().expect("a report").expect("a stream")];
            go_on.send(()).expect("the server");
            wait_until(|| runtime.metrics().parked == 1);
            // Made now, so that to connect them takes no descriptor.
            let clients: Vec<_> = (0..CLIENTS).map(|_| tcp_socket()).collect();
            let address = SockAddr::from(address);
            set_limit(libc::RLIMIT_NOFILE, next_descriptor());
            let mut connected = 0;
            let error = loop {
                clients[connected].connect(&address).expect("a connection");
                connected += 1;
                match reports.recv().expect("a report") {
                    // A thread that had tried to accept has let go of a descriptor in between.
                    Ok(stream) => streams.push(stream),
                    Err(error) => break error,
                }
                go_on.send(()).expect("the server");
            };
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");

            // Every further one fails at once; the others go on meanwhile.
            for _ in 0..100 {
                go_on.send(()).expect("the server");
                let error = reports.recv().expect("a report").expect_err("no descriptor");
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
            }
            let other = runtime.spawn(|| {
                sleep(Duration::from_micros(100));
                1
            });
            assert_eq!(other.join().expect("no panic"), 1);

            set_limit(libc::RLIMIT_NOFILE, many);
            for client in &clients[connected..] {
                client.connect(&address).expect("a connection");
            }
            while streams.len() < 1 + CLIENTS {
                go_on.send(()).expect("the server");
                streams.push(reports.recv().expect("a report").expect("a stream"));
            }
            client.write_all(b"ping").expect("a peer");
            let first = streams.swap_remove(0);
            let echo = runtime.spawn(move || {
                let mut buffer = [0; 4];
                (&first).read_exact(&mut buffer)?;
                (&first).write_all(&buffer)
            });
            let mut buffer = [0; 4];
            client.read_exact(&mut buffer).expect("an echo");
            echo.join().expect("no panic").expect("no error");
            assert_eq!(&buffer, b"ping");
            drop(go_on);
            server.join().expect("no panic");
        }
    });
    assert_finished(&ended);
}

// Breaks if work for the pool waits for a thread that never comes, or is lost with it.
#[test]
fn closures_run_and_files_answer_where_no_thread_can_be_had() {
    let ended = in_child("closures_run_and_files_answer_where_no_thread_can_be_had", LIMIT, || {
        let runtimes: Vec<_> =
            each_driver().map(|builder| builder.workers(2).build().expect("a runtime")).collect();
        let before = threads();
        limit_threads(1);
        for runtime in &runtimes {
            let routines: Vec<_> = (0..1000)
                .map(|number| {
                    runtime.spawn(move || {
                        let mut sum = number;
                        for _ in 0..5 {
                            sum += blocking(|| number);
                            match rust_routines::fs::read("/proc/self/statm") {
                                Ok(text) => assert!(text.contains(&b' ')),
                                Err(error) => assert_no_thread(&error),
                            }
                        }
                        sum
                    })
                })
                .collect();
            for (number, routine) in routines.into_iter().enumerate() {
                assert_eq!(routine.join().expect("no panic"), 6 * number);
            }
            exercise(runtime);
        }
        assert!(threads() <= before, "there were no more to be had");
    });
    assert_finished(&ended);
}

// Breaks if a burst of closures starts more threads than allowed, or any of them is forgotten.
#[test]
fn thousands_of_blocking_closures_share_few_threads() {
    let _watchdog = watchdog(LIMIT, "thousands of blocking closures");
    for builder in each_driver() {
        let runtime = builder.workers(2).pool_threads(3).build().unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let routines: Vec<_> = (0..5000)
            .map(|number| {
                let (running, most) = (running.clone(), most.clone());
                runtime.spawn(move || {
                    blocking(|| {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        number
                    })
                })
            })
            .collect();
        for (number, routine) in routines.into_iter().enumerate() {
            assert_eq!(routine.join().unwrap(), number);
        }
        let pool = runtime.metrics().pool;
        assert!(pool.threads_peak <= 3 && most.load(Ordering::SeqCst) <= 3, "{pool:?}");
        assert!(pool.handed_over >= 5000 && pool.queued == 0, "{pool:?}");
        runtime.shutdown();
    }
}

#[track_caller]
fn assert_invalid<T>(result: io::Result<T>) {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
    }
}

// Breaks if a number that makes no sense panics, overflows, or is taken for another.
#[test]
fn numbers_that_make_no_sense_are_invalid_input() {
    let _watchdog = watchdog(LIMIT, "numbers that make no sense");
    for workers in [0, 65_536, usize::MAX] {
        assert_invalid(builder().workers(workers).build());
    }
    assert_invalid(builder().pool_threads(0).build());
    for size in [0, 1, 4096, 16 * 1024, isize::MAX as usize + 1, usize::MAX] {
        assert_invalid(builder().stack_size(size).build());
    }
    assert_invalid(builder().name("a\0b").build());
    assert_invalid(Runtime::builder().io_named("paper"));
    assert_invalid(Runtime::builder().timer_named("sand"));

    let runtime = builder().workers(1).build().unwrap();
    for size in [0, 1, 4096, 16 * 1024, isize::MAX as usize + 2, usize::MAX] {
        let options = Builder::new().stack_size(size);
        assert_invalid(options.spawn_on(runtime.handle(), || ()));
    }
    // Makes sense, but there is not that much.
    let options = Builder::new().stack_size(1 << 47);
    let error = options.spawn_on(runtime.handle(), || ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    assert_eq!(runtime.spawn(|| 1).join().unwrap(), 1);
    wait_until(|| runtime.metrics().live == 0);
    runtime.shutdown();
}

// Fails if a FIFO that takes the last descriptor is read by a thread, out of reach of any limit, or if a device is whose
// nature could not be found out.
#[test]
fn the_last_descriptor_is_enough_for_a_fifo() {
    let ended = in_child("the_last_descriptor_is_enough_for_a_fifo", LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is borrowed for the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let runtime = builder().workers(1).build().unwrap();
        runtime.spawn(|| blocking(|| ())).join().unwrap();
        let check = move || {
            let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
            let free = next_descriptor();
            set_limit(libc::RLIMIT_NOFILE, free + 1);
            let (fifo, device) = (open(&path).unwrap(), open(Path::new("/dev/null")));
            set_limit(libc::RLIMIT_NOFILE, free);
            assert_eq!(device.unwrap_err().raw_os_error(), Some(libc::EMFILE));
            // SAFETY: takes no pointers.
            let flags = unsafe { libc::fcntl(fifo.as_raw_fd(), libc::F_GETFL) };
            assert_ne!(flags & libc::O_NONBLOCK, 0);
            let read = timeout(Duration::from_millis(1), || (&fifo).read(&mut [0]));
            assert!(read.is_err(), "{read:?}");
            drop(fifo);
            set_limit(libc::RLIMIT_NOFILE, free + 1);
            assert_eq!(
                open(Path::new("/dev/null")).unwrap_err().raw_os_error(),
                Some(libc::EMFILE)
            );
        };
        check.clone()();
        runtime.spawn(check).join().expect("no panic");
    });
    assert_finished(&ended);
}

// Fails if those who wait for what is open already get an error where a sandbox lets nobody open more.
#[test]
fn waits_need_no_descriptors() {
    let ended = in_child("waits_need_no_descriptors", LIMIT, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let watched = Watched::new(std::net::UdpSocket::from(socket.try_clone().unwrap()));
        let (near, far) = UnixStream::pair().unwrap();
        let runtime = builder().workers(1).build().unwrap();
        set_limit(libc::RLIMIT_NOFILE, 0);
        let check = Arc::new(move || {
            let moment = Duration::from_millis(1);
            let timed_out = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
            };
            socket.set_read_timeout(Some(moment)).unwrap();
            assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            timed_out(watched.wait_readable_timeout(moment));
            timed_out(watched.wait_priority_timeout(moment));
            assert!(timeout(moment, || (&near).read(&mut [0])).is_err());
            watched.wait_writable().unwrap();
            peer.send_to(b"one", socket.local_addr().unwrap()).unwrap();
            watched.wait_readable().unwrap();
            assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 3);
            (&far).write_all(b"x").unwrap();
            assert_eq!((&near).read(&mut [0; 9]).unwrap(), 1);
        });
        check();
        runtime.spawn(move || check()).join().expect("no panic");
    });
    assert_finished(&ended);
}

// Breaks if extreme but legal values overflow somewhere: a wait for ever must still end at the shutdown.
#[test]
fn extreme_numbers_that_make_sense_work() {
    let _watchdog = watchdog(LIMIT, "extreme numbers");
    let extreme = [
        builder().spin(Duration::MAX),
        builder().spin(Duration::ZERO),
        builder().pool_threads(usize::MAX),
        builder().pool_threads(1),
        builder().name(""),
        builder().name("n".repeat(1000)),
        builder().stack_size(64 * 1024),
        builder().stack_size(1 << 30),
        builder().workers(100),
    ];
    for builder in extreme {
        let runtime = builder.build().unwrap();
        exercise(&runtime);
        let forever = runtime.spawn(|| sleep(Duration::MAX));
        let name = "o\0dd\n".repeat(100);
        let named = Builder::new().name(name.clone()).spawn_on(runtime.handle(), || {
            rust_routines::park_timeout(Duration::ZERO);
            rust_routines::current().name().map(str::to_owned)
        });
        assert_eq!(named.unwrap().join().unwrap(), Some(name));
        let start = Instant::now();
        let left = runtime.shutdown_timeout(Duration::from_nanos(1));
        assert!(left.len() <= 1 && start.elapsed() < LIMIT);
        assert!(forever.join().is_err());
    }
}

// Breaks if a closure and a result of a few pages are moved about so often that they do not fit the default
// stack.
#[test]
fn a_closure_and_a_result_of_some_pages_fit_the_default_stack() {
    const BYTES: usize = 8 * 1024;
    let _watchdog = watchdog(LIMIT, "a large closure");
    let runtime = builder().workers(1).build().unwrap();
    let large = [7_u8; BYTES];
    let routine = runtime.spawn(move || {
        sleep(Duration::from_micros(1));
        large
    });
    assert_eq!(routine.join().unwrap(), [7; BYTES]);
    runtime.shutdown();
}
