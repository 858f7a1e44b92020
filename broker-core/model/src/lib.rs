//! What a topic, group, queue, offset, message and stored record are.
//!
//! Pure values and byte layouts; every other crate speaks in these terms. Nothing here reads a clock or touches
//! a file, and decoding borrows from its input.

pub mod group;
pub mod hash;
pub mod id;
pub mod light;
pub mod name;
pub mod property;
pub mod queue_mapping;
pub mod record;
pub mod tag;
pub mod topic;
pub mod version;

pub use group::{GroupConfig, RetryPolicy};
pub use name::{GroupName, NameError, TopicName};
pub use queue_mapping::{MappedPart, QueueMapping, QueueMappingDetail};
pub use record::{RecordBody, RecordError, RecordView};
pub use topic::{Permission, TopicConfig, TopicFilterType};
pub use version::DataVersion;

/// A position in the log: bytes from its beginning. RocketMQ's *physical offset*.
pub type LogOffset = u64;

/// A position in one queue: records from its beginning. RocketMQ's *queue offset*.
pub type QueueOffset = u64;

/// The number of a queue inside its topic.
pub type QueueId = u32;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// Longest body a client may send, in bytes (`maxMessageSize` of RocketMQ 5.5).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most queues a topic may have; bounds what a request can make the broker allocate.
pub const QUEUES_MAX: u32 = 65_536;
