//! The version of a broker's table of topics.

use serde::{Deserialize, Serialize};

/// Tells one state of a broker's topics from another (RocketMQ `DataVersion`); name servers compare it whole.
///
/// It travels as it stands here: `{"counter":1,"stateVersion":0,"timestamp":1700000000000}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// How many changes there were.
    pub counter: i64,
    /// The epoch of a master that was elected; 0 without elections.
    pub state_version: i64,
    /// When the last change was, in milliseconds since the epoch.
    pub timestamp: i64,
}

impl DataVersion {
    /// The version after one more change.
    #[must_use]
    pub fn next(self, now: crate::Millis) -> Self {
        Self { counter: self.counter.wrapping_add(1), timestamp: now, ..self }
    }
}
