//! Events as JSON (CloudEvents JSON Event Format 1.0.2).

use crate::{
    BATCH_EVENTS_MAX, attribute, is_json,
    parse::{ParseError, ParsedEvent},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// One event.
pub(crate) fn event(body: &Bytes) -> Result<ParsedEvent, ParseError> {
    let members: Members<'_> = serde_json::from_slice(body).map_err(json_error)?;
    event_of(&members, body)
}

/// A list of events.
pub(crate) fn batch(body: &Bytes) -> Result<Vec<ParsedEvent>, ParseError> {
    let Events(events) = serde_json::from_slice(body).map_err(json_error)?;
    let parsed = events.iter().enumerate().map(|(index, raw)| {
        let members: Members<'_> = serde_json::from_str(raw.get())
            .map_err(|error| ParseError::Json(format!("event {index}: {error}")))?;
        event_of(&members, body).map_err(|error| error.in_event(index))
    });
    parsed.collect()
}

fn json_error(error: serde_json::Error) -> ParseError {
    let text = error.to_string();
    if text.contains(TOO_LONG) { ParseError::BatchTooLong } else { ParseError::Json(text) }
}

fn event_of(members: &Members<'_>, body: &Bytes) -> Result<ParsedEvent, ParseError> {
    let mut properties = Vec::with_capacity(256);
    let (mut data, mut data_base64) = (None, None);
    for (name, raw) in &members.0 {
        match &**name {
            "data" | "data_base64" => {
                let place = if name == "data" { &mut data } else { &mut data_base64 };
                if place.replace(raw.get()).is_some() {
                    return Err(ParseError::attribute(name, "comes twice"));
                }
            }
            name => {
                if let Some(value) = attribute_value(name, raw.get())? {
                    attribute::push(&mut properties, name, &value)?;
                }
            }
        }
    }
    attribute::check_all(&properties)?;
    let data = match (data.filter(|raw| *raw != "null"), data_base64.filter(|raw| *raw != "null")) {
        (Some(_), Some(_)) => {
            return Err(ParseError::attribute("data", "stands beside data_base64, only one may"));
        }
        (None, None) => Bytes::new(),
        (None, Some(raw)) => {
            if !raw.starts_with('"') {
                return Err(ParseError::Base64("it is not a string".to_owned()));
            }
            let text = string("data_base64", raw)?;
            STANDARD.decode(text.as_bytes()).map_err(|error| ParseError::Base64(error.to_string()))?.into()
        }
        (Some(raw), None) => inline_data(&mut properties, raw, body)?,
    };
    Ok(ParsedEvent { properties, data })
}

/// `data`: any JSON value where the content type is JSON, else a string that holds the data itself.
fn inline_data(properties: &mut Vec<u8>, raw: &str, body: &Bytes) -> Result<Bytes, ParseError> {
    let content_type = attribute::property_of(properties, "datacontenttype");
    let is_text = attribute::is_encoded(properties) || content_type.is_some_and(|kind| !is_json(kind));
    if content_type.is_none() {
        // The format's own rule: no content type means JSON (§3.1.1).
        attribute::push(properties, "datacontenttype", "application/json")?;
    }
    if is_text && raw.starts_with('"') {
        return Ok(match string("data", raw)? {
            Cow::Borrowed(text) => slice_of(body, text),
            Cow::Owned(text) => text.into(),
        });
    }
    Ok(slice_of(body, raw))
}

/// A part of the body, by reference.
fn slice_of(body: &Bytes, part: &str) -> Bytes {
    body.slice_ref(part.as_bytes())
}

/// An attribute's value as text: strings, truth values and whole numbers; `null` is no attribute.
fn attribute_value<'r>(name: &str, raw: &'r str) -> Result<Option<Cow<'r, str>>, ParseError> {
    match raw.as_bytes().first() {
        Some(b'"') => string(name, raw).map(Some),
        Some(b't' | b'f') => Ok(Some(Cow::Borrowed(raw))),
        Some(b'n') => Ok(None),
        Some(b'-') if raw == "-0" => Ok(Some(Cow::Borrowed("0"))),
        Some(b'-' | b'0'..=b'9') if raw.parse::<i32>().is_ok() => Ok(Some(Cow::Borrowed(raw))),
        Some(b'-' | b'0'..=b'9') => {
            Err(ParseError::attribute(name, format!("is {raw}, only whole numbers of 32 bits are allowed")))
        }
        _ => Err(ParseError::attribute(
            name,
            "is a list or object, only strings, booleans and integers are allowed",
        )),
    }
}

/// The text of a JSON string, borrowed where it has no escapes. `name` is for the error: escapes can name half a
/// surrogate pair, which the scanner before let pass and which is no text.
fn string<'r>(name: &str, raw: &'r str) -> Result<Cow<'r, str>, ParseError> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => serde_json::from_str::<String>(raw)
            .map(Cow::Owned)
            .map_err(|error| ParseError::attribute(name, format!("is not a string of Unicode: {error}"))),
    }
}

/// The members of an object in order, values unparsed.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of an array, unparsed.
struct Events<'a>(Vec<&'a RawValue>);

const TOO_LONG: &str = "too many events";

impl<'de> Deserialize<'de> for Events<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventsVisitor;
        impl<'de> Visitor<'de> for EventsVisitor {
            type Value = Events<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut events = Vec::new();
                while let Some(event) = seq.next_element()? {
                    if events.len() == BATCH_EVENTS_MAX {
                        return Err(serde::de::Error::custom(TOO_LONG));
                    }
                    events.push(event);
                }
                Ok(Events(events))
            }
        }
        deserializer.deserialize_seq(EventsVisitor)
    }
}
