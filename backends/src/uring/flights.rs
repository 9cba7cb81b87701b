//! Which operations are with the kernel.
//!
//! A request carries a number that leads back to its operation: a place in a table, and a serial number that
//! is another one each time the place is used. The kernel completes every request once, so a place is
//! free again only when nothing can come for it any more; it is a *cancellation* that may be late, and then finds
//! nobody with its number.

use std::io;
use std::sync::atomic::Ordering;

use rust_routines_core::driver::OpRef;
use slab::Slab;

/// In [`OpRef::word`], of an operation that is in the table; the rest of the word is its place.
const WITH_KERNEL: usize = 1 << (usize::BITS - 1);

/// What an entry has been made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It performs the operation.
    Whole,
    /// It waits for readiness; then the operation is tried.
    Readiness,
    /// It tells of changes until it is recalled; at each the operation is tried.
    Changes,
}

/// An operation that is with the kernel.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) op: OpRef,
    pub(super) stage: Stage,
    pub(super) canceled: bool,
    /// What came of the operation, whose entry is being recalled.
    pub(super) result: Option<io::Result<usize>>,
    serial: u32,
}

/// See the [module docs](self).
#[derive(Debug, Default)]
pub(super) struct Flights {
    places: Slab<Flight>,
    next_serial: u32,
}

impl Flights {
    /// Enters an operation and answers the number of its request.
    pub(super) fn enter(&mut self, op: OpRef, stage: Stage) -> u64 {
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let place = self.places.insert(Flight { op, stage, canceled: false, result: None, serial });
        op.word().store(WITH_KERNEL | place, Ordering::Relaxed);
        number(serial, place)
    }

    /// Whether an operation that was not handed back is here.
    pub(super) fn has(op: OpRef) -> bool {
        op.word().load(Ordering::Relaxed) & WITH_KERNEL != 0
    }

    /// Marks an operation that is here as cancelled, and answers the number of its request.
    pub(super) fn cancel(&mut self, op: OpRef) -> u64 {
        let place = op.word().load(Ordering::Relaxed) & !WITH_KERNEL;
        let flight = &mut self.places[place];
        flight.canceled = true;
        number(flight.serial, place)
    }

    /// The operation whose request has something to tell.
    pub(super) fn of(&mut self, number: u64) -> Option<&mut Flight> {
        let flight = self.places.get_mut(place(number))?;
        (u64::from(flight.serial) == number >> 32).then_some(flight)
    }

    /// Takes out the operation whose request is completed.
    pub(super) fn leave(&mut self, number: u64) -> Option<Flight> {
        self.of(number)?;
        let flight = self.places.remove(place(number));
        flight.op.word().store(0, Ordering::Relaxed);
        Some(flight)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

fn place(number: u64) -> usize {
    number as u32 as usize
}

fn number(serial: u32, place: usize) -> u64 {
    u64::from(serial) << 32 | place as u64
}
