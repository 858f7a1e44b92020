//! Unmodified RocketMQ clients (Java 5.5.0 and 4.9.8, Go) against a real server.

use crate::common::{Rocketmq, Server, Sink, clients, consumer::Consumer, eventually};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

fn count(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line.get("body").is_some()).count()
}

fn consume(client: Rocketmq, clients: &Path, server: &Server, arguments: &[&str]) -> Vec<Value> {
    let namesrv = server.namesrv.to_string();
    let arguments: Vec<_> = ["consume", &namesrv].iter().chain(arguments).copied().collect();
    client.run(clients, &arguments).unwrap_or_else(|output| panic!("{client:?} {arguments:?}: {output}"))
}

fn produce(client: Rocketmq, clients: &Path, server: &Server, arguments: &[&str]) -> Vec<Value> {
    let namesrv = server.namesrv.to_string();
    let arguments: Vec<_> = ["produce", &namesrv].iter().chain(arguments).copied().collect();
    client.run(clients, &arguments).unwrap_or_else(|output| panic!("{client:?} {arguments:?}: {output}"))
}

#[test]
fn messages_go_through() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    for client in Rocketmq::ALL {
        let topic = format!("T{client:?}");
        produce(client, &clients, &server, &[&topic, "6", "--tag", "a", "--prop", "n={i}", "--key", "k{i}"]);
        produce(client, &clients, &server, &[&topic, "4", "--tag", "b", "--batch"]);
        produce(client, &clients, &server, &[&topic, "2", "--tag", "c", "--oneway"]);
        let all = consume(client, &clients, &server, &[&topic, "all", "--expect", "12"]);
        let ids: BTreeSet<_> = all.iter().filter_map(|line| line["msgId"].as_str()).collect();
        assert_eq!(ids.len(), 12, "{client:?}: each message once: {all:?}");
        assert_eq!(
            count(&consume(client, &clients, &server, &[&topic, "tag", "--expect", "6", "--tag", "b || c"])),
            6
        );
        let sql = consume(
            client,
            &clients,
            &server,
            &[&topic, "sql", "--expect", "3", "--sql", "n >= 2 AND n < 5"],
        );
        let found: BTreeSet<_> = sql.iter().filter_map(|line| line["properties"]["n"].as_str()).collect();
        assert_eq!(found, BTreeSet::from(["2", "3", "4"]), "{client:?}");
        // The group's offsets were committed: nothing comes a second time.
        produce(client, &clients, &server, &[&topic, "1", "--tag", "last"]);
        let rest = consume(client, &clients, &server, &[&topic, "all", "--expect", "1"]);
        assert_eq!(count(&rest), 1, "{client:?}: {rest:?}");
        assert!(rest.iter().any(|line| line["properties"]["TAGS"] == "last"), "{client:?}: {rest:?}");
    }
}

#[test]
fn both_header_serialisations() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    for client in [Rocketmq::Java5, Rocketmq::Java4] {
        let topic = format!("S{client:?}");
        produce(client, &clients, &server, &[&topic, "3", "--serialize", "rocketmq"]);
        produce(client, &clients, &server, &[&topic, "3", "--serialize", "json"]);
        let read =
            consume(client, &clients, &server, &[&topic, "g", "--expect", "6", "--serialize", "rocketmq"]);
        assert_eq!(count(&read), 6);
    }
}

#[test]
fn an_event_over_http_reaches_every_client() {
    let Some(clients) = clients() else { return };
    let server = Server::start("buses: {orders: {queues: 2}}\n");
    let body =
        r#"{"specversion":"1.0","id":"e1","source":"/shop","type":"paid","subject":"ü 1","data":{"sum":5}}"#;
    let answer = server.post("/orders", &[("content-type", "application/cloudevents+json")], body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    for client in Rocketmq::ALL {
        let read =
            consume(client, &clients, &server, &["BUS_orders", &format!("g{client:?}"), "--expect", "1"]);
        let message = read.iter().find(|line| line.get("body").is_some()).expect("one message");
        let properties = &message["properties"];
        assert_eq!(properties["ce_type"], "paid", "{client:?}: {message}");
        assert_eq!(properties["ce_subject"], "ü 1");
        assert_eq!(properties["ce_datacontenttype"], "application/json");
        // {"sum":5} in base64.
        assert_eq!(message["body"], "eyJzdW0iOjV9");
    }
}

#[test]
fn a_message_reaches_an_http_target_as_an_event() {
    let Some(clients) = clients() else { return };
    let sink = Sink::start();
    let config = format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{topic: PAID, filter: {{tag: \"a || b\"}}}}, when: [{{sql92: \"n > 0\"}}], to: sink}}\n",
        sink.address
    );
    let server = Server::start(&config);
    let mut expected = 0;
    for client in Rocketmq::ALL {
        produce(
            client,
            &clients,
            &server,
            &["PAID", "3", "--tag", "a", "--prop", "n={i}", "--key", "k{i}", "--body", "hello"],
        );
        produce(client, &clients, &server, &["PAID", "1", "--tag", "z", "--prop", "n=9"]);
        expected += 2;
    }
    let received = sink.wait(expected);
    assert_eq!(received.len(), expected);
    for request in received {
        assert_eq!(request.body, b"hello");
        assert_eq!(request.header("ce-specversion").as_deref(), Some("1.0"));
        assert_eq!(request.header("ce-source").as_deref(), Some("/rocketmq/DefaultCluster/PAID"));
        assert_eq!(request.header("ce-type").as_deref(), Some("org.apache.rocketmq.message"));
        assert_eq!(request.header("ce-rocketmqtag").as_deref(), Some("a"));
        assert!(request.header("ce-id").is_some_and(|id| !id.is_empty()));
    }
}

#[test]
fn a_large_message_reaches_an_http_target_as_it_was_sent() {
    let Some(clients) = clients() else { return };
    let sink = Sink::start();
    let server = Server::start(&format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{topic: LARGE}}, to: sink}}\n",
        sink.address
    ));
    // Above 4 KiB Java clients compress.
    produce(Rocketmq::Java5, &clients, &server, &["LARGE", "1", "--body-size", "20000"]);
    let received = sink.wait(1);
    assert_eq!(received[0].body.len(), 20_000);
}

#[test]
fn an_invalid_sql92_subscription_is_refused_like_rocketmq_does() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    produce(Rocketmq::Java5, &clients, &server, &["SQL", "1"]);
    let namesrv = server.namesrv.to_string();
    for client in [Rocketmq::Java5, Rocketmq::Java4] {
        let arguments =
            ["consume", &namesrv, "SQL", "g", "--sql", "a >", "--expect", "1", "--timeout-s", "5"];
        let output = client.run(&clients, &arguments).expect_err("the consumer cannot start");
        assert!(output.contains("\"code\":23"), "SUBSCRIPTION_PARSE_FAILED: {output}");
    }
}

#[test]
fn members_of_a_group_share_the_queues() {
    let Some(clients) = clients() else { return };
    let server = Server::start("buses: {shared: {queues: 4}}\n");
    for client in [Rocketmq::Java5, Rocketmq::Java4] {
        let group = format!("g{client:?}");
        let start = || Consumer::start(client, &clients, &server, &["BUS_shared", &group]);
        // The second member's arrival is told to the first at once: both end with two of the four queues.
        let mut members = [start(), start()];
        for member in &mut members {
            member.wait("ASSIGNED 2");
        }
    }
}

#[test]
fn readme_consumers_print_events() {
    let Some(clients) = clients() else { return };
    let server = Server::start("buses: {orders: {}}\n");
    assert_eq!(server.post_event("/orders", "1", "hello").status, 202);
    let jars = format!("{0}/java-example:{0}/rocketmq-5.5.0/*", clients.display());
    let mut java = std::process::Command::new("java");
    java.args(["-cp", &jars, "OrdersConsumer"]);
    let go = std::process::Command::new(clients.join("go-example"));
    for mut command in [java, go] {
        command
            .arg(server.namesrv.to_string())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut lines = std::io::BufRead::lines(output);
        // A consumer of a new group begins at the end, so that events go on coming until it sees one.
        let seen = std::thread::scope(|scope| {
            let posting = scope.spawn(|| {
                eventually("an event printed", || {
                    server.post_event("/orders", "2", "hello");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    child.try_wait().unwrap().is_some()
                });
            });
            let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("hello ")));
            std::process::Command::new("pkill")
                .args(["-P", &std::process::id().to_string(), "-f", "OrdersConsumer|go-example"])
                .status()
                .unwrap();
            posting.join().unwrap();
            line
        });
        assert!(seen.is_some());
    }
}
