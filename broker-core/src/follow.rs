//! Views of a queue: folding in what it has, and looking again when more arrived or a time has come.

use crate::{
    arrivals::{Arrivals, Registration},
    clock,
};
use halley_model::{Millis, QueueId, QueueOffset, RecordView};
use halley_store::{LogReader, ReadError, disk::Disk};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// Records looked up at once.
const ENTRIES: usize = 256;

/// Bytes read at once.
const RUN_BYTES: usize = 1 << 20;

/// Longest sleep between two rounds: bounds what a set clock can delay.
pub(crate) const NAP: Duration = Duration::from_secs(1);

/// Calls `each` for the records of queue 0 of `topic`, from offset `from` to the queue's end. May block on the disk.
pub(crate) fn follow<D: Disk>(
    reader: &LogReader<D>,
    topic: &str,
    from: QueueOffset,
    each: impl FnMut(RecordView<'_>),
) -> Result<(), ReadError> {
    follow_queue(reader, topic, 0, from, each)
}

/// The same for any queue.
pub(crate) fn follow_queue<D: Disk>(
    reader: &LogReader<D>,
    topic: &str,
    queue: QueueId,
    from: QueueOffset,
    mut each: impl FnMut(RecordView<'_>),
) -> Result<(), ReadError> {
    let mut next = from;
    let mut entries = Vec::new();
    loop {
        entries.clear();
        reader.lookup(topic, queue, next, ENTRIES, &mut entries)?;
        let Some(last) = entries.last() else { return Ok(()) };
        next = last.queue_offset + 1;
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (run, count) = reader.read_run(rest, RUN_BYTES)?;
            let mut bytes = &run[..];
            for entry in &rest[..count] {
                let record = RecordView::parse(bytes).map_err(|error| ReadError::Damaged {
                    at: entry.log_offset,
                    reason: error.to_string(),
                })?;
                bytes = &bytes[record.total_len()..];
                each(record);
            }
            rest = &rest[count..];
        }
    }
}

/// Runs `round` on a thread that may block: at once, whenever queue 0 of `topic` has more, and at the time that the last
/// round asked for; until `shutdown` turns true.
pub(crate) async fn rounds(
    arrivals: &Arrivals,
    topic: &str,
    mut shutdown: watch::Receiver<bool>,
    round: impl Fn() -> Option<Millis> + Clone + Send + 'static,
) {
    let notify = Arc::new(Notify::new());
    while !*shutdown.borrow() {
        // Registered before the round looks, so that nothing arrives unseen.
        let _registration = Registration::new(arrivals, topic, 0, &notify);
        let deadline = match tokio::task::spawn_blocking(round.clone()).await {
            Ok(deadline) => deadline,
            Err(error) => {
                tracing::error!(%error, topic, "following a queue failed");
                Some(clock::now() + NAP.as_millis() as Millis)
            }
        };
        let left = deadline.map(|at| Duration::from_millis(u64::try_from(at - clock::now()).unwrap_or(0)));
        tokio::select! {
            () = notify.notified() => {}
            () = tokio::time::sleep(left.unwrap_or(NAP).min(NAP)) => {}
            _ = shutdown.changed() => {}
        }
    }
}
