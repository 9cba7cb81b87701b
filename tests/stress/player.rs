//! Who takes part in the stress test: a routine or a thread with some ends of some channels, which does random things
//! to them and has the ledger know.
//!
//! # Why nobody waits for ever
//!
//! Each channel has a consumer, that is a participant without senders, which receives until all senders have gone
//! (or leaves, so that sends fail). What a consumer does without a limit in time must include all of its
//! receivers, so that it never waits in one channel while somebody waits for it in another. Who has senders is
//! served by consumers; it may wait for receivers only together with a send, or with a limit. And senders make
//! a limited number of messages, so that all end.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rust_routines::channel::{Receiver, Select, SelectedOperation, Sender, select, select_biased};
use rust_routines::{Canceled, sleep, yield_now};

use crate::ledger::{Ledger, Message};

/// The longest that an operation with a limit waits, in microseconds.
const LONGEST: u64 = 200;

/// What is different from case to case.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Partners in a select may go back on their choice: they panic, or are unwound.
    pub(crate) fickle: bool,
    /// Receives in a select may be given up, after which the message comes later than those behind it.
    pub(crate) loose: bool,
    /// Wherever a routine suspends itself, the shutdown of its runtime may unwind it.
    pub(crate) doomed: bool,
}

/// The payload of panics on purpose.
struct OnPurpose;

/// A message came, or is to be made, or whatever else: what a step has led to.
type Sent = Result<(), (Message, bool)>;

/// See the header of the file.
pub(crate) struct Player {
    pub(crate) id: usize,
    pub(crate) random: fastrand::Rng,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) habits: Habits,
    pub(crate) senders: Vec<(usize, Sender<Message>)>,
    pub(crate) receivers: Vec<(usize, Receiver<Message>)>,
    /// Messages to make; for a consumer, receptions after which it leaves.
    pub(crate) budget: usize,
    pub(crate) numbers: HashMap<usize, u32>,
    pub(crate) newest: HashMap<(usize, usize), u32>,
}

/// One operation of a select: the position among the player's ends.
#[derive(Clone, Copy)]
enum Step {
    Send(usize),
    Receive(usize),
}

impl Player {
    /// Does random things until the budget is used up or the other sides have gone.
    pub(crate) fn play(mut self) {
        let consumer = self.senders.is_empty();
        let mut operations = 0;
        while self.budget > 0 && !(self.senders.is_empty() && self.receivers.is_empty()) {
            operations += 1;
            if consumer || self.senders.is_empty() {
                // The latter has lost its senders, and must not wait for what its kind may never get.
                self.receive(consumer);
                if !consumer && self.random.u8(0..20) == 0 {
                    break;
                }
            } else if self.receivers.is_empty() || self.random.bool() {
                self.send();
            } else {
                self.receive(false);
            }
        }
        self.ledger.operations.fetch_add(operations, Ordering::Relaxed);
    }

    fn timeout(&mut self) -> Duration {
        Duration::from_micros(self.random.u64(0..LONGEST))
    }

    /// A little before now, or a little after.
    fn deadline(&mut self) -> Instant {
        let timeout = self.timeout();
        let now = Instant::now();
        if self.random.u8(0..4) == 0 {
            now.checked_sub(timeout).unwrap_or(now)
        } else {
            now + timeout
        }
    }

    // ------------------------------------------------------------------------------------------- send

    fn make(&mut self, channel: usize) -> Message {
        self.budget = self.budget.saturating_sub(1);
        let number = self.numbers.entry(channel).or_default();
        *number += 1;
        self.ledger.message(channel, self.id, *number)
    }

    fn send(&mut self) {
        let at = self.random.usize(..self.senders.len());
        let (channel, sender) = (self.senders[at].0, &self.senders[at].1);
        if let (Some(capacity), false) = (sender.capacity(), self.habits.loose) {
            // What selects were promised counts too, though it cannot be seen.
            assert!(sender.len() <= capacity, "{} messages of {capacity}", sender.len());
        }
        match self.random.u8(0..12) {
            0 | 1 => {
                let sender = sender.clone();
                self.attempt(at, |message| sender.send(message).map_err(|error| (error.0, true)));
            }
            2 | 3 => {
                let sender = sender.clone();
                self.attempt(at, |message| try_send(&sender, message));
            }
            4 => {
                let (sender, timeout) = (sender.clone(), self.timeout());
                self.attempt(at, |message| {
                    sender.send_timeout(message, timeout).map_err(|error| {
                        let gone = error.is_disconnected();
                        (error.into_inner(), gone)
                    })
                });
            }
            5 => {
                let (sender, deadline) = (sender.clone(), self.deadline());
                self.attempt(at, |message| {
                    sender.send_deadline(message, deadline).map_err(|error| {
                        let gone = error.is_disconnected();
                        (error.into_inner(), gone)
                    })
                });
            }
            6..9 => self.select(false),
            9 => self.macro_with_send(at, channel),
            10 => self.ready(false),
            _ => match self.random.u8(0..8) {
                0 => sleep(self.timeout()),
                1 if self.senders.len() > 1 => drop(self.senders.swap_remove(at)),
                _ => yield_now(),
            },
        }
    }

    fn attempt(&mut self, at: usize, send: impl FnOnce(Message) -> Sent) {
        let message = self.make(self.senders[at].0);
        let id = message.id;
        self.settle(id, send(message));
    }

    /// Has the ledger know how a send went.
    fn settle(&mut self, id: usize, result: Sent) {
        match result {
            Ok(()) => self.ledger.sent(id),
            Err((message, gone)) => {
                assert_eq!(message.id, id, "another message came back");
                self.ledger.returned(id);
                if gone {
                    self.senders.retain(|(channel, _)| *channel != message.channel);
                }
            }
        }
    }

    /// A send, by `select!` in its various forms, beside a receive or another send.
    fn macro_with_send(&mut self, at: usize, channel: usize) {
        let sender = self.senders[at].1.clone();
        let other = self.random.usize(..self.senders.len());
        let (other_channel, other_sender) = (self.senders[other].0, self.senders[other].1.clone());
        let timeout = self.timeout();
        let (form, mut id) = (self.random.u8(0..4), None);
        let mut make = |channel| {
            let message = self.make(channel);
            id = Some(message.id);
            message
        };
        let result = match form {
            0 => select! {
                send(sender, make(channel)) -> result => result,
                send(other_sender, make(other_channel)) -> result => result,
            },
            1 => select_biased! {
                send(&sender, make(channel)) -> result => result,
                send(&other_sender, make(other_channel)) -> result => result,
                default => return,
            },
            2 => select! {
                send(sender, make(channel)) -> result => result,
                default(timeout) => return,
            },
            _ => select! {
                send(sender, make(channel)) -> result => result,
                default() => return,
            },
        };
        self.settle(id.unwrap(), result.map_err(|error| (error.0, true)));
    }

    // ---------------------------------------------------------------------------------------- receive

    /// Has the ledger know that a message came, and checks that it did not overtake another.
    fn note(&mut self, message: Message) {
        self.ledger.received(&message);
        let before = self.newest.insert((message.channel, message.sender), message.number);
        let in_order = before.is_none_or(|before| before < message.number);
        assert!(
            in_order || self.habits.loose,
            "in channel {}, {before:?} came before {} of sender {}",
            message.channel,
            message.number,
            message.sender
        );
        if self.senders.is_empty() {
            self.budget = self.budget.saturating_sub(1);
        }
    }

    /// A message, or whether the senders of that channel have gone.
    fn came(&mut self, channel: usize, result: Result<Message, bool>) {
        match result {
            Ok(message) => {
                assert_eq!(message.channel, channel);
                self.note(message);
            }
            Err(true) => self.receivers.retain(|(other, _)| *other != channel),
            Err(false) => {}
        }
    }

    fn receive(&mut self, consumer: bool) {
        let at = self.random.usize(..self.receivers.len());
        let (channel, receiver) = (self.receivers[at].0, self.receivers[at].1.clone());
        let may_block = consumer && self.receivers.len() == 1;
        match self.random.u8(0..12) {
            0 | 1 if may_block => self.came(channel, receiver.recv().map_err(|_| true)),
            2 if may_block => {
                for message in receiver.iter().take(self.random.usize(1..20)) {
                    self.note(message);
                }
            }
            0..3 => {
                for message in receiver.try_iter().take(self.random.usize(1..20)) {
                    self.note(message);
                }
            }
            3 | 4 => {
                let result = receiver.try_recv().map_err(|error| error.is_disconnected());
                self.came(channel, result);
            }
            5 => {
                let result = receiver.recv_timeout(self.timeout());
                self.came(channel, result.map_err(|error| error.is_disconnected()));
            }
            6 => {
                let result = receiver.recv_deadline(self.deadline());
                self.came(channel, result.map_err(|error| error.is_disconnected()));
            }
            7 | 8 => self.select(consumer),
            9 => self.macro_with_receives(at, consumer),
            10 => self.ready(consumer),
            _ => match self.random.u8(0..8) {
                0 => sleep(self.timeout()),
                _ => yield_now(),
            },
        }
    }

    fn macro_with_receives(&mut self, at: usize, consumer: bool) {
        let (first, one) = (self.receivers[at].0, self.receivers[at].1.clone());
        let other = self.random.usize(..self.receivers.len());
        let (second, two) = (self.receivers[other].0, self.receivers[other].1.clone());
        let all = self.receivers.len() == 1 || (self.receivers.len() == 2 && at != other);
        let timeout = self.timeout();
        let (channel, result) = match self.random.u8(0..4) {
            0 if consumer && all => select! {
                recv(one) -> result => (first, result),
                recv(two) -> result => (second, result),
            },
            1 => select_biased! {
                recv(one) -> result => (first, result),
                recv(&two) -> result => (second, result),
                default => return,
            },
            _ => select! {
                recv(one) -> result => (first, result),
                recv(two) -> result => (second, result),
                default(timeout) => return,
            },
        };
        self.came(channel, result.map_err(|_| true));
    }

    // ----------------------------------------------------------------------------------------- select

    /// A random choice of what the player could do, and whether it may wait for it without a limit.
    fn steps(&mut self, consumer: bool) -> (Vec<Step>, bool) {
        let mut steps: Vec<Step> = (0..self.senders.len()).map(Step::Send).collect();
        steps.extend((0..self.receivers.len()).map(Step::Receive));
        self.random.shuffle(&mut steps);
        let all = steps.len();
        if self.random.u8(0..3) > 0 && all > 0 {
            steps.truncate(self.random.usize(1..=all));
        }
        let may_block = match consumer {
            true => steps.len() == all,
            false => steps.iter().any(|step| matches!(step, Step::Send(_))),
        };
        // The same one twice.
        if self.random.u8(0..4) == 0 && !steps.is_empty() {
            steps.push(steps[self.random.usize(..steps.len())]);
        }
        let may_block = may_block && !steps.is_empty();
        (steps, may_block)
    }

    fn select(&mut self, consumer: bool) {
        let (steps, may_block) = self.steps(consumer);
        let ends: (Vec<_>, Vec<_>) = (self.senders.clone(), self.receivers.clone());
        let mut select = if self.random.bool() { Select::new() } else { Select::new_biased() };
        for step in &steps {
            match *step {
                Step::Send(at) => select.send(&ends.0[at].1),
                Step::Receive(at) => select.recv(&ends.1[at].1),
            };
        }
        let operation = match self.random.u8(0..5) {
            0 | 1 if may_block => Some(select.select()),
            0 | 2 => select.try_select().ok(),
            3 => select.select_deadline(self.deadline()).ok(),
            _ => select.select_timeout(self.timeout()).ok(),
        };
        let Some(operation) = operation else { return };
        match steps[operation.index()] {
            Step::Send(at) => self.complete_send(operation, ends.0[at].0, &ends.0[at].1),
            Step::Receive(at) => self.complete_receive(operation, ends.1[at].0, &ends.1[at].1),
        }
    }

    /// Between the choice and its completion, while others wait for it.
    fn dawdle(&mut self) {
        match self.random.u8(0..8) {
            0 | 1 if self.habits.fickle || !self.habits.doomed => yield_now(),
            2 if self.habits.fickle => sleep(self.timeout() / 4),
            _ => {}
        }
    }

    /// Panics with a chosen operation in hand. Whether it did.
    fn give_up<'a>(&mut self, operation: SelectedOperation<'a>) -> Option<SelectedOperation<'a>> {
        if !self.habits.fickle || self.random.u8(0..4) > 0 {
            return Some(operation);
        }
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            let _operation = operation;
            self.dawdle();
            resume_unwind(Box::new(OnPurpose))
        }));
        if payload.is::<Canceled>() {
            resume_unwind(payload);
        }
        assert!(payload.is::<OnPurpose>());
        None
    }

    fn complete_send(
        &mut self,
        operation: SelectedOperation<'_>,
        channel: usize,
        sender: &Sender<Message>,
    ) {
        self.dawdle();
        let Some(operation) = self.give_up(operation) else {
            // So that a player ends who does nothing else.
            self.budget = self.budget.saturating_sub(1);
            return;
        };
        let message = self.make(channel);
        let id = message.id;
        let result = operation.send(sender, message);
        self.settle(id, result.map_err(|error| (error.0, true)));
    }

    fn complete_receive(
        &mut self,
        operation: SelectedOperation<'_>,
        channel: usize,
        receiver: &Receiver<Message>,
    ) {
        if self.habits.loose {
            self.dawdle();
            let Some(operation) = self.give_up(operation) else { return };
            return self.came(channel, operation.recv(receiver).map_err(|_| true));
        }
        self.came(channel, operation.recv(receiver).map_err(|_| true));
    }

    /// Waits until something is ready, then tries that; somebody may have been faster.
    fn ready(&mut self, consumer: bool) {
        let (steps, all) = self.steps(consumer);
        // One who waits so offers nothing: if senders did that too, all would wait for the others.
        let may_block = all && consumer;
        let ends: (Vec<_>, Vec<_>) = (self.senders.clone(), self.receivers.clone());
        let mut select = Select::new();
        for step in &steps {
            match *step {
                Step::Send(at) => select.send(&ends.0[at].1),
                Step::Receive(at) => select.recv(&ends.1[at].1),
            };
        }
        let index = match self.random.u8(0..4) {
            0 => select.try_ready().ok(),
            1 if may_block => Some(select.ready()),
            1 | 2 => select.ready_timeout(self.timeout()).ok(),
            _ => select.ready_deadline(self.deadline()).ok(),
        };
        match index.map(|index| steps[index]) {
            None => {}
            Some(Step::Send(at)) => self.attempt(at, |message| try_send(&ends.0[at].1, message)),
            Some(Step::Receive(at)) => {
                let result = ends.1[at].1.try_recv().map_err(|error| error.is_disconnected());
                self.came(ends.1[at].0, result);
            }
        }
    }
}

fn try_send(sender: &Sender<Message>, message: Message) -> Sent {
    sender.try_send(message).map_err(|error| {
        let gone = error.is_disconnected();
        (error.into_inner(), gone)
    })
}
