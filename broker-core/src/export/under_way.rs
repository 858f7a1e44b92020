//! What waits, stored again where RocketMQ looks for it.

use super::{Export, ExportError};
use bytes::Bytes;
use halley_machine::{
    delay::{TIMER_TOPIC, Waiting, by_second},
    pop::{PopQueue, cursor},
    state::Tables,
    transactions::HALF_TOPIC,
};
use halley_model::{
    Millis, QueueOffset, RecordBody, RecordView, property,
    record::{Place, flag},
};
use halley_store::ReadError;
use halley_takeover::{REVIVE_TOPIC_PREFIX, pops};

/// A checkpoint is delivered so long before its messages are visible again (`PopAckConstants.ackTimeInterval`, 5.5).
const ACK_MS: Millis = 1000;

impl Export<'_> {
    pub(super) fn under_way(&mut self, tables: &Tables) -> Result<(), ExportError> {
        let mut next = 0;
        for offset in tables.timers.offsets() {
            self.timer(&self.record(TIMER_TOPIC, offset)?, &mut next)?;
        }
        self.report.timers = next;
        next = 0;
        for (offset, times) in tables.transactions.open() {
            self.half(&self.record(HALF_TOPIC, offset)?, times, &mut next)?;
        }
        self.report.transactions = next;
        self.report.in_flight = self.pops(tables)?;
        Ok(())
    }

    /// A message that waits, or a recall.
    fn timer(&mut self, bytes: &Bytes, next: &mut QueueOffset) -> Result<(), ExportError> {
        let record = parse(bytes)?;
        let at = by_second(Waiting::of(record).at);
        let mut properties = Vec::new();
        const OWN: [&str; 4] = [
            property::DELAY_LEVEL,
            property::TIMER_OUT_MS,
            property::TIMER_ENQUEUE_MS,
            property::TIMER_ROLL_TIMES,
        ];
        property::copy_where(record.properties(), &mut properties, |key| !OWN.contains(&key));
        property::push(&mut properties, property::TIMER_OUT_MS, &at.to_string());
        let body =
            RecordBody { topic: TIMER_TOPIC, queue: 0, properties: &properties, ..RecordBody::of(&record) };
        self.put(&body, &record, next)
    }

    /// A half message: RocketMQ asks its producer soon.
    fn half(&mut self, bytes: &Bytes, times: u32, next: &mut QueueOffset) -> Result<(), ExportError> {
        let half = parse(bytes)?;
        let mut properties = Vec::new();
        property::copy_where(half.properties(), &mut properties, |key| {
            key != property::TRANSACTION_CHECK_TIMES
        });
        if times > 0 {
            property::push(&mut properties, property::TRANSACTION_CHECK_TIMES, &times.to_string());
        }
        let system_flag = half.system_flag() & !flag::TRANSACTION;
        let body = RecordBody { system_flag, properties: &properties, ..RecordBody::of(&half) };
        self.put(&body, &half, next)
    }

    /// A checkpoint for each message in flight; how many.
    fn pops(&mut self, tables: &Tables) -> Result<u64, ExportError> {
        let topic = format!("{REVIVE_TOPIC_PREFIX}{}", self.options.cluster);
        let mut next = 0;
        for ((group, of, queue), committed) in tables.offsets.iter() {
            if !cursor::is_cursor(&committed.metadata) {
                continue;
            }
            let Ok(popped) = PopQueue::restore(committed.offset, &committed.metadata) else { continue };
            for flight in popped.flights() {
                // The message itself says when and by whom the checkpoint is taken to be stored.
                let Some(bytes) = self.reader.record_of(of, *queue, flight.offset)? else { continue };
                let message = parse(&bytes)?;
                let checkpoint =
                    pops::Checkpoint::of(&self.options.name, group, of, *queue, &flight).encode();
                let mut properties = Vec::new();
                property::push(&mut properties, property::TAGS, pops::CHECKPOINT_TAG);
                let at = flight.visible.max(flight.popped).saturating_sub(ACK_MS);
                property::push(&mut properties, property::TIMER_DELIVER_MS, &at.to_string());
                let key = format!(
                    "{of}@{queue}@{}@{group}@{}@{}@ck",
                    flight.offset, flight.popped, self.options.name
                );
                property::push(&mut properties, property::UNIQUE_KEY, &key);
                let body = RecordBody {
                    topic: &topic,
                    queue: 0,
                    flag: 0,
                    system_flag: 0,
                    reconsume_times: 0,
                    prepared_offset: 0,
                    body: &checkpoint,
                    properties: &properties,
                    ..RecordBody::of(&message)
                };
                self.put(&body, &message, &mut next)?;
            }
        }
        Ok(next)
    }

    /// Writes a record at the end of a queue of RocketMQ's own, with times and hosts of another.
    fn put(
        &mut self,
        body: &RecordBody<'_>,
        like: &RecordView<'_>,
        next: &mut QueueOffset,
    ) -> Result<(), ExportError> {
        let place = Place {
            queue_offset: *next,
            log_offset: 0,
            stored: like.stored(),
            store_host: like.store_host(),
        };
        let mut bytes = Vec::new();
        body.encode(&place, &mut bytes);
        *next += 1;
        self.copy(&bytes, &parse(&bytes)?).map(drop)
    }

    fn record(&self, topic: &str, offset: QueueOffset) -> Result<Bytes, ExportError> {
        let gone = || ReadError::Damaged { at: offset, reason: format!("{topic} has no message here") };
        Ok(self.reader.record_of(topic, 0, offset)?.ok_or_else(gone)?)
    }
}

fn parse(bytes: &[u8]) -> Result<RecordView<'_>, ReadError> {
    RecordView::parse(bytes).map_err(|error| ReadError::Damaged { at: 0, reason: error.to_string() })
}
