//! The threads of one backend, from its first driver to its own end.

use std::sync::{Arc, OnceLock};

use rust_routines_core::driver::{IoConfig, PoolMetrics};

use super::{Job, Threads};

/// The threads that the drivers of one backend share: there with the first of them, ended with the backend.
#[derive(Debug)]
pub(crate) struct Crew<J: Job>(OnceLock<Arc<Threads<J>>>);

impl<J: Job> Crew<J> {
    /// The threads, for one more driver.
    pub(crate) fn threads(&self, config: &IoConfig) -> Arc<Threads<J>> {
        Arc::clone(self.0.get_or_init(|| Arc::new(Threads::new(config))))
    }

    /// The state of the pool.
    pub(crate) fn metrics(&self) -> PoolMetrics {
        self.0.get().map_or_else(PoolMetrics::default, |threads| threads.metrics())
    }
}

impl<J: Job> Default for Crew<J> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<J: Job> Drop for Crew<J> {
    fn drop(&mut self) {
        if let Some(threads) = self.0.get() {
            threads.shut_down();
        }
    }
}
