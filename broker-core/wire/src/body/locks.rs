//! The answer to request 41 (`LockBatchResponseBody`).

use super::Writer;
use crate::{
    json::{self, BodyError, null_is_default},
    request::MessageQueue,
};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "lockOKMQSet", deserialize_with = "null_is_default")]
    locked: Vec<MessageQueue>,
}

/// The queues that the client now holds.
pub fn encode<'a>(locked: impl IntoIterator<Item = &'a MessageQueue>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("lockOKMQSet");
    json.open(b'[');
    for queue in locked {
        json.element();
        json.queue(queue);
    }
    json.close(b']');
    json.close(b'}');
    json.finish()
}

/// Reads the body.
pub fn decode(body: &[u8]) -> Result<Vec<MessageQueue>, BodyError> {
    json::body("lock reply", body).map(|body: Body| body.locked)
}
