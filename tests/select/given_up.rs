//! A chosen operation that is not completed, since somebody panicked meanwhile: all is as if it had not been
//! chosen.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use rust_routines::channel::{
    Receiver, Select, SelectedOperation, Sender, TryRecvError, after, bounded, never, select,
    unbounded,
};
use rust_routines::{JoinHandle, WaitReason};

use super::util::{bounded as in_time, eventually, message, runtime, until_waiting};

/// A message that cannot be made.
fn broken() -> u8 {
    resume_unwind(Box::new(()))
}

/// Panics with the operation in hand.
fn give_up(operation: SelectedOperation<'_>) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _operation = operation;
        resume_unwind(Box::new(()));
    }));
    assert!(result.unwrap_err().is::<()>());
}

fn choose_send<T>(sender: &Sender<T>) -> SelectedOperation<'_> {
    let mut list = Select::new();
    list.send(sender);
    list.select()
}

fn choose_receive<T>(receiver: &Receiver<T>) -> SelectedOperation<'_> {
    let mut list = Select::new();
    list.recv(receiver);
    list.select()
}

#[track_caller]
fn finishes<T>(what: &str, routine: JoinHandle<T>) -> T {
    eventually(what, || routine.is_finished());
    routine.join().unwrap()
}

// Breaks if a message that a select had fetched is lost, or comes back behind those that came after it.
#[test]
fn message_comes_back_first() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = unbounded();
        (1..=3).for_each(|i| sender.send(i).unwrap());
        give_up(choose_receive(&receiver));
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);

        // To one who waits for it already.
        sender.send(4).unwrap();
        let operation = choose_receive(&receiver);
        let waiting = runtime.spawn({
            let receiver = receiver.clone();
            move || receiver.recv()
        });
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, 1);
        give_up(operation);
        assert_eq!(finishes("it gets the message", waiting), Ok(4));

        // Of a sender that has gone on, in a rendezvous.
        let (sender, receiver) = bounded(0);
        let sending = runtime.spawn(move || sender.send(5).unwrap());
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 1);
        give_up(choose_receive(&receiver));
        finishes("it was sent", sending);
        assert_eq!(receiver.recv(), Ok(5));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        runtime.shutdown();
    });
}

// Breaks if a place that a select was promised stays empty while others wait for one.
#[test]
fn place_goes_to_the_next() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded(1);
        for plain in [true, false] {
            let operation = choose_send(&sender);
            let waiting = runtime.spawn({
                let sender = sender.clone();
                move || match plain {
                    true => sender.send(1).unwrap(),
                    false => select! { send(sender, 1) -> sent => sent.unwrap() },
                }
            });
            let reason = if plain { WaitReason::ChannelSend } else { WaitReason::Select };
            until_waiting(runtime.handle(), reason, 1);
            give_up(operation);
            finishes("it has the place", waiting);
            assert_eq!(receiver.try_recv(), Ok(1));
        }
        runtime.shutdown();
    });
}

// Breaks if a partner that was chosen and left alone does not go on waiting for another.
#[test]
fn partner_waits_on() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = bounded(0);
        for plain in [true, false] {
            let receiver = receiver.clone();
            let waiting = runtime.spawn(move || match plain {
                true => receiver.recv(),
                false => {
                    select! { recv(receiver) -> message => message, recv(never()) -> it => it }
                }
            });
            let reason = if plain { WaitReason::ChannelReceive } else { WaitReason::Select };
            until_waiting(runtime.handle(), reason, 1);
            give_up(choose_send(&sender));
            assert!(!waiting.is_finished());
            sender.send(1).unwrap();
            assert_eq!(finishes("it gets another message", waiting), Ok(1));
        }
        let waiting = runtime.spawn({
            let sender = sender.clone();
            move || select! { send(sender, 2) -> sent => sent, recv(never::<()>()) -> _ => Ok(()) }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        give_up(choose_receive(&receiver));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(finishes("it finds another receiver", waiting), Ok(()));
        runtime.shutdown();
    });
}

// Breaks if one who receives from a select does not look again when that panics while it makes its message.
#[test]
fn message_panics_while_it_is_made() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded(0);
        let sending = runtime.spawn({
            let sender = sender.clone();
            move || {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    select! {
                        send(sender, broken()) -> _ => {}
                        recv(never::<()>()) -> _ => {}
                    }
                }));
                assert!(result.is_err());
                sender.send(2).unwrap();
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        assert_eq!(receiver.recv(), Ok(2));
        sending.join().unwrap();
        runtime.shutdown();
    });
}

// Breaks if it goes unnoticed that an operation was not completed, or was with another handle; or if that does
// any harm.
#[test]
fn misuse_is_told() {
    in_time(|| {
        let (sender, receiver) = bounded(1);
        let other = sender.clone();
        let text = |misuse: &dyn Fn()| {
            let payload = catch_unwind(AssertUnwindSafe(misuse)).unwrap_err();
            message(&*payload).to_owned()
        };
        let dropped = text(&|| drop(choose_send(&sender)));
        assert!(dropped.contains("without completing the operation"), "{dropped}");
        let wrong = text(&|| choose_send(&sender).send(&other, 1).unwrap());
        assert!(wrong.contains("a sender that wasn't selected"), "{wrong}");
        sender.try_send(2).unwrap();
        let wrong = text(&|| _ = choose_receive(&receiver).recv(&receiver.clone()));
        assert!(wrong.contains("a receiver that wasn't selected"), "{wrong}");
        assert_eq!(receiver.try_recv(), Ok(2));
        let none = text(&|| drop(Select::new().select()));
        assert!(none.contains("no operations have been added"), "{none}");
    });
}

// Breaks if one who waits until it can send is not told that a receiver has come, while all places are promised.
#[test]
fn watching_sender_is_told_of_receiver() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded(1);
        let operation = choose_send(&sender);
        let watching = runtime.spawn({
            let sender = sender.clone();
            move || {
                let mut list = Select::new();
                list.send(&sender);
                list.ready()
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        let receiving = runtime.spawn(move || (receiver.recv(), receiver));
        until_waiting(runtime.handle(), WaitReason::ChannelReceive, 1);
        operation.send(&sender, 1).unwrap();
        let (received, _receiver) = receiving.join().unwrap();
        assert_eq!(received, Ok(1));
        // The channel is empty, all of its places free.
        assert_eq!(finishes("it can send", watching), 0);
    });
}

// Breaks if one who waits until there is a message is not told of that of a sender that got a place which was
// given up.
#[test]
fn watching_receiver_is_told_of_message_in_place_given_up() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded(1);
        let operation = choose_send(&sender);
        let watching = runtime.spawn({
            let receiver = receiver.clone();
            move || {
                let mut list = Select::new();
                list.recv(&receiver);
                list.ready()
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        let sending = runtime.spawn({
            let sender = sender.clone();
            move || sender.send(1).unwrap()
        });
        until_waiting(runtime.handle(), WaitReason::ChannelSend, 1);
        give_up(operation);
        finishes("it was sent", sending);
        assert_eq!(receiver.len(), 1);
        assert_eq!(finishes("there is a message", watching), 0);
    });
}

// Breaks if a select with a timeout, or with other cases, waits without a limit in the one channel whose sender
// went back on its choice.
#[test]
fn timeout_holds_when_partner_gives_up() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = bounded::<u8>(0);
        let sending = runtime.spawn({
            let sender = sender.clone();
            move || {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    select! {
                        send(sender, broken()) -> _ => {}
                        recv(never::<()>()) -> _ => {}
                    }
                }));
                assert!(result.is_err());
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        let (_other, others) = bounded::<u8>(1);
        let receiving = runtime.spawn(move || {
            select! {
                recv(receiver) -> _ => false,
                recv(others) -> _ => false,
                default(Duration::from_millis(1)) => true,
            }
        });
        sending.join().unwrap();
        assert!(finishes("the time has passed", receiving));
        drop(sender);
    });
}

// Breaks if messages that two selects had fetched come back in another order than that in which they were sent.
#[test]
fn messages_come_back_in_order() {
    in_time(|| {
        let (sender, receiver) = unbounded();
        (1..=3).for_each(|i| sender.send(i).unwrap());
        let (first, second) = (choose_receive(&receiver), choose_receive(&receiver));
        give_up(first);
        give_up(second);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    });
}

// Breaks if a channel that holds one more than its capacity, since a message came back, is not full.
#[test]
fn overfull_channel_is_full() {
    in_time(|| {
        for capacity in [0, 1] {
            let (sender, receiver) = bounded(capacity);
            let sending = thread::spawn({
                let sender = sender.clone();
                move || (0..=capacity).for_each(|i| sender.send(i).unwrap())
            });
            if capacity == 1 {
                eventually("it has sent one", || receiver.len() == 1);
            }
            let operation = choose_receive(&receiver);
            sending.join().unwrap();
            give_up(operation);
            assert_eq!(receiver.len(), capacity + 1);
            assert!(sender.is_full() && receiver.is_full());
            assert!(sender.try_send(9).is_err());
        }
    });
}

// Breaks if a moment that a select had fetched is lost.
#[test]
fn moment_comes_back() {
    in_time(|| {
        let alarm = after(Duration::ZERO);
        give_up(choose_receive(&alarm));
        assert!(alarm.try_recv().is_ok());
    });
}
