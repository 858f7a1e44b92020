//! What an attribute may be called and hold (CloudEvents 1.0.2 §3 and §3.1).

use crate::{parse::ParseError, time};
use halley_model::property;

/// Longest attribute name, in bytes; the specification advises at most 20.
pub const NAME_BYTES_MAX: usize = 128;

/// Most attributes of one event: as many as headers in one request (hyper's own limit). Looking for a name twice costs
/// their square.
pub const ATTRIBUTES_MAX: usize = 100;

/// Attributes that every event has.
pub const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Versions understood.
pub const VERSIONS: [&str; 2] = ["1.0", "0.3"];

/// Appends an attribute as a property, checking its name and value.
pub(crate) fn push(properties: &mut Vec<u8>, name: &str, value: &str) -> Result<(), ParseError> {
    check_name(name)?;
    check_value(name, value)?;
    // Checked as they come, not at the end: what comes later must not cost more and more.
    let bytes = properties.len() + property::EVENT_PREFIX.len() + name.len() + value.len() + 2;
    if bytes > property::PROPERTIES_BYTES_MAX {
        return Err(ParseError::TooManyAttributes(bytes));
    }
    if memchr::memchr_iter(property::VALUE_END, properties).count() == ATTRIBUTES_MAX {
        return Err(ParseError::attribute(
            name,
            format!("is one too many: an event may have {ATTRIBUTES_MAX}"),
        ));
    }
    if property_of(properties, name).is_some() {
        return Err(ParseError::attribute(name, "comes twice"));
    }
    properties.extend_from_slice(property::EVENT_PREFIX.as_bytes());
    properties.extend_from_slice(name.as_bytes());
    properties.push(property::KEY_END);
    properties.extend_from_slice(value.as_bytes());
    properties.push(property::VALUE_END);
    Ok(())
}

/// The value of an attribute among raw properties.
pub fn property_of<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    let prefix = property::EVENT_PREFIX.as_bytes();
    let mut rest = properties;
    while !rest.is_empty() {
        let end = memchr::memchr(property::VALUE_END, rest).unwrap_or(rest.len());
        let named = rest[..end].strip_prefix(prefix).and_then(|pair| pair.strip_prefix(name.as_bytes()));
        if let Some([property::KEY_END, value @ ..]) = named {
            return std::str::from_utf8(value).ok();
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    None
}

/// Whether the data is text that stands for other bytes, which only version 0.3 knows (`datacontentencoding`); in 1.0
/// an attribute of that name is an extension and means nothing.
pub(crate) fn is_encoded(properties: &[u8]) -> bool {
    property_of(properties, "specversion") == Some("0.3")
        && property_of(properties, "datacontentencoding").is_some()
}

/// Checks what must hold between an event's attributes: the required ones are there, and the version is known.
pub(crate) fn check_all(properties: &[u8]) -> Result<(), ParseError> {
    for name in REQUIRED {
        match property_of(properties, name) {
            None => return Err(ParseError::attribute(name, "is missing")),
            Some("") => return Err(ParseError::attribute(name, "is empty")),
            Some(_) => {}
        }
    }
    let version = property_of(properties, "specversion").unwrap_or_default();
    if !VERSIONS.contains(&version) {
        let reason = format!("is {version:?}, known are 1.0 and 0.3");
        return Err(ParseError::attribute("specversion", reason));
    }
    Ok(())
}

/// Whether an attribute may be called `name`: 1 to 128 lower-case letters and digits, but not `data`, which is the
/// member for the data (§3.1.1).
pub fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal) && name != "data"
}

fn check_name(name: &str) -> Result<(), ParseError> {
    if is_name(name) {
        return Ok(());
    }
    let reason =
        "has an illegal name: lower-case letters and digits are allowed, 128 at most, and not `data`";
    // A name of megabytes would come back in the answer.
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(ParseError::attribute(&shown, reason))
}

fn check_value(name: &str, value: &str) -> Result<(), ParseError> {
    let plain = |byte: u8| (0x20..0x7F).contains(&byte);
    if !value.bytes().all(plain)
        && let Some(character) = value.chars().find(|c| is_forbidden(*c))
    {
        let reason =
            format!("contains {character:?}, neither control characters nor noncharacters are allowed");
        return Err(ParseError::attribute(name, reason));
    }
    if value.is_empty() && matches!(name, "subject" | "datacontenttype") {
        return Err(ParseError::attribute(name, "is empty, leave it out instead"));
    }
    if name == "datacontenttype" && !value.is_ascii() {
        return Err(ParseError::attribute(name, "is not a media type: only ASCII is allowed"));
    }
    let fine = match name {
        "time" => time::is_rfc3339(value),
        "source" | "dataschema" | "schemaurl" => !value.contains(char::is_whitespace),
        _ => true,
    };
    if fine {
        return Ok(());
    }
    let expected =
        if name == "time" { "is not a timestamp of RFC 3339" } else { "is not a URI: it has white space" };
    Err(ParseError::attribute(name, expected))
}

/// What a string value must not hold: control characters and noncharacters (CloudEvents 1.0.2 §2.2).
fn is_forbidden(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}
