//! Events from the official CloudEvents SDKs for Java, Python and JavaScript arrive unchanged.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

mod common;

use common::{Server, Sink, clients};
use std::process::Command;

#[test]
fn events_of_every_sdk_arrive_unchanged() {
    let Some(clients) = clients() else { return };
    let sink = Sink::start();
    let server = Server::start(&format!(
        "targets: {{sink: {{http: {{url: \"http://{}/\"}}}}}}\nrules:\n  - {{name: r, from: {{bus: default}}, to: sink}}\n",
        sink.address
    ));
    let url = format!("http://{}/", server.ingress);
    let mut expected = 0;
    for sdk in ["py", "js", "java"] {
        for mode in ["binary", "structured"] {
            let mut command = match sdk {
                "py" => {
                    let mut python = Command::new(clients.join("python/bin/python"));
                    python.arg("tests/clients/python/send.py");
                    python
                }
                "js" => {
                    let mut node = Command::new("node");
                    node.arg(clients.join("node/send.js"));
                    node
                }
                _ => {
                    let mut java = Command::new("java");
                    let folder = clients.display();
                    java.arg("-cp")
                        .arg(format!("{folder}/java-cloudevents:{folder}/cloudevents-4.0.1/*"))
                        .arg("Send");
                    java
                }
            };
            let output = command.args([&url, mode]).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{sdk} {mode}: {printed} {}",
                String::from_utf8_lossy(&output.stderr)
            );
            expected += 4;
        }
    }
    let received = sink.wait(expected);
    for sdk in ["py", "js", "java"] {
        for mode in ["binary", "structured"] {
            let event = |number: usize| {
                let id = format!("{sdk}-{mode}-{number}");
                let found = received.iter().find(|request| request.header("ce-id").as_deref() == Some(&id));
                found.unwrap_or_else(|| panic!("{id} did not arrive")).clone()
            };
            let json: serde_json::Value = serde_json::from_slice(&event(0).body).unwrap();
            assert_eq!(json, serde_json::json!({"message": "grüße", "n": 1}), "{sdk} {mode}");
            assert_eq!(event(1).body, b"plain text", "{sdk} {mode}");
            assert!(event(1).header("ce-subject").unwrap().starts_with("a%20b"), "{sdk} {mode}");
            assert_eq!(event(1).header("ce-myext").as_deref(), Some("x"), "{sdk} {mode}");
            assert_eq!(event(2).body, [0, 1, 255], "{sdk} {mode}");
            assert!(event(3).body.is_empty(), "{sdk} {mode}");
        }
    }
}
