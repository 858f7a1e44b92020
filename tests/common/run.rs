//! One scenario with several kinds of clients.

use super::{Rocketmq, Server, clients, remoting::Connection};
use halley_wire::{BrokerCode, Serialize};
use serde_json::Value;
use std::{net::SocketAddr, path::Path};

/// A kind of client and a server.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub clients: &'a Path,
    pub server: &'a Server,
    pub client: Rocketmq,
}

impl Run<'_> {
    /// The same with another kind of client.
    pub fn with(&self, client: Rocketmq) -> Self {
        Self { client, ..*self }
    }

    /// Runs a command of the client with the server's address as first argument; its lines of JSON.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Vec<Value> {
        let ran = self.try_run(command, arguments);
        ran.unwrap_or_else(|output| panic!("{:?} {command} {arguments:?}: {output}", self.client))
    }

    /// The same; `Err` holds what it printed where it failed.
    pub fn try_run(&self, command: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let namesrv = self.server.namesrv.to_string();
        let arguments: Vec<_> = [command, &namesrv].iter().chain(arguments).copied().collect();
        self.client.run(self.clients, &arguments)
    }

    /// What a group gets of a topic until it has `count` messages.
    pub fn consume(&self, topic: &str, group: &str, count: usize, more: &[&str]) -> Vec<Value> {
        self.messages("consume", topic, group, count, more)
    }

    /// What a consumer without rebalance gets until it has `count` messages.
    pub fn lite(&self, topic: &str, group: &str, count: usize, more: &[&str]) -> Vec<Value> {
        self.messages("lite", topic, group, count, more)
    }

    fn messages(&self, command: &str, topic: &str, group: &str, count: usize, more: &[&str]) -> Vec<Value> {
        let count = count.to_string();
        let arguments: Vec<_> = [topic, group, "--expect", &count].iter().chain(more).copied().collect();
        self.run(command, &arguments).into_iter().filter(|line| line.get("body").is_some()).collect()
    }
}

/// Runs a test with each kind of client, each on a server of its own. They mostly wait, so they do it side by side.
pub fn with_each(test: impl Fn(&Run<'_>) + Sync) {
    with(&Rocketmq::ALL, test);
}

/// The same with these kinds of clients.
pub fn with(kinds: &[Rocketmq], test: impl Fn(&Run<'_>) + Sync) {
    let Some(clients) = clients() else { return };
    std::thread::scope(|scope| {
        for client in kinds.iter().copied() {
            let (clients, test) = (&clients, &test);
            scope.spawn(move || test(&Run { clients, server: &Server::start(""), client }));
        }
    });
}

/// A broker is asked for this, and does it.
pub fn ask(broker: SocketAddr, code: BrokerCode, fields: &[(&str, &str)], body: &[u8]) {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let reply = Connection::open(broker).ask(Serialize::Json, code.number(), &fields, body).unwrap().unwrap();
    assert_eq!(reply.code, 0, "{code:?}: {reply:?}");
}

/// Creates a topic, or changes it.
pub fn create_topic(broker: SocketAddr, topic: &str, queues: &str, perm: &str, attributes: &str) {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", perm),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", attributes),
    ];
    ask(broker, BrokerCode::UpdateAndCreateTopic, &fields, b"");
}
