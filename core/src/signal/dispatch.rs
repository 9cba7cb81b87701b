//! From handlers to channels.
//!
//! A handler may do next to nothing, so `signal-hook`'s notes which signal has come and writes to a
//! pipe. One plain thread reads that pipe and tells the subscribers; it belongs to no runtime, since
//! signals belong to the process. It starts with the first subscriber and stays, asleep, as the handlers
//! do.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use parking_lot::Mutex;
use signal_hook::iterator::{Handle, Signals};

use super::Signal;
use crate::channel::{Receiver, Sender, unbounded};
use crate::driver::spawn_thread;

static DISPATCHER: Mutex<Dispatcher> =
    Mutex::new(Dispatcher { handle: None, subscribers: Vec::new() });

struct Dispatcher {
    /// Of the thread, once it runs.
    handle: Option<Handle>,
    subscribers: Vec<Box<dyn Subscriber>>,
}

/// Makes a receiver of what `message` makes of `signals`, which can be received.
pub(super) fn subscribe<M: Send + 'static>(
    signals: &[Signal],
    message: fn(Signal) -> M,
) -> io::Result<Receiver<M>> {
    let mut kinds: Vec<Signal> = Vec::new();
    for signal in signals {
        if !kinds.contains(signal) {
            kinds.push(*signal);
        }
    }
    // Held until the subscriber is in its place: a signal that comes before that waits for the lock.
    let mut dispatcher = DISPATCHER.lock();
    let handle = dispatcher.running()?;
    for kind in &kinds {
        handle.add_signal(kind.as_raw())?;
    }
    let (sender, receiver) = unbounded();
    dispatcher.subscribers.retain(|subscriber| !subscriber.is_gone());
    dispatcher.subscribers.push(Box::new(Subscription {
        kinds,
        message,
        sender,
        waiting: VecDeque::new(),
    }));
    Ok(receiver)
}

impl Dispatcher {
    /// Starts the thread unless it runs.
    fn running(&mut self) -> io::Result<Handle> {
        if let Some(handle) = &self.handle {
            return Ok(handle.clone());
        }
        let mut signals = Signals::new([0; 0])?;
        let handle = signals.handle();
        spawn_thread("rust-routines-signals".to_owned(), move || {
            for signal in signals.forever() {
                let mut dispatcher = DISPATCHER.lock();
                for subscriber in &mut dispatcher.subscribers {
                    subscriber.tell(Signal::from_raw(signal));
                }
            }
        })?;
        Ok(self.handle.insert(handle).clone())
    }
}

/// A [`Subscription`], whatever its messages.
trait Subscriber: Send {
    /// A signal has come.
    fn tell(&mut self, signal: Signal);

    /// Whether there is no receiver any more.
    fn is_gone(&self) -> bool;
}

/// One receiver's end. At most one message of each kind is in the channel.
struct Subscription<M> {
    kinds: Vec<Signal>,
    message: fn(Signal) -> M,
    sender: Sender<M>,
    /// The kinds that were sent last: as many as are in the channel, and perhaps some that were not when
    /// it was looked at last.
    waiting: VecDeque<Signal>,
}

impl<M: Send> Subscriber for Subscription<M> {
    fn tell(&mut self, signal: Signal) {
        if !self.kinds.contains(&signal) {
            return;
        }
        // Nobody else sends, and messages are received in order: the last ones are still there.
        let received = self.waiting.len().saturating_sub(self.sender.len());
        self.waiting.drain(..received);
        // A message of this kind that is received only now tells of this signal as well.
        if self.waiting.contains(&signal) {
            return;
        }
        self.waiting.push_back(signal);
        // Fails if the receiver is gone.
        let _ = self.sender.try_send((self.message)(signal));
    }

    fn is_gone(&self) -> bool {
        self.sender.is_disconnected()
    }
}

impl<M> fmt::Debug for Subscription<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}
