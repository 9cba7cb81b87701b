//! A driver on the bench, with the operations that it holds.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rust_routines_core::driver::operation::is_canceled;
use rust_routines_core::driver::{Completions, IoConfig, IoDriver, OpRef, Submitted};

use super::call::Call;
use super::fds::Fd;
use super::{Faults, Tested, child};

/// How long an operation that must finish may take before the test fails. Generous, for loaded
/// machines; nothing ever waits for it to pass.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test looks for something that must not happen. Too short only makes a test weaker.
pub(super) const A_MOMENT: Duration = Duration::from_millis(2);

/// Threads of the pools under test: few, so that tests reach the limit.
pub(super) const POOL_THREADS: usize = 2;

/// A driver and the operations that it holds.
pub(super) struct Bench {
    pub(super) driver: Box<dyn IoDriver>,
    faults: Faults,
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
    pub(super) fn new(backend: &Tested) -> Self {
        Self::with(backend, &IoConfig::new(POOL_THREADS, "bench"))
    }

    pub(super) fn with(backend: &Tested, config: &IoConfig) -> Self {
        let driver = backend.driver(config).expect("a driver can be made");
        Self { driver, faults: backend.faults, done: Completions::new(), calls: HashMap::new() }
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
        assert!(
            !self.is_pending(call) || self.faults == Faults::Injected,
            "{call:?} is pending and could have been done at once"
        );
        self.finish(call)
    }

    /// Submits an operation that the driver cannot do yet.
    pub(super) fn pend(&mut self, call: &Call) {
        self.submit(call);
        assert!(self.is_pending(call), "{call:?} is done at once: {:?}", self.finish(call));
    }

    /// Fills a send buffer and submits a write for which there is no room. Says how much is in the buffer now.
    pub(super) fn pend_write(&mut self, fd: &Fd, data: &[u8]) -> (Call, usize) {
        let mut filled = 0;
        loop {
            filled += fd.fill();
            let write = Call::write(fd, data);
            self.submit(&write);
            if self.is_pending(&write) {
                return (write, filled);
            }
            // The other end's kernel has made room once more.
            filled += self.finish(&write).expect("write");
        }
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

    /// Waits until a transfer of `count` bytes is back, and returns them. Does the rest of it too, as real code has to,
    /// where transfers are cut short on purpose, and for a file, of which what is cached may come alone.
    pub(super) fn whole(&mut self, call: &Call, count: usize) -> Vec<u8> {
        let may_be_short = self.faults == Faults::Injected || call.is_on_a_file();
        let mut first = self.finish(call).expect("a transfer");
        let mut bytes = call.data()[..first].to_vec();
        while first > 0 && bytes.len() < count && may_be_short {
            let rest = call.part(bytes.len(), count);
            first = self.run(&rest).expect("the rest of a transfer");
            bytes.extend_from_slice(&rest.data()[..first]);
        }
        assert_eq!(bytes.len(), count, "{call:?}");
        bytes
    }

    /// Submits a transfer of `count` bytes and waits until it is back, [whole](Self::whole).
    pub(super) fn run_whole(&mut self, call: &Call, count: usize) -> Vec<u8> {
        self.submit(call);
        self.whole(call, count)
    }

    /// Submits a transfer of `count` bytes, which the driver must do at once.
    pub(super) fn whole_now(&mut self, call: &Call, count: usize) -> Vec<u8> {
        self.submit(call);
        assert!(
            !self.is_pending(call) || self.faults == Faults::Injected,
            "{call:?} is pending and could have been done at once"
        );
        self.whole(call, count)
    }

    /// Waits until at least one of several operations is back.
    pub(super) fn any_of(&mut self, calls: &[&Call]) {
        let since = Instant::now();
        while calls.iter().all(|call| self.is_pending(call)) {
            assert!(since.elapsed() < PATIENCE, "none of {calls:?} comes back");
            self.wait(Some(Duration::from_secs(1)));
        }
    }

    /// Waits until so many closures have come to a gate.
    pub(super) fn until_came(&mut self, gate: &Gate, count: usize) {
        let since = Instant::now();
        while gate.came() < count {
            assert!(since.elapsed() < PATIENCE, "fewer than {count} run");
            // They make no sound as they start.
            self.wait(Some(Duration::from_micros(200)));
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
        if std::thread::panicking() {
            return;
        }
        assert!(left.is_empty(), "the test left {} operations pending", left.len());
        child::assert_no_stale_registrations();
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
        drop(changed.wait_while(state, |(_, open)| !*open).expect("no panic"));
    }

    /// How many have come to the gate.
    fn came(&self) -> usize {
        self.0.0.lock().expect("no panic").0
    }

    pub(super) fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().expect("no panic").1 = true;
        changed.notify_all();
    }
}
