//! Messages by key and id, and conversations of requests and replies, with unmodified clients and `mqadmin`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{
    Rocketmq, Server, Sink, clients, eventually,
    mqadmin::{mqadmin_once, tools},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Stdio},
};

fn run(client: Rocketmq, clients: &Path, server: &Server, arguments: &[&str]) -> Vec<Value> {
    let namesrv = server.namesrv.to_string();
    let arguments: Vec<_> = [arguments[0], &namesrv].iter().chain(&arguments[1..]).copied().collect();
    client.run(clients, &arguments).unwrap_or_else(|output| panic!("{client:?} {arguments:?}: {output}"))
}

fn sent(lines: &[Value], field: &str) -> Vec<String> {
    lines.iter().map(|line| line[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn messages_are_found_by_key_and_id_also_after_a_restart() {
    let Some(clients) = clients() else { return };
    let mut server = Server::start("");
    let produce = |client| {
        let topic = format!("Q{client:?}");
        let lines =
            run(client, &clients, &server, &["produce", &topic, "5", "--key", "k{i} all", "--tag", "t"]);
        (client, topic, sent(&lines, "msgId"), sent(&lines, "offsetMsgId"))
    };
    let all = Rocketmq::ALL.map(produce);
    for restarted in [false, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        for (producer, topic, ids, places) in &all {
            for asker in [Rocketmq::Java5, Rocketmq::Java4] {
                let arguments = [
                    &["query", topic, "--max", "2", "--key", "k3", "--key", "all", "--key", "none"][..],
                    &["--id", &ids[2], "--id", &places[1]],
                ]
                .concat();
                let lines = run(asker, &clients, &server, &arguments);
                let found: Vec<_> =
                    lines.iter().map(|line| (line["asked"].as_str().unwrap(), &line["msgId"])).collect();
                let expected = [
                    ("k3", &json!(ids[3])),
                    // The newest two.
                    ("all", &json!(ids[3])),
                    ("all", &json!(ids[4])),
                    ("none", &Value::Null),
                    (&ids[2], &json!(ids[2])),
                    (&places[1], &json!(ids[1])),
                ];
                assert_eq!(found, expected, "{asker:?} finds what {producer:?} sent");
                assert_eq!(lines[3]["code"], 208, "NO_MESSAGE");
            }
        }
    }
}

#[test]
fn operators_find_messages() {
    let Some(clients) = clients() else { return };
    let Some(jars) = tools() else { return };
    let server = Server::start("");
    let topic = "Operated";
    run(Rocketmq::Java5, &clients, &server, &["create-topic", topic, "--queues", "1"]);
    let lines = run(
        Rocketmq::Java5,
        &clients,
        &server,
        &["produce", topic, "3", "--key", "k{i} all", "--tag", "blue"],
    );
    let (ids, places) = (sent(&lines, "msgId"), sent(&lines, "offsetMsgId"));
    let broker = lines[0]["broker"].as_str().unwrap().to_owned();
    let admin = |arguments: &[&str]| mqadmin_once(&jars, server.namesrv, arguments);
    let check = |arguments: &[&str], expected: &[&str], unexpected: &[&str]| {
        let output = admin(arguments);
        for text in expected {
            assert!(output.contains(text), "{arguments:?} without {text}: {output}");
        }
        for text in unexpected {
            assert!(!output.contains(text), "{arguments:?} with {text}: {output}");
        }
    };
    check(&["queryMsgByKey", "-t", topic, "-k", "k1"], &[&ids[1]], &[&ids[0], &ids[2]]);
    check(
        &["queryMsgByKey", "-t", topic, "-k", "blue", "-p", "T", "-m", "2"],
        &[&ids[1], &ids[2]],
        &[&ids[0]],
    );
    check(&["queryMsgByUniqueKey", "-t", topic, "-i", &ids[2]], &["Keys:                [k2 all]"], &[]);
    check(&["queryMsgById", "-t", topic, "-i", &places[0]], &[&ids[0], &places[0]], &[]);
    check(&["queryMsgByOffset", "-t", topic, "-b", &broker, "-i", "0", "-o", "1"], &[&ids[1]], &[]);
    check(&["printMsg", "-t", topic], &[&ids[0], &ids[1], &ids[2]], &[]);
    check(
        &["printMsgByQueue", "-t", topic, "-a", &broker, "-i", "0", "-p", "true"],
        &[&ids[0], &ids[2]],
        &[],
    );
    check(
        &["queryCq", "-t", topic, "-q", "0", "-i", "1", "-c", "5", "-g", "nobody"],
        &["nobody@Operated is not online!", "max: 3, min: 0", "idx: 1", "idx: 2", "tagsCode=3027034"],
        &["idx: 0", "idx: 3"],
    );
    // A page ends where the one before began.
    let page = admin(&["queryMsgByKey", "-t", topic, "-k", "all", "-m", "1"]);
    let last_key =
        page.lines().find(|line| line.starts_with(&ids[2])).unwrap().split_whitespace().last().unwrap();
    check(&["queryMsgByKey", "-t", topic, "-k", "all", "-m", "1", "-l", last_key], &[&ids[1]], &[&ids[0]]);
}

#[test]
fn traces_are_stored_and_found() {
    let Some(clients) = clients() else { return };
    let Some(jars) = tools() else { return };
    let server = Server::start("");
    // The first trace creates the topic. What clients trace as they shut down does not wait for that.
    run(Rocketmq::Java5, &clients, &server, &["trace", "Traced", "first"]);
    for client in [Rocketmq::Java5, Rocketmq::Java4] {
        let lines = run(client, &clients, &server, &["trace", "Traced", &format!("g{client:?}")]);
        let id = lines[0]["msgId"].as_str().unwrap();
        eventually("both sides traced", || {
            let output = mqadmin_once(&jars, server.namesrv, &["queryMsgTraceById", "-i", id]);
            output.lines().any(|line| line.starts_with("Pub"))
                && output.lines().any(|line| line.starts_with("Sub"))
        });
    }
}

/// A program that replies to requests; it ends when it was asked often enough.
struct Responder(Child);

impl Responder {
    fn start(client: Rocketmq, clients: &Path, server: &Server, topic: &str, expect: &str) -> Self {
        let namesrv = server.namesrv.to_string();
        let group = format!("g{topic}");
        let mut command = client.command(clients, &["respond", &namesrv, topic, &group, "--expect", expect]);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// What it printed.
    fn end(self) -> String {
        String::from_utf8(self.0.wait_with_output().unwrap().stdout).unwrap()
    }
}

#[test]
fn a_reply_comes_to_whom_asked() {
    let Some(clients) = clients() else { return };
    let server = Server::start("");
    let pairs = [
        (Rocketmq::Java5, Rocketmq::Java5),
        (Rocketmq::Java4, Rocketmq::Java5),
        (Rocketmq::Java5, Rocketmq::Java4),
        (Rocketmq::Go, Rocketmq::Java5),
        (Rocketmq::Java5, Rocketmq::Go),
    ];
    for (asker, answerer) in pairs {
        let topic = format!("{asker:?}Asks{answerer:?}");
        run(Rocketmq::Java5, &clients, &server, &["create-topic", &topic, "--queues", "2"]);
        let responder = Responder::start(answerer, &clients, &server, &topic, "2");
        let replies = sent(&run(asker, &clients, &server, &["request", &topic, "2"]), "reply");
        assert_eq!(replies, ["question-0!", "question-1!"], "{asker:?} asks {answerer:?}");
        let told = responder.end();
        assert_eq!(told.matches("SEND_OK").count(), 2, "{answerer:?} hears that both arrived: {told}");
    }
    // The replies are kept too, as RocketMQ's broker does.
    let offsets = run(Rocketmq::Java5, &clients, &server, &["offsets", "DefaultCluster_REPLY_TOPIC"]);
    assert_eq!(offsets.iter().filter_map(|line| line["max"].as_i64()).sum::<i64>(), 10);
}

#[test]
fn compressed_bodies_reach_consumers_and_http_targets_as_they_were() {
    let Some(clients) = clients() else { return };
    let sink = Sink::start();
    let server = Server::start(&format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{topic: Large}}, to: sink}}\n",
        sink.address
    ));
    let produce = |client, options: &[&str]| {
        let arguments: Vec<_> =
            ["produce", "Large", "1", "--body-size", "20000"].iter().chain(options).copied().collect();
        run(client, &clients, &server, &arguments);
    };
    for kind in ["zlib", "lz4", "zstd"] {
        produce(Rocketmq::Java5, &["--compress", kind]);
    }
    produce(Rocketmq::Java4, &[]);
    produce(Rocketmq::Go, &[]);
    let expected: Vec<u8> = (0..20_000).map(|at| b'a' + (at % 26) as u8).collect();
    for request in sink.wait(5) {
        assert!(request.body == expected, "a target gets the body as it was sent");
    }
    let consumed = run(Rocketmq::Java5, &clients, &server, &["consume", "Large", "all", "--expect", "5"]);
    let flags: Vec<_> = consumed.iter().filter_map(|line| line["body"].as_str()).collect();
    assert_eq!(flags.len(), 5);
    assert!(flags.iter().all(|body| *body == flags[0]) && flags[0].len() > 26_000, "base64 of 20,000 bytes");
}
