//! What lies on disk when a store is opened: after crashes, and after whatever else happens to files.

use halley_model::{RecordBody, RecordView};
use halley_store::{
    BLANK_MAGIC, Durability, Foreign, KeyKind, KeyQuery, LogReader, OpenError, Opened, Options, Snapshot,
    backup::{Manifest, Stretch},
    disk::{Crash, Disk, DiskFile, SimDisk},
    open,
};
use std::{net::SocketAddr, sync::Arc};

const SEGMENT: &str = "log/00000000000000000000.seg";
const SIDECAR: &str = "index/00000000000000000000.idx";
const KEYS: &str = "index/00000000000000000000.keys";
const FOREIGN: &str = "commitlog/00000000000000000000";
const SEGMENT_BYTES: u64 = 4096;
const NOW: i64 = 1_700_000_000_000;
/// Of any frame, in bytes.
const FRAME_HEADER: usize = 32;
/// Of the first frame of a segment, in bytes.
const START_FRAME: usize = 56;

/// The only segment of a log. The first byte says whether the checksums are made right first, so that what lies behind them is
/// reached too; the rest is the file. If the store opens, all that its index names can be read, it takes a record, and after
/// another crash it holds the same again.
pub fn log_recovery(input: &[u8]) {
    let Some((repair, file)) = input.split_first() else { return };
    let mut file = file.to_vec();
    if repair & 1 == 1 {
        make_checksums_right(&mut file);
    }
    let disk = Arc::new(SimDisk::new(1));
    put(&disk, SEGMENT, &file);
    let Ok(opened) = open_store(&disk) else { return };
    if opened.recovery.epoch == u32::MAX {
        // After this one there is no epoch left.
        return;
    }
    let before = contents(&opened.reader);
    append(opened, b"one more");
    disk.crash(Crash::Kill);
    let again = open_store(&disk).expect("a store that opened once opens again");
    let after = contents(&again.reader);
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|record| after.contains(record)));
}

/// A segment with records, the same with a torn tail, and one of several openings.
pub fn log_recovery_seeds() -> Vec<Vec<u8>> {
    let disk = Arc::new(SimDisk::new(1));
    for text in [&b"first life"[..], b"second life"] {
        append(open_store(&disk).expect("a healthy store"), text);
        disk.crash(Crash::Kill);
    }
    let mut file = disk.contents(SEGMENT).expect("it was written");
    let end = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    file.truncate(end + 40);
    let torn = &file[..end - 7];
    [[&b"\0"[..], &file].concat(), [&b"\x01"[..], &file].concat(), [&b"\0"[..], torn].concat()].to_vec()
}

/// The only file of a log of RocketMQ's. The first byte says whether addresses and checksums of what looks like records are made right
/// first. If the store opens, all that its index names can be read, it takes a record behind it, and it holds the same again when it
/// is opened without what it remembered.
pub fn foreign_log(input: &[u8]) {
    let Some((repair, file)) = input.split_first() else { return };
    let mut file = file.to_vec();
    if repair & 1 == 1 {
        make_records_right(&mut file);
    }
    let disk = Arc::new(SimDisk::new(1));
    put(&disk, FOREIGN, &file);
    let open_it = || {
        let mut options = options();
        options.foreign = Some(Foreign { stretch_bytes: 300, ..Foreign::new("commitlog", |_, _| {}) });
        open(Arc::clone(&disk), options, NOW)
    };
    let Ok(opened) = open_it() else { return };
    let before = contents(&opened.reader);
    append(opened, b"one more");
    disk.crash(Crash::Kill);
    let after = contents(&open_it().expect("a store that opened once opens again").reader);
    assert_eq!(after.len(), before.len() + 1);
    for name in disk.list("index").expect("the disk is well") {
        disk.remove(&format!("index/{name}")).expect("the disk is well");
    }
    let again = open_it().expect("sidecars are a cache");
    assert_eq!(contents(&again.reader), after);
    assert_eq!(disk.contents(FOREIGN).expect("it was put there"), file, "RocketMQ's files stay as they are");
}

/// A file with a blank at its end, and one with a torn tail.
pub fn foreign_log_seeds() -> Vec<Vec<u8>> {
    let (disk, _) = sealed_store();
    let opened = open_store(&disk).expect("a healthy store");
    let mut file = Vec::new();
    for record in contents(&opened.reader) {
        file.extend_from_slice(&record);
    }
    let torn = file[..file.len() - 9].to_vec();
    file.extend_from_slice(&16_u32.to_be_bytes());
    file.extend_from_slice(&BLANK_MAGIC.to_be_bytes());
    file.extend_from_slice(&[0; 8]);
    [[&b"\x01"[..], &file].concat(), [&b"\x01"[..], &torn].concat(), [&b"\0"[..], &file].concat()].to_vec()
}

/// The index of a sealed segment. Whatever its bytes, lookups give what the log says, or nothing at all.
pub fn index_sidecar(input: &[u8]) {
    let (disk, stored) = sealed_store();
    let original = disk.contents(SIDECAR).expect("the first segment is sealed");
    put(&disk, SIDECAR, input);
    let opened = open_store(&disk).expect("a sidecar is a cache");
    assert_eq!(contents(&opened.reader), stored);
    drop(opened);
    if input != original {
        disk.crash(Crash::Kill);
        assert_eq!(contents(&open_store(&disk).expect("as before").reader), stored);
    }
}

/// The true sidecar.
pub fn index_sidecar_seeds() -> Vec<Vec<u8>> {
    let (disk, _) = sealed_store();
    vec![disk.contents(SIDECAR).expect("the first segment is sealed")]
}

/// The keys of a sealed segment. Whatever its bytes, a search gives only records that have the key; and all of them, but where a
/// file of the right checksums leaves some out.
pub fn key_file(input: &[u8]) {
    let (disk, _) = sealed_store();
    let opened = open_store(&disk).expect("a healthy store");
    let all = find(&opened);
    drop(opened);
    disk.crash(Crash::Kill);
    put(&disk, KEYS, input);
    let opened = open_store(&disk).expect("keys are a cache");
    let found = find(&opened);
    assert!(found.iter().all(|record| all.contains(record)));
    assert!(opened.keys.tend_one().is_ok());
}

/// The true file.
pub fn key_file_seeds() -> Vec<Vec<u8>> {
    let (disk, _) = sealed_store();
    let opened = open_store(&disk).expect("a healthy store");
    while opened.keys.tend_one().expect("the disk is well") {}
    vec![disk.contents(KEYS).expect("the first segment is sealed")]
}

/// Everything with the tag that all records have.
fn find(opened: &Opened<SimDisk>) -> Vec<Vec<u8>> {
    let query = KeyQuery {
        topic: "orders".to_owned(),
        key: "blue".to_owned(),
        kind: KeyKind::Tag,
        begin: 0,
        end: i64::MAX,
        records_max: 64,
        before: None,
    };
    match opened.keys.find(&query) {
        Ok(matches) => matches.records.iter().map(|record| record.to_vec()).collect(),
        // A position that leads nowhere.
        Err(_) => Vec::new(),
    }
}

/// A snapshot file. It is the one that was written, or it is passed over.
pub fn snapshot(input: &[u8]) {
    let (disk, _) = sealed_store();
    let (path, original) = write_snapshot(&disk);
    put(&disk, &path, input);
    let opened = open_store(&disk).expect("a snapshot is a cache");
    let found = opened.snapshots.latest().expect("the disk is well");
    if input == original {
        assert_eq!(found.map(|snapshot| snapshot.bytes), Some(b"what the views know".to_vec()));
    } else if let Some(Snapshot { bytes, .. }) = found {
        assert_eq!(bytes, b"what the views know", "a damaged snapshot was believed");
    }
}

/// The true snapshot.
pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let (disk, _) = sealed_store();
    vec![write_snapshot(&disk).1]
}

/// The manifest of a backup. What is one encodes to the same bytes.
pub fn backup_manifest(input: &[u8]) {
    if let Ok(manifest) = Manifest::decode(input) {
        assert_eq!(manifest.encode(), input);
        assert!(manifest.begin < manifest.end());
    }
    // The same with the right checksum, so that what lies behind it is reached.
    let lines = input.strip_suffix(b"\n").unwrap_or(input);
    let Some(cut) = lines.iter().rposition(|byte| *byte == b'\n') else { return };
    let body = &input[..=cut];
    let right = [body, format!("crc {:08x}\n", crc32fast::hash(body)).as_bytes()].concat();
    if let Ok(manifest) = Manifest::decode(&right) {
        assert_eq!(manifest.encode(), right);
    }
}

/// One of two segments.
pub fn backup_manifest_seeds() -> Vec<Vec<u8>> {
    let stretch = |base, length| Stretch { base, length, chain: 0xABCD, crc: 1, records: 3, latest: NOW };
    vec![Manifest { taken: NOW, begin: 0, stretches: vec![stretch(0, 4096), stretch(4096, 99)] }.encode()]
}

fn options() -> Options {
    let address: SocketAddr = "127.0.0.1:10911".parse().expect("an address");
    let mut options = Options::new(Durability::Sync, address);
    options.segment_bytes = SEGMENT_BYTES;
    options.staged_bytes_max = 64 * 1024;
    options.tail_bytes = 1024;
    options
}

fn open_store(disk: &Arc<SimDisk>) -> Result<Opened<SimDisk>, OpenError> {
    open(Arc::clone(disk), options(), NOW)
}

/// Two topics in two segments, the first sealed with its sidecar; and what they hold.
fn sealed_store() -> (Arc<SimDisk>, Vec<Vec<u8>>) {
    let disk = Arc::new(SimDisk::new(1));
    let mut opened = open_store(&disk).expect("a new store");
    for number in 0..12_u8 {
        let body = [number; 300];
        let topic = if number % 3 == 0 { "orders" } else { "payments" };
        stage(&opened, topic, u32::from(number % 2), &body);
        opened.io.run_once(NOW).expect("the disk is well");
        opened.flusher.flush().expect("the disk is well");
    }
    let stored = contents(&opened.reader);
    drop(opened);
    disk.crash(Crash::Kill);
    (disk, stored)
}

fn write_snapshot(disk: &Arc<SimDisk>) -> (String, Vec<u8>) {
    let opened = open_store(disk).expect("a healthy store");
    let at = opened.log.acked();
    opened.snapshots.write(at, |out| out.write_all(b"what the views know")).expect("the disk is well");
    drop(opened);
    disk.crash(Crash::Kill);
    let path = disk.paths().into_iter().find(|path| path.ends_with(".snap")).expect("it was written");
    let bytes = disk.contents(&path).expect("it was written");
    (path, bytes)
}

fn append(mut opened: Opened<SimDisk>, body: &[u8]) {
    stage(&opened, "orders", 0, body);
    opened.io.run_once(NOW).expect("the disk is well");
}

fn stage(opened: &Opened<SimDisk>, topic: &str, queue: u32, body: &[u8]) {
    let record = RecordBody {
        topic,
        queue,
        flag: 0,
        system_flag: 0,
        born: NOW,
        born_host: "127.0.0.1:5000".parse().expect("an address"),
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties: b"TAGS\x01blue\x02",
        dispatched: false,
    };
    let mut staging = opened.log.stage(NOW).expect("nothing waits");
    staging.append(&record).expect("there is room");
}

/// All records, found through the index.
fn contents(reader: &LogReader<SimDisk>) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for topic in reader.topics() {
        for queue in 0..reader.queues(&topic) {
            let Some((min, max)) = reader.bounds(&topic, queue) else { continue };
            let mut entries = Vec::new();
            let mut from = min;
            while from < max {
                entries.clear();
                reader.lookup(&topic, queue, from, 100, &mut entries).expect("the disk is well");
                assert!(!entries.is_empty(), "the index has a hole at {from}");
                for entry in &entries {
                    assert_eq!(entry.queue_offset, from);
                    records.push(reader.read(entry).expect("what the index names is there").to_vec());
                    from += 1;
                }
            }
        }
    }
    records.sort();
    records
}

fn put(disk: &SimDisk, path: &str, bytes: &[u8]) {
    for dir in ["log", "index", "snapshot", "commitlog"] {
        disk.create_dir(dir).expect("the disk is well");
    }
    let file = disk.create(path).expect("the disk is well");
    file.write_at(0, &[bytes]).expect("the disk is well");
    file.sync_all().expect("the disk is well");
    let dir = path.split_once('/').map_or("", |(dir, _)| dir);
    disk.sync_dir(dir).expect("the disk is well");
}

/// Writes into each frame, and its records, the checksums that `docs/format/log.md` asks for, as far as lengths lead.
fn make_checksums_right(file: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let mut at = 0;
    // The first frame of a segment starts from the checksum it carries behind base and creation time.
    let mut chain = if file.len() >= START_FRAME { word(file, 48) } else { 0 };
    while file.len() - at >= FRAME_HEADER {
        let length = word(file, at) as usize;
        if length < FRAME_HEADER || length > file.len() - at {
            return;
        }
        let frame = &mut file[at..at + length];
        make_bodies_right(&mut frame[FRAME_HEADER..]);
        let mut hasher = crc32fast::Hasher::new_with_initial(chain);
        hasher.update(&frame[..16]);
        hasher.update(&frame[20..]);
        chain = hasher.finalize();
        frame[16..20].copy_from_slice(&chain.to_be_bytes());
        at += length;
    }
}

/// Writes its address and its body's checksum into whatever looks like a record, one behind the other.
fn make_records_right(file: &mut [u8]) {
    let mut at = 0;
    while let Ok(record) = RecordView::parse(&file[at..]) {
        let length = record.total_len();
        let checksum = crc32fast::hash(record.body()) & 0x7FFF_FFFF;
        file[at + 8..at + 12].copy_from_slice(&checksum.to_be_bytes());
        file[at + 28..at + 36].copy_from_slice(&(at as u64).to_be_bytes());
        at += length;
    }
}

fn make_bodies_right(mut records: &mut [u8]) {
    while let Ok(record) = RecordView::parse(records) {
        let checksum = crc32fast::hash(record.body()) & 0x7FFF_FFFF;
        let length = record.total_len();
        records[8..12].copy_from_slice(&checksum.to_be_bytes());
        records = &mut records[length..];
    }
}
