//! All drivers, the wheels in several shapes, against the suite for timer drivers.

use std::time::Duration;

use rust_routines_conformance::timer_driver_suite;
use rust_routines_core::driver::TimerBackend;
use rust_routines_timers::{Hashed, Heap, Hierarchical};

timer_driver_suite!(hierarchical, Hierarchical::new, granularity = Duration::ZERO);

timer_driver_suite!(heap, Heap::new, granularity = Duration::ZERO);

timer_driver_suite!(hashed, Hashed::new, granularity = Duration::from_millis(10));

timer_driver_suite!(
    hashed_one_slot,
    || Hashed::with(1, Duration::from_millis(1)),
    granularity = Duration::from_millis(1)
);

timer_driver_suite!(
    hashed_three_slots,
    || Hashed::with(3, Duration::from_nanos(7)),
    granularity = Duration::from_nanos(7)
);

// More slots than one word of the bitmap, and not a whole number of words.
timer_driver_suite!(
    hashed_hundred_slots,
    || Hashed::with(100, Duration::from_micros(1)),
    granularity = Duration::from_micros(1)
);

timer_driver_suite!(
    hashed_tick_of_a_nanosecond,
    || Hashed::with(64, Duration::from_nanos(1)),
    granularity = Duration::ZERO
);

/// Fails to compile if a driver's constructor is no longer what the runtime's builder takes.
#[test]
fn constructors_are_backends() {
    let backends: [(Box<dyn TimerBackend>, &str); 3] = [
        (Box::new(Hierarchical::new), "hierarchical"),
        (Box::new(Hashed::new), "hashed"),
        (Box::new(Heap::new), "heap"),
    ];
    for (backend, name) in backends {
        assert_eq!(backend.driver().name(), name);
    }
}
