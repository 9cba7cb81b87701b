//! Channels for one message.
//!
//! Sending takes the sender, which has no clones, so there is one message at most; that is all that this adds to
//! [`bounded(1)`](super::bounded). In a [`select!`](crate::select) the receiver stands for itself.
//!
//! ```
//! use rust_routines_core::channel::oneshot;
//!
//! let (answer, question) = oneshot::channel();
//! std::thread::spawn(move || answer.send(42));
//! assert_eq!(question.recv(), Ok(42));
//! ```

use std::ops::Deref;
use std::time::{Duration, Instant};

use super::{RecvError, RecvTimeoutError, SendError, TryRecvError, bounded};

/// Makes a channel for one message.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = bounded(1);
    (Sender(sender), Receiver(receiver))
}

/// Sends one message.
#[derive(Debug)]
pub struct Sender<T>(super::Sender<T>);

/// Receives one message.
#[derive(Debug)]
pub struct Receiver<T>(super::Receiver<T>);

impl<T> Sender<T> {
    /// Sends the message. It never waits.
    ///
    /// # Errors
    ///
    /// With the message, if the receiver has gone. That it was there does not mean that it will look.
    pub fn send(self, message: T) -> Result<(), SendError<T>> {
        self.0.send(message)
    }
}

impl<T> Receiver<T> {
    /// Waits for the message.
    ///
    /// # Errors
    ///
    /// If the sender has gone without sending.
    pub fn recv(self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// Takes the message if it is there. The receiver stays, to be asked again.
    ///
    /// # Errors
    ///
    /// If it is not there yet, or never will be, as the sender has gone or it was taken before.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// Waits for the message, for `timeout` at the longest. The receiver stays, to be asked again.
    ///
    /// # Errors
    ///
    /// If the time has passed, or the sender has gone without sending.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// Waits for the message, until `deadline` at the longest. The receiver stays, to be asked again.
    ///
    /// # Errors
    ///
    /// If the deadline has passed, or the sender has gone without sending.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.recv_deadline(deadline)
    }
}

/// For `select!`, and to ask whether the message is there.
impl<T> Deref for Receiver<T> {
    type Target = super::Receiver<T>;

    fn deref(&self) -> &super::Receiver<T> {
        &self.0
    }
}
