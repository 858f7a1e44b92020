//! A whole broker whose log loses its beginning, and that finds everything again from what is left.

use crate::{Broker, Options, RetentionPolicy, clock};
use halley_machine::{
    attributes::Attributes, delay::TIMER_TOPIC, offsets::Committed, transactions::HALF_TOPIC,
};
use halley_model::{GroupConfig, GroupName, RecordBody, RecordView, TopicConfig, TopicName, property};
use halley_store::Placed;
use halley_wire::request::{Decision, EndTransaction};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

const SEGMENT_BYTES: u64 = 8 << 20;

fn open(data: &Path, retention: RetentionPolicy) -> Broker {
    let options = Options { segment_bytes: SEGMENT_BYTES, retention, ..Options::of_test(data) };
    Broker::open(options).unwrap().0
}

/// Nothing goes by itself.
fn none() -> RetentionPolicy {
    RetentionPolicy { age: None, force: false, ..RetentionPolicy::default() }
}

/// Everything goes that can.
fn all() -> RetentionPolicy {
    RetentionPolicy { size: Some(0), ..none() }
}

fn body<'a>(topic: &'a str, queue: u32, body: &'a [u8], properties: &'a [u8]) -> RecordBody<'a> {
    RecordBody {
        topic,
        queue,
        flag: 0,
        system_flag: 0,
        born: clock::now(),
        born_host: "127.0.0.1:1".parse().unwrap(),
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties,
        dispatched: false,
    }
}

fn store(broker: &Broker, record: &RecordBody<'_>) -> Placed {
    let log = &broker.appends.log;
    let placed = loop {
        match log.stage(clock::now()).and_then(|mut staging| staging.append(record)) {
            Ok(placed) => break placed,
            Err(halley_store::StageError::NoSegment) => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    };
    let started = Instant::now();
    while log.acked() <= placed.log_offset {
        assert!(started.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_micros(200));
    }
    placed
}

/// Fills so many segments, and lets housekeeping see them.
fn fill(broker: &Broker, segments: u64) {
    let payload = vec![7; 1 << 20];
    let end = broker.appends.log.acked() + segments * SEGMENT_BYTES;
    while broker.appends.log.acked() < end {
        store(broker, &body("filling", 0, &payload, b""));
    }
    broker.housekeeping.run();
}

fn topic(broker: &Broker, name: &str) -> TopicName {
    let name = TopicName::new(name).unwrap();
    broker.catalog.update(TopicConfig::new(name.clone(), 2), &Attributes::new()).unwrap();
    name
}

/// A crash: nothing is written at the end. Perhaps no snapshot is left.
fn crash(broker: Broker, data: &Path, snapshots: bool) {
    broker.stop_log();
    drop(broker);
    if snapshots {
        return;
    }
    for snapshot in fs::read_dir(data.join("snapshot")).unwrap() {
        fs::remove_file(snapshot.unwrap().path()).unwrap();
    }
}

#[test]
fn everything_is_found_again_in_what_is_left() {
    for snapshots in [false, true] {
        is_found_again(snapshots);
    }
}

fn is_found_again(snapshots: bool) {
    let data = tempfile::tempdir().unwrap();
    let broker = open(data.path(), all());
    let (orders, gone) = (topic(&broker, "orders"), topic(&broker, "gone"));
    let group = GroupName::new("readers").unwrap();
    broker.catalog.update_group(GroupConfig::new(group.clone()), &Attributes::new()).unwrap();
    for number in 0..5u8 {
        store(&broker, &body("orders", 1, &[number], b""));
        store(&broker, &body("%LMQ%light", 0, &[number], b""));
        store(&broker, &body("gone", 0, &[number], b""));
    }
    let key = (group.clone(), orders.clone(), 1);
    broker.progress.commit(key, Committed { offset: 3, metadata: "m".to_owned() });
    broker.progress.flush().unwrap();
    let deleted = broker.catalog.delete_topic(&gone).unwrap().unwrap();
    assert_eq!(deleted.ends, [5]);
    broker.settings.change(&[("autoCreateTopicEnable".to_owned(), "false".to_owned())].into()).unwrap();
    fill(&broker, 3);
    broker.retainer.run();
    let begin = broker.queues.reader.start();
    assert!(begin >= 2 * SEGMENT_BYTES, "the log begins at {begin}");
    assert_eq!(broker.queues.bounds("orders", 1), (5, 5));
    assert_eq!(broker.queues.bounds("%LMQ%light", 0), (5, 5));
    let (first, end) = broker.queues.bounds("filling", 0);
    assert!(0 < first && first < end);
    // Twice: what was only in records that say it again is gone, too.
    fill(&broker, 3);
    broker.retainer.run();
    assert!(broker.queues.reader.start() > begin + SEGMENT_BYTES);
    broker.housekeeping.snapshot();
    crash(broker, data.path(), snapshots);

    let broker = open(data.path(), none());
    assert!(broker.catalog.get("orders").is_some() && broker.catalog.get("gone").is_none());
    assert!(broker.catalog.group("readers").is_some());
    assert!(!broker.settings.auto_create_topics());
    let committed = broker.progress.committed(&group, &orders, 1).unwrap();
    assert_eq!((committed.offset, &*committed.metadata), (3, "m"));
    assert_eq!(broker.queues.bounds("orders", 1), (5, 5));
    for (topic, queue) in [("orders", 1), ("%LMQ%light", 0), ("gone", 0)] {
        assert_eq!(store(&broker, &body(topic, queue, b"next", b"")).queue_offset, 5, "{topic}");
    }
    assert_eq!(broker.queues.bounds("orders", 1), (5, 6));
    broker.close();
    drop(broker);
    assert_eq!(open(data.path(), none()).queues.bounds("%LMQ%light", 0), (5, 6));
}

#[test]
fn what_waits_is_moved_and_comes_once() {
    let data = tempfile::tempdir().unwrap();
    let broker = open(data.path(), all());
    topic(&broker, "orders");
    let mut properties = Vec::new();
    property::push(&mut properties, property::REAL_TOPIC, "orders");
    property::push(&mut properties, property::REAL_QUEUE, "1");
    let with = |key, value: &str| {
        let mut properties = properties.clone();
        property::push(&mut properties, key, value);
        properties
    };
    // A level counts from when a message is stored; a time stands as it is.
    let level = with(property::DELAY_LEVEL, "3");
    let stored = clock::now();
    store(&broker, &body(TIMER_TOPIC, 0, b"level", &level));
    let mut timed = with(property::TIMER_OUT_MS, &(stored + 9_000).to_string());
    property::push(&mut timed, property::TIMER_ENQUEUE_MS, &stored.to_string());
    store(&broker, &body(TIMER_TOPIC, 0, b"timed", &timed));
    let far = with(property::TIMER_OUT_MS, &(stored + 900_000).to_string());
    store(&broker, &body(TIMER_TOPIC, 0, b"far", &far));
    fill(&broker, 3);
    let due_before: Vec<_> = due(&broker);
    broker.retainer.run();
    fill(&broker, 3);
    broker.retainer.run();
    let (first, end) = broker.queues.bounds(TIMER_TOPIC, 0);
    assert!(first >= 3 && end - first == 3, "they were moved, twice: {first} {end}");
    assert_eq!(due(&broker), due_before, "and wait for the same times");
    crash(broker, data.path(), false);

    let broker = open(data.path(), none());
    assert_eq!(due(&broker), due_before);
    let started = Instant::now();
    while broker.queues.bounds("orders", 1).1 < 2 {
        assert!(started.elapsed() < Duration::from_secs(60), "they are due after ten seconds");
        broker.waiting().0.round();
        thread::sleep(Duration::from_millis(50));
    }
    broker.waiting().0.round();
    let bodies: Vec<_> = (0..2)
        .map(|offset| {
            let bytes = broker.queues.reader.record_of("orders", 1, offset).unwrap().unwrap();
            let record = RecordView::parse(&bytes).unwrap();
            assert!(record.property("HALLEY_DUE_MS").is_none());
            record.body().to_vec()
        })
        .collect();
    assert_eq!(bodies, [&b"timed"[..], b"level"]);
    assert_eq!(due(&broker).len(), 1);
    broker.close();
}

/// When messages wait for.
fn due(broker: &Broker) -> Vec<i64> {
    broker.waiting().0.round();
    let (timers, _) = broker.waiting_tables();
    let mut at: Vec<_> = timers.before(u64::MAX, 99).iter().map(|timer| timer.at()).collect();
    at.sort_unstable();
    at
}

#[test]
fn an_open_transaction_is_moved_and_its_producer_ends_it() {
    let data = tempfile::tempdir().unwrap();
    let broker = open(data.path(), all());
    topic(&broker, "orders");
    let half = |number: usize| {
        let mut properties = Vec::new();
        for (key, value) in [
            (property::REAL_TOPIC, "orders"),
            (property::REAL_QUEUE, "0"),
            (property::PRODUCER_GROUP, "producers"),
            (property::UNIQUE_KEY, ["A", "B", "C"][number]),
        ] {
            property::push(&mut properties, key, value);
        }
        properties
    };
    let places: Vec<_> =
        (0..3).map(|number| store(&broker, &body(HALF_TOPIC, 0, b"half", &half(number)))).collect();
    let end = |broker: &Broker, number: usize, decision| {
        let request = EndTransaction {
            topic: None,
            producer_group: "producers".into(),
            tran_state_table_offset: places[number].queue_offset as i64,
            commit_log_offset: places[number].log_offset as i64,
            commit_or_rollback: decision,
            from_transaction_check: false,
            msg_id: ["A", "B", "C"][number].into(),
            transaction_id: None,
        };
        let stored = broker.queues.reader.record_at(places[number].log_offset).ok();
        let half = stored.or_else(|| broker.waiting().1.moved(request.tran_state_table_offset))?;
        broker.waiting().1.end(&request, &RecordView::parse(&half).unwrap()).ok()
    };
    fill(&broker, 3);
    broker.retainer.run();
    let (first, next) = broker.queues.bounds(HALF_TOPIC, 0);
    assert_eq!((first, next), (3, 6), "all are in the queue again");
    assert!(end(&broker, 0, Decision::Commit).is_some());
    assert!(end(&broker, 0, Decision::Commit).is_none(), "once");
    fill(&broker, 3);
    broker.retainer.run();
    crash(broker, data.path(), false);

    let broker = open(data.path(), none());
    assert_eq!(broker.queues.bounds(HALF_TOPIC, 0).1, 8, "those that are open, again");
    assert!(end(&broker, 0, Decision::Commit).is_none());
    assert!(end(&broker, 1, Decision::Commit).is_some());
    assert!(end(&broker, 2, Decision::Rollback).is_some());
    broker.housekeeping.run();
    let (_, transactions) = broker.waiting_tables();
    assert!(transactions.is_empty());
    assert_eq!(broker.queues.bounds("orders", 0).1, 2);
    broker.close();
}
