//! `server`: what the process is, where it stores and listens.

use super::{
    retention::{self, Retention},
    scrub::{self, Scrub},
    tls::{self, TlsSection},
};
use crate::{
    diagnostic::Diagnostic,
    read::{Problems, Table, integer, list, size, text, word},
    yaml::{Node, Value},
};
use std::net::{Ipv4Addr, SocketAddr};

/// Most name servers that a broker registers with.
const NAME_SERVERS_MAX: usize = 64;

/// Bytes of a file of the log, and the least and the most there can be: the longest group of messages must fit.
const SEGMENT_BYTES: u64 = 128 << 20;
const SEGMENT_BYTES_MIN: u64 = 16 << 20;
const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Bytes per second of all replays while producers send, and the least there can be.
const REPLAY: u64 = 128 << 20;
const REPLAY_MIN: u64 = 1 << 20;

/// The largest id of a broker among those of its name.
const BROKER_ID_MAX: u64 = i32::MAX as u64;

/// What the server is, where it stores and listens. Of a role that it does not have, the address is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The directory of the log; `None` leaves it to the command line.
    pub data: Option<String>,
    /// When an event counts as stored.
    pub durability: Durability,
    /// Largest size of a file of the log, in bytes.
    pub segment_bytes: u64,
    /// How much of the log is kept.
    pub retention: Retention,
    /// Most bytes per second that all who read old messages get together while producers send; `None` for any number.
    pub replay: Option<u64>,
    /// How what is stored is read again to find decay; `None` for not at all.
    pub scrub: Option<Scrub>,
    /// Remoting name server.
    pub namesrv: Option<SocketAddr>,
    /// Remoting broker. Without one there is no ingress, and no rule is served.
    pub broker: Option<SocketAddr>,
    /// The broker's address as clients are told it; the listening address where absent.
    pub advertise: Option<SocketAddr>,
    /// The broker's name.
    pub broker_name: String,
    /// Its id among the brokers of that name; 0 is the master.
    pub broker_id: u64,
    /// The cluster's name.
    pub cluster: String,
    /// Name servers elsewhere that the broker registers with, as `host:port`.
    pub register_at: Vec<String>,
    /// CloudEvents over HTTP.
    pub ingress: Option<SocketAddr>,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// TLS on the ports of name server and broker.
    pub tls: TlsSection,
}

/// When an event counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Handed to the operating system: outlives the process.
    Os,
    /// Synced to the disk: outlives a power cut.
    Sync,
}

impl Default for Server {
    /// The ecosystem's ports on loopback, synced.
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data: None,
            durability: Durability::Sync,
            segment_bytes: SEGMENT_BYTES,
            retention: Retention::default(),
            replay: Some(REPLAY),
            scrub: Some(Scrub::default()),
            namesrv: Some(local(9876)),
            broker: Some(local(10911)),
            advertise: None,
            broker_name: "broker-a".to_owned(),
            broker_id: 0,
            cluster: "DefaultCluster".to_owned(),
            register_at: Vec::new(),
            ingress: Some(local(8080)),
            admin: local(9090),
            tls: TlsSection::default(),
        }
    }
}

impl Server {
    /// The listeners that others than this machine reach, by the key that sets them.
    pub fn exposed(&self) -> Vec<(&'static str, SocketAddr)> {
        let listeners = [
            ("server.namesrv.listen", self.namesrv),
            ("server.broker.listen", self.broker),
            ("server.ingress.listen", self.ingress),
            ("server.admin.listen", Some(self.admin)),
        ];
        let there = listeners.into_iter().filter_map(|(key, address)| Some((key, address?)));
        there.filter(|(_, address)| !address.ip().is_loopback()).collect()
    }
}

/// `os` or `sync`.
pub(super) fn durability(node: &Node, problems: &mut Problems) -> Option<Durability> {
    word(node, &[("os", Durability::Os), ("sync", Durability::Sync)], problems)
}

pub(super) fn read(node: Option<&Node>, problems: &mut Problems) -> Server {
    let mut server = Server::default();
    let Some(node) = node else { return server };
    let mut table = Table::of(node, problems);
    server.data = table.get("data").and_then(|node| text(node, problems));
    if let Some(found) = table.get("durability").and_then(|node| durability(node, problems)) {
        server.durability = found;
    }
    if let Some(bytes) =
        table.get("segment").and_then(|node| size(node, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX, problems))
    {
        server.segment_bytes = bytes;
    }
    if let Some(node) = table.get("retention") {
        server.retention = retention::read(node, problems);
    }
    if let Some(node) = table.get("replay") {
        server.replay = if is(node, "any") { None } else { size(node, REPLAY_MIN, u64::MAX, problems) };
    }
    if let Some(node) = table.get("scrub") {
        server.scrub = scrub::read(node, problems);
    }
    let namesrv = table.get("namesrv");
    listener(namesrv, &mut server.namesrv, problems);
    if let Some(node) = table.get("broker")
        && !turned_off(node, &mut server.broker)
    {
        read_broker(node, &mut server, problems);
    }
    if namesrv.is_none() && !server.register_at.is_empty() {
        // Who has name servers elsewhere needs none here, unless the file says so.
        server.namesrv = None;
    }
    let ingress = table.get("ingress");
    listener(ingress, &mut server.ingress, problems);
    if let Some(admin) = table.get("admin") {
        let mut table = Table::of(admin, problems);
        listen(&mut table, &mut server.admin, problems);
        table.finish(problems);
    }
    if let Some(node) = table.get("tls") {
        server.tls = tls::read(node, problems);
    }
    if server.broker.is_none() {
        if let Some(node) = ingress.filter(|_| server.ingress.is_some()) {
            let message = "the ingress stores events in the broker of its process, and `broker` is false";
            problems.push(Diagnostic::new(node.at, message));
        }
        server.ingress = None;
        if server.namesrv.is_none() {
            problems
                .push(Diagnostic::new(node.at, "neither a name server nor a broker: nothing is left to run"));
        }
    }
    table.finish(problems);
    server
}

fn read_broker(node: &Node, server: &mut Server, problems: &mut Problems) {
    let mut table = Table::of(node, problems);
    if let Some(broker) = &mut server.broker {
        listen(&mut table, broker, problems);
    }
    server.advertise = table.get("advertise").and_then(|node| address(node, problems));
    for (key, name) in [("name", &mut server.broker_name), ("cluster", &mut server.cluster)] {
        if let Some(node) = table.get(key)
            && let Some(found) = text(node, problems)
            && super::check_name(key, &found, node.at, problems)
        {
            *name = found;
        }
    }
    if let Some(id) = table.get("id").and_then(|node| integer(node, 0, BROKER_ID_MAX, problems)) {
        server.broker_id = id;
    }
    if let Some(node) = table.get("namesrv") {
        let peers = list(node, problems);
        if peers.len() > NAME_SERVERS_MAX {
            let message = format!("{} name servers, at most {NAME_SERVERS_MAX} are possible", peers.len());
            problems.push(Diagnostic::new(node.at, message));
        }
        server.register_at = peers.iter().filter_map(|peer| host_and_port(peer, problems)).collect();
    }
    if server.broker.is_some_and(|broker| broker.ip().is_unspecified()) && server.advertise.is_none() {
        let message = "a broker that listens on all addresses must be told which one clients reach it by";
        problems
            .push(Diagnostic::new(node.at, message).help("set `advertise: ADDRESS:PORT` beside `listen`"));
    }
    table.finish(problems);
}

/// A section that is `false` turns its role off.
fn turned_off(node: &Node, listen: &mut Option<SocketAddr>) -> bool {
    let off = matches!(&node.value, Value::Text { text, quoted: false } if text == "false");
    if off {
        *listen = None;
    }
    off
}

/// Whether this word stands there.
pub(super) fn is(node: &Node, word: &str) -> bool {
    text(node, &mut Problems::new()).is_some_and(|text| text == word)
}

/// The name of a machine or its address, and a port.
fn host_and_port(node: &Node, problems: &mut Problems) -> Option<String> {
    let written = text(node, problems)?;
    let fine = written.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !fine {
        let message = format!("`{written}` is not a host and port such as `names.example.org:9876`");
        problems.push(Diagnostic::new(node.at, message));
    }
    fine.then_some(written)
}

/// A section of which `listen` is all, or that is `false`.
fn listener(node: Option<&Node>, into: &mut Option<SocketAddr>, problems: &mut Problems) {
    let Some(node) = node.filter(|node| !turned_off(node, into)) else { return };
    let mut table = Table::of(node, problems);
    if let Some(into) = into {
        listen(&mut table, into, problems);
    }
    table.finish(problems);
}

fn listen(table: &mut Table<'_>, into: &mut SocketAddr, problems: &mut Problems) {
    if let Some(found) = table.get("listen").and_then(|node| address(node, problems)) {
        *into = found;
    }
}

fn address(node: &Node, problems: &mut Problems) -> Option<SocketAddr> {
    let written = text(node, problems)?;
    let parsed = written.replacen("localhost:", "127.0.0.1:", 1).parse();
    if parsed.is_err() {
        let message =
            format!("`{written}` is not an address and port such as `127.0.0.1:8080` or `[::1]:8080`");
        problems.push(Diagnostic::new(node.at, message));
    }
    parsed.ok()
}
