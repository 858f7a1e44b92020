//! Messages taken back by consumers and producers: requests 36 and 370.

use crate::{Ext, HeaderError, encode::ExtField};
use std::borrow::Cow;

/// A consumer failed on a message (`ConsumerSendMsgBackRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendBack<'a> {
    /// The message's log offset.
    pub offset: i64,
    /// The consumer's group.
    pub group: Cow<'a, str>,
    /// The delay level before the next attempt; 0 for the usual, negative to give up.
    pub delay_level: i32,
    /// The message's id, as the consumer knows it.
    pub origin_message_id: Option<Cow<'a, str>>,
    /// The topic that the message came from.
    pub origin_topic: Option<Cow<'a, str>>,
    /// Passed through.
    pub unit_mode: bool,
    /// Attempts after the first before the message is given up; the group's setting where absent.
    pub max_reconsume_times: Option<i32>,
}

impl<'a> SendBack<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [offset, group, level, id, topic, unit, max] = ext.pick([
            "offset",
            "group",
            "delayLevel",
            "originMsgId",
            "originTopic",
            "unitMode",
            "maxReconsumeTimes",
        ]);
        Ok(Self {
            offset: offset.i64()?,
            group: group.text()?,
            delay_level: level.i32()?,
            origin_message_id: id.text_opt(),
            origin_topic: topic.text_opt(),
            unit_mode: unit.bool_opt().unwrap_or(false),
            max_reconsume_times: max.i32_opt()?,
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 7] {
        [
            ("offset", self.offset.into()),
            ("group", (&*self.group).into()),
            ("delayLevel", self.delay_level.into()),
            ("originMsgId", self.origin_message_id.as_deref().into()),
            ("originTopic", self.origin_topic.as_deref().into()),
            ("unitMode", self.unit_mode.into()),
            ("maxReconsumeTimes", self.max_reconsume_times.into()),
        ]
    }
}

/// A timer message is taken back (`RecallMessageRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallMessage<'a> {
    /// The producer's group.
    pub producer_group: Option<Cow<'a, str>>,
    /// The message's topic.
    pub topic: Cow<'a, str>,
    /// What the reply to the send said, see [`crate::RecallHandle`].
    pub recall_handle: Cow<'a, str>,
}

impl<'a> RecallMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, handle] = ext.pick(["producerGroup", "topic", "recallHandle"]);
        Ok(Self { producer_group: group.text_opt(), topic: topic.text()?, recall_handle: handle.text()? })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 3] {
        [
            ("producerGroup", self.producer_group.as_deref().into()),
            ("topic", (&*self.topic).into()),
            ("recallHandle", (&*self.recall_handle).into()),
        ]
    }
}
