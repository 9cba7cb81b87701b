//! Routines that only come and go, for contestants whose API is that of `std`: the module around says whose `spawn` and
//! `yield_now` these are.

use super::{spawn, yield_now};
use crate::workload::BATCH;

pub(super) fn yields(turns: u64) {
    let other = spawn(move || (0..turns / 2).for_each(|_| yield_now()));
    (0..turns / 2).for_each(|_| yield_now());
    other.join().expect("the other routine does not panic");
}

pub(super) fn spawn_join(turns: u64) {
    for turn in 0..turns {
        assert_eq!(spawn(move || turn).join().expect("the routine does not panic"), turn);
    }
}

pub(super) fn spawn_batch(turns: u64) {
    let mut handles = Vec::with_capacity(BATCH as usize);
    for batch in 0..turns / BATCH {
        handles.extend((0..BATCH).map(|number| spawn(move || batch + number)));
        for (number, handle) in handles.drain(..).enumerate() {
            assert_eq!(handle.join().expect("the routine does not panic"), batch + number as u64);
        }
    }
}
