//! How far a group got in a queue, as a commit: the offset, and beside it the metadata in JSON.
//! ```text
//! {"pop":1,"next":120,"at":1700000000000,"open":[[gap, count, at - popped, visible - popped, suspended]],"order":{…}}
//! ```
//! An entry is `count` messages in a row that were given out together, `gap` offsets behind the entry before it (the first:
//! behind 0). What a shorter entry leaves out is 1 for `count`, and for the rest what the entry before it had. `order` is
//! an [`OrderInfo`]. Invariants: offsets rise and are below `next`; the lowest (or `next`) equals the commit's offset, else
//! the metadata is stale, since someone else set the group's offset, and is ignored. Where the entries do not fit
//! [`METADATA_BYTES_MAX`], `next` is the first that did not: what lies beyond is given out again after a restart, which costs
//! repeated deliveries but loses nothing.
//!
//! The idea is that of the delivery's cursors (`eventbridge/delivery`); what is remembered of a message differs, and these
//! entries are made for very many messages.

use super::{PopQueue, flights::Flight, flights::Flights, order::OrderInfo};
use halley_model::{Millis, QueueOffset};
use serde::Deserialize;
use std::fmt::Write as _;

/// Longest encoded metadata, in bytes.
pub const METADATA_BYTES_MAX: usize = 1024 * 1024;

/// Room for everything but the entries and the order: names and three numbers.
const HEAD_BYTES_MAX: usize = 128;

/// How metadata of this kind begins.
const PREFIX: &str = r#"{"pop":"#;

/// Why metadata cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not JSON of the expected shape, or longer than [`METADATA_BYTES_MAX`].
    #[error("the metadata of the group's offset is not readable: {0}")]
    Malformed(String),
    /// A version this build does not know.
    #[error("the metadata of the group's offset has version {0}, known is 1")]
    Version(u32),
    /// An entry breaks an invariant.
    #[error("entry {0} of the metadata is not valid")]
    Entry(usize),
    /// The order breaks an invariant.
    #[error("the order in the metadata is not valid")]
    Order,
    /// The commit's offset was set by someone else since.
    #[error("the metadata belongs to offset {metadata}, but the group's offset is {committed}")]
    Stale {
        /// the lowest offset of the metadata
        metadata: QueueOffset,
        /// the commit's offset
        committed: QueueOffset,
    },
}

#[derive(Deserialize)]
struct Stored {
    pop: u32,
    next: QueueOffset,
    at: Millis,
    open: Vec<Vec<i64>>,
    #[serde(default)]
    order: Option<Box<OrderInfo>>,
}

/// Whether a commit's metadata was written here.
pub fn is_cursor(metadata: &str) -> bool {
    metadata.starts_with(PREFIX)
}

/// Reads a commit. Without metadata (a group's offset set by a client or tool) nothing is in flight.
pub fn decode(offset: QueueOffset, metadata: &str) -> Result<PopQueue, CursorError> {
    if metadata.is_empty() {
        return Ok(PopQueue::at(offset));
    }
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(CursorError::Malformed(format!("{} bytes", metadata.len())));
    }
    let stored: Stored =
        serde_json::from_str(metadata).map_err(|error| CursorError::Malformed(error.to_string()))?;
    if stored.pop != 1 {
        return Err(CursorError::Version(stored.pop));
    }
    let mut queue = PopQueue::at(stored.next);
    let mut last = Run { offset: 0, count: 0, ago: 0, invisible: 0, suspended: false };
    for (index, entry) in stored.open.iter().enumerate() {
        last = read(entry, last)
            .filter(|run| {
                run.end() <= stored.next && queue.flights.len() + run.count as usize <= super::FLIGHTS_MAX
            })
            .ok_or(CursorError::Entry(index))?;
        let popped = stored.at.checked_sub(last.ago).ok_or(CursorError::Entry(index))?;
        let visible = popped.checked_add(last.invisible).ok_or(CursorError::Entry(index))?;
        for offset in last.offset..last.end() {
            queue.flights.push(Flight { offset, popped, visible, suspended: last.suspended });
        }
    }
    if stored.order.as_ref().is_some_and(|order| !order.is_valid()) {
        return Err(CursorError::Order);
    }
    queue.order = stored.order;
    if queue.low() != offset {
        return Err(CursorError::Stale { metadata: queue.low(), committed: offset });
    }
    Ok(queue)
}

/// The commit of a queue.
pub(super) fn encode(now: Millis, queue: &PopQueue) -> (QueueOffset, String) {
    let order = queue.order.as_deref().filter(|order| !order.is_done());
    let order = order.map(|order| serde_json::to_string(order).expect("numbers and strings are always JSON"));
    let order = order.map_or_else(String::new, |order| format!(r#","order":{order}"#));
    let room = METADATA_BYTES_MAX - HEAD_BYTES_MAX - order.len();
    let (entries, cut) = entries(now, &queue.flights, room);
    let end = cut.map_or(queue.next, |cut| cut.min(queue.next));
    let low = queue.flights.first().map_or(end, |first| first.min(end));
    if entries.is_empty() && order.is_empty() {
        return (low, String::new());
    }
    let metadata = format!(r#"{PREFIX}1,"next":{end},"at":{now},"open":[{entries}]{order}}}"#);
    (low, metadata)
}

/// Messages in a row that were given out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    offset: QueueOffset,
    count: u64,
    ago: Millis,
    invisible: Millis,
    suspended: bool,
}

impl Run {
    fn end(&self) -> QueueOffset {
        self.offset + self.count
    }

    fn joins(&self, next: &Self) -> bool {
        let how = |run: &Self| (run.ago, run.invisible, run.suspended);
        self.end() == next.offset && how(self) == how(next)
    }
}

/// The entries, and the first offset that did not fit.
fn entries(now: Millis, flights: &Flights, room: usize) -> (String, Option<QueueOffset>) {
    let mut out = String::new();
    let mut last = Run { offset: 0, count: 0, ago: 0, invisible: 0, suspended: false };
    let mut open: Option<Run> = None;
    let mut runs = flights.iter().map(|flight| {
        // Taken for the retry topic: after a restart it is due at once.
        let visible = flight.visible.max(flight.popped.min(now));
        Run {
            offset: flight.offset,
            count: 1,
            ago: now.saturating_sub(flight.popped),
            invisible: visible.saturating_sub(flight.popped),
            suspended: flight.suspended,
        }
    });
    loop {
        let next = runs.next();
        match (&mut open, next) {
            (Some(run), Some(next)) if run.joins(&next) => run.count += 1,
            (None, None) => return (out, None),
            (_, next) => {
                if let Some(run) = open.take() {
                    let before = out.len();
                    write(&mut out, run, last);
                    if out.len() > room {
                        out.truncate(before);
                        return (out, Some(run.offset));
                    }
                    last = run;
                }
                open = next;
            }
        }
    }
}

fn write(out: &mut String, run: Run, last: Run) {
    let fields = [
        (run.offset - last.end()) as i64,
        run.count as i64,
        run.ago,
        run.invisible,
        i64::from(run.suspended),
    ];
    let before = [0, 1, last.ago, last.invisible, i64::from(last.suspended)];
    let used = (1..fields.len()).rev().find(|at| fields[*at] != before[*at]).unwrap_or(0);
    out.push_str(if out.is_empty() { "[" } else { ",[" });
    for (at, field) in fields[..=used].iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}{field}").expect("writing to a string cannot fail");
    }
    out.push(']');
}

fn read(entry: &[i64], last: Run) -> Option<Run> {
    if entry.is_empty() || entry.len() > 5 {
        return None;
    }
    let field = |at: usize, else_: i64| entry.get(at).copied().unwrap_or(else_);
    let offset = last.end().checked_add(u64::try_from(entry[0]).ok()?)?;
    let count = u64::try_from(field(1, 1)).ok().filter(|count| *count > 0)?;
    // The highest offsets are nobody's, and would not fit beside their flags.
    offset.checked_add(count).filter(|end| *end < 1 << 62)?;
    let suspended = match field(4, i64::from(last.suspended)) {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Run { offset, count, ago: field(2, last.ago), invisible: field(3, last.invisible), suspended })
}

#[cfg(test)]
mod tests;
