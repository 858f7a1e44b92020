//! `server`: where to store and listen.

use crate::{
    diagnostic::Diagnostic,
    read::{Problems, Table, text, word},
    yaml::Node,
};
use std::net::{Ipv4Addr, SocketAddr};

/// Where the server stores and listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The directory of the log; `None` leaves it to the command line.
    pub data: Option<String>,
    /// When an event counts as stored.
    pub durability: Durability,
    /// Remoting name server.
    pub namesrv: SocketAddr,
    /// Remoting broker.
    pub broker: SocketAddr,
    /// The broker's address as clients are told it; the listening address where absent.
    pub advertise: Option<SocketAddr>,
    /// The broker's name.
    pub broker_name: String,
    /// The cluster's name.
    pub cluster: String,
    /// CloudEvents over HTTP.
    pub ingress: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
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
            namesrv: local(9876),
            broker: local(10911),
            advertise: None,
            broker_name: "broker-a".to_owned(),
            cluster: "DefaultCluster".to_owned(),
            ingress: local(8080),
            admin: local(9090),
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
            ("server.admin.listen", self.admin),
        ];
        listeners.into_iter().filter(|(_, address)| !address.ip().is_loopback()).collect()
    }
}

pub(super) fn read(node: Option<&Node>, problems: &mut Problems) -> Server {
    let mut server = Server::default();
    let Some(node) = node else { return server };
    let mut table = Table::of(node, problems);
    server.data = table.get("data").and_then(|node| text(node, problems));
    let durabilities = [("os", Durability::Os), ("sync", Durability::Sync)];
    if let Some(found) = table.get("durability").and_then(|node| word(node, &durabilities, problems)) {
        server.durability = found;
    }
    listener(table.get("namesrv"), &mut server.namesrv, problems);
    listener(table.get("ingress"), &mut server.ingress, problems);
    listener(table.get("admin"), &mut server.admin, problems);
    if let Some(node) = table.get("broker") {
        let mut table = Table::of(node, problems);
        listen(&mut table, &mut server.broker, problems);
        server.advertise = table.get("advertise").and_then(|node| address(node, problems));
        for (key, name) in [("name", &mut server.broker_name), ("cluster", &mut server.cluster)] {
            if let Some(node) = table.get(key)
                && let Some(found) = text(node, problems)
                && super::check_name(key, &found, node.at, problems)
            {
                *name = found;
            }
        }
        if server.broker.ip().is_unspecified() && server.advertise.is_none() {
            let message = "a broker that listens on all addresses must be told which one clients reach it by";
            problems.push(
                Diagnostic::new(node.at, message).help("set `advertise: ADDRESS:PORT` beside `listen`"),
            );
        }
        table.finish(problems);
    }
    table.finish(problems);
    server
}

/// A section of which `listen` is all.
fn listener(node: Option<&Node>, into: &mut SocketAddr, problems: &mut Problems) {
    let Some(node) = node else { return };
    let mut table = Table::of(node, problems);
    listen(&mut table, into, problems);
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
