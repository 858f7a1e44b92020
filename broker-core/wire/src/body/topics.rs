//! The answers to requests 206, 224, 304, 305, 311 to 313 and 343 (`TopicList`).

use super::Writer;
use crate::json::{self, BodyError, null_is_default};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    #[serde(deserialize_with = "null_is_default")]
    topic_list: Vec<String>,
}

/// The names of topics.
pub fn encode<'a>(topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut json = Writer::new();
    write(&mut json, None, topics);
    json.finish()
}

/// The names of clusters and brokers, and the address of one broker (304).
pub fn encode_system<'a>(names: impl IntoIterator<Item = &'a str>, broker: Option<&str>) -> Vec<u8> {
    let mut json = Writer::new();
    write(&mut json, broker, names);
    json.finish()
}

fn write<'a>(json: &mut Writer, broker: Option<&str>, topics: impl IntoIterator<Item = &'a str>) {
    json.open(b'{');
    if let Some(broker) = broker {
        json.member("brokerAddr");
        json.text(broker);
    }
    json.member("topicList");
    json.texts(topics);
    json.close(b'}');
}

/// The names of topics, and which broker says so.
pub fn encode_of_broker<'a>(address: &str, topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("brokerAddr");
    json.text(address);
    json.member("topicList");
    json.texts(topics);
    json.close(b'}');
    json.finish()
}

/// Reads the body.
pub fn decode(body: &[u8]) -> Result<Vec<String>, BodyError> {
    json::body("topic list", body).map(|body: Body| body.topic_list)
}
