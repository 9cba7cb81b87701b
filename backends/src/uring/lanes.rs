//! Who waits for which direction of which descriptor, and whom the kernel is asked for.
//!
//! The kernel wakes those who wait for a descriptor in no useful order, all of them at each event. So of the
//! [plain](OpRef::is_plain) operations in one direction, its *lane*, only the first is with the kernel; the others
//! follow one after the other. All other operations, which may have something to wait for of
//! their own, go to the kernel as they come.
//!
//! A lane also remembers whether its last transfer has told that the next would be refused. Then there is no
//! use in trying before the kernel is asked to wait. That is a hint and nothing more: an operation that goes to
//! the kernel although it could be done is done there.

use rust_routines_core::driver::{Interest, OpQueue, OpRef, Source};

/// What is to be done with an operation that has just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Nothing: others are before it.
    Queued,
    /// It is the first, and would be refused.
    First,
    /// It is to be tried.
    Try,
}

/// The lanes of one driver. See the [module docs](self).
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Indexed by descriptor. The kernel gives out the lowest free number, so this is as dense as the
    /// process's descriptors; a slot is one cache line.
    slots: Vec<Slot>,
}

/// The lanes of one descriptor.
#[derive(Debug, Default)]
struct Slot {
    /// The [`Source::id`] that they are of.
    id: u64,
    read: Lane,
    write: Lane,
}

#[derive(Debug, Default)]
struct Lane {
    /// The first is with the kernel.
    queue: OpQueue,
    drained: bool,
}

impl Lanes {
    /// An operation comes, which has not been tried.
    pub(super) fn arrive(&mut self, op: OpRef) -> Arrival {
        let Some(lane) = self.of(op) else { return Arrival::Try };
        let arrival = match (lane.queue.is_empty(), lane.drained) {
            (false, _) => Arrival::Queued,
            (true, true) => Arrival::First,
            (true, false) => return Arrival::Try,
        };
        lane.queue.push_back(op);
        arrival
    }

    /// An operation that was to be tried is refused, and goes to the kernel.
    pub(super) fn refused(&mut self, op: OpRef) {
        let Some((source, interest)) = op.action().readiness() else { return };
        if !op.is_plain() {
            return;
        }
        let index = source.fd as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        if slot.id != source.id {
            if !slot.read.queue.is_empty() || !slot.write.queue.is_empty() {
                // One descriptor under two ids. This one waits on its own.
                return;
            }
            *slot = Slot { id: source.id, ..Slot::default() };
        }
        slot.lane(interest).queue.push_back(op);
    }

    /// What the last transfer in a direction has told about the next.
    pub(super) fn learn(&mut self, source: Source, interest: Interest, drained: bool) {
        if let Some(lane) = self.lane(source, interest) {
            lane.drained = drained;
        }
    }

    /// Takes out an operation, and says whether it was in a lane.
    pub(super) fn remove(&mut self, op: OpRef) -> bool {
        self.of(op).is_some_and(|lane| lane.queue.remove(op))
    }

    /// Takes out an operation that comes back from the kernel, and says whether it was in a lane.
    pub(super) fn leave(&mut self, op: OpRef) -> bool {
        let Some(lane) = self.of(op) else { return false };
        let was_first = lane.queue.front() == Some(op);
        if was_first {
            lane.queue.pop_front();
        }
        was_first
    }

    /// The first operation of a lane, and whether it would be refused.
    pub(super) fn first(&mut self, source: Source, interest: Interest) -> Option<(OpRef, bool)> {
        let lane = self.lane(source, interest)?;
        Some((lane.queue.front()?, lane.drained))
    }

    /// The lane of an operation, if it has one.
    fn of(&mut self, op: OpRef) -> Option<&mut Lane> {
        let (source, interest) = op.action().readiness()?;
        if op.is_plain() { self.lane(source, interest) } else { None }
    }

    fn lane(&mut self, source: Source, interest: Interest) -> Option<&mut Lane> {
        let slot = self.slots.get_mut(source.fd as usize).filter(|slot| slot.id == source.id)?;
        Some(slot.lane(interest))
    }
}

impl Slot {
    fn lane(&mut self, interest: Interest) -> &mut Lane {
        match interest {
            Interest::Read | Interest::Priority => &mut self.read,
            Interest::Write => &mut self.write,
        }
    }
}
