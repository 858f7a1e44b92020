//! What every disk must do, checked on each of them.

use super::{Crash, Disk, DiskError, DiskFile, RealDisk, SimDisk};

#[test]
fn the_simulated_disk_conforms() {
    check(&SimDisk::new(1));
}

#[test]
fn the_real_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    check(&RealDisk::new(dir.path().join("a/b")).unwrap());
}

fn check(disk: &impl Disk) {
    contents(disk);
    lengths(disk);
    names(disk);
    locks(disk);
}

fn contents(disk: &impl Disk) {
    disk.create_dir("log").unwrap();
    disk.create_dir("log").unwrap();
    let file = disk.create("log/a").unwrap();
    file.write_at(0, &[b"hello ", b"", b"world"]).unwrap();
    file.write_at(6, &[b"W"]).unwrap();
    let mut read = [0; 32];
    assert_eq!(file.read_at(0, &mut read).unwrap(), 11, "a read is short only at the end");
    assert_eq!(&read[..11], b"hello World");
    assert_eq!(file.read_at(100, &mut read).unwrap(), 0, "nothing lies behind the end");
    file.sync_data().unwrap();
    let again = disk.open("log/a").unwrap();
    assert_eq!(again.len().unwrap(), 11);
    again.write_at(0, &[b"J"]).unwrap();
    file.read_at(0, &mut read[..1]).unwrap();
    assert_eq!(read[0], b'J', "two handles see one file");
    let many: Vec<&[u8]> = vec![b"ab"; 3000];
    file.write_at(0, &many).unwrap();
    assert_eq!(file.len().unwrap(), 6000, "any number of parts is written");
}

fn lengths(disk: &impl Disk) {
    let file = disk.create("log/b").unwrap();
    assert!(file.is_empty().unwrap());
    file.preallocate(4096).unwrap();
    assert_eq!(file.len().unwrap(), 4096);
    file.write_at(10, &[b"x"]).unwrap();
    file.preallocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 4096, "a reservation never shortens");
    file.truncate(5).unwrap();
    file.sync_all().unwrap();
    file.preallocate(64).unwrap();
    let mut read = [1; 64];
    assert_eq!(file.read_at(0, &mut read).unwrap(), 64);
    assert_eq!(read, [0; 64], "what was cut off does not come back");
    let emptied = disk.create("log/b").unwrap();
    assert_eq!(emptied.len().unwrap(), 0, "creating empties a file");
}

/// Whatever is passed over as not written is zero, and what was written is not passed over.
#[test]
fn what_was_written_is_found_behind_what_was_reserved() {
    fn check(disk: &impl Disk) {
        let file = disk.create("reserved").unwrap();
        file.preallocate(4 << 20).unwrap();
        let at = 3 << 20;
        file.write_at(at, &[b"written"]).unwrap();
        for from in [0, 1 << 20, at, at + 6] {
            let written = file.written(from).unwrap();
            assert!(written.iter().any(|stretch| stretch.contains(&(at + 6))), "{written:?}");
            assert!(
                written.iter().all(|stretch| from <= stretch.start && stretch.end <= 4 << 20),
                "{written:?}"
            );
        }
        assert!(file.written(4 << 20).unwrap().is_empty());
        let mut before = vec![1; at as usize];
        assert_eq!(file.read_at(0, &mut before).unwrap(), before.len());
        assert!(before.iter().all(|byte| *byte == 0));
    }
    check(&SimDisk::new(1));
    let dir = tempfile::tempdir().unwrap();
    check(&RealDisk::new(dir.path()).unwrap());
}

fn names(disk: &impl Disk) {
    assert_eq!(disk.list("log").unwrap(), ["a", "b"]);
    disk.rename("log/a", "log/c").unwrap();
    disk.rename("log/c", "log/b").unwrap();
    disk.sync_dir("log").unwrap();
    assert_eq!(disk.list("log").unwrap(), ["b"]);
    assert_eq!(disk.open("log/b").unwrap().len().unwrap(), 6000, "a renaming replaces");
    disk.remove("log/b").unwrap();
    assert_eq!(disk.open("log/b").err(), Some(DiskError::NotFound { path: "log/b".into() }));
    assert_eq!(disk.remove("log/b").err(), Some(DiskError::NotFound { path: "log/b".into() }));
    assert!(disk.list("log").unwrap().is_empty());
}

fn locks(disk: &impl Disk) {
    let lock = disk.lock("lock").unwrap();
    assert_eq!(disk.lock("lock").err(), Some(DiskError::Locked { path: "lock".into() }));
    drop(lock);
    disk.lock("lock").unwrap();
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = SimDisk::new(seed);
        let file = disk.create("f").unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(0, &[&[1; 4096]]).unwrap();
        file.sync_data().unwrap();
        file.write_at(0, &[&[2; 2048]]).unwrap();
        file.write_at(2048, &[&[3; 2048]]).unwrap();
        disk.crash(Crash::PowerCut);
        assert!(file.len().is_err(), "a handle does not outlive a crash");
        let left = disk.contents("f").unwrap();
        assert_eq!(left.len(), 4096);
        for sector in left.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are atomic");
        }
        seen.insert((left[0], left[2048], left[4095]));
    }
    assert!(seen.contains(&(1, 3, 3)), "a later write may outlive an earlier one: {seen:?}");
    assert!(seen.contains(&(1, 1, 1)) && seen.contains(&(2, 3, 3)), "all or nothing may stay: {seen:?}");
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let lost = (0..16).any(|seed| {
        let disk = SimDisk::new(seed);
        let file = disk.create("f").unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(0, &[b"x"]).unwrap();
        disk.fail_sync(1);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.crash(Crash::PowerCut);
        disk.contents("f").unwrap() != b"x"
    });
    assert!(lost);
}

#[test]
fn names_last_only_after_the_directory_was_synced() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let disk = SimDisk::new(seed);
        disk.create("d/a.tmp").unwrap().sync_all().unwrap();
        disk.rename("d/a.tmp", "d/a").unwrap();
        disk.crash(Crash::PowerCut);
        outcomes.insert(disk.paths());
        disk.create("d/b").unwrap();
        disk.sync_dir("d").unwrap();
        disk.crash(Crash::PowerCut);
        assert!(disk.contents("d/b").is_some());
    }
    assert!(outcomes.len() >= 3, "{outcomes:?}");
}

#[test]
fn one_seed_gives_one_history() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let file = disk.create("f").unwrap();
        file.write_at(0, &[&[7; 5000]]).unwrap();
        disk.crash(Crash::PowerCut);
        (disk.trace_hash(), disk.contents("f"))
    };
    assert_eq!(run(3), run(3));
}

#[test]
fn a_switched_off_disk_fails_until_it_crashed() {
    let disk = SimDisk::new(5);
    disk.switch_off_after(2);
    let file = disk.create("f").unwrap();
    assert!(file.write_at(0, &[b"abc"]).is_err());
    assert!(disk.list("").is_err());
    disk.crash(Crash::Kill);
    assert_eq!(disk.list("").unwrap(), ["f"]);
}
