//! Channels between routines, and between routines and threads.
//!
//! Names, semantics and error types are those of crossbeam-channel 0.5, so that a program moves over by changing
//! its `use` line: any number of senders and receivers, messages in order, [`bounded(0)`](bounded) is a
//! rendezvous, an operation fails once the other side has gone, and [`select!`](crate::select) waits for several at once. A
//! routine that blocks lets its worker run others; a plain thread blocks itself. Both may stand at either
//! end, also routines of different runtimes.
//!
//! ```
//! use rust_routines_core::channel::bounded;
//!
//! let (sender, receiver) = bounded(2);
//! std::thread::spawn(move || (0..5).for_each(|i| sender.send(i).unwrap()));
//! assert_eq!(receiver.iter().sum::<i32>(), 10);
//! ```

mod case;
mod iter;
mod macros;
#[cfg(all(test, any(rr_loom, rr_shuttle)))]
mod models;
mod moment;
pub mod oneshot;
mod queue;
mod receiver;
mod select;
mod sender;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crossbeam_channel::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TryRecvError, TrySelectError, TrySendError,
};

pub use self::iter::{IntoIter, Iter, TryIter};
pub use self::receiver::Receiver;
pub use self::select::{Select, SelectedOperation};
pub use self::sender::Sender;
pub use crate::{rr_select, select, select_biased};

use self::moment::Moments;
use self::queue::Queue;

/// What the expansion of `select!` calls.
#[doc(hidden)]
pub mod internal {
    pub use super::select::{Operation, select, select_timeout, try_select};
}

/// Makes a channel that holds at most `capacity` messages. With zero, a send waits for its receive.
///
/// No memory is taken before messages come, so that a large capacity costs nothing.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    channel(Some(capacity))
}

/// Makes a channel that holds any number of messages: a send never waits, nor does it let other routines run, so that a lock of
/// `std` may be held. (Only a limit that has passed, or a shutdown by force, interrupts a loop of sends, to unwind it.) Who does
/// nothing but send calls [`yield_now`](crate::yield_now) now and then.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(None)
}

/// Makes a channel whose senders count as gone from `end` on.
pub(crate) fn bounded_until<T>(capacity: usize, end: Instant) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue::new(Some(capacity)));
    (Sender { queue: queue.clone() }, Receiver::of_queue_until(queue, end))
}

fn channel<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue::new(capacity));
    (Sender { queue: queue.clone() }, Receiver::of_queue(queue))
}

/// Makes a receiver that gets one message, after `duration`: the moment when that has passed.
///
/// It never disconnects. Where the moment is beyond what an [`Instant`] can hold, the message never comes.
///
/// ```
/// use std::time::Duration;
/// use rust_routines_core::channel::{after, never, select};
///
/// let silent = never::<()>();
/// select! {
///     recv(silent) -> _ => unreachable!(),
///     recv(after(Duration::from_millis(5))) -> _ => {}
/// }
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    Instant::now().checked_add(duration).map_or(never(), at)
}

/// Makes a receiver that gets one message, at the moment `when`: that moment. One in the past comes at once.
///
/// It never disconnects.
pub fn at(when: Instant) -> Receiver<Instant> {
    Receiver::of_moments(Moments::new(when, None))
}

/// Makes a receiver that gets a message after each `duration`: the moment when it was due.
///
/// The channel holds one message: moments that nobody receives in time are left out, and the next comes a full
/// `duration` after the late one was received. With a duration of zero there always is a message. It never
/// disconnects.
///
/// ```
/// use std::time::{Duration, Instant};
/// use rust_routines_core::channel::tick;
///
/// let start = Instant::now();
/// let ticks = tick(Duration::from_millis(2));
/// assert!(ticks.iter().take(3).is_sorted());
/// assert!(start.elapsed() >= Duration::from_millis(6));
/// ```
pub fn tick(duration: Duration) -> Receiver<Instant> {
    let first = Instant::now().checked_add(duration);
    first.map_or(never(), |first| Receiver::of_moments(Moments::new(first, Some(duration))))
}

/// Makes a receiver that never gets a message, and never disconnects: a stand-in for a case that is switched off.
pub const fn never<T>() -> Receiver<T> {
    Receiver::of_nothing()
}
