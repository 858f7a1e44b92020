//! Lite topics: requests 200070, 200071 and 200073 to 200079.

use crate::{
    Ext, HeaderError,
    encode::ExtField,
    json::{self, BodyError, null_is_default},
};
use serde::{Deserialize, Serialize as ToJson};
use std::borrow::Cow;

/// Takes messages of the lite topics that a client subscribes to (200070, `PopLiteMessageRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopLiteMessage<'a> {
    /// The client.
    pub client_id: Cow<'a, str>,
    /// Its group.
    pub consumer_group: Cow<'a, str>,
    /// The parent topic.
    pub topic: Cow<'a, str>,
    /// At most so many, no more than 32.
    pub max_msg_num: i32,
    /// How long they are hidden, in milliseconds.
    pub invisible_time: i64,
    /// How long to wait for messages, in milliseconds.
    pub poll_time: i64,
    /// When the client asked, milliseconds; 0 for when the request arrives.
    pub born_time: i64,
    /// The attempt, the same when a request is repeated.
    pub attempt_id: Option<Cow<'a, str>>,
}

impl<'a> PopLiteMessage<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [client, group, topic, max, invisible, poll, born, attempt] = ext.pick([
            "clientId",
            "consumerGroup",
            "topic",
            "maxMsgNum",
            "invisibleTime",
            "pollTime",
            "bornTime",
            "attemptId",
        ]);
        Ok(Self {
            client_id: client.text()?,
            consumer_group: group.text()?,
            topic: topic.text()?,
            max_msg_num: max.i32()?,
            invisible_time: invisible.i64()?,
            poll_time: poll.i64()?,
            // A request without a time was born when it arrived (`PopLiteMessageProcessor.processRequest`, 5.5).
            born_time: born.i64_opt()?.unwrap_or(0),
            attempt_id: attempt.text_opt(),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 8] {
        [
            ("clientId", (&*self.client_id).into()),
            ("consumerGroup", (&*self.consumer_group).into()),
            ("topic", (&*self.topic).into()),
            ("maxMsgNum", self.max_msg_num.into()),
            ("invisibleTime", self.invisible_time.into()),
            ("pollTime", self.poll_time.into()),
            ("bornTime", self.born_time.into()),
            ("attemptId", self.attempt_id.as_deref().into()),
        ]
    }
}

/// The ext fields of a notice to a client that it has a lite topic no more (200073, `NotifyUnsubscribeLiteRequestHeader`).
pub fn unsubscribed_fields<'a>(client: &'a str, group: &'a str, lite_topic: &'a str) -> [ExtField<'a>; 3] {
    [("clientId", client.into()), ("consumerGroup", group.into()), ("liteTopic", lite_topic.into())]
}

/// Asks for a parent topic (200075, `GetParentTopicInfoRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetParentTopicInfo<'a> {
    /// The parent topic.
    pub topic: Cow<'a, str>,
}

impl<'a> GetParentTopicInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic] = ext.pick(["topic"]);
        Ok(Self { topic: topic.text()? })
    }
}

/// Asks for a lite topic (200076, `GetLiteTopicInfoRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetLiteTopicInfo<'a> {
    /// The parent topic.
    pub parent_topic: Option<Cow<'a, str>>,
    /// The lite topic.
    pub lite_topic: Option<Cow<'a, str>>,
}

impl<'a> GetLiteTopicInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Self {
        let [parent, lite] = ext.pick(["parentTopic", "liteTopic"]);
        Self { parent_topic: parent.text_opt(), lite_topic: lite.text_opt() }
    }
}

/// Asks what a client subscribes to (200077, `GetLiteClientInfoRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetLiteClientInfo<'a> {
    /// The parent topic.
    pub parent_topic: Option<Cow<'a, str>>,
    /// The client's group.
    pub group: Option<Cow<'a, str>>,
    /// The client.
    pub client_id: Option<Cow<'a, str>>,
    /// At most so many lite topics.
    pub max_count: i32,
}

impl<'a> GetLiteClientInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [parent, group, client, max] = ext.pick(["parentTopic", "group", "clientId", "maxCount"]);
        Ok(Self {
            parent_topic: parent.text_opt(),
            group: group.text_opt(),
            client_id: client.text_opt(),
            max_count: max.i32_opt()?.unwrap_or(1000),
        })
    }
}

/// Asks how far behind a group is (200078, `GetLiteGroupInfoRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetLiteGroupInfo<'a> {
    /// The group.
    pub group: Cow<'a, str>,
    /// One lite topic; all where absent or empty.
    pub lite_topic: Option<Cow<'a, str>>,
    /// At most so many of the farthest behind.
    pub top_k: i32,
}

impl<'a> GetLiteGroupInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, lite, top] = ext.pick(["group", "liteTopic", "topK"]);
        Ok(Self { group: group.text()?, lite_topic: lite.text_opt(), top_k: top.i32_opt()?.unwrap_or(0) })
    }
}

/// Shows clients again what there is for them (200079, `TriggerLiteDispatchRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerLiteDispatch<'a> {
    /// The group.
    pub group: Cow<'a, str>,
    /// One client; all where absent or empty.
    pub client_id: Option<Cow<'a, str>>,
}

impl<'a> TriggerLiteDispatch<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [group, client] = ext.pick(["group", "clientId"]);
        Ok(Self { group: group.text()?, client_id: client.text_opt() })
    }
}

/// Changes of what clients subscribe to: the body of 200071 (`LiteSubscriptionCtlRequestBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct LiteSubscriptionCtl {
    /// They are made in this order.
    #[serde(deserialize_with = "null_is_default")]
    pub subscription_set: Vec<LiteSubscription>,
}

/// One change (`LiteSubscriptionDTO`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct LiteSubscription {
    /// Which, `None` where the client does not say.
    pub action: Option<LiteAction>,
    /// The client.
    #[serde(deserialize_with = "null_is_default")]
    pub client_id: String,
    /// Its group.
    #[serde(deserialize_with = "null_is_default")]
    pub group: String,
    /// The parent topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic: String,
    /// The lite topics.
    #[serde(deserialize_with = "null_is_default")]
    pub lite_topic_set: Vec<String>,
    /// Where the group goes on in them.
    pub offset_option: Option<OffsetOption>,
}

/// What is done with a client's lite topics (`LiteSubscriptionAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LiteAction {
    /// These too.
    PartialAdd,
    /// Not these any more.
    PartialRemove,
    /// These and no others.
    CompleteAdd,
    /// None any more.
    CompleteRemove,
}

/// Where a group goes on (`OffsetOption`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToJson)]
pub struct OffsetOption {
    /// What the value means.
    #[serde(rename = "type")]
    pub kind: OffsetKind,
    /// See [`OffsetKind`].
    #[serde(default)]
    pub value: i64,
}

/// What an offset option's value means (`OffsetOption.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OffsetKind {
    /// 0 stays, 1 the first message, 2 behind the last.
    Policy,
    /// An offset.
    Offset,
    /// So many messages back.
    TailN,
    /// A time; brokers of 5.5 ignore it.
    Timestamp,
}

impl LiteSubscriptionCtl {
    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("lite subscriptions", body)
    }

    /// Writes the body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_read_as_java_writes_them() {
        let body = br#"{"subscriptionSet":[{"action":"PARTIAL_ADD","clientId":"c","group":"g","liteTopicSet":["a","b"],"offsetOption":{"type":"TAIL_N","value":3},"topic":"t","version":0},{"action":"COMPLETE_REMOVE","clientId":"c","liteTopicSet":null}]}"#;
        let read = LiteSubscriptionCtl::decode(body).unwrap();
        let first = &read.subscription_set[0];
        assert_eq!((first.action, first.lite_topic_set.len()), (Some(LiteAction::PartialAdd), 2));
        assert_eq!(first.offset_option, Some(OffsetOption { kind: OffsetKind::TailN, value: 3 }));
        assert_eq!(read.subscription_set[1].action, Some(LiteAction::CompleteRemove));
        assert_eq!(LiteSubscriptionCtl::decode(&read.encode()).unwrap(), read);
        assert!(LiteSubscriptionCtl::decode(b"{").is_err());
    }
}
