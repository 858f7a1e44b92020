use super::*;
use crate::{
    Durability, OpenError, Opened, Options,
    disk::{Crash, Disk, DiskFile, SimDisk},
    inspect::inspect,
    objects::{DirObjects, MemoryObjects},
    open,
};
use halley_model::{Millis, RecordBody, RecordView};
use parking_lot::Mutex;
use std::{io::Read, sync::Arc};

const NOW: Millis = 1_700_000_000_000;

fn options() -> Options {
    Options {
        segment_bytes: 8192,
        staged_bytes_max: 64 << 10,
        tail_bytes: 0,
        ..Options::new(Durability::Sync, "127.0.0.1:10911".parse().unwrap())
    }
}

fn opened(disk: &SimDisk) -> Opened<SimDisk> {
    open(Arc::new(disk.clone()), options(), NOW).unwrap()
}

fn body(payload: &[u8]) -> RecordBody<'_> {
    RecordBody {
        topic: "t",
        queue: 0,
        flag: 0,
        system_flag: 0,
        born: NOW,
        born_host: "127.0.0.1:5000".parse().unwrap(),
        reconsume_times: 0,
        prepared_offset: 0,
        body: payload,
        properties: b"",
        dispatched: false,
    }
}

/// Stores records with these numbers, one each millisecond, each a group with a second record.
fn store(opened: &mut Opened<SimDisk>, numbers: std::ops::Range<u16>) {
    for number in numbers {
        let bytes = [number.to_be_bytes(); 150].concat();
        let second = number.to_be_bytes();
        let group = [body(&bytes), body(&second)];
        let now = NOW + Millis::from(number);
        opened.log.stage(now).unwrap().append_group(&group, &mut Vec::new()).unwrap();
        // Two groups of different times in a frame.
        if number % 2 == 1 {
            opened.io.run_once(now).unwrap();
        }
    }
    opened.io.run_once(NOW).unwrap();
    opened.flusher.flush().unwrap();
}

/// A store with the numbers below `count`, still open.
fn filled(count: u16) -> (SimDisk, Opened<SimDisk>) {
    let disk = SimDisk::new(1);
    let mut store_ = opened(&disk);
    store(&mut store_, 0..count);
    (disk, store_)
}

fn copy_at(disk: &SimDisk, to: &dyn Objects, taken: Millis) -> Result<Backup, BackupError> {
    backup(disk, to, &|| taken, &mut |_, _| {})
}

fn copy(disk: &SimDisk, to: &dyn Objects) -> Backup {
    copy_at(disk, to, NOW + 10_000).unwrap()
}

fn restored(from: &dyn Objects, at: Option<Millis>) -> (SimDisk, Restored) {
    let disk = SimDisk::new(2);
    let restored = restore(from, &disk, at, &mut |_, _| {}).unwrap();
    let found = inspect(&disk, &mut |_, _| {}).unwrap();
    assert_eq!(found.findings, []);
    assert_eq!(found.end, restored.end);
    (disk, restored)
}

/// The numbers of the records of a store, which goes on taking records.
fn numbers(disk: &SimDisk) -> Vec<u16> {
    let mut store_ = opened(disk);
    let mut entries = Vec::new();
    store_.reader.lookup("t", 0, 0, usize::MAX, &mut entries).unwrap();
    let bytes: Vec<_> = entries.iter().map(|entry| store_.reader.read(entry).unwrap()).collect();
    let number = |bytes: &[u8]| {
        let record = RecordView::parse(bytes).unwrap();
        u16::from_be_bytes([record.body()[0], record.body()[1]])
    };
    let all: Vec<_> = bytes
        .chunks(2)
        .map(|group| {
            assert_eq!(number(&group[0]), number(&group[1]), "a group is there as a whole");
            number(&group[0])
        })
        .collect();
    store(&mut store_, 9999..10_000);
    all
}

fn up_to(count: u16) -> Vec<u16> {
    (0..count).collect()
}

#[test]
fn a_copy_of_an_open_store_is_made_a_store_again() {
    let (disk, _open) = filled(60);
    let before = disk.paths();
    let objects = MemoryObjects::default();
    let done = copy(&disk, &objects);
    assert_eq!(disk.paths(), before, "nothing is written beside the store");
    assert!(done.segments > 3 && done.segments_copied == done.segments && done.records == 120, "{done:?}");
    let (disk, restored) = restored(&objects, None);
    assert_eq!((restored.records, restored.end, restored.begin), (120, done.end, 0));
    assert_eq!(restored.latest, Some(NOW + 59));
    assert_eq!(numbers(&disk), up_to(60));
}

#[test]
fn what_is_there_is_not_copied_again() {
    let (disk, mut open) = filled(60);
    let objects = MemoryObjects::default();
    let first = copy(&disk, &objects);
    let again = copy(&disk, &objects);
    assert_eq!((again.segments_copied, again.taken), (0, first.taken + 1));
    store(&mut open, 60..90);
    let put = objects.bytes_put();
    let more = copy(&disk, &objects);
    assert!(more.segments_copied < more.segments && more.segments_copied > 1, "{more:?}");
    assert!(objects.bytes_put() - put < more.end - first.end + 8192 + 4096);
    assert_eq!(numbers(&restored(&objects, None).0), up_to(90));
    assert_eq!(manifests(&objects).unwrap().len(), 3);
    // Also where the manifest is lost that knows their checksums.
    for manifest in manifests(&objects).unwrap() {
        objects.remove(&manifest.name()).unwrap();
    }
    assert_eq!(copy(&disk, &objects).segments_copied, 0);
    assert_eq!(numbers(&restored(&objects, None).0), up_to(90));
}

#[test]
fn any_moment_can_be_restored() {
    let (disk, mut open) = filled(40);
    let objects = MemoryObjects::default();
    copy_at(&disk, &objects, NOW + 40).unwrap();
    store(&mut open, 41..80);
    copy_at(&disk, &objects, NOW + 100).unwrap();
    let all: Vec<_> = (0..40).chain(41..80).collect();
    for at in 0..80 {
        let (disk, restored) = restored(&objects, Some(NOW + Millis::from(at)));
        let expected: Vec<_> = all.iter().copied().filter(|number| *number <= at).collect();
        assert_eq!(numbers(&disk), expected, "as of {at}");
        assert_eq!(restored.records, expected.len() as u64 * 2);
    }
    let late = restore(&objects, &SimDisk::new(3), Some(NOW + 101), &mut |_, _| {});
    assert_eq!(late, Err(RestoreError::TooLate { taken: NOW + 100 }));
    let none = restore(&MemoryObjects::default(), &SimDisk::new(3), None, &mut |_, _| {});
    assert_eq!(none, Err(RestoreError::NoBackup));
}

#[test]
fn a_log_that_lost_its_beginning_is_whole_from_a_backup_on() {
    let (disk, mut open) = filled(30);
    let objects = MemoryObjects::default();
    copy_at(&disk, &objects, NOW + 30).unwrap();
    store(&mut open, 31..60);
    let until = open.retention.removable()[0].end;
    open.retention.remove_before(until).unwrap();
    store(&mut open, 60..70);
    let second = copy_at(&disk, &objects, NOW + 70).unwrap();
    assert_eq!(second.begin, until);
    let (_, latest) = restored(&objects, None);
    assert_eq!((latest.begin, latest.end), (until, second.end));
    // With what the first backup has of the removed part, for what the log said of it when it was removed came later.
    let (disk, between) = restored(&objects, Some(NOW + 50));
    assert_eq!(between.begin, 0);
    assert_eq!(numbers(&disk), (0..30).chain(31..51).collect::<Vec<_>>());

    let alone = MemoryObjects::default();
    copy_at(&self::disk_of(&objects), &alone, NOW + 71).unwrap();
    let early = restore(&alone, &SimDisk::new(3), Some(NOW + 65), &mut |_, _| {});
    assert_eq!(early, Err(RestoreError::TooEarly { taken: NOW + 71 }));
    assert_eq!(restored(&alone, Some(NOW + 71)).1.begin, until);
}

/// A place at whose first put something else happens.
struct Meanwhile<'a> {
    to: MemoryObjects,
    happens: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl Objects for Meanwhile<'_> {
    fn put(&self, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError> {
        if let Some(happens) = self.happens.lock().take() {
            happens();
        }
        self.to.put(name, len, from)
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<usize, ObjectError> {
        self.to.read(name, at, into)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, ObjectError> {
        self.to.list(folder)
    }

    fn remove(&self, name: &str) -> Result<(), ObjectError> {
        self.to.remove(name)
    }
}

#[test]
fn old_segments_may_go_and_new_ones_come_meanwhile() {
    let (disk, mut open) = filled(60);
    let until = open.retention.removable()[2].end;
    let removal = || open.retention.remove_before(until).map(drop).unwrap();
    let place = Meanwhile { to: MemoryObjects::default(), happens: Mutex::new(Some(Box::new(removal))) };
    let done = copy(&disk, &place);
    assert_eq!((done.begin, done.end), (until, restored(&place, None).1.end));
    let to = place.to.clone();
    drop(place);
    store(&mut open, 60..62);
    let end = open.log.acked();
    let growth = || store(&mut open, 62..90);
    let place = Meanwhile { to, happens: Mutex::new(Some(Box::new(growth))) };
    let grown = copy(&disk, &place);
    assert!(grown.end >= end, "all is there that was before it");
    assert_eq!(restored(&place, None).1.end, grown.end);
}

#[test]
fn what_no_moment_needs_is_removed() {
    let (disk, mut open) = filled(30);
    let objects = MemoryObjects::default();
    let mut next = 30;
    for round in 0..12 {
        copy_at(&disk, &objects, NOW + Millis::from(next)).unwrap();
        store(&mut open, next + 1..next + 8);
        next += 8;
        if round % 4 == 3 {
            let until = open.retention.removable()[1].end;
            open.retention.remove_before(until).unwrap();
        }
    }
    let moment = |at| restored(&objects, Some(NOW + Millis::from(at))).1;
    let before: Vec<_> = (0..next - 8).map(moment).collect();
    let done = tidy(&objects, None).unwrap();
    assert_eq!((done.manifests, done.bytes > 0), (7, true), "{done:?}");
    for (at, before) in before.iter().enumerate() {
        let after = moment(at as u16);
        assert_eq!((after.latest, after.records), (before.latest, before.records), "as of {at}");
    }
    assert_eq!(tidy(&objects, None).unwrap(), Tidied::default());
    // Without what is older than a moment.
    let oldest = NOW + 90;
    assert!(tidy(&objects, Some(oldest)).unwrap().objects > 0);
    assert_eq!(moment(90).latest, before[90].latest);
    let first = manifests(&objects).unwrap()[0].taken;
    assert!(first <= oldest, "{first}");
    let early = restore(&objects, &SimDisk::new(3), Some(first - 1), &mut |_, _| {});
    assert_eq!(early, Err(RestoreError::TooEarly { taken: first }));
    tidy(&objects, Some(Millis::MAX)).unwrap();
    assert_eq!(manifests(&objects).unwrap().len(), 1, "the newest stays");
    assert_eq!(restored(&objects, None).1.records, before.last().unwrap().records);
}

/// A disk with the store of the newest backup.
fn disk_of(objects: &MemoryObjects) -> SimDisk {
    restored(objects, None).0
}

#[test]
fn damage_is_noticed_and_named() {
    let (disk, _open) = filled(60);
    let objects = MemoryObjects::default();
    copy(&disk, &objects);
    for name in objects.names() {
        for at in [0, 9, 40, 300] {
            assert!(objects.damage(&name, at) || at > 200);
            let failed = restore(&objects, &SimDisk::new(3), None, &mut |_, _| {});
            let said = failed.err().map(|error| error.to_string());
            assert!(said.as_ref().is_none_or(|said| said.contains(&name)), "{name}: {said:?}");
            assert!(said.is_some() || at > 200, "{name} with byte {at} changed was taken");
            objects.damage(&name, at);
        }
    }
    let lost = objects.names().into_iter().find(|name| name.starts_with("log/")).unwrap();
    objects.remove(&lost).unwrap();
    let failed = restore(&objects, &SimDisk::new(3), None, &mut |_, _| {});
    assert_eq!(failed, Err(RestoreError::Objects(ObjectError::NotFound { name: lost })));
}

#[test]
fn a_damaged_store_makes_no_backup() {
    let (disk, _open) = filled(60);
    let segments: Vec<_> = disk.paths().into_iter().filter(|path| path.ends_with(".seg")).collect();
    for path in &segments {
        assert!(disk.flip_bit(path, 700, 3));
        let failed = copy_at(&disk, &MemoryObjects::default(), NOW);
        assert!(
            matches!(&failed, Err(BackupError::Damaged { path: named, .. }) if named == path),
            "{failed:?}"
        );
        assert!(disk.flip_bit(path, 700, 3));
    }
    // What a write in progress looks like is none of it yet.
    let last = disk.open(segments.last().unwrap()).unwrap();
    let end = copy(&disk, &MemoryObjects::default()).end;
    let base =
        crate::segment::number_in(segments.last().unwrap().rsplit('/').next().unwrap(), ".seg").unwrap();
    last.write_at(end - base, &[b"half a frame"]).unwrap();
    assert_eq!(copy(&disk, &MemoryObjects::default()).end, end);
    let nowhere = copy_at(&SimDisk::new(9), &MemoryObjects::default(), NOW);
    assert!(matches!(nowhere, Err(BackupError::Disk(_))), "{nowhere:?}");
}

#[test]
fn two_stores_do_not_share_a_place() {
    let objects = MemoryObjects::default();
    let (disk, _open) = filled(60);
    copy(&disk, &objects);
    for count in [3, 59, 80] {
        let disk = SimDisk::new(7);
        let mut other = open(Arc::new(disk.clone()), options(), NOW - 5).unwrap();
        store(&mut other, 0..count);
        let refused = copy_at(&disk, &objects, NOW);
        assert!(matches!(refused, Err(BackupError::OfAnother { .. })), "{count}: {refused:?}");
    }
    // A store that was restored to its end goes on where it was; one that was cut does not.
    let (whole, _) = restored(&objects, None);
    let mut going_on = opened(&whole);
    store(&mut going_on, 60..70);
    copy(&whole, &objects);
    let (cut, _) = restored(&objects, Some(NOW + 30));
    let mut elsewhere = opened(&cut);
    store(&mut elsewhere, 31..80);
    assert!(matches!(copy_at(&cut, &objects, NOW), Err(BackupError::OfAnother { .. })));
}

#[test]
fn a_backup_that_breaks_off_leaves_the_ones_before() {
    let (disk, mut open) = filled(30);
    let objects = MemoryObjects::default();
    let first = copy(&disk, &objects);
    store(&mut open, 30..60);
    let mut calls = 0;
    let done = loop {
        calls += 1;
        objects.go_away_after(calls);
        let tried = copy_at(&disk, &objects, NOW + 20_000);
        objects.come_back();
        match tried {
            Ok(done) => break done,
            Err(_) => assert_eq!(restored(&objects, None).1.end, first.end, "after {calls} calls"),
        }
    };
    assert!(calls > 6, "{calls}");
    assert_eq!(restored(&objects, None).1.end, done.end);
}

#[test]
fn a_crash_at_any_point_of_a_backup_leaves_whole_ones() {
    let (before, _open) = filled(20);
    let (disk, mut open) = filled(20);
    store(&mut open, 20..40);
    for crash in [Crash::Kill, Crash::PowerCut] {
        for operations in 1.. {
            let place = SimDisk::new(operations);
            let to = || DirObjects::to_write(place.clone(), &FOLDERS);
            let first = copy(&before, &to().unwrap());
            place.switch_off_after(operations);
            let tried = to().map_err(BackupError::from).and_then(|to| copy_at(&disk, &to, NOW + 20_000));
            place.crash(crash);
            place.heal();
            let (_, there) = restored(&DirObjects::to_read(place.clone()), None);
            let again = copy(&disk, &to().unwrap());
            assert!(place.paths().iter().all(|path| !path.ends_with(".tmp")));
            match tried {
                Ok(done) => {
                    assert_eq!((there.end, again.segments_copied), (done.end, 0));
                    break;
                }
                // The manifest may be there though nobody was told.
                Err(_) => {
                    assert!([first.end, again.end].contains(&there.end), "after {operations} operations")
                }
            }
        }
    }
}

#[test]
fn a_crash_at_any_point_of_a_restore_leaves_a_store_or_none() {
    let (disk, _open) = filled(30);
    let objects = MemoryObjects::default();
    let end = copy(&disk, &objects).end;
    for crash in [Crash::Kill, Crash::PowerCut] {
        for operations in 1.. {
            let disk = SimDisk::new(operations);
            disk.switch_off_after(operations);
            let tried = restore(&objects, &disk, None, &mut |_, _| {});
            disk.crash(crash);
            disk.heal();
            match open(Arc::new(disk.clone()), options(), NOW) {
                Ok(there) if there.recovery.end == end => {}
                // Nothing but empty folders yet.
                Ok(there) if tried.is_err() && there.recovery.segments == 1 => {
                    assert_eq!(there.reader.topics().len(), 0, "after {operations} operations");
                }
                Ok(there) => panic!("half a store was opened after {operations}: {:?}", there.recovery),
                Err(OpenError::Damaged { path, reason, .. }) => {
                    assert_eq!(path, "begin");
                    assert!(tried.is_err() && reason.contains("did not end"), "{reason}");
                    let again = restore(&objects, &disk, None, &mut |_, _| {});
                    assert!(matches!(again, Err(RestoreError::NotEmpty(_))), "{again:?}");
                    let found = inspect(&disk, &mut |_, _| {});
                    assert!(found.is_err() || found.unwrap().is_damaged());
                }
                Err(error) => panic!("after {operations}: {error}"),
            }
            if tried.is_ok() {
                break;
            }
        }
    }
}
