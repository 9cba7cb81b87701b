//! Signals as messages. They belong to the process, so the tests here take turns.

mod util;

use std::os::unix::process::ExitStatusExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rust_routines::channel::{Receiver, TryRecvError, after, never, select};
use rust_routines::process::Command;
use rust_routines::signal::{self, Signal};
use rust_routines::{WaitReason, spawn};
use util::{
    PATIENCE, both_worlds, bounded as in_time, child, error_kind, is_child, runtime, text,
    until_waiting,
};

/// One test at a time.
fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn raise(signal: Signal) {
    // SAFETY: takes no pointers. The signals that are raised here are all received.
    assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
}

/// Waits until all signals that were raised so far have been passed on.
fn settle() {
    let settled = signal::receiver(&[Signal::WINCH]).unwrap();
    // The first may have been seen before others that were raised earlier, the second not.
    for _ in 0..2 {
        raise(Signal::WINCH);
        assert_eq!(settled.recv_timeout(PATIENCE), Ok(Signal::WINCH));
    }
}

#[track_caller]
fn assert_empty<T: std::fmt::Debug + PartialEq>(receiver: &Receiver<T>) {
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

/// Fails if a signal does not arrive, or comes more often than it was raised.
#[test]
fn each_receiver_gets_each_signal() {
    let _turn = my_turn();
    both_worlds(|| {
        let one = signal::receiver(&[Signal::USR1]).unwrap();
        let other = signal::receiver(&[Signal::USR2, Signal::USR1, Signal::USR1]).unwrap();
        let deaf = signal::receiver(&[]).unwrap();
        for _ in 0..20 {
            raise(Signal::USR1);
            assert_eq!(one.recv_timeout(PATIENCE), Ok(Signal::USR1));
            assert_eq!(other.recv_timeout(PATIENCE), Ok(Signal::USR1));
            raise(Signal::USR2);
            assert_eq!(other.recv_timeout(PATIENCE), Ok(Signal::USR2));
        }
        settle();
        assert_empty(&one);
        assert_empty(&other);
        assert_empty(&deaf);
    });
}

/// Fails if signals pile up where nobody receives them, or one kind pushes another out.
#[test]
fn signals_of_a_kind_merge() {
    let _turn = my_turn();
    both_worlds(|| {
        let kinds = [Signal::USR1, Signal::USR2, Signal::HUP];
        let receiver = signal::receiver(&kinds).unwrap();
        for _ in 0..10 {
            raise(Signal::USR1);
            settle();
        }
        raise(Signal::HUP);
        raise(Signal::HUP);
        settle();
        raise(Signal::USR2);
        settle();
        let mut received: Vec<_> = receiver.try_iter().collect();
        assert_eq!(received, [Signal::USR1, Signal::HUP, Signal::USR2]);
        // What was received has room again, whatever is in there besides.
        raise(Signal::USR2);
        settle();
        raise(Signal::USR1);
        settle();
        assert_eq!(receiver.recv(), Ok(Signal::USR2));
        raise(Signal::USR2);
        raise(Signal::USR1);
        settle();
        received = receiver.try_iter().collect();
        assert_eq!(received, [Signal::USR1, Signal::USR2]);
    });
}

/// Fails if a signal cannot be waited for beside other things, or a waiting routine holds its worker.
#[test]
fn select_over_signals() {
    let _turn = my_turn();
    in_time(|| {
        let runtime = runtime(1);
        let routine = runtime.spawn(|| {
            let stop = signal::ctrl_c().unwrap();
            let silent = never::<()>();
            select! {
                recv(silent) -> _ => unreachable!(),
                recv(stop) -> stopped => stopped.unwrap(),
            }
            select! {
                recv(stop) -> _ => panic!("once is enough"),
                recv(after(Duration::from_millis(1))) -> _ => {}
            }
        });
        until_waiting(runtime.handle(), WaitReason::Select, 1);
        runtime.spawn(|| ()).join().unwrap();
        raise(Signal::INT);
        routine.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a signal reaches the routines of one runtime only.
#[test]
fn several_runtimes() {
    let _turn = my_turn();
    in_time(|| {
        let runtimes = [runtime(1), runtime(2)];
        for _ in 0..3 {
            let routines: Vec<_> = runtimes
                .iter()
                .flat_map(|runtime| [runtime, runtime])
                .map(|runtime| {
                    let receiver = signal::receiver(&[Signal::USR1]).unwrap();
                    runtime.spawn(move || receiver.recv())
                })
                .collect();
            for runtime in &runtimes {
                until_waiting(runtime.handle(), WaitReason::ChannelReceive, 2);
            }
            raise(Signal::USR1);
            for routine in routines {
                assert_eq!(routine.join().unwrap(), Ok(Signal::USR1));
            }
        }
        // One goes, with somebody who waits.
        let [gone, stays] = runtimes;
        let receiver = signal::receiver(&[Signal::USR1]).unwrap();
        let unwound = gone.spawn(move || receiver.recv());
        until_waiting(gone.handle(), WaitReason::ChannelReceive, 1);
        drop(gone);
        assert!(unwound.join().is_err());
        let receiver = signal::receiver(&[Signal::USR1]).unwrap();
        raise(Signal::USR1);
        assert_eq!(stays.spawn(move || receiver.recv()).join().unwrap(), Ok(Signal::USR1));
        stays.shutdown();
    });
}

/// Fails if receivers that are gone keep others from their signals.
#[test]
fn dropped_receivers_are_forgotten() {
    let _turn = my_turn();
    both_worlds(|| {
        let stays = signal::receiver(&[Signal::USR1]).unwrap();
        for _ in 0..1_000 {
            drop(signal::receiver(&[Signal::USR1]).unwrap());
        }
        raise(Signal::USR1);
        assert_eq!(stays.recv_timeout(PATIENCE), Ok(Signal::USR1));
        assert_eq!(util::threads_named("rust-routines-s").len(), 1);
    });
}

/// Fails if a signal that nobody can receive panics, hangs or is accepted.
#[test]
fn what_cannot_be_received() {
    let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
    for number in [libc::SIGKILL, libc::SIGSTOP, 0, -1, 65, 129, i32::MAX].into_iter().chain(faults)
    {
        let result = signal::receiver(&[Signal::USR1, Signal::from_raw(number)]);
        assert_eq!(error_kind(result), Some(std::io::ErrorKind::InvalidInput), "{number}");
    }
    // The C library's own.
    assert!(signal::receiver(&[Signal::from_raw(32)]).is_err());
}

/// Fails if signals without a name are not signals.
#[test]
fn realtime_signals() {
    let _turn = my_turn();
    in_time(|| {
        let signal = Signal::from_raw(libc::SIGRTMIN() + 3);
        let receiver = signal::receiver(&[signal]).unwrap();
        raise(signal);
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(signal));
    });
}

/// Fails if a signal is not called what everybody calls it.
#[test]
fn names() {
    assert_eq!(Signal::INT.to_string(), "SIGINT");
    assert_eq!(format!("{:?}", Signal::USR1), "SIGUSR1");
    assert_eq!(Signal::from_raw(50).to_string(), "signal 50");
}

/// Fails if a child inherits that its parent catches a signal.
#[test]
fn children_start_with_the_defaults() {
    let _turn = my_turn();
    in_time(|| {
        let _receiver = signal::receiver(&[Signal::USR1]).unwrap();
        let kill = || Command::new("sh").args(["-c", "kill -USR1 $$"]).status().unwrap();
        assert_eq!(kill().signal(), Some(libc::SIGUSR1));
        assert_eq!(spawn(kill).join().unwrap().signal(), Some(libc::SIGUSR1));
    });
}

/// Fails if the end of the last receiver brings the default back: it is documented not to.
#[test]
fn default_is_gone_for_good() {
    if !is_child() {
        let output = child("default_is_gone_for_good", &[]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    in_time(|| {
        drop(signal::receiver(&[Signal::TERM]).unwrap());
        raise(Signal::TERM);
        settle();
    });
}
