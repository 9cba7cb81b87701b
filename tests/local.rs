//! `routine_local!`: a value per routine, and its end.

mod util;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use rust_routines::channel::unbounded;
use rust_routines::{JoinHandle, WaitReason, current, routine_local, sleep, spawn, yield_now};
use util::{OnDrop, both_worlds, bounded as in_time, runtime, until_waiting};

routine_local! {
    static NUMBER: Cell<u32> = Cell::new(1);
    static LIST: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static SLOT: RefCell<Vec<Box<dyn std::any::Any>>> = RefCell::new(Vec::new());
    static OTHER: RefCell<Vec<Box<dyn std::any::Any>>> = RefCell::new(Vec::new());
}

/// Puts something that is dropped when the locals of the caller are.
fn keep(value: impl std::any::Any) {
    SLOT.with(|slot| slot.borrow_mut().push(Box::new(value)));
}

/// Fails if routines share values, or a value does not outlast waits.
#[test]
fn every_routine_has_its_own() {
    in_time(|| {
        let runtime = runtime(2);
        let routines: Vec<_> = (0..100)
            .map(|i| {
                runtime.spawn(move || {
                    assert_eq!(NUMBER.with(Cell::get), 1);
                    NUMBER.with(|number| number.set(i));
                    for turn in 0..5 {
                        LIST.with(|list| list.borrow_mut().push(i + turn));
                        yield_now();
                    }
                    sleep(Duration::from_millis(1));
                    assert_eq!(LIST.with(|list| list.borrow().clone()).len(), 5);
                    NUMBER.with(Cell::get)
                })
            })
            .collect();
        for (i, routine) in (0..).zip(routines) {
            assert_eq!(routine.join().unwrap(), i);
        }
        runtime.shutdown();
    });
}

/// Fails if a plain thread has no values of its own, or they outlive it.
#[test]
fn threads_have_their_own() {
    in_time(|| {
        NUMBER.with(|number| number.set(17));
        let dropped = thread::spawn(|| {
            assert_eq!(NUMBER.with(Cell::get), 1);
            let (sender, receiver) = mpsc::channel();
            keep(OnDrop(move || sender.send(thread::current().id()).unwrap()));
            (receiver, thread::current().id())
        });
        let (receiver, id) = dropped.join().unwrap();
        assert_eq!(receiver.recv().unwrap(), id);
        assert_eq!(spawn(|| NUMBER.with(Cell::get)).join().unwrap(), 1);
        assert_eq!(NUMBER.with(Cell::get), 17);
    });
}

/// Fails if an initialiser that uses its own local leaves two values, or another one than std's does: the last that was
/// made stays.
#[test]
fn an_initialiser_may_use_its_own_local() {
    routine_local! {
        static DEPTH: Cell<u32> = Cell::new(0);
        static VALUE: (u32, Cell<&'static str>) = {
            let depth = DEPTH.replace(DEPTH.get() + 1);
            if depth < 2 {
                VALUE.with(|(inner, _)| assert_eq!(*inner, depth + 1));
            }
            (depth, Cell::new("new"))
        };
    }
    both_worlds(|| {
        VALUE.with(|(_, text)| text.set("changed"));
        assert_eq!(VALUE.with(|(depth, text)| (*depth, text.get())), (0, "changed"));
    });
}

/// Fails if what std's keys of cells can do is missing or something else: setting makes a value without the
/// initialiser, and drops the old one where that may use the local.
#[test]
fn cells_are_used_without_a_closure() {
    routine_local! {
        static COUNT: Cell<u32> = Cell::new(41);
        static UNUSED: Cell<u32> = panic!("is not wanted");
        static NAMES: RefCell<Vec<&'static str>> = RefCell::new(vec!["Ada"]);
        static NOBODY: RefCell<Option<OnDrop<fn()>>> = panic!("is not wanted");
    }
    in_time(|| {
        let check = || {
            UNUSED.set(3);
            assert_eq!(
                (UNUSED.get(), UNUSED.replace(4), UNUSED.take(), UNUSED.get()),
                (3, 3, 4, 0)
            );
            COUNT.set(COUNT.get() + 1);
            assert_eq!(COUNT.get(), 42);

            assert_eq!(NAMES.with_borrow(Vec::len), 1);
            NAMES.with_borrow_mut(|names| names.push("Grace"));
            assert_eq!(NAMES.replace(vec!["Edsger"]), ["Ada", "Grace"]);
            assert_eq!(NAMES.take(), ["Edsger"]);
            assert!(NAMES.with_borrow(Vec::is_empty));
            NOBODY.set(Some(OnDrop(|| NOBODY.with_borrow(|now| assert!(now.is_none())))));
            NOBODY.set(None);
        };
        thread::spawn(check).join().unwrap();
        spawn(check).join().unwrap();
    });
}

/// Fails if the destructors of a thread's values cannot use other values, as `thread_local!`'s can.
#[test]
fn destructor_on_thread_uses_another_local() {
    in_time(|| {
        let (sender, receiver) = mpsc::channel();
        let ended = thread::spawn(move || {
            keep(OnDrop(move || sender.send(NUMBER.try_with(Cell::get).is_ok()).unwrap()));
            NUMBER.with(Cell::get);
        });
        ended.join().unwrap();
        assert_eq!(receiver.recv(), Ok(true));
    });
}

/// Fails if values die before, or elsewhere than on, their routine, or after its end was announced.
#[test]
fn destructors_run_at_the_end_on_the_routine() {
    in_time(|| {
        let runtime = runtime(2);
        let (sender, receiver) = unbounded();
        let routine = runtime.spawn(move || {
            let me = (current().id(), thread::current().id());
            keep(OnDrop(move || {
                yield_now();
                sender.send((current().id(), thread::current().id())).unwrap();
            }));
            let body = OnDrop(|| assert_eq!(SLOT.with(|slot| slot.borrow().len()), 1));
            yield_now();
            drop(body);
            me
        });
        let me = routine.join().unwrap();
        assert_eq!(receiver.try_recv(), Ok(me));
        runtime.shutdown();
    });
}

/// Fails if values are not dropped in the order of their creation.
#[test]
fn destruction_is_in_order_of_creation() {
    in_time(|| {
        let (sender, receiver) = unbounded();
        let routine = spawn(move || {
            let other = sender.clone();
            SLOT.with(|slot| {
                slot.borrow_mut().push(Box::new(OnDrop(move || sender.send(1).unwrap())))
            });
            OTHER.with(|slot| {
                slot.borrow_mut().push(Box::new(OnDrop(move || other.send(2).unwrap())))
            });
        });
        routine.join().unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
    });
}

/// Fails if a destructor finds other values unusable, or the ones it creates are never dropped.
#[test]
fn destructor_uses_and_creates_other_locals() {
    in_time(|| {
        let (sender, receiver) = unbounded();
        let routine = spawn(move || {
            keep(OnDrop(move || {
                NUMBER.with(|number| number.set(number.get() + 1));
                let sender = sender.clone();
                OTHER.with(|slot| {
                    slot.borrow_mut().push(Box::new(OnDrop(move || {
                        sender.send(current().name().is_none()).unwrap();
                    })));
                });
            }));
        });
        routine.join().unwrap();
        assert_eq!(receiver.try_recv(), Ok(true));
    });
}

/// Fails if destructors that keep making values keep the routine from ending, or if what is given up
/// is dropped by somebody else.
#[test]
fn endless_destruction_is_given_up() {
    struct Hydra(ThreadId);
    impl Drop for Hydra {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0, "dropped on another thread");
            keep(Hydra(self.0));
        }
    }
    in_time(|| {
        let routine = spawn(|| keep(Hydra(thread::current().id())));
        routine.join().unwrap();
    });
}

/// Fails if a panic in a destructor does not come out of `join`, or keeps others from running.
#[test]
fn panicking_destructor_comes_out_of_join() {
    in_time(|| {
        let runtime = runtime(1);
        let (sender, receiver) = unbounded();
        let routine = runtime.spawn(move || {
            keep(OnDrop(|| std::panic::resume_unwind(Box::new("from a local"))));
            OTHER.with(|slot| {
                slot.borrow_mut().push(Box::new(OnDrop(move || sender.send(()).unwrap())))
            });
        });
        assert_eq!(util::message(&*routine.join().unwrap_err()), "from a local");
        assert_eq!(receiver.try_recv(), Ok(()));
        // The routine's own panic comes first.
        let routine: JoinHandle<()> = runtime.spawn(|| {
            keep(OnDrop(|| std::panic::resume_unwind(Box::new("from a local"))));
            std::panic::resume_unwind(Box::new("from the body"));
        });
        assert_eq!(util::message(&*routine.join().unwrap_err()), "from the body");
        assert_eq!(runtime.spawn(|| NUMBER.with(Cell::get)).join().unwrap(), 1);
        runtime.shutdown();
    });
}

thread_local! {
    static OF_WORKER: Rc<Cell<u32>> = Rc::new(Cell::new(0));
}

/// Not `Send`, and says so: it must die where it was made.
struct Homebound {
    _shared: Rc<Cell<u32>>,
    home: ThreadId,
    report: mpsc::Sender<bool>,
}

impl Homebound {
    fn new(report: mpsc::Sender<bool>) -> Self {
        Self { _shared: OF_WORKER.with(Rc::clone), home: thread::current().id(), report }
    }
}

impl Drop for Homebound {
    fn drop(&mut self) {
        let _ = self.report.send(thread::current().id() == self.home);
    }
}

/// What one expects of a homebound value: dropped at home, or not at all.
fn assert_came_home(reports: &mpsc::Receiver<bool>) {
    for at_home in reports.iter() {
        assert!(at_home, "a value that is not Send was dropped on another thread");
    }
}

/// Fails if a value that a panicking destructor has created is dropped on the thread of the joiner,
/// which for values that are not `Send` is undefined behaviour.
#[test]
fn value_made_by_panicking_destructor_stays_home() {
    in_time(|| {
        let runtime = runtime(1);
        let (report, reports) = mpsc::channel();
        let routine = runtime.spawn(move || {
            keep(OnDrop(move || {
                let homebound = Homebound::new(report.clone());
                OTHER.with(|slot| slot.borrow_mut().push(Box::new(homebound)));
                std::panic::resume_unwind(Box::new(()));
            }));
        });
        routine.join().unwrap_err();
        runtime.shutdown();
        assert_came_home(&reports);
    });
}

/// Fails if a value that is created while the result of a detached routine is dropped dies elsewhere.
#[test]
fn value_made_by_unwanted_result_stays_home() {
    in_time(|| {
        let runtime = runtime(1);
        let (report, reports) = mpsc::channel();
        let (detached, gate) = unbounded::<()>();
        let routine = runtime.spawn(move || {
            gate.recv().unwrap();
            OnDrop(move || {
                let homebound = Homebound::new(report.clone());
                SLOT.with(|slot| slot.borrow_mut().push(Box::new(homebound)));
            })
        });
        let last = routine.routine().clone();
        drop(routine);
        detached.send(()).unwrap();
        runtime.shutdown();
        drop(last);
        assert_came_home(&reports);
    });
}

/// Fails if a value that is created while an unstarted routine is discarded dies elsewhere.
#[test]
fn value_made_by_discarded_closure_stays_home() {
    in_time(|| {
        let runtime = runtime(1);
        let (report, reports) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        let hog = runtime.spawn(move || {
            let guard = OnDrop(move || {
                let homebound = Homebound::new(report.clone());
                SLOT.with(|slot| slot.borrow_mut().push(Box::new(homebound)));
            });
            let unstarted = spawn(move || drop(guard));
            sender.send(unstarted.routine().clone()).unwrap();
            drop(unstarted);
            // Not a wait: shutdown comes while the other one has not started.
            util::hog(Duration::from_millis(5), || false);
            sleep(Duration::MAX);
        });
        let last = receiver.recv().unwrap();
        runtime.shutdown_timeout(Duration::ZERO);
        drop(hog);
        drop(last);
        assert_came_home(&reports);
    });
}

/// Fails if the values of a routine that shutdown unwinds are not dropped by it.
#[test]
fn canceled_routine_drops_its_locals() {
    in_time(|| {
        let runtime = runtime(1);
        let (report, reports) = mpsc::channel();
        let routine = runtime.spawn(move || {
            keep(Homebound::new(report));
            sleep(Duration::MAX);
        });
        until_waiting(runtime.handle(), WaitReason::Sleep, 1);
        runtime.shutdown_timeout(Duration::ZERO);
        assert!(routine.join().is_err());
        assert_eq!(reports.try_recv(), Ok(true));
    });
}
