//! How groups get topics' messages, where an administrator said so (`MessageRequestModeManager`, RocketMQ 5.5).

use halley_model::{GroupName, TopicName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a group gets a topic's messages. It is stored in the log as it stands here: names never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMode {
    /// The topic.
    pub topic: TopicName,
    /// The group.
    pub group: GroupName,
    /// By POP, else each member pulls from queues of its own.
    pub pop: bool,
    /// By POP: with how many others a member shares its queues, 0 or less for all.
    #[serde(default)]
    pub share: i32,
}

/// What was said. Changes are reported, for the caller to log.
#[derive(Debug, Default)]
pub struct RequestModes {
    table: BTreeMap<(TopicName, GroupName), RequestMode>,
}

impl RequestModes {
    /// What was said of the group and topic.
    pub fn get(&self, topic: &TopicName, group: &GroupName) -> Option<&RequestMode> {
        self.table.get(&(topic.clone(), group.clone()))
    }

    /// Everything, by topic and group.
    pub fn all(&self) -> impl Iterator<Item = &RequestMode> {
        self.table.values()
    }

    /// Sets a mode; what it was before. `None` inside where it was not set, `None` outside where nothing changed.
    pub fn put(&mut self, mode: RequestMode) -> Option<Option<RequestMode>> {
        let key = (mode.topic.clone(), mode.group.clone());
        if self.table.get(&key) == Some(&mode) {
            return None;
        }
        Some(self.table.insert(key, mode))
    }

    /// Takes a change back that could not be logged.
    pub fn restore(&mut self, mode: &RequestMode, before: Option<RequestMode>) {
        let key = (mode.topic.clone(), mode.group.clone());
        match before {
            Some(before) => _ = self.table.insert(key, before),
            None => _ = self.table.remove(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once() {
        let (topic, group) = (TopicName::new("t").unwrap(), GroupName::new("g").unwrap());
        let pop = RequestMode { topic: topic.clone(), group: group.clone(), pop: true, share: 0 };
        let mut modes = RequestModes::default();
        assert_eq!(modes.put(pop.clone()), Some(None));
        assert_eq!(modes.put(pop.clone()), None);
        let pull = RequestMode { pop: false, ..pop.clone() };
        assert_eq!(modes.put(pull.clone()), Some(Some(pop.clone())));
        modes.restore(&pull, Some(pop.clone()));
        assert_eq!(modes.get(&topic, &group), Some(&pop));
        modes.restore(&pop, None);
        assert_eq!(modes.all().count(), 0);
    }
}
