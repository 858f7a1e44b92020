//! Settings of topics: the bodies of requests 18, 21 and 351 (`TopicConfig`, `TopicConfigAndMappingSerializeWrapper`).

use crate::json::{self, BodyError, null_is_default};
use halley_model::{
    DataVersion, NameError, Permission, QueueMappingDetail, TopicConfig, TopicFilterType, TopicName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A topic's settings as they travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigBody {
    /// Named settings; in requests changes of them, their names with `+` or `-` in front.
    #[serde(deserialize_with = "null_is_default")]
    pub attributes: BTreeMap<String, String>,
    /// Of a static topic, where its queues lie, for who asks for it (`TopicConfigAndQueueMapping`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_detail: Option<QueueMappingDetail>,
    /// Passed through.
    pub order: bool,
    /// RocketMQ's bits 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues that consumers read.
    pub read_queue_nums: i32,
    /// "SINGLE_TAG" or "MULTI_TAG"; not used since 4.0.
    pub topic_filter_type: String,
    /// The topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic_name: String,
    /// Passed through.
    pub topic_sys_flag: i32,
    /// Queues that producers write.
    pub write_queue_nums: i32,
}

/// All topics of a broker (21).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllTopicConfigs {
    /// Changes with every change of a topic.
    pub data_version: DataVersion,
    /// Of queue mappings.
    pub mapping_data_version: DataVersion,
    /// The topics.
    #[serde(deserialize_with = "null_is_default")]
    pub topic_config_table: BTreeMap<String, TopicConfigBody>,
    /// Where the queues of static topics lie.
    #[serde(deserialize_with = "null_is_default")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, QueueMappingDetail>,
    /// None: name servers are told them, not tools.
    #[serde(skip_deserializing)]
    topic_queue_mapping_info_map: BTreeMap<String, ()>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicList {
    #[serde(deserialize_with = "null_is_default")]
    topic_config_list: Vec<TopicConfigBody>,
}

impl Default for TopicConfigBody {
    /// `TopicConfig()`, 5.5.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            mapping_detail: None,
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl From<&TopicConfig> for TopicConfigBody {
    fn from(config: &TopicConfig) -> Self {
        Self {
            attributes: config.attributes.clone(),
            order: config.ordered,
            perm: config.permission.0.into(),
            read_queue_nums: config.read_queues as i32,
            topic_name: config.name.to_string(),
            topic_filter_type: config.filter_type.word().to_owned(),
            topic_sys_flag: config.system_flag,
            write_queue_nums: config.write_queues as i32,
            ..Self::default()
        }
    }
}

impl TopicConfigBody {
    /// The settings, without attributes: those of a request are changes. A negative number of queues becomes the largest
    /// there is, which no topic may have; a permission beyond a byte becomes 0.
    pub fn settings(&self) -> Result<TopicConfig, NameError> {
        Ok(TopicConfig {
            name: TopicName::new(&self.topic_name)?,
            read_queues: u32::try_from(self.read_queue_nums).unwrap_or(u32::MAX),
            write_queues: u32::try_from(self.write_queue_nums).unwrap_or(u32::MAX),
            permission: Permission(u8::try_from(self.perm).unwrap_or(0)),
            system_flag: self.topic_sys_flag,
            ordered: self.order,
            filter_type: TopicFilterType::of(&self.topic_filter_type).unwrap_or_default(),
            attributes: BTreeMap::new(),
        })
    }

    /// The body of an answer to 351.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body of an answer to 351.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("topic configuration", body)
    }

    /// Reads the body of request 18.
    pub fn decode_list(body: &[u8]) -> Result<Vec<Self>, BodyError> {
        json::body("list of topic configurations", body).map(|list: TopicList| list.topic_config_list)
    }
}

impl AllTopicConfigs {
    /// These topics.
    pub fn new<'a>(version: DataVersion, topics: impl IntoIterator<Item = &'a TopicConfig>) -> Self {
        let named = |config: &TopicConfig| (config.name.to_string(), TopicConfigBody::from(config));
        let topic_config_table = topics.into_iter().map(named).collect();
        Self { data_version: version, topic_config_table, ..Self::default() }
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("table of topics", body)
    }
}
