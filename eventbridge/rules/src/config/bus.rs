//! `buses` and `routes`: where events are stored.

use super::{Placed, check_name, conditions, retention, server, server::Durability, topic, unknown};
use crate::{
    condition::Condition,
    diagnostic::{Diagnostic, Position},
    facts::Facts,
    read::{Problems, Table, integer, list, text},
    template::Template,
    yaml::{Key, Node, Value},
};
use halley_model::{QUEUES_MAX, TopicName};
use std::collections::BTreeMap;

/// The bus that `POST /` goes to, and that always exists.
pub const DEFAULT_BUS: &str = "default";

/// Queues of a bus that does not say.
const QUEUES: u32 = 8;

/// A bus: events posted to it are stored in its topic.
#[derive(Debug, Clone)]
pub struct Bus {
    /// Its name, part of the URL.
    pub name: String,
    /// The topic that holds its events.
    pub topic: TopicName,
    /// The topic's queues.
    pub queues: u32,
    /// Further copies of some events.
    pub routes: Vec<Route>,
    /// For how long its events are kept, in milliseconds, `u64::MAX` for ever; `None` for as long as everything.
    pub retention_ms: Option<u64>,
    /// When an event counts as stored; `None` for what the server says.
    pub durability: Option<Durability>,
    /// The attribute by which events must stay in order: events with the same value go to the same queue.
    pub order_key: Option<String>,
}

/// A further copy of events that match.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// All must hold; empty for every event.
    pub when: Vec<Condition>,
    /// The topic that gets the copy.
    pub topic: TopicName,
    /// The copy's tag.
    pub tag: Option<Template>,
    /// The copy's keys.
    pub keys: Vec<Template>,
}

impl Bus {
    pub(super) fn default_bus() -> Self {
        Self::new(DEFAULT_BUS)
    }

    fn new(name: &str) -> Self {
        let topic =
            TopicName::new(&format!("BUS_{name}")).expect("a checked name of at most 64 bytes makes a topic");
        Self {
            name: name.to_owned(),
            topic,
            queues: QUEUES,
            routes: Vec::new(),
            retention_ms: None,
            durability: None,
            order_key: None,
        }
    }
}

impl Route {
    /// Whether an event gets a copy.
    pub fn matches(&self, event: &dyn Facts) -> bool {
        self.when.iter().all(|condition| condition.matches(event))
    }
}

pub(super) fn read(key: &Key, node: &Node, problems: &mut Problems) -> Option<Bus> {
    let mut table = Table::of(node, problems);
    let topic = table.get("topic").and_then(|node| topic(node, problems));
    let queues = table.get("queues").and_then(|node| integer(node, 1, u64::from(QUEUES_MAX), problems));
    let retention_ms = table.get("retention").and_then(|node| retention::age(node, problems));
    let durability = table.get("durability").and_then(|node| server::durability(node, problems));
    table.finish(problems);
    if !check_name("bus", &key.name, key.at, problems) {
        return None;
    }
    let mut bus = Bus::new(&key.name);
    if let Some(topic) = topic {
        bus.topic = topic;
    }
    if let Some(queues) = queues {
        bus.queues = queues as u32;
    }
    bus.retention_ms = retention_ms.map(|age| age.unwrap_or(u64::MAX));
    bus.durability = durability;
    Some(bus)
}

/// A route before it is joined with its bus.
pub(super) struct RouteOf {
    pub(super) name: String,
    bus: (String, Position),
    route: Route,
}

pub(super) fn read_route(
    node: &Node,
    context: &conditions::Context<'_>,
    problems: &mut Problems,
) -> Option<Placed<RouteOf>> {
    let mut table = Table::of(node, problems);
    let name = table.need("name", problems).and_then(|node| text(node, problems));
    let bus = table.need("bus", problems);
    let bus = bus.and_then(|node| Some((text(node, problems)?, node.at)));
    let when = conditions::read_when(table.get("when"), context, problems);
    let publish = table.need("publish", problems).and_then(|node| read_publish(node, problems));
    table.finish(problems);
    let name = name.filter(|name| check_name("route", name, node.at, problems))?;
    let (topic, tag, keys) = publish?;
    let route = Route { name: name.clone(), when: when?, topic, tag, keys };
    Some(Placed { at: node.at, value: RouteOf { name, bus: bus?, route } })
}

type Publish = (TopicName, Option<Template>, Vec<Template>);

fn read_publish(node: &Node, problems: &mut Problems) -> Option<Publish> {
    let mut table = Table::of(node, problems);
    let to = table.need("topic", problems).and_then(|node| topic(node, problems));
    let tag = table.get("tag").map(|node| read_template(node, problems));
    let keys = table.get("keys").map(|node| match &node.value {
        Value::List(_) => list(node, problems).iter().map(|node| read_template(node, problems)).collect(),
        _ => vec![read_template(node, problems)],
    });
    table.finish(problems);
    // A template that could not be read was reported.
    let tag = match tag {
        Some(tag) => Some(tag?),
        None => None,
    };
    let keys: Option<Vec<_>> = keys.unwrap_or_default().into_iter().collect();
    Some((to?, tag, keys?))
}

fn read_template(node: &Node, problems: &mut Problems) -> Option<Template> {
    let written = text(node, problems)?;
    Template::parse(&written).map_err(|error| problems.push(Diagnostic::new(node.at, error))).ok()
}

/// Each bus has a topic of its own, or rules of one bus would see the events of the other.
pub(super) fn check_topics(buses: &[Bus], node: Option<&Node>, problems: &mut Problems) {
    let Some(Node { value: Value::Map(written), .. }) = node else { return };
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for bus in buses.iter().filter(|bus| bus.name == DEFAULT_BUS).chain(buses) {
        let owner = owners.entry(bus.topic.as_str()).or_insert(bus.name.as_str());
        if *owner == bus.name {
            continue;
        }
        let at =
            written.iter().find(|(key, _)| key.name == bus.name).map_or(Position::START, |(key, _)| key.at);
        let message = format!("the buses `{owner}` and `{}` have the same topic {}", bus.name, bus.topic);
        problems.push(Diagnostic::new(at, message));
    }
}

/// Hands each route to its bus.
pub(super) fn join_routes(routes: Vec<Placed<RouteOf>>, buses: &mut [Bus], problems: &mut Problems) {
    for Placed { value: RouteOf { bus: (name, at), route, .. }, at: route_at } in routes {
        match buses.iter_mut().find(|bus| bus.name == name) {
            Some(bus) if bus.topic == route.topic => {
                let message =
                    format!("the topic {} is the bus's own, which has every event already", bus.topic);
                problems.push(Diagnostic::new(route_at, message));
            }
            Some(bus) => bus.routes.push(route),
            None => problems.push(unknown("bus", &name, at, buses.iter().map(|bus| bus.name.as_str()))),
        }
    }
}
