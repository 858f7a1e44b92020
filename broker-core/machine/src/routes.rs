//! The name server's table: which brokers there are, and which topics each serves (RocketMQ `RouteInfoManager`, 5.5).

use halley_model::{TopicConfig, TopicName};
use std::{collections::BTreeMap, sync::Arc};

/// A broker as clients address it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its cluster.
    pub cluster: String,
    /// Its name, shared by a master and its replicas.
    pub name: String,
    /// Addresses by broker id; 0 is the master.
    pub addresses: BTreeMap<u64, String>,
}

/// The brokers that serve a topic, each with the topic's settings there.
pub type Route = Vec<(Arc<Broker>, Arc<TopicConfig>)>;

/// The routes of one name server.
#[derive(Debug, Default)]
pub struct Routes {
    brokers: BTreeMap<String, Arc<Broker>>,
    topics: BTreeMap<TopicName, BTreeMap<String, Arc<TopicConfig>>>,
}

impl Routes {
    /// A broker with its topics; both replace what was known of them.
    pub fn register(&mut self, broker: Broker, topics: impl IntoIterator<Item = Arc<TopicConfig>>) {
        let name = broker.name.clone();
        self.brokers.insert(name.clone(), Arc::new(broker));
        for topic in topics {
            self.topic(&name, topic);
        }
    }

    /// A topic of a registered broker came or changed.
    pub fn topic(&mut self, broker: &str, topic: Arc<TopicConfig>) {
        self.topics.entry(topic.name.clone()).or_default().insert(broker.to_owned(), topic);
    }

    /// Who serves the topic; empty where nobody does.
    pub fn route(&self, topic: &str) -> Route {
        let Some(by_broker) = self.topics.get(topic) else { return Vec::new() };
        let known = |(name, topic): (&String, &Arc<TopicConfig>)| {
            Some((self.brokers.get(name)?.clone(), topic.clone()))
        };
        by_broker.iter().filter_map(known).collect()
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// All brokers, by name.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_lead_to_their_brokers() {
        let mut routes = Routes::default();
        let topic = |name, queues| Arc::new(TopicConfig::new(TopicName::new(name).unwrap(), queues));
        for name in ["a", "b"] {
            let addresses = BTreeMap::from([(0, format!("{name}:10911"))]);
            let broker = Broker { cluster: "c".into(), name: name.into(), addresses };
            routes.register(broker, [topic("t", 4)]);
        }
        routes.topic("a", topic("u", 2));
        routes.topic("nobody", topic("v", 2));
        let names = |topic| routes.route(topic).iter().map(|(b, _)| b.name.clone()).collect::<Vec<_>>();
        assert_eq!(names("t"), ["a", "b"]);
        assert_eq!(names("u"), ["a"]);
        assert!(names("v").is_empty() && names("w").is_empty());
        assert_eq!(routes.brokers().count(), 2);
    }
}
