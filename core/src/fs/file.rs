//! An open file.

use std::fs::{FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use crate::blocking::call_system;
use crate::driver::SourceKind;
use crate::driver::cached::answers_from_memory;
use crate::net::descriptor::{Descriptor, descriptor_traits};
use crate::routine::count_as_switch;

use super::OpenOptions;
use super::stat::{self, Origin};

/// How much to ask for when the size of a file is not known: what a file in `/proc` gives at a time.
const UNKNOWN_SIZE: usize = 4096;

/// An open file, as [`std::fs::File`] is.
///
/// Reading and writing at a position comes with std's extension trait [`FileExt`], and, with several
/// buffers at once, as [`read_vectored_at`](Self::read_vectored_at) and
/// [`write_vectored_at`](Self::write_vectored_at).
///
/// A file made from a descriptor may share it with others. Pipes and sockets are put into
/// non-blocking mode nevertheless, and put back when the file is converted into std's type, an
/// [`OwnedFd`] or a raw descriptor; devices are left as they are, and reading from a terminal that
/// was made a `File` this way occupies a thread of the pool.
///
/// Two things the kernel does on the spot, and may wait with: a file of a network file system is written
/// back as it is closed (`blocking(move || drop(file))` keeps a worker from that), and who reads or writes
/// at the file's own position waits for others that do so with the same open file.
///
/// # Examples
///
/// ```
/// use std::io::Read;
/// use std::os::unix::fs::FileExt;
///
/// use rust_routines_core::fs::File;
///
/// let mut file = File::open("Cargo.toml")?;
/// let mut first = [0; 9];
/// file.read_exact(&mut first)?;
/// assert_eq!(&first, b"[package]");
///
/// let mut again = [0; 7];
/// file.read_exact_at(&mut again, 1)?;
/// assert_eq!(&again, b"package");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File {
    descriptor: Descriptor<std::fs::File>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// What `open(2)` reports; `InvalidInput` for a path with a zero byte.
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing; it is created, or emptied if it exists.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is one, else those of [`open`](Self::open).
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// The options to open a file with, all off.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Waits until all that was written, metadata included, is on the disk.
    ///
    /// # Errors
    ///
    /// What `fsync(2)` reports.
    pub fn sync_all(&self) -> io::Result<()> {
        self.descriptor.sync_all()
    }

    /// Waits until all that was written is on the disk, with what metadata is needed to read it.
    ///
    /// # Errors
    ///
    /// What `fdatasync(2)` reports.
    pub fn sync_data(&self) -> io::Result<()> {
        self.descriptor.sync_data()
    }

    /// Cuts the file, or extends it with zeros, to `size` bytes.
    ///
    /// # Errors
    ///
    /// What `ftruncate(2)` reports; `InvalidInput` if the file is not open for writing.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        call_system(|| self.descriptor.inner().set_len(size))
    }

    /// What the file system says about the file.
    ///
    /// # Errors
    ///
    /// What `fstat(2)` reports.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.at_hand(|file| file.metadata())
    }

    /// Reads at `offset` into several buffers, one after the other; the file's own position stays.
    ///
    /// # Errors
    ///
    /// What `preadv(2)` reports.
    pub fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.descriptor.read_vectored_at(bufs, offset)
    }

    /// Writes from several buffers, one after the other, at `offset`; the file's own position stays.
    ///
    /// # Errors
    ///
    /// What `pwritev(2)` reports.
    pub fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.descriptor.write_vectored_at(bufs, offset)
    }

    /// Another handle to the same open file: both share one position.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let file = self.descriptor.inner().try_clone()?;
        Ok(Self { descriptor: Descriptor::new(file, self.descriptor.kind()) })
    }

    /// Sets the permissions of the file.
    ///
    /// # Errors
    ///
    /// What `fchmod(2)` reports.
    pub fn set_permissions(&self, perm: Permissions) -> io::Result<()> {
        call_system(|| self.descriptor.inner().set_permissions(perm))
    }

    /// Sets the times of the file.
    ///
    /// # Errors
    ///
    /// What `futimens(2)` reports.
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        call_system(|| self.descriptor.inner().set_times(times))
    }

    /// Sets the time of the last modification.
    ///
    /// # Errors
    ///
    /// What `futimens(2)` reports.
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.descriptor.inner().is_terminal()
    }

    /// Takes a descriptor that `open(2)` has just made with these flags. Besides, how many bytes there should be to read.
    pub(super) fn opened(fd: OwnedFd, flags: i32) -> io::Result<(Self, usize)> {
        let (kind, size) = stat::prepare(fd.as_fd(), Origin::Opened(flags))?;
        let descriptor = Descriptor::new(fd.into(), kind);
        Ok((Self { descriptor }, size.try_into().unwrap_or(0)))
    }

    /// Takes our end of a pipe, whose open file nobody shares.
    pub(crate) fn of_pipe(pipe: OwnedFd) -> io::Result<Self> {
        stat::set_non_blocking(pipe.as_fd(), true)?;
        Ok(Self { descriptor: Descriptor::new(pipe.into(), SourceKind::Pollable) })
    }

    /// Whether readiness is waited for, and the file is in non-blocking mode.
    pub(crate) fn is_pollable(&self) -> bool {
        self.descriptor.kind() == SourceKind::Pollable
    }

    /// Appends up to `most` bytes to `buf` without waiting. Fewer are the end of the file, and `WouldBlock`
    /// all that is there, which was appended too.
    pub(crate) fn append_ready(&self, most: u64, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.descriptor.inner().take(most).read_to_end(buf)
    }

    /// Appends all that is left, `foreseen` bytes if it is what it should be.
    pub(super) fn append_rest(&self, foreseen: usize, buf: &mut Vec<u8>) -> io::Result<usize> {
        let before = buf.len();
        match foreseen {
            0 => buf.try_reserve(UNKNOWN_SIZE)?,
            // One byte more, since the read that meets the end needs room as well.
            foreseen => buf.try_reserve_exact(foreseen.saturating_add(1))?,
        }
        while self.descriptor.append_to(buf)? != 0 {
            // More than foreseen: grow by doubling, whatever the least is.
            buf.try_reserve(1)?;
        }
        Ok(buf.len() - before)
    }

    /// [`append_rest`](Self::append_rest), of text.
    pub(super) fn append_text(&self, foreseen: usize, buf: &mut String) -> io::Result<usize> {
        let before = buf.len();
        let mut text = Appended { bytes: std::mem::take(buf).into_bytes(), before, text: buf };
        let read = self.append_rest(foreseen, &mut text.bytes)?;
        drop(text);
        if buf.len() == before + read {
            Ok(read)
        } else {
            let message = "stream did not contain valid UTF-8";
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }

    /// Does what needs no more than is known of an open file: on the spot if that is in memory.
    pub(super) fn at_hand<T: Send>(&self, f: impl FnOnce(&std::fs::File) -> T + Send) -> T {
        let file = self.descriptor.inner();
        if answers_from_memory(file.as_fd()) {
            count_as_switch();
            f(file)
        } else {
            call_system(|| f(file))
        }
    }

    /// How many bytes there should be until the end of the file.
    fn remaining(&self) -> usize {
        let mut file = self.descriptor.inner();
        let size = stat::cached_size(file.as_fd());
        let position = if size == 0 { 0 } else { file.stream_position().unwrap_or(0) };
        size.saturating_sub(position).try_into().unwrap_or(0)
    }
}

descriptor_traits!(File.descriptor, std::fs::File);

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        // Nothing is found out about it that could fail.
        let kind = stat::prepare(file.as_fd(), Origin::Adopted).map_or(SourceKind::File, |it| it.0);
        Self { descriptor: Descriptor::new(file, kind) }
    }
}

/// Puts a pipe or socket back into blocking mode, for its other handles too.
impl From<File> for std::fs::File {
    fn from(file: File) -> Self {
        let kind = file.descriptor.kind();
        let file = file.descriptor.into_inner();
        if kind == SourceKind::Pollable {
            // It has been put into the other mode before, so this succeeds.
            let _ = stat::set_non_blocking(file.as_fd(), false);
        }
        file
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        std::fs::File::from(file).into()
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.descriptor.read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.descriptor.read_vectored(bufs, None)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.append_rest(self.remaining(), buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.append_text(self.remaining(), buf)
    }
}

/// Makes a string of its bytes again, however reading more of them ends: without the new ones if they are no text.
struct Appended<'a> {
    bytes: Vec<u8>,
    /// How many there were before.
    before: usize,
    text: &'a mut String,
}

impl Drop for Appended<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        *self.text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let mut bytes = error.into_bytes();
            bytes.truncate(self.before);
            String::from_utf8(bytes).expect("it was a string before")
        });
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.descriptor.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.descriptor.write_vectored(bufs, None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        match pos {
            // Where the end is, a network file system asks its server.
            SeekFrom::End(_) => self.at_hand(|mut file| file.seek(pos)),
            // The position is in memory.
            SeekFrom::Start(_) | SeekFrom::Current(_) => self.descriptor.inner().seek(pos),
        }
    }
}

impl Seek for File {
    fn seek(&mut self, pos: SeekFrom) -> io::Result<u64> {
        (&*self).seek(pos)
    }
}

impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.descriptor.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.descriptor.write_at(buf, offset)
    }
}
