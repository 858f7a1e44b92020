//! Offsets: requests 14 and 15 (of a group), 29 to 31 (of a queue).

use crate::{Ext, HeaderError, encode::ExtField};
use std::borrow::Cow;

/// Asks for a group's committed offset (14, `QueryConsumerOffsetRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConsumerOffset<'a> {
    /// The group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
    /// `Some(false)`: an unknown group is an error (QUERY_NOT_FOUND), never 0.
    pub set_zero_if_not_found: Option<bool>,
}

/// Commits a group's offset (15, `UpdateConsumerOffsetRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateConsumerOffset<'a> {
    /// The group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
    /// Everything before this offset is done.
    pub commit_offset: i64,
}

/// Asks for an offset by time (29, `SearchOffsetRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchOffset<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
    /// The store time looked for, milliseconds since the epoch.
    pub timestamp: i64,
    /// Which of several messages of that time.
    pub boundary: Boundary,
    /// A lite topic of the topic, since 5.5.
    pub lite_topic: Option<Cow<'a, str>>,
}

/// Which of several messages stored in the same millisecond (`BoundaryType`, 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first; also for every unknown word.
    Lower,
    /// The last.
    Upper,
}

/// Asks for a queue's end (30, `GetMaxOffsetRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMaxOffset<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
    /// Count only what every policy would let consumers see; absent means true.
    pub committed: bool,
}

/// Asks for a queue's first offset (31, `GetMinOffsetRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMinOffset<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
}

impl<'a> QueryConsumerOffset<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, queue, zero] =
            ext.pick(["consumerGroup", "topic", "queueId", "setZeroIfNotFound"]);
        Ok(Self {
            consumer_group: group.text()?,
            topic: topic.text()?,
            queue_id: queue.i32()?,
            set_zero_if_not_found: zero.bool_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 4] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("setZeroIfNotFound", self.set_zero_if_not_found.into()),
        ]
    }
}

impl<'a> UpdateConsumerOffset<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, queue, offset] = ext.pick(["consumerGroup", "topic", "queueId", "commitOffset"]);
        Ok(Self {
            consumer_group: group.text()?,
            topic: topic.text()?,
            queue_id: queue.i32()?,
            commit_offset: offset.i64()?,
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 4] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("commitOffset", self.commit_offset.into()),
        ]
    }
}

impl<'a> SearchOffset<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, queue, timestamp, boundary, lite] =
            ext.pick(["topic", "queueId", "timestamp", "boundaryType", "liteTopic"]);
        let upper = boundary.text_opt().is_some_and(|word| word.eq_ignore_ascii_case("upper"));
        Ok(Self {
            topic: topic.text()?,
            queue_id: queue.i32()?,
            timestamp: timestamp.i64()?,
            boundary: if upper { Boundary::Upper } else { Boundary::Lower },
            lite_topic: lite.text_opt().filter(|topic| !topic.trim().is_empty()),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 5] {
        let boundary = match self.boundary {
            Boundary::Lower => "LOWER",
            Boundary::Upper => "UPPER",
        };
        [
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("timestamp", self.timestamp.into()),
            ("boundaryType", boundary.into()),
            ("liteTopic", self.lite_topic.as_deref().into()),
        ]
    }
}

impl<'a> GetMaxOffset<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, queue, committed] = ext.pick(["topic", "queueId", "committed"]);
        Ok(Self {
            topic: topic.text()?,
            queue_id: queue.i32()?,
            committed: committed.bool_opt().unwrap_or(true),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 3] {
        [
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("committed", self.committed.into()),
        ]
    }
}

impl<'a> GetMinOffset<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, queue] = ext.pick(["topic", "queueId"]);
        Ok(Self { topic: topic.text()?, queue_id: queue.i32()? })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 2] {
        [("topic", (&*self.topic).into()), ("queueId", self.queue_id.into())]
    }
}
