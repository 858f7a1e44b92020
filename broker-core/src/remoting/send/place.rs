//! Where a message is stored, and what the broker adds to its properties.

use crate::{answers::Refusal, clock, identity::Identity};
use halley_machine::{
    delay::{Due, TIMER_TOPIC},
    lite,
    transactions::HALF_TOPIC,
};
use halley_model::{Millis, QueueId, TopicConfig, id, property};
use halley_wire::ResponseCode;
use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

/// Where a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In its own topic.
    Own,
    /// With the messages that are not due.
    Waiting(Due),
    /// With the half messages.
    Half,
}

impl Place {
    /// The topic and queue of a message that belongs to `own`.
    pub(super) fn of(self, own: (&str, QueueId)) -> (&str, QueueId) {
        match self {
            Self::Own => own,
            Self::Waiting(_) => (TIMER_TOPIC, 0),
            Self::Half => (HALF_TOPIC, 0),
        }
    }
}

/// Which properties that the broker cares for one pass over a message's finds. Most messages have none but the first.
#[derive(Debug, Default)]
struct Seen {
    unique_key: bool,
    replaced: bool,
    delayed: bool,
    transaction: bool,
    sharded: bool,
    priority: bool,
    dispatched: bool,
    lite: bool,
}

impl Seen {
    fn of(properties: &[u8]) -> Self {
        let mut seen = Self::default();
        for (key, value) in property::iter(properties) {
            match key {
                property::UNIQUE_KEY => seen.unique_key |= !value.is_empty(),
                key if is_replaced(key) => seen.replaced = true,
                property::DELAY_LEVEL
                | property::TIMER_DELIVER_MS
                | property::TIMER_DELAY_MS
                | property::TIMER_DELAY_SEC => seen.delayed = true,
                property::TRANSACTION_PREPARED => seen.transaction = true,
                property::SHARDING_KEY => seen.sharded = true,
                property::PRIORITY => seen.priority = true,
                property::MULTI_DISPATCH => seen.dispatched = true,
                property::LITE_TOPIC => seen.lite = true,
                _ => {}
            }
        }
        seen
    }
}

/// Where a message is stored, in which queue of its topic, and where its properties are in the buffer.
pub(super) struct Completed {
    pub(super) place: Place,
    pub(super) queue: QueueId,
    pub(super) properties: Range<usize>,
    /// It names light queues.
    pub(super) dispatched: bool,
}

/// Completes the properties of a message in `buffer`, from `start` on, and says where it is stored
/// (`SendMessageProcessor.sendMessage`, `HookUtils`, `TransactionalMessageBridge.parseHalfMessageInner`, 5.5).
pub(super) fn complete(
    identity: &Identity,
    topic: &TopicConfig,
    queue: QueueId,
    reconsume_times: i32,
    buffer: &mut Vec<u8>,
    start: usize,
) -> Result<Completed, Refusal> {
    let mut seen = Seen::of(&buffer[start..]);
    if seen.lite {
        seen.dispatched |= name_lite_queue(topic, buffer, start);
    }
    let queue = if seen.priority { by_priority(&seen, topic, queue, buffer, start) } else { queue };
    let own = (&*topic.name, queue);
    if seen.replaced {
        let given = buffer.split_off(start);
        property::copy_where(&given, buffer, |key| !is_replaced(key));
    }
    end_pair(buffer, start);
    let now = clock::now();
    if !seen.unique_key {
        property::push(buffer, property::UNIQUE_KEY, &unique_key(identity, now));
    }
    stamp(identity, buffer);
    let due = if seen.delayed { due(&buffer[start..], now)? } else { Due::Now };
    if seen.transaction && begins_transaction(&buffer[start..], reconsume_times, due) {
        let properties = detour(buffer, start, |given, out| half(given, own, out));
        return Ok(Completed { place: Place::Half, queue, properties, dispatched: false });
    }
    if due == Due::Now {
        let (properties, dispatched) = (start..buffer.len(), seen.dispatched);
        return Ok(Completed { place: Place::Own, queue, properties, dispatched });
    }
    let properties = detour(buffer, start, |given, out| due.detour(given, own.0, own.1, now, out));
    Ok(Completed { place: Place::Waiting(due), queue, properties, dispatched: false })
}

/// Names the light queue of a message's lite topic, whatever its topic is for (`SendMessageProcessor.sendMessage`, 5.5).
fn name_lite_queue(topic: &TopicConfig, buffer: &mut Vec<u8>, start: usize) -> bool {
    let lite = property::get(&buffer[start..], property::LITE_TOPIC);
    let Some(queue) = lite.and_then(|lite| lite::queue_of(&topic.name, lite)) else { return false };
    detour(buffer, start, |given, out| {
        property::copy_where(given, out, |key| key != property::MULTI_DISPATCH);
        property::push(out, property::MULTI_DISPATCH, &queue);
    });
    true
}

/// The queue of a message with a priority, whatever its topic is for. What is of another kind has none
/// (`TopicMessageType.parseFromMessageProperty`, 5.5).
fn by_priority(
    seen: &Seen,
    topic: &TopicConfig,
    queue: QueueId,
    buffer: &mut Vec<u8>,
    start: usize,
) -> QueueId {
    let given = &buffer[start..];
    let priority = property::get(given, property::PRIORITY).and_then(|value| value.parse::<i32>().ok());
    let Some(priority) = priority.and_then(|priority| u32::try_from(priority).ok()) else { return queue };
    let transaction = property::get(given, property::TRANSACTION_PREPARED)
        .is_some_and(|prepared| prepared.eq_ignore_ascii_case("true"));
    if seen.delayed || seen.sharded || transaction {
        detour(buffer, start, |given, out| property::copy_where(given, out, |key| key != property::PRIORITY));
        return queue;
    }
    priority.min(topic.write_queues.saturating_sub(1))
}

/// Appends what every message of a client gets. Consumers trace only messages that have a region
/// (`AbstractSendMessageProcessor.buildMsgContext`, `AsyncTraceDispatcher`, 5.5).
fn stamp(identity: &Identity, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(b"MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02");
    property::push(buffer, property::CLUSTER, &identity.cluster);
}

/// Whether what a client says is not kept.
fn is_replaced(key: &str) -> bool {
    matches!(key, property::CLUSTER | property::POP_RECEIPT | property::REGION | property::TRACE_SWITCH)
}

/// Clients before 4.6.1 leave the mark of a transaction on messages that are tried again.
fn begins_transaction(properties: &[u8], reconsume_times: i32, due: Due) -> bool {
    let prepared = property::get(properties, property::TRANSACTION_PREPARED);
    prepared.is_some_and(|prepared| prepared.eq_ignore_ascii_case("true"))
        && !(reconsume_times > 0 && matches!(due, Due::Level(_)))
}

fn due(properties: &[u8], now: Millis) -> Result<Due, Refusal> {
    Due::of(properties, now).map_err(|error| Refusal::new(ResponseCode::MessageIllegal, error.to_string()))
}

/// Replaces the properties from `start` on by what `rewrite` makes of them.
fn detour(buffer: &mut Vec<u8>, start: usize, rewrite: impl FnOnce(&[u8], &mut Vec<u8>)) -> Range<usize> {
    let given = buffer.split_off(start);
    rewrite(&given, buffer);
    start..buffer.len()
}

fn half(given: &[u8], own: (&str, QueueId), out: &mut Vec<u8>) {
    const SET: [&str; 3] = [property::REAL_TOPIC, property::REAL_QUEUE, property::TRANSACTION_ID];
    property::copy_where(given, out, |key| !SET.contains(&key));
    if let Some(unique) = property::get(given, property::UNIQUE_KEY) {
        property::push(out, property::TRANSACTION_ID, unique);
    }
    property::push(out, property::REAL_TOPIC, own.0);
    property::push(out, property::REAL_QUEUE, &own.1.to_string());
}

/// Closes the last pair, which clients may leave open, so that another may follow.
fn end_pair(buffer: &mut Vec<u8>, start: usize) {
    if buffer.len() > start && buffer.last() != Some(&property::VALUE_END) {
        buffer.push(property::VALUE_END);
    }
}

/// The unique key of a message that a client sent without one.
fn unique_key(identity: &Identity, now: Millis) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    id::unique_key(identity.address, std::process::id(), now, NEXT.fetch_add(1, Ordering::Relaxed))
}
