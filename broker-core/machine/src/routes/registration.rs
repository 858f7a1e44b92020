//! Brokers come and go.

use super::{Address, Broker, Effect, Live, MASTER, MinBrokerId, Queues, Routes, SILENCE_MAX, WRITE};
use crate::ConnectionId;
use halley_model::{DataVersion, Millis, QueueMapping};
use std::{collections::BTreeSet, sync::Arc};

/// One broker of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its cluster.
    pub cluster: String,
    /// Its name, shared by a master and its replicas.
    pub name: String,
    /// Its id; 0 is the master.
    pub id: u64,
    /// Where clients reach it.
    pub address: String,
}

/// What a broker says when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Who it is.
    pub member: Member,
    /// Where replicas reach it.
    pub ha_address: Option<String>,
    /// The zone it stands in.
    pub zone: Option<String>,
    /// It is dead after this silence, in milliseconds; `None` for [`SILENCE_MAX`].
    pub silence_max: Option<Millis>,
    /// Whether a replica may act as the master while there is none; `None` from brokers before 5.0.
    pub acting_master: Option<bool>,
    /// The version of its table of topics.
    pub version: DataVersion,
    /// Its topics, or those that changed.
    pub topics: Vec<(String, Queues)>,
    /// Its filter servers; `None` leaves what was.
    pub filter_servers: Option<Vec<String>>,
    /// Its queues of static topics.
    pub mappings: Vec<QueueMapping>,
    /// Over which connection; `None` from the broker in this process.
    pub connection: Option<ConnectionId>,
}

/// What a broker is told when it registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// The group's master, for a replica.
    pub master_address: Option<String>,
    /// Where replicas reach the master, for a replica.
    pub ha_address: Option<String>,
}

/// A broker that is not known came with one topic: that is a change, which counts only after everything was told
/// ("Register single topic route info should be after the broker completes the first registration", 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SingleTopicFirst;

impl Routes {
    /// A broker with its topics, for the first time or again.
    pub fn register(
        &mut self,
        now: Millis,
        registration: Registration,
        effects: &mut Vec<Effect>,
    ) -> Result<Registered, SingleTopicFirst> {
        let Registration { member, version, connection, .. } = &registration;
        let address: Address = (member.cluster.clone(), member.address.clone());
        let (connection, version) = (*connection, *version);
        let known =
            self.brokers.get(&member.name).is_some_and(|broker| broker.addresses.contains_key(&member.id));
        if !known && registration.topics.len() == 1 {
            return Err(SingleTopicFirst);
        }
        let broker = self.brokers.entry(member.name.clone()).or_insert_with(|| Broker {
            cluster: member.cluster.clone(),
            name: member.name.clone(),
            ..Broker::default()
        });
        broker.acting_master = registration.acting_master.unwrap_or(false);
        broker.zone = registration.zone.clone();
        let least_before = broker.addresses.keys().next().copied().unwrap_or(MASTER);
        // A replica that became the master has its address under one id only.
        broker.addresses.retain(|id, known| *known != member.address || *id == member.id);
        if let Some(old) = broker.addresses.get(&member.id)
            && *old != member.address
            && let Some(live) = self.live.get(&(member.cluster.clone(), old.clone()))
            && live.version.state_version > version.state_version
        {
            // Someone elected later has that id.
            self.live.remove(&address);
            return Ok(Registered::default());
        }
        let first =
            broker.addresses.insert(member.id, member.address.clone()).is_none_or(|old| old.is_empty());
        // The replica with the least id speaks for the group while the master is gone.
        let stands_in = member.id != MASTER
            && registration.acting_master.is_some()
            && broker.addresses.keys().next() == Some(&member.id);
        let wiped = stands_in && broker.acting_master;
        let notified = (member.id < least_before).then(|| broker.addresses.clone());
        if member.id == MASTER || stands_in {
            self.take_topics(&address, &registration, first, wiped);
        }
        let Registration { member, ha_address, silence_max, filter_servers, .. } = registration;
        let live = Live {
            heard: now,
            silence_max: silence_max.unwrap_or(SILENCE_MAX),
            version,
            connection,
            ha_address: ha_address.clone(),
        };
        self.live.insert(address.clone(), live);
        match filter_servers {
            None => {}
            Some(none) if none.is_empty() => _ = self.filter_servers.remove(&address),
            Some(servers) => _ = self.filter_servers.insert(address, servers),
        }
        if let Some(addresses) = notified
            && self.settings.notify_min_broker_id_changed
            && let Some((id, address)) = addresses.first_key_value()
        {
            // The others are told, and who is alone tells itself (`chooseBrokerAddrsToNotify`, 5.5).
            let others = addresses.iter().filter(|(other, _)| *other != id || addresses.len() == 1);
            effects.push(Effect::NotifyMinBrokerId(MinBrokerId {
                to: others.map(|(_, address)| address.clone()).collect(),
                id: *id,
                address: address.clone(),
                offline: None,
                ha_address,
            }));
        }
        Ok(self.told(&member))
    }

    /// Brokers take their leave (104).
    pub fn unregister(&mut self, members: &[Member], effects: &mut Vec<Effect>) {
        let (mut removed, mut reduced) = (BTreeSet::new(), BTreeSet::new());
        for member in members {
            let address = (member.cluster.clone(), member.address.clone());
            self.live.remove(&address);
            self.filter_servers.remove(&address);
            let Some(broker) = self.brokers.get_mut(&member.name) else { continue };
            let was_least = broker.addresses.keys().next() == Some(&member.id);
            broker.addresses.retain(|_, known| *known != member.address);
            let Some((id, least)) = broker.addresses.first_key_value() else {
                self.brokers.remove(&member.name);
                removed.insert(member.name.as_str());
                continue;
            };
            reduced.insert(member.name.as_str());
            if was_least && broker.acting_master && self.settings.notify_min_broker_id_changed {
                effects.push(Effect::NotifyMinBrokerId(MinBrokerId {
                    to: broker.addresses.values().cloned().collect(),
                    id: *id,
                    address: least.clone(),
                    offline: Some(member.address.clone()),
                    ha_address: None,
                }));
            }
        }
        // Without a master nobody may write to a group whose replica acts for it.
        let brokers = &self.brokers;
        reduced.retain(|name| {
            let broker = brokers.get(*name);
            broker.is_some_and(|broker| broker.acting_master && !broker.addresses.contains_key(&MASTER))
        });
        self.topics.retain(|_, by_broker| {
            by_broker.retain(|(name, _)| !removed.contains(&**name));
            for (_, queues) in by_broker.iter_mut().filter(|(name, _)| reduced.contains(&**name)) {
                queues.permission &= !WRITE;
            }
            !by_broker.is_empty()
        });
    }

    /// Takes the topics that changed: all where the broker's table has another version, those not known otherwise.
    fn take_topics(&mut self, address: &Address, registration: &Registration, first: bool, wiped: bool) {
        let Registration { member, version, topics, mappings, .. } = registration;
        let changed = first || self.live.get(address).is_none_or(|live| live.version != *version);
        if self.settings.delete_topic_with_broker_registration && mappings.is_empty() {
            let told: BTreeSet<_> = topics.iter().map(|(topic, _)| topic.as_str()).collect();
            self.topics.retain(|topic, by_broker| {
                if !told.contains(&**topic) {
                    by_broker.retain(|(name, _)| **name != *member.name);
                }
                !by_broker.is_empty()
            });
        }
        let shared: Arc<str> = member.name.as_str().into();
        for (topic, queues) in topics {
            let mut queues = *queues;
            if wiped {
                queues.permission &= !WRITE;
            }
            let by_broker = match self.topics.get_mut(topic.as_str()) {
                Some(by_broker) => by_broker,
                None => {
                    self.topics.insert(topic.as_str().into(), vec![(shared.clone(), queues)]);
                    continue;
                }
            };
            match by_broker.binary_search_by(|(name, _)| (**name).cmp(&*shared)) {
                Ok(at) if changed => by_broker[at].1 = queues,
                Ok(_) => {}
                Err(at) => by_broker.insert(at, (shared.clone(), queues)),
            }
        }
        if changed {
            for mapping in mappings {
                let topic = mapping.topic.clone().unwrap_or_default();
                let broker = mapping.broker_name.clone().unwrap_or_default();
                self.mappings.entry(topic).or_default().insert(broker, mapping.clone());
            }
        }
    }

    fn told(&self, member: &Member) -> Registered {
        let master = self.brokers.get(&member.name).and_then(|broker| broker.addresses.get(&MASTER));
        match master {
            Some(master) if member.id != MASTER => {
                let live = self.live.get(&(member.cluster.clone(), master.clone()));
                Registered {
                    master_address: live.map(|_| master.clone()),
                    ha_address: live.and_then(|live| live.ha_address.clone()),
                }
            }
            _ => Registered::default(),
        }
    }
}
