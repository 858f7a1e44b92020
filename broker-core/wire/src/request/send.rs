//! Sends: requests 10 and 324 (long names), 310, 320 and 325 (one-letter names).

use crate::{
    BrokerCode, Ext, ExtValue, HeaderError,
    encode::ExtField,
    ext::{Field, Value},
};
use std::borrow::Cow;

/// Which names a send's fields have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendForm {
    /// `SendMessageRequestHeader`, requests 10 and 324.
    Long,
    /// `SendMessageRequestHeaderV2`, requests 310, 320 and 325.
    Short,
}

/// A message to be stored, or with `batch` several (the body is then read by [`crate::batch::messages`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage<'a> {
    /// The producer's group; "" where it does not say.
    pub producer_group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The topic whose settings a new topic takes; "" for none.
    pub default_topic: Cow<'a, str>,
    /// How many queues a new topic is to have, at most as many as the default topic has.
    pub default_topic_queue_nums: i32,
    /// The queue; negative for the broker's choice.
    pub queue_id: i32,
    /// Flags of the record, see `halley_model::record::flag`.
    pub sys_flag: i32,
    /// When the producer made the message, milliseconds since the epoch.
    pub born_timestamp: i64,
    /// The application's own flag.
    pub flag: i32,
    /// Raw properties, empty for none. In JSON they always have escapes: copy them with [`Value::append_to`].
    pub properties: Value<'a>,
    /// How often consumers failed on it before.
    pub reconsume_times: i32,
    /// Passed through.
    pub unit_mode: bool,
    /// Whether the body holds several messages. The code alone does not tell: Go and C++ send batches as 10 and 310 too,
    /// and RocketMQ looks at this field only (`SendMessageProcessor`, 5.5).
    pub batch: bool,
    /// After how many failures a message sent to `%RETRY%` becomes a dead letter.
    pub max_reconsume_times: Option<i32>,
    /// The broker meant, from proxies and 5.x clients.
    pub broker_name: Option<Cow<'a, str>>,
}

/// Field names, in the order of the struct above. That is also the order of the letters, which Java and Go clients send
/// sorted or declared, so that picking them needs one comparison each.
type Names = [&'static str; 14];

const SHORT: Names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];

const LONG: Names = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];

impl SendForm {
    /// The form that a code uses, `None` for codes that send nothing.
    pub fn of(code: BrokerCode) -> Option<Self> {
        const LONG: [BrokerCode; 2] = [BrokerCode::SendMessage, BrokerCode::SendReplyMessage];
        const SHORT: [BrokerCode; 3] =
            [BrokerCode::SendMessageV2, BrokerCode::SendBatchMessage, BrokerCode::SendReplyMessageV2];
        if LONG.contains(&code) {
            return Some(Self::Long);
        }
        SHORT.contains(&code).then_some(Self::Short)
    }

    fn names(self) -> Names {
        match self {
            Self::Long => LONG,
            Self::Short => SHORT,
        }
    }
}

impl<'a> SendMessage<'a> {
    /// Reads the header.
    pub fn decode(form: SendForm, ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [
            producer_group,
            topic,
            default_topic,
            default_topic_queue_nums,
            queue_id,
            sys_flag,
            born_timestamp,
            flag,
            properties,
            reconsume_times,
            unit_mode,
            max_reconsume_times,
            batch,
            broker_name,
        ] = ext.pick(form.names());
        let or_empty = |field: Field<'a>| field.text_opt().unwrap_or_default();
        Ok(Self {
            producer_group: or_empty(producer_group),
            topic: topic.text()?,
            default_topic: or_empty(default_topic),
            default_topic_queue_nums: default_topic_queue_nums.i32_opt()?.unwrap_or(0),
            queue_id: queue_id.i32()?,
            sys_flag: sys_flag.i32()?,
            born_timestamp: born_timestamp.i64()?,
            flag: flag.i32()?,
            properties: properties.value().unwrap_or(Value::new("")),
            reconsume_times: reconsume_times.i32_opt()?.unwrap_or(0),
            unit_mode: unit_mode.bool_opt().unwrap_or(false),
            batch: batch.bool_opt().unwrap_or(false),
            max_reconsume_times: max_reconsume_times.i32_opt()?,
            broker_name: broker_name.text_opt(),
        })
    }

    /// The ext fields; `properties` is the text of the field of that name.
    pub fn fields<'b>(&'b self, form: SendForm, properties: &'b str) -> [ExtField<'b>; 14] {
        let values: [ExtValue<'b>; 14] = [
            (&*self.producer_group).into(),
            (&*self.topic).into(),
            (&*self.default_topic).into(),
            self.default_topic_queue_nums.into(),
            self.queue_id.into(),
            self.sys_flag.into(),
            self.born_timestamp.into(),
            self.flag.into(),
            properties.into(),
            self.reconsume_times.into(),
            self.unit_mode.into(),
            self.max_reconsume_times.into(),
            self.batch.into(),
            self.broker_name.as_deref().into(),
        ];
        let mut values = values.into_iter();
        form.names().map(|name| (name, values.next().unwrap_or(ExtValue::Absent)))
    }
}
