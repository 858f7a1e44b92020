//! The records of attempts: kept from the fetch to the first attempt, read again for later ones.

use bytes::Bytes;
use halley_backend::Backend;
use halley_delivery::StreamId;
use halley_model::{QueueId, QueueOffset, RecordView, TopicName};
use std::{collections::HashMap, time::Duration};

/// Records kept for attempts that are soon to come; others are read again from the log.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records waiting for their first attempt, bounded in bytes.
#[derive(Default)]
pub(crate) struct Kept {
    records: HashMap<(StreamId, QueueOffset), Bytes>,
    bytes: usize,
}

impl Kept {
    pub(crate) fn keep(&mut self, stream: StreamId, offset: QueueOffset, record: &Bytes) {
        if self.bytes + record.len() <= KEPT_BYTES_MAX {
            self.bytes += record.len();
            self.records.insert((stream, offset), record.clone());
        }
    }

    pub(crate) fn take(&mut self, stream: StreamId, offset: QueueOffset) -> Option<Bytes> {
        let record = self.records.remove(&(stream, offset))?;
        self.bytes -= record.len();
        Some(record)
    }
}

/// Why there is no record.
pub(crate) enum NoRecord {
    /// Its retention ended.
    Gone,
    /// It could not be read now.
    Unreadable(String),
}

/// Reads one record.
pub(crate) async fn read<B: Backend>(
    backend: &B,
    topic: &TopicName,
    queue: QueueId,
    offset: QueueOffset,
) -> Result<Bytes, NoRecord> {
    let pulled = backend.pull(topic, queue, offset, 1, 1, Duration::ZERO).await;
    let pulled = pulled.map_err(|error| NoRecord::Unreadable(error.to_string()))?;
    let is_it = |record: &Bytes| RecordView::parse(record).is_ok_and(|view| view.queue_offset() == offset);
    match pulled.records.into_iter().next() {
        Some(record) if is_it(&record) => Ok(record),
        // Only what lies before the queue's beginning is gone; whatever else is missing must not pass for it.
        _ if offset < pulled.min => Err(NoRecord::Gone),
        _ => Err(NoRecord::Unreadable(format!("the log shows no record at offset {offset}"))),
    }
}
