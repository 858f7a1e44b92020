//! Dead letters: the record as it was, with why and after what it was given up.
//!
//! What is added stands beside the record's own properties: for an event as extension attributes (`ce_dlqreason` and
//! so on), so that the dead letter is still an event; for another message as plain properties (`dlqreason`). Rules see
//! both under the same name. Additions of an earlier dead letter are replaced.

use halley_model::{Millis, RecordView, property};
use std::borrow::Cow;

/// Longest value of one addition, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// What every addition's name begins with.
const ADDITION: &str = "dlq";

/// Properties that would make the broker treat the dead letter as a timed or half message once more.
const NOT_KEPT: [&str; 5] = [
    property::DELAY_LEVEL,
    property::TIMER_DELIVER_MS,
    property::TIMER_DELAY_MS,
    property::TIMER_DELAY_SEC,
    property::TRANSACTION_PREPARED,
];

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

/// The properties of the dead letter. Where they would become too long, additions are left out, errors first.
pub(crate) fn properties(record: &RecordView<'_>, obituary: &Obituary<'_>) -> Vec<u8> {
    let is_event = record.property(property::EVENT_SPECVERSION).is_some();
    let prefix = if is_event { property::EVENT_PREFIX } else { "" };
    let additions = [
        ("reason", Some(Cow::Borrowed(obituary.reason))),
        ("attempts", Some(obituary.attempts.to_string().into())),
        ("rule", Some(obituary.rule.into())),
        ("target", Some(obituary.target.into())),
        ("topic", Some(record.topic().into())),
        ("queue", Some(record.queue().to_string().into())),
        ("offset", Some(record.queue_offset().to_string().into())),
        ("time", Some(obituary.now.to_string().into())),
        ("lasterror", obituary.last_error.map(Cow::Borrowed)),
        ("firsterror", obituary.first_error.map(Cow::Borrowed)),
    ];
    let is_addition = |key: &str| {
        let name = key.strip_prefix(prefix).and_then(|name| name.strip_prefix(ADDITION));
        name.is_some_and(|name| additions.iter().any(|(known, _)| *known == name))
    };
    let mut properties = Vec::with_capacity(record.properties().len() + 512);
    for pair in record.properties().split(|byte| *byte == property::VALUE_END) {
        let key = pair.split(|byte| *byte == property::KEY_END).next().unwrap_or_default();
        let key = std::str::from_utf8(key).unwrap_or_default();
        if !pair.is_empty() && !NOT_KEPT.contains(&key) && !is_addition(key) {
            properties.extend_from_slice(pair);
            properties.push(property::VALUE_END);
        }
    }
    for (name, value) in &additions {
        let Some(value) = value else { continue };
        let key = format!("{prefix}{ADDITION}{name}");
        let value = printable(value);
        let length = properties.len() + key.len() + value.len() + 2;
        if !value.is_empty() && length <= property::PROPERTIES_BYTES_MAX {
            property::push(&mut properties, &key, &value);
        }
    }
    if properties.len() > property::PROPERTIES_BYTES_MAX {
        // The record came without its last separator and has no room for it.
        properties.pop();
    }
    properties
}

/// A value without control characters, cut to its bound.
fn printable(value: &str) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean[..clean.floor_char_boundary(VALUE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
