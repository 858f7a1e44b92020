//! Subscription expressions, which any consumer can send.

use halley_filter::{
    Expression, Sql92, TagFilter,
    sql92::{DEPTH_MAX, Lookup},
};
use halley_model::{property, tag::java_hash};

/// Input is an expression, a zero byte, and raw properties. The fast way over raw properties agrees with the plain one.
pub fn sql92(input: &[u8]) {
    let (text, properties) = split(input);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let strict = Sql92::parse_strict(text);
    let Ok(parsed) = Sql92::parse(text) else {
        assert!(strict.is_err(), "what RocketMQ refuses is refused");
        return;
    };
    if let Ok(strict) = strict {
        assert_eq!(strict, parsed);
    }
    let plain = parsed.matches(&Properties(properties));
    assert_eq!(parsed.matches_raw(properties), plain);
    let expression = Expression::parse(Some("SQL92"), text).expect("it was parsed before");
    assert_eq!(expression.matches(properties), plain);
    assert!(expression.may_match_tag(0));
}

struct Properties<'a>(&'a [u8]);

impl Lookup for Properties<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        property::iter(self.0).filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }
}

/// Every operator, and nesting at the limit.
pub fn sql92_seeds() -> Vec<Vec<u8>> {
    let with =
        |expression: &str, properties: &str| [expression.as_bytes(), b"\0", properties.as_bytes()].concat();
    vec![
        with("amount > 100 AND country IN ('DE', 'FR')", "amount\x01120\x02country\x01DE\x02"),
        with("a BETWEEN 1 AND 5.5 OR NOT (b IS NULL) AND c IS NOT NULL", "a\x013\x02c\x01x\x02"),
        with("name CONTAINS 'ob' OR name NOT STARTSWITH 'B' OR name ENDSWITH 'b'", "name\x01Bob\x02"),
        with("-a >= -1e10 AND +b <> 'x''y' AND c NOT IN ('1')", "a\x0112345678901\x02b\x01x'y\x02"),
        with("a = b OR TRUE = x AND FALSE OR NULL IS NULL", "x\x01true\x02"),
        with("0x1F < a OR 017 = b OR 1.5f > c -- note", "a\x0132\x02b\x0117\x02"),
        with(&format!("{}a{}", "(".repeat(DEPTH_MAX - 1), ")".repeat(DEPTH_MAX - 1)), "a\x01true\x02"),
        with("price NOT BETWEEN low AND high", "price\x0150\x02low\x0110\x02high\x0190\x02"),
    ]
}

/// Input is a tag expression, a zero byte, and a tag. The hash never loses a message that the text matches.
pub fn tag(input: &[u8]) {
    let (text, tag) = split(input);
    let (Ok(text), Ok(tag)) = (std::str::from_utf8(text), std::str::from_utf8(tag)) else { return };
    let filter = TagFilter::parse(text);
    if filter.matches(Some(tag)) {
        assert!(filter.may_match(java_hash(tag)), "{text:?} matches {tag:?} but not its hash");
    }
    if filter.matches_all() {
        assert!(filter.matches(Some(tag)) && filter.matches(None));
    }
    let _ = filter.matches(None);
}

/// All, one, several, and careless spaces and bars.
pub fn tag_seeds() -> Vec<Vec<u8>> {
    ["*\0a", "\0a", "a || b\0b", " a||b ||  || c \0c", "a | b\0a", "|| a\0", "caf\u{e9} || b\0caf\u{e9}"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}
