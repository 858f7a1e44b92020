//! Out to HTTP targets: retry, dead letters, order, and at-least-once over `kill -9`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{Server, Sink, eventually};
use std::collections::BTreeSet;

fn config(sink: &Sink, rest: &str) -> String {
    format!("targets: {{sink: {{http: {{url: \"http://{}/hook\", timeout: 2s}}}}}}\n{rest}", sink.address)
}

fn rule(delivery: &str) -> String {
    format!("rules:\n  - {{name: r, from: {{bus: default}}, to: sink, delivery: {{{delivery}}}}}\n")
}

const FAST: &str = "backoff: {initial: 20ms, max: 50ms}";

#[test]
fn failures_are_retried_and_others_go_past() {
    let sink = Sink::start();
    let server = Server::start(&config(&sink, &rule(&format!("retry: {{maxAttempts: 5, {FAST}}}"))));
    sink.answer_next(&["503", "429\r\nRetry-After: 1", "404"]);
    assert_eq!(server.post_event("/", "slow", "t").status, 202);
    sink.wait(1);
    for id in ["a", "b", "c"] {
        assert_eq!(server.post_event("/", id, "t").status, 202);
    }
    eventually("every event delivered", || server.metric("halley_events_delivered_total") >= 4.0);
    let ids: BTreeSet<_> = sink.ids().into_iter().collect();
    assert_eq!(ids, BTreeSet::from(["slow", "a", "b", "c"].map(str::to_owned)));
    assert_eq!(server.metric("halley_events_dead_lettered_total"), 0.0);
    assert_eq!(server.metric("halley_delivery_lag"), 0.0);
}

#[test]
fn what_cannot_be_delivered_becomes_a_dead_letter_with_its_story() {
    let sink = Sink::start();
    let letters = Sink::start();
    let config = format!(
        "targets:\n  sink: {{http: {{url: \"http://{}/\"}}}}\n  letters: {{http: {{url: \"http://{}/\", mode: structured}}}}\n\
         rules:\n  - {{name: r, from: {{bus: default}}, to: sink, delivery: {{retry: {{maxAttempts: 3, {FAST}}}}}}}\n  \
         - {{name: l, from: {{topic: \"%DLQ%sink\"}}, to: letters}}\n",
        sink.address, letters.address
    );
    let server = Server::start(&config);
    sink.answer_always(Some("503"));
    assert_eq!(server.post_event("/", "tired", "t").status, 202);
    let letter = letters.wait(1)[0].clone();
    let letter: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
    assert_eq!(letter["id"], "tired");
    assert_eq!(letter["data"], "tired");
    assert_eq!(letter["dlqattempts"], "3");
    assert_eq!(letter["dlqrule"], "r");
    assert_eq!(letter["dlqtarget"], "sink");
    assert!(letter["dlqfirsterror"].as_str().unwrap().contains("503"), "{letter}");
    assert!(letter["dlqlasterror"].as_str().unwrap().contains("503"), "{letter}");
    assert!(!letter["dlqreason"].as_str().unwrap().is_empty());
    assert_eq!(sink.received().len(), 3);

    sink.answer_always(Some("400"));
    assert_eq!(server.post_event("/", "wrong", "t").status, 202);
    let letter = letters.wait(2)[1].clone();
    let letter: serde_json::Value = serde_json::from_slice(&letter.body).unwrap();
    assert_eq!((letter["id"].as_str(), letter["dlqattempts"].as_str()), (Some("wrong"), Some("1")));
}

#[test]
fn events_of_one_key_stay_in_order() {
    let sink = Sink::start();
    let server = Server::start(&config(
        &sink,
        &rule(&format!("order: key:subject, retry: {{maxAttempts: 50, {FAST}}}")),
    ));
    sink.answer_next(&["503", "500", "503", "503", "500", "429"]);
    for number in 0..30 {
        let id = format!("{:02}", number);
        let key = ["x", "y", "z"][number % 3];
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", &id),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-subject", key),
        ];
        assert_eq!(server.post("/", &headers, b"").status, 202);
    }
    eventually("every event delivered", || server.metric("halley_events_delivered_total") >= 30.0);
    for key in ["x", "y", "z"] {
        let of_key = sink
            .received()
            .into_iter()
            .filter(|request| request.header("ce-subject").as_deref() == Some(key));
        let mut ids: Vec<_> = of_key.filter_map(|request| request.header("ce-id")).collect();
        // A failed attempt comes again before its successor.
        ids.dedup();
        assert!(ids.is_sorted(), "{key}: {ids:?}");
        assert_eq!(ids.len(), 10, "{key}: {ids:?}");
    }
}

#[test]
fn every_accepted_event_is_delivered_over_kill_9() {
    let sink = Sink::start();
    sink.answer_always(Some("503"));
    let mut server = Server::start(&config(&sink, &rule(&format!("retry: {{maxAttempts: 10000, {FAST}}}"))));
    let mut accepted = BTreeSet::new();
    for round in 0..4 {
        for number in 0..25 {
            let id = format!("{round}-{number}");
            if server.post_event("/", &id, "t").status == 202 {
                accepted.insert(id);
            }
        }
        server.kill();
        if round == 3 {
            sink.answer_always(None);
        }
        server.restart();
    }
    assert_eq!(accepted.len(), 100);
    eventually("every accepted event at the sink", || {
        let ids: BTreeSet<_> = sink.ids().into_iter().collect();
        accepted.is_subset(&ids)
    });
    eventually("nothing left to do", || server.metric("halley_delivery_lag") == 0.0);
    // Its progress survives an ordinary restart: nothing comes a second time.
    let before = sink.received().len();
    assert!(server.terminate().success());
    server.restart();
    assert_eq!(server.post_event("/", "last", "t").status, 202);
    eventually("the last event", || sink.ids().contains(&"last".to_owned()));
    assert_eq!(sink.received().len(), before + 1);
}

#[test]
fn routes_publish_copies_with_tags() {
    let sink = Sink::start();
    let rest = "buses: {orders: {queues: 2}}\nroutes:\n  - {name: paid, bus: orders, when: [{exact: {type: paid}}], publish: {topic: PAID, tag: \"${subject}\", keys: \"${id}\"}}\nrules:\n  - {name: r, from: {topic: PAID, filter: {tag: gold}}, to: sink}\n";
    let server = Server::start(&config(&sink, rest));
    for (id, kind, subject) in [("1", "paid", "gold"), ("2", "paid", "iron"), ("3", "sent", "gold")] {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/s"),
            ("ce-type", kind),
            ("ce-subject", subject),
        ];
        assert_eq!(server.post("/orders", &headers, b"x").status, 202);
    }
    sink.wait(1);
    eventually("all routed records looked at", || server.metric("halley_delivery_lag") == 0.0);
    assert_eq!(sink.ids(), ["1"]);
}
