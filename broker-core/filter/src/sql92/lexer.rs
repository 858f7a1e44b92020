//! Words of an expression.

use super::ParseError;

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Word(Word),
    Name(&'a str),
    /// With its quotes doubled as written, without the outer ones.
    String(&'a str),
    Integer(&'a str),
    Float(&'a str),
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    End,
}

/// A reserved word; case does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
}

const WORDS: [(&str, Word); 12] = [
    ("NOT", Word::Not),
    ("AND", Word::And),
    ("OR", Word::Or),
    ("BETWEEN", Word::Between),
    ("IN", Word::In),
    ("TRUE", Word::True),
    ("FALSE", Word::False),
    ("NULL", Word::Null),
    ("IS", Word::Is),
    ("CONTAINS", Word::Contains),
    ("STARTSWITH", Word::StartsWith),
    ("ENDSWITH", Word::EndsWith),
];

/// The word at or behind byte `at`: where it begins, the word, and where it ends.
pub(super) fn next(text: &str, at: usize) -> Result<(usize, Token<'_>, usize), ParseError> {
    let start = skip_blank(text, at)?;
    let rest = &text[start..];
    let Some(first) = rest.bytes().next() else { return Ok((start, Token::End, start)) };
    let single = |token| Ok((start, token, start + 1));
    let double = |token| Ok((start, token, start + 2));
    match first {
        b'(' => single(Token::Open),
        b')' => single(Token::Close),
        b',' => single(Token::Comma),
        b'+' => single(Token::Plus),
        b'-' => single(Token::Minus),
        b'=' => single(Token::Equal),
        b'<' if rest[1..].starts_with('>') => double(Token::NotEqual),
        b'<' if rest[1..].starts_with('=') => double(Token::LessEqual),
        b'<' => single(Token::Less),
        b'>' if rest[1..].starts_with('=') => double(Token::GreaterEqual),
        b'>' => single(Token::Greater),
        b'\'' => string(text, start),
        b'0'..=b'9' | b'.' => number(text, start),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => {
            let len =
                rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')).count();
            let name = &rest[..len];
            let word = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
            Ok((start, word.map_or(Token::Name(name), |(_, word)| Token::Word(*word)), start + len))
        }
        _ => {
            let character = rest.chars().next().unwrap_or_default();
            Err(error(start, format!("the character {character:?} has no meaning here")))
        }
    }
}

/// Skips white space and comments. `--` without a line end behind it is two minus signs, as in RocketMQ.
fn skip_blank(text: &str, mut at: usize) -> Result<usize, ParseError> {
    let bytes = text.as_bytes();
    loop {
        let rest = &text[at..];
        if bytes.get(at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0C)) {
            at += 1;
        } else if rest.starts_with("--")
            && let Some(end) = rest.find(['\n', '\r'])
        {
            at += end + 1;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            match comment.find("*/") {
                Some(end) => at += end + 4,
                None => return Err(error(at, "the comment is not closed")),
            }
        } else {
            return Ok(at);
        }
    }
}

fn string(text: &str, start: usize) -> Result<(usize, Token<'_>, usize), ParseError> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return Err(error(start, "the string is not closed")),
            Some(b'\'') if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            Some(b'\'') => return Ok((start, Token::String(&text[start + 1..at]), at + 1)),
            Some(_) => at += 1,
        }
    }
}

/// `0` alone, digits without a leading zero and perhaps an `L`, or a float with a point or an exponent.
fn number(text: &str, start: usize) -> Result<(usize, Token<'_>, usize), ParseError> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = start + digits(start);
    let mut end = whole;
    let mut float = false;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        if whole == start && fraction == 0 {
            return Err(error(start, "a point alone is not a number"));
        }
        float = true;
        end = whole + 1 + fraction;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(end + 1 + sign).map_or(0, |_| digits(end + 1 + sign));
        if exponent > 0 {
            float = true;
            end += 1 + sign + exponent;
        }
    }
    if float {
        return Ok((start, Token::Float(&text[start..end]), end));
    }
    if bytes[start] == b'0' {
        return Ok((start, Token::Integer("0"), start + 1));
    }
    let suffix = usize::from(matches!(bytes.get(whole), Some(b'l' | b'L')));
    Ok((start, Token::Integer(&text[start..whole]), whole + suffix))
}

pub(super) fn error(at: usize, message: impl Into<String>) -> ParseError {
    ParseError { at, message: message.into() }
}
