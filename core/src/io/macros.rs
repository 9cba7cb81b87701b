//! Printing to the standard streams, by macros that take the place of std's where they are imported:
//!
//! ```
//! use rust_routines_core::io::macros::{print, println};
//!
//! print!("{} ", 3);
//! println!("{what}", what = "routines");
//! ```
//!
//! They are by themselves here so that `use rust_routines::io::*` leaves std's alone.

use std::fmt;
use std::io::Write;

use super::{stderr, stdout};

/// Prints to standard output, as [`std::print!`] does, but parks the routine where the reader is slow.
///
/// What is printed is written at once and in one piece, see [`Stdout`](super::Stdout). The test harness does not
/// capture it.
///
/// # Panics
///
/// If writing fails, unless a panic is under way on this thread already.
#[doc(inline)]
pub use crate::__rr_print as print;

/// Prints a line to standard output, as [`std::println!`] does. See [`print!`].
///
/// # Panics
///
/// If writing fails, unless a panic is under way on this thread already.
#[doc(inline)]
pub use crate::__rr_println as println;

/// Prints to standard error, as [`std::eprint!`] does. See [`print!`].
///
/// # Panics
///
/// If writing fails, unless a panic is under way on this thread already.
#[doc(inline)]
pub use crate::__rr_eprint as eprint;

/// Prints a line to standard error, as [`std::eprintln!`] does. See [`print!`].
///
/// # Panics
///
/// If writing fails, unless a panic is under way on this thread already.
#[doc(inline)]
pub use crate::__rr_eprintln as eprintln;

#[doc(hidden)]
#[macro_export]
macro_rules! __rr_print {
    ($($arg:tt)*) => {
        $crate::io::macros::__print(::std::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rr_println {
    () => {
        $crate::__rr_print!("\n")
    };
    ($($arg:tt)*) => {
        $crate::__rr_print!("{}\n", ::std::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rr_eprint {
    ($($arg:tt)*) => {
        $crate::io::macros::__eprint(::std::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rr_eprintln {
    () => {
        $crate::__rr_eprint!("\n")
    };
    ($($arg:tt)*) => {
        $crate::__rr_eprint!("{}\n", ::std::format_args!($($arg)*))
    };
}

#[doc(hidden)]
pub fn __print(args: fmt::Arguments<'_>) {
    if let Err(error) = stdout().write_fmt(args)
        && !std::thread::panicking()
    {
        panic!("failed printing to stdout: {error}");
    }
}

#[doc(hidden)]
pub fn __eprint(args: fmt::Arguments<'_>) {
    if let Err(error) = stderr().write_fmt(args)
        && !std::thread::panicking()
    {
        panic!("failed printing to stderr: {error}");
    }
}
