//! The answers to requests 400 (`QueryAssignmentResponseBody`) and 402 (`MessageRequestModeSerializeWrapper`).

use super::Writer;
use crate::{
    json::{self, BodyError, null_is_default},
    request::{MessageQueue, RequestMode, SetMessageRequestMode},
};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    #[serde(deserialize_with = "null_is_default")]
    message_queue_assignments: Option<Vec<Assignment>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Assignment {
    message_queue: MessageQueue,
    #[serde(deserialize_with = "null_is_default")]
    mode: RequestMode,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modes {
    #[serde(deserialize_with = "null_is_default")]
    message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestMode>>,
}

/// The client's queues; `None` where nobody can say, which tells it to keep what it has.
pub fn encode(queues: Option<&[MessageQueue]>, mode: RequestMode) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    if let Some(queues) = queues {
        json.member("messageQueueAssignments");
        json.open(b'[');
        for queue in queues {
            json.element();
            json.open(b'{');
            json.member("messageQueue");
            json.queue(queue);
            json.member("mode");
            json.text(mode.as_str());
            json.close(b'}');
        }
        json.close(b']');
    }
    json.close(b'}');
    json.finish()
}

/// Reads the answer to 400.
pub fn decode(body: &[u8]) -> Result<Option<Vec<(MessageQueue, RequestMode)>>, BodyError> {
    let body: Body = json::body("assignment", body)?;
    let assignments = body.message_queue_assignments;
    Ok(assignments.map(|all| all.into_iter().map(|one| (one.message_queue, one.mode)).collect()))
}

/// All modes that were set. Those of one topic stand one behind the other.
pub fn encode_modes<'a>(modes: impl IntoIterator<Item = &'a SetMessageRequestMode>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("messageRequestModeMap");
    json.open(b'{');
    let mut topic = None;
    for mode in modes {
        if topic != Some(&mode.topic) {
            if topic.is_some() {
                json.close(b'}');
            }
            json.member(&mode.topic);
            json.open(b'{');
            topic = Some(&mode.topic);
        }
        json.member(&mode.consumer_group);
        json.open(b'{');
        json.member("consumerGroup");
        json.text(&mode.consumer_group);
        json.member("mode");
        json.text(mode.mode.as_str());
        json.member("popShareQueueNum");
        json.number(mode.pop_share_queue_num);
        json.member("topic");
        json.text(&mode.topic);
        json.close(b'}');
    }
    if topic.is_some() {
        json.close(b'}');
    }
    json.close(b'}');
    json.close(b'}');
    json.finish()
}

/// Reads the answer to 402.
pub fn decode_modes(body: &[u8]) -> Result<Vec<SetMessageRequestMode>, BodyError> {
    let modes: Modes = json::body("request modes", body)?;
    Ok(modes.message_request_mode_map.into_values().flat_map(BTreeMap::into_values).collect())
}
