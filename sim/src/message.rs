//! What is written to the log: the bus's events, dead letters, state.

use crate::{
    plan::{Plan, TAGS},
    random::Random,
};
use halley_machine::{
    delay::{Due, TIMER_TOPIC},
    state::STATE_TOPIC,
    transactions::HALF_TOPIC,
};
use halley_model::{Millis, QueueId, QueueOffset, RecordBody, RecordView, property, tag};
use std::net::{Ipv4Addr, SocketAddr};

/// Where everything comes from.
pub(crate) const HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10911);

const BUS: &str = "BUS_orders";
const RETRIES: &str = "%RETRY%poppers_BUS_orders";
const FAILED: &str = "%RETRY%failing";
const GIVEN_UP: &str = "%DLQ%failing";
const DEAD_LETTERS: &str = "%DLQ%target-";

/// The topics of the simulated broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Bus,
    State,
    /// Messages of the bus that were popped and not acknowledged.
    Retries,
    /// Messages that the failing group sent back.
    Failed,
    /// The dead letters of the failing group.
    GivenUp,
    Timers,
    Halves,
    /// Of the target with this number.
    DeadLetters(usize),
}

impl Topic {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Bus => BUS.to_owned(),
            Self::State => STATE_TOPIC.to_owned(),
            Self::Retries => RETRIES.to_owned(),
            Self::Failed => FAILED.to_owned(),
            Self::GivenUp => GIVEN_UP.to_owned(),
            Self::Timers => TIMER_TOPIC.to_owned(),
            Self::Halves => HALF_TOPIC.to_owned(),
            Self::DeadLetters(target) => format!("{DEAD_LETTERS}{target}"),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            BUS => Some(Self::Bus),
            STATE_TOPIC => Some(Self::State),
            RETRIES => Some(Self::Retries),
            FAILED => Some(Self::Failed),
            GIVEN_UP => Some(Self::GivenUp),
            TIMER_TOPIC => Some(Self::Timers),
            HALF_TOPIC => Some(Self::Halves),
            _ => name.strip_prefix(DEAD_LETTERS)?.parse().ok().map(Self::DeadLetters),
        }
    }
}

/// How long the payloads of events are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// Anything up to this.
    Varied(u64),
    /// All the same.
    Equal(u64),
    /// The same, or shorter by the frame with which each opening of the store begins: so that frames of two lives can
    /// end at the same place, and what an earlier life left behind lies where a later one goes on.
    Aligned(u64),
}

/// Bytes of the frame that each opening writes (`docs/format/log.md`).
const OPEN_FRAME_BYTES: u64 = 40;

/// An event as its producer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Unique in the run.
    pub(crate) number: u64,
    pub(crate) queue: QueueId,
    pub(crate) tag: u8,
    pub(crate) key: u64,
    /// Whether targets that reject anything reject this.
    pub(crate) poison: bool,
    pub(crate) bytes: u64,
    /// Whether it goes into light queues: one of its key, and one for all.
    pub(crate) light: bool,
}

impl Event {
    /// A new event.
    pub(crate) fn draw(number: u64, plan: &Plan, random: &mut Random) -> Self {
        let bytes = match plan.sizes {
            Sizes::Varied(max) => random.between(0, max),
            Sizes::Equal(bytes) => bytes,
            Sizes::Aligned(bytes) => bytes - OPEN_FRAME_BYTES * random.between(0, 1),
        };
        Self {
            number,
            queue: random.between(0, u64::from(plan.queues) - 1) as QueueId,
            tag: random.between(0, u64::from(TAGS) - 1) as u8,
            key: random.between(0, plan.keys - 1),
            poison: random.percent(10),
            bytes,
            // Where sizes matter, nothing is added to them.
            light: matches!(plan.sizes, Sizes::Varied(_)) && number.is_multiple_of(3),
        }
    }

    /// The hash of its order key.
    pub(crate) fn key_hash(&self) -> u32 {
        key_hash(&format!("k{}", self.key))
    }

    /// As a message. Everything but the number's digits has a fixed length, so that sizes are what the plan says.
    pub(crate) fn message(&self) -> Message {
        let mut body = self.number.to_be_bytes().to_vec();
        let mut filler = Random::new(self.number);
        body.extend((0..self.bytes).map(|_| filler.next() as u8));
        let mut properties = Vec::new();
        for (key, value) in [
            (property::EVENT_SPECVERSION, "1.0"),
            ("ce_id", &format!("{:08}", self.number)),
            ("ce_source", "/sim"),
            ("ce_type", "sim.event"),
            ("ce_subject", &format!("k{}", self.key)),
            (property::TAGS, &format!("t{}", self.tag)),
        ] {
            assert!(property::push(&mut properties, key, value), "no value holds a separator");
        }
        if self.light {
            push(&mut properties, property::MULTI_DISPATCH, &format!("%LMQ%k{},%LMQ%all", self.key));
        }
        Message::new(Topic::Bus, self.queue, body, properties)
    }
}

/// An event whose message waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) event: Event,
    pub(crate) kind: Kind,
}

/// For what it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For this time.
    Delayed { at: Millis },
    /// For its producer's word, which will be this.
    Transaction { commit: bool },
}

impl Waiting {
    /// A new event that waits.
    pub(crate) fn draw(number: u64, now: Millis, plan: &Plan, random: &mut Random) -> Self {
        let event = Event::draw(number, plan, random);
        let kind = if random.percent(50) {
            // Round times, so that several are due at once.
            Kind::Delayed { at: (now + random.millis(1, 3_000)) / 50 * 50 + 50 }
        } else {
            Kind::Transaction { commit: random.percent(60) }
        };
        Self { event, kind }
    }

    /// As the message that is stored until then.
    pub(crate) fn message(&self, now: Millis) -> Message {
        let Message { queue, body, properties: mut own, .. } = self.event.message();
        push(&mut own, property::UNIQUE_KEY, &self.event.number.to_string());
        let mut properties = Vec::new();
        match self.kind {
            Kind::Delayed { at } => {
                Due::At(at).detour(&own, BUS, queue, now, &mut properties);
                Message::new(Topic::Timers, 0, body, properties)
            }
            Kind::Transaction { .. } => {
                push(&mut own, property::REAL_TOPIC, BUS);
                push(&mut own, property::REAL_QUEUE, &queue.to_string());
                Message::new(Topic::Halves, 0, body, own)
            }
        }
    }
}

/// The number of the event that a record's body holds.
pub(crate) fn number(record: &RecordView<'_>) -> u64 {
    number_of(record.body())
}

/// The number of the event that a body holds.
pub(crate) fn number_of(body: &[u8]) -> u64 {
    let number = body.first_chunk().expect("an event's body begins with its number");
    u64::from_be_bytes(*number)
}

fn push(properties: &mut Vec<u8>, key: &str, value: &str) {
    assert!(property::push(properties, key, value), "no value holds a separator");
}

/// What a rule sees of an event in the log: tag and order key, read from the record's bytes.
pub(crate) fn tag_and_key(record: &RecordView<'_>) -> Option<(u8, u32)> {
    let tag = record.property(property::TAGS)?.strip_prefix('t')?.parse().ok()?;
    Some((tag, key_hash(record.property("ce_subject")?)))
}

fn key_hash(key: &str) -> u32 {
    tag::java_hash(key).cast_unsigned()
}

/// Something to append.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: Topic,
    pub(crate) queue: QueueId,
    pub(crate) reconsume_times: i32,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: Vec<u8>,
}

impl Message {
    fn new(topic: Topic, queue: QueueId, body: Vec<u8>, properties: Vec<u8>) -> Self {
        Self { topic, queue, reconsume_times: 0, body, properties }
    }

    /// A record of the state topic.
    pub(crate) fn state(body: Vec<u8>) -> Self {
        Self::new(Topic::State, 0, body, Vec::new())
    }

    /// A message that has waited, as it is delivered.
    pub(crate) fn delivered(body: &RecordBody<'_>) -> Self {
        let RecordBody { queue, body, properties, .. } = *body;
        Self::new(Topic::Bus, queue, body.to_vec(), properties.to_vec())
    }

    /// A message that waits, as it is put into its queue once more.
    pub(crate) fn again(topic: Topic, body: &RecordBody<'_>) -> Self {
        let RecordBody { queue, body, properties, .. } = *body;
        Self::new(topic, queue, body.to_vec(), properties.to_vec())
    }

    /// The recall of the delayed event with this number.
    pub(crate) fn recall(number: u64, at: Millis, now: Millis) -> Self {
        let (mut asked, mut properties) = (Vec::new(), Vec::new());
        push(&mut asked, property::TIMER_DELETE_KEY, &format!("{BUS}_{number}"));
        Due::At(at).detour(&asked, BUS, 0, now, &mut properties);
        Self::new(Topic::Timers, 0, b"0".to_vec(), properties)
    }

    /// The dead letter of a record: it keeps body and properties and says where it comes from.
    pub(crate) fn dead_letter(record: &RecordView<'_>, target: usize, rule: usize, reason: &str) -> Self {
        let mut properties = record.properties().to_vec();
        let place: (QueueId, QueueOffset) = (record.queue(), record.queue_offset());
        for (key, value) in [
            ("dlq_reason", reason),
            ("dlq_rule", &rule.to_string()),
            ("dlq_queue", &place.0.to_string()),
            ("dlq_offset", &place.1.to_string()),
        ] {
            assert!(property::push(&mut properties, key, value), "no value holds a separator");
        }
        Self::new(Topic::DeadLetters(target), 0, record.body().to_vec(), properties)
    }

    /// A popped message as it stands in the retry topic.
    pub(crate) fn retry(record: &RecordView<'_>) -> Self {
        let changes = [(property::ORIGIN_GROUP, "poppers".to_owned())];
        let properties = property::with(record.properties(), &changes);
        Self::new(Topic::Retries, 0, record.body().to_vec(), properties)
    }

    /// A message that the failing group sent back, as it stands in its retry topic or among its dead letters.
    pub(crate) fn sent_back(record: &RecordView<'_>, topic: Topic) -> Self {
        let reconsume_times = record.reconsume_times() + 1;
        let (body, properties) = (record.body().to_vec(), record.properties().to_vec());
        Self { reconsume_times, ..Self::new(topic, 0, body, properties) }
    }

    pub(crate) fn record<'a>(&'a self, topic: &'a str, now: Millis) -> RecordBody<'a> {
        RecordBody {
            topic,
            queue: self.queue,
            flag: 0,
            system_flag: 0,
            born: now,
            born_host: HOST,
            reconsume_times: self.reconsume_times,
            prepared_offset: 0,
            body: &self.body,
            properties: &self.properties,
            dispatched: self.topic == Topic::Bus
                && property::get(&self.properties, property::MULTI_DISPATCH).is_some(),
        }
    }

    /// What tells it from other messages.
    pub(crate) fn digest(&self) -> u32 {
        digest(&self.body, &self.properties)
    }
}

/// A checksum over what a producer gave, without the offsets in light queues that the store adds.
pub(crate) fn digest(body: &[u8], properties: &[u8]) -> u32 {
    let mut given = Vec::new();
    let properties = match property::get(properties, property::MULTI_QUEUE_OFFSETS) {
        None => properties,
        Some(_) => {
            property::copy_where(properties, &mut given, |key| key != property::MULTI_QUEUE_OFFSETS);
            &given
        }
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(properties);
    hasher.finalize()
}
