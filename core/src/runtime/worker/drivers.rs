//! A worker and its drivers: operations and deadlines go in, routines that can go on come out.
//!
//! The drivers are borrowed here alone, and never while a routine runs.

use std::time::{Duration, Instant};

use super::Worker;
use crate::claim::Outcome;
use crate::driver::{Action, OpRef, Submitted, TimerKey};
use crate::routine::cell::{Header, Link, Parked};

/// How many bytes that were moved on the spot count as one switch more. A turn of nothing but large transfers then
/// takes a millisecond, and transfers of a few pages count as before.
const BYTES_PER_SWITCH: usize = 16 * 1024;

impl Worker {
    /// Passes an operation to the driver; called in the commit step of a routine that parks.
    pub(crate) fn submit(&self, op: OpRef) -> Submitted {
        self.counters().io_operations.add(1);
        let submitted = self.io.borrow_mut().submit(op);
        match &submitted {
            Submitted::Done(result) => {
                self.counters().io_at_once.add(1);
                // Copying takes its time, and the looks around are measured out in switches.
                let copied = result.as_ref().map_or(0, |count| count / BYTES_PER_SWITCH);
                if copied > 0 && !makes_descriptor(op) {
                    let left = self.switches_left.get();
                    let copied = u32::try_from(copied).unwrap_or(u32::MAX);
                    self.switches_left.set(left.saturating_sub(copied));
                }
            }
            Submitted::Pending => self.io_pending.set(self.io_pending.get() + 1),
        }
        submitted
    }

    /// Collects what the drivers have without waiting.
    pub(super) fn look_at_drivers(&self, now: Instant) {
        self.last_look.set(now);
        if self.io_pending.get() > 0 {
            self.wait_for_driver(Some(Duration::ZERO));
        }
        self.fire_timers(now);
    }

    pub(super) fn wait_for_driver(&self, timeout: Option<Duration>) {
        let mut completions = self.completions.borrow_mut();
        if let Err(error) = self.io.borrow_mut().wait(timeout, &mut completions) {
            // The routines that wait for it can never be woken.
            panic!("the I/O driver failed: {error}");
        }
        self.io_pending.set(self.io_pending.get() - completions.len());
        for (op, result) in completions.drain() {
            op.set_result(result);
            // SAFETY: the owner is the routine that submitted the operation, which waits for nothing
            // else; the driver has handed the operation back, so the right to wake it is ours.
            let link = unsafe { Link::from_ptr(op.owner().cast_mut().cast::<Header>()) };
            if let Some(link) = link {
                link.at_home().parked.set(Parked::No);
                self.make_ready(link);
            }
        }
    }

    pub(super) fn fire_timers(&self, now: Instant) {
        let mut timer = self.timer.borrow_mut();
        if timer.is_empty() {
            return;
        }
        let mut expired = self.expired.borrow_mut();
        timer.advance(self.shared.nanos(now), &mut expired);
        drop(timer);
        self.counters().timers_fired.add(expired.len() as u64);
        for TimerKey(key) in expired.drain(..) {
            // A key that is not in use is a fault of the driver, and must not become one of memory.
            let Some(link) = self.sleepers.borrow_mut().try_remove(key) else { continue };
            link.at_home().timer.set(None);
            self.end_wait(link, Outcome::TIMED_OUT);
        }
    }

    /// Ends the wait of a parked routine of this worker for another reason than what it waits for.
    pub(super) fn end_wait(&self, link: Link, outcome: Outcome) {
        match link.at_home().parked.get() {
            Parked::Steadfast(_) if outcome == Outcome::CANCELED => {}
            Parked::Claim(claim) | Parked::Steadfast(claim) => {
                // SAFETY: the claim lies on the stack of the parked routine, or in its header.
                if unsafe { claim.as_ref() }.claim(outcome) {
                    link.at_home().parked.set(Parked::No);
                    self.make_ready(link);
                }
            }
            Parked::Operation(op) => self.io.borrow_mut().cancel(op),
            Parked::No | Parked::SteadfastOperation => {}
        }
    }
}

/// Whether the operation answers a descriptor's number.
fn makes_descriptor(op: OpRef) -> bool {
    matches!(op.action(), Action::Accept { .. } | Action::Open { .. })
}
