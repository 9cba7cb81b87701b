//! The receiving end.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::{Case, Enlisted, Token};
use super::iter::{Iter, TryIter};
use super::moment::{Moments, receive_never};
use super::queue::{self, Failure, Queue, Side, Wait};
use super::select::Operation;
use super::{RecvError, RecvTimeoutError, TryRecvError};
use crate::claim::Outcome;
use crate::park::Waiter;
use crate::primitive::Ordering;
use crate::wait_list::Entry;

/// The receiving side of a channel. Clones receive from the same one; each message goes to one of them.
pub struct Receiver<T> {
    flavor: Flavor<T>,
}

/// Where messages come from.
enum Flavor<T> {
    /// From senders.
    Queue(Arc<Queue<T>>),
    /// From senders, who count as gone from that moment on.
    Until(Arc<Queue<T>>, Instant),
    /// From the clock. The function makes a message of a moment: with `T` being that, it does nothing.
    Moments(Arc<Moments>, fn(Instant) -> T),
    /// From nowhere.
    Never,
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl Receiver<Instant> {
    pub(super) fn of_moments(moments: Moments) -> Self {
        Self { flavor: Flavor::Moments(Arc::new(moments), |moment| moment) }
    }
}

impl<T> Receiver<T> {
    /// Receives a message, and waits until there is one.
    ///
    /// # Errors
    ///
    /// If the channel is empty and all senders have gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.receive(Wait::Until(None)).map_err(|_| RecvError)
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    ///
    /// If the channel is empty, with or without senders.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receive(Wait::No).map_err(|failure| match failure {
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
        self.receive(Wait::Until(deadline)).map_err(|failure| match failure {
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
        self.capacity().is_some_and(|capacity| self.len() >= capacity)
    }

    /// Messages in the channel.
    pub fn len(&self) -> usize {
        match &self.flavor {
            Flavor::Queue(queue) | Flavor::Until(queue, _) => queue.len(),
            Flavor::Moments(moments, _) => usize::from(moments.is_ready()),
            Flavor::Never => 0,
        }
    }

    /// The capacity; `None` if unbounded. That of [`after`](super::after), [`at`](super::at) and
    /// [`tick`](super::tick) is one, that of [`never`](super::never) zero.
    pub fn capacity(&self) -> Option<usize> {
        match &self.flavor {
            Flavor::Queue(queue) | Flavor::Until(queue, _) => queue.capacity,
            Flavor::Moments(..) => Some(1),
            Flavor::Never => Some(0),
        }
    }

    /// Whether both receive from the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        match (&self.flavor, &other.flavor) {
            (Flavor::Queue(a), Flavor::Queue(b)) => Arc::ptr_eq(a, b),
            (Flavor::Until(a, _), Flavor::Until(b, _)) => Arc::ptr_eq(a, b),
            (Flavor::Moments(a, _), Flavor::Moments(b, _)) => Arc::ptr_eq(a, b),
            (Flavor::Never, Flavor::Never) => true,
            _ => false,
        }
    }

    /// Receives until the channel is empty and all senders have gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what is there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    pub(super) fn of_queue(queue: Arc<Queue<T>>) -> Self {
        Self { flavor: Flavor::Queue(queue) }
    }

    pub(super) fn of_queue_until(queue: Arc<Queue<T>>, end: Instant) -> Self {
        Self { flavor: Flavor::Until(queue, end) }
    }

    pub(super) const fn of_nothing() -> Self {
        Self { flavor: Flavor::Never }
    }

    #[inline]
    fn receive(&self, wait: Wait) -> Result<T, Failure> {
        match &self.flavor {
            Flavor::Queue(queue) => queue.receive(wait),
            Flavor::Until(queue, end) => receive_until(queue, *end, wait),
            Flavor::Moments(moments, message) => moments.receive(wait).map(message),
            Flavor::Never => Err(receive_never(wait)),
        }
    }

    /// Fetches what a select has chosen.
    pub(super) fn complete(&self, token: Token, wait: Wait) -> Result<T, RecvError> {
        match (&self.flavor, token) {
            (Flavor::Queue(queue) | Flavor::Until(queue, _), _) => {
                queue.complete_receive(token, wait).map_err(|_| RecvError)
            }
            (Flavor::Moments(_, message), Token::Moment(moment)) => Ok(message(moment)),
            _ => Err(RecvError),
        }
    }

    /// Receiving, for `select!`.
    #[doc(hidden)]
    pub fn operation(&self) -> Operation<'_> {
        Operation::new(self, ptr::from_ref(self).cast())
    }
}

/// Receives from senders who count as gone from `end` on.
// Not inlined: a half percent of every other receive.
#[inline(never)]
fn receive_until<T>(queue: &Queue<T>, end: Instant, wait: Wait) -> Result<T, Failure> {
    let until_end = match wait {
        Wait::Until(deadline) => {
            Wait::Until(Some(deadline.map_or(end, |deadline| deadline.min(end))))
        }
        other => other,
    };
    queue.receive(until_end).map_err(|failure| match failure {
        Failure::WouldBlock | Failure::TimedOut if end <= Instant::now() => Failure::Disconnected,
        other => other,
    })
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let flavor = match &self.flavor {
            Flavor::Queue(queue) => {
                queue.receivers.fetch_add(1, Ordering::Relaxed);
                Flavor::Queue(queue.clone())
            }
            Flavor::Until(queue, end) => {
                queue.receivers.fetch_add(1, Ordering::Relaxed);
                Flavor::Until(queue.clone(), *end)
            }
            Flavor::Moments(moments, message) => Flavor::Moments(moments.clone(), *message),
            Flavor::Never => Flavor::Never,
        };
        Self { flavor }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Flavor::Queue(queue) | Flavor::Until(queue, _) = &self.flavor {
            queue.drop_receiver();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}

impl<T> Case for Receiver<T> {
    fn choose(&self) -> Option<Token> {
        match &self.flavor {
            Flavor::Queue(queue) => queue.choose(Side::Receive),
            Flavor::Until(queue, end) => {
                let is_over = || (*end <= Instant::now()).then_some(Token::Disconnected);
                queue.choose(Side::Receive).or_else(is_over)
            }
            Flavor::Moments(moments, _) => moments.take().map(Token::Moment),
            Flavor::Never => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.flavor {
            Flavor::Moments(moments, _) => moments.next(),
            Flavor::Until(_, end) => Some(*end),
            Flavor::Queue(_) | Flavor::Never => None,
        }
    }

    unsafe fn enlist(&self, entry: &Entry, me: &Waiter) -> Enlisted {
        match &self.flavor {
            // SAFETY: passed on.
            Flavor::Queue(queue) | Flavor::Until(queue, _) => unsafe {
                queue.enlist(Side::Receive, entry, me)
            },
            Flavor::Moments(moments, _) => match moments.is_ready() {
                false => Enlisted::Waiting,
                true if me.claim(Outcome::FIRST) => {
                    Enlisted::Chosen(moments.take().map_or(Token::Nothing, Token::Moment))
                }
                true => Enlisted::ChosenElsewhere,
            },
            Flavor::Never => Enlisted::Waiting,
        }
    }

    fn fetch(&self, token: Token) -> Token {
        match &self.flavor {
            Flavor::Queue(queue) | Flavor::Until(queue, _) => queue.fetch(token),
            Flavor::Moments(..) | Flavor::Never => token,
        }
    }

    fn withdraw(&self, entry: &Entry) {
        if let Flavor::Queue(queue) | Flavor::Until(queue, _) = &self.flavor {
            queue.withdraw(Side::Receive, entry);
        }
    }

    fn given(&self, entry: &Entry) -> Token {
        queue::given(entry)
    }

    fn abandon(&self, token: Token) {
        match (&self.flavor, token) {
            (Flavor::Queue(queue) | Flavor::Until(queue, _), _) => queue.abandon(token),
            (Flavor::Moments(moments, _), Token::Moment(moment)) => moments.put_back(moment),
            _ => {}
        }
    }

    fn is_ready(&self) -> bool {
        match &self.flavor {
            Flavor::Queue(queue) => queue.is_ready(Side::Receive),
            Flavor::Until(queue, end) => queue.is_ready(Side::Receive) || *end <= Instant::now(),
            Flavor::Moments(moments, _) => moments.is_ready(),
            Flavor::Never => false,
        }
    }

    unsafe fn watch(&self, entry: &Entry, me: &Waiter) -> Enlisted {
        match &self.flavor {
            // SAFETY: passed on.
            Flavor::Queue(queue) | Flavor::Until(queue, _) => unsafe {
                queue.watch(Side::Receive, entry, me)
            },
            Flavor::Moments(moments, _) => match moments.is_ready() {
                false => Enlisted::Waiting,
                true if me.claim(Outcome::FIRST) => Enlisted::Chosen(Token::Nothing),
                true => Enlisted::ChosenElsewhere,
            },
            Flavor::Never => Enlisted::Waiting,
        }
    }

    fn unwatch(&self, entry: &Entry) {
        if let Flavor::Queue(queue) | Flavor::Until(queue, _) = &self.flavor {
            queue.unwatch(Side::Receive, entry);
        }
    }
}
