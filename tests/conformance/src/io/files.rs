//! Files: cached or not, at positions, opened and created.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::{ptr, thread};

use rust_routines_core::driver::SourceKind;

use super::Subject;
use super::bench::{Bench, PATIENCE};
use super::call::{Call, pattern};
use super::fds::{Fd, file, make_fifo};

/// Fails if a file's own position is not kept, or data is damaged.
pub fn files_are_read_and_written(subject: &Subject) {
    subject.bench(|bench| {
        for size in [1, 4096, 100_000, 8 << 20] {
            let file = file();
            let data = pattern(size);
            let mut written = 0;
            while written < size {
                written += bench.run(&Call::write(&file, &data[written..])).expect("write");
            }
            let half = [size / 2, size - size / 2];
            bench.run_whole(&Call::write_vectored(&file, &data, &half), size);

            rewind(&file);
            assert!(bench.run_whole(&Call::read_vectored(&file, &half), size) == data);
            let mut again = Vec::new();
            while again.len() < size {
                let read = Call::read(&file, size - again.len());
                let count = bench.run(&read).expect("read");
                again.extend_from_slice(&read.data()[..count]);
            }
            assert!(again == data);
        }
    });
}

/// Fails if a position is ignored, or moves the file's own.
pub fn positions_are_independent(subject: &Subject) {
    subject.bench(|bench| {
        let file = file();
        bench.run_whole(&Call::write_at(&file, b"world", 6), 5);
        bench.run_whole(&Call::write_at(&file, b"hello ", 0), 6);
        let far = 5 << 30;
        bench.run_whole(&Call::write_at(&file, b"far out", far), 7);

        // Several at once, in any order.
        let reads: Vec<Call> = (0..11).map(|at| Call::read_at(&file, 1, at)).collect();
        reads.iter().for_each(|read| bench.submit(read));
        for (read, byte) in reads.iter().zip(b"hello world") {
            assert_eq!(bench.finish(read).unwrap(), 1);
            assert_eq!(read.data(), [*byte]);
        }
        assert_eq!(bench.run_whole(&Call::read_at(&file, 7, far), 7), b"far out");
        let write = Call::write_vectored_at(&file, b"in parts", &[3, 5], far);
        bench.run_whole(&write, 8);
        let read = Call::read_vectored_at(&file, &[2, 0, 100], far);
        assert_eq!(bench.run_whole(&read, 8), b"in parts");
        assert_eq!(bench.run_whole(&Call::read(&file, 5), 5), b"hello");
    });
}

/// Fails if two workers that go through a file together read a place twice, or overwrite each other's.
pub fn a_position_is_used_once(subject: &Subject) {
    const RECORDS: usize = 500;
    const RECORD: usize = 64;
    let backend = subject.backend();
    let backend = &backend;
    let file = &file();
    let in_turns = |turn: fn(&mut Bench, &Fd)| {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    let mut bench = Bench::new(backend);
                    (0..RECORDS).for_each(|_| turn(&mut bench, file));
                });
            }
        });
    };
    in_turns(|bench, file| {
        let write = Call::write(file, &[1; RECORD]);
        assert_eq!(bench.run(&write).unwrap(), RECORD);
    });
    // SAFETY: takes no pointers.
    let end = unsafe { libc::lseek(file.owned.as_raw_fd(), 0, libc::SEEK_CUR) };
    assert_eq!(end, (2 * RECORDS * RECORD) as libc::off_t);
    rewind(file);
    in_turns(|bench, file| {
        let read = Call::read(file, RECORD);
        assert_eq!(bench.run(&read).unwrap(), RECORD);
        assert_eq!(read.data(), [1; RECORD]);
    });
}

/// Fails if the end of a file is waited for.
pub fn the_end_of_a_file_is_zero_bytes(subject: &Subject) {
    subject.bench(|bench| {
        let file = file();
        assert_eq!(bench.run(&Call::read(&file, 10)).unwrap(), 0);
        assert_eq!(bench.run(&Call::read_at(&file, 10, 1 << 40)).unwrap(), 0);
        assert_eq!(bench.run(&Call::read(&file, 0)).unwrap(), 0);
        file.put(b"12345");
        assert_eq!(bench.run_whole(&Call::read_at(&file, 10, 3), 2), b"45");
    });
}

/// Fails if an empty transfer is an error, or grows the file.
pub fn nothing_is_read_and_written(subject: &Subject) {
    subject.bench(|bench| {
        let file = file();
        file.put(b"12345");
        for call in [
            Call::read(&file, 0),
            Call::read_at(&file, 0, 2),
            Call::read_vectored(&file, &[]),
            Call::read_vectored(&file, &[0, 0]),
            Call::write(&file, &[]),
            Call::write_at(&file, &[], 1 << 40),
            Call::write_vectored(&file, &[], &[]),
            Call::write_vectored(&file, &[], &[0, 0]),
        ] {
            assert_eq!(bench.run(&call).unwrap(), 0, "{call:?}");
        }
        assert_eq!(bench.run_whole(&Call::read_at(&file, 10, 0), 5), b"12345");
    });
}

/// Fails if data that has to come from the disk, or comes from there in part, is wrong or missing, or is waited for as
/// it is asked for. (Where temporary files are in memory, none of them comes from a disk.)
pub fn data_that_is_not_cached_is_read(subject: &Subject) {
    const SIZE: usize = 4 << 20;
    const PIECE: usize = 256 << 10;
    subject.bench(|bench| {
        let file = file();
        let data = pattern(SIZE);
        file.put(&data);
        assert_eq!(bench.run(&Call::sync(&file, false)).unwrap(), 0);
        for _ in 0..5 {
            // SAFETY: takes no pointers.
            let result = unsafe {
                libc::posix_fadvise(file.owned.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED)
            };
            assert_eq!(result, 0);
            let at = |piece: usize| (piece * PIECE) as u64;
            let reads: Vec<Call> =
                (0..SIZE / PIECE).map(|piece| Call::read_at(&file, PIECE, at(piece))).collect();
            let from_disk = !is_cached(&file);
            reads.iter().for_each(|read| bench.submit(read));
            assert!(!from_disk || bench.is_pending(&reads[0]), "it was waited for");
            for (read, expected) in reads.iter().zip(data.chunks(PIECE)) {
                let count = bench.finish(read).expect("read");
                // What was cached may come alone, as from any read.
                assert!(count > 0 && read.data()[..count] == expected[..count]);
            }
        }
    });
}

/// Fails if one of the two ways to sync is missing.
pub fn files_are_synced(subject: &Subject) {
    subject.bench(|bench| {
        let file = file();
        for data_only in [true, false] {
            file.put(b"data");
            assert_eq!(bench.run(&Call::sync(&file, data_only)).unwrap(), 0);
        }
    });
}

/// Fails if flags or permissions get lost, or a descriptor is inherited by other programs.
pub fn files_are_opened_and_created(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("new");
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let created = Fd::adopt(bench.run(&Call::open(&path, flags, 0o640)), SourceKind::File);
        created.put(b"content");
        let metadata = path.metadata().expect("metadata");
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o777, 0o640 & !umask());

        let exists = bench.run(&Call::open(&path, flags, 0o640)).unwrap_err();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
        for _ in 0..3 {
            let open = Call::open(&path, libc::O_RDONLY, 0);
            let opened = Fd::adopt(bench.run(&open), SourceKind::File);
            // SAFETY: takes no pointers.
            let flags = unsafe { libc::fcntl(opened.owned.as_raw_fd(), libc::F_GETFD) };
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            assert_eq!(opened.get(10).unwrap(), b"content");
        }
        let truncated = bench.run(&Call::open(&path, libc::O_WRONLY | libc::O_TRUNC, 0));
        Fd::adopt(truncated, SourceKind::File);
        assert_eq!(path.metadata().expect("metadata").len(), 0);
        let opened = bench.run(&Call::open(dir.path(), libc::O_RDONLY | libc::O_DIRECTORY, 0));
        Fd::adopt(opened, SourceKind::File);
    });

    fn umask() -> u32 {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("umask");
        u32::from_str_radix(line.trim(), 8).expect("octal")
    }
}

/// Fails if an error of the file system is hidden or changed.
pub fn opening_what_is_not_there_fails(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        for _ in 0..2 {
            let open = Call::open(&dir.path().join("nothing"), libc::O_RDONLY, 0);
            assert_eq!(bench.run(&open).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        let open = Call::open(dir.path(), libc::O_WRONLY, 0);
        assert_eq!(bench.run(&open).unwrap_err().raw_os_error(), Some(libc::EISDIR));
        let open = Call::open(Path::new("/proc/self/stat/x"), libc::O_RDONLY, 0);
        assert_eq!(bench.run(&open).unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
    });
}

/// Fails (hangs) if the worker itself waits for the other end of a FIFO.
pub fn opening_a_fifo_does_not_block_the_driver(subject: &Subject) {
    subject.bench(|bench| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("fifo");
        let name = make_fifo(&path);
        for _ in 0..3 {
            let open = Call::open(&path, libc::O_RDONLY, 0);
            bench.pend(&open);
            bench.look();
            assert!(bench.is_pending(&open), "nobody has opened the other end");
            let since = std::time::Instant::now();
            let writer = loop {
                // Fails with ENXIO until somebody waits at the other end.
                let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
                // SAFETY: the name is a C string.
                let fd = unsafe { libc::open(name.as_ptr(), flags) };
                if fd >= 0 {
                    break Fd::adopt(Ok(fd as usize), SourceKind::Pollable);
                }
                assert!(since.elapsed() < PATIENCE, "nobody opens the FIFO for reading");
                bench.settle();
            };
            let reader = Fd::adopt(bench.finish(&open), SourceKind::Pollable);
            writer.put(b"through");
            assert_eq!(bench.whole_now(&Call::read(&reader, 10), 7), b"through");
        }
    });
}

/// Fails if an error does not keep the code of the operating system.
pub fn errors_keep_their_codes(subject: &Subject) {
    subject.bench(|bench| {
        let read_only = Fd::new(std::fs::File::open("/proc/self/stat").unwrap(), SourceKind::File);
        let error = bench.run(&Call::write(&read_only, b"x")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let (near, _far) = super::fds::unix_pair();
        let error = bench.run(&Call::read_at(&near, 1, 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESPIPE));
        let error = bench.run(&Call::sync(&near, false)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        let file = file();
        let error = bench.run(&Call::accept(&file)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    });
}

/// Whether the first page of a file is in memory. Asked in a way that does not bring it there.
fn is_cached(file: &Fd) -> bool {
    let (length, mut state) = (1, 0);
    // SAFETY: a new mapping, of which nothing is read; `mincore` writes a byte for its page.
    unsafe {
        let fd = file.owned.as_raw_fd();
        let page = libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(libc::mincore(page, length, &mut state), 0);
        assert_eq!(libc::munmap(page, length), 0);
    }
    state & 1 != 0
}

fn rewind(file: &Fd) {
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::lseek(file.owned.as_raw_fd(), 0, libc::SEEK_SET) }, 0);
}
