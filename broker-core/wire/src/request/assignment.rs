//! Queues shared out by the broker: requests 400 and 401.

use crate::{
    json::{self, BodyError, null_is_default},
    request::MessageModel,
};
use serde::{Deserialize, Serialize as ToJson};

/// How the members of a group get a topic's messages (`MessageRequestMode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "UPPERCASE")]
pub enum RequestMode {
    /// Each pulls from the queues that are its own.
    #[default]
    Pull,
    /// They pop from queues that they share.
    Pop,
}

impl RequestMode {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "PULL",
            Self::Pop => "POP",
        }
    }
}

/// Which queues are the client's (400, `QueryAssignmentRequestBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignment {
    /// The topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic: String,
    /// The group.
    #[serde(deserialize_with = "null_is_default")]
    pub consumer_group: String,
    /// The client's own id.
    #[serde(deserialize_with = "null_is_default")]
    pub client_id: String,
    /// "AVG" or "AVG_BY_CIRCLE".
    #[serde(deserialize_with = "null_is_default")]
    pub strategy_name: String,
    /// Whether members share the queues.
    #[serde(deserialize_with = "null_is_default")]
    pub message_model: MessageModel,
}

/// Sets how a group gets a topic's messages (401, `SetMessageRequestModeRequestBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToJson)]
#[serde(rename_all = "camelCase", default)]
pub struct SetMessageRequestMode {
    /// The topic.
    #[serde(deserialize_with = "null_is_default")]
    pub topic: String,
    /// The group.
    #[serde(deserialize_with = "null_is_default")]
    pub consumer_group: String,
    /// How.
    #[serde(deserialize_with = "null_is_default")]
    pub mode: RequestMode,
    /// By POP: with how many others a member shares its queues, 0 or less for all.
    pub pop_share_queue_num: i32,
}

impl QueryAssignment {
    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("assignment query", body)
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists have a JSON form")
    }
}

impl SetMessageRequestMode {
    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("request mode", body)
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists have a JSON form")
    }
}
