//! What a script of requests is, and how it is run against both servers.

use super::compare::{self, Difference};
use crate::common::{Server, oracle::Oracle, remoting::Connection};
use halley_wire::{
    Serialize,
    batch::{self, BatchMessage},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Requests that follow on each other.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
}

pub(crate) enum Step {
    /// A request to both, whose answers are compared.
    Ask(Case),
    /// Remembers a time that lies after all that happened and before all that will, as `{name}`.
    Time(&'static str),
    /// Lets pass what happens only with time.
    Pause(Duration),
    /// Both connections are closed, and opened anew.
    Reconnect,
}

/// One request. In its fields and body `{T}` is a name that no other script has, which topics and groups begin with, and
/// `{name}` what [`Step::Time`] remembered.
#[derive(Clone)]
pub(crate) struct Case {
    name: String,
    to: To,
    code: i32,
    /// `name=value; name=value`.
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    oneway: bool,
    /// Under which name the reply's fields are remembered.
    keep: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Namesrv,
    Broker,
}

impl To {
    fn role(self) -> Role {
        match self {
            Self::Namesrv => "name_server",
            Self::Broker => "broker",
        }
    }
}

/// A request to the broker.
pub(crate) fn ask(code: i32, name: &str, fields: &str) -> Case {
    let fields = fields_of(fields);
    Case { name: name.to_owned(), to: To::Broker, code, fields, body: Vec::new(), oneway: false, keep: None }
}

/// A request to the name server.
pub(crate) fn ask_namesrv(code: i32, name: &str, fields: &str) -> Case {
    Case { to: To::Namesrv, ..ask(code, name, fields) }
}

impl Case {
    /// The same with these fields changed or added; `name=` alone leaves the field out.
    pub(crate) fn with(mut self, fields: &str) -> Self {
        for (name, value) in fields_of(fields) {
            self.fields.retain(|(known, _)| *known != name);
            if !value.is_empty() {
                self.fields.push((name, value));
            }
        }
        self
    }

    pub(crate) fn body(self, body: &str) -> Self {
        Self { body: body.as_bytes().to_vec(), ..self }
    }

    pub(crate) fn bytes(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    /// Remembers the reply's fields as `{name.field}`, and the log offset that a message id ends with as `{name.offset}`; for
    /// each server its own.
    pub(crate) fn keep(self, name: &'static str) -> Self {
        Self { keep: Some(name), ..self }
    }

    /// No reply is wanted, and none may come: it would be taken for the next request's.
    pub(crate) fn oneway(self) -> Self {
        Self { oneway: true, ..self }
    }

    /// The same request as often as it has fields, each time without another one.
    pub(crate) fn without_each_field(self) -> impl Iterator<Item = Step> {
        let fields = self.fields.clone();
        fields.into_iter().map(move |(name, _)| {
            let case = self.clone().with(&format!("{name}="));
            Step::Ask(Case { name: format!("{} without {name}", self.name), ..case })
        })
    }

    /// Whether asking again changes nothing, so that an answer may be asked for until it has settled: the oracle indexes
    /// messages and registers topics behind the reply.
    fn is_read(&self) -> bool {
        const WRITES: [i32; 39] = [
            10, 15, 17, 18, 25, 34, 35, 36, 37, 41, 42, 100, 102, 103, 104, 200, 205, 207, 215, 216, 217,
            222, 225, 310, 314, 318, 320, 322, 327, 353, 370, 904, 200_050, 200_051, 200_053, 200_070,
            200_071, 200_072, 200_151,
        ];
        !WRITES.contains(&self.code)
    }
}

impl From<Case> for Step {
    fn from(case: Case) -> Self {
        Self::Ask(case)
    }
}

/// A batch's body, of messages with these bodies and properties.
pub(crate) fn batch_of(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (body, properties) in messages {
        let (body, properties) = (body.as_bytes(), properties.as_bytes());
        assert!(batch::push(&mut out, BatchMessage { flag: 0, body, properties }));
    }
    out
}

fn fields_of(text: &str) -> Vec<(String, String)> {
    let fields = text.split("; ").filter(|field| !field.is_empty());
    fields
        .map(|field| {
            let (name, value) = field.split_once('=').expect("a field is written name=value");
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// Both servers, and what one run of a script remembers.
pub(crate) struct Pair {
    oracle: Peer,
    halley: Peer,
    serialize: Serialize,
    /// Whether it is known why an answer differs so.
    is_expected: fn(&Difference) -> bool,
    values: BTreeMap<&'static str, String>,
    settle_rounds: u32,
    /// The request codes of the cases asked, by `script/case`.
    pub(crate) asked: Vec<(String, Role, i32)>,
}

/// Who is asked, as Halley's metrics call it.
pub(crate) type Role = &'static str;

struct Peer {
    addresses: compare::Addresses,
    /// To the name server and to the broker.
    connections: Option<[Connection; 2]>,
    /// What [`Case::keep`] remembered.
    kept: BTreeMap<String, String>,
}

/// An answer that may not have settled is asked for again after this time.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// So often in one run of a script, and no more: where many answers differ, waiting does not help.
const SETTLE_ROUNDS_MAX: u32 = 40;

impl Pair {
    /// `is_expected` says of which differences it is known why.
    pub(crate) fn new(
        oracle: &Oracle,
        halley: &Server,
        serialize: Serialize,
        is_expected: fn(&Difference) -> bool,
    ) -> Self {
        let peer = |namesrv, broker| Peer {
            addresses: compare::Addresses { namesrv, broker },
            connections: None,
            kept: BTreeMap::new(),
        };
        Self {
            oracle: peer(oracle.namesrv, oracle.broker),
            halley: peer(halley.namesrv, halley.broker),
            serialize,
            is_expected,
            values: BTreeMap::new(),
            settle_rounds: SETTLE_ROUNDS_MAX,
            asked: Vec::new(),
        }
    }

    /// Performs a step; where the answers differ.
    pub(crate) fn step(&mut self, script: &str, step: &Step) -> Vec<Difference> {
        match step {
            Step::Ask(case) => self.compare(script, case),
            Step::Time(name) => {
                let pause = || thread::sleep(Duration::from_millis(5));
                pause();
                self.values.insert(name, now());
                pause();
                Vec::new()
            }
            Step::Pause(time) => {
                thread::sleep(*time);
                Vec::new()
            }
            Step::Reconnect => {
                self.oracle.connections = None;
                self.halley.connections = None;
                Vec::new()
            }
        }
    }

    fn compare(&mut self, script: &str, case: &Case) -> Vec<Difference> {
        // A binary header has 16 bits for the code (`RemotingCommand`, 5.5).
        if self.serialize == Serialize::Binary && i16::try_from(case.code).is_err() {
            return Vec::new();
        }
        let name = format!("{script}/{}", case.name);
        self.asked.push((name.clone(), case.to.role(), case.code));
        let case = self.filled_in(script, case);
        loop {
            let found = self.compare_once(&name, &case);
            let settled = found.iter().all(|difference| (self.is_expected)(difference));
            if settled || !case.is_read() || self.settle_rounds == 0 {
                return found;
            }
            self.settle_rounds -= 1;
            thread::sleep(SETTLE_PAUSE);
        }
    }

    fn compare_once(&mut self, name: &str, case: &Case) -> Vec<Difference> {
        let oracle = self.oracle.ask(self.serialize, case);
        let halley = self.halley.ask(self.serialize, case);
        compare::differences(name, &oracle, &halley)
    }

    fn filled_in(&self, script: &str, case: &Case) -> Case {
        let fill = |text: &str| {
            let form = if self.serialize == Serialize::Json { "j" } else { "b" };
            let text = text.replace("{T}", &format!("{script}-{form}"));
            filled(&text, self.values.iter().map(|(name, value)| (*name, value)))
        };
        let body = match std::str::from_utf8(&case.body) {
            Ok(text) => fill(text).into_bytes(),
            Err(_) => case.body.clone(),
        };
        let fields = case.fields.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        Case { fields, body, ..case.clone() }
    }
}

impl Peer {
    fn ask(&mut self, serialize: Serialize, case: &Case) -> Value {
        let compare::Addresses { namesrv, broker } = self.addresses;
        let connections = self.connections.get_or_insert_with(|| [namesrv, broker].map(Connection::open));
        let filled_in =
            |value: &str| filled(value, self.kept.iter().map(|(name, value)| (name.as_str(), value)));
        let fields: Vec<_> =
            case.fields.iter().map(|(name, value)| (name.clone(), filled_in(value))).collect();
        let connection = &mut connections[usize::from(case.to == To::Broker)];
        if case.oneway {
            connection.tell(serialize, case.code, &fields, &case.body);
            return Value::Null;
        }
        let reply = connection.ask(serialize, case.code, &fields, &case.body);
        match reply.unwrap_or_else(|error| panic!("{broker} does not reply to {}: {error}", case.name)) {
            Some(reply) => {
                if let Some(name) = case.keep {
                    let offset =
                        reply.ext.get("msgId").and_then(|id| u64::from_str_radix(id.get(16..)?, 16).ok());
                    self.kept.insert(format!("{name}.offset"), offset.unwrap_or_default().to_string());
                    let fields =
                        reply.ext.iter().map(|(field, value)| (format!("{name}.{field}"), value.clone()));
                    self.kept.extend(fields);
                }
                compare::comparable(case.code, &reply, &self.addresses)
            }
            None => {
                self.connections = None;
                Value::String("the connection was closed".to_owned())
            }
        }
    }
}

/// The text with each `{name}` replaced by its value.
fn filled<'a>(text: &str, values: impl Iterator<Item = (&'a str, &'a String)>) -> String {
    values.fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn now() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis().to_string()
}
