//! `when`: a list of conditions that must all hold, each in a dialect of its own.

use crate::{
    condition::Condition,
    diagnostic::{Diagnostic, Position, closest},
    read::{Problems, entries, list, text},
    template::is_attribute,
    yaml::{Node, Value},
};
use halley_filter::{Sql92, TagFilter};

/// What reading conditions needs beside the tree.
pub(super) struct Context<'a> {
    /// The text of the file, to place errors inside an expression.
    pub(super) source: &'a str,
}

/// Names of the dialects.
const DIALECTS: [&str; 8] = ["exact", "prefix", "suffix", "all", "any", "not", "sql92", "tag"];

/// Reads `when`; absent is no condition. `None` where something in it is wrong.
pub(super) fn read_when(
    node: Option<&Node>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Vec<Condition>> {
    let Some(node) = node else { return Some(Vec::new()) };
    read_list(node, context, problems)
}

fn read_list(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Vec<Condition>> {
    let conditions: Vec<_> =
        list(node, problems).iter().map(|item| read_one(item, context, problems)).collect();
    conditions.into_iter().collect()
}

/// One condition: a map with the dialect as its only key.
fn read_one(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Condition> {
    let [(key, value)] = entries(node, problems) else {
        if matches!(node.value, Value::Map(_)) {
            let message = "a condition has one dialect as its only key, several conditions are several items";
            problems.push(Diagnostic::new(node.at, message));
        }
        return None;
    };
    match key.name.as_str() {
        "exact" => read_attributes(value, problems).map(Condition::Exact),
        "prefix" => read_attributes(value, problems).map(Condition::Prefix),
        "suffix" => read_attributes(value, problems).map(Condition::Suffix),
        "all" => read_list(value, context, problems).map(Condition::All),
        "any" => read_any(value, context, problems),
        "not" => read_one(value, context, problems).map(|inner| Condition::Not(inner.into())),
        "sql92" => read_sql92(value, context, problems).map(Condition::Sql92),
        "tag" => read_tag(value, problems).map(Condition::Tag),
        other => {
            let problem = Diagnostic::new(key.at, format!("unknown dialect `{other}`"));
            let help = match closest(other, DIALECTS) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known: {}", DIALECTS.join(", ")),
            };
            problems.push(problem.help(help));
            None
        }
    }
}

fn read_any(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Condition> {
    let conditions = read_list(node, context, problems)?;
    if conditions.is_empty() {
        problems.push(Diagnostic::new(node.at, "`any` of nothing never holds"));
        return None;
    }
    Some(Condition::Any(conditions))
}

/// Attributes and values.
fn read_attributes(node: &Node, problems: &mut Problems) -> Option<Vec<(String, String)>> {
    let written = entries(node, problems);
    if written.is_empty() {
        problems.push(Diagnostic::new(node.at, "expected at least one attribute with its value"));
        return None;
    }
    let mut pairs = Vec::with_capacity(written.len());
    for (key, value) in written {
        let value = text(value, problems);
        if !is_attribute(&key.name) {
            let message = format!("`{}` is not an attribute's name: lower-case letters and digits", key.name);
            problems.push(Diagnostic::new(key.at, message));
        } else if let Some(value) = value {
            pairs.push((key.name.clone(), value));
        }
    }
    (pairs.len() == written.len()).then_some(pairs)
}

/// A SQL92 expression; an error is placed inside it where it stands on one line.
pub(super) fn read_sql92(node: &Node, context: &Context<'_>, problems: &mut Problems) -> Option<Sql92> {
    let written = text(node, problems)?;
    match Sql92::parse_strict(&written) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let at = place_inside(node, &written, error.at, context.source);
            problems.push(Diagnostic::new(at, format!("SQL92: {}", error.message)));
            None
        }
    }
}

/// A tag expression.
pub(super) fn read_tag(node: &Node, problems: &mut Problems) -> Option<TagFilter> {
    text(node, problems).map(|written| TagFilter::parse(&written))
}

/// The place of byte `offset` of a text, where the file has that text as it is, on one line; else the text's own.
fn place_inside(node: &Node, written: &str, offset: usize, source: &str) -> Position {
    let line = source.lines().nth(node.at.line - 1).unwrap_or_default();
    let from: usize = line.chars().take(node.at.column - 1).map(char::len_utf8).sum();
    match line.get(from..).and_then(|rest| rest.find(written)) {
        Some(start) => {
            let before = line.get(..from + start + offset).unwrap_or(line);
            Position { line: node.at.line, column: before.chars().count() + 1 }
        }
        None => node.at,
    }
}
