//! The topics and groups of this broker, announced to name servers.

mod everything;
mod static_topics;

pub(crate) use static_topics::{Mapped, StaticError};

use crate::{
    announcer::Announcer, changes::Changes, compactions::Compactions, identity::Identity, light,
    settings::Settings, state_writer::StateWriter,
};
use halley_machine::{
    attributes::{self, Attributes},
    group_configs::GroupConfigs,
    offsets::{Committed, Key},
    queue_begins::QueueBegins,
    queue_mappings::QueueMappings,
    state::{Forbidden, STATE_TOPIC, StateRecord},
    topics::{CreateError, Topics},
};
use halley_model::{
    GroupConfig, GroupName, LogOffset, Permission, QueueId, QueueOffset, TopicConfig, TopicName, name, topic,
};
use halley_store::StageError;
use parking_lot::{Mutex, RwLock};
use static_topics::StaticTopics;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Queues of the topic that has the cluster's name (`TopicConfig.defaultReadQueueNums`, 5.5).
const CLUSTER_TOPIC_QUEUES: u32 = 16;

/// Longest name of a group that is created or configured, in bytes (`TopicValidator.GROUP_MAX_LENGTH`, 5.5).
pub(crate) const GROUP_BYTES_MAX: usize = 120;

/// The bit for reading (`PermName.INDEX_PERM_READ`, 5.5).
const FORBIDDEN_READ: i32 = 1 << 2;

/// Topics and groups. A change is staged in the log while the table is locked, so that the log has changes in the
/// order in which they took effect.
pub(crate) struct Catalog {
    /// The names of cluster and broker, which topics have too.
    own: [Arc<str>; 2],
    topics: RwLock<Topics>,
    static_topics: StaticTopics,
    groups: RwLock<GroupConfigs>,
    announcer: Announcer,
    begins: Mutex<QueueBegins>,
    forbidden: RwLock<Forbidden>,
    settings: Arc<Settings>,
    compactions: Arc<Compactions>,
    writer: StateWriter,
    /// How often groups changed.
    pub(crate) group_changes: Changes,
}

/// What recovery found.
#[derive(Default)]
pub(crate) struct Recovered {
    pub(crate) topics: Topics,
    pub(crate) mappings: QueueMappings,
    pub(crate) groups: GroupConfigs,
    pub(crate) begins: QueueBegins,
    pub(crate) forbidden: Forbidden,
}

/// A topic that is no more.
pub(crate) struct Deleted {
    pub(crate) topic: Arc<TopicConfig>,
    /// Where its queues ended: a topic of the same name goes on there.
    pub(crate) ends: Vec<QueueOffset>,
    /// The deletion is durable when this offset is acknowledged.
    pub(crate) end: LogOffset,
}

/// Why a topic or group was not created or changed.
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
    pub(crate) fn new(
        identity: &Identity,
        recovered: Recovered,
        settings: Arc<Settings>,
        compactions: Arc<Compactions>,
        announcer: Announcer,
        writer: StateWriter,
    ) -> Self {
        let Recovered { mut topics, mappings, groups, begins, forbidden } = recovered;
        // Clients test a cluster and a broker by topics of their names (`TopicConfigManager.init`, 5.5).
        for (own, queues) in [(&identity.cluster, CLUSTER_TOPIC_QUEUES), (&identity.name, 1)] {
            if let (Ok(name), None) = (TopicName::new(own), topics.get(own)) {
                topics.put(TopicConfig { permission: Permission::INHERIT, ..TopicConfig::new(name, queues) });
            }
        }
        for topic in topics.all().iter().filter(|topic| attributes::is_compacted(&topic.attributes)) {
            compactions.add(&topic.name);
        }
        Self {
            own: [identity.cluster.clone(), identity.name.clone()],
            topics: RwLock::new(topics),
            static_topics: StaticTopics::new(mappings),
            groups: RwLock::new(groups),
            announcer,
            begins: Mutex::new(begins),
            forbidden: RwLock::new(forbidden),
            settings,
            compactions,
            writer,
            group_changes: Changes::default(),
        }
    }

    /// Tells name servers of the broker and all its topics, again where the broker's permission changed.
    pub(crate) fn announce(&self) {
        let topics = self.announced();
        self.announcer.announce(&topics, self.mapping_infos(&topics));
    }

    /// The topics that name servers are told, by name.
    pub(crate) fn announced(&self) -> Vec<Arc<TopicConfig>> {
        let mut topics = self.topics.read().all();
        topics.retain(|topic| *topic.name != *STATE_TOPIC);
        topics.into_iter().map(|topic| self.routed(topic)).collect()
    }

    /// How name servers hear of changes.
    pub(crate) fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// A topic as routes show it: no more may be done with it than with the broker
    /// (`BrokerController.registerBrokerAll`, 5.5).
    fn routed(&self, config: Arc<TopicConfig>) -> Arc<TopicConfig> {
        let of_broker = self.settings.permission();
        if of_broker == Permission::READ_WRITE {
            return config;
        }
        let permission = Permission(config.permission.0 & of_broker.0);
        Arc::new(TopicConfig { permission, ..TopicConfig::clone(&config) })
    }

    /// Whether clients may neither create nor delete the topic.
    pub(crate) fn is_system(&self, topic: &str) -> bool {
        topic::is_system(topic) || self.own.iter().any(|own| **own == *topic)
    }

    /// The topic's settings. A light queue is there without anybody having made it (`LmqTopicConfigManager`, 5.5).
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        if light::is_light(&self.settings, topic) {
            return TopicName::known(topic).ok().map(|name| Arc::new(TopicConfig::new(name, 1)));
        }
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
        let closed = pattern == name::AUTO_CREATE_TOPIC && !self.settings.auto_create_topics();
        let pattern = if closed { "" } else { pattern };
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

    /// Creates or changes a topic, see [`Topics::update`], and its attributes by `changes`. The change is durable when
    /// the returned offset is acknowledged.
    pub(crate) fn update(&self, config: TopicConfig, changes: &Attributes) -> Result<LogOffset, ChangeError> {
        let name = config.name.clone();
        if light::is_light(&self.settings, &name) {
            return Ok(0);
        }
        if self.is_system(&name) {
            return Err(CreateError::System(name.to_string()).into());
        }
        self.change(&name, |topics| {
            let current = topics.get(&name).map(|topic| &topic.attributes);
            let attributes = attributes::alter(attributes::OF_TOPICS, current, changes)?;
            topics.update(TopicConfig { attributes, ..config })
        })
    }

    /// Deletes a topic; `None` where there is none. The caller makes readers begin behind its end, and forgets what groups
    /// committed.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<Option<Deleted>, StageError> {
        let deleted = {
            let mut topics = self.topics.write();
            let Some(config) = topics.get(topic).cloned() else { return Ok(None) };
            let mut ends = Vec::new();
            let written = self.writer.write_with(|staging| {
                ends = staging.queue_ends(topic);
                StateRecord::deleted_topic(&config.name, &ends)
            });
            let end = written?;
            topics.remove(&config.name);
            self.static_topics.set(&config.name, None);
            self.compactions.remove(&config.name);
            self.begins.lock().raise(&config.name, &ends);
            Deleted { topic: config, ends, end }
        };
        self.announcer.removed(&deleted.topic.name);
        Ok(Some(deleted))
    }

    /// Ends a light queue: where it ended, and when that is durable. The caller makes readers begin behind its end, and forgets
    /// what groups committed.
    pub(crate) fn delete_light_queue(
        &self,
        queue: &TopicName,
    ) -> Result<(Vec<QueueOffset>, LogOffset), StageError> {
        let mut begins = self.begins.lock();
        let mut ends = Vec::new();
        let end = self.writer.write_with(|staging| {
            ends = staging.queue_ends(queue);
            StateRecord::deleted_topic(queue, &ends)
        })?;
        begins.raise(queue, &ends);
        Ok((ends, end))
    }

    /// Creates or widens a topic, see [`Topics::ensure`].
    pub(crate) fn ensure(&self, topic: &TopicName, queues: u32) -> Result<LogOffset, ChangeError> {
        if self.get(topic).is_some_and(|existing| existing.queues() >= queues) {
            return Ok(0);
        }
        self.change(topic, |topics| topics.ensure(topic, queues))
    }

    /// Looks at all topics and groups.
    pub(crate) fn with_tables<T>(&self, look: impl FnOnce(&Topics, &GroupConfigs) -> T) -> T {
        look(&self.topics.read(), &self.groups.read())
    }

    /// Completes a snapshot of the state with what only the catalog knows.
    pub(crate) fn complete(&self, state: StateRecord) -> StateRecord {
        let state = state.with_begins(&self.begins.lock()).with_mappings(self.mappings());
        let state = state.with_compacted(self.compactions.ends());
        state.with_settings(self.settings.changed(), &self.forbidden.read())
    }

    /// The group's settings; a group that reads light queues has the usual ones (`LmqSubscriptionGroupManager`, 5.5).
    pub(crate) fn group(&self, group: &str) -> Option<Arc<GroupConfig>> {
        if light::is_light(&self.settings, group) {
            return GroupName::new(group).ok().map(|name| Arc::new(GroupConfig::new(name)));
        }
        self.groups.read().get(group).cloned()
    }

    /// The group's settings; a group that nobody configured gets the usual ones, where groups are created on first use
    /// (`SubscriptionGroupManager.findSubscriptionGroupConfig`, 5.5).
    pub(crate) fn ensure_group(&self, group: &GroupName) -> Result<Option<Arc<GroupConfig>>, StageError> {
        if let Some(existing) = self.group(group) {
            return Ok(Some(existing));
        }
        if !self.settings.auto_create_groups() || group.len() > GROUP_BYTES_MAX {
            return Ok(None);
        }
        let mut groups = self.groups.write();
        if groups.get(group).is_none() {
            self.put_group(&mut groups, GroupConfig::new(group.clone()))?;
        }
        Ok(groups.get(group).cloned())
    }

    /// Creates or changes a group, and its attributes by `changes`. The change is durable when the returned offset is
    /// acknowledged.
    pub(crate) fn update_group(
        &self,
        config: GroupConfig,
        changes: &Attributes,
    ) -> Result<LogOffset, ChangeError> {
        if light::is_light(&self.settings, &config.name) {
            return Ok(0);
        }
        let mut groups = self.groups.write();
        let current = groups.get(&config.name).map(|group| &group.attributes);
        let attributes =
            attributes::alter(attributes::OF_GROUPS, current, changes).map_err(CreateError::from)?;
        Ok(self.put_group(&mut groups, GroupConfig { attributes, ..config })?)
    }

    fn put_group(&self, groups: &mut GroupConfigs, config: GroupConfig) -> Result<LogOffset, StageError> {
        let before = groups.get(&config.name).cloned();
        let Some(config) = groups.put(config) else { return Ok(0) };
        let written = self.writer.write(&StateRecord::group(&config));
        match written {
            Ok(_) => self.group_changes.count(),
            Err(_) => groups.restore(&config.name, before),
        }
        written
    }

    /// Deletes a group; what it committed and is given here stays. The deletion is durable when the returned offset is
    /// acknowledged.
    pub(crate) fn delete_group<'a>(
        &self,
        group: &GroupName,
        kept: impl IntoIterator<Item = (&'a Key, &'a Committed)>,
    ) -> Result<LogOffset, StageError> {
        let mut groups = self.groups.write();
        let end = self.writer.write(&StateRecord::deleted_group(group, kept))?;
        groups.remove(group);
        self.forbidden.write().remove(group);
        self.group_changes.count();
        Ok(end)
    }

    /// Whether the group may not read the topic.
    pub(crate) fn may_not_read(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.read();
        forbidden
            .get(group)
            .and_then(|topics| topics.get(topic))
            .is_some_and(|bits| bits & FORBIDDEN_READ != 0)
    }

    /// Allows or forbids a group to read a topic. The change is durable when the returned offset is acknowledged.
    pub(crate) fn forbid_reading(
        &self,
        group: &GroupName,
        topic: &TopicName,
        forbid: bool,
    ) -> Result<LogOffset, StageError> {
        let mut table = self.forbidden.write();
        let mut topics = table.get(group).cloned().unwrap_or_default();
        if forbid {
            topics.insert(topic.to_string(), FORBIDDEN_READ);
        } else {
            topics.remove(&**topic);
        }
        let end = self.writer.write(&StateRecord::forbidden(group, &topics))?;
        table.insert(group.clone(), topics);
        table.retain(|_, topics| !topics.is_empty());
        self.group_changes.count();
        Ok(end)
    }

    /// What groups may not do.
    pub(crate) fn forbidden(&self) -> Forbidden {
        self.forbidden.read().clone()
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
        if attributes::is_compacted(&config.attributes) {
            self.compactions.add(&config.name);
        }
        self.announcer.changed(&self.routed(config), None);
        Ok(end)
    }
}

/// The queue of a message that names none: messages are spread over those that producers write.
pub(crate) fn next_queue(topic: &TopicConfig) -> QueueId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % topic.write_queues.max(1)
}
