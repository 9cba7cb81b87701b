//! What every [`IoDriver`] must do, as tests for [`io_driver_suite!`](crate::io_driver_suite) and, with faults
//! injected, for [`faulty_driver_suite!`](crate::faulty_driver_suite).
//!
//! Each public function of the modules here is one behaviour, named for it, and panics (or never
//! returns, which [`Subject::run`] notices) where a driver differs. The suite works on the driver
//! itself, without a scheduler, with real sockets, pipes and files, and asks for what the
//! [contract](rust_routines_core::driver::io) says and for what a runtime cannot do without:
//!
//! 1. what can be done at once is done by `submit`, and what cannot does not block it;
//! 2. every pending operation comes back exactly once, with the result that the system call would have
//!    had, and is not touched afterwards; no readiness is ever missed, whoever else uses the file;
//! 3. a cancelled operation that no thread is in comes back soon, and has not moved a byte;
//! 4. `wait` ends when something finishes, when the waker is called and when the time is over;
//! 5. a lack of threads or descriptors is an error, and passes; a signal is nothing;
//! 6. nothing is left behind: no descriptor, no thread, and no registration of what has been closed.
//!
//! Each test runs in a process of its own, which may take two minutes. The variable `RR_CONFORMANCE_CHILD` with the name
//! of a test tells a process that it is the one, which is how to get there with a debugger.
//!
//! Nothing sleeps in the hope that something has happened meanwhile. Where a test looks for something
//! that must *not* happen it looks for a moment, which can only make it too kind. Races are run in
//! rounds with random pauses; a failing test prints its seeds, and `RR_SEED` and `RR_FAULT_SEED` set them.
//!
//! [`IoDriver`]: rust_routines_core::driver::IoDriver

mod bench;
mod call;
pub mod cancel;
mod child;
mod fds;
pub mod files;
pub mod limits;
pub mod pool;
mod random;
pub mod signals;
pub mod sockets;
pub mod sources;
pub mod storms;
pub mod transfers;
pub mod waiting;

use std::fmt;
use std::io::{self, Write};
use std::ops::Deref;
use std::time::Duration;

use rust_routines_core::driver::IoBackend;

use self::bench::Bench;
use self::child::Census;
use crate::Faulty;

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

            $crate::io_driver_suite! { @always }
            $crate::io_driver_suite! { @tests sources:
                all_that_wait_for_one_source_are_served
                different_operations_wait_for_one_source
            }
            $crate::io_driver_suite! { @tests sockets:
                a_change_that_is_told_once_ends_a_poll
            }
            $crate::io_driver_suite! { @tests transfers:
                a_full_queue_of_datagrams_is_waited_for
                a_terminal_is_read_and_written
            }
            $crate::io_driver_suite! { @tests files:
                a_position_is_used_once
            }
            $crate::io_driver_suite! { @tests pool:
                closures_start_in_the_order_in_which_they_came
            }
            $crate::io_driver_suite! { @tests cancel:
                an_open_that_waits_is_given_up_or_finished
            }
            $crate::io_driver_suite! { @tests storms:
                buffers_of_socket_operations_are_let_go
                buffers_of_pipe_operations_are_let_go
                buffers_of_file_operations_are_let_go
                stacks_are_let_go
            }
        }
    };
    // What holds also where transfers are cut short and operations come back in any order.
    (@always) => {
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
            a_long_transfer_arrives_whole
            shutting_down_ends_what_waits
            a_queue_that_is_shut_down_has_an_end
            both_directions_of_one_socket_may_be_busy
            vectors_are_filled_and_sent_in_order
            peeking_leaves_the_data
            nothing_is_transferred_at_once
            datagrams_keep_their_boundaries
            messages_come_with_their_sender
            reading_goes_on_behind_urgent_data
            reading_goes_on_behind_a_passed_descriptor
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
            one_event_serves_as_many_as_it_can
            an_event_in_the_middle_of_another_is_not_missed
            reading_and_writing_wait_side_by_side
            a_thousand_operations_wait_for_one_source
            two_drivers_share_a_source
            one_driver_reads_while_another_writes
            drivers_on_two_threads_share_a_listener
            a_duplicate_outlives_its_original
            a_reused_number_is_a_new_file
            another_id_does_not_hide_the_end
            a_reused_number_is_not_taken_for_the_duplicated_file
            a_thousand_sources_are_all_served
        }
        $crate::io_driver_suite! { @tests files:
            files_are_read_and_written
            positions_are_independent
            the_end_of_a_file_is_zero_bytes
            nothing_is_read_and_written
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
            a_ready_socket_waits_for_no_closure
            results_of_one_driver_do_not_go_to_another
            dropping_the_backend_ends_its_threads
        }
        $crate::io_driver_suite! { @tests cancel:
            a_waiting_operation_comes_back_cancelled
            every_kind_of_waiting_operation_can_be_cancelled
            the_others_go_on_waiting
            a_queued_closure_comes_back_without_a_thread
            a_running_closure_comes_back_finished
            cancelling_twice_hands_back_once
            a_cancelled_read_takes_nothing
            cancelling_races_with_data
            cancelling_races_with_the_pool
            cancelling_races_on_a_shared_source
            cancelling_races_with_room
            cancelling_races_with_connections
            cancelling_races_with_opening
            a_storm_of_everything
        }
        $crate::io_driver_suite! { @tests waiting:
            a_zero_timeout_only_looks
            timeouts_are_kept
            timeouts_are_finer_than_milliseconds
            huge_timeouts_do_not_overflow
            a_wake_before_the_wait_ends_it
            a_wake_during_the_wait_ends_it
            no_wake_is_lost
            wakes_come_from_many_threads
            a_waker_outlives_its_driver
            finished_work_ends_the_wait
        }
        $crate::io_driver_suite! { @tests signals:
            operations_are_not_interrupted
            waits_survive_signals
        }
        $crate::io_driver_suite! { @tests limits:
            descriptors_run_out_and_come_back
            threads_run_out_and_come_back
            nothing_is_leaked
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

/// Stamps out the I/O suite as a module of tests once more, on a backend with [faults](Faulty) injected.
///
/// Takes what [`io_driver_suite!`](crate::io_driver_suite) takes. What it leaves out is what order and whole transfers
/// alone can show.
#[macro_export]
macro_rules! faulty_driver_suite {
    ($module:ident, $new:expr $(,)?) => {
        mod $module {
            #[allow(unused_imports, reason = "the expression may not name anything")]
            use super::*;

            fn subject(behaviour: &str) -> $crate::io::Subject {
                $crate::io::Subject::with_faults($new, concat!(module_path!(), "::"), behaviour)
            }

            $crate::io_driver_suite! { @always }
        }
    };
}

/// What the suite tests: how to make a backend.
pub struct Subject {
    new: Box<dyn Fn() -> Box<dyn IoBackend> + Send + Sync>,
    faults: Faults,
    /// The name of the test for the test harness.
    test: String,
}

/// Whether the driver does on purpose what drivers may do and should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    None,
    /// By [`Faulty`].
    Injected,
}

/// A backend on the bench.
struct Tested {
    backend: Box<dyn IoBackend>,
    faults: Faults,
}

impl Deref for Tested {
    type Target = dyn IoBackend;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
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
        Self {
            new: Box::new(move || Box::new(new())),
            faults: Faults::None,
            test: format!("{module}{behaviour}"),
        }
    }

    /// The same, with [faults](Faulty) injected.
    pub fn with_faults<B: IoBackend>(
        new: impl Fn() -> B + Send + Sync + 'static,
        module: &str,
        behaviour: &str,
    ) -> Self {
        let subject = Self::new(move || Faulty::new(new()), module, behaviour);
        Self { faults: Faults::Injected, ..subject }
    }

    /// Runs a behaviour in a process of its own, which is ended if that hangs, and counts there what it leaves
    /// behind.
    pub fn run(self, behaviour: fn(&Subject)) {
        if !child::is_for(&self.test) {
            return child::run(&self.test, LIMIT);
        }
        let before = Census::take();
        behaviour(&self);
        Census::assert_restored(&before);
    }

    fn backend(&self) -> Tested {
        Tested { backend: (self.new)(), faults: self.faults }
    }

    /// Runs `test` with a driver on the bench.
    fn bench(&self, test: impl FnOnce(&mut Bench)) {
        let backend = self.backend();
        test(&mut Bench::new(&backend));
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
