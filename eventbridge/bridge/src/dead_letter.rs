//! Dead letters: the record as it was, with why and after what it was given up.
//!
//! What is added stands beside the record's own properties: for an event as extension attributes (`ce_dlqreason` and
//! so on), so that the dead letter is still an event; for another message as plain properties (`dlqreason`).

use halley_model::{Millis, RecordView, property};
use std::borrow::Cow;

/// Longest value of one addition, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// Why and after what an event was given up.
#[derive(Debug, Clone)]
pub(crate) struct Obituary<'a> {
    pub(crate) reason: &'a str,
    pub(crate) attempts: u32,
    pub(crate) first_error: Option<&'a str>,
    pub(crate) last_error: Option<&'a str>,
    pub(crate) rule: &'a str,
    pub(crate) target: &'a str,
    pub(crate) now: Millis,
}

/// The properties of the dead letter. Where they would become too long, the last additions are left out.
pub(crate) fn properties(record: &RecordView<'_>, obituary: &Obituary<'_>) -> Vec<u8> {
    let is_event = record.property(property::EVENT_SPECVERSION).is_some();
    let prefix = if is_event { property::EVENT_PREFIX } else { "" };
    let mut properties = record.properties().to_vec();
    let additions = [
        ("dlqreason", Some(Cow::Borrowed(obituary.reason))),
        ("dlqattempts", Some(obituary.attempts.to_string().into())),
        ("dlqrule", Some(obituary.rule.into())),
        ("dlqtarget", Some(obituary.target.into())),
        ("dlqtopic", Some(record.topic().into())),
        ("dlqqueue", Some(record.queue().to_string().into())),
        ("dlqoffset", Some(record.queue_offset().to_string().into())),
        ("dlqtime", Some(obituary.now.to_string().into())),
        ("dlqlasterror", obituary.last_error.map(Cow::Borrowed)),
        ("dlqfirsterror", obituary.first_error.map(Cow::Borrowed)),
    ];
    for (name, value) in additions {
        let Some(value) = value else { continue };
        let key = format!("{prefix}{name}");
        let value = printable(&value);
        let length = properties.len() + key.len() + value.len() + 3;
        if length <= property::PROPERTIES_BYTES_MAX {
            property::push(&mut properties, &key, &value);
        }
    }
    properties
}

/// A value without control characters, cut to its bound.
fn printable(value: &str) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean[..clean.floor_char_boundary(VALUE_BYTES_MAX)].to_owned()
}
