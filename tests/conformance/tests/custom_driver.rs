//! The suites on drivers from outside: those of `examples/custom_driver`.

use std::time::Duration;

use rust_routines_conformance::{faulty_driver_suite, io_driver_suite, timer_driver_suite};

#[path = "../../../examples/custom_driver/ordered.rs"]
mod ordered;
#[path = "../../../examples/custom_driver/poll.rs"]
mod poll;

io_driver_suite!(custom, crate::poll::Poll::new);
faulty_driver_suite!(faulty_custom, crate::poll::Poll::new);
timer_driver_suite!(custom_timer, crate::ordered::Ordered::new, granularity = Duration::ZERO);
