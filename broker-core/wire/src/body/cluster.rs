//! The answer to request 106 (`ClusterInfo`).

use super::{BrokerData, IntegerKeys, Writer};
use crate::json::{self, BodyError, null_is_default};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// All brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClusterInfo {
    /// Brokers by name.
    #[serde(rename = "brokerAddrTable", deserialize_with = "null_is_default")]
    pub brokers: BTreeMap<String, BrokerData>,
    /// Names of brokers by cluster.
    #[serde(rename = "clusterAddrTable", deserialize_with = "null_is_default")]
    pub clusters: BTreeMap<String, BTreeSet<String>>,
}

impl ClusterInfo {
    /// These brokers, by name and by cluster.
    pub fn of(brokers: impl IntoIterator<Item = BrokerData>) -> Self {
        let mut info = Self::default();
        for broker in brokers {
            let cluster = info.clusters.entry(broker.cluster.clone()).or_default();
            cluster.insert(broker.broker_name.clone());
            info.brokers.insert(broker.broker_name.clone(), broker);
        }
        info
    }

    /// The body. RocketMQ 5.5 always writes bare keys here; Java's admin reads both.
    pub fn encode(&self, keys: IntegerKeys) -> Vec<u8> {
        let mut json = Writer::new();
        json.open(b'{');
        json.member("brokerAddrTable");
        json.open(b'{');
        for (name, broker) in &self.brokers {
            json.member(name);
            broker.write(&mut json, keys);
        }
        json.close(b'}');
        json.member("clusterAddrTable");
        json.open(b'{');
        for (name, brokers) in &self.clusters {
            json.member(name);
            json.texts(brokers.iter().map(String::as_str));
        }
        json.close(b'}');
        json.close(b'}');
        json.finish()
    }

    /// Reads the body, with quoted or bare keys.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("cluster information", body)
    }
}
