//! `tests`: events, and which rules and routes must match them.

use super::{Bus, DEFAULT_BUS, Placed, Rule, unknown};
use crate::{
    diagnostic::{Diagnostic, Position},
    read::{Problems, Table, entries, list, text},
    template::is_attribute,
    yaml::{Node, Value},
};

/// One test of the file's rules.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// The bus to which the event is posted.
    pub bus: String,
    /// The event's attributes; `specversion`, `id` and `source` have defaults.
    pub attributes: Vec<(String, String)>,
    /// The event's data.
    pub data: Option<serde_json::Value>,
    /// Rules that must match.
    pub matches: Vec<String>,
    /// Rules that must not.
    pub no_match: Vec<String>,
    /// The routes that must match, all of them, where the test says.
    pub routes: Option<Vec<String>>,
}

/// A test before its bus is known; until then that is the default bus.
pub(super) struct TestOf {
    bus: Option<String>,
    case: TestCase,
}

/// A test with its place.
pub(super) type Placing = Placed<TestOf>;

pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Placing> {
    let mut table = Table::of(node, problems);
    let name = table.need("name", problems).and_then(|node| text(node, problems));
    let bus = table.get("bus").map(|node| text(node, problems));
    let event = table.need("event", problems).and_then(|node| read_event(node, problems));
    let expect = table.need("expect", problems).map(|node| {
        let mut table = Table::of(node, problems);
        let matches = table.get("match").map_or(Vec::new(), |node| names(node, problems));
        let no_match = table.get("noMatch").map_or(Vec::new(), |node| names(node, problems));
        let routes = table.get("routes").map(|node| names(node, problems));
        if matches.is_empty() && no_match.is_empty() && routes.is_none() {
            let message = "a test that expects nothing cannot fail: give `match`, `noMatch` or `routes`";
            problems.push(Diagnostic::new(node.at, message));
        }
        table.finish(problems);
        (matches, no_match, routes)
    });
    table.finish(problems);
    let (attributes, data) = event?;
    let (matches, no_match, routes) = expect?;
    let bus = match bus {
        Some(bus) => Some(bus?),
        None => None,
    };
    let case =
        TestCase { name: name?, bus: DEFAULT_BUS.to_owned(), attributes, data, matches, no_match, routes };
    Some(Placed { at: node.at, value: TestOf { bus, case } })
}

type Event = (Vec<(String, String)>, Option<serde_json::Value>);

fn read_event(node: &Node, problems: &mut Problems) -> Option<Event> {
    let mut attributes = Vec::new();
    let mut data = None;
    let mut fine = true;
    for (key, value) in entries(node, problems) {
        if key.name == "data" {
            data = Some(value.to_json());
        } else if is_attribute(&key.name) {
            match text(value, problems) {
                Some(value) => attributes.push((key.name.clone(), value)),
                None => fine = false,
            }
        } else {
            let message = format!("`{}` is not an attribute's name: lower-case letters and digits", key.name);
            problems.push(Diagnostic::new(key.at, message));
            fine = false;
        }
    }
    for (name, default) in [("specversion", "1.0"), ("id", "test"), ("source", "/test")] {
        if !attributes.iter().any(|(known, _)| known == name) {
            attributes.push((name.to_owned(), default.to_owned()));
        }
    }
    if !attributes.iter().any(|(name, _)| name == "type") {
        problems.push(Diagnostic::new(node.at, "the event has no `type`"));
        fine = false;
    }
    fine.then_some((attributes, data))
}

/// A name or a list of names.
fn names(node: &Node, problems: &mut Problems) -> Vec<String> {
    match &node.value {
        Value::List(_) => list(node, problems).iter().filter_map(|item| text(item, problems)).collect(),
        _ => text(node, problems).into_iter().collect(),
    }
}

/// Gives each test its bus. Buses, rules and routes that tests name must be there, and each rule must read the test's bus
/// or a topic that the bus's routes publish to.
pub(super) fn resolve(
    tests: Vec<Placing>,
    rules: &[Rule],
    buses: &[Bus],
    problems: &mut Problems,
) -> Vec<TestCase> {
    let mut cases = Vec::with_capacity(tests.len());
    for Placed { at, value: TestOf { bus, mut case } } in tests {
        case.bus = bus.unwrap_or_else(|| bus_of(&case, rules, buses));
        check_references(&case, at, rules, buses, problems);
        cases.push(case);
    }
    cases
}

/// The bus of a test that names none: one that every rule and route of its expectations is about, the default bus first.
fn bus_of(case: &TestCase, rules: &[Rule], buses: &[Bus]) -> String {
    let fits = |bus: &&Bus| {
        let mut named = case.matches.iter().chain(&case.no_match);
        let read = named.all(|name| rules.iter().any(|rule| rule.name == *name && reads(rule, bus)));
        read && case.routes.iter().flatten().all(|name| bus.routes.iter().any(|route| route.name == *name))
    };
    let default = buses.iter().filter(|bus| bus.name == DEFAULT_BUS);
    default.chain(buses).find(fits).map_or_else(|| DEFAULT_BUS.to_owned(), |bus| bus.name.clone())
}

fn reads(rule: &Rule, bus: &Bus) -> bool {
    rule.topic == bus.topic || bus.routes.iter().any(|route| route.topic == rule.topic)
}

fn check_references(case: &TestCase, at: Position, rules: &[Rule], buses: &[Bus], problems: &mut Problems) {
    let Some(bus) = buses.iter().find(|bus| bus.name == case.bus) else {
        problems.push(unknown("bus", &case.bus, at, buses.iter().map(|bus| bus.name.as_str())));
        return;
    };
    for name in case.matches.iter().chain(&case.no_match) {
        match rules.iter().find(|rule| rule.name == *name) {
            None => problems.push(unknown("rule", name, at, rules.iter().map(|rule| rule.name.as_str()))),
            Some(rule) => check_reads(rule, bus, at, problems),
        }
    }
    for name in case.routes.iter().flatten() {
        if !bus.routes.iter().any(|route| route.name == *name) {
            problems.push(unknown("route", name, at, bus.routes.iter().map(|route| route.name.as_str())));
        }
    }
}

fn check_reads(rule: &Rule, bus: &Bus, at: Position, problems: &mut Problems) {
    if !reads(rule, bus) {
        let message = format!(
            "the rule `{}` reads the topic {}, where events of the bus `{}` never come",
            rule.name, rule.topic, bus.name
        );
        problems.push(Diagnostic::new(at, message).help("give the test's `bus`"));
    }
}
