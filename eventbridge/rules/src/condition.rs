//! Conditions of routes and rules: the dialects of `when`, mixed freely.
//!
//! `exact`, `prefix`, `suffix`, `all`, `any` and `not` are those of the CloudEvents Subscriptions API 1.0 as Knative
//! Eventing serves them: an absent attribute matches nothing, attributes of one map must all match.

use crate::facts::Facts;
use halley_filter::{Lookup, Sql92, TagFilter};

/// A compiled condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Attributes equal to values.
    Exact(Vec<(String, String)>),
    /// Attributes that begin with values.
    Prefix(Vec<(String, String)>),
    /// Attributes that end with values.
    Suffix(Vec<(String, String)>),
    /// All of these.
    All(Vec<Condition>),
    /// At least one of these.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// A SQL92 expression is true.
    Sql92(Sql92),
    /// The message's tag is one of these.
    Tag(TagFilter),
}

impl Condition {
    /// Whether the condition holds. Nothing is allocated, but for what `facts` derives.
    pub fn matches(&self, facts: &dyn Facts) -> bool {
        let attributes = |pairs: &[(String, String)], holds: fn(&str, &str) -> bool| {
            pairs
                .iter()
                .all(|(name, wanted)| facts.attribute(name).is_some_and(|value| holds(&value, wanted)))
        };
        match self {
            Self::Exact(pairs) => attributes(pairs, |value, wanted| value == wanted),
            Self::Prefix(pairs) => attributes(pairs, |value, wanted| value.starts_with(wanted)),
            Self::Suffix(pairs) => attributes(pairs, |value, wanted| value.ends_with(wanted)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.matches(facts)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.matches(facts)),
            Self::Not(condition) => !condition.matches(facts),
            Self::Sql92(expression) => expression.matches(&Properties(facts)),
            Self::Tag(filter) => filter.matches(facts.tag()),
        }
    }
}

/// [`Facts`] as SQL92 sees them.
struct Properties<'a>(&'a dyn Facts);

impl Lookup for Properties<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.property(name)
    }
}
