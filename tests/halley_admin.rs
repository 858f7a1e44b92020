//! `halley admin` against a real server.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::Server;
use std::process::Command;

/// Runs `halley admin`; what it printed, `Err` where it failed.
fn halley(server: &Server, arguments: &[&str]) -> Result<String, String> {
    let broker = server.broker.to_string();
    let namesrv = server.namesrv.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(["admin", "--broker", &broker, "--namesrv", &namesrv])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn halley_administers_itself() {
    let server = Server::start("buses: {orders: {queues: 2}}\n");
    for id in ["1", "2", "3"] {
        assert_eq!(server.post_event("/orders", id, "hello").status, 202);
    }
    let run = |arguments: &[&str]| {
        halley(&server, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    assert!(run(&["cluster"]).contains("DefaultCluster  broker-a"));
    run(&["topics", "create", "T1", "--queues", "3", "--attribute", "message.type=FIFO"]);
    let topics = run(&["topics", "list"]);
    assert!(topics.starts_with("TOPIC") && topics.contains("message.type=FIFO"), "{topics}");
    let shown: serde_json::Value =
        serde_json::from_str(&run(&["topics", "show", "BUS_orders", "--json"])).unwrap();
    let queues = shown.as_array().unwrap();
    assert_eq!(queues.iter().map(|queue| queue["messages"].as_i64().unwrap()).sum::<i64>(), 3, "{shown}");
    run(&["groups", "create", "G"]);
    assert!(run(&["groups", "list"]).contains("G "));
    assert!(run(&["groups", "show", "G"]).contains("retryMaxTimes"));
    run(&["offsets", "reset", "G", "BUS_orders", "--to-latest"]);
    let at = run(&["offsets", "show", "G"]);
    assert_eq!(at.lines().filter(|line| line.contains("BUS_orders")).count(), 2, "{at}");
    run(&["offsets", "reset", "G", "BUS_orders", "--to-earliest"]);
    let behind: serde_json::Value = serde_json::from_str(&run(&["offsets", "show", "G", "--json"])).unwrap();
    let behind = behind.as_array().unwrap().iter().map(|queue| queue["behind"].as_i64().unwrap());
    assert_eq!(behind.sum::<i64>(), 3);
    assert!(run(&["consumers", "topic:BUS_orders"]).contains('G'));
    assert!(halley(&server, &["consumers", "G"]).unwrap_err().contains("not online"));
    assert!(halley(&server, &["topics", "show", "nothing"]).unwrap_err().contains("not exist"));
    assert!(halley(&server, &["offsets", "reset", "G", "BUS_orders"]).is_err(), "it must be said where to");
    run(&["groups", "delete", "G", "--offsets"]);
    run(&["topics", "delete", "T1"]);
    assert!(!run(&["topics", "list"]).contains("T1"));
}
