//! Replies as values that can be compared: what must differ between two servers is replaced by its kind.

use crate::common::{fastjson, remoting::Reply};
use halley_model::{property, record::RecordView};
use halley_wire::pop::{ExtraInfo, ORDER_REVIVE_QUEUE};
use serde_json::{Map, Value, json};
use std::{fmt, net::SocketAddr};

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) namesrv: SocketAddr,
    pub(crate) broker: SocketAddr,
}

/// One place where the answers to one request differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// `script/case`.
    pub(crate) case: String,
    /// As `code`, `remark`, `ext.offset` or `body.0.queueId`.
    pub(crate) path: String,
    /// `null` where the oracle has nothing there.
    pub(crate) oracle: Value,
    pub(crate) halley: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, path, oracle, halley } = self;
        write!(f, "{case}: {path}\n    RocketMQ {oracle}\n    Halley   {halley}")
    }
}

/// Where the two values differ, member by member.
pub(crate) fn differences(case: &str, oracle: &Value, halley: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    collect(case, String::new(), oracle, halley, &mut found);
    found
}

fn collect(case: &str, path: String, oracle: &Value, halley: &Value, found: &mut Vec<Difference>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (oracle, halley) {
        (Value::Object(left), Value::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            let mut names: Vec<_> = names.collect();
            names.sort();
            for name in names {
                let member = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                collect(case, below(name), &member(left), &member(right), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if is_set(left) && is_set(right) => {
            for (of, other) in [(left, right), (right, left)] {
                for missing in of.iter().filter(|element| !other.contains(element)) {
                    let (oracle, halley) = if of == left {
                        (missing.clone(), Value::Null)
                    } else {
                        (Value::Null, missing.clone())
                    };
                    let path = below(missing.as_str().unwrap_or_default());
                    found.push(Difference { case: case.to_owned(), path, oracle, halley });
                }
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for at in 0..left.len().max(right.len()) {
                let element = |of: &[Value]| of.get(at).cloned().unwrap_or_default();
                collect(case, below(&at.to_string()), &element(left), &element(right), found);
            }
        }
        _ if oracle == halley => {}
        _ => {
            let (case, oracle, halley) = (case.to_owned(), oracle.clone(), halley.clone());
            found.push(Difference { case, path, oracle, halley });
        }
    }
}

/// Lists of texts are sets: names of topics, client ids.
fn is_set(elements: &[Value]) -> bool {
    !elements.is_empty() && elements.iter().all(Value::is_string)
}

/// The reply with addresses, times, message ids and log offsets replaced.
pub(crate) fn comparable(request_code: i32, reply: &Reply, addresses: &Addresses) -> Value {
    let body = match request_code {
        _ if reply.body.is_empty() => Value::Null,
        11 | 12 | 33 | 361 | 200_050 | 200_070 => messages(&reply.body),
        _ => fastjson::parse(&reply.body)
            .map_or_else(|| Value::String(String::from_utf8_lossy(&reply.body).into_owned()), sorted),
    };
    let remark = reply.remark.as_deref().map(plain_remark);
    let mut ext = reply.ext.clone();
    if let Some(queue) = ext.get_mut("reviveQid").filter(|queue| **queue != ORDER_REVIVE_QUEUE.to_string()) {
        *queue = "<revive queue>".to_owned();
    }
    masked(json!({"code": reply.code, "remark": remark, "ext": ext, "body": body}), addresses)
}

/// The remark without what only says where in RocketMQ's sources it was made: the exception's class and its place
/// (`RemotingHelper.exceptionSimpleDesc`, 5.5), and links to its manual (`FAQUrl.suggestTodo`).
fn plain_remark(remark: &str) -> &str {
    let remark = remark.split("\nSee https://rocketmq.apache.org/").next().unwrap_or_default();
    let remark = remark.trim_end_matches([' ', ',']);
    let remark = match remark.split_once("Exception: ") {
        Some((class, text)) if !class.contains(' ') => text,
        _ => remark,
    };
    let place = remark.rfind(", ").filter(|at| remark[*at..].contains(".java:"));
    place.map_or(remark, |at| &remark[..at])
}

/// Sets and maps have no order on the wire.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(elements) => {
            let mut elements: Vec<_> = elements.into_iter().map(sorted).collect();
            elements.sort_by_cached_key(Value::to_string);
            Value::Array(elements)
        }
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, sorted(value))).collect(),
        other => other,
    }
}

/// Stored messages, with what is the same wherever they are stored.
fn messages(mut body: &[u8]) -> Value {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let record = match RecordView::parse(body) {
            Ok(record) => record,
            Err(error) => return Value::String(format!("not messages: {error}")),
        };
        let properties: Map<String, Value> = property::iter(record.properties())
            .map(|(name, value)| (name.to_owned(), property_value(name, value).into()))
            .collect();
        messages.push(json!({
            "topic": record.topic(),
            "queueId": record.queue(),
            "queueOffset": record.queue_offset(),
            "flag": record.flag(),
            "sysFlag": record.system_flag(),
            "born": record.born(),
            "reconsumeTimes": record.reconsume_times(),
            "preparedOffset": record.prepared_offset(),
            "bodyCrc": record.body_crc(),
            "body": String::from_utf8_lossy(record.body()),
            "properties": properties,
        }));
        body = &body[record.total_len()..];
    }
    Value::Array(messages)
}

/// Of a popped message's handle, without when it was popped and the revive queue, of which brokers take the next.
fn property_value(name: &str, value: &str) -> String {
    match ExtraInfo::parse(value) {
        Ok(handle) if name == property::POP_RECEIPT && !handle.is_ordered() => {
            ExtraInfo { pop_time: 0, revive_queue: 0, ..handle }.to_string()
        }
        Ok(handle) if name == property::POP_RECEIPT => ExtraInfo { pop_time: 0, ..handle }.to_string(),
        _ => value.to_owned(),
    }
}

fn masked(value: Value, addresses: &Addresses) -> Value {
    match value {
        Value::Object(members) => {
            let mask = |(name, value): (String, Value)| {
                let value = if name == "delayTime" && value.as_i64().is_some_and(is_moment) {
                    "<moment>".into()
                } else {
                    masked(value, addresses)
                };
                (masked_text(name, addresses), value)
            };
            members.into_iter().map(mask).collect()
        }
        Value::Array(elements) => elements.into_iter().map(|value| masked(value, addresses)).collect(),
        Value::String(text) => Value::String(masked_text(text, addresses)),
        Value::Number(number) if number.as_i64().is_some_and(is_recent) => "<time>".into(),
        other => other,
    }
}

fn masked_text(text: String, addresses: &Addresses) -> String {
    if text.parse().is_ok_and(is_recent) {
        return "<time>".to_owned();
    }
    // Of addresses in IPv4 or IPv6.
    let is_id = |id: &str| [32, 56].contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.split(',').all(is_id) {
        return vec!["<id>"; text.split(',').count()].join(",");
    }
    let text = text.replace(&addresses.broker.to_string(), "<broker>");
    let text = text.replace(&addresses.namesrv.to_string(), "<namesrv>");
    let Some(at) = text.find("127.0.0.1:") else { return text };
    let (before, port) = text.split_at(at);
    let after = port["127.0.0.1:".len()..].trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{before}<peer>{after}")
}

/// Whether so many milliseconds may have passed since an earlier request.
fn is_moment(number: i64) -> bool {
    (1..600_000).contains(&number)
}

/// Whether a number is a time of this century's second decade or later, in milliseconds; times that cases give are before.
fn is_recent(number: i64) -> bool {
    const YEAR_2026_MS: i64 = 1_767_225_600_000;
    const YEAR_2100_MS: i64 = 4_102_444_800_000;
    (YEAR_2026_MS..YEAR_2100_MS).contains(&number)
}
