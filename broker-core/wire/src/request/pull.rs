//! Pulls: requests 11 and 361 (`PullMessageRequestHeader`).

use crate::{Ext, HeaderError, encode::ExtField};
use std::borrow::Cow;

/// Bits of [`PullMessage::sys_flag`] (`PullSysFlag`, 5.5).
pub mod flag {
    /// `commit_offset` is to be committed.
    pub const COMMIT_OFFSET: i32 = 1;
    /// Wait for messages where there are none.
    pub const SUSPEND: i32 = 2;
    /// `subscription` holds the expression; else the one of the last heartbeat counts.
    pub const SUBSCRIPTION: i32 = 4;
    /// The expression names a Java class, which nobody serves any more.
    pub const CLASS_FILTER: i32 = 8;
    /// The client is a lite pull consumer.
    pub const LITE_PULL: i32 = 16;
}

/// Which messages a consumer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullMessage<'a> {
    /// The consumer's group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
    /// From this offset on.
    pub queue_offset: i64,
    /// At most so many.
    pub max_msg_nums: i32,
    /// See [`flag`].
    pub sys_flag: i32,
    /// Everything before this is done, where the flag says so.
    pub commit_offset: i64,
    /// How long to wait for messages, in milliseconds.
    pub suspend_timeout_millis: i64,
    /// The expression, where the flag says so.
    pub subscription: Option<Cow<'a, str>>,
    /// The version of the subscription that the consumer has.
    pub sub_version: i64,
    /// The expression's language, absent or "TAG", or "SQL92".
    pub expression_type: Option<Cow<'a, str>>,
    /// At most so many bytes, from 5.x clients.
    pub max_msg_bytes: Option<i32>,
    /// The broker meant, from 5.x clients.
    pub broker_name: Option<Cow<'a, str>>,
    /// A lite topic of the topic, since 5.5.
    pub lite_topic: Option<Cow<'a, str>>,
}

impl<'a> PullMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [
            consumer_group,
            topic,
            queue_id,
            queue_offset,
            max_msg_nums,
            sys_flag,
            commit_offset,
            suspend_timeout_millis,
            subscription,
            sub_version,
            expression_type,
            max_msg_bytes,
            broker_name,
            lite_topic,
        ] = ext.pick([
            "consumerGroup",
            "topic",
            "queueId",
            "queueOffset",
            "maxMsgNums",
            "sysFlag",
            "commitOffset",
            "suspendTimeoutMillis",
            "subscription",
            "subVersion",
            "expressionType",
            "maxMsgBytes",
            "bname",
            "liteTopic",
        ]);
        Ok(Self {
            consumer_group: consumer_group.text()?,
            topic: topic.text()?,
            queue_id: queue_id.i32()?,
            queue_offset: queue_offset.i64()?,
            max_msg_nums: max_msg_nums.i32()?,
            sys_flag: sys_flag.i32()?,
            commit_offset: commit_offset.i64_opt()?.unwrap_or(0),
            suspend_timeout_millis: suspend_timeout_millis.i64_opt()?.unwrap_or(0),
            subscription: subscription.text_opt(),
            sub_version: sub_version.i64_opt()?.unwrap_or(0),
            expression_type: expression_type.text_opt(),
            max_msg_bytes: max_msg_bytes.i32_opt()?,
            broker_name: broker_name.text_opt(),
            lite_topic: lite_topic.text_opt().filter(|topic| !topic.trim().is_empty()),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 14] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("queueOffset", self.queue_offset.into()),
            ("maxMsgNums", self.max_msg_nums.into()),
            ("sysFlag", self.sys_flag.into()),
            ("commitOffset", self.commit_offset.into()),
            ("suspendTimeoutMillis", self.suspend_timeout_millis.into()),
            ("subscription", self.subscription.as_deref().into()),
            ("subVersion", self.sub_version.into()),
            ("expressionType", self.expression_type.as_deref().into()),
            ("maxMsgBytes", self.max_msg_bytes.into()),
            ("bname", self.broker_name.as_deref().into()),
            ("liteTopic", self.lite_topic.as_deref().into()),
        ]
    }

    /// The header with texts of its own.
    pub fn into_owned(self) -> PullMessage<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        PullMessage {
            consumer_group: owned(self.consumer_group),
            topic: owned(self.topic),
            queue_id: self.queue_id,
            queue_offset: self.queue_offset,
            max_msg_nums: self.max_msg_nums,
            sys_flag: self.sys_flag,
            commit_offset: self.commit_offset,
            suspend_timeout_millis: self.suspend_timeout_millis,
            subscription: self.subscription.map(owned),
            sub_version: self.sub_version,
            expression_type: self.expression_type.map(owned),
            max_msg_bytes: self.max_msg_bytes,
            broker_name: self.broker_name.map(owned),
            lite_topic: self.lite_topic.map(owned),
        }
    }

    /// Whether a bit of [`flag`] is set.
    pub fn has(&self, flag: i32) -> bool {
        self.sys_flag & flag != 0
    }
}
