//! How every operation that may wait is submitted.

mod submit;

pub(crate) use submit::submit;
