//! SQL92 expressions on properties, as RocketMQ 5.5 understands them (`SelectorParser.jj` and
//! `org.apache.rocketmq.filter.expression`).
//!
//! ```text
//! or         = and { OR and }
//! and        = equality { AND equality }
//! equality   = comparison { ( "=" | "<>" ) comparison | IS [ NOT ] NULL }
//! comparison = unary { ( ">" | ">=" | "<" | "<=" ) unary
//!                    | [ NOT ] ( CONTAINS | STARTSWITH | ENDSWITH ) string
//!                    | [ NOT ] BETWEEN unary AND unary
//!                    | [ NOT ] IN "(" string { "," string } ")" }
//! unary      = "+" unary | "-" unary | NOT unary | primary
//! primary    = string | integer | float | TRUE | FALSE | NULL | name | "(" or ")"
//! ```
//! Logic has three values. Properties are strings: against a number they are converted to that number's type, and
//! what cannot be converted makes the whole expression fail, which is no match, even where another part would have
//! matched. `=` of two absent properties is true.

mod evaluate;
mod lexer;
mod parser;

use parser::Node;

/// Longest expression, in bytes.
pub const TEXT_BYTES_MAX: usize = 65_535;

/// Deepest nesting of parentheses and unary operators.
pub const DEPTH_MAX: usize = 128;

/// Most different names in an expression; RocketMQ has no such limit, and nobody comes near.
pub const NAMES_MAX: usize = 1024;

/// Names up to this number are looked up in one pass over raw properties without allocating.
const SLOTS_MAX: usize = 16;

/// Where an expression finds the values of names.
pub trait Lookup {
    /// The value of `name`, `None` where it is absent.
    fn get(&self, name: &str) -> Option<&str>;
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Sql92 {
    root: Node,
    /// Each name once; nodes refer to them by index.
    names: Vec<String>,
    /// The lengths of the names, see [`length_bit`].
    lengths: u64,
    /// Bytes of the text that make the expression.
    used: usize,
}

/// Where and why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub struct ParseError {
    /// Bytes from the beginning of the text.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl Sql92 {
    /// Parses as RocketMQ does: what follows a complete expression is ignored.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text)
    }

    /// Parses, and refuses anything behind the expression.
    pub fn parse_strict(text: &str) -> Result<Self, ParseError> {
        let parsed = parser::parse(text)?;
        if parsed.used < text.len() {
            let message = "expected AND, OR or the end of the expression".to_owned();
            return Err(ParseError { at: parsed.used, message });
        }
        Ok(parsed)
    }

    /// The names that the expression asks for, each once.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the expression is true.
    pub fn matches(&self, values: &impl Lookup) -> bool {
        evaluate::is_true(&self.root, &|slot| values.get(&self.names[slot]))
    }

    /// Whether the expression is true for a message with these raw properties.
    pub fn matches_raw(&self, raw_properties: &[u8]) -> bool {
        if self.names.len() > SLOTS_MAX {
            return self.matches(&Raw(raw_properties));
        }
        let mut slots = [None; SLOTS_MAX];
        for (key, value) in halley_model::property::pairs(raw_properties) {
            // Most properties are nobody's, and their length tells.
            if self.lengths & length_bit(key.len()) != 0
                && let Some(slot) = self.names.iter().position(|name| name.as_bytes() == key)
                && let Ok(value) = std::str::from_utf8(value)
            {
                // The last of several counts, as in Java's map.
                slots[slot] = Some(value);
            }
        }
        evaluate::is_true(&self.root, &|slot| slots[slot])
    }
}

/// The bit of a length in a set of lengths; long ones share one.
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Raw properties, searched once per name.
struct Raw<'a>(&'a [u8]);

impl Lookup for Raw<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        halley_model::property::iter(self.0).filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests;
