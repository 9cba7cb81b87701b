//! An I/O driver from outside: `poll(2)` for what can be waited for, a few threads for what blocks.
//!
//! It shows all that a driver owes to its runtime (`rust_routines::driver::io` says it in full) and as little as
//! possible beside that. How an operation is performed is not a driver's business: [`OpRef::attempt`] tries it without
//! blocking, [`OpRef::perform`] blocks. What is left is to keep those that wait, to know when to try again, and to hand
//! each back once.
//!
//! Fine for some hundred descriptors: every `wait` tells the kernel all of them anew, and tries all that it reports. A
//! socket whose error queue nobody reads is always reported; a driver for real use asks for edges, as `epoll` has them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rust_routines::driver::operation::canceled;
use rust_routines::driver::{
    Action, Attempt, Completions, DriverWaker, Interest, IoBackend, IoConfig, IoDriver, OpRef,
    PoolMetrics, Submitted, spawn_thread,
};

/// What `Runtime::builder().io` takes. All drivers share its helpers.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    helpers: Mutex<Option<Arc<Helpers>>>,
}

impl Poll {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl IoBackend for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        let mut helpers = self.helpers.lock().unwrap();
        let helpers = helpers.get_or_insert_with(|| Arc::new(Helpers::new(config)));
        Ok(Box::new(Driver::new(Arc::clone(helpers))?))
    }

    fn pool_metrics(&self) -> PoolMetrics {
        self.helpers.lock().unwrap().as_ref().map_or_else(PoolMetrics::default, |all| all.metrics())
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        if let Some(helpers) = self.helpers.get_mut().unwrap() {
            helpers.stop();
        }
    }
}

/// The driver of one worker.
#[derive(Debug)]
struct Driver {
    /// Those that wait for readiness, the oldest first.
    waiting: Vec<OpRef>,
    /// Those that were given up, until the next `wait` hands them back.
    canceled: Vec<OpRef>,
    helpers: Arc<Helpers>,
    home: Arc<Home>,
    /// Becomes readable when the waker is called.
    woken: UnixStream,
}

/// Where the helpers leave what they have finished for this driver.
#[derive(Debug)]
struct Home {
    finished: Mutex<Vec<(OpRef, io::Result<usize>)>>,
    waker: Arc<Waker>,
}

#[derive(Debug)]
struct Waker(UnixStream);

impl DriverWaker for Waker {
    fn wake(&self) {
        // Where there is no room for another byte, or no driver any more, none is needed.
        let _ = (&self.0).write(&[0]);
    }
}

impl Driver {
    fn new(helpers: Arc<Helpers>) -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let home = Home { finished: Mutex::default(), waker: Arc::new(Waker(waker)) };
        let (waiting, canceled) = (Vec::new(), Vec::new());
        Ok(Self { waiting, canceled, helpers, home: Arc::new(home), woken })
    }
}

// SAFETY: contract, points 2 and 3. An operation is in one place at a time: in `waiting` or `canceled`, which are this
// thread's; in the helpers' queue, from which a helper or `cancel` takes it under the lock; with that helper, which
// leaves it in `finished` and does not touch it again. It is pushed as it is taken from `waiting`, `canceled` or
// `finished`, by this thread. The kernel is told of descriptors and never of operations.
unsafe impl IoDriver for Driver {
    fn submit(&mut self, op: OpRef) -> Submitted {
        match op.attempt() {
            Attempt::Done(result) => Submitted::Done(result),
            Attempt::NotReady(..) => {
                self.waiting.push(op);
                Submitted::Pending
            }
            Attempt::Blocks => match self.helpers.submit(op, &self.home) {
                Ok(()) => Submitted::Pending,
                Err(error) => Submitted::Done(Err(error)),
            },
        }
    }

    fn cancel(&mut self, op: OpRef) {
        let place = self.waiting.iter().position(|&other| other == op);
        if let Some(place) = place {
            self.waiting.remove(place);
        } else if !self.helpers.withdraw(op) {
            // A helper is in it, or it is on its way back already.
            return;
        }
        self.canceled.push(op);
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        // What a helper finishes after this look calls the waker.
        let idle = self.canceled.is_empty() && self.home.finished.lock().unwrap().is_empty();
        let entries = self.poll(if idle { timeout } else { Some(Duration::ZERO) })?;
        while let Ok(1..) = self.woken.read(&mut [0; 64]) {}

        for (op, entry) in mem::take(&mut self.waiting).into_iter().zip(entries) {
            let attempt = match op.action() {
                _ if entry.revents == 0 => None,
                // That is what was asked, and some files answer it once.
                Action::Poll { .. } => Some(Attempt::Done(Ok(0))),
                _ => Some(op.attempt()),
            };
            match attempt {
                Some(Attempt::Done(result)) => done.push(op, result),
                // Others may have been faster: a report of readiness is a hint.
                _ => self.waiting.push(op),
            }
        }
        self.canceled.drain(..).for_each(|op| done.push(op, Err(canceled())));
        let finished = mem::take(&mut *self.home.finished.lock().unwrap());
        finished.into_iter().for_each(|(op, result)| done.push(op, result));
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        Arc::clone(&self.home.waker) as Arc<dyn DriverWaker>
    }
}

impl Driver {
    /// Waits until the waker was called or an operation can be tried again. Answers with an entry for each.
    fn poll(&self, timeout: Option<Duration>) -> io::Result<Vec<libc::pollfd>> {
        let waker = libc::pollfd { fd: self.woken.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut entries: Vec<_> = self.waiting.iter().map(entry).chain([waker]).collect();
        // `poll` counts in milliseconds, which is too coarse for timers.
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let count = entries.len() as libc::nfds_t;
        // SAFETY: so many initialised entries, and a time or none, borrowed for the call.
        let ready = unsafe { libc::ppoll(entries.as_mut_ptr(), count, timeout, ptr::null()) };
        let error = io::Error::last_os_error();
        if ready < 0 && error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        Ok(entries)
    }
}

/// What `poll` is to tell of an operation's descriptor.
fn entry(op: &OpRef) -> libc::pollfd {
    let (source, interest) = op.action().readiness().expect("it was refused for want of readiness");
    let events = match (interest, op.action()) {
        // Who asks for readiness itself also asks for urgent data.
        (Interest::Read, Action::Poll { .. }) => libc::POLLIN | libc::POLLPRI,
        (Interest::Read, _) => libc::POLLIN,
        (Interest::Write, _) => libc::POLLOUT,
        (Interest::Priority, _) => libc::POLLPRI,
    };
    libc::pollfd { fd: source.fd, events, revents: 0 }
}

/// Threads for what blocks: started as needed, up to a limit.
#[derive(Debug)]
struct Helpers {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    name: String,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(OpRef, Arc<Home>)>,
    threads: Vec<JoinHandle<()>>,
    idle: usize,
    handed_over: u64,
    stopping: bool,
}

impl Helpers {
    fn new(config: &IoConfig) -> Self {
        let (limit, name) = (config.pool_threads, format!("{}-helper", config.thread_name));
        Self { state: Mutex::default(), changed: Condvar::new(), limit, name }
    }

    /// Queues an operation. Fails if there is no helper and none can be had.
    fn submit(self: &Arc<Self>, op: OpRef, home: &Arc<Home>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.idle <= state.queue.len() && state.threads.len() < self.limit {
            let helpers = Arc::clone(self);
            match spawn_thread(self.name.clone(), move || helpers.help()) {
                Ok(thread) => state.threads.push(thread),
                Err(error) if state.threads.is_empty() => return Err(io::Error::other(error)),
                // Those that there are will come to it.
                Err(_) => {}
            }
        }
        state.queue.push_back((op, Arc::clone(home)));
        state.handed_over += 1;
        self.changed.notify_one();
        Ok(())
    }

    /// Takes an operation back, unless a helper has it.
    fn withdraw(&self, op: OpRef) -> bool {
        let mut state = self.state.lock().unwrap();
        let place = state.queue.iter().position(|(queued, _)| *queued == op);
        place.and_then(|place| state.queue.remove(place)).is_some()
    }

    /// The life of a helper.
    fn help(&self) {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some((op, home)) = state.queue.pop_front() {
                drop(state);
                let result = op.perform();
                home.finished.lock().unwrap().push((op, result));
                home.waker.wake();
                state = self.state.lock().unwrap();
            } else if state.stopping {
                return;
            } else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap();
                state.idle -= 1;
            }
        }
    }

    fn stop(&self) {
        let mut state = self.state.lock().unwrap();
        state.stopping = true;
        self.changed.notify_all();
        let threads = mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            // An operation must not unwind, so neither does a helper.
            let _ = thread.join();
        }
    }

    fn metrics(&self) -> PoolMetrics {
        let state = self.state.lock().unwrap();
        let mut metrics = PoolMetrics::default();
        metrics.threads = state.threads.len();
        metrics.threads_peak = state.threads.len();
        metrics.queued = state.queue.len();
        metrics.handed_over = state.handed_over;
        metrics
    }
}
