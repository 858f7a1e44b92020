//! The answer to request 219 (`KVTable`), also what brokers are told when they register; and the file that RocketMQ keeps
//! all values in (`KVConfigSerializeWrapper`).

use super::Writer;
use crate::json::{self, BodyError, null_is_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The values of a namespace by key.
pub fn encode(values: &BTreeMap<String, String>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("table");
    json.open(b'{');
    for (key, value) in values {
        json.member(key);
        json.text(value);
    }
    json.close(b'}');
    json.close(b'}');
    json.finish()
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    #[serde(rename = "configTable", deserialize_with = "null_is_default")]
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// The file's contents: all values by namespace and key.
pub fn encode_file(namespaces: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<u8> {
    let stored = Stored { namespaces: namespaces.clone() };
    serde_json::to_vec(&stored).expect("texts have a JSON form")
}

/// Reads the file.
pub fn decode_file(bytes: &[u8]) -> Result<BTreeMap<String, BTreeMap<String, String>>, BodyError> {
    json::body("KV configuration file", bytes).map(|stored: Stored| stored.namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_rocketmqs() {
        let text = br#"{"configTable":{"ORDER_TOPIC_CONFIG":{"A":"b1:4"},"empty":{}}}"#;
        let read = decode_file(text).unwrap();
        assert_eq!(encode_file(&read), text);
        assert_eq!(encode(&read["ORDER_TOPIC_CONFIG"]), br#"{"table":{"A":"b1:4"}}"#);
        assert!(decode_file(b"{}").unwrap().is_empty() && decode_file(b"[").is_err());
    }
}
