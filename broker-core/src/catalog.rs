//! The topics and groups of this broker, and the name server's routes to them, kept in step.

use crate::{identity::Identity, state_writer::StateWriter};
use halley_machine::{
    group_configs::GroupConfigs,
    routes::{Broker, Route, Routes},
    state::{STATE_TOPIC, StateRecord},
    topics::{CreateError, Topics},
};
use halley_model::{GroupConfig, GroupName, LogOffset, QueueId, TopicConfig, TopicName};
use halley_store::StageError;
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Topics, groups and routes. A change is staged in the log while the table is locked, so that the log has changes in the
/// order in which they took effect.
pub(crate) struct Catalog {
    identity: Identity,
    topics: RwLock<Topics>,
    groups: RwLock<GroupConfigs>,
    routes: RwLock<Routes>,
    writer: StateWriter,
}

/// Why a topic was not created or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// It may not be.
    #[error("{0}")]
    Create(#[from] CreateError),
    /// The log did not take the change.
    #[error("{0}")]
    Stage(#[from] StageError),
}

impl Catalog {
    /// A catalog of what recovery found. [`Catalog::announce`] makes it known.
    pub(crate) fn new(identity: Identity, topics: Topics, groups: GroupConfigs, writer: StateWriter) -> Self {
        let (topics, groups) = (RwLock::new(topics), RwLock::new(groups));
        Self { identity, topics, groups, routes: RwLock::default(), writer }
    }

    /// Registers the broker and its topics with the name server of this process.
    pub(crate) fn announce(&self) {
        let broker = Broker {
            cluster: self.identity.cluster.to_string(),
            name: self.identity.name.to_string(),
            addresses: BTreeMap::from([(0, self.identity.address.to_string())]),
        };
        let topics = self.topics.read().all();
        self.routes.write().register(broker, topics.into_iter().filter(|topic| *topic.name != *STATE_TOPIC));
    }

    pub(crate) fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.topics.read().get(topic).cloned()
    }

    /// Creates the topic on first use, see [`Topics::create_on_send`].
    pub(crate) fn create_on_send(
        &self,
        topic: &str,
        pattern: &str,
        queues: u32,
    ) -> Result<Arc<TopicConfig>, ChangeError> {
        if let Some(existing) = self.get(topic) {
            return Ok(existing);
        }
        let mut created = None;
        self.change(topic, |topics| {
            // Another connection may have been faster.
            if let Some(existing) = topics.get(topic) {
                created = Some(existing.clone());
                return Ok(None);
            }
            created = Some(topics.create_on_send(topic, pattern, queues)?);
            Ok(created.clone())
        })?;
        Ok(created.expect("the closure sets it or fails"))
    }

    /// Creates or changes a topic, see [`Topics::update`]. The change is durable when the returned offset is
    /// acknowledged.
    pub(crate) fn update(&self, config: TopicConfig) -> Result<LogOffset, ChangeError> {
        let name = config.name.clone();
        self.change(&name, |topics| topics.update(config))
    }

    /// Creates or widens a topic, see [`Topics::ensure`].
    pub(crate) fn ensure(&self, topic: &TopicName, queues: u32) -> Result<LogOffset, ChangeError> {
        if self.get(topic).is_some_and(|existing| existing.queues() >= queues) {
            return Ok(0);
        }
        self.change(topic, |topics| topics.ensure(topic, queues))
    }

    /// Who serves the topic.
    pub(crate) fn route(&self, topic: &str) -> Route {
        self.routes.read().route(topic)
    }

    /// Looks at all routes.
    pub(crate) fn with_routes<T>(&self, look: impl FnOnce(&Routes) -> T) -> T {
        look(&self.routes.read())
    }

    /// Looks at all topics and groups.
    pub(crate) fn with_tables<T>(&self, look: impl FnOnce(&Topics, &GroupConfigs) -> T) -> T {
        look(&self.topics.read(), &self.groups.read())
    }

    /// The group's settings.
    pub(crate) fn group(&self, group: &str) -> Option<Arc<GroupConfig>> {
        self.groups.read().get(group).cloned()
    }

    /// The group's settings; a group that nobody configured gets the usual ones (`autoCreateSubscriptionGroup`, 5.5).
    pub(crate) fn ensure_group(&self, group: &GroupName) -> Result<Arc<GroupConfig>, StageError> {
        if let Some(existing) = self.group(group) {
            return Ok(existing);
        }
        let config = GroupConfig::new(group.clone());
        self.update_group(config.clone())?;
        Ok(self.group(group).unwrap_or_else(|| Arc::new(config)))
    }

    /// Creates or changes a group. The change is durable when the returned offset is acknowledged.
    pub(crate) fn update_group(&self, config: GroupConfig) -> Result<LogOffset, StageError> {
        let mut groups = self.groups.write();
        let before = groups.get(&config.name).cloned();
        let Some(config) = groups.put(config) else { return Ok(0) };
        self.writer.write(&StateRecord::group(&config)).inspect_err(|_| groups.restore(&config.name, before))
    }

    /// Changes `topic` in memory and in the log, or in neither: while the table is locked nobody sees a topic that the log
    /// may not take.
    fn change(
        &self,
        topic: &str,
        change: impl FnOnce(&mut Topics) -> Result<Option<Arc<TopicConfig>>, CreateError>,
    ) -> Result<LogOffset, ChangeError> {
        let (config, end) = {
            let mut topics = self.topics.write();
            let before = topics.get(topic).cloned();
            let Some(config) = change(&mut topics)? else { return Ok(0) };
            match self.writer.write(&StateRecord::topic(&config)) {
                Ok(end) => (config, end),
                Err(error) => {
                    topics.restore(&config.name, before);
                    return Err(error.into());
                }
            }
        };
        self.routes.write().topic(&self.identity.name, config);
        Ok(end)
    }
}

/// The queue of a message that names none: messages are spread over those that producers write.
pub(crate) fn next_queue(topic: &TopicConfig) -> QueueId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % topic.write_queues.max(1)
}
