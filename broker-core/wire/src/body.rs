//! JSON bodies of replies (and their readers, for our own client): members sorted and nulls left out, as fastjson has it.

pub mod assignment;
pub mod cluster;
pub mod connections;
pub mod consume_queue;
pub mod consumers;
pub mod figures;
pub mod group_config;
pub mod kv_configs;
pub mod lite;
pub mod locks;
pub mod members;
pub mod progress;
pub mod properties;
pub mod registration;
pub mod route;
pub mod static_topic;
pub mod topic_config;
pub mod topics;

pub use cluster::ClusterInfo;
pub use registration::Registration;
pub use route::{BrokerData, QueueData, TopicRoute};

use crate::{
    encode::{put_decimal, put_json_text},
    json::{self, BodyError},
    request::MessageQueue,
};
use halley_model::DataVersion;
use std::collections::BTreeMap;

/// A version as it stands in headers.
pub fn version_text(version: DataVersion) -> String {
    let DataVersion { counter, state_version, timestamp } = version;
    format!(r#"{{"counter":{counter},"stateVersion":{state_version},"timestamp":{timestamp}}}"#)
}

/// Reads a version from a header; `None` for what is none.
pub fn read_version(text: &str) -> Option<DataVersion> {
    serde_json::from_str(text).ok()
}

/// How integer keys of maps are written: standard JSON wants them quoted, but clients before 4.9.4 and the C++ client
/// are sent them bare, as fastjson's default is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerKeys {
    /// `{"0":"127.0.0.1:10911"}`
    Quoted,
    /// `{0:"127.0.0.1:10911"}`
    Bare,
}

/// Writes compact JSON. The Go client reads broker addresses by splitting text (`TopicRouteData.decode`, client-go 2.1.2),
/// so that no space may stand anywhere.
struct Writer {
    out: Vec<u8>,
    first: bool,
}

impl Writer {
    fn new() -> Self {
        Self { out: Vec::with_capacity(256), first: true }
    }

    fn finish(self) -> Vec<u8> {
        self.out
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = true;
    }

    fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = false;
    }

    /// Begins an element of an array.
    fn element(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// Begins a member of an object; its value follows.
    fn member(&mut self, name: &str) {
        self.element();
        put_json_text(&mut self.out, name);
        self.out.push(b':');
    }

    fn integer_member(&mut self, name: impl std::fmt::Display, keys: IntegerKeys) {
        self.element();
        let quote: &[u8] = match keys {
            IntegerKeys::Quoted => b"\"",
            IntegerKeys::Bare => b"",
        };
        self.out.extend_from_slice(quote);
        self.out.extend_from_slice(name.to_string().as_bytes());
        self.out.extend_from_slice(quote);
        self.out.push(b':');
    }

    fn text(&mut self, text: &str) {
        put_json_text(&mut self.out, text);
    }

    fn number(&mut self, number: impl Into<i64>) {
        put_decimal(&mut self.out, number.into());
    }

    /// As Java writes a `double` that is neither huge nor tiny.
    fn float(&mut self, number: f64) {
        self.out.extend_from_slice(format!("{number:?}").as_bytes());
    }

    /// A queue as it stands in bodies (`MessageQueue`).
    fn queue(&mut self, queue: &MessageQueue) {
        self.open(b'{');
        self.member("brokerName");
        self.text(&queue.broker_name);
        self.member("queueId");
        self.number(queue.queue_id);
        self.member("topic");
        self.text(&queue.topic);
        self.close(b'}');
    }

    fn version(&mut self, version: DataVersion) {
        self.out.extend_from_slice(version_text(version).as_bytes());
    }

    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        self.open(b'[');
        for text in texts {
            self.element();
            self.text(text);
        }
        self.close(b']');
    }
}

/// A version, also the whole answer to request 322.
pub fn version(version: halley_model::DataVersion) -> Vec<u8> {
    let mut json = Writer::new();
    write_version(&mut json, version);
    json.finish()
}

/// Reads the version that is the body of request 322, `None` for an empty body.
pub fn decode_version(body: &[u8]) -> Result<Option<halley_model::DataVersion>, BodyError> {
    if body.is_empty() { Ok(None) } else { json::body("data version", body) }
}

fn write_version(json: &mut Writer, version: halley_model::DataVersion) {
    json.open(b'{');
    for (name, number) in [
        ("counter", version.counter),
        ("stateVersion", version.state_version),
        ("timestamp", version.timestamp),
    ] {
        json.member(name);
        json.number(number);
    }
    json.close(b'}');
}

fn write_addresses(json: &mut Writer, addresses: &BTreeMap<u64, String>, keys: IntegerKeys) {
    json.open(b'{');
    for (id, address) in addresses {
        json.integer_member(*id, keys);
        json.text(address);
    }
    json.close(b'}');
}

#[cfg(test)]
mod tests;
