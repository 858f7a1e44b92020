//! The answer to request 38 (`GetConsumerListByGroupResponseBody`).

use super::Writer;
use crate::json::{self, BodyError, null_is_default};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    #[serde(deserialize_with = "null_is_default")]
    consumer_id_list: Vec<String>,
}

/// The client ids of a group's members. Members sort them and share the queues by their positions.
pub fn encode<'a>(client_ids: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("consumerIdList");
    json.texts(client_ids);
    json.close(b'}');
    json.finish()
}

/// Reads the body.
pub fn decode(body: &[u8]) -> Result<Vec<String>, BodyError> {
    json::body("consumer list", body).map(|body: Body| body.consumer_id_list)
}
