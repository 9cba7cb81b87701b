//! Descriptors of every kind, for the tests to work on.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rust_routines_core::driver::{Source, SourceKind};

/// How long data may be under way between two sockets of this machine.
const PATIENCE_MS: i32 = 30_000;

/// A descriptor and its source. The source is dropped with the descriptor, so tests reuse numbers.
#[derive(Debug)]
pub(super) struct Fd {
    pub(super) owned: OwnedFd,
    pub(super) source: Source,
}

impl Fd {
    pub(super) fn new(owned: impl Into<OwnedFd>, kind: SourceKind) -> Self {
        let owned = owned.into();
        let source = Source::new(owned.as_raw_fd(), kind);
        if kind != SourceKind::File {
            set_nonblocking(owned.as_raw_fd());
        }
        Self { owned, source }
    }

    /// Takes over the descriptor that `accept` or `open` has returned.
    pub(super) fn adopt(result: io::Result<usize>, kind: SourceKind) -> Self {
        let fd = result.expect("the operation makes a descriptor") as RawFd;
        // SAFETY: it is new, and the receiver of the result owns it.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd) }, kind)
    }

    /// A second descriptor of the same file.
    pub(super) fn duplicate(&self) -> Self {
        Self::new(self.owned.try_clone().expect("dup"), self.source.kind)
    }

    /// Writes everything, without the driver; there must be room.
    pub(super) fn put(&self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            // SAFETY: the slice is valid for reading.
            let count =
                unsafe { libc::write(self.owned.as_raw_fd(), rest.as_ptr().cast(), rest.len()) };
            assert!(count > 0, "{}", io::Error::last_os_error());
            rest = &rest[count as usize..];
        }
    }

    /// Reads once, without the driver.
    pub(super) fn get(&self, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; len];
        // SAFETY: the buffer is valid for writing.
        let count = unsafe { libc::read(self.owned.as_raw_fd(), buf.as_mut_ptr().cast(), len) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        buf.truncate(count as usize);
        Ok(buf)
    }

    /// Reads so many bytes, without the driver; they are under way.
    pub(super) fn drain(&self, len: usize) {
        let mut rest = len;
        while rest > 0 {
            match self.get(rest.min(1 << 20)) {
                Ok(data) => {
                    assert!(!data.is_empty(), "{rest} bytes are missing at the end");
                    rest -= data.len();
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    self.expect_data();
                }
            }
        }
    }

    /// Waits, without the driver, for data that is under way: even on the loopback interface it need not
    /// be there when `write` returns.
    pub(super) fn expect_data(&self) {
        let fd = self.owned.as_raw_fd();
        let mut data = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one initialised entry.
        assert!(unsafe { libc::poll(&mut data, 1, PATIENCE_MS) } > 0, "data does not arrive");
    }

    /// Fills the send buffer, without the driver, until the kernel refuses more and nothing is under way that would
    /// make room. (A closed window may open by a crack some time later: see `pend_write` of the bench.)
    pub(super) fn fill(&self) -> usize {
        let fd = self.owned.as_raw_fd();
        let chunk = [7; 4096];
        let mut total = 0;
        loop {
            let settled = !self.is_sending();
            // SAFETY: the slice is valid for reading.
            let count = unsafe { libc::write(fd, chunk.as_ptr().cast(), chunk.len()) };
            if count >= 0 {
                total += count as usize;
                continue;
            }
            assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::WouldBlock);
            if settled {
                return total;
            }
            let mut room = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
            // SAFETY: one initialised entry. Room for little is not reported, hence another try.
            unsafe { libc::poll(&mut room, 1, 1) };
        }
    }

    /// Whether this is a TCP socket with data on its way to the other end.
    fn is_sending(&self) -> bool {
        /// How much of the queue was not sent yet; not in `libc`.
        const SIOCOUTQNSD: libc::Ioctl = 0x894B;
        let fd = self.owned.as_raw_fd();
        let (mut queued, mut unsent) = (0i32, 0i32);
        // SAFETY: both are valid for the integer that the calls write.
        unsafe {
            libc::ioctl(fd, libc::TIOCOUTQ, &mut queued) == 0
                && libc::ioctl(fd, SIOCOUTQNSD, &mut unsent) == 0
                && queued > unsent
        }
    }

    /// Ends one or both directions.
    pub(super) fn shut_down(&self, how: i32) {
        // SAFETY: takes no pointers.
        let result = unsafe { libc::shutdown(self.owned.as_raw_fd(), how) };
        let error = io::Error::last_os_error();
        // What is not connected is shut down all the same.
        assert!(result == 0 || error.kind() == io::ErrorKind::NotConnected, "{error}");
    }

    /// Sets an integer option of level `SOL_SOCKET`, or one that is given as bytes.
    pub(super) fn set_option<T>(&self, option: i32, value: &T) {
        // SAFETY: the value is valid for reading, and of the stated size.
        let result = unsafe {
            libc::setsockopt(
                self.owned.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}

fn set_nonblocking(fd: RawFd) {
    // SAFETY: takes no pointers.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        assert!(flags >= 0 && libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0);
    }
}

/// An address of the loopback interface that few others use: closed connections occupy their ports for
/// a minute, and the 28,000 of one address would not last for a few runs of the suite.
fn home() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [a, b, ..] = std::process::id().to_le_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % 254;
    Ipv4Addr::new(127, a, b, number as u8 + 1)
}

/// A listening TCP socket.
pub(super) fn listener() -> (Fd, SocketAddr) {
    let listener = TcpListener::bind((home(), 0)).expect("bind");
    let address = listener.local_addr().expect("address");
    (Fd::new(listener, SourceKind::Pollable), address)
}

/// An address at which nobody listens for as long as the socket is kept.
pub(super) fn deaf() -> (Fd, SocketAddr) {
    let deaf = socket(libc::AF_INET, SourceKind::Stream);
    let home = home();
    // SAFETY: a socket address is plain integers, for which zero is valid: any port.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_addr.s_addr = u32::from(home).to_be();
    let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let (fd, address) = (deaf.owned.as_raw_fd(), &raw mut address);
    // SAFETY: `address` and `len` are valid for both calls.
    let port = unsafe {
        assert_eq!(libc::bind(fd, address.cast(), len), 0);
        assert_eq!(libc::getsockname(fd, address.cast(), &mut len), 0);
        u16::from_be((*address).sin_port)
    };
    (deaf, SocketAddr::from((home, port)))
}

/// Both ends of a TCP connection.
pub(super) fn tcp_pair() -> (Fd, Fd) {
    let listener = TcpListener::bind((home(), 0)).expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    near.set_nodelay(true).expect("nodelay");
    far.set_nodelay(true).expect("nodelay");
    (Fd::new(near, SourceKind::Stream), Fd::new(far, SourceKind::Stream))
}

/// Both ends of a Unix stream connection.
pub(super) fn unix_pair() -> (Fd, Fd) {
    let (near, far) = UnixStream::pair().expect("socketpair");
    (Fd::new(near, SourceKind::Pollable), Fd::new(far, SourceKind::Pollable))
}

/// Two UDP sockets that are connected to each other.
pub(super) fn udp_pair() -> (Fd, Fd) {
    let near = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let far = UdpSocket::bind("127.0.0.1:0").expect("bind");
    near.connect(far.local_addr().expect("address")).expect("connect");
    far.connect(near.local_addr().expect("address")).expect("connect");
    (Fd::new(near, SourceKind::Queue), Fd::new(far, SourceKind::Queue))
}

/// A UDP socket that is not connected.
pub(super) fn udp() -> (Fd, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    (Fd::new(socket, SourceKind::Queue), address)
}

/// A pipe: the end to read from, the end to write to.
pub(super) fn pipe() -> (Fd, Fd) {
    let (reader, writer) = io::pipe().expect("pipe");
    (Fd::new(reader, SourceKind::Pollable), Fd::new(writer, SourceKind::Pollable))
}

/// A terminal that passes bytes on as they are: the end that programs use, and the end of who sits there.
pub(super) fn terminal() -> (Fd, Fd) {
    let (mut near, mut far) = (-1, -1);
    let (name, settings, size) = (ptr::null_mut(), ptr::null(), ptr::null());
    // SAFETY: the descriptors are valid for writing, and the rest may be null.
    let opened = unsafe { libc::openpty(&mut far, &mut near, name, settings, size) };
    assert_eq!(opened, 0, "{}", io::Error::last_os_error());
    // SAFETY: integers, for which zero is valid; the calls only read and write them.
    unsafe {
        let mut settings: libc::termios = mem::zeroed();
        assert_eq!(libc::tcgetattr(near, &mut settings), 0);
        libc::cfmakeraw(&mut settings);
        assert_eq!(libc::tcsetattr(near, libc::TCSANOW, &settings), 0);
    }
    // SAFETY: they are new and nobody else's.
    let [near, far] = [near, far].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    (Fd::new(near, SourceKind::Pollable), Fd::new(far, SourceKind::Pollable))
}

/// Makes a FIFO, and answers its name.
pub(super) fn make_fifo(path: &Path) -> CString {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the name is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    name
}

/// A fresh socket of the given family, neither bound nor connected.
pub(super) fn socket(family: i32, kind: SourceKind) -> Fd {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: it is new and nobody else's.
    Fd::new(unsafe { OwnedFd::from_raw_fd(fd) }, kind)
}

/// An empty file without a name.
pub(super) fn file() -> Fd {
    Fd::new(tempfile::tempfile().expect("temporary file"), SourceKind::File)
}
