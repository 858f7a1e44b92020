//! Bad input answers clearly and loses nothing.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use bytes::BytesMut;
use common::{Server, free_ports, http};
use halley_wire::{
    BrokerCode, NamesrvCode, ResponseCode,
    encode::{self, Request},
    frame,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

const MINIMAL: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

#[test]
fn http_errors_say_what_is_wrong() {
    let server = Server::start("");
    let structured = [("content-type", "application/cloudevents+json")];
    let check = |answer: common::Answer, status: u16, attribute: Option<&str>| {
        assert_eq!(answer.status, status, "{}", answer.text());
        let body = answer.json();
        assert!(!body["error"].as_str().unwrap().is_empty());
        assert_eq!(body["attribute"].as_str(), attribute, "{body}");
        answer
    };
    check(server.post("/", &MINIMAL[..3], b""), 400, Some("type"));
    check(
        server.post("/", &structured, br#"{"specversion":"9","id":"1","source":"/","type":"t"}"#),
        400,
        Some("specversion"),
    );
    check(server.post("/", &structured, b"{"), 400, None);
    check(server.post("/", &[("content-type", "application/json")], b"{}"), 415, None);
    check(server.post("/", &[("content-type", "application/cloudevents+avro")], b""), 415, None);
    check(server.post("/nobus", &MINIMAL, b""), 404, None);
    check(server.post("/", &MINIMAL, &vec![b'x'; 4 * 1024 * 1024 + 1]), 413, None);
    let answer = check(http(server.ingress, "PUT", "/", &MINIMAL, b""), 405, None);
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let one_bad = br#"[{"specversion":"1.0","id":"1","source":"/","type":"t"},{"specversion":"1.0"}]"#;
    check(server.post("/", &batch, one_bad), 400, Some("id"));
    assert_eq!(server.metric("halley_events_in_total"), 0.0, "nothing of a refused request is stored");
    let good = br#"[{"specversion":"1.0","id":"1","source":"/","type":"t"},{"specversion":"0.3","id":"2","source":"/","type":"t"}]"#;
    assert_eq!(server.post("/", &batch, good).status, 202);
    assert_eq!(server.metric("halley_events_in_total"), 2.0);

    let origin = [("webhook-request-origin", "shop.example"), ("webhook-request-rate", "100")];
    let handshake = http(server.ingress, "OPTIONS", "/", &origin, b"");
    assert_eq!(handshake.status, 200);
    assert_eq!(handshake.header("webhook-allowed-origin"), Some("shop.example"));
    assert_eq!(handshake.header("webhook-allowed-rate"), Some("*"));
}

/// Sends raw bytes to the broker; what comes back until it closes the connection.
fn raw(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.broker).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn remoting_garbage_closes_its_own_connection_only() {
    let server = Server::start("");
    let mut huge = 0x7FFF_FFFFu32.to_be_bytes().to_vec();
    huge.extend([0; 16]);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 64], &[0, 0, 0, 0, 0, 0, 0, 0], &huge] {
        assert!(raw(&server, garbage).is_empty());
    }
    assert_eq!(server.post_event("/", "1", "t").status, 202);
    assert!(server.metric("halley_broken_connections_total") >= 4.0);
}

#[test]
fn unknown_request_codes_are_answered_and_the_connection_goes_on() {
    let server = Server::start("");
    for (address, known) in [
        (server.broker, BrokerCode::GetMaxOffset.number()),
        (server.namesrv, NamesrvCode::GetBrokerClusterInfo.number()),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut ask = |code, opaque| {
            let mut bytes = BytesMut::new();
            encode::request(
                &mut bytes,
                Request::new(code, opaque),
                &[("topic", "T".into()), ("queueId", 0.into())],
                b"",
            )
            .unwrap();
            stream.write_all(&bytes).unwrap();
            let mut answer = Vec::new();
            loop {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0, "the connection stays open");
                answer.extend_from_slice(&buffer[..read]);
                if let Some((frame, _)) = frame::decode(&answer, &frame::Limits::default()).unwrap() {
                    assert_eq!(frame.opaque, opaque);
                    return (ResponseCode::of(frame.code), frame.remark.map(String::from));
                }
            }
        };
        let (code, remark) = ask(9999, 7);
        assert_eq!(code, ResponseCode::RequestCodeNotSupported);
        assert_eq!(remark.as_deref(), Some(" request type 9999 not supported"));
        assert_eq!(ask(known, 8).0, ResponseCode::Success);
    }
}

fn halley(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_halley")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn configurations_are_refused_with_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "buses:\n  a: {tpoic: X}\nrules:\n  - {name: r, from: {bus: b}, to: t}\n").unwrap();
    for command in [&["validate", path][..], &["dev", path]] {
        let (code, text) = halley(command);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("bad.yaml:2:7: error: unknown key `tpoic`"), "{text}");
        assert!(text.contains("did you mean `topic`?"), "{text}");
        assert!(text.contains("bad.yaml:4:27: error: there is no bus named `b`"), "{text}");
        assert!(text.contains("there is no target named `t`"), "{text}");
    }
    let (code, text) = halley(&["validate", "--json", path]);
    assert_eq!(code, Some(78));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["errors"].as_array().unwrap().len(), 3, "{json}");
}

#[test]
fn only_loopback_without_insecure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("open.yaml");
    let [port] = free_ports();
    let config = format!(
        "server: {{data: {}, ingress: {{listen: \"0.0.0.0:{}\"}}}}\n",
        dir.path().join("d").display(),
        port.port()
    );
    std::fs::write(&file, config).unwrap();
    let (code, text) = halley(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("server.ingress.listen") && text.contains("--insecure"), "{text}");
}

#[test]
fn the_examples_are_valid_and_their_tests_pass() {
    let (code, text) = halley(&["validate", "examples/quickstart/halley.yaml"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = halley(&["test", "examples/quickstart/halley.yaml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 failed") && !text.contains("0 passed"), "{text}");
}
