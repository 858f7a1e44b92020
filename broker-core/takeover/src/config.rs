//! The files in `config/`.

use halley_machine::{request_modes::RequestMode, state::Forbidden};
use halley_model::{
    GroupConfig, GroupName, QUEUES_MAX, QueueId, QueueMappingDetail, QueueOffset, TopicConfig, TopicName,
};
use halley_wire::{
    BodyError,
    body::{
        assignment, group_config::AllGroupConfigs, progress, static_topic::AllMappings,
        topic_config::AllTopicConfigs,
    },
};
use std::collections::BTreeMap;

/// Topics (`TopicConfigManager`).
pub const TOPICS: &str = "topics.json";
/// Groups (`SubscriptionGroupManager`).
pub const GROUPS: &str = "subscriptionGroup.json";
/// Committed offsets (`ConsumerOffsetManager`).
pub const OFFSETS: &str = "consumerOffset.json";
/// Committed offsets of a broker with light queues, in place of [`OFFSETS`] (`LmqConsumerOffsetManager`).
pub const LIGHT_OFFSETS: &str = "lmqConsumerOffset.json";
/// How far each delay level is delivered (`ScheduleMessageService`).
pub const DELAYS: &str = "delayOffset.json";
/// How groups get topics' messages (`MessageRequestModeManager`).
pub const REQUEST_MODES: &str = "messageRequestMode.json";
/// Where the queues of static topics lie (`TopicQueueMappingManager`).
pub const MAPPINGS: &str = "topicQueueMapping.json";
/// How far the timer wheel is (`TimerCheckpoint`).
pub const TIMERS: &str = "timercheck";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON of the expected shape.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A name that cannot be one.
    #[error("{what} {name:?} cannot be used: {reason}")]
    Name {
        /// of what
        what: &'static str,
        /// the name
        name: String,
        /// why
        reason: String,
    },
}

/// Committed offsets by topic, group and queue.
pub type Offsets = BTreeMap<(String, String), BTreeMap<u64, i64>>;

/// Topics, without RocketMQ's internal ones.
pub fn topics(bytes: &[u8]) -> Result<Vec<TopicConfig>, ConfigError> {
    let all = AllTopicConfigs::decode(bytes)?;
    let mut topics = Vec::new();
    for (name, body) in all.topic_config_table {
        if super::is_internal(&name) {
            continue;
        }
        let wrong = |reason| ConfigError::Name { what: "the topic", name: name.clone(), reason };
        let mut config = body.settings().map_err(|error| wrong(error.to_string()))?;
        for queues in [config.read_queues, config.write_queues] {
            if queues > QUEUES_MAX {
                return Err(wrong(format!("it has more than {QUEUES_MAX} queues")));
            }
        }
        config.attributes = body.attributes;
        topics.push(config);
    }
    Ok(topics)
}

/// Groups, without RocketMQ's internal ones, and what they may not do.
pub fn groups(bytes: &[u8]) -> Result<(Vec<GroupConfig>, Forbidden), ConfigError> {
    let all = AllGroupConfigs::decode(bytes)?;
    let mut groups = Vec::new();
    for (name, body) in all.subscription_group_table {
        if name.starts_with(super::SYSTEM_GROUP_PREFIX) {
            continue;
        }
        let wrong = |reason| ConfigError::Name { what: "the group", name: name.clone(), reason };
        let config = body.settings().map_err(|error| wrong(error.to_string()))?;
        groups.push(GroupConfig { attributes: body.attributes, ..config });
    }
    let forbidden = all.forbidden_table.into_iter().filter(|(_, topics)| !topics.is_empty());
    let named = |(name, topics): (String, _)| {
        let group = GroupName::new(&name).map_err(|error| ConfigError::Name {
            what: "the group",
            name: name.clone(),
            reason: error.to_string(),
        })?;
        Ok((group, topics))
    };
    Ok((groups, forbidden.map(named).collect::<Result<_, ConfigError>>()?))
}

/// Where the queues of static topics lie.
pub fn mappings(bytes: &[u8]) -> Result<Vec<QueueMappingDetail>, ConfigError> {
    Ok(AllMappings::decode(bytes)?.topic_queue_mapping_info_map.into_values().collect())
}

/// Committed offsets.
pub fn offsets(bytes: &[u8]) -> Result<Offsets, ConfigError> {
    Ok(progress::decode_all_offsets(bytes)?)
}

/// By level from 1: the first message that was not delivered.
pub fn delays(bytes: &[u8]) -> Result<BTreeMap<u8, QueueOffset>, ConfigError> {
    let all = progress::decode_delay_offsets(bytes)?;
    let positive =
        |(level, offset): (u64, i64)| Some((u8::try_from(level).ok()?, u64::try_from(offset).ok()?));
    Ok(all.into_iter().filter_map(positive).collect())
}

/// How groups get topics' messages.
pub fn request_modes(bytes: &[u8]) -> Result<Vec<RequestMode>, ConfigError> {
    let all = assignment::decode_modes(bytes)?;
    let named = |mode: halley_wire::request::SetMessageRequestMode| {
        Some(RequestMode {
            topic: TopicName::new(&mode.topic).ok()?,
            group: GroupName::new(&mode.consumer_group).ok()?,
            pop: mode.mode == halley_wire::request::RequestMode::Pop,
            share: mode.pop_share_queue_num,
        })
    };
    Ok(all.into_iter().filter_map(named).collect())
}

/// A committed offset under the names that Halley has for it; `None` for RocketMQ's internal ones and for what no client can
/// have committed.
pub fn committed(
    topic: &str,
    group: &str,
    queue: u64,
    offset: i64,
) -> Option<(GroupName, TopicName, QueueId, QueueOffset)> {
    if super::is_internal(topic) || group.starts_with(super::SYSTEM_GROUP_PREFIX) {
        return None;
    }
    let queue = QueueId::try_from(queue).ok().filter(|queue| *queue < QUEUES_MAX)?;
    let offset = QueueOffset::try_from(offset).ok()?;
    Some((GroupName::new(group).ok()?, TopicName::new(topic).ok()?, queue, offset))
}

#[cfg(test)]
mod tests;
