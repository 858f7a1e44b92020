//! Events from HTTP requests (CloudEvents HTTP Protocol Binding 1.0.2): binary, structured and batched mode.

use crate::{BATCH, STRUCTURED, attribute, json, media_type};
use bytes::Bytes;
use halley_model::property;
use std::borrow::Cow;

/// An event, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedEvent {
    /// Its attributes as raw properties `ce_<name>`.
    pub properties: Vec<u8>,
    /// Its data; a part of the request's body wherever it stands there as it is.
    pub data: Bytes,
}

/// Why a request is not an event or several. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// An attribute is missing or wrong.
    #[error("{}the attribute {name} {reason}", .event.map(|index| format!("event {index} of the batch: ")).unwrap_or_default())]
    Attribute {
        /// its name
        name: String,
        /// what is wrong with it
        reason: String,
        /// which event of a batch, from 0
        event: Option<usize>,
    },
    /// The body is not what its content type says.
    #[error("the body is not a CloudEvent as JSON: {0}")]
    Json(String),
    /// The data is not what its name says.
    #[error("`data_base64` is not base64: {0}")]
    Base64(String),
    /// All attributes together are too long.
    #[error("the attributes have {0} bytes, at most {max} can be stored", max = property::PROPERTIES_BYTES_MAX)]
    TooManyAttributes(usize),
    /// More events than one batch may have.
    #[error("the batch has more than {max} events", max = crate::BATCH_EVENTS_MAX)]
    BatchTooLong,
    /// Neither binary nor a known structured form.
    #[error(
        "{0} is no form of CloudEvents: send `application/cloudevents+json`, `application/cloudevents-batch+json`, or \
         `ce-` headers with any content type"
    )]
    ContentType(String),
}

impl ParseError {
    pub(crate) fn attribute(name: &str, reason: impl Into<String>) -> Self {
        Self::Attribute { name: name.to_owned(), reason: reason.into(), event: None }
    }

    pub(crate) fn in_event(self, index: usize) -> Self {
        match self {
            Self::Attribute { name, reason, .. } => Self::Attribute { name, reason, event: Some(index) },
            other => other,
        }
    }

    /// The attribute that is wrong, if it is one.
    pub fn attribute_name(&self) -> Option<&str> {
        match self {
            Self::Attribute { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// The events of a request. `headers` are all headers, names in lower case as HTTP libraries have them.
pub fn request<'h>(
    content_type: Option<&str>,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    body: Bytes,
) -> Result<Vec<ParsedEvent>, ParseError> {
    let media = content_type.map_or("", media_type);
    let is_json_form = media.eq_ignore_ascii_case(STRUCTURED) || media.eq_ignore_ascii_case(BATCH);
    if let Some(content_type) = content_type.filter(|content_type| is_json_form && !is_utf8(content_type)) {
        return Err(ParseError::ContentType(content_type.to_owned()));
    }
    if media.eq_ignore_ascii_case(STRUCTURED) {
        return json::event(&body).map(|event| vec![event]);
    }
    if media.eq_ignore_ascii_case(BATCH) {
        return json::batch(&body);
    }
    let is_other_form =
        media.get(..23).is_some_and(|prefix| prefix.eq_ignore_ascii_case("application/cloudevents"));
    if is_other_form {
        return Err(ParseError::ContentType(media.to_owned()));
    }
    binary(content_type, headers, body).map(|event| vec![event])
}

/// Whether the parameters leave the text in UTF-8, the only form of JSON between systems (RFC 8259 §8.1).
fn is_utf8(content_type: &str) -> bool {
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

/// Binary mode: attributes are `ce-` headers, the content type is `datacontenttype`, the body is the data.
fn binary<'h>(
    content_type: Option<&str>,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    body: Bytes,
) -> Result<ParsedEvent, ParseError> {
    let mut properties = Vec::with_capacity(256);
    for (name, value) in headers {
        let Some(name) = name.strip_prefix("ce-") else { continue };
        if name == "datacontenttype" {
            let reason = "does not belong into a header of its own, it is the Content-Type";
            return Err(ParseError::attribute(name, reason));
        }
        attribute::push(&mut properties, name, &decode_header(name, value)?)?;
    }
    if properties.is_empty() {
        let found = content_type.unwrap_or("a request without content type and without `ce-` headers");
        return Err(ParseError::ContentType(found.to_owned()));
    }
    if let Some(content_type) = content_type.filter(|content_type| !content_type.is_empty()) {
        attribute::push(&mut properties, "datacontenttype", content_type)?;
    }
    attribute::check_all(&properties)?;
    Ok(ParsedEvent { properties, data: body })
}

/// A header's value: quoted strings without their quotes, then percent-decoded (HTTP Protocol Binding 1.0.2 §3.1.3.2).
fn decode_header<'v>(name: &str, value: &'v [u8]) -> Result<Cow<'v, str>, ParseError> {
    let not_utf8 = || ParseError::attribute(name, "is not UTF-8");
    let value = value.trim_ascii();
    let plain = !value.contains(&b'%') && !value.contains(&b'"');
    if plain {
        return std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| not_utf8());
    }
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let quoted = inner.len() < value.len();
    let mut decoded = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, behind) {
            (b'\\', [escaped, behind @ ..]) if quoted => {
                decoded.push(*escaped);
                rest = behind;
            }
            (b'%', [high, low, behind @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = behind;
                }
                // Not a sequence that any sender makes: it stays as it is.
                _ => decoded.push(b'%'),
            },
            (byte, _) => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| not_utf8())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
