//! What the I/O behaviours are tested with: a driver on the bench, operations that own their buffers,
//! descriptors of every kind.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{
    Action, Completions, Interest, IoBackend, IoConfig, IoDriver, OpRef, Operation, Source,
    SourceKind, Submitted,
};

/// How long an operation that must finish may take before the test fails. Generous, for loaded
/// machines; nothing ever waits for it to pass.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test looks for something that must not happen. Too short only makes a test weaker.
pub(super) const A_MOMENT: Duration = Duration::from_millis(2);

/// How long the receiver's kernel may take to make room in a TCP sender's buffer without anybody reading.
const DELAYED_ACK_MS: i32 = 50;

/// Threads of the pools under test: few, so that tests reach the limit.
pub(super) const POOL_THREADS: usize = 2;

/// A driver and the operations that it holds.
pub(super) struct Bench {
    pub(super) driver: Box<dyn IoDriver>,
    done: Completions,
    /// What was submitted and not yet asked for.
    calls: HashMap<OpRef, Submission>,
}

/// Keeps the memory of an operation alive, also when its test fails and drops the [`Call`].
struct Submission {
    result: Option<io::Result<usize>>,
    _call: Call,
}

impl Bench {
    pub(super) fn new(backend: &dyn IoBackend) -> Self {
        Self::with(backend, &IoConfig::new(POOL_THREADS, "bench"))
    }

    pub(super) fn with(backend: &dyn IoBackend, config: &IoConfig) -> Self {
        let driver = backend.driver(config).expect("a driver can be made");
        Self { driver, done: Completions::new(), calls: HashMap::new() }
    }

    /// Submits an operation. Its result is asked for with [`finish`](Self::finish).
    pub(super) fn submit(&mut self, call: &Call) {
        let op = call.op();
        // Before the driver has it, since a panic of the driver must not free it.
        let before = self.calls.insert(op, Submission { result: None, _call: call.clone() });
        assert!(before.is_none(), "{call:?} was submitted twice");
        if let Submitted::Done(result) = self.driver.submit(op) {
            self.settled(op, result);
        }
    }

    /// Submits an operation that the driver must do at once.
    pub(super) fn now(&mut self, call: &Call) -> io::Result<usize> {
        self.submit(call);
        assert!(!self.is_pending(call), "{call:?} is pending and could have been done at once");
        self.finish(call)
    }

    /// Submits an operation that the driver cannot do yet.
    pub(super) fn pend(&mut self, call: &Call) {
        self.submit(call);
        assert!(self.is_pending(call), "{call:?} is done at once: {:?}", self.finish(call));
    }

    /// Submits an operation and waits until it is back.
    pub(super) fn run(&mut self, call: &Call) -> io::Result<usize> {
        self.submit(call);
        self.finish(call)
    }

    /// Waits until an operation is back.
    pub(super) fn finish(&mut self, call: &Call) -> io::Result<usize> {
        let since = Instant::now();
        while self.is_pending(call) {
            assert!(since.elapsed() < PATIENCE, "{call:?} does not come back");
            self.wait(Some(Duration::from_secs(1)));
        }
        let submission = self.calls.remove(&call.op()).expect("it was submitted");
        submission.result.expect("it is not pending")
    }

    /// Waits until at least one of several operations is back.
    pub(super) fn any_of(&mut self, calls: &[&Call]) {
        let since = Instant::now();
        while calls.iter().all(|call| self.is_pending(call)) {
            assert!(since.elapsed() < PATIENCE, "none of {calls:?} comes back");
            self.wait(Some(Duration::from_secs(1)));
        }
    }

    /// Whether an operation is still the driver's.
    pub(super) fn is_pending(&self, call: &Call) -> bool {
        self.calls.get(&call.op()).is_some_and(|submission| submission.result.is_none())
    }

    pub(super) fn cancel(&mut self, call: &Call) {
        assert!(self.is_pending(call), "only pending operations are cancelled");
        self.driver.cancel(call.op());
    }

    /// Cancels an operation that nothing else can end.
    pub(super) fn cancel_now(&mut self, call: &Call) {
        self.cancel(call);
        let result = self.finish(call);
        assert!(matches!(&result, Err(error) if is_canceled(error)), "{call:?}: {result:?}");
    }

    /// One `wait` of the driver. Says how many operations came back.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> usize {
        self.driver.wait(timeout, &mut self.done).expect("the driver works");
        let done: Vec<_> = self.done.drain().collect();
        let count = done.len();
        for (op, result) in done {
            self.settled(op, result);
        }
        count
    }

    /// Collects what is there without blocking.
    pub(super) fn look(&mut self) -> usize {
        self.wait(Some(Duration::ZERO))
    }

    /// Gives everything that may be on its way some time to arrive.
    pub(super) fn settle(&mut self) {
        let since = Instant::now();
        while let Some(rest) = A_MOMENT.checked_sub(since.elapsed()) {
            self.wait(Some(rest));
        }
    }

    fn settled(&mut self, op: OpRef, result: io::Result<usize>) {
        let submission = self.calls.get_mut(&op);
        let Some(Submission { result: pending @ None, .. }) = submission else {
            panic!("an operation was handed back that was not pending: {result:?}");
        };
        *pending = Some(result);
    }

    fn pending(&self) -> Vec<OpRef> {
        let pending = self.calls.iter().filter(|(_, submission)| submission.result.is_none());
        pending.map(|(&op, _)| op).collect()
    }
}

impl Drop for Bench {
    /// Takes back what a failing test left pending: its memory is about to be freed.
    fn drop(&mut self) {
        let left = self.pending();
        left.iter().for_each(|&op| self.driver.cancel(op));
        let since = Instant::now();
        while !self.pending().is_empty() {
            if since.elapsed() > PATIENCE {
                super::abort("operations are never handed back, so their memory cannot be freed");
            }
            self.wait(Some(Duration::from_secs(1)));
        }
        if !left.is_empty() && !std::thread::panicking() {
            panic!("the test left {} operations pending", left.len());
        }
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// Where closures of a test wait until it lets them go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Waits until the gate is open.
    pub(super) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no panic");
        state.0 += 1;
        changed.notify_all();
        drop(changed.wait_while(state, |(_, open)| !*open).expect("no panic"));
    }

    /// Waits until so many have come to the gate.
    pub(super) fn wait_for(&self, count: usize) {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("no panic");
        let waited = changed.wait_timeout_while(state, PATIENCE, |(came, _)| *came < count);
        assert!(!waited.expect("no panic").1.timed_out(), "fewer than {count} run");
    }

    pub(super) fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().expect("no panic").1 = true;
        changed.notify_all();
    }
}

/// An operation together with the memory that it points to. Clones are the same operation.
#[derive(Clone)]
pub(super) struct Call(Rc<Inner>);

struct Inner {
    what: &'static str,
    op: Operation,
    /// Owned; raw, since a driver may hold a pointer to it.
    buf: *mut [u8],
    /// Owned; raw, since a driver may hold a pointer to it.
    address: *mut Address,
    _vectors: Vec<libc::iovec>,
    _run: Option<Box<Run>>,
}

/// Room for a socket address.
struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

type Run = Box<dyn Fn() + Send + Sync>;

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`; the bench kept this alive until the driver was done with it.
        unsafe {
            drop(Box::from_raw(self.buf));
            drop(Box::from_raw(self.address));
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.what)
    }
}

impl Call {
    pub(super) fn read(fd: &Fd, len: usize) -> Self {
        let source = fd.source;
        Self::with("read", vec![0; len], |buf, len, _, _| Action::Read { source, buf, len })
    }

    pub(super) fn read_at(fd: &Fd, len: usize, offset: u64) -> Self {
        let source = fd.source;
        Self::with("read_at", vec![0; len], |buf, len, _, _| Action::ReadAt {
            source,
            buf,
            len,
            offset,
        })
    }

    /// Reads into buffers of the given lengths, which lie one after the other in [`data`](Self::data).
    pub(super) fn read_vectored(fd: &Fd, lens: &[usize]) -> Self {
        let source = fd.source;
        Self::vectored("read_vectored", vec![0; lens.iter().sum()], lens, |bufs, count| {
            Action::ReadVectored { source, bufs, count }
        })
    }

    pub(super) fn recv(fd: &Fd, len: usize, flags: i32) -> Self {
        let source = fd.source;
        Self::with("recv", vec![0; len], |buf, len, _, _| Action::Recv { source, buf, len, flags })
    }

    pub(super) fn write(fd: &Fd, data: &[u8]) -> Self {
        let source = fd.source;
        Self::with("write", data.to_vec(), |buf, len, _, _| Action::Write { source, buf, len })
    }

    pub(super) fn write_at(fd: &Fd, data: &[u8], offset: u64) -> Self {
        let source = fd.source;
        Self::with("write_at", data.to_vec(), |buf, len, _, _| Action::WriteAt {
            source,
            buf,
            len,
            offset,
        })
    }

    /// Writes `data` from buffers of the given lengths.
    pub(super) fn write_vectored(fd: &Fd, data: &[u8], lens: &[usize]) -> Self {
        let source = fd.source;
        Self::vectored("write_vectored", data.to_vec(), lens, |bufs, count| Action::WriteVectored {
            source,
            bufs,
            count,
        })
    }

    pub(super) fn send(fd: &Fd, data: &[u8], flags: i32) -> Self {
        let source = fd.source;
        Self::with("send", data.to_vec(), |buf, len, _, _| Action::Send { source, buf, len, flags })
    }

    pub(super) fn accept(fd: &Fd) -> Self {
        let source = fd.source;
        Self::with("accept", Vec::new(), |_, _, addr, addr_len| Action::Accept {
            source,
            addr,
            addr_len,
        })
    }

    pub(super) fn connect(fd: &Fd, to: &SocketAddr) -> Self {
        let SocketAddr::V4(to) = to else { panic!("tests use IPv4") };
        // SAFETY: a socket address is plain integers, for which zero is valid.
        let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = to.port().to_be();
        address.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        Self::connect_to(fd, address)
    }

    pub(super) fn connect_unix(fd: &Fd, path: &std::path::Path) -> Self {
        // SAFETY: a socket address is plain integers, for which zero is valid.
        let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let path = path.as_os_str().as_encoded_bytes();
        assert!(path.len() < address.sun_path.len());
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        Self::connect_to(fd, address)
    }

    fn connect_to<A>(fd: &Fd, to: A) -> Self {
        let source = fd.source;
        assert!(size_of::<A>() <= size_of::<libc::sockaddr_storage>());
        Self::with("connect", Vec::new(), |_, _, addr, addr_len| {
            // SAFETY: `addr` is valid for a `sockaddr_storage`, and so large enough and aligned.
            unsafe {
                addr.cast::<A>().write(to);
                *addr_len = size_of::<A>() as libc::socklen_t;
                Action::Connect { source, addr, addr_len: *addr_len }
            }
        })
    }

    pub(super) fn poll(fd: &Fd, interest: Interest) -> Self {
        let source = fd.source;
        Self::with("poll", Vec::new(), |_, _, _, _| Action::Poll { source, interest })
    }

    pub(super) fn sync(fd: &Fd, data_only: bool) -> Self {
        let source = fd.source;
        Self::with("sync", Vec::new(), |_, _, _, _| Action::Sync { source, data_only })
    }

    pub(super) fn open(path: &std::path::Path, flags: i32, mode: u32) -> Self {
        let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
        bytes.push(0);
        Self::with("open", bytes, |path, _, _, _| Action::Open {
            path: path.cast_const().cast(),
            flags,
            mode,
        })
    }

    pub(super) fn run(f: impl Fn() + Send + Sync + 'static) -> Self {
        unsafe fn call(data: *mut ()) {
            // SAFETY: `data` is the pointer below, and the call keeps the closure.
            unsafe { (*data.cast::<Run>())() }
        }
        let run: Box<Run> = Box::new(Box::new(f));
        let data = ptr::from_ref(&*run).cast_mut().cast();
        let mut made = Self::with("run", Vec::new(), |_, _, _, _| Action::Run { call, data });
        made.inner()._run = Some(run);
        made
    }

    fn with(
        what: &'static str,
        buf: Vec<u8>,
        action: impl FnOnce(*mut u8, usize, *mut libc::sockaddr_storage, *mut libc::socklen_t) -> Action,
    ) -> Self {
        let buf = Box::into_raw(buf.into_boxed_slice());
        // SAFETY: a socket address is plain integers, for which zero is valid.
        let address = Box::into_raw(Box::new(unsafe { mem::zeroed::<Address>() }));
        // SAFETY: `address` points to a live allocation.
        let (storage, len) = unsafe { (&raw mut (*address).storage, &raw mut (*address).len) };
        let action = action(buf.cast(), buf.len(), storage, len);
        // SAFETY: the pointers are to memory that the call owns.
        let op = unsafe { Operation::new(action) };
        Self(Rc::new(Inner { what, op, buf, address, _vectors: Vec::new(), _run: None }))
    }

    fn vectored(
        what: &'static str,
        buf: Vec<u8>,
        lens: &[usize],
        action: impl FnOnce(*const libc::iovec, usize) -> Action,
    ) -> Self {
        assert_eq!(buf.len(), lens.iter().sum::<usize>());
        let mut vectors = Vec::new();
        let mut call = Self::with(what, buf, |mut at, _, _, _| {
            for &iov_len in lens {
                vectors.push(libc::iovec { iov_base: at.cast(), iov_len });
                at = at.wrapping_add(iov_len);
            }
            action(vectors.as_ptr(), vectors.len())
        });
        call.inner()._vectors = vectors;
        call
    }

    fn inner(&mut self) -> &mut Inner {
        Rc::get_mut(&mut self.0).expect("not submitted yet")
    }

    pub(super) fn op(&self) -> OpRef {
        // SAFETY: it does not move, and the bench that it is submitted to keeps it alive.
        unsafe { self.0.op.as_ref() }
    }

    /// The buffer, once the operation is back.
    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: alive, and not written to: the operation is back.
        unsafe { &*self.0.buf }
    }

    /// The port of the address that `accept` reported.
    pub(super) fn peer_port(&self) -> u16 {
        // SAFETY: alive, and not written to: the operation is back.
        let address = unsafe { &*self.0.address };
        assert_eq!(i32::from(address.storage.ss_family), libc::AF_INET);
        assert_eq!(address.len as usize, size_of::<libc::sockaddr_in>());
        // SAFETY: the family says that it is one, and the storage is large enough and aligned.
        let address = unsafe { &*(&raw const address.storage).cast::<libc::sockaddr_in>() };
        u16::from_be(address.sin_port)
    }

    /// Overwrites the buffer once the operation is back. A driver that writes to it later shows in
    /// [`data`](Self::data), one that sends it later shows at the other end.
    pub(super) fn poison(&self) {
        // SAFETY: alive, and nobody else uses it: the operation is back.
        unsafe { (*self.0.buf).fill(POISON) };
    }
}

/// What no test sends.
pub(super) const POISON: u8 = 0xa5;

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

    /// Fills the send buffer, without the driver, until the kernel refuses more and goes on refusing.
    pub(super) fn fill(&self) -> usize {
        let fd = self.owned.as_raw_fd();
        let chunk = [7; 4096];
        let (mut total, mut quiet) = (0, false);
        loop {
            // SAFETY: the slice is valid for reading.
            let count = unsafe { libc::write(fd, chunk.as_ptr().cast(), chunk.len()) };
            if count >= 0 {
                (total, quiet) = (total + count as usize, false);
                continue;
            }
            assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::WouldBlock);
            if quiet {
                return total;
            }
            let mut room = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
            // SAFETY: one initialised entry. Room for little is not reported, hence another try.
            quiet = unsafe { libc::poll(&mut room, 1, DELAYED_ACK_MS) } == 0;
        }
    }

    /// Ends one or both directions.
    pub(super) fn shut_down(&self, how: i32) {
        // SAFETY: takes no pointers.
        let result = unsafe { libc::shutdown(self.owned.as_raw_fd(), how) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
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

/// A listening TCP socket.
pub(super) fn listener() -> (Fd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    (Fd::new(listener, SourceKind::Pollable), address)
}

/// An address at which nobody listens for as long as the socket is kept.
pub(super) fn deaf() -> (Fd, SocketAddr) {
    let deaf = socket(libc::AF_INET, SourceKind::Stream);
    // SAFETY: a socket address is plain integers, for which zero is valid: any port, any interface.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let (fd, address) = (deaf.owned.as_raw_fd(), &raw mut address);
    // SAFETY: `address` and `len` are valid for both calls.
    let port = unsafe {
        assert_eq!(libc::bind(fd, address.cast(), len), 0);
        assert_eq!(libc::getsockname(fd, address.cast(), &mut len), 0);
        u16::from_be((*address).sin_port)
    };
    (deaf, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Both ends of a TCP connection.
pub(super) fn tcp_pair() -> (Fd, Fd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
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
    (Fd::new(near, SourceKind::Pollable), Fd::new(far, SourceKind::Pollable))
}

/// A pipe: the end to read from, the end to write to.
pub(super) fn pipe() -> (Fd, Fd) {
    let (reader, writer) = io::pipe().expect("pipe");
    (Fd::new(reader, SourceKind::Pollable), Fd::new(writer, SourceKind::Pollable))
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

/// Bytes that tell where they belong: none occurs at the same place of the next page.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at ^ (at >> 8) ^ (at >> 16)) % 251) as u8 % POISON).collect()
}
