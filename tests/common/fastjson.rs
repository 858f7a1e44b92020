//! JSON as RocketMQ writes it: fastjson leaves integer keys bare, and writes keys that are objects as objects.

use serde_json::{Map, Number, Value};

/// Reads a body; keys that are no strings become the text of their JSON. `None` where it is no JSON even so.
pub fn parse(bytes: &[u8]) -> Option<Value> {
    let mut parser = Parser { rest: std::str::from_utf8(bytes).ok()? };
    let value = parser.value()?;
    parser.skip_space();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self) -> Option<Value> {
        self.skip_space();
        match self.rest.chars().next()? {
            '{' => self.object(),
            '[' => self.array(),
            '"' => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    fn object(&mut self) -> Option<Value> {
        let mut members = Map::new();
        self.take('{')?;
        while self.take('}').is_none() {
            if !members.is_empty() {
                self.take(',')?;
            }
            let key = match self.value()? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            self.take(':')?;
            members.insert(key, self.value()?);
        }
        Some(Value::Object(members))
    }

    fn array(&mut self) -> Option<Value> {
        let mut elements = Vec::new();
        self.take('[')?;
        while self.take(']').is_none() {
            if !elements.is_empty() {
                self.take(',')?;
            }
            elements.push(self.value()?);
        }
        Some(Value::Array(elements))
    }

    fn string(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.rest[1..].find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        })?;
        let (text, rest) = self.rest.split_at(end + 2);
        self.rest = rest;
        serde_json::from_str(text).ok()
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ':', ']', '}', ' ', '\n']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            number => number.parse::<Number>().ok().map(Value::Number),
        }
    }

    fn take(&mut self, letter: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(letter)?;
        Some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}
