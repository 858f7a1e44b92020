//! A client program that consumes until it is told to end.

use super::{PATIENCE, Rocketmq, Server};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// A running consumer, and what it prints. It is killed when dropped.
pub struct Consumer {
    child: Child,
    lines: Receiver<String>,
}

impl Consumer {
    /// Starts `consume` with these arguments behind the name server.
    pub fn start(client: Rocketmq, clients: &Path, server: &Server, arguments: &[&str]) -> Self {
        let namesrv = server.namesrv.to_string();
        let arguments: Vec<_> = ["consume", &namesrv].iter().chain(arguments).copied().collect();
        let mut command = client.command(clients, &arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (printed, lines) = channel();
        // Ends with the program, or when nobody listens any more.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if printed.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits until it prints this.
    pub fn wait(&mut self, wanted: &str) {
        while self.lines.recv_timeout(PATIENCE).unwrap() != wanted {}
    }

    /// The next message.
    pub fn message(&mut self) -> Value {
        self.message_within(PATIENCE).expect("a message")
    }

    /// The next message, `None` where the next line, whatever it is, takes longer or there is none.
    pub fn message_within(&mut self, limit: Duration) -> Option<Value> {
        loop {
            if let Ok(message @ Value::Object(_)) =
                serde_json::from_str(&self.lines.recv_timeout(limit).ok()?)
            {
                return Some(message);
            }
        }
    }

    /// So many messages.
    pub fn messages(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.message()).collect()
    }

    /// Tells it something.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The messages that were not asked for yet, once it has ended.
    pub fn printed(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.message_within(PATIENCE)).collect()
    }

    /// Waits for its end, which must be a good one; the messages that were not asked for yet.
    pub fn rest(&mut self) -> Vec<Value> {
        let messages = self.printed();
        assert!(self.child.wait().unwrap().success(), "{messages:?}");
        messages
    }

    /// Tells it to end, and waits for that; the messages that were not asked for yet.
    pub fn end(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        self.rest()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.kill();
    }
}
