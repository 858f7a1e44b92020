//! Looking at the files of a store without opening it: what is there, what is damaged, and what that means. Nothing is
//! written, so a server may have the store open meanwhile; its last segment is then seen as far as it was written.

mod segment;

use crate::{
    begin,
    disk::{Disk, DiskError},
    index::sidecar,
    segment as segments, snapshot,
};
use halley_model::{LogOffset, Millis, RecordView};
use segment::{Walk, record_in};
use std::ops::ControlFlow;

pub(crate) use segment::{Frames, Progress};

/// What a store's files hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The segments, in log order.
    pub segments: Vec<SegmentReport>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// What is not as it should be, in log order.
    pub findings: Vec<Finding>,
    /// Where the log ends.
    pub end: LogOffset,
    /// Queues that have a record, light ones included.
    pub queues: usize,
}

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// The address of its first byte.
    pub base: LogOffset,
    /// Behind its last readable frame.
    pub end: LogOffset,
    /// The file's length: the last segment has space reserved.
    pub file_bytes: u64,
    /// When it was begun; `None` where its first frame is not readable.
    pub created: Option<Millis>,
    /// Readable frames, the first one too.
    pub frames: u64,
    /// Readable records.
    pub records: u64,
    /// How often the store had been opened when the first and the last frame were written.
    pub epochs: (u32, u32),
    /// Store times of the first and the last record.
    pub stored: Option<(Millis, Millis)>,
    /// Its queue index.
    pub index: Cache,
    /// Its key index.
    pub keys: Cache,
}

/// A file that is made again where it is missing or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// It is there and agrees with the segment.
    Whole,
    /// It is not there.
    Missing,
    /// It is there and cannot be used.
    Wrong,
    /// The segment is still being filled: its index is in memory.
    NotYet,
}

/// A snapshot's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Up to where it knows the log.
    pub at: LogOffset,
    /// The file's length.
    pub file_bytes: u64,
    /// Whether its checksum is right.
    pub is_whole: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// The file.
    pub path: String,
    /// Where in the log.
    pub at: LogOffset,
    /// What is wrong, and what that means.
    pub what: String,
}

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The next start puts it right, and no acknowledged record is lost.
    Mended,
    /// Records that were stored cannot be read.
    Damage,
}

/// Looks at all files of the store in `disk`. `progress` hears how many bytes of the log were read, of how many.
/// [`DiskError::NotFound`] where there is no store.
pub fn inspect<D: Disk>(disk: &D, progress: &mut dyn FnMut(u64, u64)) -> Result<Inspection, DiskError> {
    let names = disk.list(segments::DIR)?;
    let all: Vec<_> = names.iter().filter_map(|name| segments::number_in(name, ".seg")).collect();
    let mark = begin::read(disk)?;
    let begin = mark.ok().flatten().unwrap_or(0);
    let bases: Vec<_> = all.iter().copied().filter(|base| *base >= begin).collect();
    if bases.is_empty() {
        return Err(DiskError::NotFound { path: segments::DIR.to_owned() });
    }
    let mut found = segments_of(disk, &bases, progress)?;
    for removed in all.iter().filter(|base| **base < begin) {
        let what = "it is from before the log's beginning, and is removed at the next start".to_owned();
        found.mended(segments::path_of(*removed), *removed, what);
    }
    match mark {
        Err(reason) => found.damage(begin::PATH.to_owned(), 0, reason.to_owned()),
        Ok(Some(mark)) if bases[0] != mark => {
            let what = format!("the log begins at {mark}, and the first segment there is at {}", bases[0]);
            found.damage(begin::PATH.to_owned(), mark, what);
        }
        Ok(_) => {}
    }
    let dirs = [(segments::DIR, names), (sidecar::DIR, disk.list(sidecar::DIR)?)];
    for (dir, names) in dirs {
        for name in names.iter().filter(|name| name.ends_with(".tmp") && **name != "next.tmp") {
            found.mended(format!("{dir}/{name}"), 0, "it was never finished, and is removed".to_owned());
        }
    }
    for at in snapshot::list(disk)? {
        let (file_bytes, is_whole) = snapshot::check(disk, at)?;
        found.snapshots.push(SnapshotReport { at, file_bytes, is_whole });
        if !is_whole {
            let what =
                "its checksum is wrong: an older snapshot, or the log itself, says the same".to_owned();
            found.mended(snapshot::path_of(at), at, what);
        } else if at > found.end {
            let what = "it knows more than the log, which ends before: it is removed".to_owned();
            found.mended(snapshot::path_of(at), at, what);
        }
    }
    Ok(found)
}

/// Looks at one segment, which ended where the one at `next` begins, and gives what it holds; `None` where `progress` ended it.
/// The segment is read past the system's cache.
pub(crate) fn segment<D: Disk>(
    disk: &D,
    base: LogOffset,
    next: LogOffset,
    progress: &mut Progress<'_>,
) -> Result<Option<(Inspection, Frames)>, DiskError> {
    let bases = [base, next];
    let mut walk = Walk::new(disk, &bases)?.once();
    let Some(frames) = walk.next(progress)? else { return Ok(None) };
    walk.joins_next()?;
    Ok(Some((walk.finish(), frames)))
}

/// What the segments at these bases hold, and their indexes.
pub(crate) fn segments_of<D: Disk>(
    disk: &D,
    bases: &[LogOffset],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Inspection, DiskError> {
    let mut walk = Walk::new(disk, bases)?;
    let mut told = |done, total| {
        progress(done, total);
        ControlFlow::Continue(())
    };
    while walk.next(&mut told)?.is_some() {}
    Ok(walk.finish())
}

/// The record that lies at `at`, or has its address `at` within it; `None` where no readable one does.
pub fn record_at<D: Disk>(disk: &D, at: LogOffset) -> Result<Option<Vec<u8>>, DiskError> {
    let names = disk.list(segments::DIR)?;
    let base = names.iter().filter_map(|name| segments::number_in(name, ".seg")).rfind(|base| *base <= at);
    let Some(base) = base else { return Ok(None) };
    let contains = |record: &RecordView<'_>| {
        (record.log_offset()..record.log_offset() + record.total_len() as u64).contains(&at)
    };
    record_in(disk, base, contains)
}

impl Inspection {
    /// Whether records that were stored cannot be read.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.weight == Weight::Damage)
    }

    fn mended(&mut self, path: String, at: LogOffset, what: String) {
        self.findings.push(Finding { weight: Weight::Mended, path, at, what });
    }

    fn damage(&mut self, path: String, at: LogOffset, what: String) {
        self.findings.push(Finding { weight: Weight::Damage, path, at, what });
    }
}

#[cfg(test)]
mod tests;
