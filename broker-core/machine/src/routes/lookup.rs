//! What is asked of routes.

use super::{Broker, MASTER, Queues, Routes, WRITE};
use halley_model::QueueMapping;
use std::{collections::BTreeMap, sync::Arc};

/// Groups keep topics of this prefix to watch their members; routes to these are never rewritten
/// (`TopicValidator.SYNC_BROKER_MEMBER_GROUP_PREFIX`, 5.5).
const MEMBER_GROUP_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// Bits of a topic's system flag (`TopicSysFlag`, 5.5).
const UNIT: i32 = 1;
const UNIT_SUBSCRIPTION: i32 = 2;

/// Who serves a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The topic's queues by broker.
    pub queues: Vec<(Arc<str>, Queues)>,
    /// The brokers.
    pub brokers: Vec<Broker>,
    /// Filter servers by the address of their broker.
    pub filter_servers: BTreeMap<String, Vec<String>>,
    /// Of a static topic, its queues by broker.
    pub mappings: BTreeMap<String, QueueMapping>,
}

impl Routes {
    /// Who serves the topic; `None` where nobody does.
    pub fn route(&self, topic: &str) -> Option<Route> {
        let queues = self.topics.get(topic)?;
        let brokers: Vec<_> =
            queues.iter().filter_map(|(name, _)| self.brokers.get(&**name)).cloned().collect();
        if brokers.is_empty() {
            return None;
        }
        let mut route = Route {
            queues: queues.clone(),
            brokers,
            filter_servers: BTreeMap::new(),
            mappings: self.mappings.get(topic).cloned().unwrap_or_default(),
        };
        if !self.filter_servers.is_empty() {
            for broker in &route.brokers {
                for address in broker.addresses.values() {
                    if let Some(servers) = self.filter_servers.get(&(broker.cluster.clone(), address.clone()))
                    {
                        route.filter_servers.insert(address.clone(), servers.clone());
                    }
                }
            }
        }
        if self.settings.support_acting_master && !topic.starts_with(MEMBER_GROUP_PREFIX) {
            route.appoint_acting_masters();
        }
        Some(route)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    /// A cluster's topics, by name.
    pub fn topics_of<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a str> {
        let in_cluster =
            move |name: &str| self.brokers.get(name).is_some_and(|broker| broker.cluster == cluster);
        let topics = self.topics.iter();
        topics
            .filter(move |(_, queues)| queues.iter().any(|(name, _)| in_cluster(name)))
            .map(|(topic, _)| &**topic)
    }

    /// Topics marked as unit topics (`getUnitTopics`, 5.5: what one of their brokers says).
    pub fn unit_topics(&self) -> impl Iterator<Item = &str> {
        self.topics_by_flag(|flag| flag & UNIT != 0)
    }

    /// Topics with unit subscriptions.
    pub fn unit_subscription_topics(&self) -> impl Iterator<Item = &str> {
        self.topics_by_flag(|flag| flag & UNIT_SUBSCRIPTION != 0)
    }

    /// Topics with unit subscriptions that are no unit topics.
    pub fn unit_subscription_only_topics(&self) -> impl Iterator<Item = &str> {
        self.topics_by_flag(|flag| flag & (UNIT | UNIT_SUBSCRIPTION) == UNIT_SUBSCRIPTION)
    }

    /// All brokers, by name.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// The broker of that name.
    pub fn broker(&self, name: &str) -> Option<&Broker> {
        self.brokers.get(name)
    }

    fn topics_by_flag(&self, wanted: impl Fn(i32) -> bool) -> impl Iterator<Item = &str> {
        let first =
            |queues: &[(Arc<str>, Queues)]| queues.first().map_or(0, |(_, queues)| queues.system_flag);
        self.topics.iter().filter(move |(_, queues)| wanted(first(queues))).map(|(topic, _)| &**topic)
    }
}

impl Route {
    /// Keeps the brokers of a zone, and those without a master: then consumers may go further (`ZoneRouteRPCHook`, 5.5).
    pub fn keep_zone(&mut self, zone: &str) {
        let near = |broker: &Broker| {
            !broker.addresses.contains_key(&MASTER)
                || broker.zone.as_ref().is_some_and(|of| of.eq_ignore_ascii_case(zone))
        };
        let (kept, far): (Vec<_>, Vec<_>) = self.brokers.drain(..).partition(near);
        self.brokers = kept;
        self.queues.retain(|(name, _)| far.iter().all(|broker| *broker.name != **name));
        for address in far.iter().flat_map(|broker| broker.addresses.values()) {
            self.filter_servers.remove(address);
        }
    }

    fn appoint_acting_masters(&mut self) {
        for broker in &mut self.brokers {
            if !broker.acting_master || broker.addresses.contains_key(&MASTER) {
                continue;
            }
            let queues = self.queues.iter().find(|(name, _)| **name == *broker.name);
            if queues.is_some_and(|(_, queues)| queues.permission & WRITE == 0)
                && let Some((_, acting)) = broker.addresses.pop_first()
            {
                broker.addresses.insert(MASTER, acting);
            }
        }
    }
}
