//! Name servers and brokers in processes of their own, ours and RocketMQ's, with official clients and `mqadmin`.

use crate::common::{
    Rocketmq, Server, clients, eventually, free_ports,
    mqadmin::{mqadmin, mqadmin_once, tools},
    oracle::Oracle,
    remoting::Connection,
};
use halley_wire::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr, path::Path};

/// A name server alone.
fn name_server() -> Server {
    Server::start_as("  namesrv: {listen: \"NAMESRV\"}\n  broker: false")
}

/// A broker alone, registered at these name servers.
fn broker(name: &str, name_servers: &[&Server]) -> Server {
    let peers: Vec<_> = name_servers.iter().map(|server| format!("\"{}\"", server.namesrv)).collect();
    Server::start_as(&format!(
        "  broker: {{listen: \"BROKER\", name: {name}, namesrv: [{}]}}\n  ingress: false",
        peers.join(", ")
    ))
}

/// What a name server answers to a request with these fields, as text.
fn ask(namesrv: SocketAddr, code: i32, fields: &[(&str, &str)]) -> String {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let reply = Connection::open(namesrv).ask(Serialize::Json, code, &fields, b"").unwrap().unwrap();
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// Waits until a name server knows, or knows no more, a broker by its address.
fn wait_known(namesrv: SocketAddr, broker: SocketAddr, known: bool) {
    let broker = broker.to_string();
    eventually(&format!("{broker} known to {namesrv}: {known}"), || {
        ask(namesrv, 106, &[]).contains(&broker) == known
    });
}

/// Waits until all these brokers are in the route of a topic.
fn wait_route(namesrv: SocketAddr, topic: &str, brokers: &[SocketAddr]) {
    eventually(&format!("{topic} on all brokers"), || {
        let route = ask(namesrv, 105, &[("topic", topic)]);
        brokers.iter().all(|broker| route.contains(&broker.to_string()))
    });
}

/// Produces, and counts the messages by broker. A client gives a name server 3 s, its own start included, and fails where
/// the machine is too busy for that; then it is started again, and what it sent is not counted.
fn spread(clients: &Path, namesrv: &str, topic: &str, count: usize) -> BTreeMap<String, usize> {
    let count = count.to_string();
    let mut lines = Vec::new();
    eventually("messages sent", || {
        let sent = Rocketmq::Java5.run(clients, &["produce", namesrv, topic, &count]);
        if let Err(output) = &sent {
            eprintln!("{topic}: {output}");
        }
        lines = sent.unwrap_or_default();
        !lines.is_empty()
    });
    let mut by_broker = BTreeMap::new();
    for line in &lines {
        *by_broker.entry(line["broker"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    by_broker
}

fn consume(clients: &Path, namesrv: &str, topic: &str, group: &str, expect: usize) -> Vec<Value> {
    let expect = expect.to_string();
    let lines = Rocketmq::Java5
        .run(clients, &["consume", namesrv, topic, group, "--expect", &expect])
        .unwrap_or_else(|output| panic!("{topic}: {output}"));
    lines.into_iter().filter(|line| line.get("body").is_some()).collect()
}

/// The other clients send and consume too.
fn go_through(clients: &Path, namesrv: &str, topic: &str) {
    for client in [Rocketmq::Java4, Rocketmq::Go] {
        let name = format!("{client:?}");
        let run = |arguments: &[&str]| {
            let ran = client.run(clients, arguments);
            ran.unwrap_or_else(|output| panic!("{client:?} {arguments:?}: {output}"))
        };
        run(&["produce", namesrv, topic, "8", "--tag", &name]);
        run(&["consume", namesrv, topic, &name, "--tag", &name, "--expect", "8"]);
    }
}

#[test]
fn three_brokers_form_a_cluster() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let names = name_server();
    let namesrv = names.namesrv.to_string();
    let [a, b, mut c] = ["a", "b", "c"].map(|name| broker(name, &[&names]));
    let all = [a.broker, b.broker, c.broker];
    for broker in all {
        wait_known(names.namesrv, broker, true);
    }
    let clusters = mqadmin_once(&jars, names.namesrv, &["clusterList"]);
    assert!(all.iter().all(|broker| clusters.contains(&broker.to_string())), "{clusters}");
    mqadmin_once(
        &jars,
        names.namesrv,
        &["updateTopic", "-c", "DefaultCluster", "-t", "ORDERS", "-r", "2", "-w", "2"],
    );
    wait_route(names.namesrv, "ORDERS", &all);
    assert!(mqadmin_once(&jars, names.namesrv, &["topicList"]).contains("ORDERS"));
    let route = mqadmin_once(&jars, names.namesrv, &["topicRoute", "-t", "ORDERS"]);
    assert!(all.iter().all(|broker| route.contains(&broker.to_string())), "{route}");
    let by_broker = spread(&clients, &namesrv, "ORDERS", 12);
    assert_eq!(by_broker, BTreeMap::from([("a".into(), 4), ("b".into(), 4), ("c".into(), 4)]));
    assert!(consume(&clients, &namesrv, "ORDERS", "readers", 12).len() >= 12);

    // Wiped permissions count with the next route: the other two take everything.
    assert!(mqadmin_once(&jars, names.namesrv, &["wipeWritePerm", "-b", "b"]).contains("OK, "));
    assert_eq!(spread(&clients, &namesrv, "ORDERS", 4).keys().collect::<Vec<_>>(), ["a", "c"]);
    assert!(mqadmin_once(&jars, names.namesrv, &["addWritePerm", "-b", "b"]).contains("OK, "));
    assert_eq!(spread(&clients, &namesrv, "ORDERS", 6).len(), 3);

    c.kill();
    wait_known(names.namesrv, c.broker, false);
    assert!(!ask(names.namesrv, 105, &[("topic", "ORDERS")]).contains(&c.broker.to_string()));
    assert_eq!(spread(&clients, &namesrv, "ORDERS", 4).keys().collect::<Vec<_>>(), ["a", "b"]);
    c.restart();
    wait_route(names.namesrv, "ORDERS", &all);
    assert!(c.terminate().success());
    let left = ask(names.namesrv, 106, &[]);
    assert!(!left.contains(&c.broker.to_string()), "who stops in order takes its leave before: {left}");
}

#[test]
fn a_broker_of_rocketmq_registers_with_our_name_server() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let names = name_server();
    let Some(rocketmq) = Oracle::start_part("broker", names.namesrv, "") else { return };
    let namesrv = names.namesrv.to_string();
    wait_known(names.namesrv, rocketmq.broker, true);
    // Its topic is made on first use, and told at once.
    let by_broker = spread(&clients, &namesrv, "FIRST_USE", 3);
    assert_eq!(by_broker, BTreeMap::from([("broker-a".into(), 3)]));
    assert!(consume(&clients, &namesrv, "FIRST_USE", "readers", 3).len() >= 3);
    go_through(&clients, &namesrv, "FIRST_USE");
    let ours = broker("halley", &[&names]);
    wait_known(names.namesrv, ours.broker, true);
    mqadmin_once(
        &jars,
        names.namesrv,
        &["updateTopic", "-c", "DefaultCluster", "-t", "BOTH", "-r", "2", "-w", "2"],
    );
    wait_route(names.namesrv, "BOTH", &[ours.broker, rocketmq.broker]);
    let by_broker = spread(&clients, &namesrv, "BOTH", 8);
    assert_eq!(by_broker, BTreeMap::from([("broker-a".into(), 4), ("halley".into(), 4)]));
    assert!(consume(&clients, &namesrv, "BOTH", "readers", 8).len() >= 8);
    go_through(&clients, &namesrv, "BOTH");
    let theirs = rocketmq.broker;
    rocketmq.stop();
    wait_known(names.namesrv, theirs, false);
}

#[test]
fn our_broker_registers_with_rocketmqs_name_server() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let [later] = free_ports();
    let there = name_server();
    let mut ours = Server::start_as(&format!(
        "  broker: {{listen: \"BROKER\", name: halley, namesrv: [\"{later}\", \"{}\"]}}\n  ingress: false",
        there.namesrv
    ));
    // One name server is not there yet; the other one knows the broker meanwhile.
    wait_known(there.namesrv, ours.broker, true);
    let Some(_rocketmq) = Oracle::start_part("namesrv", later, "") else { return };
    wait_known(later, ours.broker, true);
    let namesrv = later.to_string();
    let by_broker = spread(&clients, &namesrv, "FIRST_USE", 3);
    assert_eq!(by_broker, BTreeMap::from([("halley".into(), 3)]));
    assert!(consume(&clients, &namesrv, "FIRST_USE", "readers", 3).len() >= 3);
    assert!(mqadmin_once(&jars, later, &["clusterList"]).contains(&ours.broker.to_string()));
    wait_route(there.namesrv, "FIRST_USE", &[ours.broker]);
    assert!(ours.terminate().success());
    wait_known(later, ours.broker, false);
}

#[test]
fn mqadmin_keeps_values_and_settings_at_the_name_server() {
    let Some(jars) = tools() else { return };
    let beside_a_broker = Server::start("");
    for mut names in [name_server(), beside_a_broker] {
        let namesrv = names.namesrv;
        let lines = [
            "updateKvConfig -n NS -s ORDER_TOPIC_CONFIG -k ORDERED -v a:4;b:4",
            "updateKvConfig -n NS -s other -k gone -v v",
            "deleteKvConfig -n NS -s other -k gone",
            "getNamesrvConfig -n NS",
            "updateNamesrvConfig -n NS -k kvConfigPath -v /tmp/x",
            "updateNamesrvConfig -n NS -k orderMessageEnable -v true",
        ];
        let answers = mqadmin(&jars, &names, &lines);
        assert!(answers[3].contains("orderMessageEnable"), "{answers:?}");
        assert!(!answers[4].contains("success") && answers[5].contains("success"), "{answers:?}");
        names.kill();
        names.restart();
        let mut raw = Connection::open(names.namesrv);
        let mut value = |namespace: &str, key: &str| {
            let fields = [("namespace", namespace), ("key", key)];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            raw.ask(Serialize::Json, 101, &fields, b"").unwrap().unwrap().ext.remove("value")
        };
        assert_eq!(value("ORDER_TOPIC_CONFIG", "ORDERED").as_deref(), Some("a:4;b:4"));
        assert_eq!(value("other", "gone"), None);
        let settings = mqadmin_once(&jars, namesrv, &["getNamesrvConfig"]);
        let order = settings.lines().find(|line| line.starts_with("orderMessageEnable")).unwrap_or_default();
        assert!(order.ends_with("true"), "{settings}");
    }
}
