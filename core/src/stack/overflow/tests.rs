//! Tests of the handler, each in a child process: it dies, or has its signal actions changed.

use std::cell::Cell;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use corosensei::Coroutine;

use super::super::child::{FINISHED, assert_finished, in_child};
use super::super::guard::Guards;
use super::super::{Extent, StackPool};
use super::*;

const SIZE: usize = 256 * 1024;

thread_local! {
    /// What a worker's record of its current routine is to the scheduler.
    static CURRENT: Cell<Option<(Extent, Option<&'static str>)>> = const { Cell::new(None) };
}

fn probe(visit: &mut dyn FnMut(&Running<'_>)) {
    if let Some((extent, name)) = CURRENT.get() {
        visit(&Running {
            guard: extent.guard_range(),
            name,
            id: 17,
            spawned_at: Location::caller(),
            stack_size: extent.size(),
        });
    }
}

#[expect(unconditional_recursion, reason = "it is to overflow")]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + black_box(frame)[0]
}

/// Runs `body` in a routine, on a thread as workers are.
fn routine(guards: Guards, name: Option<&'static str>, body: fn()) {
    install(probe);
    let worker = thread::spawn(move || {
        let _alt_stack = AltStack::install().unwrap();
        let pool = StackPool::with_guards(SIZE, guards).unwrap();
        pool.reserve(1).unwrap();
        let stack = pool.take().unwrap();
        CURRENT.set(Some((stack.extent(), name)));
        let mut coroutine = Coroutine::<(), (), (), _>::with_stack(stack, move |_, ()| body());
        coroutine.resume(());
        CURRENT.set(None);
        pool.give_back(coroutine.into_stack());
    });
    worker.join().unwrap();
}

fn overflow() {
    black_box(recurse(0));
}

fn null_access() {
    // SAFETY: none; it is to fault.
    unsafe { black_box(ptr::null::<u8>()).read_volatile() };
}

#[track_caller]
fn assert_killed(output: &Output, signal: libc::c_int) -> String {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.signal(), Some(signal), "{}: {errors}", output.status);
    errors
}

// Breaks if an overflow is not recognised, or kills without a word.
#[test]
fn an_overflow_names_the_routine_and_aborts() {
    let output = in_child(module_path!(), "an_overflow_names_the_routine_and_aborts", || {
        routine(Guards::supported(), Some("deep"), overflow);
    });
    let errors = assert_killed(&output, libc::SIGABRT);
    let (start, end) = errors.split_once(", spawned at ").unwrap();
    assert_eq!(start, "routine 'deep' (id 17)");
    let (site, end) = end.split_once(", ").unwrap();
    assert!(site.starts_with(file!()), "{site}");
    assert_eq!(
        end,
        "has overflowed its stack of 262144 bytes; \
         give it more with Builder::stack_size, or all with RuntimeBuilder::stack_size\n"
    );
}

// Breaks if `mprotect` guards are not recognised (SIGBUS on some systems), or a name is required.
#[test]
fn an_overflow_into_an_mprotect_guard_is_reported_too() {
    let output =
        in_child(module_path!(), "an_overflow_into_an_mprotect_guard_is_reported_too", || {
            routine(Guards::Protect, None, overflow);
        });
    let errors = assert_killed(&output, libc::SIGABRT);
    assert!(errors.starts_with("routine (id 17), spawned at "), "{errors}");
}

// Breaks if a report that is longer than its buffer is cut.
#[test]
fn a_long_name_is_written_in_full() {
    static NAME: [u8; 3 * LINE_BYTES] = [b'n'; 3 * LINE_BYTES];
    let name = str::from_utf8(&NAME).unwrap();
    let output = in_child(module_path!(), "a_long_name_is_written_in_full", || {
        routine(Guards::supported(), Some(str::from_utf8(&NAME).unwrap()), overflow);
    });
    let errors = assert_killed(&output, libc::SIGABRT);
    assert!(errors.starts_with(&format!("routine '{name}' (id 17), spawned at ")), "{errors}");
    assert!(errors.ends_with("Builder::stack_size\n"), "{errors}");
}

// Breaks if other faults in a routine are taken for overflows, or go on for ever.
#[test]
fn another_fault_in_a_routine_is_a_plain_segmentation_fault() {
    let output = in_child(
        module_path!(),
        "another_fault_in_a_routine_is_a_plain_segmentation_fault",
        || {
            routine(Guards::supported(), Some("null"), null_access);
        },
    );
    assert_eq!(assert_killed(&output, libc::SIGSEGV), "");
}

// Breaks if std's own handler no longer gets to see the overflows of its threads.
#[test]
fn the_overflow_of_a_thread_is_reported_by_std() {
    let output = in_child(module_path!(), "the_overflow_of_a_thread_is_reported_by_std", || {
        install(probe);
        let thread = thread::Builder::new().name("a thread".into()).spawn(|| {
            let _alt_stack = AltStack::install().unwrap();
            overflow();
        });
        thread.unwrap().join().unwrap();
    });
    let errors = assert_killed(&output, libc::SIGABRT);
    assert!(
        errors.contains("thread 'a thread'") && errors.contains("overflowed its stack"),
        "{errors}"
    );
}

/// Makes `handler` the action for segmentation faults.
fn set_handler(handler: usize, flags: libc::c_int) {
    let mut action = default_action();
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `flags` say what type the handler has; the handlers of these tests are signal-safe.
    assert_eq!(unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) }, 0);
}

/// Sends this thread a segmentation fault.
fn raise() {
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0);
}

// Breaks if the previous handler does not learn the signal and the address of the fault.
#[test]
fn a_previous_handler_with_siginfo_gets_the_fault() {
    unsafe extern "C" fn handler(
        signal: libc::c_int,
        info: *mut libc::siginfo_t,
        context: *mut libc::c_void,
    ) {
        assert!(signal == libc::SIGSEGV && !context.is_null());
        // SAFETY: the kernel's.
        assert_eq!(unsafe { (*info).si_addr() } as usize, 0);
        // SAFETY: signal-safe.
        unsafe { libc::_exit(FINISHED) };
    }
    let test = "a_previous_handler_with_siginfo_gets_the_fault";
    assert_finished(&in_child(module_path!(), test, || {
        let handler: unsafe extern "C" fn(_, _, _) = handler;
        set_handler(handler as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
        routine(Guards::supported(), None, null_access);
        process::exit(1);
    }));
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count(signal: libc::c_int) {
    assert_eq!(signal, libc::SIGSEGV);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

// Breaks if a handler of one argument is called with three, only once, or in place of ours.
#[test]
fn a_previous_handler_without_siginfo_is_called_each_time() {
    let test = "a_previous_handler_without_siginfo_is_called_each_time";
    let output = in_child(module_path!(), test, || {
        let handler: unsafe extern "C" fn(_) = count;
        set_handler(handler as usize, 0);
        routine(Guards::supported(), None, || {
            raise();
            raise();
        });
        assert_eq!(CALLS.load(Ordering::Relaxed), 2);
        routine(Guards::supported(), None, overflow);
    });
    assert!(assert_killed(&output, libc::SIGABRT).contains("has overflowed its stack"));
}

// Breaks if a handler for one time is called a second time.
#[test]
fn a_previous_handler_for_one_time_is_called_once() {
    let test = "a_previous_handler_for_one_time_is_called_once";
    let output = in_child(module_path!(), test, || {
        let handler: unsafe extern "C" fn(_) = count;
        set_handler(handler as usize, libc::SA_RESETHAND);
        install(probe);
        raise();
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        raise();
    });
    assert_killed(&output, libc::SIGSEGV);
}

// Breaks if the default action is not taken for a signal that was sent, and will not repeat.
#[test]
fn a_signal_that_was_sent_kills_by_default() {
    let output = in_child(module_path!(), "a_signal_that_was_sent_kills_by_default", || {
        set_handler(libc::SIG_DFL, 0);
        install(probe);
        raise();
    });
    assert_killed(&output, libc::SIGSEGV);
}

// Breaks if an ignored signal kills, or an ignored fault repeats for ever.
#[test]
fn an_ignored_signal_is_ignored_but_a_fault_kills() {
    let test = "an_ignored_signal_is_ignored_but_a_fault_kills";
    let output = in_child(module_path!(), test, || {
        set_handler(libc::SIG_IGN, 0);
        install(probe);
        raise();
        eprintln!("still here");
        null_access();
    });
    assert_eq!(assert_killed(&output, libc::SIGSEGV), "still here\n");
}

// Breaks if a thread is left without an alternate stack, with the wrong one, or with ours for ever.
#[test]
fn an_alternate_stack_is_installed_where_needed_and_removed_again() {
    fn current() -> libc::stack_t {
        let mut stack = no_stack();
        // SAFETY: only reads the setting.
        assert_eq!(unsafe { libc::sigaltstack(ptr::null(), &mut stack) }, 0);
        stack
    }
    let before = current();
    let outer = AltStack::install().unwrap();
    let ours = current();
    assert_eq!(ours.ss_flags, 0);
    assert!(ours.ss_size >= ALT_STACK_BYTES + frame_bytes());
    // One of ours is sufficient, so that a second one does nothing.
    let inner = AltStack::install().unwrap();
    assert!(inner.ours.is_none());
    assert_eq!(current().ss_sp, ours.ss_sp);
    drop(inner);
    assert_eq!(current().ss_sp, ours.ss_sp);
    drop(outer);
    assert_eq!((current().ss_sp, current().ss_flags), (before.ss_sp, before.ss_flags));
}
