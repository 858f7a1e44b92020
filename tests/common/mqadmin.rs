//! The real `mqadmin` of RocketMQ 5.5.0.

use super::{Server, clients, home, java};
use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The jars of RocketMQ's tools, or `None` with a line that says how to get them.
pub fn tools() -> Option<PathBuf> {
    clients()?;
    Some(home()?.join("rocketmq-5.5.0/lib"))
}

/// A JVM with these jars, in which nobody has settings of their own.
fn program(jars: &Path) -> Command {
    let mut java = java(&clients().expect("there with the jars"), "mqadmin", jars);
    java.arg("-Duser.home=/nonexistent");
    java
}

/// Runs `mqadmin` once for each line, all in one JVM; what each printed. `NS` and `BROKER` stand for the server's addresses.
pub fn mqadmin(jars: &Path, server: &Server, lines: &[&str]) -> Vec<String> {
    mqadmin_at(jars, server.namesrv, server.broker, lines)
}

/// The same, of a broker and name server at these addresses.
pub fn mqadmin_at(jars: &Path, namesrv: SocketAddr, broker: SocketAddr, lines: &[&str]) -> Vec<String> {
    let mut child = program(jars)
        .arg("MqAdmin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = String::new();
    for line in lines {
        let line = line.replace("NS", &namesrv.to_string());
        input += &line.replace("BROKER", &broker.to_string()).replace(' ', "\t");
        input.push('\n');
    }
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<String> =
        text.split('\u{1}').skip(1).map(|answer| answer.split('\u{2}').next().unwrap().to_owned()).collect();
    assert_eq!(answers.len(), lines.len(), "{text}");
    answers
}

/// Runs `mqadmin` once, in a JVM of its own; what it printed.
pub fn mqadmin_once(jars: &Path, namesrv: SocketAddr, arguments: &[&str]) -> String {
    let output = program(jars)
        .arg("org.apache.rocketmq.tools.command.MQAdminStartup")
        .args(arguments)
        .args(["-n", &namesrv.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
