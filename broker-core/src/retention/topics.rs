//! Topics that keep messages for a shorter time than the log does: what is too old is hidden there, until its segments go.

use crate::housekeeping::Housekeeping;
use halley_machine::attributes;
use halley_model::{Millis, QueueId, QueueOffset, TopicName};
use halley_store::{Boundary, ReadError, disk::Disk};
use std::collections::BTreeMap;

/// What is known of topics with a retention of their own.
#[derive(Debug, Default)]
pub(crate) struct OwnAges {
    /// Of each queue the first message that is not hidden, and when it was stored: most rounds need not ask the disk.
    firsts: BTreeMap<TopicName, BTreeMap<QueueId, (QueueOffset, Millis)>>,
}

impl OwnAges {
    /// Hides what is too old at `now`. Gives the longest time that a topic keeps its messages, 0 without one. Blocks on the
    /// disk.
    pub(crate) fn hide<D: Disk>(&mut self, house: &Housekeeping<D>, now: Millis) -> Millis {
        let own = house.catalog.with_tables(|topics, _| topics.with_own_retention());
        self.firsts.retain(|topic, _| own.binary_search_by(|(name, ..)| name.cmp(topic)).is_ok());
        for (topic, queues, age) in &own {
            // Of a compaction topic the newest message of each key counts, however old it is.
            let is_compacted = |topic: &TopicName| {
                house.catalog.get(topic).is_some_and(|topic| attributes::is_compacted(&topic.attributes))
            };
            if *age == Millis::MAX || is_compacted(topic) {
                continue;
            }
            let firsts = self.firsts.entry(topic.clone()).or_default();
            for queue in 0..*queues {
                if let Err(error) = hide_in(house, (topic, queue), now.saturating_sub(*age), firsts) {
                    // Said once. What cannot be read stays until its segment goes.
                    tracing::warn!(%topic, queue, %error, "what is too old in a queue could not be found");
                    let begin = house.reader.bounds(topic, queue).map_or(0, |(min, _)| min);
                    firsts.insert(queue, (begin, Millis::MAX));
                }
            }
        }
        own.iter().map(|(_, _, age)| *age).max().unwrap_or(0)
    }
}

/// Hides what was stored before `since` in one queue.
fn hide_in<D: Disk>(
    house: &Housekeeping<D>,
    (topic, queue): (&TopicName, QueueId),
    since: Millis,
    firsts: &mut BTreeMap<QueueId, (QueueOffset, Millis)>,
) -> Result<(), ReadError> {
    let reader = &house.reader;
    let Some((min, max)) = reader.bounds(topic, queue).filter(|(min, max)| min < max) else { return Ok(()) };
    let stored = match firsts.get(&queue) {
        Some((first, stored)) if *first == min => *stored,
        _ => {
            let mut found = Vec::with_capacity(1);
            reader.lookup(topic, queue, min, 1, &mut found)?;
            let Some(first) = found.first() else { return Ok(()) };
            let stored = reader.stored_at(first)?;
            firsts.insert(queue, (first.queue_offset, stored));
            stored
        }
    };
    if stored < since {
        let begin = reader.offset_by_time(topic, queue, since, Boundary::Lower)?.min(max);
        reader.begin_at(topic, queue, begin);
    }
    Ok(())
}
