//! YAML text as a tree of values that know their place.
//!
//! Anchors and aliases are refused: nobody needs them here, and a few lines of them can stand for gigabytes. So are
//! tags, several documents, and keys that come twice. Bounds: [`TEXT_BYTES_MAX`], [`NODES_MAX`], [`DEPTH_MAX`].

use crate::diagnostic::{Diagnostic, Position};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most values of all kinds.
pub const NODES_MAX: usize = 1_000_000;

/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 64;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// The value.
    pub value: Value,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text; `quoted` text is never taken for a number or truth value.
    Text {
        /// without quotes and escapes
        text: String,
        /// written in quotes or as a block
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values in order; no key comes twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Where it begins.
    pub at: Position,
    /// The key.
    pub name: String,
}

impl Node {
    /// Whether nothing is written, or `null` or `~`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Text { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value as JSON, numbers and truth values as YAML's core schema has them.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            _ if self.is_null() => serde_json::Value::Null,
            Value::Text { text, quoted } => match text.as_str() {
                "true" if !quoted => true.into(),
                "false" if !quoted => false.into(),
                text if !quoted && looks_like_number(text) => {
                    serde_json::from_str(text).unwrap_or_else(|_| text.into())
                }
                text => text.into(),
            },
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let members = entries.iter().map(|(key, node)| (key.name.clone(), node.to_json()));
                serde_json::Value::Object(members.collect())
            }
        }
    }
}

fn looks_like_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

/// Reads a text with one document; an empty one is an empty map. What cannot be read at all is the error. Keys that come
/// twice go to `problems`, and the first one counts.
pub fn parse(text: &str, problems: &mut Vec<Diagnostic>) -> Result<Node, Diagnostic> {
    let start = Position::START;
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(Diagnostic::new(start, message));
    }
    let mut builder = Builder { stack: Vec::new(), root: None, nodes: 0, problems };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let at = position(error.marker());
                return Err(Diagnostic::new(at, format!("this is not YAML: {}", error.info())));
            }
        }
    }
    Ok(builder.root.unwrap_or(Node { at: start, value: Value::Map(Vec::new()) }))
}

struct Builder<'p> {
    stack: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    problems: &'p mut Vec<Diagnostic>,
}

/// A list or map whose end has not come.
enum Open {
    List(Position, Vec<Node>),
    Map(Position, OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<(Key, Node)>,
    /// The key whose value has not come.
    pending: Option<Key>,
    /// Where each key came first.
    first: BTreeMap<String, Position>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let at = position(&span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Diagnostic::new(at, "a second document begins here, one file holds one configuration"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(_) => Err(no_anchors(at)),
            Event::Scalar(text, style, anchor, tag) => {
                self.check(at, anchor, tag.is_some())?;
                let quoted = style != ScalarStyle::Plain;
                self.put(Node { at, value: Value::Text { text: text.into_owned(), quoted } })
            }
            Event::SequenceStart(anchor, tag) => {
                self.check(at, anchor, tag.is_some())?;
                self.open(Open::List(at, Vec::new()), at)
            }
            Event::MappingStart(anchor, tag) => {
                self.check(at, anchor, tag.is_some())?;
                self.open(Open::Map(at, OpenMap::default()), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn check(&mut self, at: Position, anchor: usize, tagged: bool) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Diagnostic::new(at, format!("the file has more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            return Err(no_anchors(at));
        }
        if tagged {
            return Err(Diagnostic::new(at, "tags (`!name`) are not used here"));
        }
        Ok(())
    }

    fn open(&mut self, open: Open, at: Position) -> Result<(), Diagnostic> {
        if self.stack.len() == DEPTH_MAX {
            return Err(Diagnostic::new(at, format!("lists and maps are nested deeper than {DEPTH_MAX}")));
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        match self.stack.pop() {
            Some(Open::List(at, items)) => self.put(Node { at, value: Value::List(items) }),
            Some(Open::Map(at, map)) => self.put(Node { at, value: Value::Map(map.entries) }),
            None => Ok(()),
        }
    }

    fn put(&mut self, node: Node) -> Result<(), Diagnostic> {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, map)) => match map.pending.take() {
                // The second value of a key was reported with its key.
                Some(key) if map.first.get(&key.name) != Some(&key.at) => {}
                Some(key) => map.entries.push((key, node)),
                None => map.pending = Some(key_of(node, map, self.problems)?),
            },
        }
        Ok(())
    }
}
fn key_of(node: Node, map: &mut OpenMap, problems: &mut Vec<Diagnostic>) -> Result<Key, Diagnostic> {
    let Value::Text { text: name, .. } = node.value else {
        return Err(Diagnostic::new(node.at, format!("a key must be a name, but this is {}", node.kind())));
    };
    match map.first.get(&name) {
        Some(first) => {
            let message = format!("the key `{name}` comes twice, first in line {}", first.line);
            problems.push(Diagnostic::new(node.at, message));
        }
        None => {
            map.first.insert(name.clone(), node.at);
        }
    }
    Ok(Key { at: node.at, name })
}

fn no_anchors(at: Position) -> Diagnostic {
    Diagnostic::new(at, "anchors and aliases (`&name`, `*name`) are not used here")
        .help("write the value out")
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}
