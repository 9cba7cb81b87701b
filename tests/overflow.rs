//! What a process says when a routine's stack overflows, and that every other fault is as it was.
//!
//! Every body runs in a process of its own, which it kills.

use std::hint::black_box;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzEncoder;
use rust_routines::channel::bounded;
use rust_routines::{Builder, Runtime, sleep, spawn};

use self::support::child::{Ended, in_child};
use self::support::chosen::builder;

mod support {
    pub(crate) mod child;
    pub(crate) mod chosen;
}

const LIMIT: Duration = Duration::from_secs(30);

/// What a routine has if nothing is said.
const DEFAULT_STACK: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 10 };

#[expect(unconditional_recursion, reason = "it is to overflow")]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + black_box(frame)[0]
}

fn overflow() {
    black_box(recurse(0));
}

fn null_access() {
    // SAFETY: none; it is to fault.
    unsafe { black_box(ptr::null::<u8>()).read_volatile() };
}

fn runtime() -> Runtime {
    builder().workers(2).build().expect("a runtime")
}

/// A signal killed the process. Returns what it said before.
#[track_caller]
fn assert_killed(ended: &Ended, signal: libc::c_int) -> &str {
    assert!(ended.status.signal() == Some(signal), "{}:\n{}", ended.status, ended.errors);
    &ended.errors
}

/// The process was aborted with exactly one report, which says who, where from and how much.
#[track_caller]
fn assert_reported(ended: &Ended, who: &str, line: u32, stack: usize) {
    let report: Vec<_> = assert_killed(ended, libc::SIGABRT).lines().collect();
    let [report] = report[..] else { panic!("not one line: {report:#?}") };
    let (start, rest) = report.split_once(" (id ").expect("a number");
    assert_eq!(start, who);
    let (number, rest) = rest.split_once("), spawned at ").expect("a spawn site");
    assert!(number.parse::<u64>().is_ok(), "{report}");
    let (site, rest) = rest.split_once(", ").expect("an end");
    assert!(site.starts_with(&format!("{}:{line}:", file!())), "{report}");
    let end = format!(
        "has overflowed its stack of {stack} bytes; \
         give it more with Builder::stack_size, or all with RuntimeBuilder::stack_size"
    );
    assert_eq!(rest, end);
}

// Breaks if the report lacks the name or the site, or the process ends in another way.
#[test]
fn the_overflow_of_a_named_routine_is_reported() {
    const LINE: u32 = line!() + 4;
    let test = "the_overflow_of_a_named_routine_is_reported";
    let ended = in_child(test, LIMIT, || {
        let runtime = runtime();
        let routine = Builder::new().name("deep".into()).spawn_on(runtime.handle(), overflow);
        routine.expect("a routine").join().expect("never");
    });
    assert_reported(&ended, "routine 'deep'", LINE, DEFAULT_STACK);
}

// Breaks if a name is needed for the report, or the runtime's own spawn hides its caller.
#[test]
fn the_overflow_of_a_routine_without_a_name_is_reported() {
    const LINE: u32 = line!() + 3;
    let test = "the_overflow_of_a_routine_without_a_name_is_reported";
    let ended = in_child(test, LIMIT, || {
        runtime().spawn(overflow).join().expect("never");
    });
    assert_reported(&ended, "routine", LINE, DEFAULT_STACK);
}

// Breaks if the free function hides its caller, or the global runtime lacks the handler.
#[test]
fn the_overflow_of_a_routine_of_the_global_runtime_is_reported() {
    const LINE: u32 = line!() + 3;
    let test = "the_overflow_of_a_routine_of_the_global_runtime_is_reported";
    let ended = in_child(test, LIMIT, || {
        spawn(overflow).join().expect("never");
    });
    assert_reported(&ended, "routine", LINE, DEFAULT_STACK);
}

// Breaks if the size in the report is not the routine's own, or its guard is not watched.
#[test]
fn the_overflow_of_a_stack_of_its_own_size_is_reported() {
    const LINE: u32 = line!() + 4;
    let test = "the_overflow_of_a_stack_of_its_own_size_is_reported";
    let ended = in_child(test, LIMIT, || {
        let options = Builder::new().name("own".into()).stack_size(512 * 1024);
        options.spawn_on(runtime().handle(), overflow).expect("a routine").join().expect("never");
    });
    assert_reported(&ended, "routine 'own'", LINE, 512 * 1024);
}

// Breaks if the runtime's default is not what its routines get.
#[test]
fn the_overflow_of_a_stack_of_the_runtime_s_size_is_reported() {
    const LINE: u32 = line!() + 4;
    let test = "the_overflow_of_a_stack_of_the_runtime_s_size_is_reported";
    let ended = in_child(test, LIMIT, || {
        let runtime = builder().workers(1).stack_size(64 * 1024).build().expect("a runtime");
        runtime.spawn(overflow).join().expect("never");
    });
    assert_reported(&ended, "routine", LINE, 64 * 1024);
}

// Breaks if the report names whoever ran before: many routines have run and parked on the worker, the
// overflow comes after a wait, in a routine spawned by another.
#[test]
fn the_report_names_the_right_one_among_many() {
    const LINE: u32 = line!() + 14;
    let test = "the_report_names_the_right_one_among_many";
    let ended = in_child(test, LIMIT, || {
        let runtime = builder().workers(1).build().expect("a runtime");
        let (sender, receiver) = bounded::<()>(0);
        let root = runtime.spawn(move || {
            let others: Vec<_> = (0..100)
                .map(|number| {
                    let receiver = receiver.clone();
                    let options = Builder::new().name(format!("other {number}"));
                    options.spawn(move || receiver.recv().is_err()).expect("a routine")
                })
                .collect();
            sleep(Duration::from_millis(1));
            let culprit = Builder::new().name("culprit".into()).spawn(|| {
                sleep(Duration::from_millis(1));
                overflow();
            });
            culprit.expect("a routine").join().expect("never");
            others
        });
        root.join().expect("never");
        drop(sender);
    });
    assert_reported(&ended, "routine 'culprit'", LINE, DEFAULT_STACK);
}

// Breaks if an overflow while a panic unwinds the routine's stack is not recognised.
#[test]
fn an_overflow_in_a_destructor_during_a_panic_is_reported() {
    struct Deep;

    impl Drop for Deep {
        fn drop(&mut self) {
            overflow();
        }
    }

    const LINE: u32 = line!() + 4;
    let test = "an_overflow_in_a_destructor_during_a_panic_is_reported";
    let ended = in_child(test, LIMIT, || {
        let runtime = runtime();
        let routine = runtime.spawn(|| {
            let _deep = Deep;
            // No panic hook, so the report is all there is to read.
            std::panic::resume_unwind(Box::new(()));
        });
        routine.join().expect("never");
    });
    assert_reported(&ended, "routine", LINE, DEFAULT_STACK);
}

// Breaks if faults in a routine are taken for overflows because they are in a routine.
#[test]
fn a_null_dereference_in_a_routine_is_a_segmentation_fault() {
    let test = "a_null_dereference_in_a_routine_is_a_segmentation_fault";
    let ended = in_child(test, LIMIT, || {
        let _ = runtime().spawn(null_access).join();
    });
    assert_eq!(assert_killed(&ended, libc::SIGSEGV), "");
}

// Breaks if a runtime changes how threads that have nothing to do with it die.
#[test]
fn a_null_dereference_in_a_thread_is_a_segmentation_fault() {
    let test = "a_null_dereference_in_a_thread_is_a_segmentation_fault";
    let ended = in_child(test, LIMIT, || {
        let runtime = runtime();
        runtime.spawn(|| ()).join().expect("a routine");
        let _ = thread::spawn(null_access).join();
    });
    assert_eq!(assert_killed(&ended, libc::SIGSEGV), "");
}

// Breaks if the guards of stacks that nobody overflows are reported as somebody's overflow.
#[test]
fn a_wild_access_to_another_stack_s_guard_is_a_segmentation_fault() {
    let test = "a_wild_access_to_another_stack_s_guard_is_a_segmentation_fault";
    let ended = in_child(test, LIMIT, || {
        let runtime = builder().workers(1).build().expect("a runtime");
        let (sender, receiver) = bounded::<usize>(0);
        let (_hold, held) = bounded::<()>(0);
        let _parked = runtime.spawn(move || {
            let local = 0_u8;
            sender.send(ptr::from_ref(black_box(&local)).addr()).expect("the thread listens");
            let _ = held.recv();
        });
        let address = receiver.recv().expect("the address of a parked routine's stack");
        // The stack ends at a multiple of its size above, so the guard lies at its lowest multiple.
        // Stacks are slots of a slab that is aligned to pages only; go down until it faults.
        let wild = runtime.spawn(move || {
            for page in (0..=address).rev().step_by(4096) {
                // SAFETY: none; it is to fault. What it reads before is the other routine's stack.
                unsafe { black_box(ptr::with_exposed_provenance::<u8>(page)).read_volatile() };
            }
        });
        let _ = wild.join();
    });
    assert_eq!(assert_killed(&ended, libc::SIGSEGV), "");
}

// Breaks if std's message for its own threads is lost once there is a runtime.
#[test]
fn the_overflow_of_a_thread_is_reported_by_std() {
    let test = "the_overflow_of_a_thread_is_reported_by_std";
    let ended = in_child(test, LIMIT, || {
        let runtime = runtime();
        runtime.spawn(|| ()).join().expect("a routine");
        let thread = thread::Builder::new().name("a thread".into()).spawn(overflow);
        thread.expect("a thread").join().expect("never");
    });
    let errors = assert_killed(&ended, libc::SIGABRT);
    assert!(
        errors.contains("thread 'a thread'") && errors.contains("has overflowed its stack"),
        "{errors}"
    );
    assert!(!errors.contains("routine"), "{errors}");
}

// Breaks if the guard or the pages of a default stack leave less than what everyday code needs in a debug
// build: formatting, a backtrace, a sort, a directory, compression, parsing.
#[test]
fn everyday_code_fits_on_the_default_stack() {
    let runtime = runtime();
    let routine = runtime.spawn(|| {
        let mut words: Vec<String> =
            (0..2000).map(|n| format!("{:>08.3}", n as f64 / 7.0)).collect();
        words.sort_unstable_by_key(|word| std::cmp::Reverse(word.clone()));
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        let files = std::fs::read_dir(".").expect("a directory").count();
        let mut compressed = Vec::new();
        GzEncoder::new(b"hello hello".as_slice(), Compression::best())
            .read_to_end(&mut compressed)
            .expect("memory takes everything");
        let nested = "[".repeat(60) + &"]".repeat(60);
        let parsed: serde_json::Value = serde_json::from_str(&nested).expect("balanced");
        let sum: f64 = words.iter().map(|word| word.parse::<f64>().expect("a number")).sum();
        trace.len() + files + compressed.len() + parsed.to_string().len() + sum as usize
    });
    assert!(routine.join().expect("everyday code") > 0);
    runtime.shutdown();
}
