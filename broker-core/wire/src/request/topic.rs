//! Topics: request 17 (`CreateTopicRequestHeader`).

use crate::{Ext, HeaderError, encode::ExtField};
use std::borrow::Cow;

/// A topic to be created or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopic<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// Not used by brokers; "" where the client does not say.
    pub default_topic: Cow<'a, str>,
    /// Queues that consumers read.
    pub read_queue_nums: i32,
    /// Queues that producers write.
    pub write_queue_nums: i32,
    /// RocketMQ's bits 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// "SINGLE_TAG" or "MULTI_TAG".
    pub topic_filter_type: Option<Cow<'a, str>>,
    /// Passed through.
    pub topic_sys_flag: i32,
    /// Passed through.
    pub order: bool,
    /// Changes of attributes, `+name=value,-name`, since 5.0.
    pub attributes: Option<Cow<'a, str>>,
}

/// Whether a request counts in a static topic's queues, which every request of a client does, or in the broker's own (`lo` of
/// `TopicRequestHeader`): one that another broker passes on says `false`.
pub fn is_logical(ext: &Ext<'_>) -> bool {
    let [logical] = ext.pick(["lo"]);
    logical.bool_opt() != Some(false)
}

/// Whether who asks for a topic's settings asks for its mapping too (351), or sets it whatever was before (513).
pub fn has(ext: &Ext<'_>, name: &'static str) -> bool {
    let [field] = ext.pick([name]);
    field.bool_opt() == Some(true)
}

impl<'a> CreateTopic<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, default_topic, read, write, perm, filter, sys_flag, order, attributes] = ext.pick([
            "topic",
            "defaultTopic",
            "readQueueNums",
            "writeQueueNums",
            "perm",
            "topicFilterType",
            "topicSysFlag",
            "order",
            "attributes",
        ]);
        Ok(Self {
            topic: topic.text()?,
            default_topic: default_topic.text_opt().unwrap_or_default(),
            read_queue_nums: read.i32()?,
            write_queue_nums: write.i32()?,
            perm: perm.i32()?,
            topic_filter_type: filter.text_opt(),
            topic_sys_flag: sys_flag.i32_opt()?.unwrap_or(0),
            order: order.bool_opt().unwrap_or(false),
            attributes: attributes.text_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 9] {
        [
            ("topic", (&*self.topic).into()),
            ("defaultTopic", (&*self.default_topic).into()),
            ("readQueueNums", self.read_queue_nums.into()),
            ("writeQueueNums", self.write_queue_nums.into()),
            ("perm", self.perm.into()),
            ("topicFilterType", self.topic_filter_type.as_deref().into()),
            ("topicSysFlag", self.topic_sys_flag.into()),
            ("order", self.order.into()),
            ("attributes", self.attributes.as_deref().into()),
        ]
    }
}
