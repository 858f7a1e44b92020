//! Clients and their groups: requests 34, 35, 38, 40, 41, 42 and 46. Most of them say what they mean in a JSON body.

use crate::{
    BodyError, ClientCode, Ext, ExtValue, HeaderError, Serialize, VERSION_5_5_0,
    encode::{ExtField, Head},
    frame::flag,
    json::{self, null_is_default},
    language,
};
use bytes::BytesMut;
use serde::{Deserialize, Serialize as ToJson};
use std::borrow::Cow;

/// Why a client's request could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A header field.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// A client lives (34, `HeartbeatData`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// The client's own id, the same after a reconnect.
    #[serde(rename = "clientID", deserialize_with = "null_is_default")]
    pub client_id: String,
    /// Its producers.
    #[serde(rename = "producerDataSet", deserialize_with = "null_is_default")]
    pub producers: Vec<ProducerData>,
    /// Its consumers.
    #[serde(rename = "consumerDataSet", deserialize_with = "null_is_default")]
    pub consumers: Vec<ConsumerData>,
    /// A digest of what it subscribes to, from clients with heartbeat v2; else 0.
    pub heartbeat_fingerprint: i32,
    /// With a fingerprint: nothing changed, so that the subscriptions are left out.
    pub without_sub: bool,
}

/// A producer (`ProducerData`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Its group.
    #[serde(deserialize_with = "null_is_default")]
    pub group_name: String,
}

/// A consumer (`ConsumerData`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Its group.
    #[serde(deserialize_with = "null_is_default")]
    pub group_name: String,
    /// "CONSUME_PASSIVELY" (push), "CONSUME_ACTIVELY" (pull) or "CONSUME_POP"; for operators to see.
    #[serde(deserialize_with = "null_is_default")]
    pub consume_type: String,
    /// Whether members share the queues.
    #[serde(deserialize_with = "null_is_default")]
    pub message_model: MessageModel,
    /// "CONSUME_FROM_LAST_OFFSET" and others; the client acts on it itself.
    #[serde(deserialize_with = "null_is_default")]
    pub consume_from_where: String,
    /// What it subscribes to.
    #[serde(rename = "subscriptionDataSet", deserialize_with = "null_is_default")]
    pub subscriptions: Vec<SubscriptionData>,
    /// Passed through.
    pub unit_mode: bool,
}

/// Whether the members of a group share a topic's queues, or each reads them all (`MessageModel`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "UPPERCASE")]
pub enum MessageModel {
    /// They share them; also for every unknown word (5.5's LITE_SELECTIVE).
    #[default]
    Clustering,
    /// Each reads them all.
    Broadcasting,
}

impl<'de> Deserialize<'de> for MessageModel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Java sends "BROADCASTING", Go "BroadCasting" (`MessageModel.String`, client-go 2.1.2).
        let word = Cow::<str>::deserialize(deserializer)?;
        let broadcasting = word.eq_ignore_ascii_case("BROADCASTING");
        Ok(if broadcasting { Self::Broadcasting } else { Self::Clustering })
    }
}

/// What a consumer wants of a topic (`SubscriptionData`). Tags and their hashes are left out: the expression says it all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// The topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic: String,
    /// The expression; "*" or empty for everything.
    #[serde(deserialize_with = "null_is_default")]
    pub sub_string: String,
    /// Its language, "TAG" (also where absent) or "SQL92".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression_type: Option<String>,
    /// A time stamp that grows with every change.
    pub sub_version: i64,
    /// The expression names a Java class, which nobody serves any more.
    pub class_filter_mode: bool,
}

impl Heartbeat {
    /// Reads the body of request 34.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("heartbeat", body)
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

/// A producer or consumer takes its leave (35, `UnregisterClientRequestHeader`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnregisterClient<'a> {
    /// The client's own id.
    pub client_id: Cow<'a, str>,
    /// The producer group it leaves.
    pub producer_group: Option<Cow<'a, str>>,
    /// The consumer group it leaves.
    pub consumer_group: Option<Cow<'a, str>>,
}

impl<'a> UnregisterClient<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [client, producer, consumer] = ext.pick(["clientID", "producerGroup", "consumerGroup"]);
        let non_empty = |text: Option<Cow<'a, str>>| text.filter(|text| !text.is_empty());
        Ok(Self {
            client_id: client.text()?,
            producer_group: non_empty(producer.text_opt()),
            consumer_group: non_empty(consumer.text_opt()),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 3] {
        [
            ("clientID", (&*self.client_id).into()),
            ("producerGroup", self.producer_group.as_deref().into()),
            ("consumerGroup", self.consumer_group.as_deref().into()),
        ]
    }
}

/// Takes or gives back locks on queues (41 and 42, `LockBatchRequestBody`, `UnlockBatchRequestBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    /// The group.
    #[serde(deserialize_with = "null_is_default")]
    pub consumer_group: String,
    /// The client's own id, who holds the lock.
    #[serde(deserialize_with = "null_is_default")]
    pub client_id: String,
    /// Do not ask the other brokers of the group.
    pub only_this_broker: bool,
    /// The queues.
    #[serde(rename = "mqSet", deserialize_with = "null_is_default")]
    pub queues: Vec<MessageQueue>,
}

/// A queue of a broker (`MessageQueue`).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// The broker's name.
    #[serde(deserialize_with = "null_is_default")]
    pub broker_name: String,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic: String,
}

impl LockBatch {
    /// Reads the body of requests 41 and 42.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("lock request", body)
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

/// Asks whether a subscription can be served (46, `CheckClientRequestBody`); sent for others than TAG.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    /// The client's own id.
    #[serde(deserialize_with = "null_is_default")]
    pub client_id: String,
    /// The consumer group.
    #[serde(deserialize_with = "null_is_default")]
    pub group: String,
    /// The subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

impl CheckClientConfig {
    /// Reads the body of request 46.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("client configuration", body)
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

/// Appends the one-way request 40 that tells a consumer to share the queues anew: JSON, which every client reads.
pub fn notify_consumer_ids_changed(out: &mut BytesMut, consumer_group: &str) {
    let head = Head {
        serialize: Serialize::Json,
        code: ClientCode::NotifyConsumerIdsChanged.number(),
        language: language::JAVA,
        version: VERSION_5_5_0,
        opaque: 0,
        flag: flag::ONE_WAY,
        remark: None,
    };
    let fields = [("consumerGroup", ExtValue::Text(consumer_group))];
    // A group's name has at most 255 bytes; a longer text is no group and has no members to tell.
    let _ = head.write(out, &fields, 0);
}

fn encoded(body: &impl ToJson) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers and lists have a JSON form")
}
