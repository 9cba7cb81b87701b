//! Telling others to stop.
//!
//! Tokens form a tree. A child counts its parent, and the parent lists its children weakly; so a child that is dropped
//! leaves the list, and takes with it the ancestors that only it kept.
//!
//! A deadline costs no timer and no routine: it is looked at by whoever asks or waits. The first who finds that it
//! has passed cancels the token.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::brief::Brief;
use crate::channel::{Receiver, Sender, bounded, bounded_until};
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, park};
use crate::primitive::{AtomicBool, Mutex, Ordering};
use crate::wait_list::{Entry, WaitList};

const CANCELED: Outcome = Outcome::FIRST;

/// Says to whoever holds a clone that it should stop.
///
/// Cancelling is a request: nothing is stopped by force. Work asks [`is_cancelled`](Self::is_cancelled) now and then, or
/// waits for the token along with what it waits for anyway, through [`cancelled`](Self::cancelled).
///
/// ```
/// use rust_routines_core::sync::CancellationToken;
/// use std::time::Duration;
///
/// let token = CancellationToken::new();
/// let child = token.child_token();
/// let worker = std::thread::spawn(move || child.wait());
/// token.cancel();
/// worker.join().unwrap();
///
/// let soon = CancellationToken::new().with_timeout(Duration::from_millis(5));
/// soon.wait();
/// assert!(soon.is_cancelled());
/// ```
#[derive(Clone)]
pub struct CancellationToken(Arc<Inner>);

struct Inner {
    cancelled: AtomicBool,
    waiters: Brief<WaitList>,
    /// Its own, or an ancestor's that is sooner.
    deadline: Option<Instant>,
    receiver: Receiver<Infallible>,
    /// Dropped when the token is cancelled, which disconnects the receiver.
    sender: Mutex<Option<Sender<Infallible>>>,
    children: Mutex<Slab<Weak<Inner>>>,
    /// And the place in its list.
    parent: Option<(Arc<Inner>, usize)>,
}

impl Inner {
    fn new(deadline: Option<Instant>, parent: Option<(Arc<Inner>, usize)>) -> Self {
        let (sender, receiver) = match deadline {
            Some(end) => bounded_until(0, end),
            None => bounded(0),
        };
        Self {
            cancelled: AtomicBool::new(false),
            waiters: Brief::new(WaitList::new()),
            deadline,
            receiver,
            sender: Mutex::new(Some(sender)),
            children: Mutex::new(Slab::new()),
            parent,
        }
    }

    /// Cancels this one, and answers who is next.
    fn cancel(&self) -> Slab<Weak<Inner>> {
        let mut waiters = self.waiters.lock();
        // Under the lock: nobody enlists after having seen that it is not.
        self.cancelled.store(true, Ordering::Release);
        let woken = waiters.claim_all();
        drop(waiters);
        woken.wake();
        // It wakes those who select, which is nothing to do under a lock.
        let sender = self.sender.lock().take();
        drop(sender);
        // One who adds a child from now on sees the flag, which was set before.
        std::mem::take(&mut *self.children.lock())
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl CancellationToken {
    /// A token without parent or deadline.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner::new(None, None)))
    }

    /// A token that is cancelled with this one, but not the other way round. If this one is cancelled already, so is
    /// the child.
    #[must_use]
    pub fn child_token(&self) -> Self {
        self.child(None)
    }

    /// A [child](Self::child_token) that is also cancelled at `deadline`; at once, if that has passed.
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        self.child(Some(deadline))
    }

    /// A [child](Self::child_token) that is also cancelled after `timeout`.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.child(Instant::now().checked_add(timeout))
    }

    fn child(&self, deadline: Option<Instant>) -> Self {
        let deadline = match (deadline, self.0.deadline) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, inherited) => own.or(inherited),
        };
        let mut children = self.0.children.lock();
        if self.0.is_cancelled() {
            drop(children);
            let child = Self(Arc::new(Inner::new(deadline, None)));
            child.cancel();
            return child;
        }
        let place = children.vacant_entry();
        let parent = Some((self.0.clone(), place.key()));
        let child = Arc::new(Inner::new(deadline, parent));
        place.insert(Arc::downgrade(&child));
        Self(child)
    }

    /// Cancels it, its children, and theirs. Once is enough; more is harmless.
    pub fn cancel(&self) {
        if self.0.is_cancelled() {
            return;
        }
        // A list instead of recursion: stacks are small, and trees may be deep.
        let mut next = vec![self.0.cancel()];
        while let Some(children) = next.pop() {
            for (_, child) in children {
                if let Some(child) = child.upgrade() {
                    next.push(child.cancel());
                }
            }
        }
    }

    /// Whether it was cancelled, or its deadline has passed.
    pub fn is_cancelled(&self) -> bool {
        if self.0.is_cancelled() {
            return true;
        }
        let passed = self.0.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if passed {
            self.cancel();
        }
        passed
    }

    /// When it will be cancelled at the latest: its own deadline or that of an ancestor.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// A channel on which nothing ever comes and which disconnects when the token is cancelled, or its
    /// [deadline](Self::deadline) passes: for waiting for that together with other channels.
    ///
    /// ```
    /// use rust_routines_core::channel::RecvError;
    /// use rust_routines_core::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// token.cancel();
    /// assert_eq!(token.cancelled().recv(), Err(RecvError));
    /// ```
    pub fn cancelled(&self) -> &Receiver<Infallible> {
        &self.0.receiver
    }

    /// Waits until it is cancelled or its deadline has passed.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// The same, for `timeout` at the longest. Answers whether it is cancelled.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Makes a guard that cancels this one when it is dropped: at the end of a block, however that is left. What was
    /// started there and holds a clone or a child is told, also if `?`, a panic, a [limit](crate::time::timeout) or the
    /// shutdown of the runtime ends it early.
    ///
    /// ```
    /// use rust_routines_core::sync::CancellationToken;
    ///
    /// fn fails(token: CancellationToken) -> Result<(), std::num::ParseIntError> {
    ///     let _guard = token.drop_guard();
    ///     "no number".parse::<u32>()?;
    ///     Ok(())
    /// }
    ///
    /// let token = CancellationToken::new();
    /// fails(token.clone()).unwrap_err();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn drop_guard(self) -> DropGuard {
        DropGuard { token: Some(self) }
    }

    fn wait_until(&self, limit: Option<Instant>) -> bool {
        let sooner = match (limit, self.0.deadline) {
            (Some(limit), Some(deadline)) => Some(limit.min(deadline)),
            (limit, deadline) => limit.or(deadline),
        };
        let mut patience = Patience::from(sooner);
        while !self.is_cancelled() {
            let waiter = Waiter::new();
            let entry = Entry::new(&waiter, CANCELED);
            let mut waiters = self.0.waiters.lock();
            if self.0.is_cancelled() {
                return true;
            }
            // SAFETY: it is out of the list when this loop goes on or ends: claimed, or removed below.
            unsafe { waiters.push(&entry) };
            let outcome = park(&waiter, WaitReason::Cancellation, patience, move || {
                drop(waiters);
                Commit::Park
            });
            if outcome == Some(CANCELED) {
                return true;
            }
            self.0.waiters.lock().remove(&entry);
            match patience.after(outcome) {
                Some(other) => patience = other,
                None => return self.is_cancelled(),
            }
        }
        true
    }
}

/// Cancels its token when it is dropped. Made by [`CancellationToken::drop_guard`].
#[derive(Debug)]
#[must_use = "the token is cancelled at once if the guard is not kept"]
pub struct DropGuard {
    /// Until it is dropped or disarmed.
    token: Option<CancellationToken>,
}

impl DropGuard {
    /// Gives the token back, as it is.
    pub fn disarm(mut self) -> CancellationToken {
        self.token.take().expect("it is there until the guard has gone")
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.cancel();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A loop instead of recursion, since each ancestor may be kept by its child alone.
        let mut parent = self.parent.take();
        while let Some((token, place)) = parent {
            // Empty if the parent was cancelled. Nobody else uses the place of one who is not dropped yet.
            let _ = token.children.lock().try_remove(place);
            parent = Arc::into_inner(token).and_then(|mut token| token.parent.take());
        }
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

impl std::panic::UnwindSafe for CancellationToken {}
impl std::panic::RefUnwindSafe for CancellationToken {}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellationToken")
            .field("cancelled", &self.0.is_cancelled())
            .field("deadline", &self.0.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::model;
    use loom::thread::spawn;

    /// Fails (by loom's deadlock detection) if a cancellation passes by one who is about to wait.
    #[test]
    fn loom_cancellation_ends_wait() {
        model(|| {
            let token = CancellationToken::new();
            let other = token.clone();
            let canceller = spawn(move || other.cancel());
            token.wait();
            assert!(token.is_cancelled());
            canceller.join().unwrap();
        });
    }

    /// Fails if a child that is made meanwhile is not cancelled with its parent, or does not leave it.
    #[test]
    fn loom_child_is_cancelled_or_born_so() {
        model(|| {
            let token = CancellationToken::new();
            let other = token.clone();
            let canceller = spawn(move || other.cancel());
            drop(token.child_token());
            let child = token.child_token();
            canceller.join().unwrap();
            assert!(child.is_cancelled());
            drop(child);
            assert!(token.0.children.lock().is_empty());
        });
    }
}
