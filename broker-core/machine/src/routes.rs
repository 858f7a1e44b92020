//! The name server's table: which brokers there are, which topics each serves, and who is dead
//! (RocketMQ `RouteInfoManager`, 5.5).
//!
//! Brokers say so themselves: they register with all their topics, again and again, each time with the version of their
//! table of topics, and are forgotten when they unregister, when their connection closes, or after a silence. Nothing of
//! this outlives the process.

mod lookup;
mod registration;

pub use lookup::Route;
pub use registration::{Member, Registered, Registration, SingleTopicFirst};

use crate::ConnectionId;
use halley_model::{DataVersion, Millis, Permission, QueueMapping, TopicConfig};
use std::{collections::BTreeMap, sync::Arc};

/// A broker that does not say otherwise is dead after this silence, in milliseconds
/// (`DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`, 5.5).
pub const SILENCE_MAX: Millis = 120_000;

/// The id of a master.
pub const MASTER: u64 = 0;

/// A broker as clients address it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broker {
    /// Its cluster.
    pub cluster: String,
    /// Its name, shared by a master and its replicas.
    pub name: String,
    /// Addresses by broker id; 0 is the master.
    pub addresses: BTreeMap<u64, String>,
    /// A replica may act as the master while there is none.
    pub acting_master: bool,
    /// The zone it stands in.
    pub zone: Option<String>,
}

/// A topic's queues on one broker, as the broker said (`QueueData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Queues that consumers read.
    pub read: i32,
    /// Queues that producers write.
    pub write: i32,
    /// RocketMQ's bits 4 read, 2 write, 1 inherit.
    pub permission: i32,
    /// Bits 1 unit, 2 unit subscription.
    pub system_flag: i32,
}

/// What of the name server's settings decides about routes (`NamesrvConfig`, 5.5). All are off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteSettings {
    /// In routes, the replica with the least id stands in for a master that is gone.
    pub support_acting_master: bool,
    /// Brokers are told when another one of their group has the least id.
    pub notify_min_broker_id_changed: bool,
    /// A registration is all there is: what it does not name is forgotten.
    pub delete_topic_with_broker_registration: bool,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell brokers that another one of their group has the least id now.
    NotifyMinBrokerId(MinBrokerId),
}

/// Who has the least id of a group now, and who must hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinBrokerId {
    /// Addresses to tell.
    pub to: Vec<String>,
    /// The least id.
    pub id: u64,
    /// Who has it.
    pub address: String,
    /// Who left.
    pub offline: Option<String>,
    /// Where replicas reach the new one.
    pub ha_address: Option<String>,
}

/// The routes of one name server.
#[derive(Debug, Default)]
pub struct Routes {
    settings: RouteSettings,
    brokers: BTreeMap<String, Broker>,
    /// By topic, sorted by broker; no entry is empty.
    topics: BTreeMap<Arc<str>, Vec<(Arc<str>, Queues)>>,
    live: BTreeMap<Address, Live>,
    filter_servers: BTreeMap<Address, Vec<String>>,
    /// By topic and broker.
    mappings: BTreeMap<String, BTreeMap<String, QueueMapping>>,
}

/// A cluster and an address in it: what a broker is known by.
type Address = (String, String);

#[derive(Debug)]
struct Live {
    heard: Millis,
    silence_max: Millis,
    version: DataVersion,
    /// `None` for the broker in this process, which lives as long.
    connection: Option<ConnectionId>,
    ha_address: Option<String>,
}

impl Routes {
    /// Changes what decides about routes from now on.
    pub fn set(&mut self, settings: RouteSettings) {
        self.settings = settings;
    }

    /// A topic of the broker in this process came or changed.
    pub fn topic(&mut self, broker: &str, topic: &TopicConfig) {
        if self.brokers.contains_key(broker) {
            self.put_queues(&topic.name, broker, Queues::of(topic));
        }
    }

    /// A topic of the broker in this process is no more.
    pub fn remove_topic(&mut self, broker: &str, topic: &str) {
        self.remove_queues(topic, |name| name == broker);
        if let Some(by_broker) = self.mappings.get_mut(topic) {
            by_broker.remove(broker);
            if by_broker.is_empty() {
                self.mappings.remove(topic);
            }
        }
    }

    /// A static topic of the broker in this process came, or its queues moved.
    pub fn mapping(&mut self, broker: &str, topic: &str, mapping: QueueMapping) {
        if self.brokers.contains_key(broker) {
            self.mappings.entry(topic.to_owned()).or_default().insert(broker.to_owned(), mapping);
        }
    }

    /// Brokers serve a topic (217). If one of them is not known, it and those after it are left out, or all where the topic
    /// is new (`registerTopic`, 5.5).
    pub fn register_topic(&mut self, topic: &str, queues: &[(String, Queues)]) {
        let known = queues.iter().take_while(|(broker, _)| self.brokers.contains_key(broker)).count();
        if known < queues.len() && !self.topics.contains_key(topic) {
            return;
        }
        for (broker, queues) in &queues[..known] {
            self.put_queues(topic, broker, *queues);
        }
    }

    /// Forgets a topic, in one cluster or in all (216).
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        match cluster {
            None => _ = self.topics.remove(topic),
            Some(cluster) => {
                let brokers = &self.brokers;
                let gone: Vec<_> = brokers.values().filter(|broker| broker.cluster == cluster).collect();
                let gone: Vec<_> = gone.into_iter().map(|broker| broker.name.clone()).collect();
                self.remove_queues(topic, |name| gone.iter().any(|gone| gone == name));
            }
        }
    }

    /// Takes a broker out of writing, in all its topics at once (205); in how many.
    pub fn wipe_write(&mut self, broker: &str) -> i32 {
        self.each_topic_of(broker, |queues| queues.permission &= !WRITE)
    }

    /// Lets producers write to a broker again, whatever its topics' permissions were (327); in how many topics.
    pub fn add_write(&mut self, broker: &str) -> i32 {
        self.each_topic_of(broker, |queues| queues.permission = READ | WRITE)
    }

    /// A sign of life (904, 322).
    pub fn heartbeat(&mut self, now: Millis, cluster: &str, address: &str) {
        if let Some(live) = self.live.get_mut(&(cluster.to_owned(), address.to_owned())) {
            live.heard = now;
        }
    }

    /// The version of a broker's table of topics, as it last registered.
    pub fn version(&self, cluster: &str, address: &str) -> Option<DataVersion> {
        self.live.get(&(cluster.to_owned(), address.to_owned())).map(|live| live.version)
    }

    /// A connection is gone, and with it the broker that last registered over it.
    pub fn closed(&mut self, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let gone = self.live.iter().filter(|(_, live)| live.connection == Some(connection));
        let gone: Vec<_> = gone.filter_map(|(address, _)| self.member_at(address)).collect();
        if !gone.is_empty() {
            self.unregister(&gone, effects);
        }
    }

    /// Forgets brokers that were silent for too long.
    pub fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let silent = |live: &Live| live.heard.saturating_add(live.silence_max) < now;
        let expired = self.live.iter().filter(|(_, live)| silent(live));
        let gone: Vec<_> = expired.filter_map(|(address, _)| self.member_at(address)).collect();
        if !gone.is_empty() {
            self.unregister(&gone, effects);
        }
    }

    /// Who has that address; `None` for one that registered and was told to go.
    fn member_at(&self, (cluster, address): &Address) -> Option<Member> {
        self.brokers.values().filter(|broker| broker.cluster == *cluster).find_map(|broker| {
            let (id, _) = broker.addresses.iter().find(|(_, known)| *known == address)?;
            Some(Member {
                cluster: cluster.clone(),
                name: broker.name.clone(),
                id: *id,
                address: address.clone(),
            })
        })
    }

    fn put_queues(&mut self, topic: &str, broker: &str, queues: Queues) {
        let Some(by_broker) = self.topics.get_mut(topic) else {
            let broker = self.shared_name(broker);
            self.topics.insert(topic.into(), vec![(broker, queues)]);
            return;
        };
        match by_broker.binary_search_by(|(name, _)| (**name).cmp(broker)) {
            Ok(at) => by_broker[at].1 = queues,
            Err(at) => by_broker.insert(at, (broker.into(), queues)),
        }
    }

    /// The broker's name as another topic has it, so that a name is not stored once per topic.
    fn shared_name(&self, broker: &str) -> Arc<str> {
        let last = self.topics.last_key_value().and_then(|(_, by_broker)| {
            by_broker.iter().map(|(name, _)| name).find(|name| ***name == *broker)
        });
        last.cloned().unwrap_or_else(|| broker.into())
    }

    fn remove_queues(&mut self, topic: &str, gone: impl Fn(&str) -> bool) {
        let Some(by_broker) = self.topics.get_mut(topic) else { return };
        by_broker.retain(|(name, _)| !gone(name));
        if by_broker.is_empty() {
            self.topics.remove(topic);
        }
    }

    fn each_topic_of(&mut self, broker: &str, change: impl Fn(&mut Queues)) -> i32 {
        let mut count = 0;
        for by_broker in self.topics.values_mut() {
            if let Ok(at) = by_broker.binary_search_by(|(name, _)| (**name).cmp(broker)) {
                change(&mut by_broker[at].1);
                count += 1;
            }
        }
        count
    }
}

/// Bits of a permission (`PermName`).
const READ: i32 = 4;
const WRITE: i32 = 2;

impl Queues {
    /// What a topic's settings make of its queues.
    pub fn of(topic: &TopicConfig) -> Self {
        let Permission(permission) = topic.permission;
        Self {
            read: topic.read_queues.cast_signed(),
            write: topic.write_queues.cast_signed(),
            permission: permission.into(),
            system_flag: topic.system_flag,
        }
    }
}

#[cfg(test)]
mod tests;
