//! From a tree of values to typed ones, collecting every error on the way.

use crate::{
    ERRORS_MAX,
    diagnostic::{Diagnostic, Position, closest},
    duration,
    yaml::{Key, Node, Value},
};

/// Where errors go.
pub(crate) type Problems = Vec<Diagnostic>;

/// The value of a node as a text.
pub(crate) fn text(node: &Node, problems: &mut Problems) -> Option<String> {
    match &node.value {
        Value::Text { text, .. } if !node.is_null() => Some(text.clone()),
        _ => {
            problems.push(Diagnostic::new(node.at, format!("expected a text, found {}", node.kind())));
            None
        }
    }
}

/// The value of a node as a whole number of these bounds.
pub(crate) fn integer(node: &Node, min: u64, max: u64, problems: &mut Problems) -> Option<u64> {
    let value = match &node.value {
        Value::Text { text, quoted: false } => text.parse::<u64>().ok(),
        _ => None,
    };
    let value = value.filter(|value| (min..=max).contains(value));
    if value.is_none() {
        problems.push(Diagnostic::new(node.at, format!("expected a whole number from {min} to {max}")));
    }
    value
}

/// The value of a node as a duration in milliseconds of these bounds.
pub(crate) fn millis(node: &Node, min: u64, max: u64, problems: &mut Problems) -> Option<u64> {
    let value = match &node.value {
        Value::Text { text, .. } => duration::parse(text),
        _ => None,
    };
    match value {
        Some(value) if (min..=max).contains(&value) => Some(value),
        Some(_) => {
            problems.push(Diagnostic::new(node.at, format!("the duration must be {min} ms to {max} ms")));
            None
        }
        None => {
            let message = "expected a duration with its unit, such as `5s`, `500ms`, `1h30m` or `PT5S`";
            problems.push(Diagnostic::new(node.at, message));
            None
        }
    }
}

/// The value of a node as a number of bytes of these bounds, such as `500GiB`.
pub(crate) fn size(node: &Node, min: u64, max: u64, problems: &mut Problems) -> Option<u64> {
    let written = text(node, problems)?;
    let Some(bytes) = crate::size::parse(&written) else {
        problems.push(
            Diagnostic::new(node.at, format!("`{written}` is not a size"))
                .help("write a whole number and a unit, such as 500GiB, 128MiB or 20GB"),
        );
        return None;
    };
    if !(min..=max).contains(&bytes) {
        problems.push(Diagnostic::new(node.at, format!("`{written}` is not between {min} and {max} bytes")));
        return None;
    }
    Some(bytes)
}

/// The value of a node as one of some words.
pub(crate) fn word<T: Copy>(node: &Node, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let found = match &node.value {
        Value::Text { text, .. } => text.as_str(),
        _ => "",
    };
    let known = words.iter().find(|(word, _)| *word == found).map(|(_, value)| *value);
    if known.is_none() {
        let list = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let problem = Diagnostic::new(node.at, format!("expected one of {list}"));
        problems.push(match closest(found, words.iter().map(|(word, _)| *word)) {
            Some(word) => problem.help(format!("did you mean `{word}`?")),
            None => problem,
        });
    }
    known
}

/// The items of a list.
pub(crate) fn list<'a>(node: &'a Node, problems: &mut Problems) -> &'a [Node] {
    match &node.value {
        Value::List(items) => items,
        _ => {
            problems.push(Diagnostic::new(node.at, format!("expected a list, found {}", node.kind())));
            &[]
        }
    }
}

/// The entries of a map whose keys are the user's own names.
pub(crate) fn entries<'a>(node: &'a Node, problems: &mut Problems) -> &'a [(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => {
            problems.push(Diagnostic::new(node.at, format!("expected a map, found {}", node.kind())));
            &[]
        }
    }
}

/// A map with known keys. Each key asked for is known from then on; [`Table::finish`] reports the others.
pub(crate) struct Table<'a> {
    pub(crate) at: Position,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) fn of(node: &'a Node, problems: &mut Problems) -> Self {
        let entries = if node.is_null() { &[] } else { entries(node, problems) };
        Self { at: node.at, entries, asked: Vec::new() }
    }

    /// The value of a key that may be absent.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|(known, _)| known.name == key)?;
        Some(&entry.1)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.get(key).filter(|node| !node.is_null());
        if found.is_none() {
            problems.push(Diagnostic::new(self.at, format!("the key `{key}` is missing")));
        }
        found
    }

    /// Reports keys that nobody asked for.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            if problems.len() > ERRORS_MAX {
                return;
            }
            if self.asked.contains(&key.name.as_str()) {
                continue;
            }
            let problem = Diagnostic::new(key.at, format!("unknown key `{}`", key.name));
            let help = match closest(&key.name, self.asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known keys here: {}", self.asked.join(", ")),
            };
            problems.push(problem.help(help));
        }
    }
}
