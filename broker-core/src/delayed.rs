//! Delivers delayed messages when their time has come.

use crate::{clock, follow::follow, queues::Queues, state_writer::StateWriter};
use bytes::Bytes;
use halley_machine::{
    delay::{TIMER_TOPIC, Waiting},
    state::StateRecord,
    timers::{Batch, Timer, Timers},
};
use halley_model::{Millis, RecordBody, RecordView};
use halley_store::{ReadError, StageError, disk::RealDisk};
use parking_lot::Mutex;

/// Most messages delivered as one group.
const MESSAGES_MAX: usize = 256;

/// About the most bytes delivered as one group; one message at least.
const BYTES_MAX: usize = 1 << 20;

/// How long to wait after the store refused, or could not be read.
const RETRY_MS: Millis = 100;

/// The waiting messages. Their table is locked while what is delivered is staged, so that a snapshot never has a message
/// as waiting whose delivery lies before the snapshot's place in the log.
pub(crate) struct Delayed {
    timers: Mutex<Timers>,
    queues: Queues<RealDisk>,
    writer: StateWriter,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the log could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("the store did not take the messages: {0}")]
    Stage(#[from] StageError),
}

impl Delayed {
    pub(crate) fn new(timers: Timers, queues: Queues<RealDisk>, writer: StateWriter) -> Self {
        Self { timers: Mutex::new(timers), queues, writer }
    }

    /// Takes in what was sent, and delivers what is due; when to come again. Blocks on the disk.
    pub(crate) fn round(&self) -> Option<Millis> {
        match self.follow().and_then(|()| self.deliver_due()) {
            Ok(()) => self.timers.lock().deadline(),
            Err(Error::Stage(StageError::Poisoned(_))) => None,
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

    /// The table as it is, for a snapshot.
    pub(crate) fn table(&self) -> Timers {
        self.timers.lock().clone()
    }

    fn follow(&self) -> Result<(), Error> {
        let next = self.timers.lock().next();
        follow(&self.queues.reader, TIMER_TOPIC, next, |record| self.timers.lock().see(timer_of(record)))?;
        Ok(())
    }

    fn deliver_due(&self) -> Result<(), Error> {
        loop {
            let now = clock::now();
            let due = self.timers.lock().due(now, MESSAGES_MAX);
            match due {
                Some(batch) => self.deliver(&batch, now)?,
                None => return Ok(()),
            }
        }
    }

    /// Stores what is due where it belongs, and that it is done, as one group.
    fn deliver(&self, batch: &Batch, now: Millis) -> Result<(), Error> {
        let mut recalled = Vec::with_capacity(batch.recalls.len());
        for recall in &batch.recalls {
            let record = self.read(*recall)?;
            recalled.extend(waiting(&record).and_then(|waiting| waiting.recalls.map(str::to_owned)));
        }
        let (mut done, mut records, mut bytes) = (Vec::with_capacity(batch.messages.len()), Vec::new(), 0);
        for message in &batch.messages {
            if bytes > BYTES_MAX {
                break;
            }
            let record = self.read(*message)?;
            done.push(*message);
            if waiting(&record).is_some_and(|waiting| !recalled.iter().any(|key| waiting.is_recalled_by(key)))
            {
                bytes += record.len();
                records.push(record);
            }
        }
        if batch.recalls_end && done.len() == batch.messages.len() {
            done.extend(&batch.recalls);
        }
        let properties: Vec<_> = records.iter().map(|record| delivered_properties(record, now)).collect();
        let state = StateRecord { done_timers: done, ..StateRecord::default() };
        let encoded = state.encode();
        let messages =
            records.iter().zip(&properties).filter_map(|(record, properties)| message(record, properties));
        let group: Vec<_> = messages.chain([self.writer.body(&encoded, now)]).collect();
        let mut timers = self.timers.lock();
        self.writer.stage_group(&group, now)?;
        state.done_timers.into_iter().for_each(|timer| timers.finish(timer));
        Ok(())
    }

    fn read(&self, timer: Timer) -> Result<Bytes, Error> {
        let mut entries = Vec::with_capacity(1);
        self.queues.reader.lookup(TIMER_TOPIC, 0, timer.offset(), 1, &mut entries)?;
        let entry = entries.first().expect("a timer was seen in the queue, which never shrinks");
        Ok(self.queues.reader.read(entry)?)
    }
}

/// The timer that a record of the timer topic is.
pub(crate) fn timer_of(record: RecordView<'_>) -> Timer {
    let waiting = Waiting::of(record);
    match waiting.recalls {
        Some(_) => Timer::recall(waiting.at, record.queue_offset()),
        None => Timer::message(waiting.at, record.queue_offset()),
    }
}

fn waiting(record: &Bytes) -> Option<Waiting<'_>> {
    RecordView::parse(record).ok().map(Waiting::of)
}

fn delivered_properties(record: &Bytes, now: Millis) -> Vec<u8> {
    let mut properties = Vec::new();
    if let Some(waiting) = waiting(record) {
        waiting.delivered(now, &mut properties);
    }
    properties
}

/// The message as it is delivered; `None`, said in the log, where the record does not say where it belongs.
fn message<'a>(record: &'a Bytes, properties: &'a [u8]) -> Option<RecordBody<'a>> {
    let view = RecordView::parse(record).ok()?;
    let Some((topic, queue)) = Waiting::of(view).destination() else {
        tracing::error!(offset = view.log_offset(), "a delayed message does not say where it belongs");
        return None;
    };
    Some(RecordBody { topic, queue, properties, ..RecordBody::of(&view) })
}
