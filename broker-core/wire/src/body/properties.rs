//! Lines of names and values as `java.util.Properties` reads them: the bodies of requests that list or change settings.

use std::collections::BTreeMap;

/// Reads lines of `name=value`. A name ends at `=`, `:` or white space; lines that begin with `#` or `!` are comments; a
/// backslash joins lines or escapes what follows. `None` where the text is not UTF-8 or ends a `\u` too early, which Java
/// refuses, too.
pub fn decode(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut lines = text.split(['\n', '\r']);
    let mut properties = BTreeMap::new();
    while let Some(line) = lines.next() {
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while (whole.len() - whole.trim_end_matches('\\').len()) % 2 == 1 {
            whole.pop();
            match lines.next() {
                Some(more) => whole.push_str(more.trim_start_matches(BLANK)),
                None => break,
            }
        }
        let end = name_end(&whole);
        let (name, rest) = whole.split_at(end);
        let rest = rest.trim_start_matches(BLANK);
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANK);
        properties.insert(unescape(name)?, unescape(value)?);
    }
    Some(properties)
}

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

fn name_end(line: &str) -> usize {
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return at,
            blank if BLANK.contains(&blank) => return at,
            _ => {}
        }
    }
    line.len()
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let unit = match character {
            '\\' => match characters.next() {
                None => break,
                Some('t') => u32::from(b'\t'),
                Some('n') => u32::from(b'\n'),
                Some('r') => u32::from(b'\r'),
                Some('f') => 0xC,
                Some('u') => {
                    let digits: Option<Vec<u32>> = (0..4).map(|_| characters.next()?.to_digit(16)).collect();
                    digits?.into_iter().fold(0, |unit, digit| unit * 16 + digit)
                }
                Some(plain) => u32::from(plain),
            },
            plain => u32::from(plain),
        };
        match char::from_u32(unit) {
            Some(character) => out.extend(character.encode_utf16(&mut [0; 2]).iter().copied()),
            // Half of a pair; the other half follows.
            None => out.extend(u16::try_from(unit)),
        }
    }
    Some(String::from_utf16_lossy(&out))
}

/// Writes lines of `name=value`, as RocketMQ does without escapes (`MixAll.properties2String`, 5.5).
pub fn encode<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = String::new();
    for (name, value) in properties {
        out.push_str(name);
        out.push('=');
        out.push_str(value);
        out.push('\n');
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = "# c\n!c\na=1\r\n b : 2 \n\nc\nd\\ e=f\\\n  g\\u00fc\\ud83e\\udd80\\n\nh i=j\nk==l\nm\\\\\nn=\\\\\n";
        let read = decode(text.as_bytes()).unwrap();
        let expected = [
            ("a", "1"),
            ("b", "2 "),
            ("c", ""),
            ("d e", "fgü🦀\n"),
            ("h", "i=j"),
            ("k", "=l"),
            ("m\\", ""),
            ("n", "\\"),
        ];
        assert_eq!(read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
        assert!(decode(b"\xff").is_none() && decode(b"a=\\u12").is_none());
        assert_eq!(encode([("a", "1"), ("b", "2")]), b"a=1\nb=2\n");
    }
}
