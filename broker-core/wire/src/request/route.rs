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
    /// Only brokers of this zone, and those that have lost their master (`ZoneRouteRPCHook`, 5.5).
    pub zone: Option<Cow<'a, str>>,
}

impl<'a> GetRouteInfo<'a> {
    /// Reads the header.
    pub fn decode(ext: &Ext<'a>) -> Result<Self, HeaderError> {
        let [topic, standard, zone_mode, zone] =
            ext.pick(["topic", "acceptStandardJsonOnly", "__ZONE_MODE", "__ZONE_NAME"]);
        let by_zone = zone_mode.bool_opt().unwrap_or(false);
        Ok(Self {
            // Java lets a missing topic pass, and names it so in its answer.
            topic: topic.text_opt().unwrap_or(Cow::Borrowed("null")),
            accept_standard_json_only: standard.bool_opt().unwrap_or(false),
            zone: zone.text_opt().filter(|zone| by_zone && !zone.trim().is_empty()),
        })
    }

    /// The ext fields.
    pub fn fields(&self) -> [ExtField<'_>; 4] {
        let standard = self.accept_standard_json_only.then_some(true);
        [
            ("topic", (&*self.topic).into()),
            ("acceptStandardJsonOnly", standard.into()),
            ("__ZONE_MODE", self.zone.as_ref().map(|_| true).into()),
            ("__ZONE_NAME", self.zone.as_deref().into()),
        ]
    }

    /// How the answer must write integer keys for a client of this version (`ClientRequestProcessor`, 5.5).
    pub fn integer_keys(&self, client_version: i32) -> IntegerKeys {
        // An answer reduced to a zone is written a second time, then without regard to the client.
        if self.zone.is_none() && (client_version >= VERSION_4_9_4 || self.accept_standard_json_only) {
            IntegerKeys::Quoted
        } else {
            IntegerKeys::Bare
        }
    }
}
