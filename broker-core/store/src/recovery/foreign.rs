//! Taking in the log of RocketMQ that this one goes on from.
//!
//! Its files are cut into stretches, each of which is a sealed segment: it gets an index sidecar, and from then on is not read
//! when the store is opened. Stretches end where the next record would make them too long, so that they are found again
//! by following the sidecars from the first file's first address on.

use super::{
    OpenError,
    rebuild::{Rebuild, entry_of},
};
use crate::{
    disk::{Disk, DiskError, DiskFile},
    flusher::Owed,
    foreign::{Scanner, Stop, is_queued},
    index::sidecar::Subject,
    options::Foreign,
    segment::{self, Segment},
    sequencer::StagedEntry,
};
use halley_model::{LogOffset, QueueId, QueueOffset, RecordView, light};
use std::{iter, sync::Arc};

/// What a fingerprint is made of: so many bytes at the file's beginning.
const FINGERPRINT_BYTES: usize = 4096;

/// A file of RocketMQ's log.
struct LogFile<F> {
    file: Arc<F>,
    path: String,
    base: LogOffset,
    end: LogOffset,
    fingerprint: u32,
}

/// The files of RocketMQ's log that have records.
struct LogFiles<F> {
    files: Vec<LogFile<F>>,
    /// Where the log begins if it has none.
    begin: LogOffset,
}

/// How a stretch ended.
struct Stretch {
    end: LogOffset,
    /// Why it is the last of its file.
    stop: Option<Stop>,
}

impl<D: Disk> Rebuild<'_, D> {
    /// Takes in RocketMQ's log, which ends at `first`, where this one begins; where it ends if there is no `first` yet.
    pub(super) fn read_foreign(
        &mut self,
        foreign: &Foreign,
        first: Option<LogOffset>,
    ) -> Result<LogOffset, OpenError> {
        let LogFiles { files, begin } = self.find_foreign(foreign, first)?;
        let total: u64 = files.iter().map(|file| file.end - file.base).sum();
        let mut done = 0;
        let mut end = first.unwrap_or(begin);
        for (number, file) in files.iter().enumerate() {
            let last = number + 1 == files.len();
            end = self.read_file(file, last, first, foreign, (done, total))?;
            done += file.end - file.base;
        }
        if let (Some(first), Some(file)) = (first, files.last())
            && let Ok(record) = file.scanner(first).next_record()?
        {
            return Err(wrong(
                file,
                first,
                format!(
                    "RocketMQ stored a message of topic {} here after Halley took the store over: start one of both on another copy",
                    record.topic()
                ),
            ));
        }
        self.foreign_done(end);
        Ok(end)
    }

    /// The files, without those that were reserved and never written.
    fn find_foreign(
        &self,
        foreign: &Foreign,
        first: Option<LogOffset>,
    ) -> Result<LogFiles<D::File>, OpenError> {
        let names = self.disk.list(&foreign.dir)?;
        let mut files: Vec<LogFile<D::File>> = Vec::new();
        for (name, base) in names.iter().filter_map(|name| Some((name, segment::number_in(name, "")?))) {
            let path = format!("{}/{name}", foreign.dir);
            let file = Arc::new(self.disk.open_to_read(&path)?);
            let end = base.saturating_add(file.len()?);
            let fingerprint = fingerprint_of(&*file)?;
            files.push(LogFile { file, path, base, end, fingerprint });
        }
        let (begin, end) =
            (files.first().map_or(0, |file| file.base), files.last().map_or(0, |file| file.end));
        while let Some(file) = files.last() {
            match file.scanner(file.base).next_record()? {
                Err(Stop::Nothing | Stop::EndOfFile) => {}
                Ok(_) if first.is_some_and(|first| file.base >= first) => {
                    let reason = "RocketMQ wrote this file after Halley took the store over: start one of both on another copy";
                    return Err(wrong(file, file.base, reason.to_owned()));
                }
                Err(Stop::Broken(reason)) if files.len() == 1 && first.is_none() => {
                    let reason = format!("this is no commit log that Halley can read: {reason}");
                    return Err(wrong(file, file.base, reason));
                }
                // The first record of a new file, torn by a crash.
                Err(Stop::Broken(_)) if first.is_none_or(|first| file.base >= first) => {}
                _ => break,
            }
            files.pop();
        }
        for pair in files.windows(2) {
            if pair[0].end != pair[1].base {
                let reason = format!("the file before ends at {}: one is missing", pair[0].end);
                return Err(wrong(&pair[1], pair[1].base, reason));
            }
        }
        match first {
            Some(first) if first > end => Err(OpenError::Foreign {
                path: foreign.dir.clone(),
                at: end,
                reason: format!(
                    "Halley's log goes on at {first}, but the files of RocketMQ's log end here: put them back"
                ),
            }),
            _ => Ok(LogFiles { files, begin }),
        }
    }

    /// Takes in one file; where its records end.
    fn read_file(
        &mut self,
        file: &LogFile<D::File>,
        last: bool,
        first: Option<LogOffset>,
        foreign: &Foreign,
        (done, total): (u64, u64),
    ) -> Result<LogOffset, OpenError> {
        // Where the file's records are known to end, blank counted.
        let known = if last { first } else { Some(file.end) };
        let mut at = file.base;
        while known.is_none_or(|known| at < known) {
            let segment = Arc::new(Segment::foreign(at, Arc::clone(&file.file), file.base, file.fingerprint));
            if let Some(end) = self.load_foreign_sidecar(&segment, known.unwrap_or(file.end))? {
                at = end;
                continue;
            }
            (foreign.progress)(done + at - file.base, total);
            let stretch =
                self.scan_stretch(file, &segment, known.unwrap_or(file.end), foreign.stretch_bytes)?;
            let end = match (&stretch.stop, known) {
                (None, _) => stretch.end,
                (Some(Stop::EndOfFile), Some(known)) if !last => known,
                (Some(_), Some(known)) if known == stretch.end => known,
                (Some(stop), Some(_)) => {
                    let reason = if last {
                        format!("{stop}, but there were further records before")
                    } else {
                        format!(
                            "{stop}, but RocketMQ's log goes on in the next file: let RocketMQ recover it, or restore the file"
                        )
                    };
                    return Err(wrong(file, stretch.end, reason));
                }
                (Some(stop), None) => {
                    if let Stop::Broken(reason) = stop {
                        self.report.cut = Some(super::Cut { at: stretch.end, reason: reason.clone() });
                    }
                    stretch.end
                }
            };
            if end == at {
                break;
            }
            self.end_stretch(&segment, end - at)?;
            at = end;
            if stretch.stop.is_some() {
                break;
            }
        }
        Ok(at)
    }

    /// Takes the records of a stretch into index and tails.
    fn scan_stretch(
        &mut self,
        file: &LogFile<D::File>,
        segment: &Arc<Segment<D::File>>,
        limit: LogOffset,
        bytes_max: u64,
    ) -> Result<Stretch, OpenError> {
        let mut scanner = segment.scanner(segment.base, limit);
        let mut entries = Vec::new();
        let stop = loop {
            let at = scanner.position();
            if at > segment.base && at - segment.base >= bytes_max {
                break None;
            }
            let record = match scanner.next_record()? {
                Ok(record) => record,
                Err(stop) => break Some(stop),
            };
            self.stored = record.stored();
            if !is_queued(&record).map_err(|reason| wrong(file, at, refused(&record, reason)))? {
                continue;
            }
            let own = (record.topic(), record.queue(), record.queue_offset());
            let light = light::positions_of_rocketmq(&record)
                .filter_map(Result::ok)
                .map(|(name, offset)| (name, light::QUEUE, offset));
            for place in iter::once(own).chain(light) {
                self.admit_foreign(place, &record, segment.base, &mut entries)
                    .map_err(|reason| wrong(file, at, reason))?;
            }
        };
        let end = scanner.position();
        self.index.publish(&entries, segment.base, |_, _| {});
        self.report.bytes_scanned += end - segment.base;
        Ok(Stretch { end, stop })
    }

    /// Puts a record into one of the queues that it is in.
    fn admit_foreign(
        &mut self,
        (name, queue, queue_offset): (&str, QueueId, QueueOffset),
        record: &RecordView<'_>,
        segment: LogOffset,
        entries: &mut Vec<StagedEntry>,
    ) -> Result<(), String> {
        let topic = self.topic_of_queue(name, queue)?;
        let next = self.tails.next_mut(topic, queue);
        if queue_offset == 0 && *next > 0 {
            // The topic was deleted and made anew: RocketMQ shows nothing from before.
            self.index.publish(entries, segment, |_, _| {});
            entries.clear();
            self.index.forget_queue(topic, queue);
        } else if queue_offset < *next {
            // `ConsumeQueue.putMessagePositionInfo` passes over what would be there twice.
            return Ok(());
        } else if queue_offset > *next && *next > 0 {
            return Err(format!(
                "queue {queue} of {name} goes on at {queue_offset} after {next}: messages are missing"
            ));
        }
        *next = queue_offset + 1;
        entries.push(entry_of(record, topic, queue, queue_offset));
        Ok(())
    }

    fn end_stretch(&mut self, segment: &Arc<Segment<D::File>>, length: u64) -> Result<(), DiskError> {
        self.add(segment);
        self.report.segments_scanned += 1;
        let chain = segment.foreign.expect("it was made as one of RocketMQ's");
        let subject = Subject { base: segment.base, length, chain, epoch: 0, stored: self.stored };
        self.owed.push_back(Arc::new(Owed { subject, queues: self.index.end_segment() }));
        self.pay()
    }

    /// Takes the index of a stretch from its sidecar: where it ends, `None` where it must be read.
    fn load_foreign_sidecar(
        &mut self,
        segment: &Arc<Segment<D::File>>,
        end_max: LogOffset,
    ) -> Result<Option<LogOffset>, OpenError> {
        if !self.owed.is_empty() {
            return Ok(None);
        }
        let Some((sidecar, subject, listed)) = self.sidecar(segment.base)? else { return Ok(None) };
        let end = segment.base.saturating_add(subject.length);
        let ours = subject.base == segment.base && Some(subject.chain) == segment.foreign;
        if !ours || end > end_max || end == segment.base {
            return Ok(None);
        }
        self.add(segment);
        self.take_runs(segment.base, listed, true)?;
        self.stored = subject.stored;
        let first = segment.sidecar.set(sidecar).is_ok();
        assert!(first, "each stretch is read once");
        Ok(Some(end))
    }
}

impl<F: DiskFile> LogFile<F> {
    fn scanner(&self, at: LogOffset) -> Scanner<'_, F> {
        Scanner::new(&self.file, self.base, at, self.end)
    }
}

fn fingerprint_of(file: &impl DiskFile) -> Result<u32, DiskError> {
    let mut bytes = vec![0; FINGERPRINT_BYTES];
    let read = file.read_at(0, &mut bytes)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.len()?.to_be_bytes());
    hasher.update(&bytes[..read]);
    Ok(hasher.finalize())
}

fn refused(record: &RecordView<'_>, reason: &str) -> String {
    format!("a record of topic {} cannot be taken over: {reason}", record.topic())
}

fn wrong<F>(file: &LogFile<F>, at: LogOffset, reason: String) -> OpenError {
    OpenError::Foreign { path: file.path.clone(), at, reason }
}
