//! Files, and closures that block, through routines.

mod util;

use std::ffi::CString;
use std::fs::FileTimes;
use std::io::{self, ErrorKind, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rust_routines::fs::{self, File, OpenOptions};
use rust_routines::net::ToSocketAddrs;
use rust_routines::process::Command;
use rust_routines::time::timeout;
use rust_routines::{Canceled, Handle, WaitReason, blocking, scope, sleep, spawn, yield_now};
use util::{Neighbour, Population, bounded as in_time, runtime, until_waiting};

/// Runs `check` on this thread and once more in a routine, each with a directory of its own.
fn both_worlds(check: impl Fn(&Path) + Send + Clone + 'static) {
    in_time(|| {
        let directory = tempfile::tempdir().unwrap();
        check(directory.path());
        let check = check.clone();
        let routine = spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            check(directory.path());
        });
        routine.join().unwrap();
    });
}

/// Has the kernel forget what it has cached of a file, as far as it likes to.
fn evict(file: &File) {
    file.sync_all().unwrap();
    // SAFETY: takes no pointers.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// Fails if what is written is not what is read, from the cache or from the disk.
#[test]
fn cached_and_uncached_reads() {
    both_worlds(|directory| {
        let path = directory.join("data");
        let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        fs::write(&path, &data).unwrap();
        assert!(fs::read(&path).unwrap() == data);
        let mut file = File::open(&path).unwrap();
        for _ in 0..3 {
            evict(&file);
            assert!(fs::read(&path).unwrap() == data);
            evict(&file);
            let mut block = [0; 5_000];
            for offset in [0, 4_095, 77_777, 995_000] {
                file.read_exact_at(&mut block, offset).unwrap();
                assert!(block[..] == data[offset as usize..][..5_000]);
            }
            assert_eq!(file.read_at(&mut block, 1_000_000).unwrap(), 0);
        }
        file.seek(SeekFrom::End(-3)).unwrap();
        let mut end = Vec::new();
        file.read_to_end(&mut end).unwrap();
        assert_eq!(end, data[999_997..]);
    });
}

/// Fails if the ways to open a file do not mean what they mean to std.
#[test]
fn ways_to_open() {
    both_worlds(|directory| {
        let path = directory.join("log");
        assert_eq!(util::error_kind(File::open(&path)), Some(ErrorKind::NotFound));
        let mut file = File::create_new(&path).unwrap();
        assert_eq!(util::error_kind(File::create_new(&path)), Some(ErrorKind::AlreadyExists));
        file.write_all(b"one").unwrap();
        file.seek(SeekFrom::Start(1)).unwrap();
        file.write_all(b"N").unwrap();
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        writeln!(log, " two").unwrap();
        file.write_all_at(b"0", 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0Ne two\n");
        assert_eq!(file.metadata().unwrap().len(), 8);
        file.set_len(2).unwrap();
        file.sync_data().unwrap();
        let mut clone = file.try_clone().unwrap();
        clone.seek(SeekFrom::Start(1)).unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "N", "clones share their position");
        file.set_times(FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), std::time::UNIX_EPOCH);
        drop(File::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"");
        let invalid = OpenOptions::new().create(true).open(&path);
        assert_eq!(util::error_kind(invalid), Some(ErrorKind::InvalidInput));
        assert_eq!(util::error_kind(File::open("a\0b")), Some(ErrorKind::InvalidInput));
        assert_eq!(util::error_kind(fs::read(directory)), Some(ErrorKind::IsADirectory));
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(util::error_kind(fs::read_to_string(&path)), Some(ErrorKind::InvalidData));
    });
}

/// Fails if directories are not walked to their end, or what is done to them is not what is said.
#[test]
fn directories() {
    both_worlds(|directory| {
        let deep = directory.join("a/b/c");
        assert_eq!(util::error_kind(fs::create_dir(&deep)), Some(ErrorKind::NotFound));
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(&deep).unwrap();
        // More than are fetched at once.
        for i in 0..300 {
            fs::write(deep.join(format!("{i}")), b"x").unwrap();
        }
        let mut names: Vec<u32> = fs::read_dir(&deep)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                assert!(entry.file_type().unwrap().is_file());
                assert_eq!(entry.path().parent(), Some(&*deep));
                entry.file_name().into_string().unwrap().parse().unwrap()
            })
            .collect();
        names.sort();
        assert_eq!(names, (0..300).collect::<Vec<_>>());
        fs::rename(deep.join("0"), deep.join("zero")).unwrap();
        fs::hard_link(deep.join("zero"), directory.join("link")).unwrap();
        assert_eq!(fs::copy(directory.join("link"), directory.join("copy")).unwrap(), 1);
        assert!(fs::exists(deep.join("zero")).unwrap() && !fs::exists(deep.join("0")).unwrap());
        assert_eq!(util::error_kind(fs::remove_dir(&deep)), Some(ErrorKind::DirectoryNotEmpty));
        fs::remove_file(directory.join("copy")).unwrap();
        fs::remove_dir_all(directory.join("a")).unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
        assert_eq!(util::error_kind(fs::read_dir(&deep)), Some(ErrorKind::NotFound));
    });
}

/// Fails if many routines that work on files get into each other's way.
#[test]
fn many_files_at_once() {
    in_time(|| {
        let runtime = runtime(2);
        let directory = tempfile::tempdir().unwrap();
        let routines: Vec<_> = (0..200_u32)
            .map(|i| {
                let path = directory.path().join(i.to_string());
                runtime.spawn(move || {
                    let mut file = File::create_new(&path).unwrap();
                    for round in 0..20 {
                        file.write_all(&(i * 100 + round).to_le_bytes()).unwrap();
                    }
                    if i % 4 == 0 {
                        evict(&file);
                    }
                    let bytes = fs::read(&path).unwrap();
                    for (round, bytes) in (0..).zip(bytes.chunks(4)) {
                        assert_eq!(bytes, (i * 100 + round).to_le_bytes());
                    }
                    assert_eq!(bytes.len(), 80);
                    fs::remove_file(&path).unwrap();
                })
            })
            .collect();
        routines.into_iter().for_each(|routine| routine.join().unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        runtime.shutdown();
    });
}

/// Fails if a FIFO that nobody writes to holds more than its reader up, or a timeout of the test.
#[test]
fn fifo_parks_its_reader() {
    in_time(|| {
        let runtime = runtime(1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends in a zero byte.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let reader = runtime.spawn({
            let path = path.clone();
            move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        // The only worker is free.
        runtime.spawn(|| sleep(Duration::from_millis(2))).join().unwrap();
        assert!(!reader.is_finished());
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        writer.write_all(b"through ").unwrap();
        until_waiting(runtime.handle(), WaitReason::IoRead, 1);
        writer.write_all(b"the pipe").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap(), "through the pipe");
        runtime.shutdown();
    });
}

/// Fails if a closure that blocks cannot borrow from its routine, or holds up others.
#[test]
fn blocking_borrows() {
    in_time(|| {
        let runtime = runtime(1);
        let ticks = Arc::new(AtomicUsize::new(0));
        let others = ticks.clone();
        let ticker = runtime.spawn(move || {
            while others.fetch_add(1, Ordering::SeqCst) < 100 {
                sleep(Duration::from_micros(100));
                yield_now();
            }
        });
        let routine = runtime.spawn(move || {
            let mut numbers = vec![3, 1, 2];
            let text = String::from("borrowed");
            let home = thread::current().id();
            let length = blocking(|| {
                assert_ne!(thread::current().id(), home);
                let before = ticks.load(Ordering::SeqCst);
                // A deadline would be a wait on the thing itself; the ticker ends at some point.
                while ticks.load(Ordering::SeqCst) < (before + 5).min(100) {
                    thread::sleep(Duration::from_millis(1));
                }
                numbers.sort();
                text.len()
            });
            assert_eq!(thread::current().id(), home);
            (numbers, length)
        });
        assert_eq!(routine.join().unwrap(), (vec![1, 2, 3], 8));
        ticker.join().unwrap();
        // On a plain thread it runs right here.
        let here = thread::current().id();
        assert_eq!(blocking(|| thread::current().id()), here);
        runtime.shutdown();
    });
}

/// Fails if the panic of a closure that blocks harms the pool, or does not come out of the call.
#[test]
fn blocking_passes_panics_on() {
    in_time(|| {
        let runtime = util::builder().workers(1).pool_threads(1).build().unwrap();
        let routine = runtime.spawn(|| {
            for i in 0..20 {
                let caught = std::panic::catch_unwind(|| {
                    blocking(|| std::panic::resume_unwind(Box::new(i)))
                });
                let payload: Box<dyn std::any::Any + Send> = match caught {
                    Ok(never) => never,
                    Err(payload) => payload,
                };
                assert_eq!(*payload.downcast::<i32>().unwrap(), i);
                assert!(!thread::panicking());
                assert_eq!(blocking(|| i), i);
            }
            blocking(|| std::panic::resume_unwind(Box::new("out of join")));
        });
        assert_eq!(util::message(&*routine.join().unwrap_err()), "out of join");
        runtime.shutdown();
    });
}

/// Fails if more closures than threads deadlock, run twice, or use more threads than allowed.
#[test]
fn blocking_beyond_the_pool() {
    in_time(|| {
        let runtime = util::builder().workers(2).pool_threads(3).build().unwrap();
        let population = Population::new();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let routines: Vec<_> = (0..100)
            .map(|i| {
                let (running, most) = (running.clone(), most.clone());
                let member = population.member();
                runtime.spawn(move || {
                    let member = blocking(move || {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        thread::sleep(Duration::from_millis(1));
                        running.fetch_sub(1, Ordering::SeqCst);
                        member
                    });
                    drop(member);
                    i
                })
            })
            .collect();
        assert_eq!(routines.into_iter().map(|r| r.join().unwrap()).sum::<u32>(), 4950);
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        assert_eq!((population.alive(), population.dropped()), (0, 100));
        runtime.shutdown();
    });
}

/// Fails if a closure that blocks inside another, or waits for routines, deadlocks.
#[test]
fn blocking_may_nest_and_wait() {
    in_time(|| {
        let runtime = util::builder().workers(1).pool_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        let routine = runtime.spawn(move || {
            blocking(move || {
                let routine = handle.spawn(|| 1);
                let inner = blocking(|| blocking(|| 2));
                let scoped = handle.scope(|scope| scope.spawn(|| 3).join().unwrap());
                routine.join().unwrap() + inner + scoped
            })
        });
        assert_eq!(routine.join().unwrap(), 6);
        runtime.shutdown();
    });
}

/// Fails if closures that hold all their threads keep from its thread what they wait for: files, look-ups, children.
#[test]
fn closures_may_wait_for_routines_that_use_the_system() {
    in_time(|| {
        let runtime = util::builder().workers(1).pool_threads(1).build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let (done, is_done) = std::sync::mpsc::channel();
        let (begins, begun) = std::sync::mpsc::channel();
        let closure = runtime.spawn(move || {
            blocking(move || {
                begins.send(()).unwrap();
                is_done.recv().unwrap()
            })
        });
        begun.recv().unwrap();
        let other = runtime.spawn(move || {
            fs::write(&path, b"written").unwrap();
            File::open(&path).unwrap().sync_all().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"written");
            let mut addresses = ("localhost", 80).to_socket_addrs().unwrap();
            assert!(addresses.all(|address| address.ip().is_loopback()));
            assert!(Command::new("true").status().unwrap().success());
            done.send(1).unwrap();
        });
        other.join().unwrap();
        assert_eq!(closure.join().unwrap(), 1);
        runtime.shutdown();
    });
}

/// Fails if closures that have not begun when the runtime is shut down run all the same, or leak.
#[test]
fn queued_closures_are_canceled() {
    in_time(|| {
        let runtime = util::builder().workers(1).pool_threads(1).build().unwrap();
        let population = Population::new();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (begins, begun) = std::sync::mpsc::channel();
        let first = runtime.spawn(move || {
            blocking(move || {
                begins.send(()).unwrap();
                assert!(released.recv().is_err());
            });
        });
        begun.recv().unwrap();
        let queued: Vec<_> = (0..10)
            .map(|_| {
                let member = population.member();
                runtime.spawn(move || blocking(move || drop(member)))
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::Blocking, 11);
        let releaser = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            drop(release);
        });
        let left = runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left.len(), 11);
        assert_eq!((population.alive(), population.dropped()), (0, 10));
        for routine in queued {
            assert!(routine.join().unwrap_err().is::<Canceled>());
        }
        // That one had begun; the shutdown has waited for it.
        first.join().unwrap();
        releaser.join().unwrap();
    });
}

/// Fails if scoped routines that block do not borrow from the scope's owner.
#[test]
fn blocking_in_scope() {
    both_worlds(|directory| {
        let total = AtomicUsize::new(0);
        scope(|scope| {
            for i in 0..10 {
                let (total, path) = (&total, directory.join(i.to_string()));
                scope.spawn(move || {
                    fs::write(&path, vec![0; i]).unwrap();
                    let length = blocking(|| std::fs::metadata(&path).unwrap().len());
                    total.fetch_add(length as usize, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(total.load(Ordering::SeqCst), 45);
    });
}

/// Fails if waiting for a file's lock holds a thread, which the holder may need, or the only worker.
#[test]
fn lock_is_waited_for_without_a_thread() {
    in_time(|| {
        let runtime = util::builder().workers(1).pool_threads(1).build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let holder = File::create(&path).unwrap();
        holder.lock().unwrap();
        let inside = Arc::new(AtomicUsize::new(0));
        let routines: Vec<_> = (0..5)
            .map(|i| {
                let (path, inside) = (path.clone(), inside.clone());
                runtime.spawn(move || {
                    let file = File::open(path).unwrap();
                    if i == 0 {
                        file.lock_shared().unwrap();
                    } else {
                        file.lock().unwrap();
                    }
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    // With the lock held, both the worker and the thread are there for others.
                    yield_now();
                    assert_eq!(blocking(|| i), i);
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    file.unlock().unwrap();
                })
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::Sleep, 5);
        assert_eq!(runtime.spawn(|| blocking(|| 7)).join().unwrap(), 7);
        assert_eq!(inside.load(Ordering::SeqCst), 0);
        holder.unlock().unwrap();
        routines.into_iter().for_each(|routine| routine.join().unwrap());
        runtime.shutdown();
    });
}

/// Fails if a routine that waits for a file's lock keeps its runtime from ending.
#[test]
fn waiting_for_a_lock_is_canceled() {
    in_time(|| {
        let runtime = runtime(1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let holder = File::create(&path).unwrap();
        holder.lock().unwrap();
        let routine = runtime.spawn(move || File::open(path).unwrap().lock());
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 1);
        assert!(routine.join().unwrap_err().is::<Canceled>());
        drop(holder);
    });
}

/// Fails if what the kernel has in memory makes a trip to the pool. A file system that asks a server makes it.
#[test]
fn what_is_in_memory_needs_no_thread() {
    in_time(|| {
        let runtime = runtime(1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"text").unwrap();
        let has_device = libc::major(std::fs::metadata(&path).unwrap().dev()) != 0;
        let routine = runtime.spawn(move || {
            let file = File::open(&path).unwrap();
            // A name that was looked for before, and is not there.
            let missing = path.with_file_name("missing");
            assert!(!fs::exists(&missing).unwrap());
            let before = Handle::try_current().unwrap().metrics().pool.handed_over;
            for _ in 0..10 {
                assert_eq!(file.metadata().unwrap().len(), 4);
                assert_eq!(fs::metadata(&path).unwrap().len(), 4);
                assert_eq!(fs::symlink_metadata(&path).unwrap().len(), 4);
                assert!(fs::exists(&path).unwrap() && !fs::exists(&missing).unwrap());
                file.lock().unwrap();
                file.unlock().unwrap();
            }
            Handle::try_current().unwrap().metrics().pool.handed_over - before
        });
        let handed_over = routine.join().unwrap();
        assert!(handed_over == 0 || !has_device, "{handed_over} trips");
        runtime.shutdown();
    });
}

/// Fails if reading a large file that is cached keeps the worker to itself.
#[test]
fn large_reads_let_others_run() {
    in_time(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![7; 16 << 20]).unwrap();
        // On a busy machine a spare worker may have started one of the two.
        while !large_reads_beside_a_neighbour(&path) {}
    });
}

/// Reads beside a routine that yields. `false` if they were on different workers.
fn large_reads_beside_a_neighbour(path: &Path) -> bool {
    let (runtime, path) = (runtime(1), path.to_owned());
    let reader = runtime.spawn(move || {
        let neighbour = Neighbour::start();
        let during = [(); 3].map(|()| {
            // After many short turns a worker seldom looks at its clock.
            (0..5000).for_each(|_| yield_now());
            let before = neighbour.turns();
            assert_eq!(fs::read(&path).unwrap().len(), 16 << 20);
            neighbour.turns() - before
        });
        let is_beside = neighbour.end();
        assert!(!is_beside || during.iter().all(|&turns| turns >= 4), "{during:?} turns");
        is_beside
    });
    let is_beside = reader.join().unwrap();
    runtime.shutdown();
    is_beside
}

/// A file on a file system that is nothing but memory, where there is one.
fn file_in_memory() -> Option<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").ok()?;
    // SAFETY: plain integers, for which zero is valid.
    let mut kind: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `kind` is borrowed for the call.
    let asked = unsafe { libc::fstatfs(file.as_raw_fd(), &mut kind) };
    (asked == 0 && kind.f_type == libc::TMPFS_MAGIC).then_some(file)
}

/// Fails if each read of a file that lies in memory makes a trip to the pool.
#[test]
#[cfg_attr(rr_faults, ignore = "counts on whole transfers")]
fn files_in_memory_need_no_thread() {
    in_time(|| {
        let Some(named) = file_in_memory() else { return };
        let runtime = runtime(1);
        let path = named.path().to_owned();
        let routine = runtime.spawn(move || {
            let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            // Looked for once.
            fs::read(&path).unwrap();
            file.write_all(&b"TExt".repeat(10)).unwrap();
            let before = Handle::try_current().unwrap().metrics().pool.handed_over;
            for round in 0..10 {
                file.seek(SeekFrom::Start(round * 4 + 2)).unwrap();
                let mut two = [0; 2];
                file.read_exact(&mut two).unwrap();
                assert_eq!(two, *b"xt");
                file.read_exact_at(&mut two, round * 4).unwrap();
                assert_eq!(two, *b"TE");
                file.read_vectored_at(&mut [IoSliceMut::new(&mut two)], round * 4 + 2).unwrap();
                assert_eq!(two, *b"xt");
                assert_eq!(fs::read(&path).unwrap().len(), 40);
                assert!(fs::read_to_string(&path).unwrap().ends_with("TExt"));
            }
            Handle::try_current().unwrap().metrics().pool.handed_over - before
        });
        assert_eq!(routine.join().unwrap(), 0);
        runtime.shutdown();
    });
}

/// Fails if a loop over answers that are there at once keeps the worker to itself, or outlives its runtime.
#[test]
fn what_needs_no_thread_is_fair() {
    in_time(|| {
        let runtime = runtime(1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        drop(File::create(&path).unwrap());
        let looks = runtime.spawn({
            let path = path.clone();
            move || while !fs::exists(path.with_file_name("end")).unwrap() {}
        });
        let asks = runtime.spawn(move || {
            let file = File::open(path).unwrap();
            loop {
                file.metadata().unwrap();
            }
        });
        for _ in 0..20 {
            runtime.spawn(|| sleep(Duration::from_micros(100))).join().unwrap();
        }
        assert_eq!(runtime.shutdown_timeout(Duration::ZERO).len(), 2);
        assert!(looks.join().unwrap_err().is::<Canceled>());
        let canceled: Result<(), _> = asks.join();
        assert!(canceled.unwrap_err().is::<Canceled>());
    });
}

/// Fails if who is refused although there is room keeps the thread busy, or is not told when there is more.
#[test]
fn room_that_is_too_little_keeps_nobody_busy() {
    util::both_worlds_alone(|| {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(1, libc::EFD_CLOEXEC) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: it is new and nobody else's.
        let counter = Arc::new(File::from(unsafe { std::fs::File::from_raw_fd(fd) }));
        let most = (u64::MAX - 1).to_ne_bytes();
        util::assert_idle(|| {
            let refused = timeout(util::QUIET, || (&*counter).write(&most));
            assert!(refused.is_err());
        });
        let reader = spawn({
            let counter = counter.clone();
            move || {
                sleep(util::MOMENT);
                (&*counter).read(&mut [0; 8]).unwrap()
            }
        });
        assert_eq!((&*counter).write(&most).unwrap(), 8);
        assert_eq!(reader.join().unwrap(), 8);
    });
}
