//! `server.retention`: how much of the log is kept.

use super::server::is;
use crate::{
    diagnostic::Diagnostic,
    read::{Problems, Table, millis, size, text},
    yaml::Node,
};

/// The shortest age, in milliseconds: a second.
const AGE_MS_MIN: u64 = 1000;

/// The longest age, in milliseconds: a hundred years.
const AGE_MS_MAX: u64 = 100 * 366 * 24 * 60 * 60 * 1000;

/// The least size: some files of the log.
const SIZE_MIN: u64 = 64 << 20;

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What was stored longer ago is removed, in milliseconds; `None` for never.
    pub age_ms: Option<u64>,
    /// What makes the log longer is removed, in bytes; `None` for any length.
    pub size: Option<u64>,
    /// Above this part of the disk, in percent, what is too old or too much goes at once.
    pub clean: u8,
    /// Above this part the oldest goes, however young it is.
    pub forced: u8,
    /// Above this part producers are refused.
    pub refuse: u8,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age_ms: Some(72 * 60 * 60 * 1000), size: None, clean: 75, forced: 85, refuse: 90 }
    }
}

pub(super) fn read(node: &Node, problems: &mut Problems) -> Retention {
    let mut retention = Retention::default();
    let mut table = Table::of(node, problems);
    if let Some(node) = table.get("age") {
        retention.age_ms = age(node, problems).flatten();
    }
    if let Some(node) = table.get("size") {
        retention.size = if is(node, "any") { None } else { size(node, SIZE_MIN, u64::MAX, problems) };
    }
    if let Some(node) = table.get("disk") {
        read_disk(node, &mut retention, problems);
    }
    table.finish(problems);
    retention
}

/// For how long messages are kept, in milliseconds; `Some(None)` for ever.
pub(super) fn age(node: &Node, problems: &mut Problems) -> Option<Option<u64>> {
    if is(node, "forever") {
        return Some(None);
    }
    millis(node, AGE_MS_MIN, AGE_MS_MAX, problems).map(Some)
}

fn read_disk(node: &Node, retention: &mut Retention, problems: &mut Problems) {
    let mut table = Table::of(node, problems);
    let marks = [
        ("clean", &mut retention.clean),
        ("forced", &mut retention.forced),
        ("refuse", &mut retention.refuse),
    ];
    for (key, mark) in marks {
        if let Some(found) = table.get(key).and_then(|node| percent(node, problems)) {
            *mark = found;
        }
    }
    table.finish(problems);
    if retention.clean > retention.forced || retention.forced > retention.refuse {
        let Retention { clean, forced, refuse, .. } = retention;
        let message = format!(
            "`clean` ({clean}%) is at most `forced` ({forced}%), and that at most `refuse` ({refuse}%)"
        );
        problems.push(Diagnostic::new(node.at, message));
    }
}

fn percent(node: &Node, problems: &mut Problems) -> Option<u8> {
    let written = text(node, problems)?;
    let number = written.strip_suffix('%').and_then(|number| number.parse().ok());
    let percent = number.filter(|percent| (10..=100).contains(percent));
    if percent.is_none() {
        problems.push(Diagnostic::new(
            node.at,
            format!("`{written}` is not a part of the disk from `10%` to `100%`"),
        ));
    }
    percent
}
