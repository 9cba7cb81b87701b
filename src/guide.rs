//! How to say here what you would say elsewhere, side by side.

#[doc = include_str!("../docs/from-go.md")]
pub mod from_go {}

#[doc = include_str!("../docs/from-std.md")]
pub mod from_std {}
