//! Messages whose time is over go to the group's retry topic (`PopReviveService.reviveRetry`, RocketMQ 5.5).
//!
//! One task waits for the earliest time, and for nothing else. What it appends is as durable as the policy asks before
//! the message counts as finished where it came from.

use super::{Pops, Slot};
use crate::{
    acks::{Acks, Stopped},
    appends::Appends,
    arrivals::Arrivals,
    catalog::Catalog,
    clock,
    identity::Identity,
    lite::LiteTopics,
    metrics::BrokerMetrics,
    progress::Progress,
    settings::{Flag, Settings},
};
use halley_machine::{lite, offsets::Committed, pop::Due};
use halley_model::{
    GroupName, LogOffset, Millis, QueueId, RecordBody, RecordView, TopicName, name, property,
};
use halley_store::{LogReader, disk::RealDisk};
use halley_wire::pop::Retry as Retried;
use std::sync::Arc;
use tokio::sync::watch;

/// Most messages moved together.
const MESSAGES_MAX: usize = 1_024;

/// About the most bytes read before they are appended.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message that could not be read or stored is tried again after this.
const RETRY_AFTER: Millis = 1_000;

/// Queues of a retry topic that has all messages in one (`PopAckConstants.retryQueueNum`, 5.5).
const RETRY_QUEUES: u32 = 1;

/// What moving messages uses.
#[derive(Clone)]
pub(crate) struct Reviver {
    pub(crate) identity: Identity,
    pub(crate) pops: Arc<Pops>,
    pub(crate) appends: Appends,
    pub(crate) reader: LogReader<RealDisk>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) metrics: Arc<BrokerMetrics>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) lite: Arc<LiteTopics>,
}

/// A message whose time is over.
type Overdue = (Arc<Slot>, Due);

/// What became of some messages.
#[derive(Default)]
struct Moved {
    /// Finished once the log is acknowledged up to `end`.
    finished: Vec<Overdue>,
    /// To be tried again.
    failed: Vec<Overdue>,
    end: LogOffset,
}

impl Reviver {
    /// Moves messages until `shutdown` turns true or the store stops.
    pub(crate) async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            tokio::select! {
                () = self.pops.alarm() => {}
                _ = shutdown.changed() => return,
            }
            if self.round(&self.appends.acks).await == Err(Stopped) {
                return;
            }
        }
    }

    async fn round(&self, acks: &Acks) -> Result<(), Stopped> {
        let polling = &self.arrivals.polling;
        let overdue = self.pops.take_due(clock::now(), MESSAGES_MAX, |(group, topic, queue)| {
            polling.wake_group(topic, group, *queue);
            if topic.starts_with(lite::PREFIX) {
                self.lite.dispatch(group, topic);
            }
        });
        if overdue.is_empty() {
            return Ok(());
        }
        let reviver = self.clone();
        let given = overdue.clone();
        // Reading blocks on the disk.
        let moved = tokio::task::spawn_blocking(move || reviver.move_all(given)).await;
        let Moved { finished, failed, end } = moved.unwrap_or_else(|error| {
            tracing::error!(%error, "messages were not moved to their retry topics");
            Moved { failed: overdue, ..Moved::default() }
        });
        acks.reached(end).await?;
        let now = clock::now();
        self.metrics.revived.inc_by(finished.len() as u64);
        for (slot, due) in finished {
            self.pops.lock(&slot, now).revived(due.offset);
        }
        for (slot, due) in failed {
            self.pops.lock(&slot, now).postpone(due.offset, now + RETRY_AFTER);
        }
        Ok(())
    }

    fn move_all(&self, overdue: Vec<Overdue>) -> Moved {
        let mut moved = Moved::default();
        let mut read = Vec::new();
        let mut bytes = 0;
        for (slot, due) in overdue {
            match self.read(&slot, &due) {
                Ok(Some(retry)) => {
                    bytes += retry.properties.len() + retry.record.len();
                    read.push(((slot, due), retry));
                }
                // Topic, group or message are no more.
                Ok(None) => moved.finished.push((slot, due)),
                Err(error) => {
                    let (group, topic, queue) = slot.key();
                    let offset = due.offset;
                    tracing::warn!(%group, %topic, queue, offset, error, "a message was not moved to its retry topic");
                    moved.failed.push((slot, due));
                }
            }
            if bytes > BYTES_MAX {
                self.append(std::mem::take(&mut read), &mut moved);
                bytes = 0;
            }
        }
        self.append(read, &mut moved);
        moved
    }

    /// The message as it will stand in the retry topic; `None` where there is nothing to move, or nowhere to move it.
    fn read(&self, slot: &Slot, due: &Due) -> Result<Option<Retry>, String> {
        let (group, topic, queue) = slot.key();
        let is_retry = topic.starts_with(name::RETRY_PREFIX);
        if self.catalog.get(topic).is_none() || self.catalog.group(group).is_none() {
            return Ok(None);
        }
        let record = self.reader.record_of(topic, *queue, due.offset);
        let Some(record) = record.map_err(|error| error.to_string())? else { return Ok(None) };
        let view = RecordView::parse(&record).map_err(|error| error.to_string())?;

        let retry_topic = if is_retry {
            topic.clone()
        } else if self.settings.is(Flag::RetryTopicV2) {
            TopicName::pop_retry_v2_of(group, topic).map_err(|error| error.to_string())?
        } else {
            TopicName::pop_retry_of(group, topic).map_err(|error| error.to_string())?
        };
        let retry_queue = self.retry_queue(group, topic, &retry_topic, *queue)?;
        let reconsume_times = view.reconsume_times().saturating_add(i32::from(!due.suspended));
        let first = view.reconsume_times() == 0 || view.property(property::FIRST_POP_TIME).is_none();
        let mut changes = vec![(property::ORIGIN_GROUP, group.to_string())];
        if first {
            changes.push((property::FIRST_POP_TIME, due.popped.to_string()));
        }
        let properties = property::with(view.properties(), &changes);
        Ok(Some(Retry { topic: retry_topic, queue: retry_queue, reconsume_times, properties, record }))
    }

    /// The queue of the retry topic for a message out of `queue`; the topic is made, or gets as many queues as the topic has
    /// that is retried (`addRetryTopicIfNotExist`, `getRetryQueueId`).
    fn retry_queue(
        &self,
        group: &GroupName,
        topic: &TopicName,
        retry_topic: &TopicName,
        queue: QueueId,
    ) -> Result<QueueId, String> {
        let separate = self.settings.is(Flag::SeparateRetryQueues);
        let mut queues = RETRY_QUEUES;
        if separate {
            let own = Retried::topic_of(topic, group);
            queues = self.catalog.get(own).map_or(RETRY_QUEUES, |own| own.write_queues);
        }
        if self.catalog.get(retry_topic).is_none_or(|existing| separate && existing.write_queues < queues) {
            self.catalog.ensure(retry_topic, queues).map_err(|error| error.to_string())?;
            // So that the first pop sees what comes (`initPopRetryOffset`).
            for queue in 0..queues {
                if self.progress.committed(group, retry_topic, queue).is_none() {
                    self.progress.commit((group.clone(), retry_topic.clone(), queue), Committed::default());
                }
            }
        }
        Ok(if separate && queue < queues { queue } else { 0 })
    }

    fn append(&self, read: Vec<(Overdue, Retry)>, moved: &mut Moved) {
        if read.is_empty() {
            return;
        }
        let mut staging = match self.appends.log.stage(clock::now()) {
            Ok(staging) => staging,
            Err(error) => {
                tracing::warn!(%error, "messages were not moved to their retry topics");
                moved.failed.extend(read.into_iter().map(|(overdue, _)| overdue));
                return;
            }
        };
        for (overdue, retry) in read {
            let view = RecordView::parse(&retry.record).expect("it was parsed when it was read");
            let staged = staging.append(&RecordBody {
                topic: &retry.topic,
                queue: retry.queue,
                born_host: self.identity.address,
                reconsume_times: retry.reconsume_times,
                prepared_offset: 0,
                properties: &retry.properties,
                ..RecordBody::of(&view)
            });
            match staged {
                Ok(placed) => {
                    moved.end = moved.end.max(placed.log_offset + 1);
                    moved.finished.push(overdue);
                }
                Err(error) => {
                    tracing::warn!(%error, topic = &*retry.topic, "a message was not moved to its retry topic");
                    moved.failed.push(overdue);
                }
            }
        }
    }
}

struct Retry {
    topic: TopicName,
    queue: QueueId,
    reconsume_times: i32,
    properties: Vec<u8>,
    record: bytes::Bytes,
}
