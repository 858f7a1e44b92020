//! The answer to request 206 (`TopicList`).

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
    json.open(b'{');
    json.member("topicList");
    json.texts(topics);
    json.close(b'}');
    json.finish()
}

/// Reads the body.
pub fn decode(body: &[u8]) -> Result<Vec<String>, BodyError> {
    json::body("topic list", body).map(|body: Body| body.topic_list)
}
