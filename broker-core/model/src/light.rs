//! Light queues: queues without a topic of their own, in which a record is besides its topic's (RocketMQ's LMQ, its
//! multi-dispatch).
//!
//! A producer names them, between commas, in the property [`property::MULTI_DISPATCH`]. The store answers with the record's
//! offset in each, in the same order, in [`property::MULTI_QUEUE_OFFSETS`], and leaves empty what is no light queue, or was
//! named before. It always comes last, and nobody else's property of that name does: so the record alone says in which
//! queues it is. A light queue has one queue, 0.

use crate::{QueueId, QueueOffset, RecordView, name, property};

/// What the names of light queues begin with (`MixAll.LMQ_PREFIX`).
pub const PREFIX: &str = "%LMQ%";

/// The only queue of each.
pub const QUEUE: QueueId = 0;

/// Whether `name` is one of a light queue, or of a group that reads some (`MixAll.isLmq`).
pub fn is_light(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether records of `topic` can be in light queues (`MixAll.topicAllowsLMQ`, 5.5).
pub fn is_allowed(topic: &str) -> bool {
    !topic.starts_with(name::RETRY_PREFIX)
        && !topic.starts_with(name::DEAD_LETTER_PREFIX)
        && !topic.starts_with("rmq_sys_")
        && topic != "SCHEDULE_TOPIC_XXXX"
}

/// The names in a list, `None` for each that is no light queue for a record of `topic`; commas at the end count for nothing,
/// as to Java's `split`.
pub fn names<'a>(list: &'a str, topic: &'a str) -> impl Iterator<Item = Option<&'a str>> {
    list.trim_end_matches(',').split(',').map(move |name| Some(name).filter(|name| can_hold(name, topic)))
}

/// Whether the store wrote the last property, or somebody who would have it seem so.
pub fn is_marked(properties: &[u8]) -> bool {
    offsets_of(properties).is_some()
}

/// The light queues in which a stored record is, and its offset in each.
pub fn positions<'a>(record: &RecordView<'a>) -> impl Iterator<Item = (&'a str, QueueOffset)> {
    let list = offsets_of(record.properties())
        .and_then(|offsets| Some((record.property(property::MULTI_DISPATCH)?, offsets)));
    let (list, offsets) = list.unwrap_or_default();
    let topic = record.topic();
    names(list, topic)
        .zip(offsets.split(','))
        .filter_map(|(name, offset)| Some((name?, offset.parse().ok()?)))
}

/// As [`positions`], of a record in RocketMQ's log: there the property is one of many, and offsets stand only for queues that
/// the record is in (`ConsumeQueue.multiDispatchLmqQueue`, 5.5). `Err` with a name that is no light queue's: up to 5.3 each
/// could be there.
pub fn positions_of_rocketmq<'a>(
    record: &RecordView<'a>,
) -> impl Iterator<Item = Result<(&'a str, QueueOffset), &'a str>> {
    let topic = record.topic();
    // Messages that are sent back keep their properties.
    let is_sent = !topic.starts_with(name::RETRY_PREFIX)
        && !topic.starts_with("rmq_sys_")
        && topic != "SCHEDULE_TOPIC_XXXX";
    let lists = record
        .property(property::MULTI_DISPATCH)
        .zip(record.property(property::MULTI_QUEUE_OFFSETS))
        .filter(|_| is_sent);
    let (names, offsets) = lists.unwrap_or_default();
    names.split(',').zip(offsets.split(',')).filter_map(move |(name, offset)| {
        let offset = offset.parse().ok()?;
        match () {
            () if name.contains('/') => None,
            () if !is_light(name) => Some(Err(name)),
            () => can_hold(name, topic).then_some(Ok((name, offset))),
        }
    })
}

/// The offset of a record in a queue that it is known to be in, whoever wrote it.
pub fn position_of(record: &RecordView<'_>, topic: &str, queue: QueueId) -> Option<QueueOffset> {
    position_in(record, topic, queue).or_else(|| position_in_rocketmqs(record, topic))
}

/// As [`position_in`] for a light queue, of a record in RocketMQ's log.
pub fn position_in_rocketmqs(record: &RecordView<'_>, topic: &str) -> Option<QueueOffset> {
    let mut positions = positions_of_rocketmq(record).filter_map(Result::ok);
    positions.find(|(name, _)| *name == topic).map(|(_, offset)| offset)
}

/// The record's offset in a queue, be it its own or a light one; `None` where it is not in it.
pub fn position_in(record: &RecordView<'_>, topic: &str, queue: QueueId) -> Option<QueueOffset> {
    if record.queue() == queue && record.topic() == topic {
        return Some(record.queue_offset());
    }
    if queue != QUEUE || !is_light(topic) {
        return None;
    }
    positions(record).find(|(name, _)| *name == topic).map(|(_, offset)| offset)
}

/// A slash would be a folder to RocketMQ, which leaves such names out (`ConsumeQueue.multiDispatchLmqQueue`, 5.5).
fn can_hold(name: &str, topic: &str) -> bool {
    is_light(name) && name != topic && name.len() <= name::DERIVED_TOPIC_BYTES_MAX && !name.contains('/')
}

/// The value of the last property, if it is the one that the store writes. Most records are seen to be none by one byte.
fn offsets_of(properties: &[u8]) -> Option<&str> {
    let properties = properties.strip_suffix(&[property::VALUE_END]).unwrap_or(properties);
    if !properties.last().is_some_and(|last| last.is_ascii_digit() || *last == b',') {
        return None;
    }
    let begin = memchr::memrchr(property::VALUE_END, properties).map_or(0, |end| end + 1);
    let value = properties[begin..].strip_prefix(property::MULTI_QUEUE_OFFSETS.as_bytes())?;
    std::str::from_utf8(value.strip_prefix(&[property::KEY_END])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Place, RecordBody};

    /// The bytes of a record at offset 9 of its queue.
    fn stored(topic: &str, queue: QueueId, properties: &[u8]) -> Vec<u8> {
        let host = "127.0.0.1:10911".parse().unwrap();
        let body = RecordBody {
            topic,
            queue,
            flag: 0,
            system_flag: 0,
            born: 0,
            born_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: b"x",
            properties,
            dispatched: false,
        };
        let mut bytes = Vec::new();
        body.encode(&Place { queue_offset: 9, log_offset: 0, stored: 0, store_host: host }, &mut bytes);
        bytes
    }

    fn check(properties: &[u8], topic: &str) -> Vec<(String, u64)> {
        let bytes = stored(topic, 3, properties);
        let record = RecordView::parse(&bytes).unwrap();
        assert_eq!(position_in(&record, topic, 3), Some(9));
        assert_eq!(position_in(&record, topic, 0), None);
        let found: Vec<_> = positions(&record).map(|(name, offset)| (name.to_owned(), offset)).collect();
        for (name, offset) in &found {
            assert_eq!(position_in(&record, name, QUEUE), Some(*offset));
        }
        found
    }

    #[test]
    fn a_record_says_in_which_queues_it_is() {
        let of = |name: &str, offset| (name.to_owned(), offset);
        let two = b"INNER_MULTI_DISPATCH\x01%LMQ%a,b,%LMQ%c\x02INNER_MULTI_QUEUE_OFFSET\x015,,70\x02";
        assert_eq!(check(two, "t"), [of("%LMQ%a", 5), of("%LMQ%c", 70)]);
        assert_eq!(check(&two[..two.len() - 1], "t").len(), 2, "the last separator may be left out");
        assert_eq!(check(two, "%LMQ%a"), [of("%LMQ%c", 70)]);
        let not_last = [two, &b"\x02"[..]].concat();
        assert!(!is_marked(&not_last) && is_marked(two));
        assert!(check(&not_last, "t").is_empty());
        let without_names = b"INNER_MULTI_QUEUE_OFFSET\x015\x02";
        assert!(is_marked(without_names) && check(without_names, "t").is_empty());
        assert!(
            check(b"INNER_MULTI_DISPATCH\x01%LMQ%a/b\x02INNER_MULTI_QUEUE_OFFSET\x015\x02", "t").is_empty()
        );
        assert!(
            !is_marked(b"") && !is_marked(b"XINNER_MULTI_QUEUE_OFFSET\x015\x02") && !is_marked(b"a\x015\x02")
        );
    }

    #[test]
    fn in_rocketmqs_log_the_property_is_anywhere() {
        let properties = b"INNER_MULTI_QUEUE_OFFSET\x015,,70,2\x02INNER_MULTI_DISPATCH\x01%LMQ%a,b,%LMQ%c,%LMQ%d/e\x02k\x01v\x02";
        let record = stored("t", 0, properties);
        let record = RecordView::parse(&record).unwrap();
        let found: Vec<_> = positions_of_rocketmq(&record).collect();
        assert_eq!(found, [Ok(("%LMQ%a", 5)), Ok(("%LMQ%c", 70))]);
        assert_eq!(position_in(&record, "%LMQ%c", QUEUE), None, "it could be a producer's own property");
        assert_eq!(position_of(&record, "%LMQ%c", QUEUE), Some(70));
        assert_eq!(position_of(&record, "t", 0), Some(9));
        let retried = stored("%RETRY%g", 0, properties);
        assert_eq!(positions_of_rocketmq(&RecordView::parse(&retried).unwrap()).count(), 0);
        let other = stored("t", 0, b"INNER_MULTI_QUEUE_OFFSET\x015\x02INNER_MULTI_DISPATCH\x01b\x02");
        let other = RecordView::parse(&other).unwrap();
        assert_eq!(positions_of_rocketmq(&other).next(), Some(Err("b")));
    }

    #[test]
    fn topics_of_the_broker_have_none() {
        assert!(is_allowed("t"));
        assert!(
            ["%RETRY%g", "%DLQ%g", "rmq_sys_x", "SCHEDULE_TOPIC_XXXX"].iter().all(|topic| !is_allowed(topic))
        );
    }
}
