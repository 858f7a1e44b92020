//! How many requests of which kind came from which client.

use halley_wire::{Frame, language};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Most kinds of clients, by language and version, that are told apart; both are the client's own words. Further ones
/// count as version −1 of the language OTHER.
const CLIENTS_MAX: usize = 64;

/// A kind of client: what its requests say of it.
type Client = (u8, i32);

/// The counters of all connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestCounts {
    family: Family<Labels, Counter>,
    clients: Arc<Mutex<BTreeSet<Client>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    role: &'static str,
    code: i32,
    request: &'static str,
    language: &'static str,
    version: i32,
}

/// A request's kind as the one who serves it knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// `broker` or `name_server`.
    pub(crate) role: &'static str,
    /// Its name; `None` for codes that are not served, all of which are counted as code −1.
    pub(crate) name: Option<&'static str>,
}

impl RequestCounts {
    /// Makes the counters known under their name.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("halley_remoting_requests", "Remoting requests handled", self.family.clone());
    }

    fn counter(&self, kind: Kind, code: i32, client: Client) -> Counter {
        let (language, version) = self.known(client);
        let (code, request) = kind.name.map_or((-1, "unknown"), |name| (code, name));
        let labels = Labels { role: kind.role, code, request, language: language::name(language), version };
        self.family.get_or_create(&labels).clone()
    }

    fn known(&self, client: Client) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.contains(&client) || clients.len() < CLIENTS_MAX {
            clients.insert(client);
            client
        } else {
            (language::OTHER, -1)
        }
    }
}

/// A connection's way to its counters: it finds each only once.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counters: Vec<(i32, Client, Counter)>,
}

/// A connection knows this many counters at a time; the ordinary client needs ten.
const TALLY_MAX: usize = 64;

impl Tally {
    /// Counts a request; `kind` is asked only when the connection sends the first of its kind.
    pub(crate) fn count(&mut self, counts: &RequestCounts, frame: &Frame<'_>, kind: impl FnOnce() -> Kind) {
        let client = (frame.language, frame.version);
        let known = self.counters.iter().find(|(code, of, _)| *code == frame.code && *of == client);
        if let Some((.., counter)) = known {
            counter.inc();
            return;
        }
        let counter = counts.counter(kind(), frame.code, client);
        counter.inc();
        if self.counters.len() == TALLY_MAX {
            self.counters.clear();
        }
        self.counters.push((frame.code, client, counter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use halley_wire::frame::{self, Limits};
    use prometheus_client::encoding::text::encode;

    fn count(tally: &mut Tally, counts: &RequestCounts, json: &str, name: Option<&'static str>) {
        let header = u32::try_from(json.len()).unwrap();
        let mut bytes = (header + 4).to_be_bytes().to_vec();
        bytes.extend_from_slice(&header.to_be_bytes());
        bytes.extend_from_slice(json.as_bytes());
        let (frame, _) = frame::decode(&bytes, &Limits::default()).unwrap().unwrap();
        tally.count(counts, &frame, || Kind { role: "broker", name });
    }

    fn text(counts: &RequestCounts) -> String {
        let mut registry = Registry::default();
        counts.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn requests_count_by_kind_and_client() {
        let counts = RequestCounts::default();
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for tally in [&mut one, &mut other] {
            count(tally, &counts, r#"{"code":310,"language":"JAVA","version":513}"#, Some("SendMessageV2"));
            count(tally, &counts, r#"{"code":310,"language":"GO","version":317}"#, Some("SendMessageV2"));
        }
        count(&mut one, &counts, r#"{"code":4711,"language":"GO","version":317}"#, None);
        let text = text(&counts);
        for line in [
            r#"halley_remoting_requests_total{role="broker",code="310",request="SendMessageV2",language="JAVA",version="513"} 2"#,
            r#"halley_remoting_requests_total{role="broker",code="310",request="SendMessageV2",language="GO",version="317"} 2"#,
            r#"halley_remoting_requests_total{role="broker",code="-1",request="unknown",language="GO",version="317"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn neither_invented_versions_nor_codes_grow_the_table() {
        let counts = RequestCounts::default();
        let mut tally = Tally::default();
        for number in 0..1_000 {
            let json = format!(r#"{{"code":{number},"language":"JAVA","version":{number}}}"#);
            count(&mut tally, &counts, &json, None);
        }
        let lines = text(&counts).lines().filter(|line| line.starts_with("halley")).count();
        assert_eq!(lines, CLIENTS_MAX + 1);
        assert!(tally.counters.len() <= TALLY_MAX);
        assert!(text(&counts).contains(r#"language="OTHER",version="-1"} 936"#));
    }
}
