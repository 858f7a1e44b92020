//! Writes the broker's own state to the log.

use crate::{
    clock,
    identity::Identity,
    retention::{PER_RECORD, Written},
};
use halley_machine::state::{STATE_TOPIC, StateRecord};
use halley_model::{LogOffset, Millis, RecordBody};
use halley_store::{Log, Placed, StageError, Staging};

/// Appends state records. Because the log is one sequence, whatever is appended after a state record is never
/// durable without it: a message's topic need not be waited for.
#[derive(Clone)]
pub(crate) struct StateWriter {
    log: Log,
    identity: Identity,
}

impl StateWriter {
    pub(crate) fn new(log: Log, identity: Identity) -> Self {
        Self { log, identity }
    }

    /// Stages the record; it is durable when the returned offset is acknowledged.
    pub(crate) fn write(&self, record: &StateRecord) -> Result<LogOffset, StageError> {
        let now = clock::now();
        let encoded = record.encode();
        let placed = self.log.stage(now)?.append(&self.body(&encoded, now))?;
        Ok(placed.log_offset + 1)
    }

    /// Stages the record, and tells how long it is, too.
    pub(crate) fn write_counted(&self, record: &StateRecord) -> Result<Written, StageError> {
        let now = clock::now();
        let encoded = record.encode();
        let placed = self.log.stage(now)?.append(&self.body(&encoded, now))?;
        Ok(Written { end: placed.log_offset + 1, bytes: encoded.len() as u64 })
    }

    /// Stages records of so many items each as one may have. Some may be staged where others are refused.
    pub(crate) fn write_pieces<T: Clone>(
        &self,
        items: Vec<T>,
        record: impl Fn(Vec<T>) -> StateRecord,
    ) -> Result<Written, StageError> {
        let mut written = Written::default();
        for piece in items.chunks(PER_RECORD) {
            written.add(self.write_piece(piece, &record)?);
        }
        Ok(written)
    }

    /// In halves, where the items are too long for one record.
    fn write_piece<T: Clone>(
        &self,
        items: &[T],
        record: &impl Fn(Vec<T>) -> StateRecord,
    ) -> Result<Written, StageError> {
        match self.write_counted(&record(items.to_vec())) {
            Err(StageError::Record(_) | StageError::TooLong { .. }) if items.len() > 1 => {
                let (one, other) = items.split_at(items.len() / 2);
                let mut written = self.write_piece(one, record)?;
                written.add(self.write_piece(other, record)?);
                Ok(written)
            }
            done => done,
        }
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Stages a record that says something of the log as it is just before the record.
    pub(crate) fn write_with(
        &self,
        record: impl FnOnce(&Staging<'_>) -> StateRecord,
    ) -> Result<LogOffset, StageError> {
        let now = clock::now();
        let mut staging = self.log.stage(now)?;
        let encoded = record(&staging).encode();
        let placed = staging.append(&self.body(&encoded, now))?;
        Ok(placed.log_offset + 1)
    }

    /// An encoded record, to be staged in one group with what it is about.
    pub(crate) fn body<'a>(&self, encoded: &'a [u8], now: Millis) -> RecordBody<'a> {
        RecordBody {
            topic: STATE_TOPIC,
            queue: 0,
            flag: 0,
            system_flag: 0,
            born: now,
            born_host: self.identity.address,
            reconsume_times: 0,
            prepared_offset: 0,
            body: encoded,
            properties: b"",
            dispatched: false,
        }
    }

    /// Stages records as one group; it is durable when the returned offset is acknowledged.
    pub(crate) fn stage_group(&self, group: &[RecordBody<'_>], now: Millis) -> Result<LogOffset, StageError> {
        let mut places: Vec<Placed> = Vec::with_capacity(group.len());
        self.log.stage(now)?.append_group(group, &mut places)?;
        Ok(places.last().map_or(0, |last| last.log_offset + 1))
    }
}
