//! Copying a store whose server may be running.

use super::{LOG, Manifest, ManifestError, Stretch};
use crate::{
    begin,
    disk::{Disk, DiskError, DiskFile},
    frame::{self, FrameError, Kind},
    objects::{ObjectError, Objects},
    scan::{CHECKS, Scanner, resume},
    segment::{self, Start},
};
use halley_model::{LogOffset, Millis};
use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// How often a backup is begun again because the server removed old segments meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// What a backup did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backup {
    /// When it was begun: all that was acknowledged by then is in it.
    pub taken: Millis,
    /// Where the copied log begins and ends.
    pub begin: LogOffset,
    /// Behind its last frame.
    pub end: LogOffset,
    /// Records in all of it.
    pub records: u64,
    /// Segments, the one being filled counted.
    pub segments: usize,
    /// Those that were copied now.
    pub segments_copied: usize,
    /// Their bytes.
    pub bytes_copied: u64,
}

/// Why there is no backup. What was copied stays, and is not copied again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The store's disk refused; [`DiskError::NotFound`] where there is no store.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The place refused.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// What the backup goes on from cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The log begins with RocketMQ's files.
    #[error(
        "the log begins with RocketMQ's files, which are not Halley's to copy: back up the whole directory with the server stopped"
    )]
    Foreign,
    /// What is to be copied is damaged.
    #[error(
        "{path} is damaged at log offset {at}: {reason}; `halley inspect` says more; nothing damaged is taken for a backup"
    )]
    Damaged {
        /// the segment
        path: String,
        /// where
        at: LogOffset,
        /// what is wrong
        reason: String,
    },
    /// The place has backups of another store.
    #[error(
        "the backups there are of another store, or of another life of this one: its log has something else at {at}; use another place"
    )]
    OfAnother {
        /// the end of the newest backup there
        at: LogOffset,
    },
    /// An object that was put is not listed as it should be.
    #[error("{name} is not there, or not whole, after it was put")]
    NotKept {
        /// the object
        name: String,
    },
    /// Old segments went faster than they were copied.
    #[error("the server removes old segments faster than they are copied")]
    Restless,
}

/// Copies the store in `disk` to `to`, but for what is there already. Nothing in `disk` is written. `now` reads the clock; `progress`
/// hears how many bytes of the log are looked at, of how many.
pub fn backup<D: Disk>(
    disk: &D,
    to: &dyn Objects,
    now: &dyn Fn() -> Millis,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backup, BackupError> {
    let listed = super::listed(to)?;
    let before = listed.last().map(|object| super::read(to, object)).transpose()?;
    for _ in 0..ATTEMPTS_MAX {
        let mark = mark_of(disk)?;
        // The clock is read first: what was acknowledged by then is found behind.
        let taken = now().max(before.as_ref().map_or(0, |before| before.taken + 1));
        let mut copy = Copy {
            disk,
            to,
            before: before.as_ref(),
            there: there(to)?,
            done: Backup::default(),
            progress: &mut *progress,
        };
        match copy.run(taken, mark) {
            // What the log says of its removed part may be behind what was seen of the log: it is to be looked at again.
            Err(BackupError::Disk(DiskError::NotFound { .. }) | BackupError::Foreign)
                if mark_of(disk)? != mark => {}
            done => return done,
        }
    }
    Err(BackupError::Restless)
}

fn mark_of<D: Disk>(disk: &D) -> Result<Option<LogOffset>, BackupError> {
    let damaged = |reason: &str| BackupError::Damaged {
        path: begin::PATH.to_owned(),
        at: 0,
        reason: reason.to_owned(),
    };
    begin::read(disk)?.map_err(damaged)
}

fn there(to: &dyn Objects) -> Result<BTreeMap<String, u64>, ObjectError> {
    Ok(to.list(LOG)?.into_iter().map(|object| (object.name, object.len)).collect())
}

/// One attempt.
struct Copy<'a, D> {
    disk: &'a D,
    to: &'a dyn Objects,
    before: Option<&'a Manifest>,
    /// The objects that are there, with their lengths.
    there: BTreeMap<String, u64>,
    done: Backup,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// What a look at all frames of a segment gave.
struct Looked {
    end: LogOffset,
    chain: u32,
    records: u64,
    latest: Millis,
}

impl<D: Disk> Copy<'_, D> {
    fn run(&mut self, taken: Millis, mark: Option<LogOffset>) -> Result<Backup, BackupError> {
        let begin = mark.unwrap_or(0);
        let names = self.disk.list(segment::DIR)?;
        let bases = names.iter().filter_map(|name| segment::number_in(name, ".seg"));
        let bases: Vec<_> = bases.filter(|base| *base >= begin).collect();
        match bases.first() {
            None => return Err(DiskError::NotFound { path: segment::DIR.to_owned() }.into()),
            Some(first) if *first != begin && mark.is_none() => return Err(BackupError::Foreign),
            // Removed between the look at the mark and this one, or missing.
            Some(first) if *first != begin => {
                return Err(DiskError::NotFound { path: segment::path_of(begin) }.into());
            }
            Some(_) => {}
        }
        self.check_same(&bases, begin)?;
        let last = *bases.last().expect("there is a first");
        let total = last - begin + self.disk.open_to_read(&segment::path_of(last))?.len()?;
        let mut stretches = Vec::with_capacity(bases.len());
        for (at, base) in bases.iter().enumerate() {
            stretches.push(self.stretch(*base, bases.get(at + 1).copied())?);
            (self.progress)(base - begin, total);
        }
        let manifest = Manifest { taken, begin, stretches };
        self.finish(&manifest)?;
        (self.progress)(total, total);
        let (segments, records) = (manifest.stretches.len(), manifest.records());
        Ok(Backup { taken, begin, end: manifest.end(), records, segments, ..self.done.clone() })
    }

    /// Checks that the newest backup is of this log, as far as both have it; of its last segment [`Copy::look`] does.
    fn check_same(&self, bases: &[LogOffset], begin: LogOffset) -> Result<(), BackupError> {
        let Some((last, sealed)) = self.before.and_then(|before| before.stretches.split_last()) else {
            return Ok(());
        };
        for stretch in sealed.iter().filter(|stretch| stretch.base >= begin) {
            let ends = [stretch.base, stretch.end()].iter().all(|at| bases.binary_search(at).is_ok());
            if !ends || self.start(stretch.end())?.chain != stretch.chain {
                return Err(BackupError::OfAnother { at: stretch.base });
            }
        }
        match last.base < begin || bases.binary_search(&last.base).is_ok() {
            true => Ok(()),
            false => Err(BackupError::OfAnother { at: last.base }),
        }
    }

    /// Makes sure that a segment is there: all of it where there is a `next` one, else as far as it is written.
    fn stretch(&mut self, base: LogOffset, next: Option<LogOffset>) -> Result<Stretch, BackupError> {
        let file = self.disk.open_to_read(&segment::path_of(base))?;
        if let Some(next) = next {
            let chain = self.start(next)?.chain;
            let same = |known: &&Stretch| (known.base, known.end(), known.chain) == (base, next, chain);
            let known = self.before.and_then(|before| before.stretches.iter().find(same).copied());
            if let Some(known) = known.filter(|known| self.there.get(&known.name()) == Some(&known.length)) {
                return Ok(known);
            }
        }
        let looked = self.look(&file, base, next)?;
        let Looked { end, chain, records, latest } = looked;
        let mut stretch = Stretch { base, length: end - base, chain, crc: 0, records, latest };
        let mut bytes = Bytes::new(&file, stretch.length);
        let name = stretch.name();
        if self.there.get(&name) == Some(&stretch.length) {
            // A backup before this one came no further. Its checksum is to be known, that is all.
            io::copy(&mut bytes, &mut io::sink()).map_err(|error| bytes.failure(&name, &error))?;
        } else {
            let put = self.to.put(&name, stretch.length, &mut bytes);
            put.map_err(|error| bytes.failed.take().map_or(error.into(), BackupError::from))?;
            self.done.segments_copied += 1;
            self.done.bytes_copied += stretch.length;
        }
        stretch.crc = bytes.crc.finalize();
        Ok(stretch)
    }

    fn start(&self, base: LogOffset) -> Result<Start, BackupError> {
        let path = segment::path_of(base);
        match Start::read(&self.disk.open_to_read(&path)?, base)? {
            Ok((start, _)) => Ok(start),
            Err(reason) => Err(BackupError::Damaged { path, at: base, reason }),
        }
    }

    /// Checks all frames of a segment up to its end, and that the newest backup is of the same log.
    fn look(&self, file: &D::File, base: LogOffset, next: Option<LogOffset>) -> Result<Looked, BackupError> {
        let path = segment::path_of(base);
        let damaged = |at, reason: String| BackupError::Damaged { path: path.clone(), at, reason };
        let (start, crc) = Start::read(file, base)?.map_err(|reason| damaged(base, reason))?;
        let limit = next.map_or(file.len()?, |next| next - base);
        let mut scanner = Scanner::new(file, &start, crc, limit, CHECKS);
        let ended = self.before.and_then(|before| before.stretches.last());
        let ended = ended.filter(|ended| ended.base == base);
        let mut is_same = ended.is_none();
        let (mut records, mut latest) = (0, 0);
        loop {
            let (at, chain, epoch) = (scanner.position(), scanner.chain, scanner.epoch);
            is_same |= ended.is_some_and(|ended| (ended.end(), ended.chain) == (at, chain));
            let error = match scanner.next()? {
                Ok(found) => {
                    if found.header.kind == Kind::Records {
                        let seen = frame::for_each_record(found.bytes, &found.header, at, |record| {
                            records += 1;
                            latest = record.stored().max(latest);
                            Ok(())
                        });
                        seen.map_err(|reason| damaged(at, reason))?;
                    }
                    continue;
                }
                Err(error) => error,
            };
            match next {
                Some(next) if at == next && chain == self.start(next)?.chain => {}
                Some(_) => return Err(damaged(at, error.to_string())),
                None if error == FrameError::Nothing => {}
                None => {
                    // A frame is half written, or damaged. If others follow, it was whole before they were begun.
                    if resume(file, base, at, limit)?.is_some() {
                        scanner = Scanner::resume(file, base, at, (chain, epoch), limit, CHECKS);
                        if let Err(error) = scanner.next()? {
                            return Err(damaged(at, error.to_string()));
                        }
                        scanner = Scanner::resume(file, base, at, (chain, epoch), limit, CHECKS);
                        continue;
                    }
                }
            }
            if !is_same {
                return Err(BackupError::OfAnother { at: base });
            }
            return Ok(Looked { end: at, chain, records, latest });
        }
    }

    /// Writes the manifest, once all that it names is there.
    fn finish(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let there = there(self.to)?;
        for stretch in &manifest.stretches {
            let name = stretch.name();
            if there.get(&name) != Some(&stretch.length) {
                return Err(BackupError::NotKept { name });
            }
        }
        let bytes = manifest.encode();
        Ok(self.to.put(&manifest.name(), bytes.len() as u64, &mut bytes.as_slice())?)
    }
}

/// The first bytes of a file, with their checksum once they are read.
struct Bytes<'f, F> {
    file: &'f F,
    at: u64,
    end: u64,
    crc: crc32fast::Hasher,
    failed: Option<DiskError>,
}

impl<'f, F: DiskFile> Bytes<'f, F> {
    fn new(file: &'f F, end: u64) -> Self {
        Self { file, at: 0, end, crc: crc32fast::Hasher::new(), failed: None }
    }

    fn failure(&mut self, name: &str, error: &io::Error) -> BackupError {
        let failed = self.failed.take();
        failed.map_or_else(|| ObjectError::failed(name, error).into(), BackupError::from)
    }
}

impl<F: DiskFile> Read for Bytes<'_, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let read = self.file.read_at(self.at, &mut into[..room]).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failed = Some(error);
            told
        })?;
        self.crc.update(&into[..read]);
        self.at += read as u64;
        Ok(read)
    }
}
