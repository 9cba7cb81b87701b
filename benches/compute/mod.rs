//! Work that keeps a processor busy for a known time and reads no clock.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Iterations of [`compute`] to calibrate with: some 20 ms.
const CALIBRATION: u64 = 20_000_000;

/// Keeps the processor busy.
#[inline(never)]
pub(crate) fn compute(iterations: u64) {
    let mut x = iterations;
    for _ in 0..iterations {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Iterations per microsecond, undisturbed.
pub(crate) fn calibrate() -> u64 {
    let best = (0..5).map(|_| timed(|| compute(CALIBRATION))).min().unwrap_or_default();
    CALIBRATION / u64::try_from(best.as_micros()).unwrap_or(u64::MAX).max(1)
}

pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
