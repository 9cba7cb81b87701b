//! Channels between routines, and between routines and threads.
//!
//! Names, semantics and error types are those of crossbeam-channel 0.5: any number of senders and
//! receivers, messages in order, [`bounded(0)`](bounded) is a rendezvous, and an operation fails once the other
//! side has gone. A routine that blocks lets its worker run others; a plain thread blocks itself. Both may
//! stand at either end, also of routines of different runtimes.
//!
//! ```
//! use rust_routines_core::channel::bounded;
//!
//! let (sender, receiver) = bounded(2);
//! std::thread::spawn(move || (0..5).for_each(|i| sender.send(i).unwrap()));
//! assert_eq!(receiver.iter().sum::<i32>(), 10);
//! ```

mod shared;

use std::fmt;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use crossbeam_channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};

use self::shared::{Failure, Shared, Wait};

/// Makes a channel that holds at most `capacity` messages. With zero, a send waits for its receive.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    channel(Some(capacity))
}

/// Makes a channel that holds any number of messages: a send never waits.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(None)
}

fn channel<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(capacity));
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// The sending side of a channel. Clones send into the same one.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving side of a channel. Clones receive from the same one; each message goes to one of them.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Sender<T> {
    /// Sends a message, and waits until there is room for it.
    ///
    /// # Errors
    ///
    /// With the message, if all receivers have gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.shared.send(message, Wait::Until(None)).map_err(|(_, message)| SendError(message))
    }

    /// Sends a message if that is possible at once.
    ///
    /// # Errors
    ///
    /// With the message, if there is no room, or no receiver that waits in a rendezvous; or if all receivers
    /// have gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.shared.send(message, Wait::No).map_err(|(failure, message)| match failure {
            Failure::Disconnected => TrySendError::Disconnected(message),
            _ => TrySendError::Full(message),
        })
    }

    /// Sends a message, and waits for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// With the message, if the time has passed, or all receivers have gone.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(message, Instant::now().checked_add(timeout))
    }

    /// Sends a message, and waits until `deadline` at the longest.
    ///
    /// # Errors
    ///
    /// With the message, if the deadline has passed, or all receivers have gone.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(message, Some(deadline))
    }

    fn send_until(&self, message: T, deadline: Option<Instant>) -> Result<(), SendTimeoutError<T>> {
        self.shared.send(message, Wait::Until(deadline)).map_err(|(failure, message)| match failure
        {
            Failure::Disconnected => SendTimeoutError::Disconnected(message),
            _ => SendTimeoutError::Timeout(message),
        })
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; always so with capacity zero.
    pub fn is_full(&self) -> bool {
        Some(self.len()) == self.capacity()
    }

    /// Messages in the channel.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// The capacity; `None` if unbounded.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity
    }

    /// Whether both send into the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Receiver<T> {
    /// Receives a message, and waits until there is one.
    ///
    /// # Errors
    ///
    /// If the channel is empty and all senders have gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.shared.receive(Wait::Until(None)).map_err(|_| RecvError)
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    ///
    /// If the channel is empty, with or without senders.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.shared.receive(Wait::No).map_err(|failure| match failure {
            Failure::Disconnected => TryRecvError::Disconnected,
            _ => TryRecvError::Empty,
        })
    }

    /// Receives a message, and waits for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// If the time has passed, or the channel is empty and all senders have gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Receives a message, and waits until `deadline` at the longest.
    ///
    /// # Errors
    ///
    /// If the deadline has passed, or the channel is empty and all senders have gone.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        self.shared.receive(Wait::Until(deadline)).map_err(|failure| match failure {
            Failure::Disconnected => RecvTimeoutError::Disconnected,
            _ => RecvTimeoutError::Timeout,
        })
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; always so with capacity zero.
    pub fn is_full(&self) -> bool {
        Some(self.len()) == self.capacity()
    }

    /// Messages in the channel.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// The capacity; `None` if unbounded.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity
    }

    /// Whether both receive from the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Receives until the channel is empty and all senders have gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what is there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.drop_sender();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.drop_receiver();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}

/// Receives until the other side has gone. Made by [`Receiver::iter`].
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// Receives what is there. Made by [`Receiver::try_iter`].
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// Receives until the other side has gone, and owns its receiver.
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Iter { .. }")
    }
}

impl<T> fmt::Debug for TryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("TryIter { .. }")
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("IntoIter { .. }")
    }
}
