//! The answers to requests 200074 to 200078.

use crate::json;
use serde::Serialize as ToJson;
use std::collections::{BTreeMap, BTreeSet};

/// What a broker has of lite topics (`GetBrokerLiteInfoResponseBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct BrokerLiteInfo {
    /// Queues of topics and light queues.
    pub cq_table_size: usize,
    /// Light queues.
    pub current_lmq_num: usize,
    /// Clients with events.
    pub event_map_size: usize,
    /// Groups by parent topic.
    pub group_meta: BTreeMap<String, BTreeSet<String>>,
    /// Pairs of clients and lite topics.
    pub lite_subscription_count: usize,
    /// Light queues that there may be.
    pub max_lmq_num: i64,
    /// Pairs of groups and topics with offsets.
    pub offset_table_size: usize,
    /// Queues that groups pop from in order.
    pub order_info_count: usize,
    /// The kind of store.
    pub store_type: &'static str,
    /// When lite topics end, in minutes, by parent topic.
    pub topic_meta: BTreeMap<String, i32>,
}

/// A parent topic (`GetParentTopicInfoResponseBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct ParentTopicInfo {
    /// Groups bound to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// Lite topics with messages.
    pub lite_topic_count: usize,
    /// Light queues of the broker.
    pub lmq_num: usize,
    /// Its name.
    pub topic: String,
    /// When its lite topics end, in minutes; -1 never.
    pub ttl: i32,
}

/// A lite topic (`GetLiteTopicInfoResponseBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct LiteTopicInfo {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
    /// Its parent topic.
    pub parent_topic: String,
    /// Whether new messages of it come to this broker.
    pub sharding_to_broker: bool,
    /// Who wants it.
    pub subscriber: Vec<ClientGroup>,
    /// What there is.
    pub topic_offset: TopicOffset,
}

/// A client and its group (`ClientGroup`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct ClientGroup {
    /// The client, `*` for all of the group.
    pub client_id: String,
    /// The group.
    pub group: String,
}

/// A queue (`TopicOffset`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct TopicOffset {
    /// When its last message was stored.
    pub last_update_timestamp: i64,
    /// Its end.
    pub max_offset: u64,
    /// Its first offset.
    pub min_offset: u64,
}

/// What a client wants (`GetLiteClientInfoResponseBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct LiteClientInfo {
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its group.
    pub group: String,
    /// When it last came for messages, -1 never.
    pub last_access_time: i64,
    /// Always 0 (5.5).
    pub last_consume_time: i64,
    /// How many lite topics, -1 for an unknown client.
    pub lite_topic_count: i64,
    /// Some of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_set: Option<BTreeSet<String>>,
    /// The parent topic.
    pub parent_topic: String,
}

/// How far behind a group is (`GetLiteGroupInfoResponseBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct LiteGroupInfo {
    /// When the first message was stored that it has not consumed.
    pub earliest_unconsumed_timestamp: i64,
    /// The group.
    pub group: String,
    /// Those of all lite topics with the most messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_count_top_k: Option<Vec<LiteLag>>,
    /// Those that wait for longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_timestamp_top_k: Option<Vec<LiteLag>>,
    /// The lite topic that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
    /// Where the group is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic_offset_wrapper: Option<LiteOffset>,
    /// The parent topic.
    pub parent_topic: String,
    /// Messages not consumed.
    pub total_lag_count: i64,
}

/// How far behind a group is in one lite topic (`LiteLagInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct LiteLag {
    /// When the first message was stored that it has not consumed.
    pub earliest_unconsumed_timestamp: i64,
    /// Messages not consumed.
    pub lag_count: u64,
    /// The lite topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lite_topic: Option<String>,
}

/// Where a group is in a lite topic (`OffsetWrapper`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToJson)]
#[serde(rename_all = "camelCase")]
pub struct LiteOffset {
    /// The queue's end.
    pub broker_offset: u64,
    /// Where the group is.
    pub consumer_offset: u64,
    /// When the message before was stored.
    pub last_timestamp: i64,
    /// Always 0 here.
    pub pull_offset: i64,
}

macro_rules! bodies {
    ($($name:ident),*) => {
        $(impl $name {
            /// Writes the body.
            pub fn encode(&self) -> Vec<u8> {
                json::encode(self)
            }
        })*
    };
}
bodies!(BrokerLiteInfo, ParentTopicInfo, LiteTopicInfo, LiteClientInfo, LiteGroupInfo);
