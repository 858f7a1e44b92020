//! What the broker must remember, as records in the log, and the fold over them.
//!
//! Every change is a JSON record in queue 0 of [`STATE_TOPIC`]. Each says how a thing is now, not how it changed,
//! so that folding a stretch of the log twice gives the same state, and a snapshot may be newer than the position
//! it names. A reader skips keys it does not know; meanings of known ones never change.

use crate::{
    group_configs::GroupConfigs,
    kv_configs::{KvConfigs, KvState},
    namesrv_settings::NamesrvSettings,
    offsets::{Committed, Key, Offsets},
    queue_begins::QueueBegins,
    queue_mappings::QueueMappings,
    request_modes::{RequestMode, RequestModes},
    taken_over::{Progress, TakenOver},
    timers::{Timer, Timers},
    topics::Topics,
    transactions::{Checked, Moved, Transactions},
};
use halley_model::{
    GroupConfig, GroupName, QueueId, QueueMappingDetail, QueueOffset, TopicConfig, TopicName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The topic that holds the broker's own state. RocketMQ keeps its prefix from clients.
pub const STATE_TOPIC: &str = "rmq_sys_halley_state";

/// Everything that state records are folded into.
#[derive(Debug, Default)]
pub struct Tables {
    /// The topics.
    pub topics: Topics,
    /// Where the queues of static topics lie.
    pub mappings: QueueMappings,
    /// Up to where queues of compaction topics are compacted.
    pub compacted: CompactedEnds,
    /// The groups' settings.
    pub groups: GroupConfigs,
    /// What groups have consumed.
    pub offsets: Offsets,
    /// How groups get topics' messages.
    pub request_modes: RequestModes,
    /// Where queues begin.
    pub begins: QueueBegins,
    /// Where queues go on of which the log may have no record any more; of the others the log says more.
    pub ends: QueueBegins,
    /// Settings of the broker that were changed while it ran.
    pub settings: BTreeMap<String, String>,
    /// Topics that groups may not read, see [`GroupForbidden`].
    pub forbidden: Forbidden,
    /// Messages that wait for their time; the timer topic's queue is to be folded in before state records.
    pub timers: Timers,
    /// Transactions that are not ended; the half messages' queue is to be folded in before state records.
    pub transactions: Transactions,
    /// What the name server of this process keeps.
    pub kv: KvConfigs,
    /// Settings of the name server of this process.
    pub namesrv_settings: NamesrvSettings,
    /// How far a store of RocketMQ's is taken over, where there is one.
    pub takeover: Progress,
}

/// By topic and queue: before this offset, readers see only the newest message of each key.
pub type CompactedEnds = BTreeMap<(TopicName, QueueId), QueueOffset>;

/// By group and topic: RocketMQ's bits of what the group may not do there, 4 for reading.
pub type Forbidden = BTreeMap<GroupName, BTreeMap<String, i32>>;

/// One record of the state topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StateRecord {
    /// Topics as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicConfig>,
    /// Mappings of static topics as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mappings: Vec<QueueMappingDetail>,
    /// Up to where queues are compacted now. It never goes back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compacted: Vec<CompactedState>,
    /// Groups as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
    /// Offsets as committed now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<OffsetState>,
    /// How groups get topics' messages now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_modes: Vec<RequestMode>,
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
    /// Values kept at the name server as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kv: Vec<KvState>,
    /// Settings of the name server as they are now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namesrv_settings: BTreeMap<String, String>,
    /// Where queues begin now. They never begin earlier again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub begins: Vec<BeginState>,
    /// Where queues go on whose records are old and may be removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<BeginState>,
    /// Half messages that were put into their queue once more, since the old ones are to be removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved_transactions: Vec<Moved>,
    /// Settings of the broker as they are now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What groups may not do now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<GroupForbidden>,
    /// What was under way in a store of RocketMQ's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOver>,
}

/// Up to where a queue is compacted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompactedState {
    topic: TopicName,
    queue: QueueId,
    end: QueueOffset,
}

/// Where a topic's queues begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BeginState {
    topic: TopicName,
    /// By queue.
    queues: Vec<QueueOffset>,
}

/// What a group may not do now, in any topic; an empty map for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupForbidden {
    group: GroupName,
    topics: BTreeMap<String, i32>,
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

/// The whole state as of a position in the state topic's queue. There can be millions of timers; to be written, they may
/// be JSON already.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot<T = Timers> {
    /// Records before this offset are folded in.
    pub next: QueueOffset,
    /// Topics, groups and offsets, in the form of one record.
    pub state: StateRecord,
    /// The waiting timers, and how far their queue is folded in.
    #[serde(default)]
    pub timers: T,
    /// The open transactions, and how far their queue is folded in.
    #[serde(default)]
    pub transactions: Transactions,
}

impl StateRecord {
    /// One topic.
    pub fn topic(config: &TopicConfig) -> Self {
        Self { topics: vec![config.clone()], ..Self::default() }
    }

    /// One static topic.
    pub fn static_topic(config: &TopicConfig, mapping: &QueueMappingDetail) -> Self {
        Self { mappings: vec![mapping.clone()], ..Self::topic(config) }
    }

    /// One queue was compacted.
    pub fn compacted(topic: &TopicName, queue: QueueId, end: QueueOffset) -> Self {
        Self { compacted: vec![CompactedState { topic: topic.clone(), queue, end }], ..Self::default() }
    }

    /// One group.
    pub fn group(config: &GroupConfig) -> Self {
        Self { groups: vec![config.clone()], ..Self::default() }
    }

    /// One group's way to get a topic's messages.
    pub fn request_mode(mode: &RequestMode) -> Self {
        Self { request_modes: vec![mode.clone()], ..Self::default() }
    }

    /// Some offsets.
    pub fn offsets<'a>(committed: impl IntoIterator<Item = (&'a Key, &'a Committed)>) -> Self {
        let offsets =
            committed.into_iter().map(|(key, committed)| OffsetState::new(key, committed)).collect();
        Self { offsets, ..Self::default() }
    }

    /// One value kept at the name server.
    pub fn kv(state: KvState) -> Self {
        Self { kv: vec![state], ..Self::default() }
    }

    /// Settings of the name server.
    pub fn namesrv_settings(settings: BTreeMap<String, String>) -> Self {
        Self { namesrv_settings: settings, ..Self::default() }
    }

    /// Adds all that the name server keeps.
    #[must_use]
    pub fn with_names(self, kv: &KvConfigs, settings: &NamesrvSettings) -> Self {
        Self { kv: kv.states(), namesrv_settings: settings.changed(), ..self }
    }

    /// A topic that is no more: a topic of the same name would begin at these offsets.
    pub fn deleted_topic(topic: &TopicName, ends: &[QueueOffset]) -> Self {
        let begins = vec![BeginState { topic: topic.clone(), queues: ends.to_vec() }];
        Self { deleted_topics: vec![topic.clone()], begins, ..Self::default() }
    }

    /// A group that is no more; what it committed stays where it is given.
    pub fn deleted_group<'a>(
        group: &GroupName,
        kept: impl IntoIterator<Item = (&'a Key, &'a Committed)>,
    ) -> Self {
        Self { deleted_groups: vec![group.clone()], ..Self::offsets(kept) }
    }

    /// Settings of the broker.
    pub fn settings(settings: BTreeMap<String, String>) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What a group may not do.
    pub fn forbidden(group: &GroupName, topics: &BTreeMap<String, i32>) -> Self {
        let forbidden = vec![GroupForbidden { group: group.clone(), topics: topics.clone() }];
        Self { forbidden, ..Self::default() }
    }

    /// Adds mappings of static topics.
    #[must_use]
    pub fn with_mappings(mut self, mappings: Vec<QueueMappingDetail>) -> Self {
        self.mappings = mappings;
        self
    }

    /// Adds up to where queues are compacted.
    #[must_use]
    pub fn with_compacted(mut self, ends: CompactedEnds) -> Self {
        let state = |((topic, queue), end)| CompactedState { topic, queue, end };
        self.compacted = ends.into_iter().map(state).collect();
        self
    }

    /// Adds where queues begin.
    #[must_use]
    pub fn with_begins(mut self, begins: &QueueBegins) -> Self {
        let state = |(topic, queues): (&TopicName, &[QueueOffset])| BeginState {
            topic: topic.clone(),
            queues: queues.to_vec(),
        };
        self.begins = begins.iter().map(state).collect();
        self
    }

    /// Adds where queues go on whose records are old.
    #[must_use]
    pub fn with_ends(mut self, ends: Vec<BeginState>) -> Self {
        self.ends = ends;
        self
    }

    /// Adds settings of the broker and what groups may not do.
    #[must_use]
    pub fn with_settings(mut self, settings: BTreeMap<String, String>, forbidden: &Forbidden) -> Self {
        self.settings = settings;
        let state = |(group, topics): (&GroupName, &BTreeMap<String, i32>)| GroupForbidden {
            group: group.clone(),
            topics: topics.clone(),
        };
        self.forbidden = forbidden.iter().map(state).collect();
        self
    }

    /// Adds how groups get topics' messages.
    #[must_use]
    pub fn with_request_modes(mut self, modes: &RequestModes) -> Self {
        self.request_modes = modes.all().cloned().collect();
        self
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

    /// Some queues whose records are old go on here, by topic.
    pub fn ends(ends: Vec<BeginState>) -> Self {
        Self { ends, ..Self::default() }
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
            tables.mappings.remove(topic);
            tables.compacted.retain(|(of, _), _| of != topic);
            tables.offsets.remove_topic(topic);
        }
        for group in &self.deleted_groups {
            tables.groups.remove(group);
            tables.offsets.remove_group(group);
            tables.forbidden.remove(group);
        }
        for BeginState { topic, queues } in &self.begins {
            tables.begins.raise(topic, queues);
        }
        for BeginState { topic, queues } in &self.ends {
            tables.ends.raise(topic, queues);
        }
        tables.settings.extend(self.settings);
        for GroupForbidden { group, topics } in self.forbidden {
            if topics.is_empty() {
                tables.forbidden.remove(&group);
            } else {
                tables.forbidden.insert(group, topics);
            }
        }
        for topic in self.topics {
            tables.topics.put(topic);
        }
        for CompactedState { topic, queue, end } in self.compacted {
            let known = tables.compacted.entry((topic, queue)).or_default();
            *known = end.max(*known);
        }
        for mapping in self.mappings {
            tables.mappings.put(mapping);
        }
        for group in self.groups {
            tables.groups.put(group);
        }
        if let Some(TakenOver { timers, halves, delayed, done }) = self.taken_over {
            timers.iter().for_each(|range| tables.timers.keep(range));
            halves.iter().for_each(|range| tables.transactions.keep(range));
            tables.takeover.delayed.extend(delayed);
            tables.takeover.done |= done;
        }
        for timer in self.done_timers {
            tables.timers.finish(timer);
        }
        for moved in self.moved_transactions {
            tables.transactions.moved(moved);
        }
        for checked in self.checked_transactions {
            tables.transactions.checked(checked);
        }
        for offset in self.ended_transactions {
            tables.transactions.end(offset);
        }
        for state in self.kv {
            tables.kv.put(state);
        }
        // What a later release may not let be changed is skipped.
        let _ = tables.namesrv_settings.change(&self.namesrv_settings);
        for OffsetState { group, topic, queue, offset, metadata } in self.offsets {
            tables.offsets.put((group, topic, queue), Committed { offset, metadata });
        }
        for mode in self.request_modes {
            tables.request_modes.put(mode);
        }
    }
}

impl BeginState {
    /// A topic's queues begin at these offsets.
    pub fn new(topic: TopicName, queues: Vec<QueueOffset>) -> Self {
        Self { topic, queues }
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
    use halley_model::MappedPart;

    #[test]
    fn state_survives_the_log() {
        let mut tables = Tables::default();
        tables.topics.create_on_send("orders", "TBW102", 4).unwrap();
        tables.groups.put(GroupConfig::new(GroupName::new("g").unwrap()));
        let key = (GroupName::new("g").unwrap(), TopicName::new("orders").unwrap(), 3);
        tables.offsets.commit(key.clone(), Committed { offset: 17, metadata: "note".into() });

        let mode = RequestMode { topic: key.1.clone(), group: key.0.clone(), pop: true, share: 2 };
        tables.request_modes.put(mode.clone());

        let everything = StateRecord::everything(&tables.topics, &tables.groups, &tables.offsets);
        let written = everything.with_request_modes(&tables.request_modes).encode();
        let mut back = Tables::default();
        let read = StateRecord::decode(&written).unwrap();
        for _ in 0..2 {
            read.clone().fold(&mut back);
        }
        assert_eq!(back.topics.all(), tables.topics.all());
        assert!(back.groups.all().eq(tables.groups.all()));
        assert!(back.offsets.iter().eq(tables.offsets.iter()));
        assert!(back.request_modes.all().eq([&mode]));
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
        StateRecord::deleted_topic(&topic, &[3, 4]).fold(&mut tables);
        let begins = StateRecord::default().with_begins(&tables.begins);
        let mut again = Tables::default();
        StateRecord::decode(&begins.encode()).unwrap().fold(&mut again);
        assert_eq!(again.begins, tables.begins);
        assert_eq!(again.begins.iter().collect::<Vec<_>>(), [(&topic, &[3, 4][..])]);
        assert!(tables.groups.get(&group).is_none());
        assert_eq!(tables.offsets.iter().count(), 0);
    }

    #[test]
    fn mappings_and_compaction_go_with_their_topic() {
        let topic = TopicName::new("t").unwrap();
        let parts = vec![MappedPart { broker_name: "a".into(), logic_offset: 5, ..MappedPart::default() }];
        let mapping = QueueMappingDetail {
            topic: "t".into(),
            hosted_queues: BTreeMap::from([(3, parts)]),
            ..QueueMappingDetail::default()
        };
        let mut tables = Tables::default();
        let record = StateRecord::static_topic(&TopicConfig::new(topic.clone(), 1), &mapping).encode();
        StateRecord::decode(&record).unwrap().fold(&mut tables);
        let all: Vec<_> = tables.mappings.clone().into_all().collect();
        assert_eq!(all, [(topic.clone(), mapping)]);
        for end in [7, 9, 8] {
            let record = StateRecord::compacted(&topic, 3, end).encode();
            StateRecord::decode(&record).unwrap().fold(&mut tables);
        }
        assert_eq!(tables.compacted, BTreeMap::from([((topic.clone(), 3), 9)]));
        let all = StateRecord::default().with_compacted(tables.compacted.clone()).encode();
        let mut again = Tables::default();
        StateRecord::decode(&all).unwrap().fold(&mut again);
        assert_eq!(again.compacted, tables.compacted);
        StateRecord::deleted_topic(&topic, &[]).fold(&mut tables);
        assert!(tables.compacted.is_empty());
        assert_eq!(tables.mappings, QueueMappings::default());
    }

    #[test]
    fn what_the_name_server_keeps_comes_back() {
        let mut tables = Tables::default();
        let setting = BTreeMap::from([("orderMessageEnable".to_owned(), "true".to_owned())]);
        for record in [
            StateRecord::kv(KvState::new("n", "k", Some("v"))),
            StateRecord::kv(KvState::new("n", "gone", Some("v"))),
            StateRecord::kv(KvState::new("n", "gone", None)),
            StateRecord::namesrv_settings(setting),
        ] {
            StateRecord::decode(&record.encode()).unwrap().fold(&mut tables);
        }
        let whole = StateRecord::default().with_names(&tables.kv, &tables.namesrv_settings).encode();
        let mut back = Tables::default();
        StateRecord::decode(&whole).unwrap().fold(&mut back);
        assert_eq!((&back.kv, &back.namesrv_settings), (&tables.kv, &tables.namesrv_settings));
        assert!(back.namesrv_settings.order_message_enable);
        assert_eq!(back.kv.get("n", "k"), Some("v"));
    }

    #[test]
    fn later_keys_are_skipped() {
        let record =
            StateRecord::decode(br#"{"acl":[1],"offsets":[{"group":"g","topic":"t","queue":0,"offset":1}]}"#);
        assert_eq!(record.unwrap().offsets.len(), 1);
        assert!(StateRecord::decode(b"{").is_err());
    }
}
