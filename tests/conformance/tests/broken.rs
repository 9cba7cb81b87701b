//! What the I/O suite must not accept: a driver that is right but for one thing, which is found.

use std::env;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rust_routines_conformance::io::{self as suite, Subject};
use rust_routines_core::driver::operation::canceled;
use rust_routines_core::driver::{
    Action, Completions, DriverWaker, IoBackend, IoConfig, IoDriver, OpRef, Submitted,
};

#[path = "../../../examples/custom_driver/poll.rs"]
mod poll;

/// What is wrong with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LeaksDescriptor,
    LeaksThread,
    KeepsWatching,
    HandsBackTwice,
    FailsWhenInterrupted,
    NeverSleeps,
    LosesResult,
    RoundsUp,
    BlocksOnFiles,
    IsReadyEarly,
}

struct Broken {
    inner: poll::Poll,
    fault: Fault,
}

impl IoBackend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn driver(&self, config: &IoConfig) -> io::Result<Box<dyn IoDriver>> {
        match self.fault {
            Fault::LeaksDescriptor => mem::forget(File::open("/")?),
            Fault::LeaksThread => drop(thread::spawn(|| {
                loop {
                    thread::park();
                }
            })),
            _ => {}
        }
        // SAFETY: takes no pointers, and the descriptor is new.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let inner = self.inner.driver(config)?;
        Ok(Box::new(Driver { fault: self.fault, inner, epoll, kept: Vec::new() }))
    }
}

#[derive(Debug)]
struct Driver {
    fault: Fault,
    inner: Box<dyn IoDriver>,
    epoll: OwnedFd,
    /// Duplicates, which keep files alive.
    kept: Vec<OwnedFd>,
}

// SAFETY: none. What is handed back twice was not to be touched after the first time, and is not: the bench panics.
unsafe impl IoDriver for Driver {
    fn submit(&mut self, op: OpRef) -> Submitted {
        if let (Fault::KeepsWatching, Some((source, _))) = (self.fault, op.action().readiness()) {
            // SAFETY: open while an operation on it is submitted.
            let fd = unsafe { BorrowedFd::borrow_raw(source.fd) };
            self.kept.push(fd.try_clone_to_owned().expect("dup"));
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            let epoll = self.epoll.as_raw_fd();
            // SAFETY: the event is valid for the call.
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, source.fd, &mut event) };
        }
        match (self.fault, op.action()) {
            (Fault::BlocksOnFiles, Action::ReadAt { .. }) => Submitted::Done(op.perform()),
            (Fault::IsReadyEarly, Action::Poll { .. }) => Submitted::Done(Ok(0)),
            _ => self.inner.submit(op),
        }
    }

    fn cancel(&mut self, op: OpRef) {
        self.inner.cancel(op);
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Completions) -> io::Result<()> {
        if self.fault == Fault::FailsWhenInterrupted {
            let nap = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            // SAFETY: the time is valid for the call, and what is left of it is not asked for.
            if unsafe { libc::nanosleep(&nap, ptr::null_mut()) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let timeout = match self.fault {
            Fault::FailsWhenInterrupted | Fault::NeverSleeps => Some(Duration::ZERO),
            Fault::RoundsUp => timeout.map(|time| {
                Duration::from_millis(
                    time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX),
                )
            }),
            _ => timeout,
        };
        let mut finished = Completions::new();
        self.inner.wait(timeout, &mut finished)?;
        for (op, result) in finished.drain() {
            match self.fault {
                Fault::LosesResult => done.push(op, Err(canceled())),
                Fault::HandsBackTwice => {
                    done.push(op, Ok(0));
                    done.push(op, result);
                }
                _ => done.push(op, result),
            }
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn DriverWaker> {
        self.inner.waker()
    }
}

/// Runs a behaviour of the suite on a broken driver, and expects it to fail with these words.
fn finds(test: &str, fault: Fault, behaviour: fn(&Subject), words: &str) {
    let broken = move || Broken { inner: poll::Poll::new(), fault };
    let subject = Subject::new(broken, concat!(module_path!(), "::finds::"), test);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| subject.run(behaviour)));
    let Err(payload) = ended else { panic!("{fault:?} passes") };
    if env::var_os("RR_CONFORMANCE_CHILD").is_some() {
        // In the process that the suite has started for it, the test is to fail.
        panic::resume_unwind(payload);
    }
    let said = payload.downcast_ref::<String>().expect("a message");
    assert!(said.contains(words), "{fault:?} is found by something else: {said}");
}

macro_rules! finds {
    ($($name:ident: $fault:ident, $topic:ident::$behaviour:ident, $words:literal;)*) => {
        mod finds {
            use super::{Fault, suite};

            $(
                #[test]
                fn $name() {
                    let behaviour = suite::$topic::$behaviour;
                    super::finds(stringify!($name), Fault::$fault, behaviour, $words);
                }
            )*
        }
    };
}

finds! {
    a_leaked_descriptor: LeaksDescriptor, transfers::the_end_of_file_stays, "left behind";
    a_leaked_thread: LeaksThread, transfers::the_end_of_file_stays, "left behind";
    a_kept_registration: KeepsWatching, waiting::a_zero_timeout_only_looks, "still watched";
    a_second_hand_back: HandsBackTwice, transfers::a_read_waits_for_data, "was not pending";
    an_interrupted_wait: FailsWhenInterrupted, signals::waits_survive_signals, "the driver works";
    a_busy_loop: NeverSleeps, waiting::huge_timeouts_do_not_overflow, "waits in";
    coarse_timeouts: RoundsUp, waiting::timeouts_are_finer_than_milliseconds, "always late";
    a_read_that_waits_for_the_disk: BlocksOnFiles, files::data_that_is_not_cached_is_read, "was waited for";
    early_readiness: IsReadyEarly, sockets::poll_reports_each_direction, "is done at once";
    a_lost_result: LosesResult, cancel::cancelling_races_with_opening, "left behind";
}
