//! The sections of a configuration, each in a file of its own, and what ties them together.

mod bus;
mod conditions;
mod retention;
mod rule;
mod scrub;
mod server;
mod target;
mod tests_section;
mod tls;

pub use bus::{Bus, DEFAULT_BUS, Route};
pub use retention::Retention;
pub use rule::{Growth, Retry, Rule};
pub use scrub::Scrub;
pub use server::{Durability, Server};
pub use target::{HttpTarget, Mode, StatusSet, Target};
pub use tests_section::TestCase;
pub use tls::{TlsFiles, TlsMode, TlsSection};

use crate::{
    diagnostic::{Diagnostic, Position, closest},
    read::{Problems, Table, entries, list, text},
    yaml::{Key, Node},
};
use halley_model::TopicName;
use std::collections::BTreeMap;

/// The value of `apiVersion`.
pub const API_VERSION: &str = "halley/v1";

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the server listens and stores.
    pub server: Server,
    /// The buses; there is always one named [`DEFAULT_BUS`].
    pub buses: Vec<Bus>,
    /// The targets.
    pub targets: Vec<Target>,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The file's own tests.
    pub tests: Vec<TestCase>,
}

impl Config {
    /// The bus of that name.
    pub fn bus(&self, name: &str) -> Option<&Bus> {
        self.buses.iter().find(|bus| bus.name == name)
    }
}

impl Default for Config {
    /// What an empty file says: the bus `default`, and nothing else.
    fn default() -> Self {
        crate::load("").expect("an empty configuration is valid")
    }
}

/// Reads all sections. Errors go to `problems`; the result is whole only without any.
pub(crate) fn read(root: &Node, source: &str, problems: &mut Problems) -> Config {
    let mut table = Table::of(root, problems);
    if let Some(node) = table.get("apiVersion")
        && let Some(version) = text(node, problems)
        && version != API_VERSION
    {
        problems.push(Diagnostic::new(node.at, format!("expected `{API_VERSION}`, found `{version}`")));
    }
    let server = server::read(table.get("server"), problems);
    let buses_node = table.get("buses");
    let mut buses = named(buses_node, problems, bus::read);
    if !buses.iter().any(|bus| bus.name == DEFAULT_BUS) {
        buses.push(Bus::default_bus());
    }
    let targets = named(table.get("targets"), problems, target::read);
    let context = conditions::Context { source };
    let routes = table.get("routes").map_or(&[][..], |node| list(node, problems));
    let routes: Vec<_> = routes.iter().filter_map(|node| bus::read_route(node, &context, problems)).collect();
    let rules = table.get("rules").map_or(&[][..], |node| list(node, problems));
    let rules: Vec<_> = rules.iter().filter_map(|node| rule::read(node, &context, problems)).collect();
    let tests = table.get("tests").map_or(&[][..], |node| list(node, problems));
    let tests: Vec<_> = tests.iter().filter_map(|node| tests_section::read(node, problems)).collect();
    table.finish(problems);

    if server.broker.is_none()
        && let Some(rule) = rules.first()
    {
        problems.push(Diagnostic::new(
            rule.at,
            "rules read the broker of their process, and `server.broker` is false",
        ));
    }
    check_distinct("route", routes.iter().map(|route| (route.value.name.as_str(), route.at)), problems);
    check_distinct("rule", rules.iter().map(|rule| (rule.value.name.as_str(), rule.at)), problems);
    bus::check_topics(&buses, buses_node, problems);
    bus::join_routes(routes, &mut buses, problems);
    rule::check_references(&rules, &buses, &targets, problems);
    rule::check_dead_letters(&rules, &buses, problems);
    rule::order_buses(&rules, &mut buses, problems);
    let rules: Vec<_> = rules.into_iter().map(|rule| rule::resolve(rule.value, &buses)).collect();
    let tests = tests_section::resolve(tests, &rules, &buses, problems);
    Config { server, buses, targets, rules, tests }
}

/// A section's value and the places that later checks report at.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) at: Position,
    pub(crate) value: T,
}

/// Reads a map from the user's names to things.
fn named<T>(
    node: Option<&Node>,
    problems: &mut Problems,
    read: impl Fn(&Key, &Node, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Vec::new() };
    entries(node, problems).iter().filter_map(|(key, value)| read(key, value, problems)).collect()
}

fn check_distinct<'a>(what: &str, names: impl Iterator<Item = (&'a str, Position)>, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, Position> = BTreeMap::new();
    for (name, at) in names {
        match seen.get(name) {
            Some(first) => problems.push(Diagnostic::new(
                at,
                format!("there is already a {what} named `{name}`, in line {}", first.line),
            )),
            None => {
                seen.insert(name, at);
            }
        }
    }
}

/// Reports a name that refers to nothing.
fn unknown<'a>(
    what: &str,
    name: &str,
    at: Position,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Diagnostic {
    let problem = Diagnostic::new(at, format!("there is no {what} named `{name}`"));
    match closest(name, known.clone()) {
        Some(candidate) => problem.help(format!("did you mean `{candidate}`?")),
        None => {
            let list = known.collect::<Vec<_>>().join(", ");
            problem.help(if list.is_empty() {
                format!("define it under `{what}s`")
            } else {
                format!("known: {list}")
            })
        }
    }
}

/// A name of the user's choice: letters, digits, `-` and `_`, at most 64, since it becomes part of topic and group names.
fn check_name(what: &str, name: &str, at: Position, problems: &mut Problems) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let fine = !name.is_empty() && name.len() <= 64 && name.chars().all(legal);
    if !fine {
        let message = format!("the {what} name `{name}` must have 1 to 64 letters, digits, `-` or `_`");
        problems.push(Diagnostic::new(at, message));
    }
    fine
}

/// The value of a node as a topic's name.
fn topic(node: &Node, problems: &mut Problems) -> Option<TopicName> {
    let name = text(node, problems)?;
    if halley_model::topic::is_system(&name) {
        problems.push(Diagnostic::new(node.at, format!("the topic `{name}` is the broker's own")));
        return None;
    }
    TopicName::new(&name).map_err(|error| problems.push(Diagnostic::new(node.at, error.to_string()))).ok()
}
