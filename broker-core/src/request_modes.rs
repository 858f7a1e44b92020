//! How groups get topics' messages, kept in the log.

use crate::{retention::Written, state_writer::StateWriter};
use halley_machine::{
    request_modes::{RequestMode, RequestModes},
    state::StateRecord,
};
use halley_model::{GroupName, LogOffset, TopicName};
use halley_store::StageError;
use parking_lot::RwLock;

/// The table, and the log it is kept in. A change is staged while the table is locked, so that the log has changes in the
/// order in which they took effect.
pub(crate) struct RequestModeTable {
    modes: RwLock<RequestModes>,
    writer: StateWriter,
}

impl RequestModeTable {
    pub(crate) fn new(modes: RequestModes, writer: StateWriter) -> Self {
        Self { modes: RwLock::new(modes), writer }
    }

    pub(crate) fn get(&self, topic: &TopicName, group: &GroupName) -> Option<RequestMode> {
        self.modes.read().get(topic, group).cloned()
    }

    /// Sets a mode. It is durable when the returned offset is acknowledged.
    pub(crate) fn set(&self, mode: RequestMode) -> Result<LogOffset, StageError> {
        let mut modes = self.modes.write();
        let Some(before) = modes.put(mode.clone()) else { return Ok(0) };
        self.writer.write(&StateRecord::request_mode(&mode)).inspect_err(|_| modes.restore(&mode, before))
    }

    /// Writes all modes into the log once more.
    pub(crate) fn log_all(&self) -> Result<Written, StageError> {
        let modes = self.modes.read();
        let all = modes.all().cloned().collect();
        self.writer.write_pieces(all, |request_modes| StateRecord { request_modes, ..StateRecord::default() })
    }

    /// Looks at all modes.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&RequestModes) -> T) -> T {
        look(&self.modes.read())
    }
}
