//! Ext fields: the named values of a header, scanned in place.
//!
//! Frame decoding has checked their structure, so that reading them cannot fail; only their values can be wrong. As in
//! Java's `HashMap`, order means nothing and the last of two equal names counts. A JSON null and (as
//! `RocketMQSerializable.readStr` has it) a binary value of no bytes are as good as absent. Text that is not UTF-8 is
//! read as Java does, with U+FFFD for what is broken.

use crate::{
    frame::Serialize,
    json::{self, Raw, Scanner},
};
use std::borrow::Cow;

/// Most ext fields a header may have. Real clients send at most about 20.
pub const FIELDS_MAX: usize = 4096;

/// The ext fields of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Ext<'a> {
    raw: &'a [u8],
    serialize: Serialize,
}

/// One value, as text with or without JSON escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a [u8],
    escaped: bool,
}

/// A named field that may be absent; asks for its value by type, and knows its name for the error.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    name: &'static str,
    value: Option<Value<'a>>,
}

/// A header field is missing or not what it should be. The Java broker answers such requests with SYSTEM_ERROR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A field that must be there is not (the text is that of `RemotingCommand.decodeCommandCustomHeader`, 5.5).
    #[error("the custom field <{field}> is null")]
    Missing {
        /// the field's name on the wire
        field: &'static str,
    },
    /// A field has a value of another type.
    #[error("the custom field <{field}> is {value:?}, expected {expected}")]
    Invalid {
        /// the field's name on the wire
        field: &'static str,
        /// its value, shortened
        value: String,
        /// what it should be
        expected: &'static str,
    },
}

impl<'a> Ext<'a> {
    /// No fields at all.
    pub const EMPTY: Self = Self { raw: &[], serialize: Serialize::Binary };

    /// Fields whose structure was checked: a JSON object with its braces, or binary pairs.
    pub(crate) fn checked(raw: &'a [u8], serialize: Serialize) -> Self {
        Self { raw, serialize }
    }

    /// All fields with their names, in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> + use<'a> {
        self.raw_pairs().map(|(name, value)| (name.text(), value))
    }

    /// The value named `name`.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_pairs().filter(|(key, _)| key.is(name)).last().map(|(_, value)| value.text())
    }

    /// Finds several fields in one pass. Fastest when the fields come in the order of `names`, right in any order.
    pub fn pick<const N: usize>(&self, names: [&'static str; N]) -> [Field<'a>; N] {
        let mut fields = names.map(|name| Field { name, value: None });
        let mut next = 0;
        for (key, value) in self.raw_pairs() {
            let mut at = next;
            for _ in 0..N {
                let field = &mut fields[at];
                at = if at + 1 < N { at + 1 } else { 0 };
                if key.is(field.name) {
                    field.value = Some(value);
                    next = at;
                    break;
                }
            }
        }
        fields
    }

    fn raw_pairs(&self) -> Pairs<'a> {
        match self.serialize {
            Serialize::Binary => Pairs::Binary(self.raw),
            Serialize::Json => {
                let mut scanner = Scanner::new(self.raw);
                let more = scanner.object().unwrap_or(false);
                Pairs::Json { scanner, more }
            }
        }
    }
}

enum Pairs<'a> {
    Binary(&'a [u8]),
    Json { scanner: Scanner<'a>, more: bool },
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Value<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (name, value) = match self {
                Self::Binary(rest) => {
                    let (name, value) = binary_pair(rest)?;
                    (Value { raw: name, escaped: false }, Value { raw: value, escaped: false })
                }
                Self::Json { scanner, more } => {
                    if !*more {
                        return None;
                    }
                    let (name, escaped) = scanner.key().ok()?;
                    let value = scanner.value().ok()?;
                    *more = scanner.more().ok()?;
                    let value = match value {
                        Raw::String { raw, escaped } => Value { raw, escaped },
                        Raw::Other(raw) => Value { raw, escaped: false },
                        Raw::Null => continue,
                    };
                    return Some((Value { raw: name, escaped }, value));
                }
            };
            if !value.raw.is_empty() {
                return Some((name, value));
            }
        }
    }
}

/// Takes `int16 length, name, int32 length, value` from the front; `None` where that is not there.
#[inline]
pub(crate) fn binary_pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, tail) = rest.split_first_chunk()?;
    let (name, tail) = tail.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
    let (length, tail) = tail.split_first_chunk()?;
    let (value, tail) = tail.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
    *rest = tail;
    Some((name, value))
}

impl<'a> Value<'a> {
    /// A value of our own making.
    pub fn new(text: &'a str) -> Self {
        Self { raw: text.as_bytes(), escaped: false }
    }

    pub(crate) fn of_json(raw: &'a [u8], escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// The text; borrowed unless it has JSON escapes or is not UTF-8.
    pub fn text(&self) -> Cow<'a, str> {
        if !self.escaped {
            return match std::str::from_utf8(self.raw) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(self.raw),
            };
        }
        let mut out = Vec::with_capacity(self.raw.len());
        json::unescape(self.raw, &mut out);
        Cow::Owned(match String::from_utf8(out) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// Appends the text's bytes without allocating for it. Unlike [`Value::text`], what is not UTF-8 stays as it is.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if self.escaped {
            json::unescape(self.raw, out);
        } else {
            out.extend_from_slice(self.raw);
        }
    }

    /// An upper bound of the text's length in bytes.
    pub fn len_max(&self) -> usize {
        self.raw.len()
    }

    #[inline]
    fn is(&self, name: &str) -> bool {
        if self.escaped {
            return self.text() == name;
        }
        // Most fields of a hot request have names of one letter: no call to compare those.
        let name = name.as_bytes();
        self.raw.len() == name.len()
            && self.raw.first() == name.first()
            && (name.len() == 1 || self.raw == name)
    }

    fn integer(&self) -> Option<i64> {
        let (negative, digits) = match self.raw.split_first() {
            Some((b'-', digits)) => (true, digits),
            Some((b'+', digits)) => (false, digits),
            _ => (false, self.raw),
        };
        if digits.is_empty() {
            return None;
        }
        // Counting down reaches i64::MIN, which has no positive twin.
        let value = digits.iter().try_fold(0i64, |value, byte| {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 { None } else { value.checked_mul(10)?.checked_sub(i64::from(digit)) }
        })?;
        if negative { Some(value) } else { value.checked_neg() }
    }
}

impl<'a> Field<'a> {
    /// The raw value.
    pub fn value(&self) -> Option<Value<'a>> {
        self.value
    }

    /// The text of a field that must be there.
    pub fn text(&self) -> Result<Cow<'a, str>, HeaderError> {
        self.required().map(|value| value.text())
    }

    /// The text of a field that may be absent.
    pub fn text_opt(&self) -> Option<Cow<'a, str>> {
        self.value.map(|value| value.text())
    }

    /// A 32-bit number that must be there (Java `Integer.parseInt`).
    pub fn i32(&self) -> Result<i32, HeaderError> {
        self.number(self.required()?)
    }

    /// A 32-bit number that may be absent.
    pub fn i32_opt(&self) -> Result<Option<i32>, HeaderError> {
        self.value.map(|value| self.number(value)).transpose()
    }

    /// A 64-bit number that must be there (Java `Long.parseLong`).
    pub fn i64(&self) -> Result<i64, HeaderError> {
        self.long(self.required()?)
    }

    /// A 64-bit number that may be absent.
    pub fn i64_opt(&self) -> Result<Option<i64>, HeaderError> {
        self.value.map(|value| self.long(value)).transpose()
    }

    /// A truth value that may be absent: "true" in any case is true, all else false (Java `Boolean.parseBoolean`).
    pub fn bool_opt(&self) -> Option<bool> {
        self.value.map(|value| value.raw.eq_ignore_ascii_case(b"true"))
    }

    /// This field has a value that its request has no use for.
    pub fn invalid(&self, expected: &'static str) -> HeaderError {
        const SHOWN_CHARACTERS: usize = 64;
        let value = self.text_opt().unwrap_or_default().chars().take(SHOWN_CHARACTERS).collect();
        HeaderError::Invalid { field: self.name, value, expected }
    }

    fn required(&self) -> Result<Value<'a>, HeaderError> {
        self.value.ok_or(HeaderError::Missing { field: self.name })
    }

    fn number(&self, value: Value<'a>) -> Result<i32, HeaderError> {
        let number = value.integer().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.invalid("a 32-bit integer"))
    }

    fn long(&self, value: Value<'a>) -> Result<i64, HeaderError> {
        value.integer().ok_or_else(|| self.invalid("a 64-bit integer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Ext<'_> {
        Ext::checked(text.as_bytes(), Serialize::Json)
    }

    #[test]
    fn fields_are_found_in_any_order() {
        let ext = json(r#" { "b":"2" , "x":null,"a": 1,"c":true,"b":"\u0033","\u0064":"4"}"#);
        let [a, b, c, d, x] = ext.pick(["a", "b", "c", "d", "x"]);
        assert_eq!(a.i32(), Ok(1));
        assert_eq!(b.text().unwrap(), "3");
        assert_eq!(c.bool_opt(), Some(true));
        assert_eq!(d.i64(), Ok(4));
        assert_eq!(x.text(), Err(HeaderError::Missing { field: "x" }));
        assert_eq!(ext.get("b").unwrap(), "3");
        assert_eq!(ext.get("d").unwrap(), "4");
        assert_eq!(ext.get("x"), None);
        let [x, d, c, b, a] = ext.pick(["x", "d", "c", "b", "a"]);
        assert!(x.value().is_none());
        assert_eq!([a, b, c, d].map(|field| field.text().unwrap().into_owned()), ["1", "3", "true", "4"]);
        assert_eq!(ext.iter().count(), 5);
        assert_eq!(Ext::EMPTY.iter().count(), 0);
        assert_eq!(json("{}").get("a"), None);
    }

    #[test]
    fn empty_binary_values_are_absent() {
        let ext = Ext::checked(b"\0\x01a\0\0\0\0\0\x01b\0\0\0\x02\xff7", Serialize::Binary);
        assert_eq!(ext.get("a"), None);
        assert_eq!(ext.get("b").unwrap(), "\u{fffd}7");
        assert_eq!(json(r#"{"a":""}"#).get("a").unwrap(), "");
    }

    #[test]
    fn numbers_are_java_numbers() {
        let field = |text: &'static str| Field { name: "n", value: Some(Value::new(text)) };
        assert_eq!(field("-9223372036854775808").i64(), Ok(i64::MIN));
        assert_eq!(field("9223372036854775807").i64(), Ok(i64::MAX));
        assert_eq!(field("+12").i32(), Ok(12));
        assert_eq!(field("-2147483648").i32(), Ok(i32::MIN));
        for wrong in
            ["", "-", "+", "1.0", "0x1", " 1", "9223372036854775808", "-9223372036854775809", "1e3", "٣"]
        {
            assert!(matches!(field(wrong).i64(), Err(HeaderError::Invalid { .. })), "{wrong}");
        }
        let error = field("2147483648").i32().unwrap_err();
        assert_eq!(error.to_string(), r#"the custom field <n> is "2147483648", expected a 32-bit integer"#);
    }
}
