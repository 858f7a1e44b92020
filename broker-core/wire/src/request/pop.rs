//! Consumption by POP: requests 200050 to 200055 and 200151.

use crate::{
    Ext, HeaderError,
    encode::ExtField,
    json::{self, BodyError, null_is_default},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize as ToJson};
use std::borrow::Cow;

/// Where a group that never consumed a queue begins (`ConsumeInitMode`).
pub mod init_mode {
    /// At the first message still there.
    pub const MIN: i32 = 0;
    /// At the last message.
    pub const MAX: i32 = 1;
}

/// Takes messages, which are hidden from other consumers for a while (200050, `PopMessageRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopMessage<'a> {
    /// The consumer's group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue, all of the topic where negative.
    pub queue_id: i32,
    /// At most so many, no more than 32.
    pub max_msg_nums: i32,
    /// How long they are hidden, in milliseconds.
    pub invisible_time: i64,
    /// How long to wait for messages, in milliseconds.
    pub poll_time: i64,
    /// When the client asked, milliseconds; 0 for when the request arrives.
    pub born_time: i64,
    /// See [`init_mode`].
    pub init_mode: i32,
    /// The expression's language, absent or "TAG", or "SQL92".
    pub exp_type: Option<Cow<'a, str>>,
    /// The expression, everything where absent or empty.
    pub exp: Option<Cow<'a, str>>,
    /// Each queue's messages are to be consumed one after the other.
    pub order: bool,
    /// The attempt, the same when a request is repeated.
    pub attempt_id: Option<Cow<'a, str>>,
}

impl<'a> PopMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, queue, max, invisible, poll, born, init, kind, text, order, attempt] = ext.pick([
            "consumerGroup",
            "topic",
            "queueId",
            "maxMsgNums",
            "invisibleTime",
            "pollTime",
            "bornTime",
            "initMode",
            "expType",
            "exp",
            "order",
            "attemptId",
        ]);
        Ok(Self {
            consumer_group: group.text()?,
            topic: topic.text()?,
            queue_id: queue.i32()?,
            max_msg_nums: max.i32()?,
            invisible_time: invisible.i64()?,
            poll_time: poll.i64()?,
            born_time: born.i64()?,
            init_mode: init.i32()?,
            exp_type: kind.text_opt(),
            exp: text.text_opt(),
            order: order.bool_opt().unwrap_or(false),
            attempt_id: attempt.text_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 12] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("maxMsgNums", self.max_msg_nums.into()),
            ("invisibleTime", self.invisible_time.into()),
            ("pollTime", self.poll_time.into()),
            ("bornTime", self.born_time.into()),
            ("initMode", self.init_mode.into()),
            ("expType", self.exp_type.as_deref().into()),
            ("exp", self.exp.as_deref().into()),
            ("order", self.order.into()),
            ("attemptId", self.attempt_id.as_deref().into()),
        ]
    }
}

/// A message was consumed (200051, `AckMessageRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckMessage<'a> {
    /// The consumer's group.
    pub consumer_group: Cow<'a, str>,
    /// The topic, also a retry topic.
    pub topic: Cow<'a, str>,
    /// The queue.
    pub queue_id: i32,
    /// The handle, see [`crate::pop::ExtraInfo`].
    pub extra_info: Cow<'a, str>,
    /// The message's offset.
    pub offset: i64,
    /// Of a lite topic, since 5.5.
    pub lite_topic: Option<Cow<'a, str>>,
}

impl<'a> AckMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, queue, extra_info, offset, lite] =
            ext.pick(["consumerGroup", "topic", "queueId", "extraInfo", "offset", "liteTopic"]);
        Ok(Self {
            consumer_group: group.text()?,
            topic: topic.text()?,
            queue_id: queue.i32()?,
            extra_info: extra_info.text()?,
            offset: offset.i64()?,
            lite_topic: lite.text_opt().filter(|topic| !topic.trim().is_empty()),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 6] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("extraInfo", (&*self.extra_info).into()),
            ("offset", self.offset.into()),
            ("liteTopic", self.lite_topic.as_deref().into()),
        ]
    }
}

/// Hides a message for another while (200053, `ChangeInvisibleTimeRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInvisibleTime<'a> {
    /// The message and its handle.
    pub message: AckMessage<'a>,
    /// For how long from now, in milliseconds.
    pub invisible_time: i64,
    /// The attempt does not count.
    pub suspend: bool,
}

impl<'a> ChangeInvisibleTime<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let message = AckMessage::decode(ext)?;
        let [invisible, suspend] = ext.pick(["invisibleTime", "suspend"]);
        Ok(Self { message, invisible_time: invisible.i64()?, suspend: suspend.bool_opt().unwrap_or(false) })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 8] {
        let [group, topic, queue, extra_info, offset, lite] = self.message.fields();
        let (invisible, suspend) =
            (("invisibleTime", self.invisible_time.into()), ("suspend", self.suspend.into()));
        [group, topic, queue, extra_info, offset, lite, invisible, suspend]
    }
}

/// Waits until there are messages to pop (200054, `NotificationRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The consumer's group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue, any of the topic where negative.
    pub queue_id: i32,
    /// How long to wait, in milliseconds.
    pub poll_time: i64,
    /// When the client asked, milliseconds; 0 for when the request arrives.
    pub born_time: i64,
    /// Each queue's messages are consumed one after the other.
    pub order: bool,
    /// The attempt that will follow.
    pub attempt_id: Option<Cow<'a, str>>,
    /// The expression's language.
    pub exp_type: Option<Cow<'a, str>>,
    /// The expression.
    pub exp: Option<Cow<'a, str>>,
}

impl<'a> Notification<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, queue, poll, born, order, attempt, kind, text] = ext.pick([
            "consumerGroup",
            "topic",
            "queueId",
            "pollTime",
            "bornTime",
            "order",
            "attemptId",
            "expType",
            "exp",
        ]);
        Ok(Self {
            consumer_group: group.text()?,
            topic: topic.text()?,
            queue_id: queue.i32()?,
            poll_time: poll.i64()?,
            born_time: born.i64()?,
            order: order.bool_opt().unwrap_or(false),
            attempt_id: attempt.text_opt(),
            exp_type: kind.text_opt(),
            exp: text.text_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 9] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("pollTime", self.poll_time.into()),
            ("bornTime", self.born_time.into()),
            ("order", self.order.into()),
            ("attemptId", self.attempt_id.as_deref().into()),
            ("expType", self.exp_type.as_deref().into()),
            ("exp", self.exp.as_deref().into()),
        ]
    }
}

/// How many pops wait (200055, `PollingInfoRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollingInfo<'a> {
    /// The group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue that they ask for, -1 for those that ask for all.
    pub queue_id: i32,
}

impl<'a> PollingInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, topic, queue] = ext.pick(["consumerGroup", "topic", "queueId"]);
        Ok(Self { consumer_group: group.text()?, topic: topic.text()?, queue_id: queue.i32()? })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 3] {
        [
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
        ]
    }
}

/// Looks at the next messages without taking them (200052, `PeekMessageRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeekMessage<'a> {
    /// The group.
    pub consumer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The queue, all of the topic where negative.
    pub queue_id: i32,
    /// At most so many.
    pub max_msg_nums: i32,
}

impl<'a> PeekMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, queue, max, group] = ext.pick(["topic", "queueId", "maxMsgNums", "consumerGroup"]);
        Ok(Self {
            consumer_group: group.text()?,
            topic: topic.text()?,
            queue_id: queue.i32()?,
            max_msg_nums: max.i32()?,
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 4] {
        [
            ("topic", (&*self.topic).into()),
            ("queueId", self.queue_id.into()),
            ("maxMsgNums", self.max_msg_nums.into()),
            ("consumerGroup", (&*self.consumer_group).into()),
        ]
    }
}

/// Several messages were consumed (200151, `BatchAckMessageRequestBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckMessage {
    /// The broker that gave them.
    #[serde(deserialize_with = "null_is_default")]
    pub broker_name: String,
    /// The messages, by the pop and queue that gave them.
    #[serde(deserialize_with = "null_is_default")]
    pub acks: Vec<BatchAck>,
}

/// Messages of one pop and queue (`BatchAck`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(default)]
pub struct BatchAck {
    /// The group.
    #[serde(rename = "c", alias = "consumerGroup", deserialize_with = "null_is_default")]
    pub consumer_group: String,
    /// The topic that was asked for, never a retry topic.
    #[serde(rename = "t", alias = "topic", deserialize_with = "null_is_default")]
    pub topic: String,
    /// The kind of topic, see [`crate::pop::Retry`].
    #[serde(rename = "r", alias = "retry", deserialize_with = "null_is_default")]
    pub retry: String,
    /// The first offset of the pop.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// The queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// See [`crate::pop::ORDER_REVIVE_QUEUE`].
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    /// When they were given.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// For how long.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// A bit for each offset from the first on, in base64: byte 0 holds the first eight, lowest bit first.
    #[serde(rename = "b", alias = "bitSet", deserialize_with = "null_is_default")]
    pub bit_set: String,
}

impl BatchAckMessage {
    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("batch of acknowledgements", body)
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists have a JSON form")
    }
}

impl BatchAck {
    /// Distances of the acknowledged offsets from the first, rising.
    pub fn distances(&self) -> Result<Vec<i64>, BodyError> {
        let bytes = STANDARD.decode(&self.bit_set).map_err(|error| BodyError {
            what: "batch of acknowledgements",
            problem: format!("its bit set is not base64: {error}"),
        })?;
        let mut distances = Vec::new();
        for (at, byte) in (0_i64..).zip(bytes) {
            distances.extend((0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| at * 8 + bit));
        }
        Ok(distances)
    }

    /// The bit set of these distances, of which each is below 1 MiB.
    pub fn set_distances(&mut self, distances: &[usize]) {
        let mut bytes = Vec::new();
        for distance in distances {
            let at = distance / 8;
            if bytes.len() <= at {
                bytes.resize(at + 1, 0_u8);
            }
            bytes[at] |= 1 << (distance % 8);
        }
        self.bit_set = STANDARD.encode(bytes);
    }
}
