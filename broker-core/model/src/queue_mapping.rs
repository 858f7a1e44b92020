//! Static topics: whose queues have numbers of their own, whichever broker holds them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which queues of a static topic one broker leads (RocketMQ `TopicQueueMappingInfo`, 5.5): what it tells name servers.
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

/// All that one broker knows of a static topic: of each queue that it leads or led, where its parts lie
/// (`TopicQueueMappingDetail`, 5.5). Brokers and tools write map keys bare or quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueMappingDetail {
    /// The broker's name.
    #[serde(rename = "bname")]
    pub broker_name: String,
    /// Is left empty; name servers get [`QueueMappingDetail::info`].
    #[serde(rename = "currIdMap")]
    pub queues: BTreeMap<i32, i32>,
    /// The mapping is not to be relied on.
    pub dirty: bool,
    /// Fences off older mappings.
    pub epoch: i64,
    /// By number in the topic: the parts of a queue, oldest first. The broker of the last one leads it.
    pub hosted_queues: BTreeMap<i32, Vec<MappedPart>>,
    /// "__global__", or the scope that it holds in.
    pub scope: String,
    /// The topic.
    pub topic: String,
    /// Queues of the topic on all brokers.
    pub total_queues: i32,
}

/// A part of a static topic's queue: a physical queue, or its beginning (`LogicQueueMappingItem`, 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MappedPart {
    /// The broker that has the physical queue.
    #[serde(rename = "bname")]
    pub broker_name: String,
    /// Behind the physical queue's last offset that counts; -1 as long as that is open.
    pub end_offset: i64,
    /// Grows from part to part.
    #[serde(rename = "gen")]
    pub generation: i32,
    /// The first offset in the static topic's queue; -1 until it is decided.
    pub logic_offset: i64,
    /// The physical queue.
    pub queue_id: i32,
    /// The first offset in the physical queue.
    pub start_offset: i64,
    /// Not used by RocketMQ 5.5.
    pub time_of_end: i64,
    /// Not used by RocketMQ 5.5.
    pub time_of_start: i64,
}

impl Default for QueueMappingDetail {
    fn default() -> Self {
        Self {
            broker_name: String::new(),
            queues: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            hosted_queues: BTreeMap::new(),
            scope: "__global__".to_owned(),
            topic: String::new(),
            total_queues: 0,
        }
    }
}

impl Default for MappedPart {
    fn default() -> Self {
        Self {
            broker_name: String::new(),
            end_offset: -1,
            generation: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}

impl QueueMappingDetail {
    /// What name servers are told: the queues that the broker leads.
    pub fn info(&self) -> QueueMapping {
        let leads = |(queue, parts): (&i32, &Vec<MappedPart>)| {
            let last = parts.last().filter(|last| last.broker_name == self.broker_name)?;
            Some((*queue, last.queue_id))
        };
        QueueMapping {
            broker_name: Some(self.broker_name.clone()),
            queues: self.hosted_queues.iter().filter_map(leads).collect(),
            dirty: self.dirty,
            epoch: self.epoch,
            scope: Some(self.scope.clone()),
            topic: Some(self.topic.clone()),
            total_queues: self.total_queues,
        }
    }
}

impl MappedPart {
    /// The offset in the static topic's queue, within the part; -1 while that is not decided.
    pub fn logical_within(&self, physical: i64) -> i64 {
        if self.logic_offset < 0 {
            return -1;
        }
        let end = if self.end_offset >= self.start_offset { self.end_offset } else { i64::MAX };
        self.logical(physical.min(end))
    }

    /// The offset in the static topic's queue, also behind the part's end.
    pub fn logical(&self, physical: i64) -> i64 {
        self.logic_offset.saturating_add(physical.saturating_sub(self.start_offset).max(0))
    }

    /// The offset in the physical queue.
    pub fn physical(&self, logical: i64) -> i64 {
        logical.saturating_sub(self.logic_offset).saturating_add(self.start_offset)
    }

    /// Whether the part ends, and holds something.
    pub fn is_ended(&self) -> bool {
        self.end_offset > self.start_offset
    }

    /// The end as far as it is known, in the static topic's queue.
    pub fn known_end(&self) -> i64 {
        self.logic_offset.saturating_add(self.end_offset.saturating_sub(self.start_offset).max(0))
    }
}
