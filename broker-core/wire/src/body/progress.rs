//! Queues and how far groups are in them: the answers to requests 43, 202, 208, 222, 223, 303, 308 and 317.
//!
//! Their maps have queues and numbers as keys, which RocketMQ 5.5 writes bare, `{{"brokerName":…}:{…}}` and `{0:1}`: no
//! JSON, but what the Java clients of 4.9 and 5.x read.

use super::Writer;
use crate::{
    json::{self, BodyError, null_is_default},
    request::MessageQueue,
};
use halley_model::{DataVersion, light};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};

/// One queue of a topic (`TopicOffset`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStats {
    /// When its last message was stored, milliseconds since the epoch; 0 for none.
    #[serde(rename = "lastUpdateTimestamp")]
    pub last_update: i64,
    /// The offset behind its last message.
    pub max_offset: i64,
    /// Its first offset.
    pub min_offset: i64,
}

/// A topic (202, `TopicStatsTable`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    /// Its queues.
    #[serde(deserialize_with = "by_queue")]
    pub offset_table: BTreeMap<MessageQueue, QueueStats>,
    /// Messages a second that were sent to it.
    pub topic_put_tps: f64,
}

/// A group in one queue (`OffsetWrapper`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueProgress {
    /// The queue's end.
    pub broker_offset: i64,
    /// What the group committed.
    pub consumer_offset: i64,
    /// When the last committed message was stored, milliseconds since the epoch; 0 for none.
    pub last_timestamp: i64,
    /// What the group was sent.
    pub pull_offset: i64,
}

/// A group in its topics (208, `ConsumeStats`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages a second that it was sent.
    pub consume_tps: f64,
    /// Its queues.
    #[serde(deserialize_with = "by_queue")]
    pub offset_table: BTreeMap<MessageQueue, QueueProgress>,
}

/// All groups (317, `ConsumeStatsList`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrokerConsumeStats {
    /// The broker's address.
    pub broker_address: String,
    /// Groups, with one entry for each of their topics.
    pub groups: Vec<(String, Vec<ConsumeStats>)>,
}

/// How old things are in a queue (303, `QueueTimeSpan`); -1 where there is no message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueTimeSpan {
    /// The queue.
    pub queue: MessageQueue,
    /// When its first message was stored.
    pub min_time: i64,
    /// When its last message was stored.
    pub max_time: i64,
    /// When the last message that the group consumed was stored.
    pub consume_time: i64,
    /// For how long the next message has been waiting.
    pub delay: i64,
}

impl TopicStats {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = Writer::new();
        json.open(b'{');
        json.queue_map("offsetTable", &self.offset_table, |json, stats| {
            json.open(b'{');
            json.numbers([
                ("lastUpdateTimestamp", stats.last_update),
                ("maxOffset", stats.max_offset),
                ("minOffset", stats.min_offset),
            ]);
            json.close(b'}');
        });
        json.member("topicPutTps");
        json.float(self.topic_put_tps);
        json.close(b'}');
        json.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("topic statistics", body)
    }
}

impl ConsumeStats {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = Writer::new();
        self.write(&mut json);
        json.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        json::body("consume statistics", body)
    }

    /// Messages that wait for the group.
    pub fn diff(&self) -> i64 {
        self.offset_table.values().map(|queue| queue.broker_offset - queue.consumer_offset).sum()
    }

    /// Messages that the group was sent and did not commit.
    pub fn in_flight(&self) -> i64 {
        self.offset_table.values().map(|queue| queue.pull_offset - queue.consumer_offset).sum()
    }

    fn write(&self, json: &mut Writer) {
        json.open(b'{');
        json.member("consumeTps");
        json.float(self.consume_tps);
        json.queue_map("offsetTable", &self.offset_table, |json, progress| {
            json.open(b'{');
            json.numbers([
                ("brokerOffset", progress.broker_offset),
                ("consumerOffset", progress.consumer_offset),
                ("lastTimestamp", progress.last_timestamp),
                ("pullOffset", progress.pull_offset),
            ]);
            json.close(b'}');
        });
        json.close(b'}');
    }
}

impl BrokerConsumeStats {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut json = Writer::new();
        json.open(b'{');
        json.member("brokerAddr");
        json.text(&self.broker_address);
        json.member("consumeStatsList");
        json.open(b'[');
        for (group, topics) in &self.groups {
            json.element();
            json.open(b'{');
            json.member(group);
            json.open(b'[');
            for stats in topics {
                json.element();
                stats.write(&mut json);
            }
            json.close(b']');
            json.close(b'}');
        }
        json.close(b']');
        let all = || self.groups.iter().flat_map(|(_, topics)| topics);
        json.numbers([
            ("totalDiff", all().map(ConsumeStats::diff).sum()),
            ("totalInflightDiff", all().map(ConsumeStats::in_flight).sum()),
        ]);
        json.close(b'}');
        json.finish()
    }
}

/// The answer to 303 (`QueryConsumeTimeSpanBody`). RocketMQ also writes each time as text in the time zone of the broker,
/// which no tool reads.
pub fn encode_time_spans(spans: &[QueueTimeSpan]) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("consumeTimeSpanSet");
    json.open(b'[');
    for span in spans {
        json.element();
        json.open(b'{');
        json.numbers([
            ("consumeTimeStamp", span.consume_time),
            ("delayTime", span.delay),
            ("maxTimeStamp", span.max_time),
        ]);
        json.member("messageQueue");
        json.queue(&span.queue);
        json.numbers([("minTimeStamp", span.min_time)]);
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
    json.finish()
}

/// The answer to 222 and the body of 220 (`ResetOffsetBody`).
pub fn encode_offsets(offsets: &BTreeMap<MessageQueue, i64>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.queue_map("offsetTable", offsets, |json, offset| json.number(*offset));
    json.close(b'}');
    json.finish()
}

/// Reads the answer to 222.
pub fn decode_offsets(body: &[u8]) -> Result<BTreeMap<MessageQueue, i64>, BodyError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Body {
        #[serde(deserialize_with = "by_queue")]
        offset_table: BTreeMap<MessageQueue, i64>,
    }
    json::body("offsets", body).map(|body: Body| body.offset_table)
}

/// The body of 220 for C++ clients (`ResetOffsetBodyForC`).
pub fn encode_offsets_for_cpp(offsets: &BTreeMap<MessageQueue, i64>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("offsetTable");
    json.open(b'[');
    for (queue, offset) in offsets {
        json.element();
        json.open(b'{');
        json.member("brokerName");
        json.text(&queue.broker_name);
        json.numbers([("offset", *offset), ("queueId", queue.queue_id.into())]);
        json.member("topic");
        json.text(&queue.topic);
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
    json.finish()
}

/// The answer to 223 (`GetConsumerStatusBody`): offsets by client.
pub fn encode_consumer_status(clients: &BTreeMap<String, BTreeMap<MessageQueue, i64>>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("consumerTable");
    json.open(b'{');
    for (client, offsets) in clients {
        json.queue_map(client, offsets, |json, offset| json.number(*offset));
    }
    json.close(b'}');
    json.queue_map("messageQueueTable", &BTreeMap::<MessageQueue, i64>::new(), |_, _| ());
    json.close(b'}');
    json.finish()
}

/// Reads what a client answers to 221 (`GetConsumerStatusBody`).
pub fn decode_client_status(body: &[u8]) -> Result<BTreeMap<MessageQueue, i64>, BodyError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Body {
        #[serde(deserialize_with = "by_queue")]
        message_queue_table: BTreeMap<MessageQueue, i64>,
    }
    json::body("consumer status", body).map(|body: Body| body.message_queue_table)
}

/// Committed offsets by topic and group, each by queue.
pub type Offsets = BTreeMap<(String, String), BTreeMap<u64, i64>>;

/// The answer to 43 (`ConsumerOffsetManager.encode`; where groups of light queues committed,
/// `LmqConsumerOffsetManager.encode`).
pub fn encode_all_offsets(version: DataVersion, offsets: &Offsets) -> Vec<u8> {
    let is_of_light = |((_, group), _): &(&(String, String), _)| light::is_light(group);
    let (of_light, offsets): (Vec<_>, Vec<_>) = offsets.iter().partition(is_of_light);
    let mut topics: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ((topic, group), _) in &offsets {
        topics.entry(group).or_default().insert(topic);
    }
    let mut json = Writer::new();
    json.open(b'{');
    json.member("dataVersion");
    json.version(version);
    json.member("groupTopicMap");
    json.open(b'{');
    for (group, topics) in topics {
        json.member(group);
        json.texts(topics);
    }
    json.close(b'}');
    if !of_light.is_empty() {
        json.member("lmqOffsetTable");
        json.open(b'{');
        for ((topic, group), queues) in of_light {
            if let Some(offset) = queues.get(&u64::from(light::QUEUE)) {
                json.member(&format!("{topic}@{group}"));
                json.number(*offset);
            }
        }
        json.close(b'}');
    }
    json.member("offsetTable");
    json.open(b'{');
    for ((topic, group), queues) in offsets {
        json.member(&format!("{topic}@{group}"));
        json.queue_numbers(queues);
    }
    json.close(b'}');
    json.member("pullOffsetTable");
    json.open(b'{');
    json.close(b'}');
    json.close(b'}');
    json.finish()
}

/// Reads committed offsets, from an answer to 43 or from `consumerOffset.json` or `lmqConsumerOffset.json` of RocketMQ 4.9 and
/// 5.5. Keys that name no topic and group are left out.
pub fn decode_all_offsets(body: &[u8]) -> Result<Offsets, BodyError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Body {
        #[serde(deserialize_with = "json::null_is_default")]
        offset_table: BTreeMap<String, BTreeMap<u64, i64>>,
        #[serde(deserialize_with = "json::null_is_default")]
        lmq_offset_table: BTreeMap<String, i64>,
    }
    let Body { offset_table, lmq_offset_table } = json::body("committed offsets", body)?;
    let of_light = lmq_offset_table
        .into_iter()
        .map(|(key, offset)| (key, BTreeMap::from([(u64::from(light::QUEUE), offset)])));
    let named = |(key, queues): (String, _)| {
        let (topic, group) = key.split_once('@')?;
        Some(((topic.to_owned(), group.to_owned()), queues))
    };
    Ok(offset_table.into_iter().chain(of_light).filter_map(named).collect())
}

/// Reads how far each delay level is delivered, from `delayOffset.json` of RocketMQ 4.9 and 5.5.
pub fn decode_delay_offsets(body: &[u8]) -> Result<BTreeMap<u64, i64>, BodyError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Body {
        #[serde(deserialize_with = "json::null_is_default")]
        offset_table: BTreeMap<u64, i64>,
    }
    json::body("delay offsets", body).map(|body: Body| body.offset_table)
}

/// `delayOffset.json`, see [`decode_delay_offsets`].
pub fn encode_delay_offsets(offsets: &BTreeMap<u64, i64>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("offsetTable");
    json.queue_numbers(offsets);
    json.close(b'}');
    json.finish()
}

/// The answer to 308 (`QueryCorrectionOffsetBody`).
pub fn encode_corrections(offsets: &BTreeMap<u64, i64>) -> Vec<u8> {
    let mut json = Writer::new();
    json.open(b'{');
    json.member("correctionOffsets");
    json.queue_numbers(offsets);
    json.close(b'}');
    json.finish()
}

impl Writer {
    fn queue_map<T>(
        &mut self,
        name: &str,
        map: &BTreeMap<MessageQueue, T>,
        mut value: impl FnMut(&mut Self, &T),
    ) {
        self.member(name);
        self.open(b'{');
        for (queue, of_queue) in map {
            self.element();
            self.queue(queue);
            self.out.push(b':');
            value(self, of_queue);
            self.first = false;
        }
        self.close(b'}');
    }

    fn queue_numbers(&mut self, numbers: &BTreeMap<u64, i64>) {
        self.open(b'{');
        for (queue, number) in numbers {
            self.integer_member(*queue, super::IntegerKeys::Bare);
            self.number(*number);
        }
        self.close(b'}');
    }

    fn numbers<'n>(&mut self, members: impl IntoIterator<Item = (&'n str, i64)>) {
        for (name, number) in members {
            self.member(name);
            self.number(number);
        }
    }
}

/// A map whose keys are queues, which [`json::body`] made texts.
fn by_queue<'de, D, T>(deserializer: D) -> Result<BTreeMap<MessageQueue, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    let texts: BTreeMap<String, T> = null_is_default(deserializer)?;
    let queue = |(text, value): (String, T)| {
        let queue = serde_json::from_str(&text).map_err(serde::de::Error::custom)?;
        Ok((queue, value))
    };
    texts.into_iter().map(queue).collect()
}
