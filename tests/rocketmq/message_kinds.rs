//! Messages that are not simply delivered: delayed, timed, recalled, in transactions, tried again, given up. Unmodified
//! RocketMQ clients (Java 5.5.0 and 4.9.8, Go) against a real server.

use crate::common::{
    Rocketmq, Server, clients,
    run::{Run, with_each},
};
use serde_json::Value;
use std::collections::BTreeSet;

fn time(message: &Value, name: &str) -> i64 {
    message[name].as_i64().unwrap_or_else(|| panic!("no {name} in {message}"))
}

#[test]
fn delay_levels() {
    with_each(|run| {
        run.run("produce", &["T", "2", "--delay-level", "1", "--tag", "late"]);
        for message in run.consume("T", "g", 2, &[]) {
            // Stored where it belongs when its second is over.
            assert!(time(&message, "storeTimestamp") >= time(&message, "bornTimestamp") + 1000, "{message}");
            let properties = &message["properties"];
            assert_eq!((&properties["DELAY"], &properties["REAL_TOPIC"]), (&Value::Null, &Value::from("T")));
        }
    });
}

#[test]
fn timers_to_the_millisecond_and_recalled() {
    with_each(|run| {
        // Only 5.x has a call that takes a message back.
        let recalled = run
            .with(Rocketmq::Java5)
            .run("produce", &["T", "2", "--delay-ms", "3000", "--recall", "--tag", "recalled"]);
        assert_eq!(recalled.iter().filter(|line| line.get("recalled").is_some()).count(), 2, "{recalled:?}");
        run.run("produce", &["T", "3", "--delay-ms", "3111", "--tag", "kept"]);
        let messages = run.consume("T", "g", 3, &[]);
        for message in &messages {
            assert_eq!(message["tags"], "kept", "{messages:?}");
            let due: i64 = message["properties"]["TIMER_OUT_MS"].as_str().unwrap().parse().unwrap();
            assert!(time(message, "storeTimestamp") >= due, "{message}");
        }
        assert_eq!(run.server.metric("halley_delayed_messages"), 0.0);
    });
}

#[test]
fn what_waits_outlives_a_kill() {
    let Some(clients) = clients() else { return };
    let mut server = Server::start("");
    let run = Run { clients: &clients, server: &server, client: Rocketmq::Java5 };
    // Not due before the server is killed, unless the machine is very slow.
    run.run("produce", &["T", "5", "--delay-ms", "12000"]);
    run.run("transact", &["T", "2", "--decide", "unknown"]);
    server.kill();
    server.restart();
    let run = Run { clients: &clients, server: &server, client: Rocketmq::Java5 };
    // Both producers are of one group: the second is asked about the first's transactions.
    let asked = run.run("transact", &["T", "1", "--decide", "commit", "--answer", "commit", "--checks", "2"]);
    assert_eq!(asked.iter().filter(|line| line.get("checked").is_some()).count(), 2, "{asked:?}");
    let ids: BTreeSet<_> =
        run.consume("T", "g", 8, &[]).iter().map(|message| message["msgId"].to_string()).collect();
    assert_eq!(ids.len(), 8);
    server.kill();
    server.restart();
    assert_eq!(server.metric("halley_delayed_messages") + server.metric("halley_open_transactions"), 0.0);
}

#[test]
fn transactions() {
    with_each(|run| {
        run.run("transact", &["T", "2", "--decide", "rollback"]);
        run.run("transact", &["T", "3", "--decide", "commit"]);
        let committed = run.consume("T", "g", 3, &[]);
        for message in &committed {
            assert_eq!(message["properties"]["REAL_TOPIC"], Value::Null, "{message}");
        }
        let checks =
            run.run("transact", &["T", "2", "--decide", "unknown", "--answer", "commit", "--checks", "2"]);
        for check in checks.iter().filter(|line| line.get("checked").is_some()) {
            assert_eq!((&check["topic"], &check["times"]), (&Value::from("T"), &Value::from("1")), "{check}");
        }
        run.consume("T", "g", 2, &[]);
        assert_eq!(run.server.metric("halley_open_transactions"), 0.0);
    });
}

#[test]
fn failed_messages_come_back_and_are_given_up_in_the_end() {
    with_each(|run| {
        run.run("produce", &["T", "1", "--tag", "a"]);
        let tried = run.consume("T", "g", 1, &["--fail", "2", "--retry-level", "1"]);
        assert_eq!(time(&tried[0], "reconsumeTimes"), 2, "{tried:?}");
        assert_eq!((&tried[0]["topic"], &tried[0]["tags"]), (&Value::from("T"), &Value::from("a")));

        run.run("produce", &["T", "1", "--tag", "poison"]);
        run.run("produce", &["T", "1", "--tag", "good", "--delay-level", "3"]);
        let refused = ["--fail", "3", "--retry-level", "1", "--max-reconsume", "2"];
        let good = run.consume("T", "g", 1, &refused);
        assert_eq!(good[0]["tags"], "good", "{good:?}");
        let dead = run.consume("%DLQ%g", "dead", 1, &[]);
        assert_eq!(dead[0]["tags"], "poison", "{dead:?}");
        let properties = &dead[0]["properties"];
        assert_eq!(properties["RETRY_TOPIC"], "T", "{properties}");
        assert!(properties["ORIGIN_MESSAGE_ID"].is_string(), "{properties}");
    });
}
