//! Health, metrics, and stopping in order.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{Server, eventually, http};
use std::time::{Duration, Instant};

#[test]
fn health_and_metrics() {
    let server = Server::start("");
    assert_eq!(http(server.admin, "GET", "/healthz", &[], b"").status, 200);
    assert_eq!(server.post_event("/", "1", "t").status, 202);
    let metrics = http(server.admin, "GET", "/metrics", &[], b"").text();
    for name in [
        "halley_events_in_total",
        "halley_log_append_seconds_bucket",
        "halley_ingress_seconds_count",
        "halley_connections",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

#[test]
fn sigterm_ends_with_0_within_5_s_and_loses_nothing() {
    let mut server = Server::start("buses: {orders: {}}\n");
    for id in ["1", "2", "3"] {
        assert_eq!(server.post_event("/orders", id, "t").status, 202);
    }
    let started = Instant::now();
    assert!(server.terminate().success());
    // The promise itself, not a measurement: a stop that takes longer is killed by whoever asked for it.
    assert!(started.elapsed() < Duration::from_secs(5));
    server.restart();
    assert_eq!(server.post_event("/orders", "4", "t").status, 202);
    eventually("the log's end", || server.metric("halley_events_in_total") == 1.0);
}

#[test]
fn hanging_clients_and_targets_do_not_hold_up_a_stop() {
    // A target that takes requests and never answers, and clients that begin requests and never end them.
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "targets: {{t: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{bus: default}}, to: t}}\n",
        target.local_addr().unwrap()
    );
    let mut server = Server::start(&config);
    assert_eq!(server.post_event("/", "1", "t").status, 202);
    let _delivery = target.accept().unwrap();
    let half = |address| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut stream, b"POST / HTTP/1.1\r\ncontent-length: 9\r\nce-id: 1\r\n")
            .unwrap();
        stream
    };
    let mut in_body = half(server.ingress);
    std::io::Write::write_all(&mut in_body, b"\r\nx").unwrap();
    let _clients = [in_body, half(server.ingress), half(server.admin), half(server.broker)];
    let started = Instant::now();
    assert!(server.terminate().success());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let server = Server::start("");
    let data = server.dir.path().join("data");
    let [a, b, c, d] = common::free_ports();
    let config = format!(
        "server:\n  data: {}\n  namesrv: {{listen: \"{a}\"}}\n  broker: {{listen: \"{b}\"}}\n  ingress: {{listen: \"{c}\"}}\n  admin: {{listen: \"{d}\"}}\n",
        data.display()
    );
    let file = server.dir.path().join("second.yaml");
    std::fs::write(&file, config).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(["serve", "--config", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("store in") && text.contains("lock"), "{text}");
    assert_eq!(server.post_event("/", "1", "t").status, 202);
}
