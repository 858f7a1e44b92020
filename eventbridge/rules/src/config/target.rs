//! `targets`: where events are delivered.

use super::check_name;
use crate::{
    diagnostic::Diagnostic,
    read::{Problems, Table, entries, integer, millis, text, word},
    yaml::{Key, Node, Value},
};
use std::time::Duration;

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The HTTP endpoint.
    pub http: HttpTarget,
    /// Most deliveries at a time.
    pub max_inflight: usize,
}

/// An HTTP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// `http://` or `https://`, checked for its form.
    pub url: String,
    /// How events are written.
    pub mode: Mode,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Headers added to each request.
    pub headers: Vec<(String, String)>,
}

/// How an event is written into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Attributes as headers, data as the body.
    Binary,
    /// Everything as JSON.
    Structured,
}

/// HTTP statuses: single ones, and whole hundreds such as `5xx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet {
    ranges: Vec<(u16, u16)>,
}

impl Default for StatusSet {
    /// What Knative retries (`docs/spec/data-plane.md`): 404, 408, 409, 429 and all 5xx.
    fn default() -> Self {
        Self { ranges: vec![(404, 404), (408, 409), (429, 429), (500, 599)] }
    }
}

impl StatusSet {
    /// The statuses as ranges, both ends included.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Whether a status belongs to it.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }
}

/// In-flight deliveries of a target that does not say.
const MAX_INFLIGHT: usize = 64;

/// Headers that Halley itself sets.
const OWN_HEADERS: [&str; 6] =
    ["content-type", "content-length", "host", "transfer-encoding", "connection", "expect"];

pub(super) fn read(key: &Key, node: &Node, problems: &mut Problems) -> Option<Target> {
    let mut table = Table::of(node, problems);
    let http = table.need("http", problems).and_then(|node| read_http(node, problems));
    let mut max_inflight = MAX_INFLIGHT;
    if let Some(node) = table.get("limits") {
        let mut limits = Table::of(node, problems);
        if let Some(found) = limits.get("maxInflight").and_then(|node| integer(node, 1, 10_000, problems)) {
            max_inflight = found as usize;
        }
        limits.finish(problems);
    }
    table.finish(problems);
    let named = check_name("target", &key.name, key.at, problems);
    (named).then_some(Target { name: key.name.clone(), http: http?, max_inflight })
}

fn read_http(node: &Node, problems: &mut Problems) -> Option<HttpTarget> {
    let mut table = Table::of(node, problems);
    let url = table.need("url", problems).and_then(|node| read_url(node, problems));
    let modes = [("binary", Mode::Binary), ("structured", Mode::Structured)];
    let mode = table.get("mode").map_or(Some(Mode::Binary), |node| word(node, &modes, problems));
    let timeout = table.get("timeout").map_or(Some(30_000), |node| millis(node, 1, 600_000, problems));
    let headers = table.get("headers").map_or(Some(Vec::new()), |node| read_headers(node, problems));
    table.finish(problems);
    Some(HttpTarget { url: url?, mode: mode?, timeout: Duration::from_millis(timeout?), headers: headers? })
}

fn read_url(node: &Node, problems: &mut Problems) -> Option<String> {
    let url = text(node, problems)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let fine = host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace));
    let problem = match host {
        _ if url.contains(|c: char| c.is_whitespace() || c.is_control()) => Some("a URL has no spaces"),
        Some(host) if host.contains('@') => Some("credentials do not belong into a URL"),
        _ if !fine || url.parse::<http::Uri>().is_err() => Some("expected `http://HOST…` or `https://HOST…`"),
        _ => None,
    };
    match problem {
        Some(problem) => {
            problems.push(Diagnostic::new(node.at, problem));
            None
        }
        None => Some(url),
    }
}

fn read_headers(node: &Node, problems: &mut Problems) -> Option<Vec<(String, String)>> {
    let written = entries(node, problems);
    let mut headers = Vec::with_capacity(written.len());
    for (key, value) in written {
        let name = key.name.to_ascii_lowercase();
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            problems.push(Diagnostic::new(key.at, format!("`{}` is not a header's name", key.name)));
            continue;
        }
        if OWN_HEADERS.contains(&name.as_str()) || name.starts_with("ce-") {
            problems.push(Diagnostic::new(key.at, format!("the header `{name}` is set by Halley itself")));
            continue;
        }
        let Some(text) = text(value, problems) else { continue };
        if text.chars().any(|c| c.is_control()) || !text.is_ascii() {
            problems.push(Diagnostic::new(value.at, "a header's value is printable ASCII"));
            continue;
        }
        headers.push((name, text));
    }
    (headers.len() == written.len()).then_some(headers)
}

/// `[404, 408, 5xx]`.
pub(super) fn read_statuses(node: &Node, problems: &mut Problems) -> Option<StatusSet> {
    let mut ranges = Vec::new();
    for item in crate::read::list(node, problems) {
        let written = match &item.value {
            Value::Text { text, .. } => text.as_str(),
            Value::List(_) | Value::Map(_) => "",
        };
        let range = match written.strip_suffix("xx").map(str::parse::<u16>) {
            Some(Ok(hundred @ 4..=5)) => Some((hundred * 100, hundred * 100 + 99)),
            Some(_) => None,
            None => {
                written.parse::<u16>().ok().filter(|code| (400..=599).contains(code)).map(|code| (code, code))
            }
        };
        match range {
            Some(range) => ranges.push(range),
            None => {
                let message = "expected a status from 400 to 599, `4xx` or `5xx`";
                problems.push(Diagnostic::new(item.at, message));
            }
        }
    }
    Some(StatusSet { ranges })
}
