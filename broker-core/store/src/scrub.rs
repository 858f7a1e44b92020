//! Reading sealed segments again, to find decay before somebody needs the records.
//!
//! What is looked at is what [`crate::inspect`] looks at: every frame and its place in the chain, and whether the segment's index and
//! key files say the same. Those are made again where they do not. A damaged record stays where it is: readers pass it over.

use crate::{
    disk::{Disk, DiskError, DiskFile},
    index::{
        IndexEntry, Run,
        sidecar::{self, Subject},
    },
    inspect::{self, Cache, Finding, Frames, Inspection, Weight},
    keys::KeyIndex,
    reader::{LogReader, ReadError},
    segment::{self, Segment},
    whole_file,
};
use halley_model::{LogOffset, QueueId, QueueOffset};
use std::{ops::ControlFlow, sync::Arc};

/// At most so many lost records of a segment are named.
const LOST_MAX: usize = 100;

/// Checks what is stored. Every call may block on the disk.
pub struct Scrubber<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) reader: LogReader<D>,
    pub(crate) keys: KeyIndex<D>,
}

/// What a check of one segment found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes of the segment.
    pub bytes: u64,
    /// What cannot be read, by stretches of the segment.
    pub damage: Vec<Finding>,
    /// How many records have their place in these stretches. Most can be read all the same, by their index entries.
    pub suspects: u64,
    /// Records that cannot be read, the first hundred of them.
    pub lost: Vec<Lost>,
    /// Files that were made again, and what was wrong with them.
    pub mended: Vec<Finding>,
    /// Files that are wrong and could not be made again now.
    pub unmended: Vec<(Finding, ReadError)>,
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The queue that has it.
    pub topic: String,
    /// The queue's number.
    pub queue: QueueId,
    /// Its offset there.
    pub offset: QueueOffset,
    /// Where it lies in the log.
    pub at: LogOffset,
}

impl<D: Disk> Scrubber<D> {
    /// Where the segments begin that can be checked, in log order: those that are whole and have their sidecars, and are not
    /// RocketMQ's.
    pub fn segments(&self) -> Vec<LogOffset> {
        let sealed = self.reader.segments.sealed();
        sealed.iter().filter(|segment| segment.foreign.is_none()).map(|segment| segment.base).collect()
    }

    /// Checks the segment that begins at `base`. `progress` hears how many of its bytes were read, and may end the check. `None` where it
    /// did, or where the segment was removed meanwhile.
    pub fn check(
        &self,
        base: LogOffset,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Scrubbed>, DiskError> {
        let segment = self.reader.segments.holding(base).filter(|segment| segment.base == base);
        let Some(segment) = segment else { return Ok(None) };
        let Some(next) = segment.end() else { return Ok(None) };
        let looked = inspect::segment(&*self.disk, base, next, &mut |done, _| progress(done));
        if self.is_gone(base) {
            return Ok(None);
        }
        let Some((found, frames)) = looked? else { return Ok(None) };
        let mut scrubbed = Scrubbed { bytes: next - base, ..Scrubbed::default() };
        self.mend(&segment, next, &found, &frames, &mut scrubbed);
        self.find_lost(&segment, &frames, &mut scrubbed)?;
        // That queues miss offsets then is no news.
        let is_named = |finding: &Finding| {
            frames.damaged.is_empty()
                || finding.path != segment::path_of(base)
                || frames.damaged.iter().any(|range| range.start == finding.at)
        };
        let damage = found.findings.into_iter().filter(|finding| finding.weight == Weight::Damage);
        scrubbed.damage = damage.filter(is_named).collect();
        Ok((!self.is_gone(base)).then_some(scrubbed))
    }

    fn is_gone(&self, base: LogOffset) -> bool {
        base < self.reader.start()
    }

    fn mend(
        &self,
        segment: &Segment<D::File>,
        next: LogOffset,
        found: &Inspection,
        frames: &Frames,
        scrubbed: &mut Scrubbed,
    ) {
        let base = segment.base;
        let Some(report) = found.segments.first() else { return };
        let index = matches!(report.index, Cache::Wrong | Cache::Missing).then(|| {
            let done = self.mend_index(segment, next, report.epochs.1, frames);
            (sidecar::path_of(base), report.index, done)
        });
        let keys = matches!(report.keys, Cache::Wrong | Cache::Missing).then(|| {
            let done = self.keys.make_again(segment);
            (crate::keys::path_of(base), report.keys, done)
        });
        for (path, cache, done) in index.into_iter().chain(keys) {
            let missing = || Finding {
                weight: Weight::Mended,
                path: path.clone(),
                at: base,
                what: "it is missing".to_owned(),
            };
            let named = found.findings.iter().find(|finding| finding.path == path && cache == Cache::Wrong);
            let finding = named.cloned().unwrap_or_else(missing);
            match done {
                Ok(()) => scrubbed.mended.push(finding),
                Err(error) => scrubbed.unmended.push((finding, error)),
            }
        }
    }

    /// Writes the segment's index as it must be. Where the file is there it is written over, so that those who have it open, which is
    /// every reader, are served by it again; torn by a crash, it is as useless as before.
    fn mend_index(
        &self,
        segment: &Segment<D::File>,
        next: LogOffset,
        epoch: u32,
        frames: &Frames,
    ) -> Result<(), ReadError> {
        let base = segment.base;
        let contiguous = |entries: &Vec<IndexEntry>| {
            entries.windows(2).all(|pair| pair[1].queue_offset == pair[0].queue_offset + 1)
        };
        let chain = frames.chain.filter(|_| frames.entries.values().all(contiguous));
        let (Some(chain), Some(known)) = (chain, segment.sidecar.get()) else {
            let reason = "the segment is damaged, and cannot tell what belongs into its index".to_owned();
            return Err(ReadError::Damaged { at: base, reason });
        };
        let subject = Subject { base, length: next - base, chain, epoch, stored: known.stored };
        let bytes = sidecar::bytes_of(&subject, &frames.entries);
        known.file.write_at(0, &[&bytes])?;
        known.file.truncate(bytes.len() as u64)?;
        known.file.sync_all()?;
        let path = sidecar::path_of(base);
        let is_there = match self.disk.open_to_read(&path) {
            Ok(file) => sidecar::load(file)?.is_some_and(|(_, found, _)| found == subject),
            Err(DiskError::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_there {
            drop(whole_file::write(&*self.disk, sidecar::DIR, &path, &[&bytes])?);
        }
        if self.is_gone(base) {
            // It was removed meanwhile, perhaps before there was this file.
            match self.disk.remove(&path) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Finds out which records of the damaged stretches cannot be read by their index entries.
    fn find_lost(
        &self,
        segment: &Segment<D::File>,
        frames: &Frames,
        scrubbed: &mut Scrubbed,
    ) -> Result<(), DiskError> {
        if frames.damaged.is_empty() {
            return Ok(());
        }
        let Ok(file) = self.disk.open_to_read(&sidecar::path_of(segment.base)) else { return Ok(()) };
        let Some((index, _, listed)) = sidecar::load(file)? else { return Ok(()) };
        let is_suspect =
            |entry: &IndexEntry| frames.damaged.iter().any(|range| range.contains(&entry.log_offset));
        let mut entries = Vec::new();
        for one in listed {
            let run = Run { segment: 0, first: one.first, count: one.count, place: one.place };
            entries.clear();
            _ = sidecar::read(&index, segment.base, &run, one.first, one.count as usize, &mut entries)?;
            for entry in entries.iter().filter(|entry| is_suspect(entry)) {
                scrubbed.suspects += 1;
                if scrubbed.lost.len() < LOST_MAX && !self.reader.is_intact(segment, entry)? {
                    let (topic, offset) = (one.topic.to_string(), entry.queue_offset);
                    scrubbed.lost.push(Lost { topic, queue: one.queue, offset, at: entry.log_offset });
                }
            }
        }
        Ok(())
    }
}
