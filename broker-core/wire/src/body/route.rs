//! The answer to request 105 (`TopicRouteData`).

use super::{IntegerKeys, Writer};
use crate::json::{self, BodyError, null_is_default};
use halley_model::QueueMapping;
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
    /// Filter servers by the address of their broker.
    #[serde(rename = "filterServerTable", deserialize_with = "null_is_default")]
    pub filter_servers: BTreeMap<String, Vec<String>>,
    /// Of a static topic, its queues by broker.
    #[serde(rename = "topicQueueMappingByBroker", deserialize_with = "null_is_default")]
    pub mappings: BTreeMap<String, QueueMapping>,
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
    /// A replica may act as the master while there is none.
    #[serde(rename = "enableActingMaster")]
    pub acting_master: bool,
    /// The zone it stands in.
    #[serde(rename = "zoneName")]
    pub zone: Option<String>,
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
        for (address, servers) in &self.filter_servers {
            json.member(address);
            json.texts(servers.iter().map(String::as_str));
        }
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
        if !self.mappings.is_empty() {
            json.member("topicQueueMappingByBroker");
            json.open(b'{');
            for (broker, mapping) in &self.mappings {
                json.member(broker);
                write_mapping(&mut json, mapping, keys);
            }
            json.close(b'}');
        }
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
        super::write_addresses(json, &self.addresses, keys);
        json.member("brokerName");
        json.text(&self.broker_name);
        json.member("cluster");
        json.text(&self.cluster);
        json.member("enableActingMaster");
        json.boolean(self.acting_master);
        if let Some(zone) = &self.zone {
            json.member("zoneName");
            json.text(zone);
        }
        json.close(b'}');
    }
}

pub(super) fn write_mapping(json: &mut Writer, mapping: &QueueMapping, keys: IntegerKeys) {
    json.open(b'{');
    if let Some(broker) = &mapping.broker_name {
        json.member("bname");
        json.text(broker);
    }
    json.member("currIdMap");
    json.open(b'{');
    for (queue, here) in &mapping.queues {
        json.integer_member(*queue, keys);
        json.number(*here);
    }
    json.close(b'}');
    json.member("dirty");
    json.boolean(mapping.dirty);
    json.member("epoch");
    json.number(mapping.epoch);
    for (name, text) in [("scope", &mapping.scope), ("topic", &mapping.topic)] {
        if let Some(text) = text {
            json.member(name);
            json.text(text);
        }
    }
    json.member("totalQueues");
    json.number(mapping.total_queues);
    json.close(b'}');
}
