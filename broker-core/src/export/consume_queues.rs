//! The consume queues of RocketMQ's: see `halley_takeover::consume_queue`.

use super::{Ends, ExportError, write_error};
use halley_model::{LogOffset, QueueId, QueueOffset, RecordView, tag};
use halley_takeover::consume_queue::{self, ENTRY_BYTES, FILE_BYTES};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
};

/// Most bytes of entries held back, of all queues.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Writes entries, each queue's held back so that files need not stay open.
pub(super) struct ConsumeQueues {
    dir: PathBuf,
    held: BTreeMap<(String, QueueId), Held>,
    held_bytes: usize,
    ends: Ends,
}

/// Entries of a queue that are not written yet.
struct Held {
    first: QueueOffset,
    entries: Vec<u8>,
}

impl ConsumeQueues {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, held: BTreeMap::new(), held_bytes: 0, ends: Ends::new() }
    }

    /// The entry of a record that lies at `at`, in a queue. Records of a queue come one after another.
    pub(super) fn add(
        &mut self,
        (topic, queue, offset): (&str, QueueId, QueueOffset),
        record: &RecordView<'_>,
        at: LogOffset,
    ) -> Result<(), ExportError> {
        let key = (topic.to_owned(), queue);
        let entry =
            consume_queue::entry(at, record.total_len() as u32, tag::code_of(record.properties()).into());
        match self.ends.insert(key.clone(), offset + 1) {
            None => self.begin(&key, offset),
            Some(end) => assert_eq!(end, offset, "queue {queue} of {topic} has no gap"),
        }
        let held = self.held.entry(key).or_insert_with(|| Held { first: offset, entries: Vec::new() });
        held.entries.extend_from_slice(&entry);
        self.held_bytes += entry.len();
        if self.held_bytes > HELD_BYTES_MAX { self.write() } else { Ok(()) }
    }

    /// A queue without records, which goes on at `end`.
    pub(super) fn only_end(
        &mut self,
        topic: &str,
        queue: QueueId,
        end: QueueOffset,
    ) -> Result<(), ExportError> {
        if end > 0 {
            let key = (topic.to_owned(), queue);
            self.begin(&key, end);
        }
        Ok(())
    }

    /// Fills the file that has the entry of `offset` up to there, with entries that lead before the log.
    fn begin(&mut self, key: &(String, QueueId), offset: QueueOffset) {
        let per_file = FILE_BYTES / ENTRY_BYTES;
        // At a file's beginning nothing would say how far the queue is: the file before says it.
        let first = if offset > 0 { (offset - 1) / per_file * per_file } else { 0 };
        if first == offset {
            return;
        }
        let before = consume_queue::entry(0, 1, 0);
        let entries = before.repeat((offset - first) as usize);
        self.held_bytes += entries.len();
        self.held.insert(key.clone(), Held { first, entries });
    }

    fn write(&mut self) -> Result<(), ExportError> {
        self.held_bytes = 0;
        for ((topic, queue), held) in std::mem::take(&mut self.held) {
            let dir = self.dir.join(topic).join(queue.to_string());
            fs::create_dir_all(&dir).map_err(|error| write_error(&dir, error))?;
            let mut at = held.first * ENTRY_BYTES;
            let mut rest = &held.entries[..];
            while !rest.is_empty() {
                let base = at / FILE_BYTES * FILE_BYTES;
                let room = (base + FILE_BYTES - at) as usize;
                let (now, later) = rest.split_at(rest.len().min(room));
                let path = dir.join(format!("{base:020}"));
                let write = || {
                    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
                    file.set_len(FILE_BYTES)?;
                    file.write_all_at(now, at - base)
                };
                write().map_err(|error| write_error(&path, error))?;
                at += now.len() as u64;
                rest = later;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.write()
    }
}
