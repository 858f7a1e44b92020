//! Where a message is stored, and what the broker adds to its properties.

use crate::{answers::Refusal, clock, identity::Identity};
use halley_machine::{
    delay::{Due, TIMER_TOPIC},
    transactions::HALF_TOPIC,
};
use halley_model::{Millis, QueueId, id, property};
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
                _ => {}
            }
        }
        seen
    }
}

/// Completes the properties of a message in `buffer`, from `start` on, and says where it is stored
/// (`SendMessageProcessor.sendMessage`, `HookUtils`, `TransactionalMessageBridge.parseHalfMessageInner`, 5.5).
pub(super) fn complete(
    identity: &Identity,
    own: (&str, QueueId),
    reconsume_times: i32,
    buffer: &mut Vec<u8>,
    start: usize,
) -> Result<(Place, Range<usize>), Refusal> {
    let seen = Seen::of(&buffer[start..]);
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
        return Ok((Place::Half, detour(buffer, start, |given, out| half(given, own, out))));
    }
    if due == Due::Now {
        return Ok((Place::Own, start..buffer.len()));
    }
    Ok((Place::Waiting(due), detour(buffer, start, |given, out| due.detour(given, own.0, own.1, now, out))))
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
