//! What is wrong with a configuration, and where.

use serde::Serialize;
use std::fmt::Write;

/// A place in the text, both numbers from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Where it is.
    #[serde(flatten)]
    pub at: Position,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without further advice.
    pub fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    /// The same error with advice.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The error for people: `file:line:column: message`, the line itself, a caret, and the advice.
    pub fn render(&self, file: &str, text: &str) -> String {
        let Position { line, column } = self.at;
        let mut out = format!("{file}:{line}:{column}: error: {}\n", self.message);
        if let Some(source) = text.lines().nth(line.saturating_sub(1)) {
            // Tabs stay tabs, so that the caret stands under its character.
            let before = source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' });
            let indent: String = before.collect();
            let _ = writeln!(out, "{line:>5} | {source}\n      | {indent}^");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "      = help: {help}");
        }
        out
    }
}

/// The candidate most like `word`, if one is like it.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    // A distance is at least the difference in length, and long gibberish is not worth a table.
    let near = candidates.into_iter().filter(|candidate| candidate.len().abs_diff(word.len()) <= 4 * limit);
    let ranked = near.map(|candidate| (distance(word, candidate), candidate));
    ranked
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word the other; case does not count.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().take(64).collect();
    let right: Vec<char> = right.to_lowercase().chars().take(64).collect();
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in table.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in table[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let replaced = table[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = best;
        }
    }
    table[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_place() {
        let problem =
            Diagnostic::new(Position { line: 2, column: 3 }, "unknown key `tpoic`").help("say `topic`");
        let text = problem.render("a.yaml", "x:\n\t tpoic: 1\n");
        assert_eq!(
            text,
            "a.yaml:2:3: error: unknown key `tpoic`\n    2 | \t tpoic: 1\n      | \t ^\n      = help: say `topic`\n"
        );
    }

    #[test]
    fn likely_words_are_found() {
        let words = ["topic", "queues", "retention"];
        assert_eq!(closest("tpoic", words), Some("topic"));
        assert_eq!(closest("Queue", words), Some("queues"));
        assert_eq!(closest("zzz", words), None);
    }
}
