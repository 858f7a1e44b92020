//! What an attribute may be called and hold (CloudEvents 1.0.2 §3 and §3.1).

use crate::{parse::ParseError, time};
use halley_model::property;

/// Longest attribute name, in bytes; the specification advises at most 20.
pub const NAME_BYTES_MAX: usize = 128;

/// Attributes that every event has.
pub const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Versions understood.
pub const VERSIONS: [&str; 2] = ["1.0", "0.3"];

/// Appends an attribute as a property, checking its name and value.
pub(crate) fn push(properties: &mut Vec<u8>, name: &str, value: &str) -> Result<(), ParseError> {
    check_name(name)?;
    check_value(name, value)?;
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
    let prefix = property::EVENT_PREFIX;
    property::iter(properties)
        .find(|(key, _)| key.strip_prefix(prefix).is_some_and(|rest| rest == name))
        .map(|(_, value)| value)
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
    if properties.len() > property::PROPERTIES_BYTES_MAX {
        return Err(ParseError::TooManyAttributes(properties.len()));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ParseError> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(legal) {
        return Err(ParseError::attribute(
            name,
            "has an illegal name: lower-case letters and digits are allowed",
        ));
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), ParseError> {
    if let Some(character) = value.chars().find(|c| c.is_control()) {
        return Err(ParseError::attribute(name, format!("contains the control character {character:?}")));
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
