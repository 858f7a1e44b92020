//! Messages that were popped and are neither acknowledged nor visible again (`PopReviveService`, 5.x).
//!
//! For each pop RocketMQ stores a *checkpoint*, and for each acknowledgement a record that names it, in the topic
//! [`super::REVIVE_TOPIC_PREFIX`]; until a while before they matter both wait in the timer topic.

use halley_machine::pop::flights::Flight;
use halley_model::{Millis, QueueId, QueueOffset, RecordView, property};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The tag of a checkpoint.
pub const CHECKPOINT_TAG: &str = "ck";
const ACK_TAG: &str = "ack";
const BATCH_ACK_TAG: &str = "bAck";

/// A checkpoint's body (`PopCheckPoint`, 5.5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// Bits of messages that are acknowledged, by their place in `d`.
    #[serde(rename = "bm")]
    pub acked: i32,
    /// The broker's name.
    #[serde(rename = "bn")]
    pub broker: Option<String>,
    /// The group.
    #[serde(rename = "c", alias = "cid")]
    pub group: String,
    /// The messages, as distances from the first; without it they stand in a row.
    #[serde(rename = "d")]
    pub distances: Option<Vec<u64>>,
    /// How long they are invisible, ms.
    #[serde(rename = "it")]
    pub invisible: Millis,
    /// How many they are.
    #[serde(rename = "n")]
    pub count: u8,
    /// When they were popped.
    #[serde(rename = "pt")]
    pub popped: Millis,
    /// The queue.
    #[serde(rename = "q")]
    pub queue: QueueId,
    /// The first message.
    #[serde(rename = "so")]
    pub first: QueueOffset,
    /// The topic.
    #[serde(rename = "t")]
    pub topic: String,
    /// The attempt does not count.
    #[serde(rename = "sp")]
    pub suspended: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ack {
    #[serde(rename = "ao", alias = "ackOffset")]
    offset: QueueOffset,
    #[serde(rename = "aol", alias = "ackOffsetList")]
    offsets: Vec<QueueOffset>,
    #[serde(rename = "c", alias = "consumerGroup")]
    group: String,
    #[serde(rename = "pt", alias = "popTime")]
    popped: Millis,
    #[serde(rename = "q", alias = "queueId")]
    queue: QueueId,
    #[serde(rename = "so", alias = "startOffset")]
    first: QueueOffset,
    #[serde(rename = "t", alias = "topic")]
    topic: String,
}

/// What a checkpoint and its acknowledgements have in common: topic, group, queue, first message, pop time.
type Pop = (String, String, QueueId, QueueOffset, Millis);

/// Collects checkpoints and acknowledgements, in any order.
#[derive(Debug, Default)]
pub struct Pops {
    checkpoints: BTreeMap<Pop, Checkpoint>,
    acked: BTreeMap<Pop, BTreeSet<QueueOffset>>,
}

impl Pops {
    /// Takes in a record of the revive topic, or of the timer topic on its way there; `false` for what is neither checkpoint nor
    /// acknowledgement.
    pub fn see(&mut self, record: &RecordView<'_>) -> bool {
        match record.property(property::TAGS) {
            Some(CHECKPOINT_TAG) => {
                let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(record.body()) else {
                    return false;
                };
                let Checkpoint { topic, group, queue, first, popped, .. } = &checkpoint;
                let pop = (topic.clone(), group.clone(), *queue, *first, *popped);
                self.checkpoints.insert(pop, checkpoint);
                true
            }
            Some(ACK_TAG | BATCH_ACK_TAG) => {
                let Ok(ack) = serde_json::from_slice::<Ack>(record.body()) else { return false };
                let Ack { offset, offsets, group, popped, queue, first, topic } = ack;
                let acked = self.acked.entry((topic, group, queue, first, popped)).or_default();
                if offsets.is_empty() {
                    acked.insert(offset);
                }
                acked.extend(offsets);
                true
            }
            _ => false,
        }
    }

    /// The messages in flight by group, topic and queue, by offset. Of a message that was popped twice the later pop counts.
    pub fn in_flight(&self) -> BTreeMap<(String, String, QueueId), Vec<Flight>> {
        let mut all: BTreeMap<_, BTreeMap<QueueOffset, Flight>> = BTreeMap::new();
        for (pop, checkpoint) in &self.checkpoints {
            let none = BTreeSet::new();
            let acked = self.acked.get(pop).unwrap_or(&none);
            let key = (checkpoint.group.clone(), checkpoint.topic.clone(), checkpoint.queue);
            for (bit, offset) in (0..).zip(checkpoint.offsets()) {
                let is_acked = (bit < 32 && checkpoint.acked & (1 << bit) != 0) || acked.contains(&offset);
                if is_acked {
                    continue;
                }
                let visible = checkpoint.popped.saturating_add(checkpoint.invisible);
                let mut flight = Flight::new(offset, checkpoint.popped, visible);
                flight.suspended = checkpoint.suspended;
                let flights = all.entry(key.clone()).or_default();
                if flights.get(&offset).is_none_or(|before| before.popped <= flight.popped) {
                    flights.insert(offset, flight);
                }
            }
        }
        all.into_iter().map(|(key, flights)| (key, flights.into_values().collect())).collect()
    }
}

impl Checkpoint {
    /// One message in flight.
    pub fn of(broker: &str, group: &str, topic: &str, queue: QueueId, flight: &Flight) -> Self {
        Self {
            acked: 0,
            broker: Some(broker.to_owned()),
            group: group.to_owned(),
            distances: Some(vec![0]),
            invisible: flight.visible.saturating_sub(flight.popped),
            count: 1,
            popped: flight.popped,
            queue,
            first: flight.offset,
            topic: topic.to_owned(),
            suspended: flight.suspended,
        }
    }

    /// The record's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always make JSON")
    }

    fn offsets(&self) -> Vec<QueueOffset> {
        match &self.distances {
            Some(distances) if !distances.is_empty() => {
                distances.iter().map(|distance| self.first.saturating_add(*distance)).collect()
            }
            _ => (0..u64::from(self.count)).map(|number| self.first.saturating_add(number)).collect(),
        }
    }
}
