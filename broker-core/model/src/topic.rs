//! A topic's settings.

use crate::{TopicName, name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What clients may do with a topic: RocketMQ's bits 4 read, 2 write, 1 inherit (`PermName`, 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permission(pub u8);

impl Permission {
    /// Read and write.
    pub const READ_WRITE: Self = Self(6);
    /// Read, write, and be the pattern for topics created on first use.
    pub const INHERIT: Self = Self(7);

    /// Whether consumers may pull.
    pub fn readable(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether producers may send.
    pub fn writable(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether topics created on first use may copy this topic.
    pub fn inherited(self) -> bool {
        self.0 & 1 != 0
    }
}

/// How many tags a message of the topic may have (`TopicFilterType`, 5.5); passed through, brokers make no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// One.
    #[default]
    SingleTag,
    /// Several.
    MultiTag,
}

impl TopicFilterType {
    /// Reads RocketMQ's word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "SINGLE_TAG" => Some(Self::SingleTag),
            "MULTI_TAG" => Some(Self::MultiTag),
            _ => None,
        }
    }

    /// RocketMQ's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::SingleTag => "SINGLE_TAG",
            Self::MultiTag => "MULTI_TAG",
        }
    }

    fn is_single(&self) -> bool {
        *self == Self::SingleTag
    }
}

/// A topic's settings (RocketMQ `TopicConfig`). Queue counts are 1 to [`crate::QUEUES_MAX`].
///
/// It is stored in the log as it stands here: names never change, and a field that comes later has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// The topic.
    pub name: TopicName,
    /// Queues that consumers read.
    #[serde(rename = "read")]
    pub read_queues: u32,
    /// Queues that producers write.
    #[serde(rename = "write")]
    pub write_queues: u32,
    /// What clients may do.
    pub permission: Permission,
    /// RocketMQ's `topicSysFlag`: 1 unit, 2 unit-subscription; passed through.
    #[serde(rename = "flag", default)]
    pub system_flag: i32,
    /// Whether clients were told to keep messages ordered; passed through.
    #[serde(default)]
    pub ordered: bool,
    /// Passed through.
    #[serde(rename = "filter", default, skip_serializing_if = "TopicFilterType::is_single")]
    pub filter_type: TopicFilterType,
    /// Named settings beyond these, such as `message.type`, since 5.0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A readable and writable topic with `queues` queues.
    pub fn new(name: TopicName, queues: u32) -> Self {
        Self {
            name,
            read_queues: queues,
            write_queues: queues,
            permission: Permission::READ_WRITE,
            system_flag: 0,
            ordered: false,
            filter_type: TopicFilterType::SingleTag,
            attributes: BTreeMap::new(),
        }
    }

    /// The queues that exist: the larger of both counts.
    pub fn queues(&self) -> u32 {
        self.read_queues.max(self.write_queues)
    }
}

/// Whether RocketMQ keeps `topic` for itself, so that clients may not create or send to it
/// (`TopicValidator.isSystemTopic` and `isNotAllowedSendTopic`, 5.5).
pub fn is_system(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with("rmq_sys_")
}

/// Topics that every RocketMQ broker keeps for itself (`TopicValidator.SYSTEM_TOPIC_SET`, 5.5).
pub const SYSTEM_TOPICS: [&str; 12] = [
    name::AUTO_CREATE_TOPIC,
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
];
