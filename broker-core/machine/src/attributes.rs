//! Attributes of topics and groups: which there are, and how they are changed (`AttributeParser`, `AttributeUtil`,
//! `TopicAttributes`, `SubscriptionGroupAttributes`, 5.5).

use halley_model::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Named settings, or changes of them, whose names begin with `+` or `-`.
pub type Attributes = BTreeMap<String, String>;

/// The topic attribute that says which kind of messages a topic is for.
pub const MESSAGE_TYPE: &str = "message.type";

/// Its value for a topic whose messages have priorities.
pub const PRIORITY: &str = "PRIORITY";

/// Its value for a topic with lite topics.
pub const LITE: &str = "LITE";

/// The topic attribute that says when lite topics without messages end, in minutes; -1 never.
pub const LITE_EXPIRATION: &str = "lite.topic.expiration";

/// The group attribute that names the topic whose lite topics its clients consume.
pub const LITE_BIND_TOPIC: &str = "lite.bind.topic";

/// Whether a lite topic has one client of the group ("Exclusive") or several ("Shared").
pub const LITE_SUB_MODEL: &str = "lite.sub.model";

/// Whether the next client of an exclusive group begins at the first message.
pub const LITE_RESET_EXCLUSIVE: &str = "lite.sub.reset.offset.exclusive";

/// Whether a group begins at the first message after a client left a lite topic.
pub const LITE_RESET_UNSUBSCRIBED: &str = "lite.sub.reset.offset.unsubscribe";

/// Most lite topics with messages that a client is told of before it fetches some.
pub const LITE_EVENTS_MAX: &str = "lite.sub.client.max.event.cnt";

/// There where the group's clients want all lite topics.
pub const LITE_WILDCARD: &str = "lite.sub.wildcard";

/// The group attribute that says how many of 100 pops go by priority.
pub const PRIORITY_FACTOR: &str = "priority.factor";

/// The topic attribute that says for how long messages are kept, in milliseconds; -1 for ever. Not RocketMQ's; the name is
/// Kafka's.
pub const RETENTION: &str = "retention.ms";

/// The same in hours, of RocketMQ's tiered store (`TopicAttributes`, 5.5); -1 for what the broker is set to.
const RESERVE_TIME: &str = "reserve.time";

/// The topic attribute that says when a message counts as stored. Not RocketMQ's, which has this setting for the broker
/// alone; the words are those of its `flushDiskType`.
pub const FLUSH: &str = "flush.disk.type";

/// Its value for messages that are stored once the operating system has them.
pub const FLUSH_ASYNC: &str = "ASYNC_FLUSH";

/// Its value for messages that are stored once they are synced.
pub const FLUSH_SYNC: &str = "SYNC_FLUSH";

/// How the queues of a topic count batches.
const QUEUE_TYPE: &str = "queue.type";

/// The topic attribute that says what becomes of old messages.
const CLEANUP_POLICY: &str = "cleanup.policy";

/// A change that is not possible; the texts are RocketMQ's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AttributeError(String);

/// An attribute that there is.
#[derive(Debug)]
pub struct Attribute {
    name: &'static str,
    /// Whether it can be changed once the thing exists.
    changeable: bool,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// One of these, in the order in which RocketMQ lists them.
    OneOf(&'static [&'static str]),
    /// A number in this range.
    Range(i64, i64),
    Boolean,
    Text,
}

/// Attributes of topics.
pub const OF_TOPICS: &[Attribute] = &[
    Attribute::new(QUEUE_TYPE, false, Values::OneOf(&["BatchCQ", "SimpleCQ"])),
    Attribute::new(CLEANUP_POLICY, false, Values::OneOf(&["COMPACTION", "DELETE"])),
    Attribute::new(
        MESSAGE_TYPE,
        true,
        Values::OneOf(&["UNSPECIFIED", "MIXED", "TRANSACTION", PRIORITY, "FIFO", "DELAY", LITE, "NORMAL"]),
    ),
    Attribute::new(RESERVE_TIME, true, Values::Range(-1, i64::MAX)),
    Attribute::new(RETENTION, true, Values::Range(-1, i64::MAX)),
    Attribute::new(FLUSH, true, Values::OneOf(&[FLUSH_ASYNC, FLUSH_SYNC])),
    Attribute::new(LITE_EXPIRATION, true, Values::Range(-1, 43_200)),
];

/// Attributes of consumer groups.
pub const OF_GROUPS: &[Attribute] = &[
    Attribute::new(PRIORITY_FACTOR, true, Values::Range(0, 100)),
    Attribute::new(LITE_BIND_TOPIC, true, Values::Text),
    Attribute::new(LITE_SUB_MODEL, true, Values::OneOf(&["Shared", "Exclusive"])),
    Attribute::new(LITE_RESET_EXCLUSIVE, true, Values::Boolean),
    Attribute::new(LITE_RESET_UNSUBSCRIBED, true, Values::Boolean),
    Attribute::new("lite.sub.client.quota", true, Values::Range(-1, i64::MAX)),
    Attribute::new(LITE_EVENTS_MAX, true, Values::Range(10, i64::MAX)),
    Attribute::new(LITE_WILDCARD, true, Values::Text),
];

/// Whether a batch sent to the topic is one message to its producer (`QueueTypeUtils.isBatchCq`, 5.5).
pub fn takes_inner_batches(attributes: &Attributes) -> bool {
    attributes.get(QUEUE_TYPE).is_some_and(|kind| kind == "BatchCQ")
}

/// Whether of the topic's messages only the newest of each key count (`CleanupPolicyUtils`, 5.5).
pub fn is_compacted(attributes: &Attributes) -> bool {
    attributes.get(CLEANUP_POLICY).is_some_and(|policy| policy == "COMPACTION")
}

/// For how long the topic's messages are kept, where it is not as long as the broker's others: [`Millis::MAX`] for ever.
pub fn retention(attributes: &Attributes) -> Option<Millis> {
    const HOUR_MS: Millis = 60 * 60 * 1000;
    let number = |name| attributes.get(name)?.parse::<Millis>().ok();
    match (number(RETENTION), number(RESERVE_TIME)) {
        (Some(-1), _) => Some(Millis::MAX),
        (Some(ms), _) => Some(ms),
        (None, hours) => hours.filter(|hours| *hours > 0).map(|hours| hours.saturating_mul(HOUR_MS)),
    }
}

impl Attribute {
    const fn new(name: &'static str, changeable: bool, values: Values) -> Self {
        Self { name, changeable, values }
    }

    fn verify(&self, value: &str) -> Result<(), AttributeError> {
        match self.values {
            Values::OneOf(values) if !values.contains(&value) => {
                error(format!("value is not in set: [{}]", values.join(", ")))
            }
            Values::Range(min, max) => match value.parse::<i64>() {
                Err(_) => error(format!("For input string: \"{value}\"")),
                Ok(number) if number < min || number > max => {
                    error(format!("value is not in range({min}, {max})"))
                }
                Ok(_) => Ok(()),
            },
            Values::Boolean
                if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") =>
            {
                error("boolean attribute format is wrong.")
            }
            Values::OneOf(_) | Values::Boolean | Values::Text => Ok(()),
        }
    }
}

/// Reads changes as they stand in request 17: `+name=value,-name`.
pub fn parse(text: &str) -> Result<Attributes, AttributeError> {
    let mut changes = Attributes::new();
    for change in text.split(',').filter(|_| !text.is_empty()) {
        let (name, value) = match change.split_once('=') {
            Some((_, "")) => return error("Index 1 out of bounds for length 1"),
            Some((name, _)) if !name.contains('+') => {
                return error(format!("add/alter attribute format is wrong: {name}"));
            }
            Some((name, value)) => (name, value.split('=').next().unwrap_or_default()),
            None if !change.contains('-') => {
                return error(format!("delete attribute format is wrong: {change}"));
            }
            None => (change, ""),
        };
        if changes.insert(name.to_owned(), value.to_owned()).is_some() {
            return error(format!("key duplication: {name}"));
        }
    }
    Ok(changes)
}

/// What becomes of `current` (`None` for a thing that is created) by `changes`.
pub fn alter(
    known: &[Attribute],
    current: Option<&Attributes>,
    changes: &Attributes,
) -> Result<Attributes, AttributeError> {
    let mut altered = current.cloned().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (key, value) in changes {
        let mut characters = key.chars();
        let (sign, name) = (characters.next(), characters.as_str());
        if name.is_empty() || name.contains(['+', '-']) {
            return error("kv string format wrong.");
        }
        if !seen.insert(name) {
            return error(format!("alter duplication key. key: {name}"));
        }
        let deletes = match (sign, current) {
            (Some('+'), _) => false,
            (_, None) => {
                return error(format!("only add attribute is supported while creating topic. key: {name}"));
            }
            (Some('-'), Some(current)) if !current.contains_key(name) => {
                return error(format!("attempt to delete a nonexistent key: {name}"));
            }
            (Some('-'), Some(_)) => true,
            (_, Some(_)) => return error(format!("wrong format key: {name}")),
        };
        let Some(attribute) = known.iter().find(|attribute| attribute.name == name) else {
            return error(format!("unsupported key: {name}"));
        };
        if current.is_some() && !attribute.changeable {
            return error(format!("attempt to update an unchangeable attribute. key: {name}"));
        }
        if deletes {
            altered.remove(name);
            continue;
        }
        attribute.verify(value)?;
        altered.insert(name.to_owned(), value.clone());
    }
    Ok(altered)
}

fn error<T>(text: impl Into<String>) -> Result<T, AttributeError> {
    Err(AttributeError(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(current: Option<&Attributes>, text: &str) -> Result<Attributes, String> {
        parse(text).and_then(|changes| alter(OF_TOPICS, current, &changes)).map_err(|error| error.to_string())
    }

    #[test]
    fn changes_are_made_as_rocketmq_makes_them() {
        let created = change(None, "+message.type=NORMAL,+queue.type=SimpleCQ").unwrap();
        assert_eq!(created.len(), 2);
        assert_eq!(change(None, "").unwrap(), Attributes::new());
        let refused = |current, text| change(current, text).unwrap_err();
        assert_eq!(refused(None, "message.type=X"), "add/alter attribute format is wrong: message.type");
        assert_eq!(refused(None, "+message.type="), "Index 1 out of bounds for length 1");
        assert_eq!(refused(None, "message"), "delete attribute format is wrong: message");
        assert_eq!(
            refused(None, "+message.type=FOO"),
            "value is not in set: [UNSPECIFIED, MIXED, TRANSACTION, PRIORITY, FIFO, DELAY, LITE, NORMAL]"
        );
        assert_eq!(refused(None, "+foo=1"), "unsupported key: foo");
        assert_eq!(refused(None, "+reserve.time=-2"), "value is not in range(-1, 9223372036854775807)");
        assert_eq!(
            refused(None, "-message.type"),
            "only add attribute is supported while creating topic. key: message.type"
        );
        assert_eq!(
            refused(Some(&created), "+queue.type=SimpleCQ"),
            "attempt to update an unchangeable attribute. key: queue.type"
        );
        assert_eq!(
            refused(Some(&created), "-reserve.time"),
            "attempt to delete a nonexistent key: reserve.time"
        );
        assert!(takes_inner_batches(&change(None, "+queue.type=BatchCQ").unwrap()));
        assert!(!takes_inner_batches(&created));
        assert!(
            is_compacted(&change(None, "+cleanup.policy=COMPACTION").unwrap()) && !is_compacted(&created)
        );
        let altered = change(Some(&created), "-message.type,+reserve.time=7").unwrap();
        let expected = [("queue.type", "SimpleCQ"), ("reserve.time", "7")];
        assert!(altered.iter().map(|(name, value)| (&**name, &**value)).eq(expected));
        let group: Attributes = [("+priority.factor".to_owned(), "101".to_owned())].into();
        assert!(alter(OF_GROUPS, None, &group).is_err());
    }
}
