//! Making a store of a backup.

use super::{Manifest, ManifestError, Stretch, manifests};
use crate::{
    begin,
    disk::{Disk, DiskError, DiskFile},
    frame::{self, Fields, HEADER_BYTES, Kind},
    index::sidecar,
    inspect::{self, Weight},
    objects::{ObjectError, Objects},
    scan::{CHECKS, Scanner},
    segment::{self, Start},
    snapshot,
};
use halley_model::{LogOffset, Millis};

/// Bytes that are fetched at once.
const PIECE_BYTES: usize = 8 << 20;

/// What was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// When the newest backup that was used was taken.
    pub taken: Millis,
    /// Where the log begins and ends.
    pub begin: LogOffset,
    /// Behind its last frame.
    pub end: LogOffset,
    /// Records in it.
    pub records: u64,
    /// When the last of them was stored; `None` without any.
    pub latest: Option<Millis>,
    /// Bytes that were fetched.
    pub bytes: u64,
}

/// Why nothing was restored. What is in the directory is then no store, and is never opened as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The directory refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The place refused.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is something in the directory.
    #[error("the directory holds {0}: a store is restored into an empty one")]
    NotEmpty(String),
    /// The place has no backup.
    #[error("there is no backup")]
    NoBackup,
    /// The time is behind the newest backup.
    #[error("the newest backup was taken before that time")]
    TooLate {
        /// when it was taken
        taken: Millis,
    },
    /// The time is before what the backups know.
    #[error(
        "older parts of the log had been removed before the first backup was taken: nothing before it can be restored"
    )]
    TooEarly {
        /// when the oldest backup was taken
        taken: Millis,
    },
    /// An object is not what was put.
    #[error("{name} is damaged: {reason}; nothing was restored")]
    Damaged {
        /// the object
        name: String,
        /// what is wrong
        reason: String,
    },
    /// The backups do not make up one log.
    #[error("what was fetched is not the log of one store: {0}; nothing was restored")]
    Inconsistent(String),
}

/// What to fetch, and where it is to end.
struct Plan {
    taken: Millis,
    begin: LogOffset,
    stretches: Vec<Stretch>,
    /// The log is not cut before this: there the older backup, from which the log is known to be whole, ends.
    whole_to: LogOffset,
}

/// Makes the store of the newest backup in `disk`, which is empty; or the store as it was at the time `at`: with all records
/// stored until then, up to the first one stored later. `progress` hears how many bytes are fetched, and then looked at, of how many.
pub fn restore<D: Disk>(
    from: &dyn Objects,
    disk: &D,
    at: Option<Millis>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, RestoreError> {
    let plan = Plan::of(manifests(from)?, at)?;
    for dir in ["", segment::DIR, sidecar::DIR, snapshot::DIR] {
        disk.create_dir(dir)?;
        if let Some(name) = disk.list(dir)?.into_iter().next() {
            return Err(RestoreError::NotEmpty(name));
        }
    }
    let _lock = disk.lock("lock")?;
    begin::write_unfinished(disk)?;
    let mut restored = Restored { taken: plan.taken, begin: plan.begin, ..Restored::default() };
    let total = 2 * plan.stretches.iter().map(|stretch| stretch.length).sum::<u64>();
    let mut bases = Vec::new();
    for stretch in &plan.stretches {
        bases.push(stretch.base);
        let file = disk.create(&segment::path_of(stretch.base))?;
        fetch(from, stretch, &file, &mut |bytes| {
            restored.bytes += bytes;
            progress(restored.bytes, total);
        })?;
        let is_cut = at.map(|at| cut(&file, stretch, plan.whole_to, at)).transpose()?;
        file.sync_all()?;
        if is_cut == Some(true) {
            break;
        }
    }
    disk.sync_dir(segment::DIR)?;
    check(disk, &bases, &mut restored, &mut |done, _| progress(total / 2 + done, total))?;
    match plan.begin {
        0 => begin::remove(disk)?,
        begin => begin::write(disk, begin)?,
    }
    progress(total, total);
    Ok(restored)
}

impl Plan {
    fn of(mut all: Vec<Manifest>, at: Option<Millis>) -> Result<Self, RestoreError> {
        let newest = all.last().ok_or(RestoreError::NoBackup)?;
        let Some(at) = at else {
            let Manifest { taken, begin, stretches } = newest.clone();
            return Ok(Self { taken, begin, stretches, whole_to: 0 });
        };
        if newest.taken < at {
            return Err(RestoreError::TooLate { taken: newest.taken });
        }
        // The first one that knows all of that time, behind the last one that is known to be whole before it.
        let number = all.partition_point(|manifest| manifest.taken < at);
        let behind = all.swap_remove(number);
        if behind.taken == at {
            let whole_to = behind.end();
            return Ok(Self { taken: at, begin: behind.begin, stretches: behind.stretches, whole_to });
        }
        let before = number.checked_sub(1).map(|before| all.swap_remove(before));
        let Some(before) = before else {
            return match behind.begin {
                0 => Ok(Self { taken: behind.taken, begin: 0, stretches: behind.stretches, whole_to: 0 }),
                _ => Err(RestoreError::TooEarly { taken: behind.taken }),
            };
        };
        let whole_to = before.end();
        let mut stretches = before.stretches;
        stretches.retain(|stretch| stretch.base < behind.begin);
        if let Some(last) = stretches.last().filter(|last| last.end() != behind.begin) {
            let reason = format!("between {} and {} nothing was backed up", last.end(), behind.begin);
            return Err(RestoreError::Inconsistent(reason));
        }
        let begin = stretches.first().map_or(behind.begin, |first| first.base);
        stretches.extend(behind.stretches);
        Ok(Self { taken: behind.taken, begin, stretches, whole_to })
    }
}

/// Fetches a stretch into an empty file, and checks its checksum.
fn fetch(
    from: &dyn Objects,
    stretch: &Stretch,
    file: &impl DiskFile,
    told: &mut dyn FnMut(u64),
) -> Result<(), RestoreError> {
    let name = stretch.name();
    let mut piece = vec![0; PIECE_BYTES.min(stretch.length as usize)];
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < stretch.length {
        let some = piece.len().min((stretch.length - at) as usize);
        let read = from.read(&name, at, &mut piece[..some])?;
        if read == 0 {
            return Err(RestoreError::Damaged { name, reason: format!("it ends after {at} bytes") });
        }
        crc.update(&piece[..read]);
        file.write_at(at, &[&piece[..read]])?;
        at += read as u64;
        told(read as u64);
    }
    match crc.finalize() == stretch.crc {
        true => Ok(()),
        false => Err(RestoreError::Damaged { name, reason: "its checksum is wrong".to_owned() }),
    }
}

/// Ends the log before the first record behind `whole_to` that was stored later than `time`. Records of a group are stored at one
/// time, so that no group is cut; a frame with several is sealed again with those that stay.
/// Whether it ends in this stretch.
fn cut(
    file: &impl DiskFile,
    stretch: &Stretch,
    whole_to: LogOffset,
    time: Millis,
) -> Result<bool, RestoreError> {
    if stretch.latest <= time || stretch.end() <= whole_to {
        return Ok(false);
    }
    let damaged = |reason: String| RestoreError::Damaged { name: stretch.name(), reason };
    let (start, crc) = Start::read(file, stretch.base)?.map_err(damaged)?;
    let mut scanner = Scanner::new(file, &start, crc, stretch.length, CHECKS);
    while scanner.position() < stretch.end() {
        let (at, chain) = (scanner.position(), scanner.chain);
        let found = scanner.next()?.map_err(|error| damaged(error.to_string()))?;
        if at < whole_to || found.header.kind != Kind::Records {
            continue;
        }
        let mut kept = 0;
        let mut length = HEADER_BYTES;
        let mut is_over = false;
        let seen = frame::for_each_record(found.bytes, &found.header, at, |record| {
            is_over |= record.stored() > time;
            if !is_over {
                kept += 1;
                length += record.total_len();
            }
            Ok(())
        });
        seen.map_err(damaged)?;
        if !is_over {
            continue;
        }
        let mut end = at - stretch.base;
        if kept > 0 {
            let mut frame = found.bytes[..length].to_vec();
            let (epoch, unsynced) = (found.header.epoch, found.header.unsynced);
            frame::seal(&mut frame, &Fields { kind: Kind::Records, epoch, records: kept, unsynced }, chain);
            file.write_at(end, &[&frame])?;
            end += length as u64;
        }
        file.truncate(end)?;
        return Ok(true);
    }
    Ok(false)
}

/// Looks at every frame and record, as `halley inspect` does.
fn check<D: Disk>(
    disk: &D,
    bases: &[LogOffset],
    restored: &mut Restored,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), RestoreError> {
    let found = inspect::segments_of(disk, bases, progress)?;
    if let Some(finding) = found.findings.iter().find(|finding| finding.weight == Weight::Damage) {
        return Err(RestoreError::Inconsistent(format!("log offset {}: {}", finding.at, finding.what)));
    }
    restored.end = found.end;
    restored.records = found.segments.iter().map(|segment| segment.records).sum();
    restored.latest = found.segments.iter().rev().find_map(|segment| Some(segment.stored?.1));
    Ok(())
}
