//! How often a table changed, so that tools can tell one state of it from another.

use crate::clock;
use halley_model::DataVersion;
use std::sync::atomic::{AtomicI64, Ordering};

/// Counts the changes of a table since the broker started (`DataVersion`, 5.5).
#[derive(Debug)]
pub(crate) struct Changes {
    counter: AtomicI64,
    at: AtomicI64,
}

impl Default for Changes {
    fn default() -> Self {
        Self { counter: AtomicI64::new(0), at: AtomicI64::new(clock::now()) }
    }
}

impl Changes {
    /// The table changed.
    pub(crate) fn count(&self) {
        self.at.store(clock::now(), Ordering::Relaxed);
        self.counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn version(&self) -> DataVersion {
        DataVersion {
            counter: self.counter.load(Ordering::Relaxed),
            state_version: 0,
            timestamp: self.at.load(Ordering::Relaxed),
        }
    }
}
