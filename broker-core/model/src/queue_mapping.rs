//! Static topics: whose queues have numbers of their own, whichever broker holds them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which queues of a static topic one broker holds (RocketMQ `TopicQueueMappingInfo`, 5.5). Halley's broker has none; its
/// name server passes on what brokers say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueMapping {
    /// The broker's name.
    #[serde(rename = "bname", skip_serializing_if = "Option::is_none")]
    pub broker_name: Option<String>,
    /// The number of a queue on this broker, by its number in the topic.
    #[serde(rename = "currIdMap")]
    pub queues: BTreeMap<i32, i32>,
    /// The mapping is not to be relied on.
    pub dirty: bool,
    /// Fences off older mappings.
    pub epoch: i64,
    /// "__global__", or the scope that it holds in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Queues of the topic on all brokers.
    pub total_queues: i32,
}
