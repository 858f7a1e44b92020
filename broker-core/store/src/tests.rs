//! Whole stores, on the simulated disk and on a real one.

mod crashes;
mod damage;
mod faults;
mod lies;
mod model;
mod reading;
mod retention;
mod scrub;

use crate::{
    Durability, IndexEntry, LogReader, Opened, Options, Placed, StageError,
    disk::{Disk, SimDisk},
    open,
};
use halley_model::{Millis, RecordBody, RecordView, light};
use std::{net::SocketAddr, sync::Arc};

const NOW: Millis = 1_700_000_000_000;

fn host() -> SocketAddr {
    "127.0.0.1:10911".parse().unwrap()
}

/// Small segments, so that every test crosses some.
fn small(durability: Durability) -> Options {
    Options { segment_bytes: 4096, staged_bytes_max: 64 << 10, ..Options::new(durability, host()) }
}

fn body<'a>(topic: &'a str, queue: u32, payload: &'a [u8]) -> RecordBody<'a> {
    RecordBody {
        topic,
        queue,
        flag: 0,
        system_flag: 0,
        born: NOW,
        born_host: host(),
        reconsume_times: 0,
        prepared_offset: 0,
        body: payload,
        properties: b"TAGS\x01blue\x02",
        dispatched: false,
    }
}

fn reopen(disk: &SimDisk, options: &Options) -> Opened<SimDisk> {
    open(Arc::new(disk.clone()), options.clone(), NOW).unwrap()
}

/// Stages one record and runs the log once.
fn store<D: Disk>(store: &mut Opened<D>, topic: &str, queue: u32, payload: &[u8]) -> Placed {
    let placed = stage(store, topic, queue, payload).unwrap();
    store.io.run_once(NOW).unwrap();
    assert!(store.log.acked() > placed.log_offset);
    placed
}

pub(crate) fn stage<D: Disk>(
    store: &Opened<D>,
    topic: &str,
    queue: u32,
    payload: &[u8],
) -> Result<Placed, StageError> {
    store.log.stage(NOW)?.append(&body(topic, queue, payload))
}

/// All entries of a queue.
fn entries<D: Disk>(reader: &LogReader<D>, topic: &str, queue: u32) -> Vec<IndexEntry> {
    let mut found = Vec::new();
    reader.lookup(topic, queue, 0, usize::MAX, &mut found).unwrap();
    found
}

/// The payloads of all records of a queue, checked against their index entries.
fn payloads<D: Disk>(reader: &LogReader<D>, topic: &str, queue: u32) -> Vec<Vec<u8>> {
    let found = entries(reader, topic, queue);
    let mut payloads = Vec::new();
    for (at, entry) in found.iter().enumerate() {
        let bytes = reader.read(entry).unwrap();
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!((view.topic(), view.queue(), view.queue_offset()), (topic, queue, at as u64));
        assert_eq!((entry.queue_offset, entry.log_offset), (at as u64, view.log_offset()));
        assert_eq!(entry.tag, halley_model::tag::java_hash("blue"));
        payloads.push(view.body().to_vec());
    }
    payloads
}

/// Checks that the index of every queue is exactly what the log says.
fn check_index_is_a_view<D: Disk>(reader: &LogReader<D>) {
    let mut expected = std::collections::BTreeMap::<(String, u32), Vec<(u64, u64)>>::new();
    let end = reader
        .scan(0, |record| {
            let queue = expected.entry((record.topic().to_owned(), record.queue())).or_default();
            queue.push((record.queue_offset(), record.log_offset()));
            for (name, offset) in light::positions(record) {
                expected.entry((name.to_owned(), 0)).or_default().push((offset, record.log_offset()));
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(end, reader.end());
    let mut queues = 0;
    for topic in reader.topics() {
        for queue in 0..reader.queues(&topic) {
            let found = entries(reader, &topic, queue);
            let found: Vec<_> = found.iter().map(|entry| (entry.queue_offset, entry.log_offset)).collect();
            let expected = expected.get(&(topic.to_string(), queue)).cloned().unwrap_or_default();
            assert_eq!(found, expected, "the index of {topic}/{queue} is not what the log says");
            let first = found.first().map_or(0, |entry| entry.0);
            assert!(first == 0 || reader.start() > 0, "a queue begins later only in a log that does");
            assert!(found.iter().zip(first..).all(|(entry, at)| entry.0 == at));
            let bounds = reader.bounds(&topic, queue);
            match found.is_empty() {
                true => assert!(bounds.is_none_or(|(min, max)| min == max && reader.start() > 0)),
                false => assert_eq!(bounds, Some((first, first + found.len() as u64))),
            }
            queues += usize::from(!found.is_empty());
        }
    }
    assert_eq!(queues, expected.len(), "the index knows all queues");
}
