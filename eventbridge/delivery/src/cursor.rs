//! How far a rule got in one queue, and its form in a group's commit.
//!
//! The commit's offset is the first event that is not finished, as any RocketMQ group's would be, so that ordinary tools
//! show the true lag. What lies beyond it goes into the metadata, as JSON:
//! ```text
//! {"v":1,"next":120,"at":1700000000000,"errors":["HTTP 503"],
//!  "open":[[offset - previous offset, attempts, due - at, at - first attempt + 1, first error + 1, last error + 1, key + 1, give-up]]}
//! ```
//! Trailing zeros of an entry are left out, 0 means "none" everywhere. The first offset is relative to 0. Invariants: offsets
//! rise and are below `next`; the first one (or `next`) equals the commit's offset, else the metadata is stale (someone
//! reset the group's offset) and is ignored. Where the entries do not fit [`METADATA_BYTES_MAX`], `next` is the first that did
//! not fit: what lies beyond is read again, which costs repeated deliveries but loses nothing.

use halley_model::{Millis, QueueOffset};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

/// Longest encoded metadata, in bytes.
pub const METADATA_BYTES_MAX: usize = 1024 * 1024;

/// Longest kept error text, in bytes; a longer one is cut.
pub const ERROR_BYTES_MAX: usize = 256;

/// Most different error texts kept per stream. Later ones become [`OTHER_ERROR`].
pub(crate) const ERRORS_MAX: usize = 64;

/// What stands for an error text beyond [`ERRORS_MAX`].
pub(crate) const OTHER_ERROR: &str = "another error (too many different ones to keep each)";

/// Room for everything but the entries: every error text can grow sixfold by JSON escapes.
const HEAD_BYTES_MAX: usize = (ERRORS_MAX + 1) * (ERROR_BYTES_MAX * 6 + 3) + 200;

/// How far a rule got in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The first offset not yet fetched.
    pub next: QueueOffset,
    /// Matching events before `next` that are not finished.
    pub open: BTreeMap<QueueOffset, OpenEvent>,
}

/// What is remembered of an event that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenEvent {
    /// Finished attempts.
    pub attempts: u32,
    /// When the next attempt may begin, 0 for at once.
    pub due: Millis,
    /// When the first attempt began.
    pub first_attempt: Option<Millis>,
    /// What the first failed attempt said.
    pub first_error: Option<Arc<str>>,
    /// What the latest failed attempt said.
    pub last_error: Option<Arc<str>>,
    /// Hash of its order key, where the rule orders by one.
    pub key: Option<u32>,
    /// Why it is to be dead-lettered, where that is decided.
    pub give_up: Option<GiveUp>,
}

/// Why an event is dead-lettered. The numbers are persisted and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The target will never take it.
    Rejected = 1,
    /// The attempts are used up.
    Attempts = 2,
    /// The next attempt would come too late.
    Age = 3,
}

impl GiveUp {
    /// The word written into the dead letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Attempts => "attempts-exhausted",
            Self::Age => "too-old",
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        [Self::Rejected, Self::Attempts, Self::Age].into_iter().find(|reason| *reason as u64 == number)
    }
}

/// Why metadata cannot be used. Deliver from the commit's offset instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not JSON of the expected shape, or longer than [`METADATA_BYTES_MAX`].
    #[error("the cursor's metadata is not readable: {0}")]
    Malformed(String),
    /// A version this build does not know.
    #[error("the cursor's metadata has version {0}, known is 1")]
    Version(u32),
    /// An entry breaks an invariant.
    #[error("entry {0} of the cursor's metadata is not valid")]
    Entry(usize),
    /// The commit's offset was set by someone else since.
    #[error("the cursor's metadata belongs to offset {metadata}, but the group's offset is {committed}")]
    Stale {
        /// the lowest offset of the metadata
        metadata: QueueOffset,
        /// the commit's offset
        committed: QueueOffset,
    },
}

impl Cursor {
    /// A cursor with nothing open.
    pub fn at(next: QueueOffset) -> Self {
        Self { next, open: BTreeMap::new() }
    }

    /// The first offset that is not finished.
    pub fn low(&self) -> QueueOffset {
        self.open.keys().next().copied().unwrap_or(self.next)
    }

    /// Reads a commit. Empty metadata (a group offset set by RocketMQ's tools) is a cursor with nothing open.
    pub fn decode(offset: QueueOffset, metadata: &str) -> Result<Self, CursorError> {
        if metadata.is_empty() {
            return Ok(Self::at(offset));
        }
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(CursorError::Malformed(format!("{} bytes", metadata.len())));
        }
        let stored: Stored =
            serde_json::from_str(metadata).map_err(|error| CursorError::Malformed(error.to_string()))?;
        if stored.v != 1 {
            return Err(CursorError::Version(stored.v));
        }
        let errors: Vec<Arc<str>> = stored.errors.iter().map(|text| cut(text).into()).collect();
        let mut cursor = Self::at(stored.next);
        let mut previous = 0;
        for (index, entry) in stored.open.iter().enumerate() {
            let (offset, event) =
                read_entry(entry, previous, stored.at, &errors).ok_or(CursorError::Entry(index))?;
            if offset >= stored.next || (index > 0 && offset == previous) {
                return Err(CursorError::Entry(index));
            }
            cursor.open.insert(offset, event);
            previous = offset;
        }
        if cursor.low() != offset {
            return Err(CursorError::Stale { metadata: cursor.low(), committed: offset });
        }
        Ok(cursor)
    }
}

/// The commit's offset and metadata for a stream whose open events are `open`, in rising order.
pub(crate) fn encode<'a>(
    now: Millis,
    next: QueueOffset,
    open: impl Iterator<Item = (QueueOffset, &'a OpenEvent)>,
) -> (QueueOffset, String) {
    let mut writer =
        EntryWriter { now, entries: String::new(), errors: Vec::new(), numbers: BTreeMap::new() };
    let mut previous = 0;
    let mut low = None;
    let mut end = next;
    for (offset, event) in open {
        let before = writer.entries.len();
        writer.push(offset - previous, event);
        if writer.entries.len() + HEAD_BYTES_MAX > METADATA_BYTES_MAX {
            writer.entries.truncate(before);
            end = offset;
            break;
        }
        previous = offset;
        low.get_or_insert(offset);
    }
    let offset = low.unwrap_or(end);
    if writer.entries.is_empty() {
        return (offset, String::new());
    }
    let errors = serde_json::to_string(&writer.errors).expect("strings are always JSON");
    let entries = writer.entries.strip_suffix(',').unwrap_or(&writer.entries);
    let metadata = format!(r#"{{"v":1,"next":{end},"at":{now},"errors":{errors},"open":[{entries}]}}"#);
    (offset, metadata)
}

/// The text without what exceeds [`ERROR_BYTES_MAX`], cut between characters.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES_MAX)]
}

#[derive(Deserialize)]
struct Stored {
    v: u32,
    next: QueueOffset,
    at: Millis,
    errors: Vec<String>,
    open: Vec<Vec<u64>>,
}

fn read_entry(
    entry: &[u64],
    previous: QueueOffset,
    at: Millis,
    errors: &[Arc<str>],
) -> Option<(QueueOffset, OpenEvent)> {
    let field = |index: usize| entry.get(index).copied().unwrap_or(0);
    let less_one = |value: u64| value.checked_sub(1);
    let error = |value: u64| match less_one(value) {
        None => Some(None),
        Some(index) => errors.get(usize::try_from(index).ok()?).cloned().map(Some),
    };
    if entry.is_empty() || entry.len() > 8 {
        return None;
    }
    let due = match field(2) {
        0 => 0,
        after => at.checked_add_unsigned(after)?,
    };
    let first_attempt = match less_one(field(3)) {
        None => None,
        Some(ago) => Some(at.checked_sub_unsigned(ago)?),
    };
    let key = match less_one(field(6)) {
        None => None,
        Some(key) => Some(u32::try_from(key).ok()?),
    };
    let give_up = match field(7) {
        0 => None,
        number => Some(GiveUp::from_number(number)?),
    };
    let event = OpenEvent {
        attempts: u32::try_from(field(1)).ok()?,
        due,
        first_attempt,
        first_error: error(field(4))?,
        last_error: error(field(5))?,
        key,
        give_up,
    };
    Some((previous.checked_add(field(0))?, event))
}

struct EntryWriter<'a> {
    now: Millis,
    entries: String,
    errors: Vec<&'a str>,
    numbers: BTreeMap<&'a str, u64>,
}

impl<'a> EntryWriter<'a> {
    fn push(&mut self, delta: QueueOffset, event: &'a OpenEvent) {
        let fields = [
            delta,
            u64::from(event.attempts),
            event.due.saturating_sub(self.now).max(0).unsigned_abs(),
            event.first_attempt.map_or(0, |first| self.now.saturating_sub(first).max(0).unsigned_abs() + 1),
            self.error_number(event.first_error.as_deref()),
            self.error_number(event.last_error.as_deref()),
            event.key.map_or(0, |key| u64::from(key) + 1),
            event.give_up.map_or(0, |reason| reason as u64),
        ];
        let used = fields.iter().rposition(|field| *field != 0).map_or(1, |last| last + 1);
        self.entries.push('[');
        for (index, field) in fields[..used].iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(self.entries, "{comma}{field}").expect("writing to a string cannot fail");
        }
        self.entries.push_str("],");
    }

    /// Streams keep at most [`ERRORS_MAX`] texts and [`OTHER_ERROR`]; should one not fit all the same, it is left out.
    fn error_number(&mut self, text: Option<&'a str>) -> u64 {
        let Some(text) = text else { return 0 };
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.errors.len() > ERRORS_MAX {
            return 0;
        }
        self.errors.push(text);
        let number = self.errors.len() as u64;
        self.numbers.insert(text, number);
        number
    }
}

#[cfg(test)]
mod tests;
