use super::*;
use crate::{
    Durability, LogReader, Opened, Options,
    disk::{DiskFile, SimDisk},
    open,
};
use halley_model::RecordView;
use std::sync::Arc;

const NOW: Millis = 1_700_000_000_000;

fn options() -> Options {
    Options {
        segment_bytes: 8192,
        staged_bytes_max: 64 << 10,
        ..Options::new(Durability::Sync, "127.0.0.1:10911".parse().unwrap())
    }
}

fn opened(disk: &SimDisk) -> Opened<SimDisk> {
    open(Arc::new(disk.clone()), options(), NOW).unwrap()
}

/// A store of some segments with everything that belongs to it, closed.
fn filled() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut store = opened(&disk);
    for number in 0..60 {
        crate::tests::stage(&store, "t", number % 2, &[number as u8; 500]).unwrap();
        store.io.run_once(NOW).unwrap();
    }
    store.flusher.flush().unwrap();
    store.keys.catch_up().unwrap();
    store.snapshots.write(store.log.acked(), |file| file.write_all(b"views")).unwrap();
    disk
}

fn look(disk: &SimDisk) -> Inspection {
    let mut told = (0, 0);
    let found = inspect(disk, &mut |done, total| told = (done, total)).unwrap();
    assert_eq!(told.0, told.1);
    found
}

fn offsets(reader: &LogReader<SimDisk>) -> usize {
    let mut entries = Vec::new();
    reader.lookup("t", 0, 0, 1000, &mut entries).unwrap();
    entries.len()
}

#[test]
fn a_whole_store_has_no_findings() {
    let disk = filled();
    let before = disk.trace_hash();
    let found = look(&disk);
    assert_eq!(found.findings, []);
    assert!(found.segments.len() > 3 && found.queues == 2);
    assert_eq!(found.segments.iter().map(|segment| segment.records).sum::<u64>(), 60);
    let (last, sealed) = found.segments.split_last().unwrap();
    assert!(sealed.iter().all(|segment| segment.index == Cache::Whole && segment.keys == Cache::Whole));
    assert_eq!((last.index, last.keys, last.end), (Cache::NotYet, Cache::NotYet, found.end));
    assert!(found.snapshots[0].is_whole && found.snapshots[0].at == found.end);
    let store = opened(&disk);
    assert_eq!(store.recovery.end, found.end);
    assert_ne!(before, disk.trace_hash(), "opening writes");
    let entry = store.reader.record_of("t", 1, 7).unwrap().unwrap();
    let record = RecordView::parse(&entry).unwrap();
    for at in [record.log_offset(), record.log_offset() + 99] {
        assert_eq!(record_at(&disk, at).unwrap().as_deref(), Some(&entry[..]));
    }
    assert_eq!(record_at(&disk, found.end + 9999).unwrap(), None);
    assert!(inspect(&SimDisk::new(1), &mut |_, _| {}).is_err(), "there is no store");
}

#[test]
fn a_flipped_bit_costs_one_frame_and_is_named() {
    let disk = filled();
    let whole = look(&disk);
    let base = whole.segments[1].base;
    let (path, length) = (segments::path_of(base), whole.segments[2].base - base);
    for at in (0..length).step_by(97) {
        assert!(disk.flip_bit(&path, at, 6));
        let found = look(&disk);
        assert!(disk.flip_bit(&path, at, 6));
        assert!(found.is_damaged(), "byte {at}: {:?}", found.findings);
        let records: u64 = found.segments.iter().map(|segment| segment.records).sum();
        let first = found.findings.iter().find(|finding| finding.weight == Weight::Damage).unwrap();
        assert!(first.path == path || first.path.starts_with("log/"), "{first:?}");
        if at >= 200 && found.segments[1].records > 0 {
            assert!(records >= 57, "byte {at}: {records} of 60 records are readable: {:?}", found.findings);
        }
    }
}

#[test]
fn caches_that_are_wrong_are_no_damage() {
    let disk = filled();
    let base = look(&disk).segments[1].base;
    assert!(disk.flip_bit(&sidecar::path_of(base), 300, 1));
    assert!(disk.flip_bit(&crate::keys::path_of(base), 40, 1));
    let at = look(&disk).snapshots[0].at;
    assert!(disk.flip_bit(&snapshot::path_of(at), 34, 1));
    disk.remove(&sidecar::path_of(0)).unwrap();
    let found = look(&disk);
    assert!(!found.is_damaged() && found.findings.len() == 3, "{:?}", found.findings);
    assert_eq!((found.segments[1].index, found.segments[1].keys), (Cache::Wrong, Cache::Wrong));
    assert_eq!((found.segments[0].index, found.snapshots[0].is_whole), (Cache::Missing, false));
    assert_eq!(offsets(&opened(&disk).reader), 30, "and the next start puts them right");
    assert_eq!(look(&disk).segments[0].index, Cache::Whole);
}

#[test]
fn a_torn_tail_is_what_a_crash_leaves() {
    let disk = filled();
    let found = look(&disk);
    let last = found.segments.last().unwrap();
    let file = disk.open(&segments::path_of(last.base)).unwrap();
    file.write_at(last.end - last.base, &[b"half a frame"]).unwrap();
    let torn = look(&disk);
    assert!(!torn.is_damaged() && torn.findings.len() == 1, "{:?}", torn.findings);
    assert!(torn.findings[0].what.contains("never acknowledged"));
    assert_eq!(torn.end, found.end);
}
