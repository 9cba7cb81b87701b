//! A mutex, for contestants whose API is that of `std`: the module around says whose `spawn` and `Mutex` these are.

use std::sync::Arc;

use super::{Mutex, spawn};
use crate::workload::RIVALS;

pub(super) fn mutex(turns: u64) {
    let count = Arc::new(Mutex::new(0));
    let rivals: Vec<_> = (0..RIVALS)
        .map(|_| {
            let count = count.clone();
            spawn(move || {
                for _ in 0..turns / RIVALS {
                    *count.lock().expect("no rival panics") += 1;
                }
            })
        })
        .collect();
    for rival in rivals {
        rival.join().expect("no rival panics");
    }
    assert_eq!(*count.lock().expect("no rival panics"), turns);
}
