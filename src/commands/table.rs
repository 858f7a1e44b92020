//! Answers as tables for people, or as JSON for programs.

use serde_json::{Map, Value};
use std::fmt::Write;

/// Rows under named columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, a value for each column.
    pub(crate) fn row(&mut self, values: impl IntoIterator<Item = Value>) {
        self.rows.push(values.into_iter().collect());
    }

    /// The table with aligned columns, or a JSON array with an object for each row.
    pub(crate) fn text(&self, json: bool) -> String {
        if json {
            let object = |row: &Vec<Value>| {
                let named = self.columns.iter().zip(row);
                Value::Object(
                    named.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>(),
                )
            };
            let all = Value::Array(self.rows.iter().map(object).collect());
            return format!("{all:#}\n");
        }
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, name)| rows.iter().map(|row| row[at].len()).max().unwrap_or(0).max(name.len()))
            .collect();
        let mut text = String::new();
        let heads = self.columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
        for row in std::iter::once(heads).chain(rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_for_people_and_programs() {
        let mut table = Table::new(&["topic", "queues"]);
        table.row(["orders".into(), 8.into()]);
        table.row(["a".into(), Value::Null]);
        assert_eq!(table.text(false), "TOPIC   QUEUES\norders  8\na       -\n");
        let json: Value = serde_json::from_str(&table.text(true)).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{"topic": "orders", "queues": 8}, {"topic": "a", "queues": null}])
        );
    }
}
