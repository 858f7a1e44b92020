//! The answer to request 321 (`QueryConsumeQueueResponseBody`).

use super::Writer;

/// An entry of a queue's index (`ConsumeQueueData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueEntry {
    /// Where the record lies.
    pub log_offset: u64,
    /// Its bytes.
    pub size: u32,
    /// Hash of its tag.
    pub tag: i32,
}

/// The body: the queue's bounds, what is to be said of a group's filter, and entries.
pub fn encode(min: u64, max: u64, filter: Option<&str>, entries: &[QueueEntry]) -> Vec<u8> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut json = Writer::new();
    json.open(b'{');
    if let Some(filter) = filter {
        json.member("filterData");
        json.text(filter);
    }
    json.member("maxQueueIndex");
    json.number(number(max));
    json.member("minQueueIndex");
    json.number(number(min));
    json.member("queueData");
    json.open(b'[');
    for entry in entries {
        json.element();
        json.open(b'{');
        json.member("eval");
        json.boolean(false);
        json.member("physicOffset");
        json.number(number(entry.log_offset));
        json.member("physicSize");
        json.number(entry.size);
        json.member("tagsCode");
        json.number(entry.tag);
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
    json.finish()
}
