//! What the broker must remember, as records in the log, and the fold over them.
//!
//! Every change is a JSON record in queue 0 of [`STATE_TOPIC`]. Each says how a thing is now, not how it changed,
//! so that folding a stretch of the log twice gives the same state, and a snapshot may be newer than the position
//! it names. A reader skips keys it does not know; meanings of known ones never change.

use crate::{
    offsets::{Committed, Key, Offsets},
    topics::Topics,
};
use halley_model::{GroupName, Permission, QueueId, QueueOffset, TopicConfig, TopicName};
use serde::{Deserialize, Serialize};

/// The topic that holds the broker's own state. RocketMQ keeps its prefix from clients.
pub const STATE_TOPIC: &str = "rmq_sys_halley_state";

/// One record of the state topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StateRecord {
    /// Topics as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicState>,
    /// Offsets as committed now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<OffsetState>,
}

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicState {
    name: String,
    read: u32,
    write: u32,
    permission: Permission,
    #[serde(default)]
    flag: i32,
    #[serde(default)]
    ordered: bool,
}

/// An offset as committed now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffsetState {
    group: String,
    topic: String,
    queue: QueueId,
    offset: QueueOffset,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    metadata: String,
}

/// The whole state as of a position in the state topic's queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Records before this offset are folded in.
    pub next: QueueOffset,
    /// Everything, in the form of one record.
    pub state: StateRecord,
}

impl StateRecord {
    /// One topic.
    pub fn topic(config: &TopicConfig) -> Self {
        Self { topics: vec![TopicState::from(config)], ..Self::default() }
    }

    /// Some offsets.
    pub fn offsets<'a>(committed: impl IntoIterator<Item = (&'a Key, &'a Committed)>) -> Self {
        let offsets =
            committed.into_iter().map(|(key, committed)| OffsetState::new(key, committed)).collect();
        Self { offsets, ..Self::default() }
    }

    /// Everything there is.
    pub fn everything(topics: &Topics, offsets: &Offsets) -> Self {
        let all = topics.all().iter().map(|config| TopicState::from(&**config)).collect();
        Self { topics: all, ..Self::offsets(offsets.iter()) }
    }

    /// The record's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always make JSON")
    }

    /// Reads a record's body.
    pub fn decode(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// Takes the record into the tables. Names were checked when they were written; one that is not a name (a
    /// damaged record would not get here, its CRC fails) is skipped.
    pub fn fold(self, topics: &mut Topics, offsets: &mut Offsets) {
        for topic in self.topics {
            if let Some(config) = topic.into_config() {
                topics.put(config);
            }
        }
        for offset in self.offsets {
            if let (Ok(group), Ok(topic)) = (GroupName::new(&offset.group), TopicName::new(&offset.topic)) {
                let committed = Committed { offset: offset.offset, metadata: offset.metadata };
                offsets.put((group, topic, offset.queue), committed);
            }
        }
    }
}

impl From<&TopicConfig> for TopicState {
    fn from(config: &TopicConfig) -> Self {
        Self {
            name: config.name.to_string(),
            read: config.read_queues,
            write: config.write_queues,
            permission: config.permission,
            flag: config.system_flag,
            ordered: config.ordered,
        }
    }
}

impl TopicState {
    fn into_config(self) -> Option<TopicConfig> {
        Some(TopicConfig {
            name: TopicName::new(&self.name).ok()?,
            read_queues: self.read,
            write_queues: self.write,
            permission: self.permission,
            system_flag: self.flag,
            ordered: self.ordered,
        })
    }
}

impl OffsetState {
    fn new(key: &Key, committed: &Committed) -> Self {
        Self {
            group: key.0.to_string(),
            topic: key.1.to_string(),
            queue: key.2,
            offset: committed.offset,
            metadata: committed.metadata.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_the_log() {
        let mut topics = Topics::default();
        let mut offsets = Offsets::default();
        topics.create_on_send("orders", "TBW102", 4).unwrap();
        let key = (GroupName::new("g").unwrap(), TopicName::new("orders").unwrap(), 3);
        offsets.commit(key.clone(), Committed { offset: 17, metadata: "note".into() });

        let written = StateRecord::everything(&topics, &offsets).encode();
        let (mut topics_back, mut offsets_back) = (Topics::default(), Offsets::default());
        let read = StateRecord::decode(&written).unwrap();
        for _ in 0..2 {
            read.clone().fold(&mut topics_back, &mut offsets_back);
        }
        assert_eq!(topics_back.all(), topics.all());
        assert_eq!(offsets_back.iter().collect::<Vec<_>>(), offsets.iter().collect::<Vec<_>>());
    }

    #[test]
    fn later_keys_are_skipped() {
        let record =
            StateRecord::decode(br#"{"acl":[1],"offsets":[{"group":"g","topic":"t","queue":0,"offset":1}]}"#);
        assert_eq!(record.unwrap().offsets.len(), 1);
        assert!(StateRecord::decode(b"{").is_err());
    }
}
