//! Where Halley answers otherwise than RocketMQ 5.5.0, and why. A row without a difference fails the test.

use crate::differential::compare::Difference;

/// In these cases, below this path; a `*` at the end stands for any rest.
type Row = (&'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("priority/with a delay", "ext.recallHandle", "RocketMQ rounds times to its wheel's seconds"),
    ("lmq/delayed", "ext.recallHandle", "RocketMQ rounds times to its wheel's seconds"),
    (
        "lmq/progress in a light queue",
        "body.offsetTable*",
        "what was popped and is not acknowledged is not committed",
    ),
    (
        "lmq/send to queue 1 of a light queue",
        "",
        "RocketMQ prints the topic's settings, and tells of its region",
    ),
    ("lmq/send to a light queue of strange letters", "remark", "Halley says which letter"),
    ("lmq/deleted", "", "a light queue that was deleted goes on counting"),
];

/// What depends on when it is asked, and may be the same by chance.
const TIMES: &[Row] = &[
    ("*", "body.consumeTps", "a rate"),
    ("lite/hide for longer", "ext.invisibleTime", "from the pop to the new end"),
    ("lite/suspend", "ext.invisibleTime", "from the pop to the new end"),
    ("lmq/delayed", "ext.queueOffset", "a message that waits has its offset among those that wait"),
    ("lite/parent", "body.lmqNum", "RocketMQ also counts queues that were only asked for"),
];

/// What RocketMQ leaves in a reply before it knows the outcome.
const NO_REMARK: &str = "not set any response code";

pub(crate) fn row_of(difference: &Difference) -> Option<&'static Row> {
    const UNREMARKED: Row = ("*", "remark", NO_REMARK);
    if difference.path == "remark" && difference.oracle == NO_REMARK && difference.halley.is_null() {
        return Some(&UNREMARKED);
    }
    ROWS.iter().chain(TIMES).find(|row| covers(row, difference))
}

/// The rows that cover nothing.
pub(crate) fn outdated(found: &[Difference]) -> Vec<String> {
    let rows = ROWS.iter().filter(|row| !found.iter().any(|difference| covers(row, difference)));
    rows.map(|(case, path, reason)| format!("{case}: {path} does not differ any more ({reason})")).collect()
}

fn covers((case, path, _): &Row, difference: &Difference) -> bool {
    is_like(&difference.case, case) && (path.is_empty() || is_like(&difference.path, path))
}

fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern || text.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.')),
    }
}
