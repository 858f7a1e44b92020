//! Messages by key and id, and conversations of requests and replies, with unmodified clients and `mqadmin`.

use crate::common::{
    Rocketmq, Server, Sink, clients, eventually,
    mqadmin::{mqadmin, mqadmin_once, tools},
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
    let [k1, blue, unique, id, offset] = [
        format!("queryMsgByKey -n NS -t {topic} -k k1"),
        format!("queryMsgByKey -n NS -t {topic} -k blue -p T -m 2"),
        format!("queryMsgByUniqueKey -n NS -t {topic} -i {}", ids[2]),
        format!("queryMsgById -n NS -t {topic} -i {}", places[0]),
        format!("queryMsgByOffset -n NS -t {topic} -b {broker} -i 0 -o 1"),
    ];
    let [print, print_queue, consume_queue, page] = [
        format!("printMsg -n NS -t {topic}"),
        format!("printMsgByQueue -n NS -t {topic} -a {broker} -i 0 -p true"),
        format!("queryCq -n NS -t {topic} -q 0 -i 1 -c 5 -g nobody"),
        format!("queryMsgByKey -n NS -t {topic} -k all -m 1"),
    ];
    let cq = ["nobody@Operated is not online!", "max: 3, min: 0", "idx: 1", "idx: 2", "tagsCode=3027034"];
    let answers = check(
        &jars,
        &server,
        &[
            (&k1, &[&ids[1]], &[&ids[0], &ids[2]]),
            (&blue, &[&ids[1], &ids[2]], &[&ids[0]]),
            (&unique, &["Keys:                [k2 all]"], &[]),
            (&id, &[&ids[0], &places[0]], &[]),
            (&offset, &[&ids[1]], &[]),
            (&print, &[&ids[0], &ids[1], &ids[2]], &[]),
            (&print_queue, &[&ids[0], &ids[2]], &[]),
            (&consume_queue, &cq, &["idx: 0", "idx: 3"]),
            (&page, &[&ids[2]], &[&ids[1]]),
        ],
    );
    // A page ends where the one before began.
    let newest = answers[8].lines().find(|line| line.starts_with(&ids[2])).unwrap();
    let last_key = newest.split_whitespace().last().unwrap();
    check(&jars, &server, &[(&format!("{page} -l {last_key}"), &[&ids[1]], &[&ids[0]])]);
}

/// A command, what its output must have, and what it must not.
type Check<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

/// Runs commands of `mqadmin`; what they printed.
fn check(jars: &Path, server: &Server, checks: &[Check<'_>]) -> Vec<String> {
    let lines: Vec<_> = checks.iter().map(|(line, ..)| *line).collect();
    let answers = mqadmin(jars, server, &lines);
    for ((line, expected, unexpected), output) in checks.iter().zip(&answers) {
        for text in *expected {
            assert!(output.contains(text), "{line} without {text}: {output}");
        }
        for text in *unexpected {
            assert!(!output.contains(text), "{line} with {text}: {output}");
        }
    }
    answers
}

#[test]
fn traces_are_stored_and_found() {
    let Some(clients) = clients() else { return };
    let Some(jars) = tools() else { return };
    let server = Server::start("");
    // The first trace creates the topic. What clients trace as they shut down does not wait for that.
    run(Rocketmq::Java5, &clients, &server, &["trace", "Traced", "first"]);
    for client in Rocketmq::ALL {
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

    /// What it printed until now.
    fn stop(mut self) -> String {
        self.0.kill().unwrap();
        self.end()
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
        // A consumer of the Java client whose first rebalance meets its own scheduled heartbeat (its first second) tells
        // its new subscription version with the next heartbeat only, 30 s later, and pulls nothing until then
        // (`sendHeartbeatToAllBrokerWithLock` of `MQClientInstance`, 5.5).
        let namesrv = server.namesrv.to_string();
        let asked = asker.run(&clients, &["request", &namesrv, &topic, "2", "--timeout-ms", "60000"]);
        let replies = match asked {
            Ok(lines) => sent(&lines, "reply"),
            Err(output) => panic!("{asker:?}: {output}; {answerer:?}: {}", responder.stop()),
        };
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
    let produce = |client, kind: &str, options: &[&str]| {
        let arguments = [&["produce", "Large", "1", "--body-size", "20000", "--tag", kind], options].concat();
        run(client, &clients, &server, &arguments);
    };
    for kind in ["zlib", "lz4", "zstd"] {
        produce(Rocketmq::Java5, kind, &["--compress", kind]);
        produce(Rocketmq::Java4, kind, &["--compress", kind]);
    }
    produce(Rocketmq::Go, "zlib", &[]);
    let expected: Vec<u8> = (0..20_000).map(|at| b'a' + (at % 26) as u8).collect();
    for request in sink.wait(7) {
        assert!(request.body == expected, "a target gets the body as it was sent");
    }
    // Version 2.1.2 for Go reads zlib alone.
    for (consumer, tags, count) in
        [(Rocketmq::Java5, "*", 7), (Rocketmq::Java4, "*", 7), (Rocketmq::Go, "zlib", 3)]
    {
        let arguments =
            ["consume", "Large", &format!("g{consumer:?}"), "--expect", &count.to_string(), "--tag", tags];
        let consumed = run(consumer, &clients, &server, &arguments);
        let bodies: Vec<_> = consumed.iter().filter_map(|line| line["body"].as_str()).collect();
        assert_eq!(bodies.len(), count, "{consumer:?}");
        let same = bodies.iter().all(|body| *body == bodies[0]);
        assert!(same && bodies[0].len() > 26_000, "{consumer:?}: base64 of 20,000 bytes");
    }
}
