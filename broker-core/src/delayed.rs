//! Delivers delayed messages when their time has come.

use crate::{
    clock,
    follow::follow,
    light,
    queues::Queues,
    retention::{RetainError, Written},
    settings::Settings,
    state_writer::StateWriter,
};
use bytes::Bytes;
use halley_machine::{
    delay::{self, Delivery, TIMER_TOPIC, Waiting},
    state::StateRecord,
    timers::{Batch, Timer, Timers},
};
use halley_model::{LogOffset, Millis, QueueOffset, RecordView};
use halley_store::{ReadError, StageError, disk::RealDisk};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Most messages delivered as one group.
const MESSAGES_MAX: usize = 256;

/// About the most bytes delivered as one group; one message at least.
const BYTES_MAX: usize = 1 << 20;

/// Most messages to be moved that are looked for at once.
const MOVED_MAX: usize = 1 << 16;

/// Why a record that was seen is not there: somebody took a file away.
const GONE: &str = "it is no longer in the log: put back the file that held it";

/// How long a message that cannot be read is left out.
const UNREADABLE_MS: Millis = 60_000;

/// About as many bytes of JSON does a waiting message need.
const TIMER_JSON_BYTES: usize = 6;

/// How long to wait after the store refused, or could not be read.
const RETRY_MS: Millis = 100;

/// How long to wait for the log to acknowledge what was moved.
const MOVING_MS: Millis = 5;

/// The waiting messages. Their table is locked while what is delivered is staged, so that a snapshot never has a message
/// as waiting whose delivery lies before the snapshot's place in the log.
pub(crate) struct Delayed {
    timers: Mutex<Timers>,
    /// Held while messages are delivered or moved, so that none is both. Taken before the table's lock. What was moved is in
    /// the table again once the log is acknowledged up to here.
    working: Mutex<LogOffset>,
    queues: Queues<RealDisk>,
    settings: Arc<Settings>,
    writer: StateWriter,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the log could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("the store did not take the messages: {0}")]
    Stage(#[from] StageError),
    #[error("messages are being moved")]
    Moving,
}

impl Delayed {
    pub(crate) fn new(
        timers: Timers,
        queues: Queues<RealDisk>,
        settings: Arc<Settings>,
        writer: StateWriter,
    ) -> Self {
        Self { timers: Mutex::new(timers), working: Mutex::default(), queues, settings, writer }
    }

    /// Takes in what was sent, and delivers what is due; when to come again. Blocks on the disk.
    pub(crate) fn round(&self) -> Option<Millis> {
        match self.deliver_due() {
            Ok(()) => self.timers.lock().deadline(),
            Err(Error::Stage(StageError::Poisoned(_))) => None,
            Err(Error::Moving) => Some(clock::now() + MOVING_MS),
            Err(error) => {
                tracing::warn!(%error, "delayed messages are late, it is tried again");
                Some(clock::now() + RETRY_MS)
            }
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.timers.lock().len()
    }

    /// The table as it is, as JSON for a snapshot: much smaller than a second table.
    pub(crate) fn table(&self) -> Result<Box<RawValue>, serde_json::Error> {
        let mut json = Vec::new();
        {
            let timers = self.timers.lock();
            json.reserve(timers.len() * TIMER_JSON_BYTES);
            serde_json::to_writer(&mut json, &*timers)?;
        }
        RawValue::from_string(String::from_utf8(json).expect("JSON is text"))
    }

    fn follow(&self) -> Result<(), ReadError> {
        let next = self.timers.lock().next();
        follow(&self.queues.reader, TIMER_TOPIC, next, |record| {
            self.timers.lock().see(Waiting::of(record).timer())
        })
    }

    fn deliver_due(&self) -> Result<(), Error> {
        loop {
            let moved_to = self.working.lock();
            // A message and its recall may have been moved, and one of them be back in the table before the other.
            if self.queues.reader.end() < *moved_to {
                return Err(Error::Moving);
            }
            self.follow()?;
            let now = clock::now();
            let due = self.timers.lock().due(now, MESSAGES_MAX);
            match due {
                Some(batch) => self.deliver(&batch, now)?,
                None => return Ok(()),
            }
        }
    }

    /// Stores what is due where it belongs, and that it is done, as one group; nothing yet where some of it cannot be read.
    fn deliver(&self, batch: &Batch, now: Millis) -> Result<(), Error> {
        let Some((recalls, messages)) = self.read_all(batch, now) else { return Ok(()) };
        let (deliveries, done) =
            delay::deliveries(batch, &recalls, &messages, now, light::is_dispatching(&self.settings));
        let state = StateRecord { done_timers: done, ..StateRecord::default() };
        let encoded = state.encode();
        let bodies = deliveries.iter().map(Delivery::body);
        let group: Vec<_> = bodies.chain([self.writer.body(&encoded, now)]).collect();
        let mut timers = self.timers.lock();
        self.writer.stage_group(&group, now)?;
        state.done_timers.into_iter().for_each(|timer| timers.finish(timer));
        Ok(())
    }

    /// Puts what waits and lies before `begin` in the queue into the queue again, each with the record that it does not wait
    /// where it was, as one group. Adds what it wrote. Blocks on the disk.
    pub(crate) fn move_before(&self, begin: QueueOffset, written: &mut Written) -> Result<(), RetainError> {
        self.follow()?;
        loop {
            let waiting = self.timers.lock().before(begin, MOVED_MAX);
            if waiting.is_empty() {
                return Ok(());
            }
            for some in waiting.chunks(MESSAGES_MAX) {
                self.move_some(some, written)?;
            }
        }
    }

    fn move_some(&self, mut waiting: &[Timer], written: &mut Written) -> Result<(), RetainError> {
        while !waiting.is_empty() {
            let mut moved_to = self.working.lock();
            let (mut records, mut done, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((timer, rest)) = waiting.split_first()
                && bytes <= BYTES_MAX
            {
                waiting = rest;
                if !self.timers.lock().waits(*timer) {
                    continue;
                }
                let record = self.read(*timer)?;
                bytes += record.len();
                records.push(record);
                done.push(*timer);
            }
            let views: Result<Vec<_>, _> = records.iter().map(|record| RecordView::parse(record)).collect();
            let views = views.map_err(|error| ReadError::Damaged { at: 0, reason: error.to_string() })?;
            let mut properties = vec![Vec::new(); views.len()];
            let again = views
                .into_iter()
                .zip(&mut properties)
                .map(|(view, properties)| Waiting::of(view).again(properties));
            let again = again.collect::<Option<Vec<_>>>().ok_or(RetainError::Unmovable)?;
            if again.is_empty() {
                continue;
            }
            let now = clock::now();
            let state = StateRecord { done_timers: done, ..StateRecord::default() };
            let encoded = state.encode();
            let group: Vec<_> = again.into_iter().chain([self.writer.body(&encoded, now)]).collect();
            let mut timers = self.timers.lock();
            let end = self.writer.stage_group(&group, now)?;
            state.done_timers.into_iter().for_each(|timer| timers.finish(timer));
            *moved_to = end;
            written.add(Written { end, bytes: bytes as u64 + encoded.len() as u64 });
        }
        Ok(())
    }

    /// The records of a batch, of the messages as many as may be delivered at once. `None` where some cannot be read: they are
    /// left out for a while, so that they hold up nobody.
    fn read_all(&self, batch: &Batch, now: Millis) -> Option<(Vec<Bytes>, Vec<Bytes>)> {
        let mut is_whole = true;
        let mut read = |timer: &Timer| {
            let record = self.read(*timer).map_err(|error| {
                tracing::error!(offset = timer.offset(), %error, "a delayed message cannot be read, it is tried again in a minute");
                self.timers.lock().postpone(*timer, now + UNREADABLE_MS);
            });
            is_whole &= record.is_ok();
            record.ok()
        };
        let recalls = batch.recalls.iter().filter_map(&mut read).collect();
        let (mut messages, mut bytes) = (Vec::with_capacity(batch.messages.len()), 0);
        for record in batch.messages.iter().filter_map(read) {
            bytes += record.len();
            messages.push(record);
            if bytes > BYTES_MAX {
                break;
            }
        }
        is_whole.then_some((recalls, messages))
    }

    fn read(&self, timer: Timer) -> Result<Bytes, ReadError> {
        let record = self.queues.reader.record_of(TIMER_TOPIC, 0, timer.offset())?;
        record.ok_or_else(|| ReadError::Damaged { at: timer.offset(), reason: GONE.to_owned() })
    }
}
