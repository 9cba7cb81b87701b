//! The state of a channel with messages in it, and the operations on it.
//!
//! One lock guards a queue of messages and the lists of those who wait. After Go's `hchan`:
//!
//! 1. Receivers wait only while there is no message, senders only while there is no room. So at most one of
//!    the two lists has somebody in it whose wait has not ended.
//! 2. A message goes straight to a waiting receiver, and a freed place straight to the sender that has
//!    waited longest: nobody who was woken finds that another was faster.
//! 3. Who claims a waiter does so under the lock, and whoever stops waiting for another reason takes the lock to
//!    withdraw. So an entry is never touched after its owner has gone.
//! 4. Sleepers are woken after the lock is released; a routine that goes to sleep releases it in the commit
//!    step, after it has left its stack.
//! 5. Who was woken and has got nothing looks again: the channel may be disconnected, or a partner has gone
//!    back on its choice.
//!
//! # Select
//!
//! A [`select`](super::select) chooses an operation first and completes it later, and which type its messages have
//! only the channel knows. So what it has chosen stays here meanwhile ([`Selects`]):
//!
//! - a message that it will fetch;
//! - a place that it will fill;
//! - or the receiver itself, who sleeps on until it is given a message.
//!
//! A sender that waits in a select has yet to make its message. Who receives from it, in a select or not, asks it
//! for that at once and waits for the answer ([`Queue::meet`]), which may be that there is none.
//!
//! The entry of a select has no slot for a message; its `tag` and `slot` tell it what it was given.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Instant;

use slab::Slab;

use super::case::{Enlisted, Token};
use crate::brief::{Brief, BriefGuard};
use crate::claim::Outcome;
use crate::park::{
    Commit, Patience, WaitReason, Waiter, checkpoint, checkpoint_in_place, end_turn, park,
};
use crate::primitive::{AtomicUsize, Ordering};
use crate::runtime::worker::Worker;
use crate::unwinding::unwind_canceled;
use crate::wait_list::{AllClaimed, Claimed, Entry, WaitList};

/// Somebody of the other side has ended the wait.
const CHOSEN: Outcome = Outcome::FIRST;

/// See the [module docs](self).
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Brief<State<T>>,
    /// `None` is unbounded, zero rendezvous.
    pub(super) capacity: Option<usize>,
    pub(super) senders: AtomicUsize,
    pub(super) receivers: AtomicUsize,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<T>,
    senders: WaitList,
    receivers: WaitList,
    disconnected: bool,
    /// How many messages were sent, and received: see [`TURN`].
    sent: u8,
    received: u8,
    /// Made when a select first comes by.
    selects: Option<Box<Selects<T>>>,
}

/// What selects have chosen and not yet completed, and who waits for an operation to be ready.
#[derive(Debug)]
struct Selects<T> {
    /// Messages that will be fetched, with numbers in the order in which they were taken.
    messages: Slab<(u64, T)>,
    /// The next of these numbers.
    next_number: u64,
    /// The numbers of messages that were given up: the first ones of the queue.
    given_up: Vec<u64>,
    /// Places that will be filled.
    places: usize,
    /// To be woken when a message can be sent.
    send_watchers: WaitList,
    /// To be woken when one can be received.
    receive_watchers: WaitList,
}

/// The two ends of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Send,
    Receive,
}

/// How long to wait for the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    No,
    Until(Option<Instant>),
}

/// Why no message changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It would have had to wait.
    WouldBlock,
    /// The deadline passed.
    TimedOut,
    /// The other side has gone.
    Disconnected,
}

/// How many operations of one side that may wait are a turn, at whose end one of them lets the others of its worker
/// run, even if it need not wait.
///
/// Nobody interrupts a routine, and one that always finds a message, or a partner on another worker, or that all
/// partners have gone, would never stop by itself. Channels count, under their locks, since that costs next to nothing.
/// Those that may not wait are not counted: where they alternate with others, every turn might end at one of them. Where
/// there is always room, a send counts, but only looks whether the routine is to be unwound.
const TURN: u8 = 128;

/// What one look at a channel led to.
enum Look<'a, T, D> {
    Done(D),
    Disconnected,
    /// Nothing has happened: let others run before.
    TurnIsOver,
    /// Nothing to do but wait. The lock is still held.
    Wait(BriefGuard<'a, State<T>>),
    /// A partner went back on its choice.
    Again,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: Option<usize>) -> Self {
        Self {
            state: Brief::new(State {
                messages: VecDeque::new(),
                senders: WaitList::new(),
                receivers: WaitList::new(),
                disconnected: false,
                sent: 0,
                received: 0,
                selects: None,
            }),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    // ------------------------------------------------------------------------------ plain operations

    /// Sends `message`, or gives it back.
    pub(super) fn send(&self, message: T, wait: Wait) -> Result<(), (Failure, T)> {
        let mut message = Some(message);
        loop {
            let state = match self.try_send(&mut message, wait) {
                Look::Done(()) => return Ok(()),
                Look::Disconnected => return Err((Failure::Disconnected, unsent(message))),
                Look::TurnIsOver => {
                    self.end_turn_of(Side::Send);
                    match self.capacity {
                        None => checkpoint_in_place(),
                        Some(_) => drop(checkpoint()),
                    }
                    continue;
                }
                Look::Again => continue,
                Look::Wait(state) => state,
            };
            let Wait::Until(deadline) = wait else {
                return Err((Failure::WouldBlock, unsent(message)));
            };
            let slot = UnsafeCell::new(message);
            let end = self.wait(Side::Send, slot.get(), state, deadline);
            message = slot.into_inner();
            match (message.is_none(), end) {
                (true, _) => return Ok(()),
                (false, Ok(())) => {}
                (false, Err(failure)) => return Err((failure, unsent(message))),
            }
        }
    }

    /// Receives a message.
    pub(super) fn receive(&self, wait: Wait) -> Result<T, Failure> {
        loop {
            let state = match self.try_receive(wait) {
                Look::Done(message) => return Ok(message),
                Look::Disconnected => return Err(Failure::Disconnected),
                Look::TurnIsOver => {
                    end_turn();
                    checkpoint();
                    continue;
                }
                Look::Again => continue,
                Look::Wait(state) => state,
            };
            let Wait::Until(deadline) = wait else { return Err(Failure::WouldBlock) };
            let slot = UnsafeCell::new(None);
            let end = self.wait(Side::Receive, slot.get(), state, deadline);
            match (slot.into_inner(), end) {
                (Some(message), _) => return Ok(message),
                (None, Ok(())) => {}
                (None, Err(failure)) => return Err(failure),
            }
        }
    }

    /// Takes `message` unless it has to wait.
    #[inline]
    fn try_send(&self, message: &mut Option<T>, wait: Wait) -> Look<'_, T, ()> {
        let mut state = self.state.lock();
        if state.turn_is_over(Side::Send, wait) {
            return Look::TurnIsOver;
        }
        if state.disconnected {
            return Look::Disconnected;
        }
        if let Some(receiver) = state.receivers.claim_first() {
            deliver(receiver, state, unsent(message.take()));
            return Look::Done(());
        }
        if state.has_room(self.capacity) {
            state.messages.push_back(unsent(message.take()));
            wake_watchers(state, Side::Receive);
            return Look::Done(());
        }
        Look::Wait(state)
    }

    #[inline]
    fn try_receive(&self, wait: Wait) -> Look<'_, T, T> {
        let mut state = self.state.lock();
        if state.turn_is_over(Side::Receive, wait) {
            return Look::TurnIsOver;
        }
        if let Some(message) = state.pop() {
            self.fill_place(state);
            return Look::Done(message);
        }
        if let Some(sender) = state.senders.claim_first() {
            if is_select(&sender) {
                drop(state);
                return self.meet(sender).map_or(Look::Again, Look::Done);
            }
            drop(state);
            let message = take(&sender);
            sender.wake();
            return message.map_or(Look::Again, Look::Done);
        }
        if state.disconnected {
            return Look::Disconnected;
        }
        Look::Wait(state)
    }

    /// Waits for the other side. What is in the slot afterwards tells how it went; an error says why nobody came.
    // Inlined, as is `park`: a return that the processor guesses wrong costs as much as an atomic operation.
    #[inline(always)]
    fn wait(
        &self,
        side: Side,
        slot: *mut Option<T>,
        mut state: BriefGuard<'_, State<T>>,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        let waiter = Waiter::new();
        let entry = Entry::new(&waiter, CHOSEN);
        entry.slot.set(slot.cast());
        // SAFETY: it is taken out below, unless whoever claimed it has done so.
        unsafe { state.waiting(side).push(&entry) };
        let reason = match side {
            Side::Send => WaitReason::ChannelSend,
            Side::Receive => WaitReason::ChannelReceive,
        };
        let outcome = park(&waiter, reason, Patience::from(deadline), || {
            Self::publish(side, state);
            Commit::Park
        });
        if outcome == Some(CHOSEN) {
            return Ok(());
        }
        // It is there, or was taken out by somebody who then lost its claim.
        self.state.lock().waiting(side).remove(&entry);
        if outcome == Some(Outcome::TIMED_OUT) {
            return Err(Failure::TimedOut);
        }
        unwind_canceled();
        // Unwinding already: to a destructor it looks as if the other side had gone.
        Err(Failure::Disconnected)
    }

    /// Releases the lock after somebody began to wait at `side`.
    #[inline]
    fn publish(side: Side, state: BriefGuard<'_, State<T>>) {
        // That makes the other side ready, if it was not: in a rendezvous, or while all places are promised.
        wake_watchers(state, side.other());
    }

    /// A place may be free: gives it to the sender that has waited longest.
    #[inline]
    fn fill_place(&self, mut state: BriefGuard<'_, State<T>>) {
        if !state.has_room(self.capacity) {
            return;
        }
        match state.senders.claim_first() {
            Some(sender) if is_select(&sender) => {
                state.selects().places += 1;
                sender.entry().tag.set(Given::Place as usize);
                drop(state);
                sender.wake();
            }
            Some(sender) => {
                state.messages.extend(take(&sender));
                drop(state);
                sender.wake();
            }
            None => wake_watchers(state, Side::Send),
        }
    }

    /// Waits for the message of a sender that was claimed in a select. `None` if that thinks better of it.
    fn meet(&self, sender: Claimed) -> Option<T> {
        let slot = UnsafeCell::new(None::<T>);
        let waiter = Waiter::new();
        let entry = Entry::new(&waiter, CHOSEN);
        entry.slot.set(slot.get().cast());
        let mine = waiter.claim(CHOSEN);
        debug_assert!(mine, "nobody else knows it");
        sender.entry().slot.set(ptr::from_ref(&entry).cast_mut().cast());
        sender.entry().tag.set(Given::Receiver as usize);
        // Steadfast: the sender has our address, and will use it however its own routine ends.
        park(&waiter, WaitReason::ChannelReceive, Patience::Steadfast, || {
            sender.wake();
            Commit::Park
        });
        slot.into_inner()
    }

    // ------------------------------------------------------------------------------------------ select

    /// Chooses an operation for a select if it need not wait.
    pub(super) fn choose(&self, side: Side) -> Option<Token> {
        let token = self.choose_locked(side, self.state.lock(), None).ok()?;
        Some(self.fetch(token))
    }

    /// Has a sender that was chosen say what it sends. Nothing if it thinks better of it.
    pub(super) fn fetch(&self, token: Token) -> Token {
        let Token::Sender(sender) = token else { return token };
        // SAFETY: the token came from `choose_locked`, and is used once.
        let message = self.meet(unsafe { Claimed::from_raw(sender) });
        message.map_or(Token::Nothing, |message| {
            Token::Message(self.state.lock().selects().keep(message))
        })
    }

    /// The same under the lock, which it gives back if there is nothing to choose. Passes over the entries of `me`.
    fn choose_locked<'a>(
        &self,
        side: Side,
        mut state: BriefGuard<'a, State<T>>,
        me: Option<&Waiter>,
    ) -> Result<Token, BriefGuard<'a, State<T>>> {
        match side {
            Side::Send if state.disconnected => Ok(Token::Disconnected),
            Side::Send => {
                if let Some(receiver) = state.receivers.claim_first_but(me) {
                    Ok(Token::Receiver(receiver.into_raw()))
                } else if state.has_room(self.capacity) {
                    state.selects().places += 1;
                    Ok(Token::Place)
                } else {
                    Err(state)
                }
            }
            Side::Receive => {
                if let Some(message) = state.pop() {
                    let ticket = state.selects().keep(message);
                    self.fill_place(state);
                    Ok(Token::Message(ticket))
                } else if let Some(sender) = state.senders.claim_first_but(me) {
                    if is_select(&sender) {
                        return Ok(Token::Sender(sender.into_raw()));
                    }
                    let message = take(&sender);
                    let ticket = message.map(|message| state.selects().keep(message));
                    drop(state);
                    sender.wake();
                    Ok(ticket.map_or(Token::Nothing, Token::Message))
                } else if state.disconnected {
                    Ok(Token::Disconnected)
                } else {
                    Err(state)
                }
            }
        }
    }

    /// Whether an operation need not wait, other than for entries of `me`.
    fn ready_locked(&self, side: Side, state: &State<T>, me: Option<&Waiter>) -> bool {
        state.disconnected
            || match side {
                Side::Send => state.has_room(self.capacity) || state.receivers.has_other_than(me),
                Side::Receive => !state.messages.is_empty() || state.senders.has_other_than(me),
            }
    }

    pub(super) fn is_ready(&self, side: Side) -> bool {
        self.ready_locked(side, &self.state.lock(), None)
    }

    /// Adds the entry of a select, or chooses for it. Called in the commit step of `me`.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push`]; [`withdraw`](Self::withdraw) takes it out.
    pub(super) unsafe fn enlist(&self, side: Side, entry: &Entry, me: &Waiter) -> Enlisted {
        let mut state = self.state.lock();
        if !self.ready_locked(side, &state, Some(me)) {
            // SAFETY: passed on.
            unsafe { state.waiting(side).push(entry) };
            Self::publish(side, state);
            return Enlisted::Waiting;
        }
        // First it must be sure that no other channel has chosen it, and only then may it choose a partner.
        if !me.claim(Outcome::FIRST) {
            return Enlisted::ChosenElsewhere;
        }
        match self.choose_locked(side, state, Some(me)) {
            Ok(token) => Enlisted::Chosen(token),
            // The partner has gone in the meantime. Begin anew: the claim is spent.
            Err(_) => Enlisted::Chosen(Token::Nothing),
        }
    }

    pub(super) fn withdraw(&self, side: Side, entry: &Entry) {
        self.state.lock().waiting(side).remove(entry);
    }

    /// Adds an entry to be told when an operation is ready, unless it is. Called in the commit step of `me`.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push`]; [`unwatch`](Self::unwatch) takes it out.
    pub(super) unsafe fn watch(&self, side: Side, entry: &Entry, me: &Waiter) -> Enlisted {
        let mut state = self.state.lock();
        if !self.ready_locked(side, &state, None) {
            // SAFETY: passed on.
            unsafe { state.watchers(side).push(entry) };
            return Enlisted::Waiting;
        }
        drop(state);
        if me.claim(Outcome::FIRST) {
            Enlisted::Chosen(Token::Nothing)
        } else {
            Enlisted::ChosenElsewhere
        }
    }

    pub(super) fn unwatch(&self, side: Side, entry: &Entry) {
        self.state.lock().watchers(side).remove(entry);
    }

    /// Sends the message of a select that has chosen to.
    pub(super) fn complete_send(&self, token: Token, message: T, wait: Wait) -> Result<(), T> {
        match token {
            Token::Receiver(receiver) => {
                // SAFETY: the token came from `choose_locked` or `meet`, and is used once.
                let receiver = unsafe { Claimed::from_raw(receiver) };
                let mut state = self.state.lock();
                let turn_is_over = state.turn_is_over(Side::Send, wait);
                deliver(receiver, state, message);
                if turn_is_over {
                    self.end_turn_of(Side::Send);
                }
                Ok(())
            }
            Token::Place => {
                let mut state = self.state.lock();
                state.selects().places -= 1;
                if state.disconnected {
                    return Err(message);
                }
                let turn_is_over = state.turn_is_over(Side::Send, wait);
                if let Some(receiver) = state.receivers.claim_first() {
                    deliver(receiver, state, message);
                } else {
                    state.messages.push_back(message);
                    wake_watchers(state, Side::Receive);
                }
                if turn_is_over {
                    self.end_turn_of(Side::Send);
                }
                Ok(())
            }
            _ => {
                self.count(Side::Send, wait);
                Err(message)
            }
        }
    }

    /// Fetches the message of a select that has chosen to receive.
    pub(super) fn complete_receive(&self, token: Token, wait: Wait) -> Result<T, Failure> {
        match token {
            Token::Message(ticket) => {
                let mut state = self.state.lock();
                let turn_is_over = state.turn_is_over(Side::Receive, wait);
                let (_, message) = state.selects().messages.remove(ticket);
                drop(state);
                if turn_is_over {
                    end_turn();
                }
                Ok(message)
            }
            _ => {
                self.count(Side::Receive, wait);
                Err(Failure::Disconnected)
            }
        }
    }

    /// Counts an operation of a select that has found the other side gone, and will the next time.
    fn count(&self, side: Side, wait: Wait) {
        let turn_is_over = self.state.lock().turn_is_over(side, wait);
        if turn_is_over {
            self.end_turn_of(side);
        }
    }

    /// Lets the others of the worker run. Not after a send where there is always room: nobody expects to be suspended
    /// there, and may hold a lock of std's that the others want. That one only looks whether its runtime shuts down by force.
    fn end_turn_of(&self, side: Side) {
        match (side, self.capacity) {
            (Side::Send, None) => Worker::cancel_running(),
            _ => end_turn(),
        }
    }

    /// A select does not complete what it has chosen: somebody panicked.
    pub(super) fn abandon(&self, token: Token) {
        match token {
            Token::Receiver(receiver) => {
                // SAFETY: as in `complete_send`. It gets nothing, and looks again.
                unsafe { Claimed::from_raw(receiver) }.wake();
            }
            Token::Message(ticket) => {
                let mut state = self.state.lock();
                let (number, message) = state.selects().messages.remove(ticket);
                match state.receivers.claim_first() {
                    Some(receiver) => deliver(receiver, state, message),
                    None => {
                        // Before all that were not taken, and behind those that were taken before it.
                        let given_up = &mut state.selects().given_up;
                        let position = given_up.partition_point(|&earlier| earlier < number);
                        given_up.insert(position, number);
                        state.messages.insert(position, message);
                        wake_watchers(state, Side::Receive);
                    }
                }
            }
            Token::Place => {
                let mut state = self.state.lock();
                state.selects().places -= 1;
                self.fill_place(state);
            }
            Token::Sender(_) | Token::Disconnected | Token::Nothing | Token::Moment(_) => {}
        }
    }

    // ------------------------------------------------------------------------------------------- the end

    /// The last handle of one side has gone.
    fn disconnect(&self, discard: bool) {
        let mut state = self.state.lock();
        state.disconnected = true;
        // Nobody will receive these. Their destructors run outside the lock.
        let mut discarded = Discarded(VecDeque::new());
        if discard {
            discarded.0 = mem::take(&mut state.messages);
        }
        let waiting = [state.senders.claim_all(), state.receivers.claim_all()];
        let watching = state.selects.as_mut().map(|selects| {
            [selects.send_watchers.claim_all(), selects.receive_watchers.claim_all()]
        });
        drop(state);
        waiting.into_iter().chain(watching.into_iter().flatten()).for_each(AllClaimed::wake);
        while let Some(message) = discarded.0.pop_front() {
            drop(message);
        }
    }

    pub(super) fn drop_sender(&self) {
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.disconnect(false);
        }
    }

    pub(super) fn drop_receiver(&self) {
        if self.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.disconnect(true);
        }
    }

    /// Messages in the queue.
    pub(super) fn len(&self) -> usize {
        self.state.lock().messages.len()
    }
}

/// Messages that nobody will receive. A panic in the destructor of one keeps no other from being dropped.
struct Discarded<T>(VecDeque<T>);

impl<T> Drop for Discarded<T> {
    /// With what is left there is a panic under way, which another would turn into an abort.
    fn drop(&mut self) {
        while let Some(message) = self.0.pop_front() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(message))) {
                // The destructor of a payload could panic in turn.
                mem::forget(payload);
            }
        }
    }
}

impl<T> Selects<T> {
    /// Keeps a message until it is fetched.
    fn keep(&mut self, message: T) -> usize {
        let number = self.next_number;
        self.next_number += 1;
        self.messages.insert((number, message))
    }
}

impl<T> State<T> {
    /// Counts an operation that may wait, and answers whether that is the end of a turn.
    #[inline]
    fn turn_is_over(&mut self, side: Side, wait: Wait) -> bool {
        let Wait::Until(_) = wait else { return false };
        let count = match side {
            Side::Send => &mut self.sent,
            Side::Receive => &mut self.received,
        };
        *count = count.wrapping_add(1);
        count.is_multiple_of(TURN)
    }

    /// Takes the oldest message.
    #[inline]
    fn pop(&mut self) -> Option<T> {
        let message = self.messages.pop_front()?;
        if let Some(selects) = &mut self.selects
            && !selects.given_up.is_empty()
        {
            selects.given_up.remove(0);
        }
        Some(message)
    }

    /// Whether there is a place that nobody was promised.
    #[inline]
    fn has_room(&self, capacity: Option<usize>) -> bool {
        let Some(capacity) = capacity else { return true };
        let promised = self.selects.as_ref().map_or(0, |selects| selects.places);
        self.messages.len() + promised < capacity
    }

    fn waiting(&mut self, side: Side) -> &mut WaitList {
        match side {
            Side::Send => &mut self.senders,
            Side::Receive => &mut self.receivers,
        }
    }

    fn selects(&mut self) -> &mut Selects<T> {
        self.selects.get_or_insert_with(|| {
            Box::new(Selects {
                messages: Slab::new(),
                next_number: 0,
                given_up: Vec::new(),
                places: 0,
                send_watchers: WaitList::new(),
                receive_watchers: WaitList::new(),
            })
        })
    }

    fn watchers(&mut self, side: Side) -> &mut WaitList {
        let selects = self.selects();
        match side {
            Side::Send => &mut selects.send_watchers,
            Side::Receive => &mut selects.receive_watchers,
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Send => Side::Receive,
            Side::Receive => Side::Send,
        }
    }
}

/// What the entry of a select was given, in its `tag`.
#[derive(Clone, Copy, Debug)]
enum Given {
    /// A message, whose ticket is in `slot`. Zero is nothing: it must look again.
    Message = 1,
    /// A place.
    Place,
    /// A receiver, whose entry is in `slot`.
    Receiver,
}

/// What the entry of a select that was chosen says.
pub(super) fn given(entry: &Entry) -> Token {
    let slot = entry.slot.get();
    match entry.tag.get() {
        tag if tag == Given::Message as usize => Token::Message(slot.addr()),
        tag if tag == Given::Place as usize => Token::Place,
        tag if tag == Given::Receiver as usize => Token::Receiver(slot.cast_const().cast()),
        _ => Token::Nothing,
    }
}

/// Whether a claimed waiter stands in a select, and thus has no slot for a message.
fn is_select(claimed: &Claimed) -> bool {
    claimed.entry().slot.get().is_null()
}

/// Releases the lock, and wakes those who wait for the side to be ready.
#[inline]
fn wake_watchers<T>(mut state: BriefGuard<'_, State<T>>, side: Side) {
    if state.selects.is_some() {
        let watchers = state.watchers(side).claim_all();
        drop(state);
        watchers.wake();
    }
}

/// Gives a receiver its message and lets it go on.
#[inline]
fn deliver<T>(receiver: Claimed, mut state: BriefGuard<'_, State<T>>, message: T) {
    let entry = receiver.entry();
    if is_select(&receiver) {
        let ticket = state.selects().keep(message);
        drop(state);
        entry.slot.set(ptr::without_provenance_mut(ticket));
        entry.tag.set(Given::Message as usize);
    } else {
        drop(state);
        // SAFETY: the entry of a plain receiver of this channel; claimed and not yet woken, so its slot is ours.
        unsafe { *entry.slot.get().cast::<Option<T>>() = Some(message) };
    }
    receiver.wake();
}

/// Takes the message of a plain sender.
#[inline]
fn take<T>(sender: &Claimed) -> Option<T> {
    // SAFETY: the entry of a plain sender of this channel; claimed and not yet woken, so its slot is ours.
    unsafe { (*sender.entry().slot.get().cast::<Option<T>>()).take() }
}

fn unsent<T>(message: Option<T>) -> T {
    let Some(message) = message else { unreachable!("it is sent once") };
    message
}
