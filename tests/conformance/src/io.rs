//! What every [`IoDriver`] must do, as tests for [`io_driver_suite!`](crate::io_driver_suite).
//!
//! Each public function of the modules here is one behaviour, named for it, and panics (or never
//! returns, which [`Subject::run`] notices) where a driver differs. The suite works on the driver
//! itself, without a scheduler, with real sockets, pipes and files, and asks for what the
//! [contract](rust_routines_core::driver::io) says and for what a runtime cannot do without:
//!
//! 1. what can be done at once is done by `submit`, and what cannot does not block it;
//! 2. every pending operation comes back exactly once, with the result that the system call would have
//!    had, and is not touched afterwards; no readiness is ever missed, whoever else uses the file;
//! 3. a cancelled operation that no thread is in comes back with the next `wait`, and has not moved a
//!    byte;
//! 4. `wait` ends when something finishes, when the waker is called and when the time is over;
//! 5. a lack of threads or descriptors is an error, and passes.
//!
//! Nothing sleeps in the hope that something has happened meanwhile. Where a test looks for something
//! that must *not* happen it looks for a moment, which can only make it too kind. Races are run in
//! rounds with random pauses; a failing test prints its seed, and `RR_SEED` sets it.
//!
//! [`IoDriver`]: rust_routines_core::driver::IoDriver

mod bench;
mod call;
pub mod cancel;
mod fds;
pub mod files;
pub mod limits;
pub mod pool;
mod random;
pub mod sockets;
pub mod sources;
pub mod storms;
pub mod transfers;
pub mod waiting;

use std::fmt;
use std::io::{self, Write};
use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rust_routines_core::driver::IoBackend;

use self::bench::Bench;

/// How long a behaviour may take, on a machine that runs many of them at once. They take milliseconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Stamps out the I/O suite as a module of tests.
///
/// Takes the module's name and an expression for a closure that makes a backend. Names in the
/// expression are those in scope where the macro stands. The backend is asked for pools of two threads.
///
/// The [crate docs](crate) show how to call it.
#[macro_export]
macro_rules! io_driver_suite {
    ($module:ident, $new:expr $(,)?) => {
        mod $module {
            #[allow(unused_imports, reason = "the expression may not name anything")]
            use super::*;

            fn subject(behaviour: &str) -> $crate::io::Subject {
                $crate::io::Subject::new($new, concat!(module_path!(), "::"), behaviour)
            }

            $crate::io_driver_suite! { @tests transfers:
                what_is_there_is_read_at_once
                a_read_waits_for_data
                requests_on_one_connection_are_all_answered
                a_short_read_before_the_end_hides_neither_data_nor_the_end
                the_end_of_file_stays
                half_of_a_connection_may_close
                a_reset_ends_what_waits
                a_write_waits_for_room
                writing_to_a_closed_pipe_fails
                large_transfers_arrive_whole
                both_directions_of_one_socket_may_be_busy
                vectors_are_filled_and_sent_in_order
                peeking_leaves_the_data
                nothing_is_transferred_at_once
                datagrams_keep_their_boundaries
                a_full_queue_of_datagrams_is_waited_for
                messages_come_with_their_sender
                reading_goes_on_behind_urgent_data
                reading_goes_on_behind_a_passed_descriptor
                a_terminal_is_read_and_written
            }
            $crate::io_driver_suite! { @tests sockets:
                accept_waits_for_a_connection
                connect_finishes_once_the_peer_listens
                a_refused_connection_is_an_error
                a_socket_that_was_polled_before_it_connects_still_connects
                a_full_backlog_of_a_unix_listener_is_an_error
                poll_reports_each_direction
                poll_reports_urgent_data
                a_foreign_descriptor_may_be_polled_twice
            }
            $crate::io_driver_suite! { @tests sources:
                all_that_wait_for_one_source_are_served
                one_event_serves_as_many_as_it_can
                an_event_in_the_middle_of_another_is_not_missed
                different_operations_wait_for_one_source
                reading_and_writing_wait_side_by_side
                two_drivers_share_a_source
                drivers_on_two_threads_share_a_listener
                a_duplicate_outlives_its_original
                a_reused_number_is_a_new_file
                a_reused_number_is_not_taken_for_the_duplicated_file
                a_thousand_sources_are_all_served
            }
            $crate::io_driver_suite! { @tests files:
                files_are_read_and_written
                positions_are_independent
                a_position_is_used_once
                the_end_of_a_file_is_zero_bytes
                data_that_is_not_cached_is_read
                files_are_synced
                files_are_opened_and_created
                opening_what_is_not_there_fails
                opening_a_fifo_does_not_block_the_driver
                errors_keep_their_codes
            }
            $crate::io_driver_suite! { @tests pool:
                a_closure_runs_on_another_thread
                more_closures_than_threads_all_run
                threads_are_limited
                sockets_are_served_while_closures_wait
                results_of_one_driver_do_not_go_to_another
                dropping_the_backend_ends_its_threads
            }
            $crate::io_driver_suite! { @tests cancel:
                a_waiting_operation_comes_back_cancelled
                every_kind_of_waiting_operation_can_be_cancelled
                the_others_go_on_waiting
                a_queued_closure_comes_back_without_a_thread
                a_running_closure_comes_back_finished
                an_open_that_waits_is_given_up_or_finished
                cancelling_twice_hands_back_once
                a_cancelled_read_takes_nothing
                cancelling_races_with_data
                cancelling_races_with_the_pool
                cancelling_races_on_a_shared_source
            }
            $crate::io_driver_suite! { @tests waiting:
                a_zero_timeout_only_looks
                timeouts_are_kept
                a_wake_before_the_wait_ends_it
                a_wake_during_the_wait_ends_it
                no_wake_is_lost
                wakes_come_from_many_threads
                a_waker_outlives_its_driver
                finished_work_ends_the_wait
            }
            $crate::io_driver_suite! { @tests limits:
                descriptors_run_out_and_come_back
                threads_run_out_and_come_back
                nothing_is_leaked
            }
            $crate::io_driver_suite! { @tests storms:
                buffers_of_socket_operations_are_let_go
                buffers_of_pipe_operations_are_let_go
                buffers_of_file_operations_are_let_go
                stacks_are_let_go
            }
        }
    };
    (@tests $topic:ident: $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                subject(stringify!($behaviour)).run($crate::io::$topic::$behaviour);
            }
        )*
    };
}

/// What the suite tests: how to make a backend.
pub struct Subject {
    new: Box<dyn Fn() -> Box<dyn IoBackend> + Send + Sync>,
    /// The name of the test for the test harness.
    test: String,
}

impl Subject {
    /// Backends made by `new`, in the test `behaviour` of the given module.
    pub fn new<B: IoBackend>(
        new: impl Fn() -> B + Send + Sync + 'static,
        module: &str,
        behaviour: &str,
    ) -> Self {
        // The harness leaves out the name of the crate.
        let (_, module) = module.split_once("::").expect("a module is in a crate");
        Self { new: Box::new(move || Box::new(new())), test: format!("{module}{behaviour}") }
    }

    /// Runs a behaviour on a thread of its own, and aborts the process if that hangs: its operations
    /// are in the hands of a driver that does not give them back, so nothing can be cleaned up.
    pub fn run(self, behaviour: fn(&Subject)) {
        let (done, finished) = mpsc::channel::<()>();
        let test = self.test.clone();
        let thread = thread::Builder::new().name(test.clone()).spawn(move || {
            let _done = done;
            behaviour(&self);
        });
        let thread = thread.expect("a test gets a thread");
        if let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(LIMIT) {
            abort(&format!("{test} hangs"));
        }
        if let Err(payload) = thread.join() {
            panic::resume_unwind(payload);
        }
    }

    fn backend(&self) -> Box<dyn IoBackend> {
        (self.new)()
    }

    /// Runs `test` with a driver on the bench.
    fn bench(&self, test: impl FnOnce(&mut Bench)) {
        let backend = self.backend();
        test(&mut Bench::new(&*backend));
    }
}

/// Ends the process, with a message that the test harness does not swallow.
fn abort(why: &str) -> ! {
    let _ = writeln!(io::stderr(), "{why}");
    std::process::abort()
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("test", &self.test).finish_non_exhaustive()
    }
}
