//! Segments that are read again.

use super::*;
use crate::{Lost, ReadError, Scrubbed, disk::DiskFile as _, inspect::Weight, segment};
use std::ops::ControlFlow;

/// Sealed segments with records of two topics, three queues and a light queue, nothing of which is in memory.
fn filled(disk: &SimDisk) -> Opened<SimDisk> {
    let options = Options { tail_bytes: 0, ..small(Durability::Os) };
    let mut opened = reopen(disk, &options);
    for number in 0..60u32 {
        for (topic, queue) in [("T", 0), ("T", 1), ("Other", 2)] {
            stage(&opened, topic, queue, &number.to_be_bytes().repeat(20)).unwrap();
        }
        let properties = b"KEYS\x01k\x02INNER_MULTI_DISPATCH\x01%LMQ%a\x02";
        let record = RecordBody { properties, dispatched: true, ..body("T", 0, b"m") };
        opened.log.stage(NOW).unwrap().append(&record).unwrap();
        opened.io.run_once(NOW).unwrap();
    }
    opened.flusher.flush().unwrap();
    opened.keys.catch_up().unwrap();
    while opened.keys.tend_one().unwrap() {}
    assert!(opened.scrubber.segments().len() > 3);
    opened
}

fn check(opened: &Opened<SimDisk>, base: u64) -> Scrubbed {
    let go_on = &mut |_| ControlFlow::Continue(());
    opened.scrubber.check(base, go_on).unwrap().expect("the segment is there")
}

fn paths(base: u64) -> [String; 3] {
    crate::retention::paths_of(base)
}

#[test]
fn what_is_whole_is_left_alone() {
    let disk = SimDisk::new(1);
    let opened = filled(&disk);
    let before: Vec<_> = disk.paths().iter().map(|path| disk.contents(path)).collect();
    for base in opened.scrubber.segments() {
        let scrubbed = check(&opened, base);
        let bytes = disk.contents(&paths(base)[0]).unwrap().len() as u64;
        assert_eq!(scrubbed, Scrubbed { bytes, ..Scrubbed::default() });
    }
    let after: Vec<_> = disk.paths().iter().map(|path| disk.contents(path)).collect();
    assert!(before == after);
}

#[test]
fn every_flipped_bit_of_a_segment_is_found_and_only_its_record_is_lost() {
    let disk = SimDisk::new(1);
    let opened = filled(&disk);
    let base = opened.scrubber.segments()[1];
    let path = paths(base)[0].clone();
    let all = entries(&opened.reader, "T", 0).len();
    let mut bodies = 0;
    for at in (0..disk.contents(&path).unwrap().len() as u64).step_by(29) {
        assert!(disk.flip_bit(&path, at, at as u8));
        // What was read before is not what is on the disk now.
        let reader = opened.reader.without_windows();
        let scrubbed = check(&opened, base);
        assert!(!scrubbed.damage.is_empty(), "bit at {at} of the segment");
        assert!(scrubbed.damage.iter().all(|finding| finding.weight == Weight::Damage));
        assert!(scrubbed.mended.is_empty());
        let named: std::collections::BTreeSet<_> = scrubbed.lost.iter().map(|lost| lost.at).collect();
        assert!(named.len() <= 1, "one bit is in one record: {:?}", scrubbed.lost);
        bodies += named.len();
        for Lost { topic, queue, offset, at } in &scrubbed.lost {
            let found = reader.record_of(topic, *queue, *offset);
            assert!(matches!(found, Err(ReadError::Damaged { at: place, .. }) if place == *at), "{found:?}");
        }
        let mut read = 0;
        for entry in entries(&reader, "T", 0) {
            let is_lost = named.contains(&entry.log_offset);
            assert_eq!(reader.read(&entry).is_err(), is_lost, "all others are readable");
            read += usize::from(!is_lost);
        }
        assert!(read + 1 >= all);
        assert!(disk.flip_bit(&path, at, at as u8));
    }
    assert!(bodies > 50, "{bodies} flips were in what a record's own checks cover");
}

#[test]
fn damaged_and_missing_indexes_are_made_again() {
    let disk = SimDisk::new(1);
    let opened = filled(&disk);
    let base = opened.scrubber.segments()[1];
    let [_, index, keys] = paths(base);
    for path in [index, keys] {
        let whole = disk.contents(&path).unwrap();
        let remake = |what: &str| {
            let scrubbed = check(&opened, base);
            assert_eq!(scrubbed.mended.len(), 1, "{what}: {scrubbed:?}");
            assert_eq!((&scrubbed.mended[0].path, scrubbed.damage.len()), (&path, 0));
            assert!(disk.contents(&path).unwrap() == whole, "{what}");
            check_index_is_a_view(&opened.reader);
            assert_eq!(check(&opened, base).mended, []);
        };
        // Four bytes of the index have no meaning.
        let has_meaning = |at: &u64| path.ends_with(".keys") || !(60..64).contains(at);
        let step = if path.ends_with(".keys") { 17 } else { 3 };
        for at in (0..whole.len() as u64).step_by(step).filter(has_meaning) {
            assert!(disk.flip_bit(&path, at, at as u8));
            remake(&format!("bit at {at} of {path}"));
        }
        disk.open(&path).unwrap().truncate(70).unwrap();
        remake("cut");
        disk.remove(&path).unwrap();
        remake("missing");
    }
    assert_eq!(opened.reader.damaged_lookups(), 0, "no reader had to scan");
}

#[test]
fn the_index_of_a_damaged_segment_is_not_made_of_what_is_left() {
    let disk = SimDisk::new(1);
    let opened = filled(&disk);
    let base = opened.scrubber.segments()[1];
    let [path, index, _] = paths(base);
    disk.flip_bit(&path, 500, 1);
    let len = disk.contents(&index).unwrap().len() as u64;
    disk.flip_bit(&index, len - 10, 1);
    let (damaged, scrubbed) = (disk.contents(&index), check(&opened, base));
    assert_eq!((scrubbed.mended.len(), scrubbed.unmended.len()), (0, 1), "{scrubbed:?}");
    assert_eq!(disk.contents(&index), damaged);
}

#[test]
fn a_removed_segment_is_no_error_and_a_check_can_be_ended() {
    let disk = SimDisk::new(1);
    let opened = filled(&disk);
    let bases = opened.scrubber.segments();
    assert_eq!(opened.scrubber.check(bases[0], &mut |_| ControlFlow::Break(())), Ok(None));
    let until = opened.retention.removable()[0].end;
    // In the middle of the check.
    let mut removed = false;
    let looked = opened.scrubber.check(bases[0], &mut |_| {
        if !std::mem::replace(&mut removed, true) {
            opened.retention.remove_before(until).unwrap();
        }
        ControlFlow::Continue(())
    });
    assert_eq!((looked, removed), (Ok(None), true));
    assert!(!disk.paths().iter().any(|path| paths(bases[0]).contains(path)), "nothing comes back");
    assert_eq!(opened.scrubber.check(bases[0], &mut |_| panic!("it is not there")), Ok(None));
    assert_eq!(opened.scrubber.segments()[0], bases[1]);
    assert_eq!(disk.contents(&segment::path_of(bases[0])), None);
}
