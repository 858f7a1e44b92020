//! A scanner for the JSON of headers, and the tolerant reader of JSON bodies.
//!
//! The scanner finds where values begin and end; it builds nothing. It is as tolerant as fastjson about what lies
//! inside strings (raw control characters, invalid UTF-8) and about values it has no use for, and strict about structure.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::borrow::Cow;

/// Deepest nesting looked into when a body is not standard JSON.
const DEPTH_MAX: usize = 64;

/// A JSON text did not continue as it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unexpected {
    /// Where, in bytes from the beginning.
    pub(crate) at: usize,
    /// What should have stood there.
    pub(crate) expected: &'static str,
}

/// A value as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw<'a> {
    /// Without its quotes.
    String {
        raw: &'a [u8],
        escaped: bool,
    },
    /// A number, `true`, `false`, an object or an array.
    Other(&'a [u8]),
    Null,
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Enters an object; whether it has members.
    pub(crate) fn object(&mut self) -> Result<bool, Unexpected> {
        self.expect(b'{', "{")?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// After a member's value: whether another follows.
    #[inline]
    pub(crate) fn more(&mut self) -> Result<bool, Unexpected> {
        if let Some(b',') = self.peek() {
            self.at += 1;
            return Ok(true);
        }
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b'}') => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.unexpected(", or }")),
        }
    }

    /// A member's name and the colon after it: the name without its quotes, and whether it has escapes.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<(&'a [u8], bool), Unexpected> {
        let key = self.string()?;
        if self.peek() == Some(b':') {
            self.at += 1;
        } else {
            self.expect(b':', ":")?;
        }
        Ok(key)
    }

    /// Any value.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Raw<'a>, Unexpected> {
        if self.peek() == Some(b'"') {
            let (raw, escaped) = self.string()?;
            return Ok(Raw::String { raw, escaped });
        }
        self.skip_space();
        match self.peek() {
            Some(b'"') => {
                let (raw, escaped) = self.string()?;
                Ok(Raw::String { raw, escaped })
            }
            Some(b'{' | b'[') => self.nested().map(Raw::Other),
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z') => {
                let start = self.at;
                let more = |byte: &u8| {
                    !matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r')
                };
                self.at += self.bytes[start..].iter().take_while(|byte| more(byte)).count();
                match &self.bytes[start..self.at] {
                    b"null" => Ok(Raw::Null),
                    word => Ok(Raw::Other(word)),
                }
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Takes a null, if that is what comes next.
    pub(crate) fn null(&mut self) -> bool {
        self.skip_space();
        let null = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"null"));
        if null {
            self.at += 4;
        }
        null
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Unexpected> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.unexpected("nothing more")) }
    }

    #[inline]
    fn string(&mut self) -> Result<(&'a [u8], bool), Unexpected> {
        if self.peek() == Some(b'"') {
            self.at += 1;
        } else {
            self.expect(b'"', "\"")?;
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            let Some(found) = quote_or_backslash(self.bytes, self.at) else {
                return Err(Unexpected { at: self.bytes.len(), expected: "the end of a string" });
            };
            if self.bytes[found] == b'"' {
                self.at = found + 1;
                return Ok((&self.bytes[start..found], escaped));
            }
            escaped = true;
            self.at = (found + 2).min(self.bytes.len());
        }
    }

    /// An object or array nobody looks into: its end is where its brackets balance.
    fn nested(&mut self) -> Result<&'a [u8], Unexpected> {
        let start = self.at;
        let mut depth = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(&self.bytes[start..self.at]);
            }
        }
        Err(self.unexpected("} or ]"))
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Unexpected> {
        self.skip_space();
        if self.peek() != Some(byte) {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[cold]
    fn unexpected(&self, expected: &'static str) -> Unexpected {
        Unexpected { at: self.at, expected }
    }
}

/// The first `"` or `\` at or after `at`, eight bytes at a time: header strings are too short for a vector search to pay.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Marks the high bit of each zero byte; marks above the first one may be wrong, the lowest never is.
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let found =
            zero_bytes(word ^ (ONES * u64::from(b'"'))) | zero_bytes(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|found| at + found)
}

/// Appends the text of a string that has escapes. What is no escape stays as it is; half a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let plain = match rest.get(1) {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                rest = unescape_unicode(rest, out);
                continue;
            }
            Some(_) | None => {
                out.push(b'\\');
                rest = &rest[1..];
                continue;
            }
        };
        out.push(plain);
        rest = &rest[2..];
    }
    out.extend_from_slice(rest);
}

/// `rest` begins with `\u`; returns what follows the escape (and its second half).
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let unit = |text: &[u8]| {
        let digits = text.get(2..6).filter(|_| text.starts_with(b"\\u"))?;
        digits.iter().try_fold(0u32, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
    };
    let Some(first) = unit(rest) else {
        out.push(b'\\');
        return &rest[1..];
    };
    let (character, used) = match first {
        0xD800..=0xDBFF => match unit(&rest[6..]) {
            Some(second @ 0xDC00..=0xDFFF) => {
                (char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12)
            }
            Some(_) | None => (None, 6),
        },
        _ => (char::from_u32(first), 6),
    };
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    &rest[used..]
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body of the {what} is not what it should be: {problem}")]
pub struct BodyError {
    /// Which body.
    pub what: &'static str,
    /// What was wrong, and where.
    pub problem: String,
}

/// Reads a JSON body; where it is not standard JSON, once more with bare keys quoted, as fastjson writes maps with integer
/// keys (`{0:"127.0.0.1:10911"}`) and with objects as keys (`{{"queueId":0}:1}`, whose key becomes the object's text).
pub(crate) fn body<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, BodyError> {
    let first = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let problem = |error: &serde_json::Error| BodyError { what, problem: error.to_string() };
    match quote_bare_keys(bytes) {
        Cow::Borrowed(_) => Err(problem(&first)),
        Cow::Owned(quoted) => serde_json::from_slice(&quoted).map_err(|_| problem(&first)),
    }
}

/// Writes a JSON body.
pub(crate) fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers, lists and maps of texts have a JSON form")
}

/// For `deserialize_with`: null is as good as absent, as for Java's collections.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn quote_bare_keys(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut objects: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let member_may_follow = match byte {
            b'"' => {
                let mut scanner = Scanner { bytes, at };
                if scanner.string().is_err() {
                    return Cow::Borrowed(bytes);
                }
                at = scanner.at;
                continue;
            }
            b'{' | b'[' => {
                objects.push(*byte == b'{');
                *byte == b'{'
            }
            b'}' | b']' => {
                objects.pop();
                false
            }
            b',' => objects.last() == Some(&true),
            _ => false,
        };
        at += 1;
        if objects.len() > DEPTH_MAX {
            return Cow::Borrowed(bytes);
        }
        if member_may_follow {
            at += bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if bytes.get(at) == Some(&b'{') {
                let mut scanner = Scanner { bytes, at };
                let Ok(key) = scanner.nested() else { return Cow::Borrowed(bytes) };
                out.extend_from_slice(&bytes[copied..at]);
                crate::encode::put_json_text(&mut out, &String::from_utf8_lossy(key));
                at = scanner.at;
                copied = at;
                continue;
            }
            let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$' | b'.');
            let length = bytes[at..].iter().take_while(|byte| bare(byte)).count();
            if length > 0 {
                out.extend_from_slice(&bytes[copied..at]);
                out.push(b'"');
                out.extend_from_slice(&bytes[at..at + length]);
                out.push(b'"');
                at += length;
                copied = at;
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(&bytes[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
