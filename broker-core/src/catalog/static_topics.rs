//! Static topics: where their queues lie, beside the topics themselves.

use super::{Catalog, ChangeError};
use halley_machine::{
    attributes::{self, Attributes},
    queue_mappings::{MappingError, QueueMappings, merge},
    state::StateRecord,
    topics::CreateError,
};
use halley_model::{LogOffset, QueueMapping, QueueMappingDetail, TopicConfig, TopicName};
use halley_wire::{Frame, request::topic};
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A mapping, until another one replaces it.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) detail: QueueMappingDetail,
    replaced: AtomicBool,
}

impl Mapped {
    fn new(detail: QueueMappingDetail) -> Arc<Self> {
        Arc::new(Self { detail, replaced: AtomicBool::new(false) })
    }

    /// Whether it still holds. A new mapping replaces it before the log has the new one, so that what asks while the log is staged finds
    /// `false` if its place is behind the change.
    pub(crate) fn is_current(&self) -> bool {
        !self.replaced.load(Ordering::Acquire)
    }
}

/// Why a static topic was not created or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StaticError {
    /// Where its queues would lie cannot be.
    #[error("{0}")]
    Mapping(#[from] MappingError),
    /// As for any topic.
    #[error("{0}")]
    Change(#[from] ChangeError),
}

impl From<CreateError> for StaticError {
    fn from(error: CreateError) -> Self {
        Self::Change(error.into())
    }
}

/// The mappings. Nobody waits for anything else while this is locked.
#[derive(Default)]
pub(super) struct StaticTopics {
    by_topic: RwLock<BTreeMap<TopicName, Arc<Mapped>>>,
    /// Whether there is any: most brokers have none, and their requests pay one load.
    any: AtomicBool,
}

impl StaticTopics {
    pub(super) fn new(mappings: QueueMappings) -> Self {
        let by_topic: BTreeMap<_, _> =
            mappings.into_all().map(|(topic, detail)| (topic, Mapped::new(detail))).collect();
        let any = AtomicBool::new(!by_topic.is_empty());
        Self { by_topic: RwLock::new(by_topic), any }
    }

    fn get(&self, topic: &str) -> Option<Arc<Mapped>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.by_topic.read().get(topic).cloned()
    }

    /// Sets or removes a mapping; what was before.
    pub(super) fn set(&self, topic: &TopicName, detail: Option<QueueMappingDetail>) -> Option<Arc<Mapped>> {
        let mut by_topic = self.by_topic.write();
        let before = match detail {
            Some(detail) => by_topic.insert(topic.clone(), Mapped::new(detail)),
            None => by_topic.remove(topic),
        };
        if let Some(before) = &before {
            before.replaced.store(true, Ordering::Release);
        }
        self.any.store(!by_topic.is_empty(), Ordering::Release);
        before
    }
}

impl Catalog {
    /// The mapping that counts for this request; `None` where the topic is an ordinary one, or another broker passes the request on.
    pub(crate) fn mapped(&self, frame: &Frame<'_>, topic: &str) -> Option<Arc<Mapped>> {
        self.static_topics.get(topic).filter(|_| topic::is_logical(&frame.ext))
    }

    /// The mapping of a topic.
    pub(crate) fn mapping(&self, topic: &str) -> Option<Arc<Mapped>> {
        self.static_topics.get(topic)
    }

    /// All mappings.
    pub(crate) fn mappings(&self) -> Vec<QueueMappingDetail> {
        self.static_topics.by_topic.read().values().map(|mapped| mapped.detail.clone()).collect()
    }

    /// What name servers are told of these topics' mappings.
    pub(crate) fn mapping_infos(&self, topics: &[Arc<TopicConfig>]) -> Vec<QueueMapping> {
        let info = |topic: &Arc<TopicConfig>| Some(self.mapping(&topic.name)?.detail.info());
        topics.iter().filter_map(info).collect()
    }

    /// Creates or changes a topic together with its mapping, see [`merge`]. The change is durable when the returned offset is
    /// acknowledged.
    pub(crate) fn update_static(
        &self,
        config: TopicConfig,
        detail: QueueMappingDetail,
        force: bool,
    ) -> Result<LogOffset, StaticError> {
        let name = config.name.clone();
        if self.is_system(&name) {
            return Err(CreateError::System(name.to_string()).into());
        }
        let [_, own] = &self.own;
        if detail.broker_name != **own {
            return Err(MappingError::Broker { found: detail.broker_name, own: own.to_string() }.into());
        }
        if detail.topic != *name {
            return Err(MappingError::Topic { found: detail.topic, asked: name.to_string() }.into());
        }
        let (config, info, end) = {
            let mut topics = self.topics.write();
            let before = topics.get(&name).cloned();
            let known = self.mapping(&name);
            let merged = merge(known.as_ref().map(|known| &known.detail), detail, force)?;
            let current = before.as_ref().map(|topic| &topic.attributes);
            let attributes = attributes::alter(attributes::OF_TOPICS, current, &Attributes::new())
                .map_err(CreateError::from)?;
            let config = topics.update(TopicConfig { attributes, ..config })?.or_else(|| before.clone());
            let config = config.expect("a topic that did not change was there before");
            let info = merged.info();
            let record = StateRecord::static_topic(&config, &merged);
            self.static_topics.set(&name, Some(merged));
            match self.writer.write(&record) {
                Ok(end) => (config, info, end),
                Err(error) => {
                    topics.restore(&name, before);
                    self.static_topics.set(&name, known.map(|known| known.detail.clone()));
                    return Err(StaticError::Change(error.into()));
                }
            }
        };
        self.announcer.changed(&self.routed(config), Some(info));
        Ok(end)
    }
}
