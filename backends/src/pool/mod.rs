//! The `pool` backend: blocking I/O on a pool of threads.
//!
//! An operation that is not done at once holds a thread only while there is work for it. A socket that
//! would block waits in the one [`Poller`] that all drivers of the backend share, and the operation
//! comes back to the pool's queue when the socket is ready; everything else goes there directly. So
//! 128 threads serve 10,000 idle connections, and a driver is little more than a condition variable.
//!
//! The price is distance: poller, pool thread and worker are three threads, so a socket that was not
//! ready costs three wake-ups where a reactor per worker needs one. Operations that hold all
//! threads do not hold up the sockets: the poller's thread then does the pool's part.

mod poller;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rust_routines_core::driver::{
    Attempt, Completions, DriverWaker, IoBackend, IoConfig, IoDriver, OpRef, PoolMetrics, Submitted,
};

use self::poller::Poller;
use crate::signal::Signal;
use crate::task::Ledger;

/// I/O by threads: a pool for whatever is not done at once, and one poller in front of it for what
/// can be waited for.
#[derive(Debug, Default)]
pub struct Pool {
    poller: Mutex<Option<Arc<Poller>>>,
}

impl Pool {
    /// A backend without any driver or thread yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl IoBackend for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        let mut poller = self.poller.lock();
        let poller = match &mut *poller {
            Some(poller) => poller,
            none => none.insert(Poller::start(config)?),
        };
        Ok(Box::new(Driver::new(Arc::clone(poller))))
    }

    fn pool_metrics(&self) -> PoolMetrics {
        self.poller.lock().as_ref().map_or_else(PoolMetrics::default, |poller| poller.metrics())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(poller) = self.poller.get_mut() {
            poller.shut_down();
        }
    }
}

/// The driver of one worker.
#[derive(Debug)]
struct Driver {
    poller: Arc<Poller>,
    waker: Arc<Waker>,
    ledger: Ledger,
}

impl Driver {
    fn new(poller: Arc<Poller>) -> Self {
        let waker = Arc::<Waker>::default();
        let ledger = Ledger::new(Arc::clone(&waker) as Arc<dyn DriverWaker>);
        Self { poller, waker, ledger }
    }
}

// SAFETY: contract, points 2 and 3. A pending operation belongs to its task's claim, see `crate::task`;
// the poller's list of those that wait is settled by the holder of the claim before the hand-back.
unsafe impl IoDriver for Driver {
    fn submit(&mut self, op: OpRef) -> Submitted {
        let (task, handed_over) = match op.attempt() {
            Attempt::Done(result) => return Submitted::Done(result),
            Attempt::NotReady(source, interest) => {
                let task = self.ledger.open(op);
                let handed_over = self.poller.watch(&task, op, source.fd, interest);
                (task, handed_over)
            }
            Attempt::Blocks => {
                let task = self.ledger.open(op);
                let handed_over = self.poller.perform(&task, op);
                (task, handed_over)
            }
        };
        match handed_over {
            Ok(()) => Submitted::Pending,
            Err(error) => {
                self.ledger.strike(&task);
                Submitted::Done(Err(error))
            }
        }
    }

    fn cancel(&mut self, op: OpRef) {
        if let Some(task) = self.ledger.cancel(op)
            && let Some((source, interest)) = op.action().readiness()
        {
            self.poller.leave(&task, source.fd, interest);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        if timeout != Some(Duration::ZERO) && !self.ledger.has_finished() {
            self.waker.sleep(timeout);
        } else {
            self.waker.signal.wake_up();
        }
        self.ledger.collect(done);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        Arc::clone(&self.waker) as Arc<dyn DriverWaker>
    }
}

/// Ends the driver's `wait`.
#[derive(Debug, Default)]
struct Waker {
    signal: Signal,
    /// Held by the driver from [`Signal::fall_asleep`] until it waits for `awake`.
    lock: Mutex<()>,
    awake: Condvar,
}

impl Waker {
    fn sleep(&self, timeout: Option<Duration>) {
        let mut lock = self.lock.lock();
        if self.signal.fall_asleep() {
            match timeout {
                Some(timeout) => {
                    self.awake.wait_for(&mut lock, timeout);
                }
                None => self.awake.wait(&mut lock),
            }
        }
        self.signal.wake_up();
    }
}

impl DriverWaker for Waker {
    fn wake(&self) {
        if self.signal.notify() {
            // Whoever was seen asleep holds the lock until it can hear.
            drop(self.lock.lock());
            self.awake.notify_one();
        }
    }
}
