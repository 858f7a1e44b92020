//! Topics and their settings: requests 17, 18, 21, 215, 305 and 351.

use super::BrokerSession;
use crate::{
    acks::Acks,
    answers::{Refusal, not_stored, succeed, succeed_when_acked},
    catalog::{Catalog, ChangeError},
    light,
    lite::{LiteTopics, is_lite},
    progress::Progress,
    queues::Queues,
    settings::Settings,
    stats::Stats,
};
use halley_machine::{
    attributes::{self, Attributes},
    state::STATE_TOPIC,
    topics::CreateError,
};
use halley_model::{LogOffset, NameError, Permission, TopicConfig, TopicFilterType, TopicName, name, topic};
use halley_store::disk::RealDisk;
use halley_wire::{
    Frame, ResponseCode,
    body::{
        self,
        topic_config::{AllTopicConfigs, TopicConfigBody},
    },
    request::{
        self, CreateTopic,
        admin::{GetAllTopicConfig, TopicOnly},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most topics of one page (`splitMetadataSize`, 5.5).
const PAGE_MAX: usize = 2000;

/// What requests about topics use.
pub(super) struct TopicRequests<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) progress: &'a Progress,
    pub(super) queues: &'a Queues<RealDisk>,
    pub(super) stats: &'a Stats,
    pub(super) settings: &'a Settings,
    pub(super) lite: &'a LiteTopics,
    pub(super) acks: &'a Acks,
}

impl TopicRequests<'_> {
    /// 17: the reply waits until the log has the change.
    pub(super) fn create(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = CreateTopic::decode(&frame.ext)?;
        let config = TopicConfig {
            name: topic_name(&header.topic)?,
            read_queues: u32::try_from(header.read_queue_nums).unwrap_or(u32::MAX),
            write_queues: u32::try_from(header.write_queue_nums).unwrap_or(u32::MAX),
            permission: Permission(u8::try_from(header.perm).unwrap_or(0)),
            system_flag: header.topic_sys_flag,
            ordered: header.order,
            filter_type: filter_type(header.topic_filter_type.as_deref())?,
            attributes: BTreeMap::new(),
        };
        let changes = attributes::parse(header.attributes.as_deref().unwrap_or_default())?;
        let end = self.update(config, &changes)?;
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }

    /// 18: all topics are checked first, as far as that can be.
    pub(super) fn create_list(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let wanted = TopicConfigBody::decode_list(frame.body)?;
        for topic in &wanted {
            self.check(&topic_name(&topic.topic_name)?, &topic.attributes)?;
        }
        let mut end = 0;
        for topic in &wanted {
            end = self.update(topic.settings()?, &topic.attributes)?.max(end);
        }
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }

    /// 215: with the topic go what groups committed in it and the topics of its messages that wait for another attempt by
    /// POP. A topic that there is not is gone already.
    pub(super) fn delete(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let topic = TopicOnly::decode(&frame.ext).map_or_else(|_| "".into(), |header| header.topic);
        if topic.trim().is_empty() {
            return Err(invalid("The specified topic is blank."));
        }
        if self.catalog.is_system(&topic) {
            return Err(system(&topic));
        }
        // Which groups popped from it is forgotten with the topic.
        let retries = self.pop_retry_topics(&topic);
        if self.catalog.get(&topic).is_some_and(|topic| is_lite(&topic)) {
            self.lite.end_all(&topic).map_err(not_stored)?;
        }
        if light::is_light(self.settings, &topic) {
            let end = self.lite.end_queue(&topic).map_err(not_stored)?;
            succeed_when_acked(frame, session, end, self.acks.acked(), b"");
            return Ok(());
        }
        let mut end = self.delete_one(&topic)?;
        for retry in retries {
            end = self.delete_one(&retry)?.max(end);
        }
        succeed_when_acked(frame, session, end, self.acks.acked(), b"");
        Ok(())
    }

    /// 21.
    pub(super) fn all(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let header = GetAllTopicConfig::decode(&frame.ext)?;
        let version = self.catalog.announcer().version();
        let mut topics = self.catalog.with_tables(|topics, _| topics.all());
        topics.retain(|topic| *topic.name != *STATE_TOPIC);
        let total = topics.len();
        let paged = header.topic_seq.or(header.max_topic_num).is_some() || header.data_version.is_some();
        let page = if paged {
            let same = header.data_version.as_deref().and_then(body::read_version) == Some(version);
            page(topics.len(), header.topic_seq, header.max_topic_num, same)
        } else {
            0..topics.len()
        };
        let page = &topics[page];
        let mut found = AllTopicConfigs::new(version, page.iter().map(|topic| &**topic));
        found.mapping_data_version = version;
        let mapping = |topic: &Arc<TopicConfig>| {
            Some((topic.name.to_string(), self.catalog.mapping(&topic.name)?.detail.clone()))
        };
        found.topic_queue_mapping_detail_map = page.iter().filter_map(mapping).collect();
        succeed(frame, session, &[("totalTopicNum", (total as i64).into())], &found.encode());
        Ok(())
    }

    /// 351.
    pub(super) fn config(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let topic = TopicOnly::decode(&frame.ext)?.topic;
        let Some(config) = self.catalog.get(&topic) else {
            let remark = format!("No topic in this broker. topic: {topic}");
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        let mapping = if request::topic::has(&frame.ext, "lo") { self.catalog.mapping(&topic) } else { None };
        let mapping_detail = mapping.map(|mapped| mapped.detail.clone());
        let body = TopicConfigBody { mapping_detail, ..TopicConfigBody::from(&*config) };
        succeed(frame, session, &[], &body.encode());
        Ok(())
    }

    /// 305.
    pub(super) fn system(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let mut names: BTreeSet<String> =
            topic::SYSTEM_TOPICS.iter().map(|name| (*name).to_owned()).collect();
        let topics = self.catalog.with_tables(|topics, _| topics.all());
        let own = topics.iter().map(|topic| &topic.name).filter(|name| self.catalog.is_system(name));
        names.extend(own.filter(|name| ***name != *STATE_TOPIC).map(ToString::to_string));
        succeed(frame, session, &[], &body::topics::encode(names.iter().map(String::as_str)));
        Ok(())
    }

    fn update(&self, config: TopicConfig, changes: &Attributes) -> Result<LogOffset, Refusal> {
        self.check(&config.name, changes)?;
        self.catalog.update(config, changes).map_err(refusal_of)
    }

    fn check(&self, topic: &TopicName, changes: &Attributes) -> Result<(), Refusal> {
        if self.catalog.is_system(topic) {
            return Err(system(topic));
        }
        let kind = changes.get(&format!("+{}", attributes::MESSAGE_TYPE));
        if kind.is_some_and(|kind| kind == "MIXED") && !self.settings.mixed_types() {
            return Err(invalid("MIXED message type is not supported."));
        }
        Ok(())
    }

    fn delete_one(&self, topic: &str) -> Result<LogOffset, Refusal> {
        let gone = |key: &halley_machine::offsets::Key| *key.1 == *topic;
        let deleted = self.progress.forget(gone, || self.catalog.delete_topic(topic)).map_err(not_stored)?;
        let Some(deleted) = deleted else { return Ok(0) };
        for (queue, end) in (0..).zip(&deleted.ends) {
            self.queues.reader.begin_at(topic, queue, *end);
        }
        self.stats.forget_topic(topic);
        // Whoever waits for messages of the topic hears that it is gone.
        let queues = 0..deleted.topic.queues();
        self.queues.arrivals.notify(queues.map(|queue| (topic, queue)));
        Ok(deleted.end)
    }

    /// Topics of `topic`'s messages that groups try again by POP (`KeyBuilder.buildPopRetryTopic`, 5.5).
    fn pop_retry_topics(&self, topic: &str) -> Vec<String> {
        let of_topic = |offsets: &halley_machine::offsets::Offsets| {
            let groups = offsets.iter().filter(|(key, _)| *key.1 == *topic).map(|(key, _)| key.0.clone());
            groups.collect::<BTreeSet<_>>()
        };
        let names = |group| ['+', '_'].map(|joint| format!("{}{group}{joint}{topic}", name::RETRY_PREFIX));
        let groups = self.progress.with_offsets(of_topic);
        groups.into_iter().flat_map(names).filter(|name| self.catalog.get(name).is_some()).collect()
    }
}

/// What an administrator hears where a change was not made.
pub(super) fn refusal_of(error: ChangeError) -> Refusal {
    match error {
        ChangeError::Stage(error) => not_stored(error),
        // Java's `RuntimeException`s become SYSTEM_ERROR.
        ChangeError::Create(error @ CreateError::Attribute(_)) => {
            Refusal::new(ResponseCode::SystemError, error.to_string())
        }
        ChangeError::Create(error) => invalid(error.to_string()),
    }
}

/// A page of a sorted list (`TopicConfigManager.subTopicConfigTable`, 5.5): one that follows a page of another version begins
/// anew.
pub(super) fn page(
    len: usize,
    first: Option<i32>,
    most: Option<i32>,
    same_version: bool,
) -> std::ops::Range<usize> {
    let wanted = usize::try_from(first.unwrap_or(0)).unwrap_or(0);
    let first = if same_version { wanted.min(len) } else { 0 };
    let most = most.map_or(PAGE_MAX, |most| usize::try_from(most).unwrap_or(0).min(PAGE_MAX));
    first..first.saturating_add(most).min(len)
}

/// The topic's name, or RocketMQ's words for what is wrong with it (`TopicValidator.validateTopic`, 5.5).
pub(super) fn topic_name(topic: &str) -> Result<TopicName, Refusal> {
    TopicName::new(topic).map_err(|error| {
        invalid(match error {
            NameError::Empty { .. } => "The specified topic is blank.".to_owned(),
            NameError::TooLong { max, .. } => {
                format!("The specified topic: {topic}, is longer than topic max length: {max}")
            }
            NameError::IllegalCharacter { .. } => format!(
                "The specified topic: {topic}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
            ),
        })
    })
}

/// How many tags messages may have (`CreateTopicRequestHeader.checkFields`, 5.5).
pub(super) fn filter_type(word: Option<&str>) -> Result<TopicFilterType, Refusal> {
    word.and_then(TopicFilterType::of).ok_or_else(|| {
        let word = word.unwrap_or("null");
        Refusal::new(ResponseCode::SystemError, format!("topicFilterType = [{word}] value invalid"))
    })
}

fn invalid(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::InvalidParameter, remark)
}

fn system(topic: &str) -> Refusal {
    invalid(format!("The topic[{topic}] is conflict with system topic."))
}
