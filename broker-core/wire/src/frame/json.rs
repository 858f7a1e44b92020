//! The JSON header (`RemotingCommand` by fastjson, encoding/json or jsoniter): members in any order, unknown ones skipped,
//! null as good as absent, numbers also as strings.

use super::{Frame, FrameError, Serialize};
use crate::{
    ext::{self, Ext, Value},
    json::{Raw, Scanner, Unexpected, unescape},
    language,
};

/// Reads a whole header.
pub(super) fn decode(header: &[u8]) -> Result<Frame<'_>, FrameError> {
    let mut frame = Frame::empty(Serialize::Json);
    let mut scanner = Scanner::new(header);
    let mut more = scanner.object()?;
    while more {
        let (key, _) = scanner.key()?;
        match key {
            b"code" => frame.code = number(&mut scanner)?,
            b"version" => frame.version = number(&mut scanner)?,
            b"opaque" => frame.opaque = number(&mut scanner)?,
            b"flag" => frame.flag = number(&mut scanner)?,
            b"language" => frame.language = language_of(scanner.value()?),
            b"remark" => frame.remark = text(scanner.value()?).map(|remark| remark.text()),
            b"extFields" => frame.ext = fields(header, &mut scanner)?,
            _ => {
                scanner.value()?;
            }
        }
        more = scanner.more()?;
    }
    scanner.end()?;
    Ok(frame)
}

fn number(scanner: &mut Scanner<'_>) -> Result<i32, FrameError> {
    let at = scanner.position();
    let raw = match scanner.value()? {
        Raw::Null => return Ok(0),
        Raw::Other(raw) | Raw::String { raw, .. } => raw,
    };
    let number = std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok());
    number.ok_or(FrameError::Header { form: "JSON", at, expected: "a 32-bit integer" })
}

/// fastjson and Go send the name; a number is taken for what it is.
fn language_of(value: Raw<'_>) -> u8 {
    match value {
        Raw::String { raw, escaped: false } => language::number(raw),
        Raw::String { raw, escaped: true } => {
            let mut name = Vec::new();
            unescape(raw, &mut name);
            language::number(&name)
        }
        Raw::Other(raw) => {
            std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok()).unwrap_or(language::OTHER)
        }
        Raw::Null => language::JAVA,
    }
}

fn text(value: Raw<'_>) -> Option<Value<'_>> {
    match value {
        Raw::String { raw: b"", .. } | Raw::Null => None,
        Raw::String { raw, escaped } => Some(Value::of_json(raw, escaped)),
        Raw::Other(raw) => Some(Value::of_json(raw, false)),
    }
}

/// Walks the members once, so that reading them later cannot fail.
fn fields<'a>(header: &'a [u8], scanner: &mut Scanner<'a>) -> Result<Ext<'a>, FrameError> {
    let start = scanner.position();
    if scanner.null() {
        return Ok(Ext::EMPTY);
    }
    let mut more = scanner.object()?;
    let mut count = 0;
    while more {
        count += 1;
        if count > ext::FIELDS_MAX {
            return Err(FrameError::TooManyFields);
        }
        scanner.key()?;
        scanner.value()?;
        more = scanner.more()?;
    }
    Ok(Ext::checked(&header[start..scanner.position()], Serialize::Json))
}

impl From<Unexpected> for FrameError {
    fn from(Unexpected { at, expected }: Unexpected) -> Self {
        Self::Header { form: "JSON", at, expected }
    }
}
