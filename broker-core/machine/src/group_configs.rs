//! The table of consumer groups' settings.

use halley_model::{GroupConfig, GroupName};
use std::{collections::BTreeMap, sync::Arc};

/// The groups that were configured or seen. Changes are returned as the new setting, for the caller to log.
#[derive(Debug, Default)]
pub struct GroupConfigs {
    table: BTreeMap<GroupName, Arc<GroupConfig>>,
}

impl GroupConfigs {
    /// The group's settings.
    pub fn get(&self, group: &str) -> Option<&Arc<GroupConfig>> {
        self.table.get(group)
    }

    /// All groups, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<GroupConfig>> {
        self.table.values()
    }

    /// Sets a group, as it comes from the log or from an administrator (request 200). Returns the new settings, `None`
    /// where nothing changed.
    pub fn put(&mut self, config: GroupConfig) -> Option<Arc<GroupConfig>> {
        if self.table.get(&config.name).is_some_and(|old| **old == config) {
            return None;
        }
        let config = Arc::new(config);
        self.table.insert(config.name.clone(), config.clone());
        Some(config)
    }

    /// Forgets a group; whether it was known.
    pub fn remove(&mut self, group: &GroupName) -> Option<Arc<GroupConfig>> {
        self.table.remove(group)
    }

    /// Takes a change back that could not be logged: the group is again what it was before, or gone.
    pub fn restore(&mut self, group: &GroupName, before: Option<Arc<GroupConfig>>) {
        match before {
            Some(before) => _ = self.table.insert(group.clone(), before),
            None => _ = self.table.remove(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once() {
        let mut groups = GroupConfigs::default();
        let config = GroupConfig::new(GroupName::new("g").unwrap());
        assert!(groups.put(config.clone()).is_some());
        assert!(groups.put(config.clone()).is_none());
        let changed = GroupConfig { retry_max_times: 3, ..config.clone() };
        assert_eq!(groups.put(changed).unwrap().retry_max_times, 3);
        groups.restore(&config.name, Some(Arc::new(config.clone())));
        assert_eq!(groups.get("g").unwrap().retry_max_times, 16);
        assert!(groups.remove(&config.name).is_some());
        assert_eq!(groups.all().count(), 0);
    }
}
