//! Stored events as HTTP requests: binary mode, and structured JSON.

use crate::{DataError, EventView, is_json, media_type};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// Headers of an event in binary mode; the body is [`EventView::data`] as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The content type, if the data has one.
    pub content_type: Option<String>,
    /// `ce-` headers.
    pub headers: Vec<(String, String)>,
}

/// An event in binary mode.
pub fn binary(event: &EventView<'_>) -> Binary {
    let mut binary = Binary { content_type: None, headers: Vec::with_capacity(12) };
    for (name, value) in event.attributes() {
        if name == "datacontenttype" {
            // As header values go; what was stored came in one, or was checked to have no control characters.
            binary.content_type = Some(percent_encode_non_ascii(&value));
        } else {
            binary.headers.push((format!("ce-{name}"), percent_encode(&value)));
        }
    }
    binary
}

/// An event as one JSON object.
pub fn structured(event: &EventView<'_>) -> Result<Vec<u8>, DataError> {
    let data = event.data()?;
    let attributes = event.attributes();
    let find = |name: &str| attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value);
    let old = find("specversion") == Some("0.3");
    let encoded = old && find("datacontentencoding").is_some();
    let form = form_of(&data, find("datacontenttype"), encoded);
    let mut out = Vec::with_capacity(data.len() + 512);
    for (name, value) in &attributes {
        if old && *name == "datacontentencoding" && matches!(form, Form::Bytes(_)) {
            // Said to be encoded, but no text: it is encoded below, which says so once.
            continue;
        }
        out.push(if out.is_empty() { b'{' } else { b',' });
        push_string(&mut out, name);
        out.push(b':');
        push_string(&mut out, value);
    }
    match form {
        Form::Nothing => {}
        Form::Json(raw) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(raw);
        }
        Form::Text(text) => {
            out.extend_from_slice(b",\"data\":");
            push_string(&mut out, text);
        }
        Form::Bytes(bytes) => {
            let key: &[u8] =
                if old { b",\"datacontentencoding\":\"base64\",\"data\":" } else { b",\"data_base64\":" };
            out.extend_from_slice(key);
            push_string(&mut out, &STANDARD.encode(bytes));
        }
    }
    out.push(b'}');
    Ok(out)
}

/// How data stands in JSON.
enum Form<'a> {
    Nothing,
    Json(&'a [u8]),
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn form_of<'a>(data: &'a [u8], content_type: Option<&str>, encoded: bool) -> Form<'a> {
    if data.is_empty() {
        return Form::Nothing;
    }
    let text = std::str::from_utf8(data).ok();
    match (content_type, text) {
        // Version 0.3 with an encoding: the data is the encoded text.
        (_, Some(text)) if encoded => Form::Text(text),
        // Whoever said JSON may have lied, and the event must stay JSON. The scanner does not look into strings: that
        // they are UTF-8 was seen before.
        (Some(kind), Some(text)) if is_json(kind) && serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            Form::Json(data)
        }
        (Some(kind), Some(text)) if is_text(kind) && !is_json(kind) => Form::Text(text),
        _ => Form::Bytes(data),
    }
}

fn is_text(content_type: &str) -> bool {
    let media = media_type(content_type).to_ascii_lowercase();
    media.starts_with("text/") || media == "application/xml" || media.ends_with("+xml")
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string always has a JSON form, and a Vec takes it");
}

/// HTTP Protocol Binding 1.0.2 §3.1.3.2: space, quote, percent and everything but printable ASCII.
fn percent_encode(value: &str) -> String {
    encode_where(value, |byte| !(0x21..=0x7E).contains(&byte) || byte == b'"' || byte == b'%').into_owned()
}

fn percent_encode_non_ascii(value: &str) -> String {
    encode_where(value, |byte| !(0x20..=0x7E).contains(&byte)).into_owned()
}

fn encode_where(value: &str, must: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !value.bytes().any(&must) {
        return Cow::Borrowed(value);
    }
    let mut encoded = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if must(byte) {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
            }
        } else {
            encoded.push(char::from(byte));
        }
    }
    Cow::Owned(encoded)
}
