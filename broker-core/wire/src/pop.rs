//! The texts of POP: handles of messages, and what a reply says of the messages in it (`ExtraInfoUtil`, RocketMQ 5.5).
//!
//! A handle (`extraInfo`, property `POP_CK`) is what a client brings back to acknowledge a message: eight values
//! between spaces,
//! ```text
//! startOffset popTime invisibleTime reviveQueue retry broker queue offset
//! ```
//! of which clients of old send the first seven. A reply names the messages of each queue in three lists, entries
//! between semicolons, values between spaces:
//! ```text
//! startOffsetInfo   retry queue startOffset
//! msgOffsetInfo     retry queue offset,offset,…
//! orderCountInfo    retry queue count          how often the queue's messages were given before, at least
//!                   retry qo<queue>%<offset> count   of one message
//! ```

use std::fmt::{self, Write as _};

/// The revive queue of messages that are consumed in order (`KeyBuilder.POP_ORDER_REVIVE_QUEUE`).
pub const ORDER_REVIVE_QUEUE: i32 = 999;

/// Between the prefix with the group and the topic in the name of a retry topic.
const SEPARATORS: [(Retry, char); 2] = [(Retry::V1, '_'), (Retry::V2, '+')];

/// Kinds of topics that a group pops from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// "0": the topic itself.
    Normal,
    /// "1": `%RETRY%group_topic`.
    V1,
    /// "2": `%RETRY%group+topic`.
    V2,
}

impl Retry {
    /// What a topic's name says (`ExtraInfoUtil.getRetry`).
    pub fn of(topic: &str) -> Self {
        match topic.starts_with(halley_model::name::RETRY_PREFIX) {
            false => Self::Normal,
            true if topic.contains('+') => Self::V2,
            true => Self::V1,
        }
    }

    /// The topic that is really meant where a client names `topic` and this kind (`ExtraInfoUtil.getRealTopic`).
    pub fn real_topic(self, topic: &str, group: &str) -> String {
        let separator = SEPARATORS.iter().find(|(retry, _)| *retry == self).map(|(_, separator)| separator);
        match separator {
            None => topic.to_owned(),
            Some(separator) => {
                format!("{}{group}{separator}{topic}", halley_model::name::RETRY_PREFIX)
            }
        }
    }

    /// The topic itself of a retry topic of `group` (`KeyBuilder.parseNormalTopic`), or of itself.
    pub fn topic_of<'t>(topic: &'t str, group: &str) -> &'t str {
        let rest =
            topic.strip_prefix(halley_model::name::RETRY_PREFIX).and_then(|rest| rest.strip_prefix(group));
        rest.and_then(|rest| rest.strip_prefix(['+', '_'])).unwrap_or(topic)
    }

    /// The mark on the wire.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Normal => "0",
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }

    /// The kind of a mark.
    pub fn of_mark(mark: &str) -> Option<Self> {
        [Self::Normal, Self::V1, Self::V2].into_iter().find(|retry| retry.mark() == mark)
    }
}

/// The handle of a popped message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraInfo<'a> {
    /// The first offset of the pop that gave it.
    pub start_offset: i64,
    /// When it was given, milliseconds.
    pub pop_time: i64,
    /// How long it is hidden from others, milliseconds.
    pub invisible_time: i64,
    /// Which revive queue RocketMQ would use; [`ORDER_REVIVE_QUEUE`] says that the message is consumed in order.
    pub revive_queue: i32,
    /// The kind of topic.
    pub retry: Retry,
    /// The broker.
    pub broker_name: &'a str,
    /// The queue, from clients that say so.
    pub queue_id: Option<i32>,
    /// The message's offset, from clients that say so.
    pub queue_offset: Option<i64>,
}

/// A handle is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraInfoError {
    /// It breaks off.
    #[error("the handle has {found} values, at least 6 are needed: {text:?}")]
    Short {
        /// values there are
        found: usize,
        /// the handle, shortened
        text: String,
    },
    /// A value is not what it should be.
    #[error("value {at} of the handle is {value:?}, expected {expected}")]
    Value {
        /// its position, from 0
        at: usize,
        /// the value, shortened
        value: String,
        /// what it should be
        expected: &'static str,
    },
}

impl<'a> ExtraInfo<'a> {
    /// Reads a handle.
    pub fn parse(text: &'a str) -> Result<Self, ExtraInfoError> {
        let mut values = [""; 8];
        let mut found = 0;
        for (value, part) in values.iter_mut().zip(text.split(' ')) {
            *value = part;
            found += 1;
        }
        if found < 6 {
            return Err(ExtraInfoError::Short { found, text: shortened(text) });
        }
        let long =
            |at: usize| values[at].parse::<i64>().map_err(|_| wrong(at, values[at], "a 64-bit integer"));
        let int =
            |at: usize| values[at].parse::<i32>().map_err(|_| wrong(at, values[at], "a 32-bit integer"));
        Ok(Self {
            start_offset: long(0)?,
            pop_time: long(1)?,
            invisible_time: long(2)?,
            revive_queue: int(3)?,
            retry: Retry::of_mark(values[4]).ok_or_else(|| wrong(4, values[4], "0, 1 or 2"))?,
            broker_name: values[5],
            queue_id: if found > 6 { Some(int(6)?) } else { None },
            queue_offset: if found > 7 { Some(long(7)?) } else { None },
        })
    }

    /// Whether the message is consumed in order.
    pub fn is_ordered(&self) -> bool {
        self.revive_queue == ORDER_REVIVE_QUEUE
    }
}

impl fmt::Display for ExtraInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.start_offset, self.pop_time, self.invisible_time)?;
        write!(f, "{} {} {}", self.revive_queue, self.retry.mark(), self.broker_name)?;
        if let Some(queue) = self.queue_id {
            write!(f, " {queue}")?;
            if let Some(offset) = self.queue_offset {
                write!(f, " {offset}")?;
            }
        }
        Ok(())
    }
}

#[cold]
fn wrong(at: usize, value: &str, expected: &'static str) -> ExtraInfoError {
    ExtraInfoError::Value { at, value: shortened(value), expected }
}

fn shortened(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 64;
    text.chars().take(SHOWN_CHARACTERS).collect()
}

/// The three lists of a reply while they are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetInfo {
    /// `startOffsetInfo`.
    pub start: String,
    /// `msgOffsetInfo`.
    pub messages: String,
    /// `orderCountInfo`.
    pub order_counts: String,
}

impl OffsetInfo {
    /// Names the messages popped from one queue.
    pub fn push(&mut self, retry: Retry, queue: u32, start: u64, offsets: impl IntoIterator<Item = u64>) {
        write(&mut self.start, format_args!("{} {queue} {start}", retry.mark()));
        write(&mut self.messages, format_args!("{} {queue} ", retry.mark()));
        let mut comma = "";
        for offset in offsets {
            write!(self.messages, "{comma}{offset}").expect("a string takes everything");
            comma = ",";
        }
    }

    /// Says how often one message was given before.
    pub fn push_message_count(&mut self, retry: Retry, queue: u32, offset: u64, count: u32) {
        write(&mut self.order_counts, format_args!("{} qo{queue}%{offset} {count}", retry.mark()));
    }

    /// Says how often each message of the queue was given before, at least.
    pub fn push_queue_count(&mut self, retry: Retry, queue: u32, count: u32) {
        write(&mut self.order_counts, format_args!("{} {queue} {count}", retry.mark()));
    }
}

fn write(list: &mut String, entry: fmt::Arguments<'_>) {
    if !list.is_empty() {
        list.push(';');
    }
    list.write_fmt(entry).expect("a string takes everything");
}

/// One queue's messages in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueOffsets {
    /// The kind of topic.
    pub retry: Retry,
    /// The queue.
    pub queue: u32,
    /// Where the pop began.
    pub start: u64,
    /// The messages, in order.
    pub offsets: Vec<u64>,
}

/// Reads `startOffsetInfo` and `msgOffsetInfo` as clients do; `None` where they are not what they should be.
pub fn parse_offset_info(start: &str, messages: &str) -> Option<Vec<QueueOffsets>> {
    if start.is_empty() && messages.is_empty() {
        return Some(Vec::new());
    }
    let starts: Vec<&str> = start.split(';').collect();
    let messages: Vec<&str> = messages.split(';').collect();
    if starts.len() != messages.len() {
        return None;
    }
    starts.iter().zip(&messages).map(|(start, messages)| queue_offsets(start, messages)).collect()
}

fn queue_offsets(start: &str, messages: &str) -> Option<QueueOffsets> {
    let (retry, queue, start) = three(start)?;
    let (same_retry, same_queue, offsets) = three(messages)?;
    if (retry, queue) != (same_retry, same_queue) {
        return None;
    }
    Some(QueueOffsets {
        retry: Retry::of_mark(retry)?,
        queue: queue.parse().ok()?,
        start: start.parse().ok()?,
        offsets: offsets.split(',').map(|offset| offset.parse().ok()).collect::<Option<_>>()?,
    })
}

fn three(entry: &str) -> Option<(&str, &str, &str)> {
    let mut values = entry.split(' ');
    let three = (values.next()?, values.next()?, values.next()?);
    values.next().is_none().then_some(three)
}

#[cfg(test)]
mod tests;
