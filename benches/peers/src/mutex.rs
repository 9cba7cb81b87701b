//! A mutex, for contestants whose API is that of `std`: the module around says whose `spawn` and `Mutex` these are.

use std::sync::Arc;

use super::{Mutex, spawn};
use crate::workload::{CROWD, RIVALS};

pub(super) fn mutex(turns: u64) {
    contend(turns, RIVALS);
}

pub(super) fn mutex_of_many(turns: u64) {
    contend(turns, CROWD);
}

fn contend(turns: u64, rivals: u64) {
    let count = Arc::new(Mutex::new(0));
    let all: Vec<_> = (0..rivals)
        .map(|_| {
            let count = count.clone();
            spawn(move || {
                for _ in 0..turns / rivals {
                    *count.lock().expect("no rival panics") += 1;
                }
            })
        })
        .collect();
    for rival in all {
        rival.join().expect("no rival panics");
    }
    assert_eq!(*count.lock().expect("no rival panics"), turns);
}
