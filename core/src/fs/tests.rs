//! Files in a scratch directory, used from plain threads.

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::stat::{self, Origin};
use super::{DirBuilder, File, OpenOptions};
use crate::driver::perform::AT_ONCE;
use crate::driver::{Action, Attempt, Operation, Source, SourceKind};
use crate::fs;
use crate::net::descriptor::bounded;

const SHORT: Duration = Duration::from_millis(50);

/// A directory that goes when the test does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rr-fs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn fifo(&self) -> PathBuf {
        let path = self.path("fifo");
        // SAFETY: the path is borrowed for the call.
        assert_eq!(unsafe { libc::mkfifo(c_path(&path).as_ptr(), 0o600) }, 0);
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn flags(fd: &impl AsRawFd) -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }
}

fn is_non_blocking(fd: &impl AsRawFd) -> bool {
    flags(fd) & libc::O_NONBLOCK != 0
}

/// What a driver gets when it tries to open `path` without blocking.
fn attempt_open(path: &Path, flags: i32) -> Attempt {
    let path = c_path(path);
    // SAFETY: `path` outlives the operation.
    let op = unsafe { Operation::new(Action::Open { path: path.as_ptr(), flags, mode: 0 }) };
    // SAFETY: `op` outlives the call.
    unsafe { op.as_ref() }.attempt()
}

/// Breaks if the position moves by anything but what was read, written and sought.
#[test]
fn read_write_and_seek_share_one_position() {
    let scratch = Scratch::new();
    let path = scratch.path("file");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(b"0123456789").unwrap();
    assert_eq!(file.stream_position().unwrap(), 10);
    file.rewind().unwrap();
    let mut three = [0; 3];
    file.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"012");

    let mut clone = file.try_clone().unwrap();
    assert_eq!(clone.seek(SeekFrom::Current(1)).unwrap(), 4);
    let (mut head, mut tail) = ([0; 2], [0; 9]);
    let mut bufs = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
    assert_eq!(file.read_vectored(&mut bufs).unwrap(), 6);
    assert_eq!((&head[..], &tail[..4]), (&b"45"[..], &b"6789"[..]));
    assert_eq!(file.read(&mut three).unwrap(), 0);

    file.seek(SeekFrom::End(-1)).unwrap();
    let parts = [IoSlice::new(b"x"), IoSlice::new(b"yz")];
    assert_eq!(file.write_vectored(&parts).unwrap(), 3);
    file.flush().unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"012345678xyz");
    assert!(file.seek(SeekFrom::End(-100)).is_err());
}

/// Breaks if I/O at a position uses or moves the file's own.
#[test]
fn positioned_io_leaves_the_position() {
    let scratch = Scratch::new();
    let mut file = File::create_new(scratch.path("file")).unwrap();
    file.write_all_at(b"abcdef", 2).unwrap();
    let mut all = [9; 8];
    file.read_exact_at(&mut all, 0).unwrap();
    assert_eq!(&all, b"\0\0abcdef");
    assert_eq!(file.read_at(&mut all, 8).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    let (mut head, mut tail) = ([0; 3], [0; 5]);
    let parts = [IoSlice::new(b"A"), IoSlice::new(b"BC")];
    assert_eq!(file.write_vectored_at(&parts, 3).unwrap(), 3);
    let mut bufs = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
    assert_eq!(file.read_vectored_at(&mut bufs, 2).unwrap(), 6);
    assert_eq!((&head[..], &tail[..3]), (&b"aAB"[..], &b"Cef"[..]));
    assert_eq!(file.stream_position().unwrap(), 0);
    let error = file.read_exact_at(&mut all, 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// Breaks if an offset wraps; `u64::MAX` would then mean the file's own position.
#[test]
fn offsets_beyond_the_largest_file_are_invalid() {
    let scratch = Scratch::new();
    let file = File::create_new(scratch.path("file")).unwrap();
    for offset in [u64::MAX, 1 << 63, u64::MAX - 4096] {
        let results = [
            file.read_at(&mut [0], offset),
            file.write_at(&[0], offset),
            file.read_vectored_at(&mut [IoSliceMut::new(&mut [0])], offset),
            file.write_vectored_at(&[IoSlice::new(&[0])], offset),
        ];
        for result in results {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
}

/// Breaks if a combination of options opens what std's does not, or opens it otherwise.
#[test]
fn options_mean_what_they_mean_to_std() {
    let scratch = Scratch::new();
    for bits in 0..128 {
        let is = |bit: u32| bits & 1 << bit != 0;
        let path = scratch.path("file");
        let prepare = || match is(6) {
            true => std::fs::write(&path, "old").unwrap(),
            false => drop(std::fs::remove_file(&path)),
        };
        let state = || std::fs::read(&path).map_err(|error| error.kind());
        let told = |error: io::Error| (error.kind(), error.to_string());
        let (read, write, append) = (is(0), is(1), is(2));
        let (truncate, create, create_new) = (is(3), is(4), is(5));

        prepare();
        let mut theirs = std::fs::OpenOptions::new();
        theirs.read(read).write(write).append(append);
        theirs.truncate(truncate).create(create).create_new(create_new);
        let theirs = theirs.open(&path).map(|file| flags(&file)).map_err(told);
        let their_state = state();

        prepare();
        let mut ours = OpenOptions::new();
        ours.read(read).write(write).append(append);
        ours.truncate(truncate).create(create).create_new(create_new);
        let ours = ours.open(&path).map(|file| flags(&file)).map_err(told);
        assert_eq!((ours, state()), (theirs, their_state), "combination {bits:#b}");
    }
}

/// Breaks if the extension trait's options get lost, or change the access mode.
#[test]
fn custom_flags_and_mode_are_passed_on() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "text");
    let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(&path);
    assert_eq!(open(libc::O_DIRECTORY).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(flags(&open(libc::O_RDWR).unwrap()) & libc::O_ACCMODE, libc::O_RDONLY);
    assert!(is_non_blocking(&open(libc::O_NONBLOCK).unwrap()));
    let link = scratch.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let no_follow = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&link);
    assert_eq!(no_follow.unwrap_err().raw_os_error(), Some(libc::ELOOP));

    let secret = scratch.path("secret");
    let file = OpenOptions::new().write(true).create(true).mode(0o600).open(secret).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
}

/// Breaks if the file that a path names is cut off at a zero byte, or that is told otherwise than by std.
#[test]
fn zero_byte_in_path_is_invalid() {
    let path = "Cargo.toml\0x";
    let error = std::fs::File::open(path).unwrap_err();
    for ours in [File::open(path).unwrap_err(), fs::metadata(path).unwrap_err()] {
        assert_eq!((ours.kind(), ours.to_string()), (error.kind(), error.to_string()));
    }
}

/// Breaks if errors lose their code, whichever way the open went.
#[test]
fn open_errors_are_those_of_the_system() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "");
    let cases = [
        (scratch.path("missing"), libc::ENOENT),
        (path.join("below"), libc::ENOTDIR),
        (scratch.path(&"x".repeat(300)), libc::ENAMETOOLONG),
    ];
    for (path, code) in cases {
        assert_eq!(File::open(&path).unwrap_err().raw_os_error(), Some(code));
    }
    let mut dir = File::open(&scratch.0).unwrap();
    assert_eq!(dir.read(&mut [0; 1]).unwrap_err().raw_os_error(), Some(libc::EISDIR));
    assert_eq!(File::create(&scratch.0).unwrap_err().raw_os_error(), Some(libc::EISDIR));
}

/// Breaks if a cached file needs the pool to be opened, or comes out in non-blocking mode.
#[test]
fn cached_file_opens_at_once() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "");
    for path in [&path, &scratch.0] {
        match attempt_open(path, libc::O_RDONLY) {
            Attempt::Done(fd) => {
                // SAFETY: the operation's result is ours.
                let fd = unsafe { OwnedFd::from_raw_fd(fd.unwrap() as RawFd) };
                assert!(!is_non_blocking(&fd));
            }
            // A file system that cannot answer from its cache, or a kernel before 5.12.
            other => assert!(matches!(other, Attempt::Blocks), "{other:?}"),
        }
    }
}

/// What a driver gets when it tries to do that with a file without blocking.
fn attempt(action: Action) -> Attempt {
    // SAFETY: the callers keep the buffers and the descriptor.
    let op = unsafe { Operation::new(action) };
    // SAFETY: `op` outlives the call.
    unsafe { op.as_ref() }.attempt()
}

/// Fails if a worker waits for whoever has a lease on a file that it opens. The kernel asks him to give it up, and waits
/// for 45 s.
#[test]
fn leased_file_is_not_opened_by_an_attempt() {
    bounded(|| {
        let scratch = Scratch::new();
        let path = scratch.file("file", "text");
        // From the kernel's headers, as libc has it not.
        const F_SETSIG: i32 = 10;
        let holder = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: takes no pointers.
        let set = |what, value: i32| unsafe { libc::fcntl(holder.as_raw_fd(), what, value) };
        // He is asked by a signal that does nothing; the usual one would end the process.
        assert_eq!(set(F_SETSIG, libc::SIGURG), 0);
        if set(libc::F_SETLEASE, libc::F_WRLCK) != 0 {
            // Not every file system has leases.
            return;
        }
        assert!(matches!(attempt_open(&path, libc::O_RDONLY), Attempt::Blocks));
        thread::scope(|threads| {
            let opened = threads.spawn(|| fs::read(&path));
            assert_eq!(set(libc::F_SETLEASE, libc::F_UNLCK), 0);
            assert_eq!(opened.join().unwrap().unwrap(), b"text");
        });
    });
}

/// Fails if a worker copies the whole of a large file before it does anything else, or tears what is appended.
#[test]
fn large_transfers_are_not_done_on_the_spot() {
    let in_memory = Path::new("/dev/shm");
    let scratches = [Some(Scratch::new()), in_memory.is_dir().then(|| Scratch::below(in_memory))];
    for scratch in scratches.iter().flatten() {
        let path = scratch.file("file", vec![7; 2 * AT_ONCE]);
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let (kind, _) = stat::prepare(file.as_fd(), Origin::Opened(0)).unwrap();
        let source = Source::new(file.as_raw_fd(), kind);
        let mut bytes = vec![0; 2 * AT_ONCE];
        let (buf, len) = (bytes.as_mut_ptr(), bytes.len());
        let is_part = |attempt| matches!(attempt, Attempt::Blocks | Attempt::Done(Ok(1..=AT_ONCE)));
        assert!(is_part(attempt(Action::Read { source, buf, len })));
        assert!(is_part(attempt(Action::ReadAt { source, buf, len, offset: 0 })));
        for lengths in [[0, len], [1, len - 1], [AT_ONCE, AT_ONCE], [0, 1]] {
            let bufs = lengths.map(|iov_len| libc::iovec { iov_base: buf.cast(), iov_len });
            let (bufs, count) = (bufs.as_ptr(), bufs.len());
            assert!(is_part(attempt(Action::ReadVectoredAt { source, bufs, count, offset: 0 })));
            let write = attempt(Action::WriteVectoredAt { source, bufs, count, offset: 0 });
            assert!(matches!(write, Attempt::Blocks) || lengths == [0, 1]);
        }
        assert!(matches!(attempt(Action::Write { source, buf, len }), Attempt::Blocks));
    }
}

/// Fails if a worker waits for the disk while it transfers what goes past the cache.
#[test]
fn what_goes_past_the_cache_is_not_transferred_on_the_spot() {
    /// As much, and at such an address, as disks want.
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let scratch = Scratch::new();
    let path = scratch.file("file", [7; 4096]);
    let (mut options, flags) = (std::fs::File::options(), libc::O_DIRECT);
    let Ok(file) = options.read(true).write(true).custom_flags(flags).open(&path) else {
        // Not every file system has it.
        return;
    };
    // What is in the cache as well would have to be written back first.
    file.sync_all().unwrap();
    // SAFETY: takes no pointers.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let mut block = Box::new(Block([7; 4096]));
    let (buf, len) = (block.0.as_mut_ptr(), block.0.len());
    for origin in [Origin::Opened(flags), Origin::Adopted] {
        let (kind, _) = stat::prepare(file.as_fd(), origin).unwrap();
        if kind == SourceKind::Memory {
            return;
        }
        let source = Source::new(file.as_raw_fd(), kind);
        for transfer in [
            Action::Read { source, buf, len },
            Action::ReadAt { source, buf, len, offset: 0 },
            Action::Write { source, buf, len },
            Action::WriteAt { source, buf, len, offset: 0 },
        ] {
            assert!(matches!(attempt(transfer), Attempt::Blocks), "{transfer:?}");
        }
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
    block.0 = [0; 4096];
    assert_eq!(file.read_at(&mut block.0, 0).unwrap(), 4096);
    assert!(block.0 == [7; 4096]);
}

/// Fails if a worker waits until the disk has what was written. (XFS is a file system that lets it wait.)
#[test]
fn what_the_disk_must_have_is_not_written_on_the_spot() {
    for flags in [libc::O_DSYNC, libc::O_SYNC] {
        let scratch = Scratch::new();
        let path = scratch.file("file", [7; 4096]);
        let mut options = std::fs::File::options();
        let file = options.read(true).write(true).custom_flags(flags).open(path).unwrap();
        let mut bytes = [7; 4096];
        let (buf, len) = (bytes.as_mut_ptr(), bytes.len());
        for origin in [Origin::Opened(flags), Origin::Adopted] {
            let (kind, _) = stat::prepare(file.as_fd(), origin).unwrap();
            let source = Source::new(file.as_raw_fd(), kind);
            let write = Action::WriteAt { source, buf, len, offset: 0 };
            // Right after another, there is nothing else that could be waited for.
            file.write_all_at(&[7; 4096], 0).unwrap();
            assert!(matches!(attempt(write), Attempt::Blocks));
            let reads_at_once = |source| {
                let read = attempt(Action::ReadAt { source, buf, len, offset: 0 });
                matches!(read, Attempt::Done(Ok(4096)))
            };
            let other = Source::new(file.as_raw_fd(), SourceKind::File);
            assert!(reads_at_once(source) || !reads_at_once(other));
        }
    }
}

/// Breaks if opening a FIFO without its other end blocks the worker that only tries, or if the
/// attempt lets a writer through that waits for a reader.
#[test]
fn fifo_is_not_opened_by_an_attempt() {
    bounded(|| {
        let scratch = Scratch::new();
        let path = scratch.fifo();
        let link = scratch.path("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_PATH] {
            assert!(matches!(attempt_open(&path, flags), Attempt::Blocks));
            assert!(matches!(attempt_open(&link, flags), Attempt::Blocks));
        }

        let (opened, is_open) = mpsc::channel();
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                opened.send(()).unwrap();
                file.write_all(b"to a real reader").unwrap();
            })
        };
        thread::sleep(SHORT);
        assert!(matches!(attempt_open(&path, libc::O_RDONLY), Attempt::Blocks));
        assert_eq!(is_open.recv_timeout(SHORT), Err(mpsc::RecvTimeoutError::Timeout));
        assert_eq!(fs::read(&path).unwrap(), b"to a real reader");
        writer.join().unwrap();
    });
}

/// Breaks if a FIFO is read as a file is, on a thread, or if more than was foreseen is cut off.
#[test]
fn fifo_is_waited_for() {
    bounded(|| {
        let scratch = Scratch::new();
        let path = scratch.fifo();
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                let mut file = OpenOptions::new().write(true).open(path).unwrap();
                assert!(is_non_blocking(&file));
                thread::sleep(SHORT);
                file.write_all(&[7; 300_000]).unwrap();
            })
        };
        let mut file = File::open(&path).unwrap();
        assert!(is_non_blocking(&file));
        assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
        let mut bytes = vec![7];
        assert_eq!(file.read_to_end(&mut bytes).unwrap(), 300_000);
        assert!(bytes == [7; 300_001]);
        writer.join().unwrap();
        assert!(!is_non_blocking(&std::fs::File::from(file)));
    });
}

/// Breaks if a device that cannot be waited for is, or one that others use changes its mode.
#[test]
fn devices_are_waited_for_if_they_can_be() {
    bounded(|| {
        let mut null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        assert!(!is_non_blocking(&null));
        assert_eq!(null.write(b"gone").unwrap(), 4);
        assert_eq!(null.read(&mut [0; 4]).unwrap(), 0);

        let mut random = File::open("/dev/urandom").unwrap();
        random.read_exact(&mut [0; 16]).unwrap();

        let terminal = || std::fs::File::options().read(true).write(true).open("/dev/ptmx");
        if let Ok(terminal) = terminal() {
            assert!(!is_non_blocking(&File::from(terminal)));
            let ours = OpenOptions::new().read(true).write(true).open("/dev/ptmx").unwrap();
            assert!(is_non_blocking(&ours));
        }
    });
}

/// Breaks if a pipe from outside, a child's output for instance, occupies a thread.
#[test]
fn adopted_pipe_is_waited_for() {
    bounded(|| {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut file = File::from(OwnedFd::from(reader));
        assert!(is_non_blocking(&file));
        let reader = thread::spawn(move || {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        });
        thread::sleep(SHORT);
        writer.write_all(b"late").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap(), "late");
    });
}

/// Breaks if a size of zero is believed, as files in `/proc` have it.
#[test]
fn files_without_a_size_are_read_whole() {
    assert_eq!(fs::read("/proc/version").unwrap(), std::fs::read("/proc/version").unwrap());
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("\nThreads:"));
}

/// Breaks if the size of a file is not used to read it in one piece, or the position is forgotten.
#[test]
fn whole_file_is_read_into_a_buffer_of_its_size() {
    let scratch = Scratch::new();
    let path = scratch.file("file", vec![1; 100_000]);
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes.len(), bytes.capacity()), (100_000, 100_001));

    let mut file = File::open(&path).unwrap();
    file.seek(SeekFrom::Start(99_000)).unwrap();
    let mut bytes = vec![0; 10];
    assert_eq!(file.read_to_end(&mut bytes).unwrap(), 1000);
    assert_eq!((bytes.len(), bytes.capacity()), (1010, 1011));
    assert_eq!(file.read_to_end(&mut bytes).unwrap(), 0);
    file.seek(SeekFrom::Start(1 << 40)).unwrap();
    assert_eq!(file.read_to_end(&mut bytes).unwrap(), 0);
}

/// Breaks if text that is none gets into a `String`, or what was there before is lost.
#[test]
fn text_must_be_utf8() {
    let scratch = Scratch::new();
    let (text, noise) = (scratch.file("text", "größer"), scratch.file("noise", b"\xff\xfe"));
    assert_eq!(fs::read_to_string(&text).unwrap(), "größer");
    assert_eq!(fs::read_to_string(&noise).unwrap_err().kind(), io::ErrorKind::InvalidData);

    let mut buf = String::from("before ");
    File::open(&text).unwrap().read_to_string(&mut buf).unwrap();
    assert_eq!(buf, "before größer");
    let capacity = buf.capacity();
    let error = File::open(&noise).unwrap().read_to_string(&mut buf).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "stream did not contain valid UTF-8");
    assert_eq!(buf, "before größer");
    assert!(buf.capacity() >= capacity);
}

/// Breaks if text that was read is lost when reading fails later, or an empty string its room.
#[test]
fn text_before_an_error_is_kept() {
    for (before, after) in [("", "bye"), ("good", "goodbye")] {
        let (mut near, mut far) = (-1, -1);
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: the descriptors are valid for writing, and the rest may be null.
        let opened =
            unsafe { libc::openpty(&mut near, &mut far, none.cast(), none.cast(), none.cast()) };
        assert_eq!(opened, 0);
        // SAFETY: they are new and nobody else's.
        let (mut near, mut far) =
            unsafe { (File::from_raw_fd(near), std::fs::File::from_raw_fd(far)) };
        far.write_all(b"bye").unwrap();
        drop(far);
        let mut text = String::with_capacity(100);
        text.push_str(before);
        let error = near.read_to_string(&mut text).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        assert_eq!(text, after);
        assert!(text.capacity() >= 100);
    }
}

/// Breaks if what is set is not what is there afterwards.
#[test]
fn length_permissions_and_times() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "0123456789");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"0123");
    file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.set_modified(time).unwrap();
    assert_eq!(file.metadata().unwrap().modified().unwrap(), time);
    assert!(File::open(&path).unwrap().set_len(1).is_err());
}

/// Breaks if an entry is lost or doubled between two batches, or its type is wrong.
#[test]
fn directory_is_listed_across_batches() {
    let scratch = Scratch::new();
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    for count in [127_usize, 128, 129, 400] {
        let dir = scratch.path(&count.to_string());
        fs::create_dir(&dir).unwrap();
        for number in 0..count - 1 {
            std::fs::write(dir.join(number.to_string()), "").unwrap();
        }
        fs::create_dir(dir.join("sub")).unwrap();
        let mut entries = fs::read_dir(&dir).unwrap();
        let mut names: Vec<_> = entries
            .by_ref()
            .map(|entry| {
                let entry = entry.unwrap();
                let is_dir = entry.file_type().unwrap().is_dir();
                assert_eq!(is_dir, entry.file_name() == "sub");
                assert_eq!(entry.path(), dir.join(entry.file_name()));
                entry.file_name()
            })
            .collect();
        assert!(entries.next().is_none());
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
    let entry = fs::read_dir(&scratch.0).unwrap().next().unwrap().unwrap();
    assert_eq!(entry.ino(), entry.metadata().unwrap().ino());
    let error = fs::read_dir(scratch.path("missing")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Breaks if a free function reaches for another one of std.
#[test]
fn free_functions_do_what_they_say() {
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    fs::write(&a, "text").unwrap();
    assert_eq!(fs::copy(&a, &b).unwrap(), 4);
    fs::remove_file(&a).unwrap();
    assert!(!fs::exists(&a).unwrap() && fs::exists(&b).unwrap());
    fs::rename(&b, &a).unwrap();
    fs::hard_link(&a, &b).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().ino(), fs::metadata(&b).unwrap().ino());
    fs::set_permissions(&a, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(fs::metadata(&b).unwrap().permissions().readonly());

    let link = scratch.path("link");
    std::os::unix::fs::symlink(&a, &link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_link(&link).unwrap(), a);
    assert_eq!(fs::canonicalize(&link).unwrap(), std::fs::canonicalize(&a).unwrap());

    let deep = scratch.path("x/y/z");
    assert_eq!(fs::create_dir(&deep).unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(&deep).unwrap();
    fs::remove_dir(&deep).unwrap();
    fs::remove_dir_all(scratch.path("x")).unwrap();
    DirBuilder::new().mode(0o700).create(&deep).unwrap_err();
    DirBuilder::new().recursive(true).mode(0o700).create(&deep).unwrap();
    assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
}

/// Breaks if a file is lost in conversion.
#[test]
fn conversions_keep_the_open_file() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "text");
    let mut file = File::open(&path).unwrap();
    file.read_exact(&mut [0; 2]).unwrap();
    assert!(format!("{file:?}").starts_with("File { fd: "));
    let file = std::fs::File::from(file);
    let mut file = File::from(OwnedFd::from(file));
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "xt");
}

/// Breaks if what is found out on the spot is not what std finds out.
#[test]
fn metadata_is_that_of_std() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "text");
    let (link, broken, ring) = (scratch.path("link"), scratch.path("broken"), scratch.path("ring"));
    fs::unix::symlink(&file, &link).unwrap();
    fs::unix::symlink("nowhere", &broken).unwrap();
    fs::unix::symlink("ring", &ring).unwrap();
    let long = scratch.path(&"x".repeat(300));
    let paths = [&scratch.0, &file, &link, &broken, &ring, &long, &file.join("below")];
    let elsewhere = ["/proc/self/stat", "/dev/null", "/dev/shm", "", "a\0b"].map(PathBuf::from);
    let tell = |metadata: io::Result<fs::Metadata>| {
        metadata.map(|it| (it.ino(), it.dev(), it.mode())).map_err(|error| error.kind())
    };
    for path in paths.into_iter().chain(&elsewhere) {
        for _ in 0..2 {
            assert_eq!(tell(fs::metadata(path)), tell(std::fs::metadata(path)), "{path:?}");
            let (ours, theirs) = (fs::symlink_metadata(path), std::fs::symlink_metadata(path));
            assert_eq!(tell(ours), tell(theirs), "{path:?}");
            let (ours, theirs) = (fs::exists(path), std::fs::exists(path));
            assert_eq!(ours.map_err(|e| e.kind()), theirs.map_err(|e| e.kind()), "{path:?}");
        }
    }
    let open = File::open(&file).unwrap();
    assert_eq!(tell(open.metadata()), tell(std::fs::metadata(&file)));
}

/// Breaks if links lead elsewhere, or a link's owner is its target's.
#[test]
fn links_and_owners() {
    let scratch = Scratch::new();
    let (file, link) = (scratch.file("file", "text"), scratch.path("link"));
    fs::unix::symlink("file", &link).unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("file"));
    assert_eq!(fs::read(&link).unwrap(), b"text");
    assert_eq!(fs::unix::symlink("file", &link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);

    let owners = |path: &Path| {
        let it = fs::symlink_metadata(path).unwrap();
        (it.uid(), it.gid())
    };
    let (uid, gid) = owners(&file);
    // To whom it belongs anyway, which needs no privilege.
    fs::unix::chown(&link, Some(uid), Some(gid)).unwrap();
    fs::unix::lchown(&link, None, Some(gid)).unwrap();
    fs::unix::fchown(File::open(&file).unwrap(), Some(uid), None).unwrap();
    let missing = fs::unix::chown(scratch.path("missing"), None, None).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(fs::unix::chroot(&file).is_err());
    if uid == 0 {
        fs::unix::chown(&link, Some(1), Some(2)).unwrap();
        fs::unix::lchown(&link, None, Some(3)).unwrap();
        assert_eq!((owners(&file), owners(&link)), ((1, 2), (0, 3)));
        fs::unix::fchown(File::open(&file).unwrap(), Some(4), None).unwrap();
        assert_eq!(owners(&file), (4, 2));
    }
}

/// Breaks if a lock keeps nobody out, or keeps out whom it should not.
#[test]
fn locks_are_those_of_std() {
    let scratch = Scratch::new();
    let path = scratch.file("file", "");
    let (one, other) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    let std = std::fs::File::open(&path).unwrap();
    let refused = |result| matches!(result, Err(fs::TryLockError::WouldBlock));
    one.lock().unwrap();
    assert!(refused(other.try_lock()) && refused(other.try_lock_shared()));
    assert!(refused(std.try_lock()));
    one.unlock().unwrap();
    std.lock_shared().unwrap();
    other.lock_shared().unwrap();
    one.try_lock_shared().unwrap();
    assert!(refused(other.try_lock()));
    drop((one, std));
    other.try_lock().unwrap();
    let clone = other.try_clone().unwrap();
    drop(other);
    let third = File::open(&path).unwrap();
    assert!(refused(third.try_lock()), "a clone holds on to the lock");
    drop(clone);
    third.lock().unwrap();
}
