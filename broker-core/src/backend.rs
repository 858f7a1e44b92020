//! This broker as a [`Backend`]: what ingress, bridge and connectors see when they run in its process.

use crate::{
    acks::Stopped,
    arrivals::Registration,
    broker::Broker,
    catalog::{self, ChangeError},
    cold::{Busy, Ticket},
    queues::{Ask, Found, Source},
};
use bytes::Bytes;
use halley_backend::{Backend, Commit, Outgoing, Placed, PullError, Pulled, SendError};
use halley_machine::{
    attributes::{self, Attributes},
    offsets::Committed,
    topics::CreateError,
};
use halley_model::{
    GroupName, LogOffset, Millis, QueueId, QueueOffset, RecordBody, RecordView, TopicConfig, TopicName,
};
use halley_store::{Durability, StageError};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

impl Backend for Broker {
    async fn ensure_topic(&self, topic: &TopicName, queues: u32) -> Result<(), SendError> {
        let end = self.catalog.ensure(topic, queues).map_err(not_changed)?;
        self.reached(end).await
    }

    fn queues(&self, topic: &TopicName) -> Option<u32> {
        self.catalog.get(topic).map(|config| config.write_queues)
    }

    async fn send(&self, batch: Vec<Outgoing>) -> Result<Vec<Placed>, SendError> {
        let (placed, end) = self.stage(&batch)?;
        self.reached(end).await?;
        Ok(placed)
    }

    async fn pull(
        &self,
        topic: &TopicName,
        queue: QueueId,
        from: QueueOffset,
        records_max: usize,
        bytes_max: usize,
        wait: Duration,
    ) -> Result<Pulled, PullError> {
        if self.catalog.get(topic).is_none_or(|config| queue >= config.queues()) {
            return Err(PullError::NoSuchQueue { topic: topic.clone(), queue });
        }
        self.wait_for_records(topic, queue, from, Instant::now() + wait).await;
        let (min, max) = self.queues.bounds(topic, queue);
        if from >= max {
            return Ok(Pulled { records: Vec::new(), min, max });
        }
        let ask = Ask {
            topic: topic.as_str().into(),
            queue,
            offset: from.max(min),
            records_max,
            bytes_max,
            filter: None,
        };
        let found = self.find(ask).await?;
        let records = split(&found.runs).map_err(PullError::Read)?;
        Ok(Pulled { records, min: found.min, max: found.max })
    }

    fn committed(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> Option<Commit> {
        let Committed { offset, metadata } = self.progress.committed(group, topic, queue)?;
        Some(Commit { offset, metadata })
    }

    fn commit(&self, group: &GroupName, topic: &TopicName, queue: QueueId, commit: Commit) {
        let Commit { offset, metadata } = commit;
        self.progress.commit((group.clone(), topic.clone(), queue), Committed { offset, metadata });
    }

    async fn flush_commits(&self) -> Result<(), SendError> {
        let end = self.progress.flush().map_err(refused)?;
        self.reached(end).await
    }

    fn cluster(&self) -> &str {
        &self.identity.cluster
    }
}

/// How a topic is kept, where it is not as everything else is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicPolicy {
    /// For how long messages are kept, in milliseconds; [`Millis::MAX`] for ever.
    pub retention: Option<Millis>,
    /// When a message counts as stored.
    pub durability: Option<Durability>,
}

impl Broker {
    /// Says how a topic is kept that exists, durably when the future ends. It stands in the topic's attributes `retention.ms` and
    /// `flush.disk.type`; what is not said here is removed from them.
    pub async fn keep_topic(&self, topic: &TopicName, policy: TopicPolicy) -> Result<(), SendError> {
        let config = self.catalog.get(topic).ok_or_else(|| SendError::NoSuchTopic(topic.clone()))?;
        let retention = policy.retention.map(|ms| if ms == Millis::MAX { -1 } else { ms }.to_string());
        let flush = policy.durability.map(|durability| match durability {
            Durability::Os => attributes::FLUSH_ASYNC.to_owned(),
            Durability::Sync => attributes::FLUSH_SYNC.to_owned(),
        });
        let mut changes = Attributes::new();
        for (name, wanted) in [(attributes::RETENTION, retention), (attributes::FLUSH, flush)] {
            match (wanted, config.attributes.get(name)) {
                (Some(wanted), now) if now != Some(&wanted) => _ = changes.insert(format!("+{name}"), wanted),
                (None, Some(_)) => _ = changes.insert(format!("-{name}"), String::new()),
                _ => {}
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let end = self.catalog.update(TopicConfig::clone(&config), &changes).map_err(not_changed)?;
        self.reached(end).await
    }

    fn stage(&self, batch: &[Outgoing]) -> Result<(Vec<Placed>, LogOffset), SendError> {
        let mut bodies = Vec::with_capacity(batch.len());
        let mut durability = Durability::Os;
        for message in batch {
            let Some(config) = self.catalog.get(&message.topic) else {
                return Err(SendError::NoSuchTopic(message.topic.clone()));
            };
            let queue = message.queue.unwrap_or_else(|| catalog::next_queue(&config));
            durability = durability.max(self.appends.durability_of(&config));
            bodies.push(RecordBody {
                topic: &message.topic,
                queue,
                flag: 0,
                system_flag: 0,
                born: message.born,
                born_host: self.identity.address,
                reconsume_times: 0,
                prepared_offset: 0,
                body: &message.body,
                properties: &message.properties,
                dispatched: false,
            });
        }
        let mut places = Vec::with_capacity(batch.len());
        let staged = self.appends.stage_sent().and_then(|mut staging| {
            staging.ask(durability);
            staging.append_group(&bodies, &mut places)
        });
        staged.map_err(refused)?;
        let end = places.last().map_or(0, |last| last.log_offset + 1);
        let placed = places.iter().zip(&bodies).map(|(place, body)| Placed {
            queue: body.queue,
            queue_offset: place.queue_offset,
            log_offset: place.log_offset,
        });
        Ok((placed.collect(), end))
    }

    async fn reached(&self, end: LogOffset) -> Result<(), SendError> {
        self.appends.acks.reached(end).await.map_err(|Stopped| {
            SendError::Stopped(
                self.appends.log.poisoned().unwrap_or_else(|| "the log's thread ended".to_owned()),
            )
        })
    }

    /// Ends when the queue has a record at `from`, or at `until`.
    async fn wait_for_records(&self, topic: &str, queue: QueueId, from: QueueOffset, until: Instant) {
        let notify = Arc::new(Notify::new());
        while self.queues.bounds(topic, queue).1 <= from && Instant::now() < until {
            let _registration = Registration::new(&self.queues.arrivals, topic, queue, &notify);
            if self.queues.bounds(topic, queue).1 <= from {
                // Whether it was woken or the time is over shows in the loop's condition.
                let _ = timeout_at(until, notify.notified()).await;
            }
        }
    }

    /// Looks, for rules at every message of a compaction topic too: in memory, and beside the connections' threads on the disk.
    async fn find(&self, ask: Ask) -> Result<Found, PullError> {
        let read_error = |error: &dyn std::fmt::Display| PullError::Read(error.to_string());
        if let Ok(found) = self.queues.look_whole(&ask, Source::Memory).map_err(|error| read_error(&error))? {
            return Ok(found);
        }
        let queues = self.queues.clone();
        let (tell, told) = oneshot::channel();
        let read = move |ticket: &mut Ticket| {
            let looked = queues.look_whole(&ask, Source::Disk);
            if let Ok(Ok(found)) = &looked {
                // A rule holds what it has not delivered, perhaps for long: that must not keep others waiting.
                ticket.read(found.runs.iter().map(Bytes::len).sum());
            }
            // Whoever asked may be gone.
            _ = tell.send(looked);
        };
        let busy = |Busy| PullError::Read("too many reads wait for the disk".to_owned());
        self.cold.read(&self.rules_lane, read).map_err(busy)?;
        let looked = told.await.map_err(|error| read_error(&error))?.map_err(|error| read_error(&error))?;
        let found =
            looked.map_err(|_| PullError::Read("the disk was asked and did not answer".to_owned()))?;
        match found.damaged {
            // No rule goes past an event unseen.
            Some(damaged) => Err(read_error(&damaged)),
            None => Ok(found),
        }
    }
}

/// The error for a topic that was not changed.
fn not_changed(error: ChangeError) -> SendError {
    match error {
        ChangeError::Stage(error) => refused(error),
        ChangeError::Create(CreateError::NoPattern { topic }) => SendError::NoSuchTopic(topic),
        ChangeError::Create(error) => SendError::Invalid(error.to_string()),
    }
}

/// The error for a store that did not take a batch.
pub(crate) fn refused(error: StageError) -> SendError {
    match error {
        StageError::Overloaded { staged, max } => SendError::Overloaded { staged, max },
        StageError::NoSegment => SendError::NoSegment,
        StageError::Full => SendError::Full,
        StageError::Poisoned(reason) => SendError::Stopped(reason),
        StageError::Record(_) | StageError::Queue(_) | StageError::TooLong { .. } => {
            SendError::Invalid(error.to_string())
        }
    }
}

/// The single records of runs, without copying.
fn split(runs: &[Bytes]) -> Result<Vec<Bytes>, String> {
    let mut records = Vec::new();
    for run in runs {
        let mut rest = run.clone();
        while !rest.is_empty() {
            let len = RecordView::parse(&rest).map_err(|error| error.to_string())?.total_len();
            records.push(rest.split_to(len));
        }
    }
    Ok(records)
}
