//! What other threads send to a worker, and the hand-shake by which it goes to sleep.
//!
//! One word does both. It is `EMPTY`, `SLEEPING`, `NOTIFIED`, or the head of a linked list of
//! routines, newest first:
//!
//! ```text
//!                  push                       push
//!    EMPTY ───────────────────► list ◄──────────────── SLEEPING   (the pusher wakes the driver)
//!      │  ▲                      │                        ▲  │
//!      │  └──── take ────────────┘                        │  │ poke (the poker wakes the driver)
//!      │ poke                                             │  ▼
//!      └──────────► NOTIFIED ── take ─► EMPTY ── prepare_sleep   NOTIFIED
//! ```
//!
//! 1. `prepare_sleep` succeeds only from `EMPTY`, in one compare-exchange. So a push or a poke either
//!    comes before it, and the worker does not sleep, or after it, and the pusher sees `SLEEPING` and
//!    wakes the driver. There is no window between a check and the sleep.
//! 2. Only the one who replaced `SLEEPING` calls the driver's waker: one system call per sleep, none
//!    per wake-up of a worker that is awake.
//! 3. A list is taken as a whole, by a swap, also by the monitor from a stuck worker (`raid`). It belongs to the taker;
//!    there is no ABA since nobody pops single nodes.
//! 4. A pusher does not touch the inbox after its compare-exchange succeeded: the routine it pushed
//!    may by then have run, ended, and taken its runtime with it.
//!
//! Considered and dropped: a Vyukov queue (a swap instead of a loop, but its consumer can see a
//! half-linked list and must wait for a preempted producer), and a separate sleep flag beside the
//! list (a store-load fence on both sides, on every wake-up).

use std::ptr;

use crate::primitive::{AtomicPtr, Ordering};

/// A thing that can be linked into an inbox: names its own link.
///
/// # Safety
///
/// `next` must answer the same field for the same node each time, and the node must stay valid while
/// it is in an inbox.
pub(crate) unsafe trait Node {
    /// The next older node.
    fn next(node: *mut Self) -> *mut Self;
    /// Links `node` to the next older one.
    fn set_next(node: *mut Self, next: *mut Self);
}

/// Whether the driver of the inbox's worker must be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sleeper {
    /// The worker is awake and will look.
    Awake,
    /// The worker sleeps, and the caller is the one who must wake it.
    Asleep,
}

/// See the [module docs](self).
#[derive(Debug)]
pub(crate) struct Inbox<N> {
    head: AtomicPtr<N>,
}

/// The worker sleeps in its driver, or is about to.
fn sleeping<N>() -> *mut N {
    ptr::without_provenance_mut(1)
}

/// Somebody wants the worker to look around.
fn notified<N>() -> *mut N {
    ptr::without_provenance_mut(2)
}

/// Whether `head` is a list rather than a state.
fn is_list<N>(head: *mut N) -> bool {
    head.addr() > 2
}

impl<N: Node> Inbox<N> {
    /// An empty inbox of a worker that is awake.
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether there is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        !is_list(self.head.load(Ordering::Relaxed))
    }

    /// Adds the chain of nodes from `first` (newest) to `last` (oldest).
    ///
    /// `before_wake` runs before the push is visible if the worker may be asleep, and returns what is
    /// needed to wake it; that is called afterwards, and only if the worker did sleep.
    ///
    /// # Safety
    ///
    /// The caller owns the nodes and gives them up. The inbox must be valid until the push is
    /// visible, which the nodes themselves guarantee where they keep their worker alive.
    pub(crate) unsafe fn push<W: FnOnce()>(
        &self,
        first: *mut N,
        last: *mut N,
        before_wake: impl Fn() -> W,
    ) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            N::set_next(last, if is_list(head) { head } else { ptr::null_mut() });
            let wake = (head == sleeping()).then(&before_wake);
            // Release publishes the nodes; Acquire orders the caller after the sleep it ends.
            match self.head.compare_exchange_weak(head, first, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    if let Some(wake) = wake {
                        wake();
                    }
                    return;
                }
                Err(now) => head = now,
            }
        }
    }

    /// Makes the worker look around: ends its sleep, or prevents the next one.
    pub(crate) fn poke(&self) -> Sleeper {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if is_list(head) || head == notified() {
                // It cannot fall asleep before it has taken these. The compare-exchange that does
                // not change anything orders what the caller did before the worker's next take.
                match self.head.compare_exchange_weak(
                    head,
                    head,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Sleeper::Awake,
                    Err(now) => head = now,
                }
                continue;
            }
            match self.head.compare_exchange_weak(
                head,
                notified(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if head == sleeping() => return Sleeper::Asleep,
                Ok(_) => return Sleeper::Awake,
                Err(now) => head = now,
            }
        }
    }

    /// Announces that the worker goes to sleep, or says no because there is something to look at.
    #[must_use]
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.head
            .compare_exchange(ptr::null_mut(), sleeping(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes everything, newest first, and marks the worker awake. Null when there is nothing.
    pub(crate) fn take(&self) -> *mut N {
        // Most looks find nothing: spare them the exclusive access to the cache line.
        if self.head.load(Ordering::Relaxed).is_null() {
            return ptr::null_mut();
        }
        let head = self.head.swap(ptr::null_mut(), Ordering::AcqRel);
        if is_list(head) { head } else { ptr::null_mut() }
    }

    /// Takes what was sent, newest first, and leaves a poke where it is. For a worker that is not going to
    /// look at everything that it could have been poked for.
    pub(crate) fn take_sent(&self) -> *mut N {
        let mut head = self.head.load(Ordering::Relaxed);
        while is_list(head) {
            match self.head.compare_exchange_weak(
                head,
                ptr::null_mut(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return head,
                Err(now) => head = now,
            }
        }
        ptr::null_mut()
    }

    /// Whether somebody wants the worker to look around.
    pub(crate) fn is_poked(&self) -> bool {
        self.head.load(Ordering::Relaxed) == notified()
    }

    /// Takes everything without disturbing the worker's sleep; for other threads than the worker's.
    pub(crate) fn raid(&self) -> *mut N {
        let mut head = self.head.load(Ordering::Relaxed);
        while is_list(head) {
            // The worker must still look around, for it may have been poked for another reason.
            match self.head.compare_exchange_weak(
                head,
                notified(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return head,
                Err(now) => head = now,
            }
        }
        ptr::null_mut()
    }
}

#[cfg(all(test, rr_loom))]
mod loom_tests {
    use super::*;
    use crate::primitive::AtomicUsize;
    use crate::primitive::model;
    use loom::sync::{Arc, Condvar, Mutex};
    use std::cell::Cell;

    struct Item {
        next: Cell<*mut Item>,
        value: usize,
    }

    // SAFETY: `next` is a field, and the tests free items only after taking them.
    unsafe impl Node for Item {
        fn next(node: *mut Self) -> *mut Self {
            // SAFETY: the node is valid, see the trait.
            unsafe { (*node).next.get() }
        }
        fn set_next(node: *mut Self, next: *mut Self) {
            // SAFETY: the node is valid, see the trait.
            unsafe { (*node).next.set(next) }
        }
    }

    fn item(value: usize) -> *mut Item {
        Box::into_raw(Box::new(Item { next: Cell::new(ptr::null_mut()), value }))
    }

    /// Stands in for a driver: `wait` returns once `wake` was called.
    #[derive(Default)]
    struct Driver {
        woken: Mutex<bool>,
        changed: Condvar,
    }

    impl Driver {
        fn wake(&self) {
            *self.woken.lock().unwrap() = true;
            self.changed.notify_one();
        }

        fn wait(&self) {
            let mut woken = self.woken.lock().unwrap();
            while !*woken {
                woken = self.changed.wait(woken).unwrap();
            }
            *woken = false;
        }
    }

    /// Adds up what was taken and frees it.
    fn drain(inbox: &Inbox<Item>) -> usize {
        let mut sum = 0;
        let mut node = inbox.take();
        while !node.is_null() {
            // SAFETY: taken nodes are ours, and came from `Box::into_raw`.
            let taken = unsafe { Box::from_raw(node) };
            sum += taken.value;
            node = taken.next.get();
        }
        sum
    }

    /// Fails (by loom's deadlock detection) if a push can slip between the last look and the sleep.
    #[test]
    fn loom_push_always_ends_sleep() {
        model(|| {
            let shared = Arc::new((Inbox::<Item>::new(), Driver::default()));
            let pushers: Vec<_> = [1, 10]
                .into_iter()
                .map(|value| {
                    let shared = shared.clone();
                    loom::thread::spawn(move || {
                        let node = item(value);
                        // SAFETY: the node is ours.
                        unsafe { shared.0.push(node, node, || || shared.1.wake()) };
                    })
                })
                .collect();
            let mut sum = 0;
            while sum < 11 {
                sum += drain(&shared.0);
                if sum < 11 && shared.0.prepare_sleep() {
                    shared.1.wait();
                }
            }
            for pusher in pushers {
                pusher.join().unwrap();
            }
            assert_eq!(sum, 11);
        });
    }

    /// Fails if a poke can be lost: the worker must see what was published before it.
    #[test]
    fn loom_poke_always_ends_sleep() {
        model(|| {
            let shared = Arc::new((Inbox::<Item>::new(), Driver::default(), AtomicUsize::new(0)));
            let poker = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    shared.2.store(1, Ordering::Relaxed);
                    if shared.0.poke() == Sleeper::Asleep {
                        shared.1.wake();
                    }
                })
            };
            while shared.2.load(Ordering::Relaxed) == 0 {
                shared.0.take();
                if shared.2.load(Ordering::Relaxed) == 0 && shared.0.prepare_sleep() {
                    shared.1.wait();
                }
            }
            poker.join().unwrap();
        });
    }

    /// Fails if a raid beside a push or a take loses or doubles a node.
    #[test]
    fn loom_raid_and_take_share_without_loss() {
        model(|| {
            let inbox = Arc::new(Inbox::<Item>::new());
            let pusher = {
                let inbox = inbox.clone();
                loom::thread::spawn(move || {
                    for value in [1, 10] {
                        let node = item(value);
                        // SAFETY: the node is ours.
                        unsafe { inbox.push(node, node, || || ()) };
                    }
                })
            };
            let raider = {
                let inbox = inbox.clone();
                loom::thread::spawn(move || {
                    let mut sum = 0;
                    let mut node = inbox.raid();
                    while !node.is_null() {
                        // SAFETY: taken nodes are ours, and came from `Box::into_raw`.
                        let taken = unsafe { Box::from_raw(node) };
                        sum += taken.value;
                        node = taken.next.get();
                    }
                    sum
                })
            };
            let mut sum = drain(&inbox);
            pusher.join().unwrap();
            sum += raider.join().unwrap();
            sum += drain(&inbox);
            assert_eq!(sum, 11);
        });
    }
}
