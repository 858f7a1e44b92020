//! Routes: request 105 (`GetRouteInfoRequestHeader`).

use crate::{Ext, HeaderError, VERSION_4_9_4, body::IntegerKeys, encode::ExtField};
use std::borrow::Cow;

/// Asks which brokers serve a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRouteInfo<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The client reads nothing but standard JSON.
    pub accept_standard_json_only: bool,
}

impl<'a> GetRouteInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, standard] = ext.pick(["topic", "acceptStandardJsonOnly"]);
        Ok(Self { topic: topic.text()?, accept_standard_json_only: standard.bool_opt().unwrap_or(false) })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 2] {
        let standard = self.accept_standard_json_only.then_some(true);
        [("topic", (&*self.topic).into()), ("acceptStandardJsonOnly", standard.into())]
    }

    /// How the answer must write integer keys for a client of this version (`ClientRequestProcessor`, 5.5).
    pub fn integer_keys(&self, client_version: i32) -> IntegerKeys {
        if client_version >= VERSION_4_9_4 || self.accept_standard_json_only {
            IntegerKeys::Quoted
        } else {
            IntegerKeys::Bare
        }
    }
}
