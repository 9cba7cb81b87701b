//! Waiting for one of several operations.
//!
//! # Protocol
//!
//! 1. On its own stack, a select asks one case after the other whether it need not wait; unless it is biased,
//!    in random order, so that no case starves.
//! 2. Otherwise it parks, and in the commit step, off its stack, has an entry wait with each case. The entries
//!    share one claim: whoever ends the wait by any of them has won against all others. A case that has
//!    become ready in the meantime is chosen on the spot, if the select can win its own claim.
//! 3. Awake, it withdraws the entries that were not chosen, and reads in the one that was what it was given.
//!    If that is nothing (the channel has disconnected, or the partner went back on its choice), it begins
//!    anew.
//!
//! Where it may not wait, it goes through the same steps and gives up at the end of the commit step, if it can
//! still win its own claim: so there was a moment at which no operation was ready. To have looked at one after the
//! other does not show that.
//!
//! Each case takes its own lock for a moment; there is never more than one, so their order does not matter.
//! After Go's `selectgo`, which takes all of the locks at once, and crossbeam's `Select`.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::case::{Case, Enlisted, Token};
use super::queue::Wait;
use super::{
    ReadyTimeoutError, Receiver, RecvError, SelectTimeoutError, SendError, Sender, TryReadyError,
    TrySelectError,
};
use crate::claim::Outcome;
use crate::park::{Commit, Patience, WaitReason, Waiter, checkpoint, end_turn, park};
use crate::routine::count_as_switch;
use crate::unwinding::unwind_canceled;
use crate::wait_list::Entry;

/// Cases for which a select needs no memory of its own.
const FEW: usize = 8;

/// One operation among several.
#[derive(Clone, Copy)]
pub struct Operation<'a> {
    case: &'a dyn Case,
    /// The address of the sender or receiver.
    handle: *const (),
    index: usize,
}

impl<'a> Operation<'a> {
    pub(super) fn new(case: &'a dyn Case, handle: *const ()) -> Self {
        Self { case, handle, index: 0 }
    }

    /// Which it is, for those who ask afterwards.
    pub fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }
}

impl fmt::Debug for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("index", &self.index).finish_non_exhaustive()
    }
}

/// In which order to look at operations: as they were added, or at random. Which comes next is decided when it is
/// asked for, since mostly one of the first need not wait.
struct Order {
    positions: SmallVec<[usize; FEW]>,
    /// How many of them are settled.
    settled: usize,
}

impl Order {
    fn new(count: usize, biased: bool) -> Self {
        // A model's checker wants the same program each time.
        let fixed = biased || cfg!(any(rr_loom, rr_shuttle));
        Self { positions: (0..count).collect(), settled: if fixed { count } else { 0 } }
    }

    /// The position of the operation to look at in turn `turn`; turns are asked for one after the other.
    fn at(&mut self, turn: usize) -> usize {
        if self.settled == turn {
            let other = fastrand::usize(turn..self.positions.len());
            self.positions.swap(turn, other);
            self.settled += 1;
        }
        self.positions[turn]
    }

    /// All of them, after each was asked for.
    fn all(&self) -> &[usize] {
        &self.positions
    }
}

/// How a wait for several cases ended.
enum End {
    /// By this one.
    Case(usize, Token),
    /// Time has passed, or something has changed.
    LookAgain,
    /// There was a moment at which no operation was ready.
    NoneReady,
    /// The runtime shuts down, and the routine is unwinding already.
    Canceled,
}

/// What the entries of a wait wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To be given something.
    Choice,
    /// To be told that an operation is ready.
    Readiness,
}

/// How long a wait may last.
#[derive(Clone, Copy)]
enum Limit {
    /// Not at all: only until it is sure that at one moment no operation was ready.
    Moment,
    Until(Option<Instant>),
}

impl Limit {
    fn of(patience: Wait) -> Self {
        match patience {
            Wait::Until(None) => Limit::Until(None),
            Wait::Until(Some(deadline)) if deadline > Instant::now() => {
                Limit::Until(Some(deadline))
            }
            Wait::Until(Some(_)) | Wait::No => Limit::Moment,
        }
    }
}

/// Waits until one of the operations has been chosen or is ready, or until the deadline or a moment that one of
/// the operations waits for.
fn wait(operations: &[Operation<'_>], order: &[usize], aim: Aim, limit: Limit) -> End {
    let deadline = match limit {
        Limit::Moment => None,
        Limit::Until(deadline) => {
            let moments = operations.iter().filter_map(|operation| operation.case.deadline());
            moments.chain(deadline).min()
        }
    };
    let waiter = Waiter::new();
    // The first outcome is the waiter's own, when it finds during the commit step what need not wait.
    let outcome_of = |position: usize| Outcome(Outcome::FIRST.0 + 1 + position);
    let entries: SmallVec<[Entry; FEW]> =
        (0..operations.len()).map(|position| Entry::new(&waiter, outcome_of(position))).collect();
    let (mut enlisted, mut chosen) = (0, None);
    let outcome = park(&waiter, WaitReason::Select, Patience::from(deadline), || {
        for &position in order {
            let (case, entry) = (operations[position].case, &entries[position]);
            // SAFETY: the entries stay until they were chosen or withdrawn below.
            let result = unsafe {
                match aim {
                    Aim::Choice => case.enlist(entry, &waiter),
                    Aim::Readiness => case.watch(entry, &waiter),
                }
            };
            match result {
                Enlisted::Waiting => enlisted += 1,
                Enlisted::Chosen(token) => {
                    chosen = Some((position, token));
                    return Commit::Resume;
                }
                Enlisted::ChosenElsewhere => return Commit::Park,
            }
        }
        match limit {
            // At this moment none of them was ready, unless somebody has won the claim.
            Limit::Moment if waiter.claim(Outcome::FIRST) => Commit::Resume,
            Limit::Moment | Limit::Until(_) => Commit::Park,
        }
    });
    if let Some(Outcome(number)) = outcome
        && let Some(position) = number.checked_sub(outcome_of(0).0)
    {
        chosen = Some((position, operations[position].case.given(&entries[position])));
    }
    for &position in order.iter().take(enlisted) {
        if outcome == Some(outcome_of(position)) {
            continue;
        }
        match aim {
            Aim::Choice => operations[position].case.withdraw(&entries[position]),
            Aim::Readiness => operations[position].case.unwatch(&entries[position]),
        }
    }
    let chosen = chosen.map(|(position, token)| (position, operations[position].case.fetch(token)));
    match chosen {
        Some((position, Token::Nothing)) if aim == Aim::Readiness => {
            End::Case(position, Token::Nothing)
        }
        Some((_, Token::Nothing)) => End::LookAgain,
        Some((position, token)) => End::Case(position, token),
        None if outcome.is_none() => End::NoneReady,
        None if outcome == Some(Outcome::CANCELED) => {
            unwind_canceled();
            End::Canceled
        }
        None => End::LookAgain,
    }
}

/// Chooses one of the operations, and waits as long as it may.
fn choose<'a>(
    operations: &[Operation<'a>],
    biased: bool,
    patience: Wait,
) -> Option<SelectedOperation<'a>> {
    // Before anything was chosen.
    if let Wait::Until(_) = patience {
        checkpoint();
    }
    let mut order = Order::new(operations.len(), biased);
    let mut has_waited = false;
    loop {
        for turn in 0..operations.len() {
            let operation = operations[order.at(turn)];
            match operation.case.choose() {
                None | Some(Token::Nothing) => {}
                Some(token) => {
                    let may_wait = matches!(patience, Wait::Until(_));
                    if may_wait && !has_waited && matches!(token, Token::Moment(_)) {
                        // Who is late each time never waits. Channels count for themselves.
                        end_turn();
                    }
                    return Some(SelectedOperation::new(operation, token, patience));
                }
            }
        }
        has_waited = true;
        let limit = Limit::of(patience);
        if matches!(limit, Limit::Moment) && operations.len() < 2 {
            return None;
        }
        match wait(operations, order.all(), Aim::Choice, limit) {
            End::Case(position, token) => {
                return Some(SelectedOperation::new(operations[position], token, patience));
            }
            End::LookAgain => {}
            End::NoneReady => return None,
            End::Canceled => {
                // To a destructor it looks as if the other side had gone, or the time had come.
                let Wait::Until(None) = patience else { return None };
                return Some(SelectedOperation::new(
                    *operations.first()?,
                    Token::Disconnected,
                    patience,
                ));
            }
        }
    }
}

/// Waits as long as it may until one of the operations is ready, and says which.
fn find_ready(operations: &[Operation<'_>], biased: bool, patience: Wait) -> Option<usize> {
    if let Wait::Until(_) = patience {
        checkpoint();
        // The call that follows does not wait, so nothing else counts it.
        count_as_switch();
    }
    let mut order = Order::new(operations.len(), biased);
    loop {
        for turn in 0..operations.len() {
            let operation = operations[order.at(turn)];
            if operation.case.is_ready() {
                return Some(operation.index);
            }
        }
        let limit = Limit::of(patience);
        if matches!(limit, Limit::Moment) && operations.len() < 2 {
            return None;
        }
        match wait(operations, order.all(), Aim::Readiness, limit) {
            End::Case(position, _) => return Some(operations[position].index),
            End::LookAgain => {}
            End::NoneReady => return None,
            End::Canceled => {
                let Wait::Until(None) = patience else { return None };
                return operations.first().map(|first| first.index);
            }
        }
    }
}

/// Chooses an operation if one need not wait.
#[doc(hidden)]
pub fn try_select<'a>(
    operations: &[Operation<'a>],
    biased: bool,
) -> Result<ManuallyDrop<SelectedOperation<'a>>, TrySelectError> {
    choose(operations, biased, Wait::No).map(ManuallyDrop::new).ok_or(TrySelectError)
}

/// Waits for one of the operations.
///
/// # Panics
///
/// If there are none.
#[doc(hidden)]
pub fn select<'a>(operations: &[Operation<'a>], biased: bool) -> SelectedOperation<'a> {
    assert!(!operations.is_empty(), "no operations have been added to `Select`");
    match choose(operations, biased, Wait::Until(None)) {
        Some(selected) => selected,
        None => unreachable!("waits until there is one"),
    }
}

/// Waits for one of the operations, for `timeout` at the longest.
#[doc(hidden)]
pub fn select_timeout<'a>(
    operations: &[Operation<'a>],
    biased: bool,
    timeout: Duration,
) -> Result<ManuallyDrop<SelectedOperation<'a>>, SelectTimeoutError> {
    select_until(operations, biased, Instant::now().checked_add(timeout)).map(ManuallyDrop::new)
}

fn select_until<'a>(
    operations: &[Operation<'a>],
    biased: bool,
    deadline: Option<Instant>,
) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
    if deadline.is_none() && operations.is_empty() {
        // A timeout that never ends, with nothing else to wait for: there is nobody who could end it.
        loop {
            crate::park();
        }
    }
    choose(operations, biased, Wait::Until(deadline)).ok_or(SelectTimeoutError)
}

/// Waits for one of a list of operations that is made at run time; otherwise [`select!`](crate::select) says it
/// shorter.
///
/// To wait is to choose an operation, which must then be completed with the very sender or receiver that was
/// added: [`SelectedOperation::send`], [`SelectedOperation::recv`]. Or else one of the `ready` methods tells
/// which need not wait at that moment; by the time of the next call, another may have been faster.
///
/// ```
/// use rust_routines_core::channel::{Select, unbounded};
///
/// let channels: Vec<_> = (0..10).map(|_| unbounded()).collect();
/// channels[7].0.send("seven").unwrap();
///
/// let mut select = Select::new();
/// for (_, receiver) in &channels {
///     select.recv(receiver);
/// }
/// let operation = select.select();
/// assert_eq!(operation.index(), 7);
/// assert_eq!(operation.recv(&channels[7].1), Ok("seven"));
/// ```
#[derive(Clone)]
pub struct Select<'a> {
    operations: Vec<Operation<'a>>,
    next_index: usize,
    biased: bool,
}

// SAFETY: what an operation points to is a sender or receiver, of which it uses only the locked part; no message
// passes through here.
unsafe impl Send for Select<'_> {}
// SAFETY: as above; and all methods that do anything take it by `&mut`.
unsafe impl Sync for Select<'_> {}

impl<'a> Select<'a> {
    /// Makes an empty list. Where several operations need not wait, one is chosen at random.
    pub fn new() -> Self {
        Self { operations: Vec::with_capacity(4), next_index: 0, biased: false }
    }

    /// Makes an empty list. Where several operations need not wait, the one that was added first is chosen.
    pub fn new_biased() -> Self {
        Self { biased: true, ..Self::new() }
    }

    /// Adds sending, and returns its index: zero for the first, and one more for each after it.
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(sender.operation())
    }

    /// Adds receiving, and returns its index: zero for the first, and one more for each after it.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(receiver.operation())
    }

    fn add(&mut self, operation: Operation<'a>) -> usize {
        let index = self.next_index;
        self.operations.push(operation.at(index));
        self.next_index += 1;
        index
    }

    /// Removes an operation. The others keep their indices.
    ///
    /// # Panics
    ///
    /// If there is none at `index`.
    pub fn remove(&mut self, index: usize) {
        assert!(index < self.next_index, "index out of bounds; {index} >= {}", self.next_index);
        let position = self.operations.iter().position(|operation| operation.index == index);
        let Some(position) = position else { panic!("no operation with this index") };
        // The order tells which comes first in a biased one.
        self.operations.remove(position);
    }

    /// Chooses an operation if one need not wait.
    ///
    /// # Errors
    ///
    /// If all would have to.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        try_select(&self.operations, self.biased).map(ManuallyDrop::into_inner)
    }

    /// Waits for one of the operations.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn select(&mut self) -> SelectedOperation<'a> {
        select(&self.operations, self.biased)
    }

    /// Waits for one of the operations, for `timeout` at the longest.
    ///
    /// # Errors
    ///
    /// If the time has passed.
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        select_timeout(&self.operations, self.biased, timeout).map(ManuallyDrop::into_inner)
    }

    /// Waits for one of the operations, until `deadline` at the longest.
    ///
    /// # Errors
    ///
    /// If the deadline has passed.
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        select_until(&self.operations, self.biased, Some(deadline))
    }

    /// Finds an operation that need not wait, and returns its index.
    ///
    /// # Errors
    ///
    /// If all would have to.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        find_ready(&self.operations, self.biased, Wait::No).ok_or(TryReadyError)
    }

    /// Waits until an operation need not wait, and returns its index.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn ready(&mut self) -> usize {
        assert!(!self.operations.is_empty(), "no operations have been added to `Select`");
        match find_ready(&self.operations, self.biased, Wait::Until(None)) {
            Some(index) => index,
            None => unreachable!("waits until there is one"),
        }
    }

    /// Waits until an operation need not wait, for `timeout` at the longest, and returns its index.
    ///
    /// # Errors
    ///
    /// If the time has passed.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        let wait = Wait::Until(Instant::now().checked_add(timeout));
        find_ready(&self.operations, self.biased, wait).ok_or(ReadyTimeoutError)
    }

    /// Waits until an operation need not wait, until `deadline` at the longest, and returns its index.
    ///
    /// # Errors
    ///
    /// If the deadline has passed.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        find_ready(&self.operations, self.biased, Wait::Until(Some(deadline)))
            .ok_or(ReadyTimeoutError)
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

/// An operation that was chosen, and must be completed: to drop it is a bug and panics, unless a panic is on its
/// way already. What was chosen goes back then: a message to the front, a place to the next sender.
///
/// The other side may be waiting for it, beyond its own time limit: whoever forgets it keeps a partner asleep, and the
/// shutdown of the partner's runtime with it.
#[must_use = "it must be completed"]
pub struct SelectedOperation<'a> {
    operation: Operation<'a>,
    token: Token,
    /// How long the choice might have taken: one that might not wait does not let others run, either.
    patience: Wait,
    /// Not `Send`: it belongs to the routine or thread that has chosen.
    _here: PhantomData<*const ()>,
}

impl<'a> SelectedOperation<'a> {
    fn new(operation: Operation<'a>, token: Token, patience: Wait) -> Self {
        Self { operation, token, patience, _here: PhantomData }
    }

    /// The index of the operation.
    pub fn index(&self) -> usize {
        self.operation.index
    }

    /// Sends, on the sender that was chosen.
    ///
    /// # Errors
    ///
    /// With the message, if all receivers have gone.
    ///
    /// # Panics
    ///
    /// If it is another sender, or another handle on the same channel.
    pub fn send<T>(self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        let same = std::ptr::addr_eq(sender, self.operation.handle);
        assert!(same, "passed a sender that wasn't selected");
        let patience = self.patience;
        sender.queue.complete_send(self.done(), message, patience).map_err(SendError)
    }

    /// Receives, on the receiver that was chosen.
    ///
    /// # Errors
    ///
    /// If the channel is empty and all senders have gone.
    ///
    /// # Panics
    ///
    /// If it is another receiver, or another handle on the same channel.
    pub fn recv<T>(self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let same = std::ptr::addr_eq(receiver, self.operation.handle);
        assert!(same, "passed a receiver that wasn't selected");
        let patience = self.patience;
        receiver.complete(self.done(), patience)
    }

    /// What a panic before the completion does.
    #[cfg(all(test, any(rr_loom, rr_shuttle)))]
    pub(super) fn abandon(self) {
        let case = self.operation.case;
        case.abandon(self.done());
    }

    fn done(self) -> Token {
        let token = self.token;
        std::mem::forget(self);
        token
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        self.operation.case.abandon(self.token);
        // A message that panicked while it was being made is no bug of the select.
        assert!(
            std::thread::panicking(),
            "dropped `SelectedOperation` without completing the operation"
        );
    }
}
