//! What administrators keep at the name server: values by namespace and key (RocketMQ `KVConfigManager`, 5.5).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The namespace of the queue counts of ordered topics, `broker-a:4;broker-b:4` by topic.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Most bytes of all names, keys and values together; what would pass it is refused.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Values by namespace and key. A namespace stays when its last key is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvConfigs {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    bytes: usize,
}

/// A value as it is now, or that there is none: how it is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvState {
    namespace: String,
    /// `None` for a namespace without keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// `None` where the key is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all KV configuration together would have more than {BYTES_MAX} bytes")]
pub struct TooMuch;

impl KvState {
    /// A key with its value, or removed.
    pub fn new(namespace: &str, key: &str, value: Option<&str>) -> Self {
        Self { namespace: namespace.to_owned(), key: Some(key.to_owned()), value: value.map(str::to_owned) }
    }
}

impl KvConfigs {
    /// Whether [`KvConfigs::put`] may follow.
    pub fn check(&self, state: &KvState) -> Result<(), TooMuch> {
        let added = state.namespace.len() + length(state.key.as_deref(), state.value.as_deref());
        if state.value.is_some() && self.bytes + added > BYTES_MAX { Err(TooMuch) } else { Ok(()) }
    }

    /// Sets or removes a value.
    pub fn put(&mut self, state: KvState) {
        let KvState { namespace, key, value } = state;
        let values = self.namespaces.entry(namespace).or_default();
        let Some(key) = key else { return };
        self.bytes += length(Some(&key), value.as_deref());
        let old = match value {
            Some(value) => values.insert(key.clone(), value),
            None => values.remove(&key),
        };
        let known = old.as_deref().map_or(0, |old| length(Some(&key), Some(old)));
        self.bytes = self.bytes.saturating_sub(known);
    }

    /// The value of a key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// The values of a namespace by key.
    pub fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    /// All values by namespace and key.
    pub fn namespaces(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.namespaces
    }

    /// Everything, in the form in which changes are logged.
    pub fn states(&self) -> Vec<KvState> {
        let mut states = Vec::new();
        for (namespace, values) in &self.namespaces {
            if values.is_empty() {
                states.push(KvState { namespace: namespace.clone(), key: None, value: None });
            }
            states.extend(values.iter().map(|(key, value)| KvState::new(namespace, key, Some(value))));
        }
        states
    }
}

impl From<BTreeMap<String, BTreeMap<String, String>>> for KvConfigs {
    fn from(namespaces: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        let values = namespaces.values().flatten();
        let bytes = values.map(|(key, value)| length(Some(key), Some(value))).sum();
        Self { namespaces, bytes }
    }
}

fn length(key: Option<&str>, value: Option<&str>) -> usize {
    match (key, value) {
        (Some(key), Some(value)) => key.len() + value.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_and_go_and_namespaces_stay() {
        let mut kv = KvConfigs::default();
        kv.put(KvState::new("n", "k", Some("v")));
        kv.put(KvState::new("n", "k", Some("longer")));
        assert_eq!((kv.get("n", "k"), kv.bytes), (Some("longer"), 7));
        kv.put(KvState::new("m", "k", None));
        let mut again = KvConfigs::default();
        for state in kv.states().into_iter().chain(kv.states()) {
            again.put(state);
        }
        assert_eq!(again, kv);
        assert_eq!(KvConfigs::from(kv.namespaces().clone()), kv);
        kv.put(KvState::new("n", "k", None));
        assert_eq!((kv.get("n", "k"), kv.bytes), (None, 0));
        assert!(kv.namespace("n").unwrap().is_empty() && kv.namespace("m").is_some());
        assert!(kv.namespace("x").is_none());
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut kv = KvConfigs::default();
        let half = "v".repeat(BYTES_MAX / 2);
        let state = KvState::new("n", "a", Some(&half));
        assert_eq!(kv.check(&state), Ok(()));
        kv.put(state);
        assert_eq!(kv.check(&KvState::new("n", "b", Some(&half))), Err(TooMuch));
        assert_eq!(kv.check(&KvState::new("n", "a", None)), Ok(()));
    }
}
