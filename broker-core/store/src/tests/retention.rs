//! Removing old segments.

use super::*;
use crate::{
    OpenError, ReadError, RemoveError,
    disk::{Crash, DiskFile},
};

/// A store with several whole segments, and a queue `old` that has records in the first one alone.
fn filled(options: &Options) -> (SimDisk, Opened<SimDisk>) {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, options);
    for number in 0..3 {
        store(&mut opened, "old", 1, &[number; 100]);
    }
    for number in 0..30 {
        store(&mut opened, "T", 0, &[number; 600]);
        opened.io.run_once(NOW).unwrap();
    }
    opened.flusher.flush().unwrap();
    (disk, opened)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.ends_with(".seg")).collect()
}

#[test]
fn the_oldest_segments_go_with_their_files() {
    for durability in [Durability::Os, Durability::Sync] {
        let options = small(durability);
        let (disk, mut opened) = filled(&options);
        opened.keys.catch_up().unwrap();
        while opened.keys.tend_one().unwrap() {}
        let before = entries(&opened.reader, "T", 0);
        let removable = opened.retention.removable();
        assert_eq!(removable.len(), opened.reader.segments() - 1, "all but the one being filled");
        assert!(removable.iter().all(|segment| segment.stored == NOW));
        let until = removable[2].end;
        let (old, reader) = (before[0], opened.reader.clone());
        let removed = opened.retention.remove_before(until).unwrap();
        assert_eq!((removed.segments, removed.bytes, removed.begin), (3, until, until));
        assert!(removed.left.is_empty());
        assert!(disk.paths().iter().all(|path| {
            let name = path.rsplit('/').next().unwrap();
            let base = [".seg", ".idx", ".keys"].iter().find_map(|end| crate::segment::number_in(name, end));
            base.is_none_or(|base| base >= until)
        }));
        for reader in [&reader, &opened.reader] {
            let left: Vec<_> = before.iter().filter(|entry| entry.log_offset >= until).copied().collect();
            assert_eq!(entries(reader, "T", 0), left);
            assert_eq!(reader.bounds("T", 0), Some((left[0].queue_offset, 30)));
            assert_eq!(reader.bounds("old", 1), Some((3, 3)), "an emptied queue goes on");
            check_index_is_a_view(reader);
        }
        assert_eq!(opened.reader.first_from("T", 0, until), entries(&reader, "T", 0)[0].queue_offset);
        // In memory it may still be, on the disk it is not.
        let cold = Options { tail_bytes: 0, ..options.clone() };
        drop((opened, reader));
        opened = reopen(&disk, &cold);
        assert_eq!((opened.reader.start(), opened.recovery.begin), (until, Some(until)));
        assert!(matches!(opened.reader.read(&old), Err(ReadError::Outside { first, .. }) if first == until));
        assert!(opened.reader.record_at(old.log_offset).is_err());
        assert_eq!(opened.reader.bounds("old", 1), None, "the state says where it goes on");
        opened.log.raise_end("old", 1, 3);
        opened.reader.go_on_at("old", 1, 3);
        assert_eq!(opened.reader.bounds("old", 1), Some((3, 3)));
        assert_eq!(store(&mut opened, "old", 1, b"next").queue_offset, 3);
        assert_eq!(store(&mut opened, "T", 0, b"next").queue_offset, 30);
        drop(opened);
        let opened = reopen(&disk, &cold);
        assert_eq!(opened.reader.bounds("old", 1), Some((3, 4)), "a queue may begin anywhere in such a log");
        check_index_is_a_view(&opened.reader);
    }
}

#[test]
fn queues_that_end_before_a_segment_are_told() {
    let (_disk, opened) = filled(&small(Durability::Os));
    let mut ended = Vec::new();
    let from = opened.retention.removable()[1].end;
    opened.reader.each_ended_before(from, |topic, queue, end| ended.push((topic.to_string(), queue, end)));
    assert_eq!(ended, [("old".to_owned(), 1, 3)]);
    assert_eq!(opened.reader.first_from("old", 1, from), 3);
    assert_eq!(opened.reader.first_from("T", 0, 0), 0);
    opened.retention.remove_before(from).unwrap();
    ended.clear();
    opened.reader.each_ended_before(from, |topic, queue, end| ended.push((topic.to_string(), queue, end)));
    assert_eq!(ended, [("old".to_owned(), 1, 3)], "also when its records are gone");
}

#[test]
fn only_whole_and_durable_segments_go() {
    let options = small(Durability::Os);
    let (_disk, mut opened) = filled(&options);
    for number in 0..20 {
        store(&mut opened, "T", 0, &[number; 600]);
    }
    let removable = opened.retention.removable();
    assert!(removable.last().unwrap().end <= opened.log.durable());
    assert!(removable.len() + 1 < opened.reader.segments(), "what is not synced stays");
    let last = opened.reader.end();
    for until in [0, removable[0].end + 1, last] {
        assert_eq!(opened.retention.remove_before(until), Err(RemoveError::NoBoundary(until)));
    }
    let until = removable[0].end;
    opened.retention.remove_before(until).unwrap();
    assert_eq!(opened.retention.remove_before(until), Err(RemoveError::NoBoundary(until)), "once");
}

/// Wherever a removal ends, the log begins either where it did or where it should.
#[test]
fn a_removal_is_whole_or_nothing() {
    for crash in [Crash::Kill, Crash::PowerCut] {
        let mut begins = [0, 0];
        for operations in 1.. {
            let options = small(Durability::Os);
            let (disk, opened) = filled(&options);
            let until = opened.retention.removable()[2].end;
            let left: Vec<_> = entries(&opened.reader, "T", 0)
                .into_iter()
                .filter(|entry| entry.log_offset >= until)
                .collect();
            disk.switch_off_after(operations);
            let done = opened.retention.remove_before(until).is_ok_and(|removed| removed.left.is_empty());
            drop(opened);
            disk.crash(crash);
            disk.heal();
            let opened = reopen(&disk, &options);
            let begin = opened.reader.start();
            assert!(begin == 0 || begin == until && !segments(&disk)[0].contains("00000.seg"), "{begin}");
            begins[usize::from(begin == until)] += 1;
            assert!(!done || begin == until);
            let found = entries(&opened.reader, "T", 0);
            assert!(found.ends_with(&left) && (begin == 0 || found == left));
            check_index_is_a_view(&opened.reader);
            if done {
                break;
            }
        }
        assert!(begins.iter().all(|times| *times > 1), "{begins:?}");
    }
}

#[test]
fn a_log_that_does_not_begin_where_it_says_is_refused() {
    let options = small(Durability::Os);
    let (disk, opened) = filled(&options);
    drop(opened);
    let first = segments(&disk)[0].clone();
    disk.remove(&first).unwrap();
    let refused = |disk: &SimDisk| match open(Arc::new(disk.clone()), options.clone(), NOW) {
        Err(OpenError::Damaged { path, .. }) => path,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    };
    assert_eq!(refused(&disk), "begin", "nothing says that the first segment may be missing");

    let (disk, opened) = filled(&options);
    opened.retention.remove_before(opened.retention.removable()[2].end).unwrap();
    drop(opened);
    let before = segments(&disk);
    disk.flip_bit("begin", 12, 1);
    assert_eq!(refused(&disk), "begin", "a damaged mark");
    disk.flip_bit("begin", 12, 1);
    disk.rename(&before[0], "log/elsewhere").unwrap();
    assert_eq!(refused(&disk), "begin", "a gap");
    for other in &before[1..] {
        disk.remove(other).unwrap();
    }
    assert_eq!(refused(&disk), "begin", "a mark beyond the log");
    disk.rename("log/elsewhere", &before[0]).unwrap();
    assert_eq!(reopen(&disk, &options).reader.start(), base_of(&before[0]));
    disk.remove("begin").unwrap();
    assert_eq!(refused(&disk), "begin", "without the mark");
}

fn base_of(path: &str) -> u64 {
    crate::segment::number_in(path.strip_prefix("log/").unwrap(), ".seg").unwrap()
}

#[test]
fn a_key_index_that_is_behind_goes_on_where_the_log_begins() {
    use crate::{KeyKind, KeyQuery};
    let (_disk, mut opened) = filled(&small(Durability::Os));
    let until = opened.retention.removable()[2].end;
    opened.retention.remove_before(until).unwrap();
    let tagged = |opened: &Opened<SimDisk>| {
        let query = KeyQuery {
            topic: "T".to_owned(),
            key: "blue".to_owned(),
            kind: KeyKind::Tag,
            begin: 0,
            end: Millis::MAX,
            records_max: 99,
            before: None,
        };
        opened.keys.find(&query).unwrap().records.len()
    };
    assert_eq!(tagged(&opened), entries(&opened.reader, "T", 0).len());
    store(&mut opened, "T", 0, b"next");
    opened.keys.catch_up().unwrap();
    while opened.keys.tend_one().unwrap() {}
    assert_eq!(tagged(&opened), entries(&opened.reader, "T", 0).len());
}

#[test]
fn snapshots_from_before_the_beginning_go() {
    let options = small(Durability::Os);
    let (_disk, mut opened) = filled(&options);
    let removable = opened.retention.removable();
    for at in [removable[0].end, removable[2].end] {
        opened.snapshots.write(at, |out| out.write_all(b"x")).unwrap();
    }
    opened.retention.remove_before(removable[1].end).unwrap();
    assert_eq!(opened.snapshots.latest().unwrap().unwrap().at, removable[2].end);
    opened.retention.remove_before(removable[3].end).unwrap();
    assert_eq!(opened.snapshots.latest().unwrap(), None);
    store(&mut opened, "T", 0, b"goes on");
}

#[test]
fn a_full_disk_removes_nothing() {
    let (disk, opened) = filled(&small(Durability::Os));
    let until = opened.retention.removable()[0].end;
    disk.set_capacity(Some(disk.used()));
    assert!(matches!(opened.retention.remove_before(until), Err(RemoveError::Full(_))));
    assert_eq!((opened.reader.start(), opened.log.poisoned()), (0, None));
    disk.set_capacity(None);
    opened.retention.remove_before(until).unwrap();
}

#[test]
fn an_inspection_knows_where_the_log_begins() {
    let (disk, opened) = filled(&small(Durability::Os));
    let inspect = |disk: &SimDisk| crate::inspect::inspect(disk, &mut |_, _| {}).unwrap();
    let whole = inspect(&disk);
    let first = disk.contents(&segments(&disk)[0]).unwrap();
    opened.retention.remove_before(opened.retention.removable()[2].end).unwrap();
    let left = inspect(&disk);
    assert!(left.findings.is_empty(), "{:?}", left.findings);
    assert_eq!(left.segments.len(), whole.segments.len() - 3);
    disk.create("log/00000000000000000000.seg").unwrap().write_at(0, &[&first]).unwrap();
    assert_eq!(inspect(&disk).findings.len(), 1, "a segment that a crash left");
    disk.remove("log/00000000000000000000.seg").unwrap();
    disk.remove(&segments(&disk)[0]).unwrap();
    assert!(inspect(&disk).findings.iter().any(|finding| finding.path == "begin"));
}
