//! TLS and plain connections on the same ports, with the official Java client.

use crate::common::{Rocketmq, Server, clients, remoting::Connection};
use halley_wire::Serialize;
use serde_json::Value;
use std::{fs, path::Path};

/// A name server and a broker with this section `tls`.
fn server(tls: &str) -> Server {
    Server::start_as(&format!(
        "  namesrv: {{listen: \"NAMESRV\"}}\n  broker: {{listen: \"BROKER\"}}\n  ingress: false\n{tls}"
    ))
}

/// Runs the Java client with these properties of its JVM.
fn run(clients: &Path, properties: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Rocketmq::Java5.command(clients, arguments);
    let output = command.env("JAVA_TOOL_OPTIONS", properties).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(text);
    }
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Sends with these properties; whether all were stored.
fn produce(clients: &Path, server: &Server, properties: &str, topic: &str, count: usize) -> bool {
    let (namesrv, count) = (server.namesrv.to_string(), count.to_string());
    let arguments = ["produce", &namesrv, topic, &count, "--body-size", "100000"];
    run(clients, properties, &arguments).is_ok_and(|lines| lines.len().to_string() == count)
}

fn consume(
    clients: &Path,
    server: &Server,
    properties: &str,
    topic: &str,
    group: &str,
    count: usize,
) -> usize {
    let (namesrv, count) = (server.namesrv.to_string(), count.to_string());
    let arguments = ["consume", &namesrv, topic, group, "--expect", &count];
    let lines = run(clients, properties, &arguments).unwrap_or_else(|output| panic!("{output}"));
    lines.iter().filter(|line| line.get("body").is_some()).count()
}

/// Whoever does not ask for authentication of the server.
const ANY: &str = "-Dtls.enable=true";

#[test]
fn both_kinds_of_clients_share_the_ports() {
    let Some(clients) = clients() else { return };
    let server = server("");
    assert!(produce(&clients, &server, ANY, "SHARED", 20));
    assert!(produce(&clients, &server, "-Dtls.enable=false", "SHARED", 10));
    assert_eq!(consume(&clients, &server, ANY, "SHARED", "sealed", 30), 30);
    assert_eq!(consume(&clients, &server, "-Dtls.enable=false", "SHARED", "plain", 30), 30);
}

#[test]
fn an_enforced_certificate_is_checked() {
    let Some(clients) = clients() else { return };
    let files = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.display(), key.display());
    let server = server(&format!("  tls: {{mode: enforcing, cert: \"{cert}\", key: \"{key}\"}}"));
    let checked = format!(
        "-Dtls.enable=true -Dtls.test.mode.enable=false -Dtls.client.authServer=true -Dtls.client.trustCertPath={cert}"
    );
    assert!(produce(&clients, &server, &checked, "CHECKED", 5));
    assert_eq!(consume(&clients, &server, &checked, "CHECKED", "readers", 5), 5);
    assert!(
        !produce(&clients, &server, "-Dtls.enable=false", "CHECKED", 1),
        "a plain client gets no further"
    );
    let answer = Connection::open(server.broker).ask(Serialize::Json, 105, &[], b"");
    assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
    // Whoever trusts somebody else refuses the server.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let stranger = files.path().join("stranger.pem");
    fs::write(&stranger, other).unwrap();
    let trusting_another = checked.replace("cert.pem", "stranger.pem");
    assert!(!produce(&clients, &server, &trusting_another, "CHECKED", 1));
}

#[test]
fn disabled_means_plain_only() {
    let Some(clients) = clients() else { return };
    let server = server("  tls: {mode: disabled}");
    assert!(produce(&clients, &server, "-Dtls.enable=false", "PLAIN", 5));
    assert!(!produce(&clients, &server, ANY, "PLAIN", 1));
}
