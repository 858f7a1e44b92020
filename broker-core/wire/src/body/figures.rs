//! Figures and small answers: requests 28 and 315 (`KVTable`, `BrokerStatsData`), 300 (`GroupList`), 353 (`GroupForbidden`)
//! and 907 (`HARuntimeInfo`).

use crate::json::{self, BodyError, null_is_default};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Named texts (28).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyValues {
    /// The texts by name.
    #[serde(deserialize_with = "null_is_default")]
    pub table: BTreeMap<String, String>,
}

/// What a counter counted in a stretch of time (`BrokerStatsItem`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CounterSum {
    /// The sum for each time that it was counted.
    pub avgpt: f64,
    /// The sum.
    pub sum: i64,
    /// The sum for each second.
    pub tps: f64,
}

/// What a counter counted (315).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CounterSums {
    /// In the last day.
    pub stats_day: CounterSum,
    /// In the last hour.
    pub stats_hour: CounterSum,
    /// In the last minute.
    pub stats_minute: CounterSum,
}

/// Whether a group may read a topic (353).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupForbidden<'a> {
    /// The group.
    pub group: &'a str,
    /// May it.
    pub readable: bool,
    /// The topic.
    pub topic: &'a str,
}

/// A broker's replicas (907); without any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    ha_client_runtime_info: ReplicationClient,
    ha_connection_info: [(); 0],
    in_sync_slave_nums: i32,
    master: bool,
    master_commit_log_max_offset: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicationClient {
    last_read_timestamp: i64,
    last_write_timestamp: i64,
    master_flush_offset: i64,
    max_offset: i64,
    transferred_byte_in_second: i64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupList {
    #[serde(deserialize_with = "null_is_default")]
    group_list: BTreeSet<String>,
}

impl KeyValues {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("table of figures", body)
    }
}

impl CounterSums {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("counter", body)
    }
}

impl GroupForbidden<'_> {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }
}

impl Replication {
    /// A master without replicas whose log ends here.
    pub fn alone(log_end: u64) -> Self {
        Self { master: true, master_commit_log_max_offset: log_end, ..Self::default() }
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }
}

/// The answer to 300.
pub fn encode_groups(groups: BTreeSet<String>) -> Vec<u8> {
    json::encode(&GroupList { group_list: groups })
}

/// Reads the answer to 300.
pub fn decode_groups(body: &[u8]) -> Result<BTreeSet<String>, BodyError> {
    json::body("group list", body).map(|list: GroupList| list.group_list)
}
