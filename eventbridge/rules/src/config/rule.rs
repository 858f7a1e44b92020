//! `rules`: which events go to which target, and how hard to try.

use super::{Bus, Placed, StatusSet, Target, check_name, conditions, target::read_statuses, topic, unknown};
use crate::{
    condition::Condition,
    diagnostic::{Diagnostic, Position},
    facts::Facts,
    read::{Problems, Table, integer, millis, text, word},
    template::is_attribute,
    yaml::Node,
};
use halley_model::{TopicName, name};
use std::time::Duration;

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The topic it reads.
    pub topic: TopicName,
    /// The bus whose topic that is, if it was named by its bus.
    pub bus: Option<String>,
    /// All must hold; empty for everything.
    pub when: Vec<Condition>,
    /// The target's name.
    pub target: String,
    /// The attribute by which deliveries stay in order.
    pub order_key: Option<String>,
    /// How hard to try.
    pub retry: Retry,
    /// The topic of dead letters; `%DLQ%<target>` where absent.
    pub dead_letter: Option<TopicName>,
}

/// When to try again, and when to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// No attempt begins later than this after the first.
    pub max_age: Duration,
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How the wait grows.
    pub growth: Growth,
    /// Whether chance spreads the wait over its whole length.
    pub jitter: bool,
    /// Answers after which to try again; no answer at all always is.
    pub statuses: StatusSet,
    /// The longest `Retry-After` that is obeyed.
    pub retry_after_max: Duration,
}

/// How the wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Doubling.
    Exponential,
    /// By the first wait.
    Linear,
}

impl Default for Retry {
    /// 12 attempts within 24 h, from 500 ms doubling to 5 min with full jitter, `Retry-After` up to 10 min.
    fn default() -> Self {
        Self {
            max_attempts: 12,
            max_age: Duration::from_secs(24 * 3600),
            initial: Duration::from_millis(500),
            max: Duration::from_secs(300),
            growth: Growth::Exponential,
            jitter: true,
            statuses: StatusSet::default(),
            retry_after_max: Duration::from_secs(600),
        }
    }
}

impl Rule {
    /// Whether an event is for the rule's target.
    pub fn matches(&self, event: &dyn Facts) -> bool {
        self.when.iter().all(|condition| condition.matches(event))
    }
}

/// A rule before its references are resolved.
pub(super) struct RuleOf {
    pub(super) name: String,
    from: From,
    when: Vec<Condition>,
    target: (String, Position),
    delivery: Delivery,
}

enum From {
    Bus(String, Position),
    Topic(TopicName),
}

impl From {
    /// The topic to read, `None` where the bus is unknown.
    fn topic<'a>(&'a self, buses: &'a [Bus]) -> Option<&'a TopicName> {
        match self {
            Self::Topic(topic) => Some(topic),
            Self::Bus(name, _) => buses.iter().find(|bus| bus.name == *name).map(|bus| &bus.topic),
        }
    }
}

#[derive(Default)]
struct Delivery {
    order: Option<(String, Position)>,
    retry: Retry,
    dead_letter: Option<TopicName>,
}

pub(super) fn read(
    node: &Node,
    context: &conditions::Context<'_>,
    problems: &mut Problems,
) -> Option<Placed<RuleOf>> {
    let mut table = Table::of(node, problems);
    let name = table.need("name", problems).and_then(|node| text(node, problems));
    let from = table.need("from", problems).and_then(|node| read_from(node, context, problems));
    let when = conditions::read_when(table.get("when"), context, problems);
    let target = table.need("to", problems);
    let target = target.and_then(|node| Some((text(node, problems)?, node.at)));
    let delivery = table.get("delivery").map_or_else(Delivery::default, |node| read_delivery(node, problems));
    table.finish(problems);
    let name = name.filter(|name| check_name("rule", name, node.at, problems))?;
    let (from, filter) = from?;
    let when = filter.into_iter().chain(when?).collect();
    Some(Placed { at: node.at, value: RuleOf { name, from, when, target: target?, delivery } })
}

/// `{bus: B}`, or `{topic: T, filter: {tag: …}}` or `{topic: T, filter: {sql92: …}}`.
fn read_from(
    node: &Node,
    context: &conditions::Context<'_>,
    problems: &mut Problems,
) -> Option<(From, Option<Condition>)> {
    let mut table = Table::of(node, problems);
    let bus = table.get("bus");
    let topic_node = table.get("topic");
    let filter = table.get("filter").map(|node| read_filter(node, context, problems));
    table.finish(problems);
    let from = match (bus, topic_node) {
        (Some(bus), None) => text(bus, problems).map(|name| From::Bus(name, bus.at)),
        (None, Some(node)) => topic(node, problems).map(From::Topic),
        _ => {
            problems.push(Diagnostic::new(node.at, "expected either `bus` or `topic`"));
            None
        }
    };
    match filter {
        Some(filter) => Some((from?, Some(filter?))),
        None => Some((from?, None)),
    }
}

fn read_filter(node: &Node, context: &conditions::Context<'_>, problems: &mut Problems) -> Option<Condition> {
    let mut table = Table::of(node, problems);
    let tag = table.get("tag");
    let sql92 = table.get("sql92");
    table.finish(problems);
    match (tag, sql92) {
        (Some(node), None) => conditions::read_tag(node, problems).map(Condition::Tag),
        (None, Some(node)) => conditions::read_sql92(node, context, problems).map(Condition::Sql92),
        _ => {
            problems.push(Diagnostic::new(node.at, "expected either `tag` or `sql92`"));
            None
        }
    }
}

fn read_delivery(node: &Node, problems: &mut Problems) -> Delivery {
    let mut delivery = Delivery::default();
    let mut table = Table::of(node, problems);
    if let Some(node) = table.get("order") {
        delivery.order = read_order(node, problems);
    }
    if let Some(node) = table.get("retry") {
        read_retry(node, &mut delivery.retry, problems);
    }
    if let Some(node) = table.get("deadLetter") {
        let mut table = Table::of(node, problems);
        delivery.dead_letter = table.need("topic", problems).and_then(|node| topic(node, problems));
        table.finish(problems);
    }
    table.finish(problems);
    delivery
}

/// `none` or `key:<attribute>`.
fn read_order(node: &Node, problems: &mut Problems) -> Option<(String, Position)> {
    let written = text(node, problems)?;
    if written == "none" {
        return None;
    }
    match written.strip_prefix("key:").map(str::trim).filter(|key| is_attribute(key)) {
        Some(key) => Some((key.to_owned(), node.at)),
        None => {
            let message = format!("expected `none` or `key:<attribute>`, found `{written}`");
            problems.push(Diagnostic::new(node.at, message));
            None
        }
    }
}

fn read_retry(node: &Node, retry: &mut Retry, problems: &mut Problems) {
    const DAY: u64 = 86_400_000;
    let mut table = Table::of(node, problems);
    if let Some(found) = table.get("maxAttempts").and_then(|node| integer(node, 1, 1_000_000, problems)) {
        retry.max_attempts = found as u32;
    }
    let durations = [
        ("maxAge", 1, 365 * DAY, &mut retry.max_age),
        ("respectRetryAfter", 0, DAY, &mut retry.retry_after_max),
    ];
    for (key, min, max, into) in durations {
        if let Some(found) = table.get(key).and_then(|node| millis(node, min, max, problems)) {
            *into = Duration::from_millis(found);
        }
    }
    if let Some(found) = table.get("retryOn").and_then(|node| read_statuses(node, problems)) {
        retry.statuses = found;
    }
    if let Some(node) = table.get("backoff") {
        read_backoff(node, retry, problems);
    }
    table.finish(problems);
}

fn read_backoff(node: &Node, retry: &mut Retry, problems: &mut Problems) {
    let mut table = Table::of(node, problems);
    let growths = [("exponential", Growth::Exponential), ("linear", Growth::Linear)];
    if let Some(found) = table.get("type").and_then(|node| word(node, &growths, problems)) {
        retry.growth = found;
    }
    let jitters = [("full", true), ("none", false)];
    if let Some(found) = table.get("jitter").and_then(|node| word(node, &jitters, problems)) {
        retry.jitter = found;
    }
    for (key, into) in [("initial", &mut retry.initial), ("max", &mut retry.max)] {
        if let Some(found) = table.get(key).and_then(|node| millis(node, 1, 86_400_000, problems)) {
            *into = Duration::from_millis(found);
        }
    }
    if retry.initial > retry.max {
        problems.push(Diagnostic::new(table.at, "`initial` is longer than `max`"));
    }
    table.finish(problems);
}

/// Buses and targets that rules name must be there.
pub(super) fn check_references(
    rules: &[Placed<RuleOf>],
    buses: &[Bus],
    targets: &[Target],
    problems: &mut Problems,
) {
    for rule in rules {
        if let From::Bus(name, at) = &rule.value.from
            && !buses.iter().any(|bus| bus.name == *name)
        {
            problems.push(unknown("bus", name, *at, buses.iter().map(|bus| bus.name.as_str())));
        }
        let (name, at) = &rule.value.target;
        if !targets.iter().any(|target| target.name == *name) {
            problems.push(unknown("target", name, *at, targets.iter().map(|target| target.name.as_str())));
        }
    }
}

/// Dead letters in the topic that the rule itself reads would go round for ever.
pub(super) fn check_dead_letters(rules: &[Placed<RuleOf>], buses: &[Bus], problems: &mut Problems) {
    for Placed { at, value: rule } in rules {
        let own = format!("{}{}", name::DEAD_LETTER_PREFIX, rule.target.0);
        let letters = rule.delivery.dead_letter.as_deref().unwrap_or(&own);
        if rule.from.topic(buses).is_some_and(|topic| topic.as_str() == letters) {
            let message = format!("the rule `{}` reads {letters}, where its own dead letters go", rule.name);
            let help = "give it a `deadLetter` topic of its own";
            problems.push(Diagnostic::new(*at, message).help(help));
        }
    }
}

/// A rule that orders by a key needs events of one key in one queue: the bus that they come from must place them and
/// their copies so, which it can do by one attribute only. In a topic that only clients send to, that is their choice.
pub(super) fn order_buses(rules: &[Placed<RuleOf>], buses: &mut [Bus], problems: &mut Problems) {
    for Placed { value: rule, .. } in rules {
        let Some((key, at)) = &rule.delivery.order else { continue };
        let Some(topic) = rule.from.topic(buses).cloned() else { continue };
        let feeds =
            |bus: &&mut Bus| bus.topic == topic || bus.routes.iter().any(|route| route.topic == topic);
        for bus in buses.iter_mut().filter(feeds) {
            match &bus.order_key {
                Some(other) if other != key => {
                    let name = &bus.name;
                    let message = format!(
                        "the bus `{name}` is already ordered by `{other}`, it cannot be ordered by `{key}` too"
                    );
                    problems.push(Diagnostic::new(*at, message));
                }
                _ => bus.order_key = Some(key.clone()),
            }
        }
    }
}

pub(super) fn resolve(rule: RuleOf, buses: &[Bus]) -> Rule {
    let RuleOf { name, from, when, target, delivery } = rule;
    // An unknown bus was reported, and nobody sees this configuration.
    let topic = from.topic(buses).cloned().unwrap_or_else(|| Bus::default_bus().topic);
    let bus = match from {
        From::Topic(_) => None,
        From::Bus(name, _) => Some(name),
    };
    Rule {
        name,
        topic,
        bus,
        when,
        target: target.0,
        order_key: delivery.order.map(|(key, _)| key),
        retry: delivery.retry,
        dead_letter: delivery.dead_letter,
    }
}
