//! Storing and reading without faults.

use super::*;
use crate::{Boundary, OpenError, ReadError, disk::DiskError, disk::RealDisk};
use std::ops::ControlFlow;

#[test]
fn what_was_stored_is_read_also_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let real = || Arc::new(RealDisk::new(dir.path()).unwrap());
    for durability in [Durability::Os, Durability::Sync] {
        let options = Options { segment_bytes: 64 << 10, staged_bytes_max: 1 << 20, ..small(durability) };
        let mut opened = open(real(), options.clone(), NOW).unwrap();
        assert!(
            matches!(open(real(), options.clone(), NOW), Err(OpenError::Disk(DiskError::Locked { .. }))),
            "two processes never have one store open"
        );
        let before = payloads(&opened.reader, "T", 1).len();
        for number in 0..200u32 {
            store(&mut opened, "T", number % 3, &number.to_be_bytes().repeat(300));
        }
        assert_eq!(payloads(&opened.reader, "T", 1).len(), before + 67);
        check_index_is_a_view(&opened.reader);
        opened.flusher.flush().unwrap();
        check_index_is_a_view(&opened.reader);
        drop(opened);
    }
    let opened = open(real(), small(Durability::Os), NOW).unwrap();
    let found = payloads(&opened.reader, "T", 2);
    assert_eq!(found.len(), 132);
    assert_eq!(found[1], 5u32.to_be_bytes().repeat(300));
    assert!(opened.reader.segments() > 5);
    assert_eq!(opened.recovery.segments_scanned, 1, "sidecars are used");
    assert_eq!(opened.recovery.epoch, 3);
    check_index_is_a_view(&opened.reader);
}

#[test]
fn records_are_visible_only_when_acknowledged() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Sync));
    let begin = opened.log.acked();
    let first = stage(&opened, "T", 0, b"a").unwrap();
    let second = stage(&opened, "T", 0, b"b").unwrap();
    assert_eq!((first.queue_offset, second.queue_offset), (0, 1));
    assert_eq!((opened.log.acked(), opened.reader.bounds("T", 0)), (begin, None));
    let progress = opened.io.run_once(NOW).unwrap();
    assert!(progress.synced && progress.records == 2 && progress.acked > second.log_offset);
    assert_eq!(progress.arrivals.len(), 1, "a queue arrives once");
    assert_eq!((&*progress.arrivals[0].topic, progress.arrivals[0].queue), ("T", 0));
    assert_eq!(opened.reader.bounds("T", 0), Some((0, 2)));
    assert_eq!(payloads(&opened.reader, "T", 0), [b"a", b"b"]);
    let idle = opened.io.run_once(NOW).unwrap();
    assert!(idle.acked == progress.acked && idle.arrivals.is_empty() && !idle.synced);
}

#[test]
fn a_record_is_in_light_queues_once() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Os));
    let properties = b"INNER_MULTI_QUEUE_OFFSET\x0177\x02INNER_MULTI_DISPATCH\x01%LMQ%a,x,%LMQ%a,%LMQ%b/c,%LMQ%t,%LMQ%d,\x02";
    let record = |topic| RecordBody { properties, dispatched: true, ..body(topic, 2, b"m") };
    for (topic, offsets) in [("%LMQ%t", "0,,,,,0"), ("T", "1,,,,0,1")] {
        let placed = opened.log.stage(NOW).unwrap().append(&record(topic)).unwrap();
        let progress = opened.io.run_once(NOW).unwrap();
        assert_eq!(progress.records, 1);
        let bytes = opened.reader.record_at(placed.log_offset).unwrap();
        let view = RecordView::parse(&bytes).unwrap();
        assert_eq!(view.property("INNER_MULTI_QUEUE_OFFSET"), Some(offsets));
    }
    assert_eq!(opened.reader.bounds("%LMQ%a", 0), Some((0, 2)));
    assert_eq!(
        (opened.reader.bounds("%LMQ%t", 0), opened.reader.bounds("%LMQ%b/c", 0)),
        (Some((0, 1)), None)
    );
    check_index_is_a_view(&opened.reader);
    let long = "%LMQ%a,".repeat(4_000);
    let properties = format!("INNER_MULTI_DISPATCH\x01{long}\x02");
    let refused = opened.log.stage(NOW).unwrap().append(&RecordBody {
        properties: properties.as_bytes(),
        dispatched: true,
        ..body("T", 0, b"m")
    });
    assert!(matches!(refused, Err(StageError::Record(_))), "offsets have no room: {refused:?}");
}

#[test]
fn a_group_is_one_frame_and_refused_where_it_cannot_be() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Os));
    let payload = [7; 500];
    let group = [body("A", 0, &payload), body("B", 3, &payload), body("A", 0, &payload)];
    let mut placed = Vec::new();
    for _ in 0..20 {
        placed.clear();
        opened.log.stage(NOW).unwrap().append_group(&group, &mut placed).unwrap();
        assert!(placed[2].log_offset - placed[0].log_offset < 1500, "members of a group are neighbours");
        opened.io.run_once(NOW).unwrap();
        opened.io.run_once(NOW).unwrap();
    }
    assert_eq!(placed[2].queue_offset, 39);
    let long = [3; 5000];
    let refused = |record: &RecordBody<'_>| opened.log.stage(NOW).unwrap().append(record);
    assert!(matches!(refused(&body("A", 0, &long)), Err(StageError::TooLong { max: 4008, .. })));
    assert!(matches!(refused(&body("A", 65_536, b"")), Err(StageError::Queue(65_536))));
    assert!(matches!(refused(&body(&"t".repeat(256), 0, b"")), Err(StageError::Record(_))));
    assert_eq!(payloads(&opened.reader, "B", 3).len(), 20);
    check_index_is_a_view(&opened.reader);
}

#[test]
fn staging_is_bounded() {
    let options = Options { segment_bytes: 1 << 20, staged_bytes_max: 1 << 20, ..small(Durability::Os) };
    let mut opened = reopen(&SimDisk::new(1), &options);
    let mut staged = 0;
    let refusal = loop {
        match stage(&opened, "T", 0, &[1; 1000]) {
            Ok(_) => staged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, StageError::Overloaded { staged, .. } if staged > 1_000_000), "{refusal}");
    let progress = opened.io.run_once(NOW).unwrap();
    assert_eq!(progress.records, staged);
    stage(&opened, "T", 0, b"again").unwrap();
}

#[test]
fn adjacent_records_are_read_as_one() {
    let disk = SimDisk::new(1);
    let options = small(Durability::Os);
    let mut opened = reopen(&disk, &options);
    for queue in [0, 0, 0, 1, 0] {
        stage(&opened, "T", queue, b"payload").unwrap();
    }
    opened.io.run_once(NOW).unwrap();
    store(&mut opened, "T", 0, b"in another frame");
    let found = entries(&opened.reader, "T", 0);
    let (bytes, count) = opened.reader.hot_run(&found).unwrap();
    assert_eq!(
        (count, bytes.len()),
        (3, 3 * found[0].size as usize),
        "the fourth lies behind another queue's"
    );
    let (_, count) = opened.reader.hot_run(&found[4..]).unwrap();
    assert_eq!(count, 1);
    drop(opened);

    let opened = reopen(&disk, &options);
    assert_eq!(opened.reader.hot_run(&found), None, "nothing is in memory after opening");
    assert_eq!(opened.reader.hot(&found[0]), None);
    let (cold, count) = opened.reader.read_run(&found, usize::MAX).unwrap();
    assert_eq!((cold, count), (bytes, 3));
    let (_, count) = opened.reader.read_run(&found, 1).unwrap();
    assert_eq!(count, 1, "at least one record is read");
}

#[test]
fn records_that_lie_apart_are_read_together_up_to_a_damaged_one() {
    let disk = SimDisk::new(1);
    let options = Options { tail_bytes: 0, ..small(Durability::Os) };
    let mut opened = reopen(&disk, &options);
    for number in 0..40u8 {
        for queue in 0..3 {
            store(&mut opened, "T", queue, &[number; 60]);
        }
    }
    opened.flusher.flush().unwrap();
    let found = entries(&opened.reader, "T", 1);
    let (bytes, count) = opened.reader.read_cold(&found, usize::MAX).unwrap();
    assert_eq!((count, bytes.len()), (40, found.iter().map(|entry| entry.size as usize).sum()));
    let one = found[0].size as usize;
    for (at, record) in bytes.chunks(one).enumerate() {
        assert_eq!(record, &opened.reader.read(&found[at]).unwrap()[..]);
    }
    assert_eq!(opened.reader.read_cold(&found, one * 3 + 1).unwrap().1, 3);
    assert_eq!(opened.reader.read_cold(&found, 1).unwrap().1, 1);

    let damaged = &found[5];
    assert!(disk.flip_bit("log/00000000000000000000.seg", damaged.log_offset + 100, 0));
    let reader = opened.reader.without_windows();
    let (before, count) = reader.read_cold(&found, usize::MAX).unwrap();
    assert_eq!((count, &before[..]), (5, &bytes[..5 * one]));
    let at = damaged.log_offset;
    assert!(
        matches!(reader.read_cold(&found[5..], 9999), Err(ReadError::Damaged { at: place, .. }) if place == at)
    );
    assert_eq!(reader.read_cold(&found[6..], usize::MAX).unwrap().1, 34);
    assert_eq!(reader.damaged_reads(), 2);
}

#[test]
fn a_lookup_that_may_not_wait_reads_no_old_index() {
    let options = Options { tail_bytes: 3000, ..small(Durability::Os) };
    let mut opened = reopen(&SimDisk::new(1), &options);
    for _ in 0..60 {
        store(&mut opened, "T", 0, &[5; 200]);
        opened.flusher.flush().unwrap();
    }
    let all = entries(&opened.reader, "T", 0);
    let (mut without, mut with) = (0, 0);
    for entry in &all {
        let mut found = Vec::new();
        match opened.reader.lookup_hot("T", 0, entry.queue_offset, 1, &mut found).unwrap() {
            true => assert_eq!(found, [*entry]),
            false => assert_eq!(found, []),
        }
        match opened.reader.hot(entry) {
            Some(_) => assert!(!found.is_empty(), "what is in memory is found without waiting"),
            None => (without, with) = (without + 1, with + found.len()),
        }
    }
    assert!(
        without > 40 && with < 25,
        "{with} of {without} lie in the segment of the oldest in memory, or behind"
    );
    let mut found = Vec::new();
    assert_eq!(opened.reader.lookup_hot("T", 0, 60, 9, &mut found), Ok(true), "nothing is there");
    assert_eq!(opened.reader.lookup_hot("T", 9, 0, 9, &mut found), Ok(true));
    assert_eq!(found, []);
}

#[test]
fn a_record_is_found_by_its_place_only() {
    let disk = SimDisk::new(1);
    for tail_bytes in [1 << 20, 0] {
        let options = Options { tail_bytes, ..small(Durability::Os) };
        let mut opened = reopen(&disk, &options);
        for _ in 0..20 {
            store(&mut opened, "T", 0, &[7; 300]);
        }
        let places: Vec<_> = entries(&opened.reader, "T", 0).iter().map(|entry| entry.log_offset).collect();
        for at in places.first().unwrap() - 8..opened.log.acked() + 8 {
            match opened.reader.record_at(at) {
                Ok(bytes) => {
                    assert!(places.contains(&at));
                    assert_eq!(RecordView::parse(&bytes).unwrap().log_offset(), at);
                }
                Err(_) => assert!(!places.contains(&at)),
            }
        }
        let staged = stage(&opened, "T", 0, b"later").unwrap();
        assert!(opened.reader.record_at(staged.log_offset).is_err());
        assert!(opened.reader.record_at(u64::MAX - 2).is_err());
        opened.io.run_once(NOW).unwrap();
    }
}

#[test]
fn the_tail_in_memory_is_bounded() {
    let options = Options { tail_bytes: 1200, ..small(Durability::Os) };
    let mut opened = reopen(&SimDisk::new(1), &options);
    for _ in 0..30 {
        store(&mut opened, "T", 0, &[5; 200]);
    }
    let found = entries(&opened.reader, "T", 0);
    let hot = found.iter().filter(|entry| opened.reader.hot(entry).is_some()).count();
    assert_eq!(hot, 3);
    assert_eq!(payloads(&opened.reader, "T", 0).len(), 30, "the others are on the disk");
}

#[test]
fn what_a_reader_holds_is_not_written_over() {
    let options = Options {
        segment_bytes: 32 << 20,
        staged_bytes_max: 32 << 20,
        tail_bytes: 2 << 20,
        ..Options::new(Durability::Os, host())
    };
    let mut opened = reopen(&SimDisk::new(1), &options);
    let mut held = Vec::new();
    let mut buffers = std::collections::BTreeSet::new();
    for number in 0..24u8 {
        store(&mut opened, "T", 0, &vec![number; 600 << 10]);
        let entry = *entries(&opened.reader, "T", 0).last().unwrap();
        let bytes = opened.reader.hot(&entry).unwrap();
        buffers.insert(bytes.as_ptr() as usize);
        if number % 5 == 0 {
            held.push((number, bytes));
        }
    }
    for (number, bytes) in held {
        assert!(RecordView::parse(&bytes).unwrap().body().iter().all(|byte| *byte == number));
    }
    assert!(buffers.len() < 20, "memory that nobody holds is used again: {}", buffers.len());
}

#[test]
fn lookups_have_bounds() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Os));
    for _ in 0..50 {
        store(&mut opened, "T", 0, &[5; 300]);
        opened.io.run_once(NOW).unwrap();
    }
    opened.flusher.flush().unwrap();
    let look = |from, entries_max| {
        let mut found = Vec::new();
        opened.reader.lookup("T", 0, from, entries_max, &mut found).unwrap();
        found.iter().map(|entry| entry.queue_offset).collect::<Vec<_>>()
    };
    assert_eq!(look(5, 30), (5..35).collect::<Vec<_>>(), "over several segments");
    assert_eq!(look(45, 30), (45..50).collect::<Vec<_>>());
    assert!(look(50, 30).is_empty() && look(u64::MAX, 30).is_empty() && look(5, 0).is_empty());
    assert_eq!(opened.reader.bounds("T", 1), None);
    assert_eq!(opened.reader.bounds("U", 0), None);
    let nowhere = IndexEntry { queue_offset: 0, log_offset: 1 << 40, size: 100, tag: 0 };
    assert!(matches!(opened.reader.read(&nowhere), Err(ReadError::Outside { .. })));
    let wrong = IndexEntry { log_offset: 80, ..entries(&opened.reader, "T", 0)[0] };
    let cold = IndexEntry { size: 4000, ..wrong };
    assert!(matches!(opened.reader.read(&cold), Err(ReadError::Damaged { .. })));
}

#[test]
fn offsets_are_found_by_time_as_rocketmq_does() {
    let disk = SimDisk::new(1);
    let options = small(Durability::Os);
    let mut opened = reopen(&disk, &options);
    let times = [100, 100, 100, 300, 300, 500];
    for (number, time) in times.iter().enumerate() {
        // Big enough to spread over segments; an IPv6 host moves the store time.
        let mut record = body("T", 0, &[1; 1500]);
        if number % 2 == 0 {
            record.born_host = "[::1]:1".parse().unwrap();
        }
        opened.log.stage(NOW + time).unwrap().append(&record).unwrap();
        opened.io.run_once(NOW).unwrap();
        opened.io.run_once(NOW).unwrap();
    }
    let check = |reader: &LogReader<SimDisk>| {
        let find = |time, boundary| reader.offset_by_time("T", 0, NOW + time, boundary).unwrap();
        let lower = [0, 100, 200, 300, 500, 501].map(|time| find(time, Boundary::Lower));
        assert_eq!(lower, [0, 0, 3, 3, 5, 6]);
        let upper = [0, 100, 200, 300, 500, 501].map(|time| find(time, Boundary::Upper));
        assert_eq!(upper, [0, 2, 2, 4, 5, 5]);
        assert_eq!(reader.offset_by_time("none", 0, NOW, Boundary::Lower), Ok(0));
    };
    check(&opened.reader);
    drop(opened);
    check(&reopen(&disk, &options).reader);
}

#[test]
fn store_times_rise_but_for_a_clock_set_back() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Os));
    for now in [NOW, NOW - 5, NOW + 1, NOW - 3_600_000] {
        opened.log.stage(now).unwrap().append(&body("T", 0, b"")).unwrap();
    }
    opened.io.run_once(NOW).unwrap();
    let found = entries(&opened.reader, "T", 0);
    let times: Vec<_> = found.iter().map(|entry| opened.reader.stored_at(entry).unwrap() - NOW).collect();
    assert_eq!(times, [0, 0, 1, -3_600_000]);
}

#[test]
fn a_scan_begins_anywhere_and_breaks_off() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Os));
    let mut places = Vec::new();
    for number in 0..40u32 {
        stage(&opened, "T", 0, &[number as u8; 200]).unwrap();
        places.push(store(&mut opened, "T", 1, &[number as u8; 200]));
        opened.io.run_once(NOW).unwrap();
    }
    let numbers = |from| {
        let mut seen = Vec::new();
        let end = opened.reader.scan(from, |record| {
            seen.push((record.queue(), record.body()[0]));
            ControlFlow::Continue(())
        });
        assert_eq!(end.unwrap(), opened.log.acked());
        seen
    };
    assert_eq!(numbers(0).len(), 80);
    assert_eq!(numbers(places[20].log_offset)[..2], [(1, 20), (0, 21)]);
    assert_eq!(numbers(places[20].log_offset + 1)[0], (0, 21));
    assert!(numbers(opened.log.acked()).is_empty());
    let mut count = 0;
    let end = opened.reader.scan(0, |_| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let first = entries(&opened.reader, "T", 1)[0];
    assert_eq!(end.unwrap(), first.log_offset + u64::from(first.size));
}

#[test]
fn the_writer_is_woken_by_staging() {
    let mut opened = reopen(&SimDisk::new(1), &small(Durability::Os));
    assert!(!opened.io.wait_for_work(std::time::Duration::ZERO), "nothing to do");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // However the threads interleave, the record is seen; the time-out is never waited for.
            assert!(opened.io.wait_for_work(std::time::Duration::from_secs(600)));
        });
        stage_on(&opened.log);
    });
    assert_eq!(opened.io.run_once(NOW).unwrap().records, 1);

    fn stage_on(log: &crate::Log) {
        log.stage(NOW).unwrap().append(&body("T", 0, b"x")).unwrap();
    }
}

#[test]
fn settings_are_checked() {
    let disk = Arc::new(SimDisk::new(1));
    for options in [
        Options { segment_bytes: 1000, ..small(Durability::Os) },
        Options { segment_bytes: 1 << 32, ..small(Durability::Os) },
        Options { staged_bytes_max: 4000, ..small(Durability::Os) },
    ] {
        assert!(matches!(open(Arc::clone(&disk), options, NOW), Err(OpenError::Options(_))));
    }
}
