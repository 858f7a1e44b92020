//! The answer to request 105 (`TopicRouteData`).

use super::{IntegerKeys, Writer};
use crate::json::{self, BodyError, null_is_default};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Which brokers serve a topic, and with how many queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// Queue counts of an ordered topic, `broker-a:4;broker-b:4`.
    pub order_topic_conf: Option<String>,
    /// The topic's queues on each broker.
    #[serde(rename = "queueDatas", deserialize_with = "null_is_default")]
    pub queues: Vec<QueueData>,
    /// The brokers.
    #[serde(rename = "brokerDatas", deserialize_with = "null_is_default")]
    pub brokers: Vec<BrokerData>,
}

/// A topic's queues on one broker (`QueueData`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// The broker's name.
    pub broker_name: String,
    /// Queues that consumers read.
    pub read_queue_nums: i32,
    /// Queues that producers write.
    pub write_queue_nums: i32,
    /// RocketMQ's bits 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Passed through.
    pub topic_sys_flag: i32,
}

/// A broker and its replicas (`BrokerData`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Its cluster.
    #[serde(deserialize_with = "null_is_default")]
    pub cluster: String,
    /// Its name.
    pub broker_name: String,
    /// Addresses by broker id; 0 is the master.
    #[serde(rename = "brokerAddrs", deserialize_with = "null_is_default")]
    pub addresses: BTreeMap<u64, String>,
}

impl TopicRoute {
    /// The body, as RocketMQ 5.5 writes it; see [`crate::request::GetRouteInfo::integer_keys`].
    pub fn encode(&self, keys: IntegerKeys) -> Vec<u8> {
        let mut json = Writer::new();
        json.open(b'{');
        json.member("brokerDatas");
        json.open(b'[');
        for broker in &self.brokers {
            json.element();
            broker.write(&mut json, keys);
        }
        json.close(b']');
        json.member("filterServerTable");
        json.open(b'{');
        json.close(b'}');
        if let Some(conf) = &self.order_topic_conf {
            json.member("orderTopicConf");
            json.text(conf);
        }
        json.member("queueDatas");
        json.open(b'[');
        for queue in &self.queues {
            json.element();
            queue.write(&mut json);
        }
        json.close(b']');
        json.close(b'}');
        json.finish()
    }

    /// Reads the body, with quoted or bare keys.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("topic route", body)
    }
}

impl QueueData {
    fn write(&self, json: &mut Writer) {
        json.open(b'{');
        json.member("brokerName");
        json.text(&self.broker_name);
        for (name, number) in [
            ("perm", self.perm),
            ("readQueueNums", self.read_queue_nums),
            ("topicSysFlag", self.topic_sys_flag),
            ("writeQueueNums", self.write_queue_nums),
        ] {
            json.member(name);
            json.number(number);
        }
        json.close(b'}');
    }
}

impl BrokerData {
    pub(super) fn write(&self, json: &mut Writer, keys: IntegerKeys) {
        json.open(b'{');
        json.member("brokerAddrs");
        json.open(b'{');
        for (id, address) in &self.addresses {
            json.integer_member(*id, keys);
            json.text(address);
        }
        json.close(b'}');
        json.member("brokerName");
        json.text(&self.broker_name);
        json.member("cluster");
        json.text(&self.cluster);
        json.member("enableActingMaster");
        json.boolean(false);
        json.close(b'}');
    }
}
