//! Models of channels and select, for both checkers.
//!
//! Each is named after what must hold; a lost wake-up shows as a deadlock, which the checkers detect. Threads of the
//! checker stand at both ends: what is different for routines, leaving the stack before the commit step, is not
//! in question here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Receiver, Select, Sender, bounded, select, unbounded};
use crate::primitive::thread::{self, JoinHandle};

/// Stamps out a test for each model under the checker that this is built for.
macro_rules! models {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {
        $($(#[$doc])* fn $name() $body)*

        #[cfg(rr_loom)]
        mod loom_tests {
            $(#[test] fn $name() { crate::primitive::model(super::$name); })*
        }

        #[cfg(rr_shuttle)]
        mod shuttle_tests {
            $(#[test] fn $name() { crate::primitive::explore(2_000, super::$name); })*
        }
    };
}

fn sends(
    sender: Sender<u32>,
    numbers: impl IntoIterator<Item = u32> + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || numbers.into_iter().for_each(|number| sender.send(number).unwrap()))
}

/// Receives from either; where both were chosen from, each in order.
fn receive_either(a: &Receiver<u32>, b: &Receiver<u32>) -> u32 {
    select! {
        recv(a) -> number => number.unwrap(),
        recv(b) -> number => number.unwrap(),
    }
}

models! {
    /// A sender that finds the channel full while the receiver empties it.
    fn full_channel_lets_its_sender_go_on() {
        let (sender, receiver) = bounded(1);
        let sending = sends(sender, 0..3);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
        sending.join().unwrap();
    }

    /// Either side may come first.
    fn rendezvous_meets() {
        let (sender, receiver) = bounded(0);
        let sending = sends(sender, 0..2);
        assert_eq!(receiver.recv(), Ok(0));
        assert_eq!(receiver.recv(), Ok(1));
        sending.join().unwrap();
    }

    /// The last sender goes while the receiver lies down.
    fn disconnect_wakes_the_receiver() {
        let (sender, receiver) = unbounded::<u32>();
        let dropping = thread::spawn(move || drop(sender));
        assert!(receiver.recv().is_err());
        dropping.join().unwrap();
    }

    /// The last receiver goes while a sender lies down, which gets its message back.
    fn disconnect_gives_the_message_back() {
        let (sender, receiver) = bounded(0);
        let dropping = thread::spawn(move || drop(receiver));
        assert_eq!(sender.send(7).unwrap_err().into_inner(), 7);
        dropping.join().unwrap();
    }

    /// A receiver gives up while a sender hands it a message.
    fn timeout_loses_no_message() {
        let (sender, receiver) = bounded(0);
        let sending = thread::spawn(move || sender.send_deadline(7, Instant::now()).is_ok());
        let received = receiver.recv_deadline(Instant::now()).is_ok();
        assert_eq!(sending.join().unwrap(), received);
    }

    /// Two senders, one place each, and one who selects.
    fn select_gets_what_each_sender_sends() {
        let (left, from_left) = bounded(0);
        let (right, from_right) = bounded(0);
        // Kept, so that neither disconnects.
        let _senders = [left.clone(), right.clone()];
        let sending = [sends(left, [1]), sends(right, [2])];
        let sum = receive_either(&from_left, &from_right) + receive_either(&from_left, &from_right);
        assert_eq!(sum, 3);
        sending.into_iter().for_each(|sending| sending.join().unwrap());
    }

    /// Both sides meet in a select: the receiver waits for the sender to say what it sends.
    fn selects_meet() {
        let (sender, receiver) = bounded(0);
        let other = super::never::<u32>();
        let sending = thread::spawn(move || {
            select! {
                send(sender, 7) -> sent => sent.unwrap(),
                recv(super::never::<u32>()) -> _ => unreachable!(),
            }
        });
        let number = select! {
            recv(receiver) -> number => number.unwrap(),
            recv(other) -> number => number.unwrap(),
        };
        assert_eq!(number, 7);
        sending.join().unwrap();
    }

    /// Each of two selects could be the other's partner in two ways; they agree on one.
    fn crossed_selects_agree() {
        let (a, from_a) = bounded(0);
        let (b, from_b) = bounded(0);
        let (a2, from_b2) = (a.clone(), from_b.clone());
        let other = thread::spawn(move || {
            select! {
                send(a2, 1) -> sent => { sent.unwrap(); 1 }
                recv(from_b2) -> number => number.unwrap(),
            }
        });
        let mine = select! {
            send(b, 2) -> sent => { sent.unwrap(); 2 }
            recv(from_a) -> number => number.unwrap(),
        };
        assert_eq!(mine, other.join().unwrap());
    }

    /// A select sees that one of its channels disconnects while it lies down.
    fn disconnect_wakes_a_select() {
        let (sender, receiver) = bounded::<u32>(0);
        let (_kept, silent) = bounded::<u32>(0);
        let dropping = thread::spawn(move || drop(sender));
        select! {
            recv(receiver) -> end => assert!(end.is_err()),
            recv(silent) -> _ => unreachable!(),
        }
        dropping.join().unwrap();
    }

    /// A select that may not wait does not overlook that there always is a message: the other side sends the new
    /// one before it takes the old one.
    fn try_select_finds_what_always_is_there() {
        let (left, from_left) = bounded(1);
        let (right, from_right) = bounded(1);
        left.send(1).unwrap();
        let taking = {
            let from_left = from_left.clone();
            thread::spawn(move || {
                right.send(2).unwrap();
                let _ = from_left.try_recv();
            })
        };
        select! {
            // In this order, as the checkers take it: nothing here yet, and nothing there any more.
            recv(from_right) -> _ => {}
            recv(from_left) -> _ => {}
            default => panic!("there was a message all the time"),
        }
        taking.join().unwrap();
    }

    /// A select that gives up a place, in a panic of whoever makes the message, passes it on.
    fn abandoned_place_goes_to_the_next_sender() {
        let (sender, receiver) = bounded(1);
        let sending = sends(sender.clone(), [7]);
        let dropping = thread::spawn(move || {
            let mut select = Select::new();
            select.send(&sender);
            if let Ok(operation) = select.try_select() {
                operation.abandon();
            }
        });
        // Before anybody receives, who would take it from the sender.
        sending.join().unwrap();
        assert_eq!(receiver.recv(), Ok(7));
        dropping.join().unwrap();
    }

    /// Who waits to be told that a message can be received is told.
    fn ready_is_told() {
        let (sender, receiver) = bounded(1);
        // A sender stays, so that it is not told that the channel has disconnected.
        let sending = sends(sender.clone(), [7]);
        let mut select = Select::new();
        select.recv(&receiver);
        assert_eq!(select.ready(), 0);
        assert_eq!(receiver.try_recv(), Ok(7));
        sending.join().unwrap();
    }

    /// Two receivers, of which one gives up: the other gets the message.
    fn message_for_one_who_gave_up_goes_to_another() {
        let (sender, receiver) = bounded(1);
        let impatient = {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.recv_timeout(Duration::ZERO).ok())
        };
        let patient = thread::spawn(move || receiver.recv().ok());
        let sender = Arc::new(sender);
        sender.send(7).unwrap();
        if impatient.join().unwrap().is_some() {
            sender.send(8).unwrap();
        }
        drop(sender);
        assert!(patient.join().unwrap().is_some());
    }

    /// A moment goes to one of those who ask for it.
    fn moment_goes_to_one() {
        let alarm = super::at(Instant::now());
        let asking = {
            let alarm = alarm.clone();
            thread::spawn(move || alarm.try_recv().is_ok())
        };
        let mine = select! {
            recv(alarm) -> moment => moment.is_ok(),
            default => false,
        };
        assert!(mine ^ asking.join().unwrap());
    }
}
