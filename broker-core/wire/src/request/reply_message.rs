//! A reply on its way from the broker to the producer that asked (`ReplyMessageRequestHeader`, request 326).

use crate::{ExtValue, encode::ExtField, request::SendMessage};

/// The reply's header as its sender sent it (324, 325), and what the broker adds.
#[derive(Debug, Clone, Copy)]
pub struct PushReply<'a> {
    /// The reply's header.
    pub message: &'a SendMessage<'a>,
    /// Its properties, with the broker's own.
    pub properties: &'a str,
    /// From where it came, `address:port`.
    pub born_host: &'a str,
    /// The broker, `address:port`.
    pub store_host: &'a str,
    /// When it came, milliseconds since the epoch.
    pub store_timestamp: i64,
}

impl PushReply<'_> {
    /// The ext fields. The body is the reply's body.
    pub fn fields(&self) -> [ExtField<'_>; 14] {
        let message = self.message;
        [
            ("producerGroup", (&*message.producer_group).into()),
            ("topic", (&*message.topic).into()),
            ("defaultTopic", (&*message.default_topic).into()),
            ("defaultTopicQueueNums", message.default_topic_queue_nums.into()),
            ("queueId", message.queue_id.into()),
            ("sysFlag", message.sys_flag.into()),
            ("bornTimestamp", message.born_timestamp.into()),
            ("flag", message.flag.into()),
            ("properties", ExtValue::Text(self.properties)),
            ("reconsumeTimes", message.reconsume_times.into()),
            ("unitMode", message.unit_mode.into()),
            ("bornHost", self.born_host.into()),
            ("storeHost", self.store_host.into()),
            ("storeTimestamp", self.store_timestamp.into()),
        ]
    }
}
