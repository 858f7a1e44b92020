//! Texts with attributes in them: `order-${subject}`.

use crate::facts::Facts;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute(String),
}

impl Template {
    /// Parses a text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let Some(end) = rest[start..].find('}') else {
                return Err("`${` has no closing `}`".to_owned());
            };
            let name = &rest[start + 2..start + end];
            if !is_attribute(name) {
                return Err(format!("`{name}` is not an attribute's name: lower-case letters and digits"));
            }
            parts.push(Part::Attribute(name.to_owned()));
            rest = &rest[start + end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text for an event; an absent attribute is nothing.
    pub fn fill(&self, event: &dyn Facts) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Attribute(name) => text.push_str(&event.attribute(name).unwrap_or_default()),
            }
        }
        text
    }
}

/// Whether a text is an attribute's name (CloudEvents 1.0.2 §3: lower-case letters and digits).
pub(crate) fn is_attribute(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
