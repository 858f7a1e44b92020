//! Writing frames: headers go straight into the connection's buffer, in either serialisation.

use crate::{
    Serialize,
    frame::{self, flag},
    language,
};
use bytes::{BufMut, BytesMut};

/// A value of an ext field to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtValue<'a> {
    /// Left out, as Java leaves out null.
    Absent,
    /// Text.
    Text(&'a str),
    /// A number, in decimal.
    Integer(i64),
    /// "true" or "false".
    Boolean(bool),
}

/// A named value to be written. Names have at most 32,767 bytes.
pub type ExtField<'a> = (&'a str, ExtValue<'a>);

/// A request to be written.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// How to write the header.
    pub serialize: Serialize,
    /// What is asked: a code of the kind of peer that the request goes to, see [`crate::code`].
    pub code: i32,
    /// Our number for it, which the reply repeats.
    pub opaque: i32,
    /// No reply is wanted.
    pub oneway: bool,
    /// What we say we are, see [`crate::language`].
    pub language: u8,
    /// The version we say we have, an ordinal of `MQVersion.Version`.
    pub version: i32,
}

/// The frame would be larger than any peer reads; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame would have more than {max} bytes, or a name or code that its header cannot hold", max = frame::FRAME_BYTES_MAX)]
pub struct EncodeError;

impl Request {
    /// A request as Halley's own client sends it: binary, wanting a reply.
    pub fn new(code: impl Into<i32>, opaque: i32) -> Self {
        Self {
            serialize: Serialize::Binary,
            code: code.into(),
            opaque,
            oneway: false,
            language: language::RUST,
            version: crate::VERSION_5_5_0,
        }
    }
}

/// Appends a whole request.
pub fn request(
    out: &mut BytesMut,
    request: Request,
    fields: &[ExtField<'_>],
    body: &[u8],
) -> Result<(), EncodeError> {
    request_head(out, request, fields, body.len())?;
    out.extend_from_slice(body);
    Ok(())
}

/// Appends a request up to its body, which has `body_len` bytes and is to follow.
pub fn request_head(
    out: &mut BytesMut,
    request: Request,
    fields: &[ExtField<'_>],
    body_len: usize,
) -> Result<(), EncodeError> {
    let Request { serialize, code, opaque, oneway, language, version } = request;
    let flag = if oneway { flag::ONE_WAY } else { 0 };
    let head = Head { serialize, code, language, version, opaque, flag, remark: None };
    head.write(out, fields, body_len)
}

/// Everything in a header but its ext fields.
pub(crate) struct Head<'a> {
    pub(crate) serialize: Serialize,
    pub(crate) code: i32,
    pub(crate) language: u8,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<&'a str>,
}

impl Head<'_> {
    /// Appends the frame up to its body; nothing on error.
    pub(crate) fn write(
        &self,
        out: &mut BytesMut,
        fields: &[ExtField<'_>],
        body_len: usize,
    ) -> Result<(), EncodeError> {
        let start = frame::open(out, self.serialize);
        let written = match self.serialize {
            Serialize::Json => {
                self.write_json(out, fields);
                true
            }
            Serialize::Binary => self.write_binary(out, fields).is_some(),
        };
        if written && frame::close(out, start, body_len) {
            return Ok(());
        }
        out.truncate(start);
        Err(EncodeError)
    }

    /// Members sorted and nulls left out, as RocketMQ 5.5 writes replies.
    fn write_json(&self, out: &mut BytesMut, fields: &[ExtField<'_>]) {
        out.extend_from_slice(b"{\"code\":");
        put_decimal(out, self.code.into());
        let mut separator: &[u8] = b",\"extFields\":{";
        for (name, value) in fields {
            if *value == ExtValue::Absent {
                continue;
            }
            out.extend_from_slice(separator);
            separator = b",";
            put_json_text(out, name);
            out.put_u8(b':');
            match value {
                ExtValue::Absent => {}
                ExtValue::Text(text) => put_json_text(out, text),
                ExtValue::Integer(number) => {
                    out.put_u8(b'"');
                    put_decimal(out, *number);
                    out.put_u8(b'"');
                }
                ExtValue::Boolean(true) => out.extend_from_slice(b"\"true\""),
                ExtValue::Boolean(false) => out.extend_from_slice(b"\"false\""),
            }
        }
        if separator == b"," {
            out.put_u8(b'}');
        }
        out.extend_from_slice(b",\"flag\":");
        put_decimal(out, self.flag.into());
        out.extend_from_slice(b",\"language\":\"");
        out.extend_from_slice(language::name(self.language).as_bytes());
        out.extend_from_slice(b"\",\"opaque\":");
        put_decimal(out, self.opaque.into());
        if let Some(remark) = self.remark {
            out.extend_from_slice(b",\"remark\":");
            put_json_text(out, remark);
        }
        out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        put_decimal(out, self.version.into());
        out.put_u8(b'}');
    }

    /// `None` where a number or length does not fit its place.
    fn write_binary(&self, out: &mut BytesMut, fields: &[ExtField<'_>]) -> Option<()> {
        let remark = self.remark.unwrap_or_default();
        out.put_i16(i16::try_from(self.code).ok()?);
        out.put_u8(self.language);
        out.put_i16(i16::try_from(self.version).ok()?);
        out.put_i32(self.opaque);
        out.put_i32(self.flag);
        out.put_i32(i32::try_from(remark.len()).ok()?);
        out.extend_from_slice(remark.as_bytes());
        let fields_at = out.len();
        out.put_i32(0);
        for (name, value) in fields {
            if *value == ExtValue::Absent {
                continue;
            }
            out.put_i16(i16::try_from(name.len()).ok()?);
            out.extend_from_slice(name.as_bytes());
            match value {
                ExtValue::Absent => {}
                ExtValue::Text(text) => put_prefixed(out, text.as_bytes())?,
                ExtValue::Integer(number) => {
                    let mut digits = [0; DECIMAL_BYTES_MAX];
                    put_prefixed(out, decimal(*number, &mut digits))?;
                }
                ExtValue::Boolean(true) => put_prefixed(out, b"true")?,
                ExtValue::Boolean(false) => put_prefixed(out, b"false")?,
            }
        }
        let length = i32::try_from(out.len() - fields_at - 4).ok()?;
        out[fields_at..fields_at + 4].copy_from_slice(&length.to_be_bytes());
        Some(())
    }
}

fn put_prefixed(out: &mut BytesMut, bytes: &[u8]) -> Option<()> {
    out.put_i32(i32::try_from(bytes.len()).ok()?);
    out.extend_from_slice(bytes);
    Some(())
}

/// Appends a JSON string with its quotes.
pub(crate) fn put_json_text(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: [u8; 2] = match byte {
            b'"' => *b"\\\"",
            b'\\' => *b"\\\\",
            b'\n' => *b"\\n",
            b'\r' => *b"\\r",
            b'\t' => *b"\\t",
            0..=0x1F => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.put_slice(&bytes[copied..at]);
                out.put_slice(b"\\u00");
                out.put_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
                copied = at + 1;
                continue;
            }
            _ => continue,
        };
        out.put_slice(&bytes[copied..at]);
        out.put_slice(&escape);
        copied = at + 1;
    }
    out.put_slice(&bytes[copied..]);
    out.put_u8(b'"');
}

pub(crate) fn put_decimal(out: &mut impl BufMut, number: i64) {
    let mut digits = [0; DECIMAL_BYTES_MAX];
    out.put_slice(decimal(number, &mut digits));
}

/// `i64::MIN` has a sign and 19 digits.
const DECIMAL_BYTES_MAX: usize = 20;

fn decimal(number: i64, digits: &mut [u8; DECIMAL_BYTES_MAX]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = DECIMAL_BYTES_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

impl<'a> From<&'a str> for ExtValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i32> for ExtValue<'_> {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<i64> for ExtValue<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for ExtValue<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl<'a, T: Into<ExtValue<'a>>> From<Option<T>> for ExtValue<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrokerCode;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_texts_are_standard_json(number: i64, text in "(?s).{0,30}|[\0-\x1f\"\\\\]{0,10}") {
            let mut out = Vec::new();
            put_decimal(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
            let mut out = Vec::new();
            put_json_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn what_no_peer_reads_is_not_written() {
        let mut out = BytesMut::from(&b"before"[..]);
        let too_long = "x".repeat(frame::FRAME_BYTES_MAX);
        for serialize in [Serialize::Json, Serialize::Binary] {
            let head = Request { serialize, ..Request::new(BrokerCode::HeartBeat, 1) };
            assert_eq!(request(&mut out, head, &[("a", too_long.as_str().into())], &[]), Err(EncodeError));
            assert_eq!(request_head(&mut out, head, &[], usize::MAX), Err(EncodeError));
            assert_eq!(request_head(&mut out, head, &[], frame::FRAME_BYTES_MAX - 8), Err(EncodeError));
        }
        let binary = Request::new(200_050, 1);
        assert_eq!(request(&mut out, binary, &[], &[]), Err(EncodeError));
        assert_eq!(
            request(
                &mut out,
                Request::new(BrokerCode::HeartBeat, 1),
                &[(&too_long[..40_000], 1.into())],
                &[]
            ),
            Err(EncodeError)
        );
        assert_eq!(&out[..], b"before");
    }
}
