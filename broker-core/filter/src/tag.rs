//! Tag expressions: `*` or nothing for all, else tags joined by `||` (`FilterAPI.buildSubscriptionData`, 5.5).

use halley_model::tag;

/// A parsed tag expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// Empty for all.
    tags: Vec<String>,
    hashes: Vec<i32>,
}

impl TagFilter {
    /// Parses an expression; every text is one.
    pub fn parse(text: &str) -> Self {
        if text == "*" {
            return Self { tags: Vec::new(), hashes: Vec::new() };
        }
        let tags: Vec<String> =
            text.split("||").map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let hashes = tags.iter().map(|tag| tag::java_hash(tag)).collect();
        Self { tags, hashes }
    }

    /// Whether every message matches, untagged ones too.
    pub fn matches_all(&self) -> bool {
        self.tags.is_empty()
    }

    /// Whether a message whose tag has this hash may match.
    pub fn may_match(&self, hash: i32) -> bool {
        self.hashes.is_empty() || self.hashes.contains(&hash)
    }

    /// Whether a message with this tag matches.
    pub fn matches(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || tag.is_some_and(|tag| self.tags.iter().any(|wanted| wanted == tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_and_trimmed() {
        let filter = TagFilter::parse(" a||b  || ");
        assert!(filter.matches(Some("a")) && filter.matches(Some("b")));
        assert!(!filter.matches(Some("c")) && !filter.matches(None));
        assert!(filter.may_match(97) && !filter.may_match(0));
        for all in ["*", ""] {
            assert!(TagFilter::parse(all).matches(None) && TagFilter::parse(all).may_match(5));
        }
    }
}
