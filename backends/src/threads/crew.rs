//! The threads of one backend.

use std::sync::Arc;

use rust_routines_core::driver::{Action, IoConfig, PoolMetrics};

use super::{Job, Threads};

/// Two sets of threads, each with the pool's limit: one for closures, which may take as long as they like and wait for
/// operations of other routines, and one for those operations, which must not wait behind them.
#[derive(Debug)]
pub(crate) struct Crew<J> {
    pub(crate) operations: Arc<Threads<J>>,
    closures: Arc<Threads<J>>,
}

impl<J: Job> Crew<J> {
    /// A crew without any thread yet.
    pub(crate) fn new(config: &IoConfig) -> Self {
        let threads = |kind| Arc::new(Threads::new(config, kind));
        Self { operations: threads("io"), closures: threads("fn") }
    }

    /// Who performs it.
    pub(crate) fn of(&self, action: &Action) -> &Arc<Threads<J>> {
        match action {
            Action::Run { lasting: true, .. } => &self.closures,
            _ => &self.operations,
        }
    }

    /// The state of both.
    pub(crate) fn metrics(&self) -> PoolMetrics {
        let (mut sum, closures) = (self.operations.metrics(), self.closures.metrics());
        sum.threads += closures.threads;
        sum.threads_peak += closures.threads_peak;
        sum.queued += closures.queued;
        sum.handed_over += closures.handed_over;
        sum
    }

    /// Lets the threads finish what is queued and joins them. Nothing may be submitted any more.
    pub(crate) fn shut_down(&self) {
        self.operations.shut_down();
        self.closures.shut_down();
    }
}
