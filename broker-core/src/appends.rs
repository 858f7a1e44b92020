//! The writable side of the log.

use crate::acks::Acks;
use halley_store::Log;
use std::sync::Arc;

/// Where to stage records, and where to wait for them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Appends {
    pub(crate) log: Log,
    pub(crate) acks: Arc<Acks>,
}

impl Appends {
    pub(crate) fn new(log: Log, acks: Arc<Acks>) -> Self {
        Self { log, acks }
    }
}
