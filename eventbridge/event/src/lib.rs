//! CloudEvents 1.0 and 0.3: HTTP and JSON forms to stored records and back.
//!
//! An event is stored as one record: its data is the body, each attribute is a property `ce_<name>`, and what has
//! `ce_specversion` is an event. Attributes are kept as they came; an event of version 0.3 stays one.
//!
//! The way in is [`parse::request`], the way out [`encode::binary`] and [`encode::structured`], and whoever looks at a
//! stored event between them uses [`EventView`], which also shows other messages as events.

pub mod attribute;
pub mod encode;
pub mod parse;
pub mod time;

mod json;
mod view;

pub use parse::{ParseError, ParsedEvent};
pub use view::{DataError, EventView, MESSAGE_TYPE, PLAIN_BYTES_MAX};

/// Media type of one event as JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";

/// Media type of several events as JSON.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// Whether a media type means JSON (RFC 6839: `json` itself or the suffix `+json`).
pub fn is_json(content_type: &str) -> bool {
    let media = media_type(content_type);
    let subtype = media.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype.eq_ignore_ascii_case("json")
        || subtype.len() > 5
            && subtype.is_char_boundary(subtype.len() - 5)
            && subtype[subtype.len() - 5..].eq_ignore_ascii_case("+json")
}

/// A content type without its parameters.
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
