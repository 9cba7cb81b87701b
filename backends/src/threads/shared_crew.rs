//! The threads of a backend that is there before its first driver.

use std::sync::{Arc, OnceLock};

use rust_routines_core::driver::{IoConfig, PoolMetrics};

use super::{Crew, Job};

/// The [`Crew`] that the drivers of one backend share: there with the first of them, ended with the backend.
#[derive(Debug)]
pub(crate) struct SharedCrew<J: Job>(OnceLock<Arc<Crew<J>>>);

impl<J: Job> SharedCrew<J> {
    /// The crew, for one more driver.
    pub(crate) fn for_driver(&self, config: &IoConfig) -> Arc<Crew<J>> {
        Arc::clone(self.0.get_or_init(|| Arc::new(Crew::new(config))))
    }

    /// The state of its threads.
    pub(crate) fn metrics(&self) -> PoolMetrics {
        self.0.get().map_or_else(PoolMetrics::default, |crew| crew.metrics())
    }
}

impl<J: Job> Default for SharedCrew<J> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<J: Job> Drop for SharedCrew<J> {
    fn drop(&mut self) {
        if let Some(crew) = self.0.get() {
            crew.shut_down();
        }
    }
}
