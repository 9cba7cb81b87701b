//! The syntax of `select!`, in routines.

use std::cell::Cell;
use std::time::Duration;

use rust_routines::channel::{
    Receiver, RecvError, Sender, bounded, never, rr_select, select, select_biased, unbounded,
};
use rust_routines::spawn;

use super::util::bounded as in_time;

/// Runs `check` on this thread and once more in a routine.
fn both_worlds(check: impl Fn() + Send + Clone + 'static) {
    in_time(|| {
        check();
        spawn(check.clone()).join().unwrap();
    });
}

// Breaks if a body cannot leave what is around the macro.
#[test]
fn bodies_break_continue_and_return() {
    fn sum(receiver: &Receiver<i32>) -> Result<i32, RecvError> {
        let mut sum = 0;
        'all: loop {
            for _ in 0..2 {
                let number = select! {
                    recv(receiver) -> number => match number? {
                        0 => continue,
                        1 => break,
                        2 => continue 'all,
                        3 => break 'all,
                        4 => return Ok(-1),
                        number => number,
                    },
                    recv(never::<()>()) -> _ => unreachable!(),
                };
                sum += number;
            }
            sum += 100;
        }
        Ok(sum)
    }
    both_worlds(|| {
        let run = |numbers: &[i32]| {
            let (sender, receiver) = unbounded();
            numbers.iter().for_each(|number| sender.send(*number).unwrap());
            drop(sender);
            sum(&receiver)
        };
        assert_eq!(run(&[10, 11, 3]), Ok(121));
        assert_eq!(run(&[10, 0, 1, 2, 3]), Ok(210));
        assert_eq!(run(&[10, 4]), Ok(-1));
        assert_eq!(run(&[10]), Err(RecvError));
    });
}

// Breaks if what a case's expressions make is dropped before the body is over, or made more than once.
#[test]
fn temporaries_live_and_are_made_once() {
    struct Ends(Vec<(Sender<u8>, Receiver<u8>)>);
    impl Ends {
        fn sender(&self) -> &Sender<u8> {
            &self.0[0].0
        }
    }
    both_worlds(|| {
        let made = Cell::new(0);
        let make = |number: u8| {
            made.set(made.get() + 1);
            number
        };
        let evaluated = Cell::new(0);
        let count = |order| {
            assert_eq!(evaluated.replace(order), order - 1, "in order, and once");
            Ends(vec![bounded(1), bounded(1)])
        };
        let sent = select_biased! {
            recv(count(1).0.remove(1).1) -> message => message.map(|_| 0),
            recv(&count(2).0[0].1) -> message => message.map(|_| 0),
            send(count(3).sender(), make(9)) -> _ => Ok(1),
        };
        // The other ends live, so that only the last case is ready.
        assert_eq!((sent, evaluated.get(), made.replace(0)), (Ok(1), 3, 1));

        let (sender, receiver) = bounded(1);
        for i in 0..4 {
            select! {
                send(sender, make(i)) -> sent => assert!(sent.is_ok()),
                recv(receiver) -> message => assert_eq!(message, Ok(i - 1)),
            }
        }
        assert_eq!(made.get(), 2);
    });
}

// Breaks if a body cannot have the handle or what it borrows, as the operation is over.
#[test]
fn bodies_move_handles() {
    both_worlds(|| {
        let (sender, receiver) = bounded::<String>(1);
        let sender = select! {
            send(sender, "a".to_owned()) -> sent => {
                sent.unwrap();
                sender
            }
            recv(never::<()>()) -> _ => unreachable!(),
        };
        let texts = select! {
            recv(receiver) -> text => {
                drop(sender);
                let mut texts = vec![text.unwrap()];
                texts.extend(receiver);
                texts
            }
        };
        assert_eq!(texts, ["a"]);
    });
}

// Breaks if names in bodies and expressions clash with those that the macro makes.
#[test]
fn names_do_not_clash() {
    both_worlds(|| {
        let (handle, operation) = bounded(1);
        let (index, operations, message) = (1, 2, 3);
        let result = select! {
            send(handle, index + operations + message) -> handle => {
                handle.unwrap();
                index
            }
            recv(operation) -> index => index.unwrap(),
        };
        assert_eq!(result, 1);
        let result = select! { recv(operation) -> operation => operation.unwrap() + operations };
        assert_eq!(result, 8);
    });
}

// Breaks if one of the allowed ways to write a case is not understood.
#[test]
fn commas_blocks_and_defaults() {
    both_worlds(|| {
        let (sender, receiver) = bounded(1);
        let quiet = never::<()>();
        select! { recv(quiet) -> _ => {} default => {} }
        select! { recv(quiet,) -> _ => {}, default() => (), }
        select! { default => {} recv(quiet) -> _ => unreachable!() }
        select! { default(Duration::ZERO,) => {}, recv(&quiet) -> _ => {} }
        select! { send(sender, 1,) -> _ => {} recv(quiet) -> _ => {} default(Duration::ZERO) => {} }
        let Ok(one) = (select! { recv(receiver) -> message => message, }) else { unreachable!() };
        assert_eq!(one, 1);
        let two = rr_select! { recv(receiver) -> _ => 1, default => 2 };
        assert_eq!(two, 2);
        let nested = select_biased! {
            recv(quiet) -> _ => 1,
            default => select! { recv(receiver) -> _ => 2, default => 3 },
        };
        assert_eq!(nested, 3);
        select! { default => {} }
        select! { default(Duration::from_micros(1)) => {} }
        select! { send(sender, 2) -> (Ok(()) | Err(_)) => {} }
    });
}

// Breaks if the number of cases is limited, or the wrong one of many is carried out.
#[test]
fn thirty_three_cases() {
    both_worlds(|| {
        let ends: Vec<_> = (0..33).map(|_| bounded(1)).collect();
        for (i, (sender, _)) in ends.iter().enumerate() {
            sender.send(i).unwrap();
            let chosen = select! {
                    recv(ends[0].1) -> message => (0, message),
                    recv(ends[1].1) -> message => (1, message),
                    recv(ends[2].1) -> message => (2, message),
                    recv(ends[3].1) -> message => (3, message),
                    recv(ends[4].1) -> message => (4, message),
                    recv(ends[5].1) -> message => (5, message),
                    recv(ends[6].1) -> message => (6, message),
                    recv(ends[7].1) -> message => (7, message),
                    recv(ends[8].1) -> message => (8, message),
                    recv(ends[9].1) -> message => (9, message),
                    recv(ends[10].1) -> message => (10, message),
                    recv(ends[11].1) -> message => (11, message),
                    recv(ends[12].1) -> message => (12, message),
                    recv(ends[13].1) -> message => (13, message),
                    recv(ends[14].1) -> message => (14, message),
                    recv(ends[15].1) -> message => (15, message),
                    recv(ends[16].1) -> message => (16, message),
                    recv(ends[17].1) -> message => (17, message),
                    recv(ends[18].1) -> message => (18, message),
                    recv(ends[19].1) -> message => (19, message),
                    recv(ends[20].1) -> message => (20, message),
                    recv(ends[21].1) -> message => (21, message),
                    recv(ends[22].1) -> message => (22, message),
                    recv(ends[23].1) -> message => (23, message),
                    recv(ends[24].1) -> message => (24, message),
                    recv(ends[25].1) -> message => (25, message),
                    recv(ends[26].1) -> message => (26, message),
                    recv(ends[27].1) -> message => (27, message),
                    recv(ends[28].1) -> message => (28, message),
                    recv(ends[29].1) -> message => (29, message),
                    recv(ends[30].1) -> message => (30, message),
                    recv(ends[31].1) -> message => (31, message),
                    recv(ends[32].1) -> message => (32, message),
            };
            assert_eq!(chosen, (i, Ok(i)));
        }
    });
}

// Breaks if a body beside a `default`, or that itself, cannot have the handles.
#[test]
fn bodies_move_handles_beside_default() {
    both_worlds(|| {
        let (_sender, receiver) = bounded::<u8>(1);
        select! {
            recv(receiver) -> _ => drop(receiver),
            default => drop(receiver),
        }
        let mut held = Some(bounded::<u8>(1));
        select! {
            recv(held.as_ref().unwrap().1) -> _ => unreachable!("nobody sends"),
            default(Duration::ZERO) => held = None,
        }
        assert!(held.is_none());
    });
}
