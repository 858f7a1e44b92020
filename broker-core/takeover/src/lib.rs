//! What a store of RocketMQ's holds beside the records of its log, as values and as bytes (4.9 and 5.5).
//!
//! - [`config`]: topics, groups, offsets and delay levels, from the files in `config/`;
//! - [`consume_queue`]: how far a queue went whose records are deleted;
//! - [`timers`], [`halves`], [`pops`]: which messages are still under way, from the records of RocketMQ's own topics;
//! - [`delayed`]: a message that waits for a delay level, in Halley's form and back.
//!
//! Pure: bytes and records come from the caller, and so does the time.

pub mod config;
pub mod consume_queue;
pub mod delayed;
pub mod halves;
pub mod pops;
pub mod timers;

/// Where messages wait for a delay level, in queue level − 1 (`TopicValidator.RMQ_SYS_SCHEDULE_TOPIC`, 5.5).
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// How the topic begins that has the checkpoints and acknowledgements of POP; the cluster's name follows
/// (`PopAckConstants.REVIVE_TOPIC`, 5.5).
pub const REVIVE_TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";

/// Which half messages were ended (`TopicValidator.RMQ_SYS_TRANS_OP_HALF_TOPIC`, 5.5).
pub const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";

/// Half messages of brokers that keep transactions in RocksDB, which Halley does not read.
pub const ROCKSDB_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";

/// The group as which RocketMQ reads half messages (`MixAll.CID_SYS_RMQ_TRANS`, 5.5).
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// The group as which RocketMQ reads checkpoints of POP (`PopAckConstants.REVIVE_GROUP`, 5.5).
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";

/// How RocketMQ's own groups begin (`MixAll.CID_RMQ_SYS_PREFIX`, 5.5).
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// Whether a topic is RocketMQ's own and no more where Halley takes over: its records are there, under no topic.
pub fn is_internal(topic: &str) -> bool {
    topic.starts_with("rmq_sys_")
        || topic.starts_with("RMQ_SYS_TRANS_")
        || topic.starts_with("RMQ_SYS_ROCKSDB_")
        || topic == SCHEDULE_TOPIC
}

#[cfg(test)]
mod tests;
