//! Stores that go on from a log of RocketMQ's, on the simulated disk.

use super::BLANK_MAGIC;
use crate::{
    Durability, Foreign, KeyKind, KeyQuery, OpenError, Opened, Options,
    disk::{Disk, DiskFile, SimDisk},
    open,
};
use bytes::BufMut;
use halley_model::{
    LogOffset, Millis, QueueOffset, RecordBody, RecordView,
    record::{Place, flag},
};
use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

const NOW: Millis = 1_700_000_000_000;
const FILE_BYTES: u64 = 2048;

/// RocketMQ's log as it lies in files of 2 KiB.
struct Java {
    disk: SimDisk,
    base: LogOffset,
    file: Vec<u8>,
    next: BTreeMap<(String, u32), QueueOffset>,
}

impl Java {
    fn new(base: LogOffset) -> Self {
        let disk = SimDisk::new(1);
        disk.create_dir("commitlog").unwrap();
        Self { disk, base, file: Vec::new(), next: BTreeMap::new() }
    }

    fn end(&self) -> LogOffset {
        self.base + self.file.len() as u64
    }

    fn store(&mut self, topic: &str, queue: u32) -> LogOffset {
        self.store_as(topic, queue, 0, b"KEYS\x01k\x02")
    }

    fn store_as(&mut self, topic: &str, queue: u32, system_flag: i32, properties: &[u8]) -> LogOffset {
        let host = "127.0.0.1:10911".parse().unwrap();
        let payload = format!("{topic}/{queue}");
        let body = RecordBody {
            topic,
            queue,
            flag: 0,
            system_flag,
            born: NOW,
            born_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: payload.as_bytes(),
            properties,
            dispatched: false,
        };
        let bytes = body.encoded_len(&host) as u64;
        if self.file.len() as u64 + bytes + 8 > FILE_BYTES {
            let rest = FILE_BYTES - self.file.len() as u64;
            self.file.put_u32(rest as u32);
            self.file.put_u32(BLANK_MAGIC);
            self.write();
            self.base += FILE_BYTES;
            self.file.clear();
        }
        let log_offset = self.end();
        let next = self.next.entry((topic.to_owned(), queue)).or_default();
        let place = Place { queue_offset: *next, log_offset, stored: NOW, store_host: host };
        if !matches!(system_flag & flag::TRANSACTION, 4 | 12) {
            *next += 1;
        }
        body.encode(&place, &mut self.file);
        log_offset
    }

    /// Writes the file being filled, with what was reserved behind it.
    fn write(&self) {
        self.write_at(self.base, &self.file);
    }

    fn write_at(&self, base: LogOffset, bytes: &[u8]) {
        let file = self.disk.create(&format!("commitlog/{base:020}")).unwrap();
        file.preallocate(FILE_BYTES).unwrap();
        file.write_at(0, &[bytes]).unwrap();
    }

    fn open(&self) -> Result<Opened<SimDisk>, OpenError> {
        let mut options = Options {
            segment_bytes: 4096,
            staged_bytes_max: 64 << 10,
            ..Options::new(Durability::Sync, "127.0.0.1:10911".parse().unwrap())
        };
        options.foreign = Some(Foreign { stretch_bytes: 700, ..Foreign::new("commitlog", |_, _| {}) });
        open(Arc::new(self.disk.clone()), options, NOW)
    }

    /// What a reader finds in a queue: queue offset and log offset.
    fn queue(store: &Opened<SimDisk>, topic: &str, queue: u32) -> Vec<(QueueOffset, LogOffset)> {
        let mut entries = Vec::new();
        store.reader.lookup(topic, queue, 0, usize::MAX, &mut entries).unwrap();
        let read = |entry: &crate::IndexEntry| {
            let bytes = store.reader.read(entry).unwrap();
            let record = RecordView::parse(&bytes).unwrap();
            assert_eq!((record.topic(), record.queue()), (topic, queue));
            assert_eq!((record.queue_offset(), record.log_offset()), (entry.queue_offset, entry.log_offset));
            (entry.queue_offset, entry.log_offset)
        };
        entries.iter().map(read).collect()
    }

    fn refusal(&self) -> String {
        self.open().err().expect("the store should be refused").to_string()
    }
}

fn stage(store: &mut Opened<SimDisk>, topic: &str, queue: u32) -> (QueueOffset, LogOffset) {
    let placed = crate::tests::stage(store, topic, queue, b"new").unwrap();
    store.io.run_once(NOW).unwrap();
    (placed.queue_offset, placed.log_offset)
}

#[test]
fn its_records_are_read_in_place_and_the_log_goes_on_behind_them() {
    let mut java = Java::new(6144);
    let mut orders = Vec::new();
    for number in 0..60 {
        orders.push(java.store("orders", 0));
        if number % 3 == 0 {
            java.store("audit", 2);
        }
    }
    java.write();
    let before = java.disk.trace_hash();
    let mut store = java.open().unwrap();
    assert_ne!(java.disk.trace_hash(), before);
    assert_eq!(store.reader.start(), 6144);
    let expected: Vec<_> = (0..).zip(orders.iter().copied()).collect();
    assert_eq!(Java::queue(&store, "orders", 0), expected);
    assert_eq!(Java::queue(&store, "audit", 2).len(), 20);
    let last = stage(&mut store, "orders", 0);
    assert_eq!(last.0, 60, "queue offsets go on without a gap");
    assert!(last.1 >= java.end(), "log offsets go on behind the last record");
    let query = |before| KeyQuery {
        topic: "orders".to_owned(),
        key: "k".to_owned(),
        kind: KeyKind::Key,
        begin: 0,
        end: Millis::MAX,
        records_max: 100,
        before,
    };
    assert_eq!(store.keys.find(&query(None)).unwrap().records.len(), 60, "without key files");
    while store.keys.tend_one().unwrap() {}
    assert_eq!(store.keys.find(&query(None)).unwrap().records.len(), 60, "from key files");
    drop(store);
    // Sidecars serve from the second opening on.
    for _ in 0..2 {
        let store = java.open().unwrap();
        assert_eq!(store.recovery.segments_scanned, 1, "only the active segment is read");
        let all = Java::queue(&store, "orders", 0);
        assert_eq!((&all[..60], all[60]), (&expected[..], last));
        let mut seen = 0;
        store
            .reader
            .scan(0, |_| {
                seen += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, 81);
        assert!(store.reader.record_at(orders[7]).is_ok());
    }
    // Without sidecars everything is found again.
    for name in java.disk.list("index").unwrap() {
        java.disk.remove(&format!("index/{name}")).unwrap();
    }
    let store = java.open().unwrap();
    assert_eq!(Java::queue(&store, "orders", 0).len(), 61);
}

#[test]
fn the_first_record_that_is_not_whole_ends_it() {
    for damage in 0..4 {
        let mut java = Java::new(0);
        for _ in 0..5 {
            java.store("t", 0);
        }
        let torn = java.store("t", 0);
        java.store("t", 0);
        match damage {
            // The body, the size, the magic number, and nothing written from there on.
            0 => java.file[torn as usize + 90] ^= 1,
            1 => java.file[torn as usize + 3] ^= 0x40,
            2 => java.file[torn as usize + 4] ^= 1,
            _ => java.file.truncate(torn as usize),
        }
        java.write();
        // The next file was reserved already.
        java.write_at(FILE_BYTES, b"");
        let mut store = java.open().unwrap();
        assert_eq!(Java::queue(&store, "t", 0).len(), 5, "damage {damage}");
        assert_eq!(store.recovery.cut.is_some(), damage != 3);
        assert_eq!(stage(&mut store, "t", 0).0, 5);
        drop(store);
        let store = java.open().unwrap();
        assert_eq!(Java::queue(&store, "t", 0).len(), 6);
    }
}

#[test]
fn damage_before_the_last_file_is_no_crash() {
    let mut java = Java::new(0);
    for _ in 0..60 {
        java.store("t", 0);
    }
    java.write();
    let file = java.disk.open("commitlog/00000000000000000000").unwrap();
    file.write_at(4, &[b"x"]).unwrap();
    assert!(java.refusal().contains("goes on in the next file"), "{}", java.refusal());
    java.disk.remove("commitlog/00000000000000002048").unwrap();
    assert!(java.refusal().contains("one is missing"), "{}", java.refusal());
}

#[test]
fn a_queue_may_begin_anywhere_and_anew() {
    let mut java = Java::new(2048);
    java.next.insert(("t".to_owned(), 0), 17);
    java.store("t", 0);
    java.store("again", 0);
    java.store("again", 0);
    java.next.remove(&("again".to_owned(), 0));
    let again = java.store("again", 0);
    // Prepared and rolled back records are in no queue.
    java.store_as("t", 0, 4, b"");
    java.store_as("t", 0, 12, b"");
    java.store_as("t", 0, 8, b"");
    java.write();
    let mut store = java.open().unwrap();
    assert_eq!(store.reader.bounds("t", 0), Some((17, 19)));
    assert_eq!(Java::queue(&store, "again", 0), [(0, again)]);
    // A queue whose records RocketMQ deleted.
    store.log.raise_end("gone", 1, 9);
    store.reader.begin_at("gone", 1, 9);
    assert_eq!(store.reader.bounds("gone", 1), Some((9, 9)));
    assert_eq!(stage(&mut store, "gone", 1).0, 9);
    drop(store);
    let store = java.open().unwrap();
    assert_eq!(store.reader.bounds("gone", 1), Some((9, 10)));
}

#[test]
fn light_queues_go_on() {
    let mut java = Java::new(0);
    let mut stored = Vec::new();
    for number in 0..40 {
        let offsets = format!("INNER_MULTI_QUEUE_OFFSET\x01{number},,{}\x02", number + 3);
        let lists = format!("{offsets}INNER_MULTI_DISPATCH\x01%LMQ%a,x,%LMQ%b\x02KEYS\x01k\x02");
        stored.push(java.store_as("t", number % 2, 0, lists.as_bytes()));
        // It was not stored as one of several queues.
        java.store_as("t", 0, 0, b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02");
        java.store_as("%RETRY%g", 0, 0, lists.as_bytes());
    }
    java.write();
    let light = |store: &Opened<SimDisk>, name| {
        let mut entries = Vec::new();
        store.reader.lookup(name, 0, 0, usize::MAX, &mut entries).unwrap();
        entries.iter().map(|entry| (entry.queue_offset, entry.log_offset)).collect::<Vec<_>>()
    };
    let expected = |first: u64| {
        (first..).zip(&stored).map(|(offset, log_offset)| (offset, *log_offset)).collect::<Vec<_>>()
    };
    // Once from RocketMQ's log, once from what was made of it, once though that is damaged.
    for opening in 0..3 {
        let mut store = java.open().unwrap();
        assert_eq!(light(&store, "%LMQ%a")[..40], expected(0), "{opening}");
        assert_eq!(light(&store, "%LMQ%b")[..40], expected(3), "{opening}");
        assert_eq!(store.reader.light_queues(), 2);
        let mut staging = store.log.stage(NOW).unwrap();
        let host = "127.0.0.1:10911".parse().unwrap();
        let body = RecordBody {
            topic: "t",
            queue: 0,
            flag: 0,
            system_flag: 0,
            born: NOW,
            born_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: b"x",
            properties: b"INNER_MULTI_DISPATCH\x01%LMQ%b\x02",
            dispatched: true,
        };
        staging.append(&body).unwrap();
        drop(staging);
        store.io.run_once(NOW).unwrap();
        assert_eq!(store.reader.bounds("%LMQ%b", 0), Some((3, 44 + opening)));
        drop(store);
        if opening == 1 {
            for name in java.disk.list("index").unwrap() {
                java.disk.open(&format!("index/{name}")).unwrap().write_at(200, &[&[0x55; 400]]).unwrap();
            }
        }
    }
}

#[test]
fn what_cannot_be_indexed_is_refused() {
    let mut java = Java::new(0);
    java.store("t", 0);
    java.next.insert(("t".to_owned(), 0), 3);
    java.store("t", 0);
    java.write();
    assert!(java.refusal().contains("goes on at 3 after 1: messages are missing"), "{}", java.refusal());
    let of_a_topic = b"INNER_MULTI_DISPATCH\x01other\x02INNER_MULTI_QUEUE_OFFSET\x013\x02";
    for (system_flag, properties, expected) in
        [(1 << 7, &b""[..], "BatchCQ"), (0, of_a_topic, "no light message queues")]
    {
        let mut java = Java::new(0);
        java.store_as("t", 0, system_flag, properties);
        java.write();
        assert!(java.refusal().contains(expected), "{}", java.refusal());
    }
    let java = Java::new(0);
    java.write_at(0, b"something else");
    assert!(java.refusal().contains("no commit log"), "{}", java.refusal());
}

#[test]
fn rocketmq_may_not_go_on_too() {
    let mut java = Java::new(0);
    java.store("t", 0);
    java.write();
    drop(java.open().unwrap());
    for _ in 0..2 {
        java.store("t", 0);
        java.write();
        assert!(java.refusal().contains("after Halley took the store over"), "{}", java.refusal());
    }
    while java.base == 0 {
        java.store("t", 0);
    }
    java.write();
    assert!(java.refusal().contains("after Halley took the store over"), "{}", java.refusal());
}

#[test]
fn an_empty_log_is_a_beginning() {
    let java = Java::new(0);
    let mut store = java.open().unwrap();
    assert_eq!(stage(&mut store, "t", 0).0, 0);
    let java = Java::new(0);
    java.write_at(0, b"");
    assert_eq!(java.open().unwrap().reader.start(), 0);
    // Everything was too old, and deleted.
    let java = Java::new(0);
    java.write_at(6144, b"");
    for offset in 0..2 {
        let mut store = java.open().unwrap();
        assert_eq!((store.reader.start(), store.reader.foreign_end()), (6144, 6144));
        assert_eq!(stage(&mut store, "t", 0).0, offset);
    }
}
