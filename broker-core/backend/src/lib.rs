//! The one interface through which ingress, bridge and connectors see a broker.
//!
//! Two implementations are meant: the broker in this process (`halley-broker`), and a Remoting client of brokers
//! elsewhere. Whoever depends on this crate runs joined to storage or apart from it without knowing which.

use bytes::Bytes;
use halley_model::{GroupName, LogOffset, Millis, QueueId, QueueOffset, TopicName};
use std::{future::Future, time::Duration};

/// A message to be stored.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The topic; it must exist (see [`Backend::ensure_topic`]).
    pub topic: TopicName,
    /// The queue, `None` for the broker's choice.
    pub queue: Option<QueueId>,
    /// The payload.
    pub body: Bytes,
    /// Raw properties, see [`halley_model::property`].
    pub properties: Bytes,
    /// When the producer made it.
    pub born: Millis,
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its queue.
    pub queue: QueueId,
    /// Its position there.
    pub queue_offset: QueueOffset,
    /// Its position in the log.
    pub log_offset: LogOffset,
}

/// Why messages were not stored. Nothing of the batch is in the log, unless the error says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No such topic.
    #[error("the topic {0} does not exist")]
    NoSuchTopic(TopicName),
    /// A message breaks a limit of the record format.
    #[error("{0}")]
    Invalid(String),
    /// More is waiting to be written than the store allows; try again.
    #[error("the store has {staged} bytes waiting to be written, its limit is {max}")]
    Overloaded {
        /// bytes waiting
        staged: usize,
        /// the limit
        max: usize,
    },
    /// The store reserves its next segment at this moment; try again.
    #[error("the next log segment is not reserved yet")]
    NoSegment,
    /// The disk has no room for another segment; try again when there is.
    #[error("the disk is full: no room for another log segment")]
    Full,
    /// The store stopped after a failed write or sync: whether the batch is in the log is unknown.
    #[error("the store stopped: {0}")]
    Stopped(String),
}

/// Records of one queue.
#[derive(Debug, Clone, Default)]
pub struct Pulled {
    /// Whole stored records in queue order, without gaps, the first at the asked offset (or later where that was
    /// already deleted).
    pub records: Vec<Bytes>,
    /// The queue's first offset still there.
    pub min: QueueOffset,
    /// The offset the next record of this queue will get.
    pub max: QueueOffset,
}

/// Why nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// No such topic or queue.
    #[error("the queue {queue} of topic {topic} does not exist")]
    NoSuchQueue {
        /// the topic
        topic: TopicName,
        /// the queue
        queue: QueueId,
    },
    /// The log could not be read.
    #[error("the log could not be read: {0}")]
    Read(String),
}

/// A group's progress in one queue, as last committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Everything before this offset is done.
    pub offset: QueueOffset,
    /// What the group wants to remember beside it, e.g. which later offsets are done; at most 1 MiB.
    pub metadata: String,
}

/// A broker.
pub trait Backend: Send + Sync + 'static {
    /// Makes sure that the topic exists with at least `queues` queues, durably when the future ends.
    fn ensure_topic(
        &self,
        topic: &TopicName,
        queues: u32,
    ) -> impl Future<Output = Result<(), SendError>> + Send;

    /// The number of queues of a topic, `None` where it does not exist.
    fn queues(&self, topic: &TopicName) -> Option<u32>;

    /// Stores the messages, all or none, and ends when they are as durable as the store's policy asks.
    fn send(&self, batch: Vec<Outgoing>) -> impl Future<Output = Result<Vec<Placed>, SendError>> + Send;

    /// Records of one queue from `from` on, at most `records_max` and about `bytes_max` bytes (at least one record
    /// where there is one). Waits up to `wait` for the first. `from` below the queue's first offset starts there;
    /// `from` beyond its end waits.
    fn pull(
        &self,
        topic: &TopicName,
        queue: QueueId,
        from: QueueOffset,
        records_max: usize,
        bytes_max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Pulled, PullError>> + Send;

    /// What the group last committed for the queue.
    fn committed(&self, group: &GroupName, topic: &TopicName, queue: QueueId) -> Option<Commit>;

    /// Remembers the group's progress. It is durable within about a second, and when the broker stops.
    fn commit(&self, group: &GroupName, topic: &TopicName, queue: QueueId, commit: Commit);

    /// Ends when everything committed so far is as durable as a sent message.
    fn flush_commits(&self) -> impl Future<Output = Result<(), SendError>> + Send;

    /// The cluster's name.
    fn cluster(&self) -> &str;
}
