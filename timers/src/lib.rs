//! Timer drivers for Rust Routines: two timing wheels after Varghese and Lauck, and a
//! heap.
//!
//! A driver keeps the armed timers of one worker. It is arithmetic and nothing else: it reads no
//! clock, owns no thread and calls nothing back; see [`rust_routines_core::driver::timer`] for the
//! contract.
//!
//! | driver | adds to a sleep | insert, cancel | expiry of one timer | its weak side |
//! |---|---|---|---|---|
//! | [`Hierarchical`] | nothing | O(1) | at most [eleven](Hierarchical#structure) short steps in all | a slot's timers move to finer slots all at once |
//! | [`Hashed`] | up to one tick | O(1) | O(timers of its slot) per tick in use | timers many rounds away are looked at again |
//! | [`Heap`] | nothing | O(log n) | O(log n) | many timers at a time |
//!
//! All hand out the keys of one `advance` in the order of their deadlines, grow with the largest
//! number of timers that were armed at a time, and then allocate no more.
//!
//! ```
//! use rust_routines_core::driver::{TimerDriver, TimerKey};
//! use rust_routines_timers::Hierarchical;
//!
//! let mut timers = Hierarchical::new();
//! timers.insert(2_000, TimerKey(2));
//! timers.insert(1_000, TimerKey(1));
//! let id = timers.insert(1_500, TimerKey(3));
//!
//! assert_eq!(timers.next_deadline(), Some(1_000));
//! assert_eq!(timers.cancel(id), Some(TimerKey(3)));
//!
//! let mut expired = Vec::new();
//! timers.advance(2_000, &mut expired);
//! assert_eq!(expired, [TimerKey(1), TimerKey(2)]);
//! ```
//!
//! # Sources
//!
//! - G. Varghese and A. Lauck, *Hashed and Hierarchical Timing Wheels: Data Structures for the
//!   Efficient Implementation of a Timer Facility*, [SOSP 1987](https://doi.org/10.1145/37499.37504)
//! - the same, revised: [IEEE/ACM Transactions on Networking 5(6),
//!   1997](https://doi.org/10.1109/90.650142)
//! - J. W. J. Williams, *Algorithm 232: Heapsort*, [CACM 7(6),
//!   1964](https://doi.org/10.1145/512274.512284)
//! - D. B. Johnson, *Priority Queues with Update and Finding Minimum Spanning Trees*, [Information
//!   Processing Letters 4(3), 1975](https://doi.org/10.1016/0020-0190(75)90001-0): heaps with more than
//!   two children
//! - D. E. Knuth, *The Art of Computer Programming*, volume 3, second edition, 1998, section 5.2.3

#![forbid(unsafe_code)]

mod arena;
mod hashed;
mod heap;
mod hierarchical;
mod lists;

pub use hashed::Hashed;
pub use heap::Heap;
pub use hierarchical::Hierarchical;
