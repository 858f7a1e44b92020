//! The body of request 513 (`TopicQueueMappingDetail`): where the queues of a static topic lie; and the file of all of a broker.

use crate::json::{self, BodyError};
use halley_model::{DataVersion, QueueMappingDetail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `topicQueueMapping.json` (`TopicQueueMappingManager.encode`, 5.5), by topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AllMappings {
    /// Counts changes.
    pub data_version: DataVersion,
    /// The mappings by topic.
    pub topic_queue_mapping_info_map: BTreeMap<String, QueueMappingDetail>,
}

impl AllMappings {
    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Reads the file, with quoted or bare keys.
    pub fn decode(file: &[u8]) -> Result<Self, BodyError> {
        json::body("mappings of static topics", file)
    }
}

/// The body, as a tool sends it.
pub fn encode(detail: &QueueMappingDetail) -> Vec<u8> {
    json::encode(detail)
}

/// Reads the body, with quoted or bare keys.
pub fn decode(body: &[u8]) -> Result<QueueMappingDetail, BodyError> {
    json::body("mapping of a static topic", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mqadmin_sends_is_read() {
        let body = br#"{"bname":"b","currIdMap":{},"dirty":false,"epoch":7,"hostedQueues":{0:[{"bname":"b","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"t","totalQueues":1}"#;
        let read = decode(body).unwrap();
        assert_eq!((read.epoch, &*read.broker_name, read.hosted_queues[&0].len()), (7, "b", 1));
        let quoted = String::from_utf8_lossy(body).replace("{0:", r#"{"0":"#);
        assert_eq!(String::from_utf8(encode(&read)).unwrap(), quoted);
        assert_eq!(decode(quoted.as_bytes()).unwrap(), read);
        assert!(decode(b"{").is_err());
        let file = [br#"{"topicQueueMappingInfoMap":{"t":"#, &body[..], b"}}"].concat();
        let all = AllMappings::decode(&file).unwrap();
        assert_eq!(all.topic_queue_mapping_info_map["t"], read);
        assert_eq!(AllMappings::decode(&all.encode()).unwrap(), all);
    }
}
