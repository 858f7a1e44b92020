//! Who is connected: the answers to requests 203, 204 and 328 (`ConsumerConnection`, `ProducerConnection`,
//! `ProducerTableInfo`), and what a group wants of a topic (345).

use crate::{
    json::{self, BodyError, null_is_default},
    language,
};
use halley_model::tag;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A client (`Connection`).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// Its address.
    #[serde(deserialize_with = "null_is_default")]
    pub client_addr: String,
    /// Its own id.
    #[serde(deserialize_with = "null_is_default")]
    pub client_id: String,
    /// The name of its language.
    #[serde(deserialize_with = "null_is_default")]
    pub language: String,
    /// An ordinal of `MQVersion.Version`.
    pub version: i32,
}

/// A consumer group (203).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnections {
    /// Its clients.
    #[serde(deserialize_with = "null_is_default")]
    pub connection_set: Vec<Connection>,
    /// Where a new group begins.
    #[serde(deserialize_with = "null_is_default")]
    pub consume_from_where: String,
    /// Push, pull or POP.
    #[serde(deserialize_with = "null_is_default")]
    pub consume_type: String,
    /// "CLUSTERING" or "BROADCASTING".
    #[serde(deserialize_with = "null_is_default")]
    pub message_model: String,
    /// What it subscribes to.
    #[serde(deserialize_with = "null_is_default")]
    pub subscription_table: BTreeMap<String, Subscription>,
}

/// What a group wants of a topic (`SubscriptionData`, with what brokers derive from the expression).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    class_filter_mode: bool,
    /// Hashes of the tags.
    code_set: BTreeSet<i32>,
    /// "TAG" or "SQL92".
    #[serde(deserialize_with = "null_is_default")]
    pub expression_type: String,
    /// The expression.
    #[serde(deserialize_with = "null_is_default")]
    pub sub_string: String,
    /// A time stamp that grows with every change.
    pub sub_version: i64,
    /// The tags.
    tags_set: BTreeSet<String>,
    /// The topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic: String,
}

/// A producer (`ProducerInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Producer {
    /// Its own id.
    #[serde(rename = "clientId", deserialize_with = "null_is_default")]
    pub client_id: String,
    /// The name of its language.
    #[serde(deserialize_with = "null_is_default")]
    pub language: String,
    /// When its last heartbeat came, milliseconds since the epoch.
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_update: i64,
    /// Its address.
    #[serde(rename = "remoteIP", deserialize_with = "null_is_default")]
    pub address: String,
    /// An ordinal of `MQVersion.Version`.
    pub version: i32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProducerConnections {
    #[serde(deserialize_with = "null_is_default")]
    connection_set: Vec<Connection>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ProducerTable {
    data: BTreeMap<String, Vec<Producer>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QuerySubscription<'a> {
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_data: Option<&'a Subscription>,
    topic: &'a str,
}

impl Connection {
    /// A client whose language has this number.
    pub fn new(client_id: &str, address: impl ToString, language: u8, version: i32) -> Self {
        let language = language::name(language).to_owned();
        Self { client_addr: address.to_string(), client_id: client_id.to_owned(), language, version }
    }
}

impl Subscription {
    /// With tags and their hashes, as `FilterAPI.buildSubscriptionData`, 5.5, splits the expression.
    pub fn new(topic: &str, expression: &str, kind: Option<&str>, version: i64) -> Self {
        let kind = kind.unwrap_or("TAG");
        let all = expression.is_empty() || expression == "*";
        let words = expression.split("||").map(str::trim).filter(|word| !word.is_empty());
        let tags_set: BTreeSet<String> =
            if all || kind != "TAG" { BTreeSet::new() } else { words.map(str::to_owned).collect() };
        Self {
            class_filter_mode: false,
            code_set: tags_set.iter().map(|tag| tag::java_hash(tag)).collect(),
            expression_type: kind.to_owned(),
            sub_string: if all { "*".to_owned() } else { expression.to_owned() },
            sub_version: version,
            tags_set,
            topic: topic.to_owned(),
        }
    }
}

impl ConsumerConnections {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("consumer connections", body)
    }
}

/// The answer to 204.
pub fn encode_producers(connections: Vec<Connection>) -> Vec<u8> {
    json::encode(&ProducerConnections { connection_set: connections })
}

/// Reads the answer to 204.
pub fn decode_producers(body: &[u8]) -> Result<Vec<Connection>, BodyError> {
    json::body("producer connections", body).map(|body: ProducerConnections| body.connection_set)
}

/// The answer to 328: producers by group.
pub fn encode_all_producers(groups: BTreeMap<String, Vec<Producer>>) -> Vec<u8> {
    json::encode(&ProducerTable { data: groups })
}

/// Reads the answer to 328.
pub fn decode_all_producers(body: &[u8]) -> Result<BTreeMap<String, Vec<Producer>>, BodyError> {
    json::body("producer table", body).map(|table: ProducerTable| table.data)
}

/// The answer to 345 (`QuerySubscriptionResponseBody`).
pub fn encode_subscription(group: &str, topic: &str, subscription: Option<&Subscription>) -> Vec<u8> {
    json::encode(&QuerySubscription { group, subscription_data: subscription, topic })
}
