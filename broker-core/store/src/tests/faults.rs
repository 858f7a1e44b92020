//! Disks that fail, fill up or lose their power.

use super::*;
use crate::{
    Poisoned,
    disk::{Crash, Disk, DiskFile},
};

#[test]
fn a_failed_write_or_sync_stops_the_store_for_good() {
    for fail in [SimDisk::fail_write, SimDisk::fail_sync] {
        let disk = SimDisk::new(1);
        let options = small(Durability::Sync);
        let mut opened = reopen(&disk, &options);
        store(&mut opened, "T", 0, b"good");
        let acked = opened.log.acked();
        stage(&opened, "T", 0, b"lost").unwrap();
        fail(&disk, 1);
        let Err(Poisoned(reason)) = opened.io.run_once(NOW) else { panic!("the fault is noticed") };
        assert!(reason.contains("planned fault"), "{reason}");
        let syncs = disk.syncs();
        assert_eq!(stage(&opened, "T", 0, b"more"), Err(StageError::Poisoned(reason.clone())));
        assert_eq!(opened.io.run_once(NOW), Err(Poisoned(reason.clone())));
        assert_eq!(opened.flusher.flush(), Err(Poisoned(reason.clone())));
        assert_eq!(disk.syncs(), syncs, "no sync is tried again");
        assert_eq!((opened.log.acked(), opened.log.poisoned()), (acked, Some(reason)));
        assert_eq!(payloads(&opened.reader, "T", 0), [b"good"], "reads go on");

        disk.crash(Crash::PowerCut);
        drop(opened);
        let mut opened = reopen(&disk, &options);
        assert_eq!(payloads(&opened.reader, "T", 0)[0], b"good");
        store(&mut opened, "T", 1, b"a new life");
    }
}

#[test]
fn what_is_read_after_a_failed_sync_outlives_the_next_power_cut() {
    for seed in 0..32 {
        let disk = SimDisk::new(seed);
        let options = small(Durability::Sync);
        let mut opened = reopen(&disk, &options);
        stage(&opened, "T", 0, b"unsynced").unwrap();
        disk.fail_sync(1);
        opened.io.run_once(NOW).unwrap_err();
        // The process ends, the machine does not: the next process reads what the kernel shows.
        disk.crash(Crash::Kill);
        drop(opened);
        let opened = reopen(&disk, &options);
        assert_eq!(payloads(&opened.reader, "T", 0), [b"unsynced"]);
        disk.crash(Crash::PowerCut);
        drop(opened);
        assert_eq!(payloads(&reopen(&disk, &options).reader, "T", 0), [b"unsynced"], "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let mut opened = reopen(&disk, &small(Durability::Sync));
    disk.set_capacity(Some(disk.used() + 3000));
    let mut stored = 0;
    let refusal = loop {
        match stage(&opened, "T", 0, &[9; 700]) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        opened.io.run_once(NOW).unwrap();
        opened.io.run_once(NOW).unwrap();
    };
    assert_eq!((refusal, stored), (StageError::Full, 8), "two segments were reserved");
    assert_eq!(payloads(&opened.reader, "T", 0).len(), stored, "reads go on");
    stage(&opened, "T", 0, b"").expect("what fits the active segment is still taken");
    opened.io.run_once(NOW + 1).unwrap();

    disk.set_capacity(None);
    opened.io.run_once(NOW + 2).unwrap();
    assert_eq!(stage(&opened, "T", 0, &[9; 700]), Err(StageError::Full), "asked again once a second");
    opened.io.run_once(NOW + 1001).unwrap();
    store(&mut opened, "T", 0, &[9; 700]);
    opened.io.run_once(NOW + 1002).unwrap();
    assert_eq!(payloads(&opened.reader, "T", 0).len(), stored + 2);
    check_index_is_a_view(&opened.reader);
    drop(opened);
    check_index_is_a_view(&reopen(&disk, &small(Durability::Sync)).reader);
}

#[test]
fn a_store_opens_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let options = small(Durability::Os);
    let mut opened = reopen(&disk, &options);
    for _ in 0..10 {
        store(&mut opened, "T", 0, &[9; 700]);
        opened.io.run_once(NOW).unwrap();
    }
    drop(opened);
    // Not even the space cut from the last segment comes back.
    disk.set_capacity(Some(0));
    let mut opened = reopen(&disk, &options);
    assert_eq!(payloads(&opened.reader, "T", 0).len(), 10);
    assert_eq!(stage(&opened, "T", 0, b""), Err(StageError::Full));
    disk.set_capacity(None);
    opened.io.run_once(NOW + 1000).unwrap();
    store(&mut opened, "T", 0, b"there is room");
    drop(opened);
    assert_eq!(payloads(&reopen(&disk, &options).reader, "T", 0).len(), 11);
}

#[test]
fn sidecars_wait_for_room_too() {
    let disk = SimDisk::new(1);
    let options = small(Durability::Os);
    let mut opened = reopen(&disk, &options);
    disk.set_capacity(Some(disk.used()));
    while stage(&opened, "T", 0, &[9; 700]).is_ok() {
        opened.io.run_once(NOW).unwrap();
        opened.io.run_once(NOW).unwrap();
    }
    let has_sidecar = || disk.paths().iter().any(|path| path.ends_with(".idx"));
    drop(opened);
    disk.set_capacity(Some(0));
    let opened = reopen(&disk, &options);
    assert!(!has_sidecar());
    assert_eq!(payloads(&opened.reader, "T", 0).len(), 8, "until then it is in memory");
    disk.set_capacity(None);
    opened.flusher.flush().unwrap();
    assert!(has_sidecar());
    check_index_is_a_view(&opened.reader);
}

#[test]
fn the_flusher_bounds_what_a_power_cut_takes() {
    for seed in 0..16 {
        let disk = SimDisk::new(seed);
        let options = small(Durability::Os);
        let mut opened = reopen(&disk, &options);
        for _ in 0..9 {
            store(&mut opened, "T", 0, &[9; 700]);
            opened.io.run_once(NOW).unwrap();
        }
        assert!(opened.log.durable() < opened.log.acked());
        assert_eq!(opened.flusher.flush().unwrap(), opened.log.acked());
        assert_eq!(opened.log.durable(), opened.log.acked());
        let syncs = disk.syncs();
        opened.flusher.flush().unwrap();
        assert_eq!(disk.syncs(), syncs, "nothing to do");
        store(&mut opened, "T", 0, &[9; 700]);
        disk.crash(Crash::PowerCut);
        drop(opened);
        let left = payloads(&reopen(&disk, &options).reader, "T", 0).len();
        assert!(left == 9 || left == 10, "{left}");
    }
}

#[test]
fn a_tail_of_an_earlier_life_is_never_taken_for_data() {
    let disk = SimDisk::new(1);
    let options = small(Durability::Os);
    let path = "log/00000000000000000000.seg";
    let mut opened = reopen(&disk, &options);
    store(&mut opened, "T", 0, b"first");
    let second = store(&mut opened, "T", 0, &[2; 68]);
    let third_at = opened.log.acked();
    store(&mut opened, "T", 0, b"third");
    let before = disk.contents(path).unwrap();
    drop(opened);
    // The second frame is torn; the third, which is whole, is cut off with it.
    disk.flip_bit(path, second.log_offset + 20, 3);
    let mut opened = reopen(&disk, &options);
    let cut = opened.recovery.cut.clone().unwrap();
    assert!(cut.at < second.log_offset && cut.reason.contains("crc"), "{cut:?}");
    assert_eq!(payloads(&opened.reader, "T", 0).len(), 1);
    // With the open frame, the new second frame ends just where the old third began. Then the old bytes come back.
    store(&mut opened, "T", 0, &[2; 68 - crate::segment::OPEN_BYTES]);
    assert_eq!(opened.log.acked(), third_at);
    drop(opened);
    let file = disk.open(path).unwrap();
    file.write_at(third_at, &[&before[third_at as usize..]]).unwrap();
    let opened = reopen(&disk, &options);
    assert_eq!(payloads(&opened.reader, "T", 0).len(), 2);
    assert_eq!(opened.recovery.cut.clone().unwrap().at, third_at);
}

#[test]
fn a_process_killed_at_any_call_leaves_a_store_that_opens() {
    for operations in 1..400 {
        let disk = SimDisk::new(operations);
        let options = small(Durability::Sync);
        let mut opened = reopen(&disk, &options);
        disk.switch_off_after(operations);
        let mut acked = 0;
        for number in 0..40u32 {
            if stage(&opened, "T", number % 2, &[9; 700]).is_err() || opened.io.run_once(NOW).is_err() {
                break;
            }
            acked += 1;
        }
        disk.heal();
        disk.crash(if operations % 2 == 0 { Crash::Kill } else { Crash::PowerCut });
        drop(opened);
        let opened = reopen(&disk, &options);
        check_index_is_a_view(&opened.reader);
        let left = payloads(&opened.reader, "T", 0).len() + payloads(&opened.reader, "T", 1).len();
        assert!(left == acked || left == acked + 1, "{left} of {acked}");
    }
}

#[test]
fn removing_segments_behind_a_torn_one_may_be_interrupted() {
    let options = small(Durability::Os);
    let mut dropped = 0;
    for (seed, operations) in (0..24).flat_map(|seed| (1..60).map(move |operations| (seed, operations))) {
        let disk = SimDisk::new(seed);
        let mut opened = reopen(&disk, &options);
        // Four segments, nothing synced.
        for _ in 0..18 {
            store(&mut opened, "T", 0, &[9; 700]);
            opened.io.run_once(NOW).unwrap();
        }
        assert_eq!(opened.log.durable(), opened.recovery.end + crate::segment::OPEN_BYTES as u64);
        disk.crash(Crash::PowerCut);
        drop(opened);
        disk.switch_off_after(operations);
        if let Ok(opened) = open(Arc::new(disk.clone()), options.clone(), NOW) {
            dropped += opened.recovery.segments_dropped;
        }
        disk.heal();
        disk.crash(Crash::PowerCut);
        let mut opened = reopen(&disk, &options);
        check_index_is_a_view(&opened.reader);
        store(&mut opened, "T", 0, b"goes on");
    }
    assert!(dropped > 20, "{dropped}");
}
