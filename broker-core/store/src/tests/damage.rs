//! Files that are not what was written.

use super::*;
use crate::{
    OpenError, ReadError, Snapshot, SnapshotError,
    disk::{Crash, DiskFile},
    segment::Start,
};

const FIRST: &str = "log/00000000000000000000.seg";

/// A store with one record per call of `each`, closed.
fn filled(options: &Options, records: u32) -> SimDisk {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, options);
    for number in 0..records {
        store(&mut opened, "T", number % 2, &[number as u8; 600]);
        opened.io.run_once(NOW).unwrap();
    }
    opened.flusher.flush().unwrap();
    drop(opened);
    disk
}

/// A store whose first segment has ended and has no sidecar yet, closed.
fn two_segments(options: &Options) -> SimDisk {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, options);
    for _ in 0..8 {
        store(&mut opened, "T", 0, &[1; 600]);
        opened.io.run_once(NOW).unwrap();
    }
    assert_eq!(opened.reader.segments(), 2);
    disk
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let options = small(Durability::Os);
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, &options);
    store(&mut opened, "T", 0, b"stays");
    let end = opened.log.acked();
    store(&mut opened, "T", 0, b"torn");
    let torn_end = opened.log.acked();
    let whole = disk.contents(FIRST).unwrap();
    drop(opened);
    for at in end..torn_end {
        for damage in [Damage::Zeros, Damage::Flip] {
            let mut bytes = whole.clone();
            match damage {
                Damage::Zeros => bytes[at as usize..torn_end as usize].fill(0),
                Damage::Flip => bytes[at as usize] ^= 0x10,
            }
            let unchanged = bytes == whole;
            let disk = SimDisk::new(2);
            disk.create(FIRST).unwrap().write_at(0, &[&bytes]).unwrap();
            let mut opened = reopen(&disk, &options);
            if unchanged {
                // The record's last byte may be a zero already.
                continue;
            }
            assert_eq!(opened.recovery.end, end, "torn at {at}");
            assert_eq!(opened.recovery.cut.is_none(), bytes[end as usize..].iter().all(|byte| *byte == 0));
            assert_eq!(payloads(&opened.reader, "T", 0), [b"stays"]);
            store(&mut opened, "T", 0, b"next");
            drop(opened);
            assert_eq!(payloads(&reopen(&disk, &options).reader, "T", 0).len(), 2);
        }
    }
}

enum Damage {
    Zeros,
    Flip,
}

#[test]
fn a_sealed_segment_is_never_cut() {
    let options = small(Durability::Os);
    let disk = filled(&options, 12);
    let before = disk.contents(FIRST).unwrap();
    disk.flip_bit(FIRST, 2000, 1);
    let opened = reopen(&disk, &options);
    assert_eq!(opened.recovery.segments_scanned, 1, "with its sidecar the segment is not read");
    let damaged = entries(&opened.reader, "T", 0)
        .iter()
        .filter(|entry| opened.reader.read(entry).is_err())
        .count()
        + entries(&opened.reader, "T", 1).iter().filter(|entry| opened.reader.read(entry).is_err()).count();
    assert_eq!(damaged, 1, "decay is noticed when the record is read");
    assert!(matches!(
        opened.reader.scan(0, |_| std::ops::ControlFlow::Continue(())),
        Err(ReadError::Damaged { .. })
    ));
    drop(opened);
    disk.remove("index/00000000000000000000.idx").unwrap();
    let refused = open(Arc::new(disk.clone()), options.clone(), NOW);
    let Err(OpenError::Damaged { path, .. }) = refused else { panic!("damage is not taken for a torn tail") };
    assert_eq!(path, FIRST);
    disk.flip_bit(FIRST, 2000, 1);
    assert_eq!(disk.contents(FIRST).unwrap(), before, "nothing was changed");
    assert_eq!(reopen(&disk, &options).recovery.segments_scanned, 2);
}

#[test]
fn what_was_synced_is_never_taken_for_torn() {
    // No sidecar tells that the first segment is durable, but frames behind it do.
    let options = small(Durability::Sync);
    let disk = two_segments(&options);
    assert!(!disk.paths().iter().any(|path| path.ends_with(".idx")));
    for at in [0, 20, 60, 1000, 3000] {
        disk.flip_bit(FIRST, at, 1);
        assert!(matches!(open(Arc::new(disk.clone()), options.clone(), NOW), Err(OpenError::Damaged { .. })));
        disk.flip_bit(FIRST, at, 1);
    }
    let second = disk.paths().into_iter().filter(|path| path.ends_with(".seg")).nth(1).unwrap();
    disk.flip_bit(&second, 40, 1);
    assert!(matches!(open(Arc::new(disk.clone()), options.clone(), NOW), Err(OpenError::Damaged { .. })));
    disk.flip_bit(&second, 40, 1);
    check_index_is_a_view(&reopen(&disk, &options).reader);
}

/// The segment that is being filled has neither sidecar nor successor: its later frames tell.
#[test]
fn damage_in_the_last_segment_is_no_torn_tail() {
    let options = small(Durability::Sync);
    let disk = filled(&options, 5);
    let whole = disk.contents(FIRST).unwrap();
    let mut frames = Vec::new();
    let opened = reopen(&disk, &options);
    let scanned = opened.reader.scan(0, |record| {
        frames.push(record.log_offset() as usize - crate::frame::HEADER_BYTES);
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((scanned.unwrap(), opened.reader.segments(), frames.len()), (opened.reader.end(), 1, 5));
    for (number, start) in frames.iter().copied().enumerate() {
        let behind = frames.len() - 1 - number;
        for is_lost in [false, true] {
            let mut bytes = whole.clone();
            if is_lost {
                let end = frames.get(number + 1).copied().unwrap_or(bytes.len());
                bytes[start..end].fill(0);
            } else {
                bytes[start + 100] ^= 1;
            }
            let disk = SimDisk::with_files(1, [(FIRST.to_owned(), bytes.clone())]);
            let inspected = crate::inspect::inspect(&disk, &mut |_, _| {}).unwrap();
            // Where the frame's header is gone, too, two others prove each other.
            let is_proven = behind > usize::from(is_lost);
            assert_eq!(inspected.is_damaged(), is_proven, "{number}: {:?}", inspected.findings);
            match open(Arc::new(disk.clone()), options.clone(), NOW) {
                Ok(opened) => assert!(!is_proven && opened.recovery.end == start as u64, "{number}"),
                Err(OpenError::Damaged { path, at, .. }) => {
                    assert!(is_proven && path == FIRST && at == start as u64, "{number}");
                    assert_eq!(disk.contents(FIRST).unwrap(), bytes, "nothing was changed");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The first write of a segment was lost, and much was written behind.
#[test]
fn a_segment_without_its_beginning_is_not_thrown_away() {
    let options = small(Durability::Sync);
    let disk = two_segments(&options);
    let second = disk.paths().into_iter().filter(|path| path.ends_with(".seg")).nth(1).unwrap();
    let files = disk.paths().into_iter().map(|path| {
        let mut bytes = disk.contents(&path).unwrap();
        if path == second {
            bytes[..crate::segment::START_BYTES].fill(0);
        }
        (path, bytes)
    });
    let disk = SimDisk::with_files(1, files);
    assert!(
        matches!(open(Arc::new(disk.clone()), options, NOW), Err(OpenError::Damaged { path, .. }) if path == second)
    );
    assert!(disk.contents(&second).is_some());
}

#[test]
fn an_epoch_without_a_next_one_is_refused_and_left_alone() {
    let disk = SimDisk::new(1);
    disk.create_dir("log").unwrap();
    let file = disk.create(FIRST).unwrap();
    let start = Start { base: 0, created: NOW, epoch: u32::MAX, chain: 0, unsynced: 0 };
    file.write_at(0, &[&start.encode().0, b"torn"]).unwrap();
    let before = disk.contents(FIRST);
    let refused = open(Arc::new(disk.clone()), small(Durability::Os), NOW);
    assert!(matches!(refused, Err(OpenError::Damaged { at: 56, .. })));
    assert_eq!(disk.contents(FIRST), before);
}

#[test]
fn a_missing_segment_is_noticed() {
    let options = small(Durability::Os);
    let disk = filled(&options, 20);
    let segments: Vec<_> = disk.paths().into_iter().filter(|path| path.ends_with(".seg")).collect();
    disk.remove(&segments[1]).unwrap();
    assert!(matches!(open(Arc::new(disk), options, NOW), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_damaged_sidecar_is_written_again_or_passed_over() {
    let options = small(Durability::Os);
    let disk = filled(&options, 12);
    let path = "index/00000000000000000000.idx";
    let len = disk.contents(path).unwrap().len() as u64;
    let whole = disk.contents(path).unwrap();
    let (mut rewritten, mut passed_over) = (0, 0);
    for at in 0..len {
        disk.flip_bit(path, at, at as u8);
        let opened = reopen(&disk, &options);
        check_index_is_a_view(&opened.reader);
        if opened.recovery.segments_scanned == 2 {
            rewritten += 1;
            assert_eq!(disk.contents(path).unwrap(), whole);
        } else {
            passed_over += u64::from(opened.reader.damaged_lookups() > 0);
            disk.flip_bit(path, at, at as u8);
        }
    }
    assert!(rewritten >= 64 && rewritten + passed_over >= len - 4, "{rewritten} + {passed_over} of {len}");
    disk.remove(path).unwrap();
    check_index_is_a_view(&reopen(&disk, &options).reader);
    assert_eq!(disk.contents(path).unwrap(), whole, "index == f(log)");
    disk.open(path).unwrap().truncate(70).unwrap();
    check_index_is_a_view(&reopen(&disk, &options).reader);
    assert_eq!(disk.contents(path).unwrap(), whole);
}

#[test]
fn light_queues_are_found_beside_a_damaged_sidecar() {
    let options = small(Durability::Os);
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, &options);
    for number in 0..12u32 {
        let light = RecordBody {
            properties: b"INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02",
            dispatched: number % 3 == 0,
            ..body("T", 0, &[7; 500])
        };
        opened.log.stage(NOW).unwrap().append(&light).unwrap();
        opened.io.run_once(NOW).unwrap();
    }
    opened.flusher.flush().unwrap();
    drop(opened);
    let path = "index/00000000000000000000.idx";
    let mut passed_over = 0;
    for at in 0..disk.contents(path).unwrap().len() as u64 {
        disk.flip_bit(path, at, at as u8);
        let opened = reopen(&disk, &options);
        check_index_is_a_view(&opened.reader);
        assert_eq!((entries(&opened.reader, "%LMQ%b", 0).len(), opened.reader.light_queues()), (4, 2));
        passed_over += opened.reader.damaged_lookups();
        if opened.recovery.segments_scanned == 1 {
            disk.flip_bit(path, at, at as u8);
        }
    }
    assert!(passed_over > 0);
}

#[test]
fn a_sidecar_of_another_life_is_not_believed() {
    let options = small(Durability::Os);
    let disk = filled(&options, 12);
    let other = SimDisk::new(2);
    let mut opened = reopen(&other, &options);
    for number in 0..12u8 {
        store(&mut opened, "T", 0, &[number; 600]);
        opened.io.run_once(NOW).unwrap();
    }
    opened.flusher.flush().unwrap();
    drop(opened);
    let path = "index/00000000000000000000.idx";
    let file = disk.create(path).unwrap();
    file.write_at(0, &[&other.contents(path).unwrap()]).unwrap();
    let opened = reopen(&disk, &options);
    assert_eq!(opened.recovery.segments_scanned, 2);
    check_index_is_a_view(&opened.reader);
}

#[test]
fn the_newest_whole_snapshot_is_taken() {
    let options = small(Durability::Sync);
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, &options);
    assert_eq!(opened.snapshots.latest().unwrap(), None);
    let mut offsets = Vec::new();
    for number in 0..3u8 {
        store(&mut opened, "T", 0, b"x");
        offsets.push(opened.log.acked());
        opened.snapshots.write(opened.log.acked(), |out| out.write_all(&[number; 100])).unwrap();
    }
    let beyond = opened.log.acked() + 1;
    let refused = opened.snapshots.write(beyond, |_| Ok(()));
    assert_eq!(refused, Err(SnapshotError::Beyond { at: beyond, acked: beyond - 1 }));
    let kept: Vec<_> = disk.paths().into_iter().filter(|path| path.ends_with(".snap")).collect();
    assert_eq!(kept.len(), 2, "two are kept");
    let latest = |opened: &Opened<SimDisk>| opened.snapshots.latest().unwrap();
    assert_eq!(latest(&opened), Some(Snapshot { at: offsets[2], bytes: vec![2; 100] }));
    for at in 0..132 {
        disk.flip_bit(&kept[1], at, 2);
        let taken = latest(&opened).unwrap();
        assert_eq!(taken.at, if (28..32).contains(&at) { offsets[2] } else { offsets[1] }, "byte {at}");
        disk.flip_bit(&kept[1], at, 2);
    }
    disk.flip_bit(&kept[0], 50, 2);
    disk.flip_bit(&kept[1], 50, 2);
    assert_eq!(latest(&opened), None);
}

#[test]
fn a_snapshot_newer_than_the_log_is_removed_for_good() {
    let options = small(Durability::Os);
    let mut removed = 0;
    for (seed, operations) in (0..12).flat_map(|seed| (1..50).map(move |operations| (seed, operations))) {
        let disk = SimDisk::new(seed);
        let mut opened = reopen(&disk, &options);
        store(&mut opened, "T", 0, b"lost");
        opened.snapshots.write(opened.log.acked(), |out| out.write_all(b"knows a lost record")).unwrap();
        disk.crash(Crash::PowerCut);
        drop(opened);
        // The process may be killed anywhere in opening; the next one relies on what it finds.
        disk.switch_off_after(operations);
        drop(open(Arc::new(disk.clone()), options.clone(), NOW));
        disk.heal();
        disk.crash(Crash::Kill);
        let mut opened = reopen(&disk, &options);
        if !payloads(&opened.reader, "T", 0).is_empty() {
            continue;
        }
        removed += 1;
        assert_eq!(opened.snapshots.latest().unwrap(), None);
        store(&mut opened, "T", 0, b"the log grows past it");
        opened.flusher.flush().unwrap();
        disk.crash(Crash::PowerCut);
        drop(opened);
        let opened = reopen(&disk, &options);
        assert_eq!(payloads(&opened.reader, "T", 0).len(), 1);
        assert_eq!(opened.snapshots.latest().unwrap(), None, "it does not come back");
    }
    assert!(removed > 50, "{removed}");
}

#[test]
fn unfinished_and_foreign_files_do_no_harm() {
    let options = small(Durability::Os);
    let disk = filled(&options, 12);
    for path in ["index/x.idx.tmp", "snapshot/00000000000000000007.snap.tmp", "log/1.seg", "log/notes.txt"] {
        disk.create(path).unwrap().write_at(0, &[b"junk"]).unwrap();
    }
    let opened = reopen(&disk, &options);
    check_index_is_a_view(&opened.reader);
    let left: Vec<_> = disk.paths().into_iter().filter(|path| path.ends_with(".tmp")).collect();
    assert_eq!(left, ["log/next.tmp"]);
    assert!(disk.contents("log/notes.txt").is_some());
}
