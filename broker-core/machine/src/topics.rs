//! The table of topics: which exist, and when one may be created.

use crate::{
    attributes::{self, AttributeError},
    delay::TIMER_TOPIC,
    transactions::HALF_TOPIC,
};
use halley_model::{Millis, NameError, Permission, QUEUES_MAX, TopicConfig, TopicName, name, topic};
use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

/// Queues of the pattern topic, and so most queues of a topic created on first use
/// (RocketMQ `defaultTopicQueueNums`, 5.5).
pub const AUTO_CREATE_QUEUES: u32 = 8;

/// Topics that every broker has from the beginning, with their queues (`TopicConfigManager.init`, 5.5). Some stay empty here: what
/// RocketMQ keeps in them is kept otherwise.
const SYSTEM_TOPICS: [(&str, u32); 9] = [
    ("SELF_TEST_TOPIC", 1),
    ("BenchmarkTest", 1024),
    ("OFFSET_MOVED_EVENT", 1),
    ("SCHEDULE_TOPIC_XXXX", 18),
    (HALF_TOPIC, 1),
    ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1),
    ("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", 1),
    ("RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", 1),
    (TIMER_TOPIC, 1),
];

/// Queues of a `%RETRY%` topic (RocketMQ `retryQueueNums`, 5.5).
const RETRY_QUEUES: u32 = 1;

/// The topics of one broker. Changes are returned as the new setting, for the caller to log and announce.
#[derive(Debug)]
pub struct Topics {
    // Looked up once per message, hence a hash; its hasher is fixed, and nothing iterates it unsorted.
    table: HashMap<TopicName, Arc<TopicConfig>, BuildHasherDefault<DefaultHasher>>,
    /// The topics that keep messages for a time of their own: few of perhaps a million.
    own_retention: BTreeSet<TopicName>,
}

/// Why a topic was not created or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// Not a topic name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// RocketMQ keeps this name for itself.
    #[error("The topic[{0}] is conflict with system topic.")]
    System(String),
    /// A queue count above [`QUEUES_MAX`], or no queues where there must be some.
    #[error("{0} queues were asked for, {max} are possible", max = QUEUES_MAX)]
    Queues(u32),
    /// A change of attributes that is not possible.
    #[error("{0}")]
    Attribute(#[from] AttributeError),
    /// The pattern topic does not exist or must not be copied.
    #[error("topic[{topic}] not exist, apply first please!")]
    NoPattern {
        /// the topic asked for
        topic: TopicName,
    },
}

impl Default for Topics {
    fn default() -> Self {
        let mut topics = Self { table: HashMap::default(), own_retention: BTreeSet::new() };
        let pattern = TopicName::new(name::AUTO_CREATE_TOPIC).expect("the pattern topic's name is legal");
        topics.put(TopicConfig {
            permission: Permission::INHERIT,
            ..TopicConfig::new(pattern, AUTO_CREATE_QUEUES)
        });
        for (name, queues) in SYSTEM_TOPICS {
            let name = TopicName::new(name).expect("RocketMQ's own names are legal");
            topics.put(TopicConfig::new(name, queues));
        }
        topics
    }
}

impl Topics {
    /// The topic's settings.
    pub fn get(&self, topic: &str) -> Option<&Arc<TopicConfig>> {
        self.table.get(topic)
    }

    /// All topics, by name.
    pub fn all(&self) -> Vec<Arc<TopicConfig>> {
        let mut all: Vec<_> = self.table.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The topics that keep messages for a time of their own, with their queues and that time, by name.
    pub fn with_own_retention(&self) -> Vec<(TopicName, u32, Millis)> {
        let own = self.own_retention.iter().filter_map(|name| {
            let topic = self.table.get(name)?;
            Some((name.clone(), topic.queues(), attributes::retention(&topic.attributes)?))
        });
        own.collect()
    }

    /// Sets a topic as it comes from the log.
    pub fn put(&mut self, config: TopicConfig) -> Arc<TopicConfig> {
        let config = Arc::new(config);
        if attributes::retention(&config.attributes).is_some() {
            self.own_retention.insert(config.name.clone());
        } else {
            self.own_retention.remove(&config.name);
        }
        self.table.insert(config.name.clone(), config.clone());
        config
    }

    /// Topics with the names of cluster and broker in theirs, which RocketMQ has from the beginning (`TopicConfigManager.init`, 5.5):
    /// replies to messages are sent to the first one, the others are empty here. One whose name is no topic's is left out.
    pub fn put_own(&mut self, cluster: &str, broker: &str) {
        let own = [
            (format!("{cluster}_REPLY_TOPIC"), 1, Permission::READ_WRITE),
            (format!("rmq_sys_REVIVE_LOG_{cluster}"), 8, Permission::READ_WRITE),
            (format!("rmq_sys_SYNC_BROKER_MEMBER_{broker}"), 1, Permission(1)),
        ];
        for (name, queues, permission) in own {
            if let Ok(topic) = TopicName::new(&name)
                && self.get(&topic).is_none()
            {
                self.put(TopicConfig { permission, ..TopicConfig::new(topic, queues) });
            }
        }
    }

    /// Forgets a topic; what it was.
    pub fn remove(&mut self, topic: &TopicName) -> Option<Arc<TopicConfig>> {
        self.own_retention.remove(topic);
        self.table.remove(topic)
    }

    /// Takes a change back that could not be logged: the topic is again what it was before, or gone.
    pub fn restore(&mut self, topic: &TopicName, before: Option<Arc<TopicConfig>>) {
        match before {
            Some(before) => _ = self.put(TopicConfig::clone(&before)),
            None => _ = self.remove(topic),
        }
    }

    /// Creates or changes a topic on an administrator's word (request 17). Returns the new settings, `None` where
    /// nothing changed. Queue counts never shrink what exists: a smaller count only hides queues, 0 hides all.
    pub fn update(&mut self, config: TopicConfig) -> Result<Option<Arc<TopicConfig>>, CreateError> {
        if topic::is_system(&config.name) {
            return Err(CreateError::System(config.name.to_string()));
        }
        for queues in [config.read_queues, config.write_queues] {
            check_queues(queues.max(1))?;
        }
        if self.table.get(&config.name).is_some_and(|old| **old == config) {
            return Ok(None);
        }
        Ok(Some(self.put(config)))
    }

    /// Creates `topic` with at least `queues` queues for Halley's own use. Returns the new settings, `None` where
    /// nothing changed.
    pub fn ensure(
        &mut self,
        topic: &TopicName,
        queues: u32,
    ) -> Result<Option<Arc<TopicConfig>>, CreateError> {
        check_queues(queues)?;
        match self.table.get(topic) {
            Some(old) if old.queues() >= queues => Ok(None),
            Some(old) => {
                let wider =
                    TopicConfig { read_queues: queues, write_queues: queues, ..TopicConfig::clone(old) };
                Ok(Some(self.put(wider)))
            }
            None => Ok(Some(self.put(TopicConfig::new(topic.clone(), queues)))),
        }
    }

    /// Creates a topic on first use from the pattern the client names
    /// (`TopicConfigManager.createTopicInSendMessageMethod`, 5.5), a `%RETRY%` topic without a pattern.
    pub fn create_on_send(
        &mut self,
        topic: &str,
        pattern: &str,
        queues: u32,
    ) -> Result<Arc<TopicConfig>, CreateError> {
        let topic = TopicName::new(topic)?;
        let copied = self.table.get(pattern).filter(|pattern| pattern.permission.inherited()).cloned();
        let config = match copied {
            Some(pattern) => {
                let queues = queues.min(pattern.write_queues);
                check_queues(queues)?;
                let permission = Permission(pattern.permission.0 & !1);
                TopicConfig { permission, ..TopicConfig::new(topic, queues) }
            }
            None if topic.starts_with(name::RETRY_PREFIX) => TopicConfig::new(topic, RETRY_QUEUES),
            None => return Err(CreateError::NoPattern { topic }),
        };
        Ok(self.put(config))
    }
}

fn check_queues(queues: u32) -> Result<(), CreateError> {
    if (1..=QUEUES_MAX).contains(&queues) { Ok(()) } else { Err(CreateError::Queues(queues)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn created_on_first_use_like_the_pattern() {
        let mut topics = Topics::default();
        let created = topics.create_on_send("orders", "TBW102", 4).unwrap();
        assert_eq!((created.read_queues, created.write_queues), (4, 4));
        assert_eq!(created.permission, Permission::READ_WRITE);
        let many = topics.create_on_send("many", "TBW102", 99).unwrap();
        assert_eq!(many.write_queues, AUTO_CREATE_QUEUES);
        assert!(matches!(topics.create_on_send("x", "orders", 4), Err(CreateError::NoPattern { .. })));
        assert!(matches!(topics.create_on_send("a/b", "TBW102", 4), Err(CreateError::Name(_))));
        assert_eq!(topics.create_on_send("%RETRY%g", "nothing", 4).unwrap().read_queues, 1);
    }

    #[test]
    fn an_update_is_reported_once() {
        let mut topics = Topics::default();
        let config = TopicConfig::new(name("t"), 4);
        assert!(topics.update(config.clone()).unwrap().is_some());
        assert!(topics.update(config.clone()).unwrap().is_none());
        assert!(matches!(topics.update(TopicConfig::new(name("TBW102"), 4)), Err(CreateError::System(_))));
        let many = TopicConfig::new(name("t"), QUEUES_MAX + 1);
        assert!(matches!(topics.update(many), Err(CreateError::Queues(_))));
        assert!(topics.ensure(&name("t"), 2).unwrap().is_none());
        let before = topics.get("t").cloned();
        assert_eq!(topics.ensure(&name("t"), 6).unwrap().unwrap().queues(), 6);
        topics.restore(&name("t"), before);
        assert_eq!(topics.get("t").unwrap().queues(), 4);
        topics.restore(&name("t"), None);
        assert!(topics.get("t").is_none());
    }
}
