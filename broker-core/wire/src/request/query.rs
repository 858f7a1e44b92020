//! Looking for single messages: requests 12, 33 and 321.

use crate::{Ext, HeaderError, encode::ExtField};
use std::borrow::Cow;

/// Messages by key (`QueryMessageRequestHeader`, 12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMessage<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The key, unique key or tag.
    pub key: Cow<'a, str>,
    /// How many at most.
    pub max_num: i32,
    /// Stored at this time or later, milliseconds since the epoch.
    pub begin_timestamp: i64,
    /// Stored at this time or earlier.
    pub end_timestamp: i64,
    /// Which index, since 5.5: "K" keys, "U" unique keys, "T" tags.
    pub index_type: Option<Cow<'a, str>>,
    /// Where to go on, since 5.5, see `mqadmin queryMsgByKey`: `hour@topic@type@key@unique key@log offset`.
    pub last_key: Option<Cow<'a, str>>,
    /// Whether a unique key is meant, whatever `index_type` says.
    pub unique_key: bool,
}

impl<'a> QueryMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, key, max_num, begin, end, index_type, last_key, unique] = ext.pick([
            "topic",
            "key",
            "maxNum",
            "beginTimestamp",
            "endTimestamp",
            "indexType",
            "lastKey",
            "_UNIQUE_KEY_QUERY",
        ]);
        Ok(Self {
            topic: topic.text()?,
            key: key.text()?,
            max_num: max_num.i32()?,
            begin_timestamp: begin.i64()?,
            end_timestamp: end.i64()?,
            index_type: index_type.text_opt(),
            last_key: last_key.text_opt(),
            unique_key: unique.bool_opt().unwrap_or(false),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 8] {
        [
            ("topic", (&*self.topic).into()),
            ("key", (&*self.key).into()),
            ("maxNum", self.max_num.into()),
            ("beginTimestamp", self.begin_timestamp.into()),
            ("endTimestamp", self.end_timestamp.into()),
            ("indexType", self.index_type.as_deref().into()),
            ("lastKey", self.last_key.as_deref().into()),
            ("_UNIQUE_KEY_QUERY", self.unique_key.into()),
        ]
    }
}

/// The message at a log offset (`ViewMessageRequestHeader`, 33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewMessage {
    /// The log offset.
    pub offset: i64,
}

impl ViewMessage {
    /// Reads the header.
    pub fn decode(ext: &Ext<'_>) -> Result<Self, HeaderError> {
        let [offset] = ext.pick(["offset"]);
        Ok(Self { offset: offset.i64()? })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 1] {
        [("offset", self.offset.into())]
    }
}

/// Entries of a queue's index (`QueryConsumeQueueRequestHeader`, 321).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConsumeQueue<'a> {
    /// The topic; "" where it does not say.
    pub topic: Cow<'a, str>,
    /// The queue; like the numbers below 0 where it does not say.
    pub queue_id: i32,
    /// The first entry wanted.
    pub index: i64,
    /// How many.
    pub count: i32,
    /// A group whose subscription is to be shown too.
    pub consumer_group: Option<Cow<'a, str>>,
}

impl<'a> QueryConsumeQueue<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, queue_id, index, count, group] =
            ext.pick(["topic", "queueId", "index", "count", "consumerGroup"]);
        Ok(Self {
            topic: topic.text_opt().unwrap_or_default(),
            queue_id: queue_id.i32_opt()?.unwrap_or(0),
            index: index.i64_opt()?.unwrap_or(0),
            count: count.i32_opt()?.unwrap_or(0),
            consumer_group: group.text_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 5] {
        [
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("index", self.index.into()),
            ("count", self.count.into()),
            ("consumerGroup", self.consumer_group.as_deref().into()),
        ]
    }
}
