//! What the broker must remember, as records in the log, and the fold over them.
//!
//! Every change is a JSON record in queue 0 of [`STATE_TOPIC`]. Each says how a thing is now, not how it changed,
//! so that folding a stretch of the log twice gives the same state, and a snapshot may be newer than the position
//! it names. A reader skips keys it does not know; meanings of known ones never change.

use crate::{
    group_configs::GroupConfigs,
    offsets::{Committed, Key, Offsets},
    timers::{Timer, Timers},
    topics::Topics,
    transactions::{Checked, Transactions},
};
use halley_model::{GroupConfig, GroupName, QueueId, QueueOffset, TopicConfig, TopicName};
use serde::{Deserialize, Serialize};

/// The topic that holds the broker's own state. RocketMQ keeps its prefix from clients.
pub const STATE_TOPIC: &str = "rmq_sys_halley_state";

/// Everything that state records are folded into.
#[derive(Debug, Default)]
pub struct Tables {
    /// The topics.
    pub topics: Topics,
    /// The groups' settings.
    pub groups: GroupConfigs,
    /// What groups have consumed.
    pub offsets: Offsets,
    /// Messages that wait for their time; the timer topic's queue is to be folded in before state records.
    pub timers: Timers,
    /// Transactions that are not ended; the half messages' queue is to be folded in before state records.
    pub transactions: Transactions,
}

/// One record of the state topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StateRecord {
    /// Topics as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicConfig>,
    /// Groups as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
    /// Offsets as committed now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<OffsetState>,
    /// Topics that are no more, and neither are offsets in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted_topics: Vec<TopicName>,
    /// Groups that are no more, and neither are their offsets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted_groups: Vec<GroupName>,
    /// Timers whose message is delivered or recalled; they are staged together with the messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub done_timers: Vec<Timer>,
    /// Transactions that were committed, rolled back or given up, by their half message's offset in its queue.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended_transactions: Vec<QueueOffset>,
    /// Transactions that were asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checked_transactions: Vec<Checked>,
}

/// An offset as committed now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffsetState {
    group: GroupName,
    topic: TopicName,
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
    /// Topics, groups and offsets, in the form of one record.
    pub state: StateRecord,
    /// The waiting timers, and how far their queue is folded in.
    #[serde(default)]
    pub timers: Timers,
    /// The open transactions, and how far their queue is folded in.
    #[serde(default)]
    pub transactions: Transactions,
}

impl StateRecord {
    /// One topic.
    pub fn topic(config: &TopicConfig) -> Self {
        Self { topics: vec![config.clone()], ..Self::default() }
    }

    /// One group.
    pub fn group(config: &GroupConfig) -> Self {
        Self { groups: vec![config.clone()], ..Self::default() }
    }

    /// Some offsets.
    pub fn offsets<'a>(committed: impl IntoIterator<Item = (&'a Key, &'a Committed)>) -> Self {
        let offsets =
            committed.into_iter().map(|(key, committed)| OffsetState::new(key, committed)).collect();
        Self { offsets, ..Self::default() }
    }

    /// All topics, groups and offsets.
    pub fn everything(topics: &Topics, groups: &GroupConfigs, offsets: &Offsets) -> Self {
        Self {
            topics: topics.all().iter().map(|config| TopicConfig::clone(config)).collect(),
            groups: groups.all().map(|config| GroupConfig::clone(config)).collect(),
            ..Self::offsets(offsets.iter())
        }
    }

    /// The record's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always make JSON")
    }

    /// Reads a record's body.
    pub fn decode(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// Takes the record into the tables. What is deleted was there before what is set: a record that names a thing
    /// in both ways sets it anew.
    pub fn fold(self, tables: &mut Tables) {
        for topic in &self.deleted_topics {
            tables.topics.remove(topic);
            tables.offsets.remove_topic(topic);
        }
        for group in &self.deleted_groups {
            tables.groups.remove(group);
            tables.offsets.remove_group(group);
        }
        for topic in self.topics {
            tables.topics.put(topic);
        }
        for group in self.groups {
            tables.groups.put(group);
        }
        for timer in self.done_timers {
            tables.timers.finish(timer);
        }
        for checked in self.checked_transactions {
            tables.transactions.checked(checked);
        }
        for offset in self.ended_transactions {
            tables.transactions.end(offset);
        }
        for OffsetState { group, topic, queue, offset, metadata } in self.offsets {
            tables.offsets.put((group, topic, queue), Committed { offset, metadata });
        }
    }
}

impl OffsetState {
    fn new(key: &Key, committed: &Committed) -> Self {
        Self {
            group: key.0.clone(),
            topic: key.1.clone(),
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
        let mut tables = Tables::default();
        tables.topics.create_on_send("orders", "TBW102", 4).unwrap();
        tables.groups.put(GroupConfig::new(GroupName::new("g").unwrap()));
        let key = (GroupName::new("g").unwrap(), TopicName::new("orders").unwrap(), 3);
        tables.offsets.commit(key.clone(), Committed { offset: 17, metadata: "note".into() });

        let written = StateRecord::everything(&tables.topics, &tables.groups, &tables.offsets).encode();
        let mut back = Tables::default();
        let read = StateRecord::decode(&written).unwrap();
        for _ in 0..2 {
            read.clone().fold(&mut back);
        }
        assert_eq!(back.topics.all(), tables.topics.all());
        assert!(back.groups.all().eq(tables.groups.all()));
        assert!(back.offsets.iter().eq(tables.offsets.iter()));
    }

    #[test]
    fn what_is_deleted_is_gone() {
        let (topic, group) = (TopicName::new("orders").unwrap(), GroupName::new("g").unwrap());
        let mut tables = Tables::default();
        tables.topics.create_on_send(&topic, "TBW102", 4).unwrap();
        tables.groups.put(GroupConfig::new(group.clone()));
        tables.offsets.commit((group.clone(), topic.clone(), 0), Committed::default());
        let gone = StateRecord {
            deleted_topics: vec![topic.clone()],
            deleted_groups: vec![group.clone()],
            ..StateRecord::default()
        };
        StateRecord::decode(&gone.encode()).unwrap().fold(&mut tables);
        assert!(tables.topics.get(&topic).is_none());
        assert!(tables.groups.get(&group).is_none());
        assert_eq!(tables.offsets.iter().count(), 0);
    }

    #[test]
    fn later_keys_are_skipped() {
        let record =
            StateRecord::decode(br#"{"acl":[1],"offsets":[{"group":"g","topic":"t","queue":0,"offset":1}]}"#);
        assert_eq!(record.unwrap().offsets.len(), 1);
        assert!(StateRecord::decode(b"{").is_err());
    }
}
