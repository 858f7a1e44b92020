//! RocketMQ tag and SQL92 expressions: parsed once, evaluated per message over its raw property bytes.
//!
//! Both mean exactly what RocketMQ 5.5 makes of them, odd corners included: a consumer must not receive other
//! messages from Halley than from RocketMQ.

pub mod sql92;
pub mod tag;

pub use sql92::{Lookup, Sql92};
pub use tag::TagFilter;

/// A subscription's expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// By tag: `*`, or `a || b`.
    Tag(TagFilter),
    /// By properties.
    Sql92(Sql92),
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The type is neither `TAG` nor `SQL92`.
    #[error("{0:?} is not an expression type, known are TAG and SQL92")]
    UnknownType(String),
    /// Bars with nothing between them, not even a space (`FilterAPI.buildSubscriptionData`, 5.5, takes any other text).
    #[error("{0:?} names no tag")]
    OnlyBars(String),
    /// The SQL92 text is wrong.
    #[error(transparent)]
    Sql92(#[from] sql92::ParseError),
}

impl Expression {
    /// Parses an expression of a type as clients name it; none means `TAG` (`FilterAPI.build`, 5.5).
    pub fn parse(kind: Option<&str>, text: &str) -> Result<Self, ParseError> {
        match kind {
            None | Some("" | "TAG") if is_only_bars(text) => Err(ParseError::OnlyBars(text.to_owned())),
            None | Some("" | "TAG") => Ok(Self::Tag(TagFilter::parse(text))),
            Some("SQL92") => Ok(Self::Sql92(Sql92::parse(text)?)),
            Some(other) => Err(ParseError::UnknownType(other.to_owned())),
        }
    }

    /// Whether every message matches.
    pub fn matches_all(&self) -> bool {
        matches!(self, Self::Tag(filter) if filter.matches_all())
    }

    /// Whether a message whose tag has this hash (0 without a tag) may match. SQL92 cannot tell from the tag.
    pub fn may_match_tag(&self, hash: i32) -> bool {
        match self {
            Self::Tag(filter) => filter.may_match(hash),
            Self::Sql92(_) => true,
        }
    }

    /// Whether a message with these raw properties matches. For tags the answer is that of
    /// [`Expression::may_match_tag`]: brokers compare hashes, clients compare the tag itself.
    pub fn matches(&self, raw_properties: &[u8]) -> bool {
        match self {
            Self::Tag(filter) => filter.may_match(halley_model::tag::code_of(raw_properties)),
            Self::Sql92(filter) => filter.matches_raw(raw_properties),
        }
    }
}

/// Java's `split` leaves out empty strings at the end, so that such a text has no parts at all.
fn is_only_bars(text: &str) -> bool {
    !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(|byte| byte == b'|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_rocketmq() {
        assert!(Expression::parse(None, "*").unwrap().matches_all());
        assert!(Expression::parse(Some("TAG"), "").unwrap().matches_all());
        let tags = Expression::parse(None, "a || b").unwrap();
        assert!(tags.matches(b"TAGS\x01b\x02") && !tags.matches(b"TAGS\x01c\x02") && !tags.matches(b""));
        assert_eq!(Expression::parse(None, "||||"), Err(ParseError::OnlyBars("||||".into())));
        assert!(Expression::parse(None, "|| ||").is_ok() && Expression::parse(None, "|||").is_ok());
        let sql = Expression::parse(Some("SQL92"), "a > 1").unwrap();
        assert!(sql.may_match_tag(7) && sql.matches(b"a\x012\x02") && !sql.matches_all());
        assert_eq!(Expression::parse(Some("XPATH"), "a"), Err(ParseError::UnknownType("XPATH".into())));
    }
}
