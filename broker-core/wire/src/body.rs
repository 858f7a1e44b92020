//! JSON bodies of replies (and their readers, for our own client): members sorted and nulls left out, as fastjson has it.

pub mod cluster;
pub mod consumers;
pub mod locks;
pub mod route;
pub mod topics;

pub use cluster::ClusterInfo;
pub use route::{BrokerData, QueueData, TopicRoute};

use crate::encode::{put_decimal, put_json_text};

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

    fn integer_member(&mut self, name: u64, keys: IntegerKeys) {
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

#[cfg(test)]
mod tests;
