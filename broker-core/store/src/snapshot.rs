//! Snapshots: bytes in which the layers above keep what they know of the log up to some offset, so that opening need not
//! read all of it. A cache: without them everything is found by reading the log.

use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    frame::{u32_at, u64_at},
    log::Shared,
    segment::number_in,
    whole_file::{self, Pieces},
};
use halley_model::LogOffset;
use std::{io, sync::Arc};

pub(crate) const DIR: &str = "snapshot";
const SUFFIX: &str = ".snap";
const MAGIC: u32 = 0x484C_5331;
const HEADER_BYTES: usize = 32;
/// How many are kept: the newest, and one to fall back on.
const KEPT: usize = 2;
/// Longest snapshot, in bytes; a length in a damaged header is not believed beyond it.
const BYTES_MAX: usize = 1 << 30;

/// What the layers above knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The log offset up to which they knew the log.
    pub at: LogOffset,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// Why a snapshot was not written. The store goes on; older snapshots are still there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot claims to know records that may yet be lost.
    #[error("a snapshot at log offset {at} is beyond the acknowledged end of the log, {acked}")]
    Beyond {
        /// its offset
        at: LogOffset,
        /// the acknowledged end
        acked: LogOffset,
    },
    /// Too many bytes.
    #[error("a snapshot has more than {BYTES_MAX} bytes")]
    TooLong,
    /// Its bytes could not be made.
    #[error("the bytes of a snapshot could not be made: {0}")]
    Unmade(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes and reads snapshots. Clones are the same.
pub struct Snapshots<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) shared: Arc<Shared>,
}

impl<D: Disk> Clone for Snapshots<D> {
    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> Snapshots<D> {
    /// Keeps the bytes that `fill` writes as what is known of the log up to `at`, and forgets all but the newest two. They
    /// can be many, and are not in memory together. Blocks on the disk; one caller at a time.
    pub fn write(
        &self,
        at: LogOffset,
        fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        let acked = self.shared.acked();
        if at > acked {
            return Err(SnapshotError::Beyond { at, acked });
        }
        whole_file::write_with(&*self.disk, DIR, &path_of(at), 0, |file| write(file, at, fill))?;
        let older = list(&*self.disk)?;
        for old in older.iter().rev().skip(KEPT) {
            remove(&*self.disk, *old)?;
        }
        Ok(())
    }

    /// The newest snapshot that is whole; `None` without one.
    pub fn latest(&self) -> Result<Option<Snapshot>, DiskError> {
        for at in list(&*self.disk)?.into_iter().rev() {
            if let Some(bytes) = read(&*self.disk, at)? {
                return Ok(Some(Snapshot { at, bytes }));
            }
        }
        Ok(None)
    }
}

/// Removes, durably, snapshots that lie beyond the end of the recovered log: they know a history that is gone, and when
/// the log has grown past them again nothing would tell.
pub(crate) fn remove_beyond<D: Disk>(disk: &D, end: LogOffset) -> Result<usize, DiskError> {
    let mut removed = 0;
    for at in list(disk)?.into_iter().filter(|at| *at > end) {
        disk.remove(&path_of(at))?;
        removed += 1;
    }
    disk.sync_dir(DIR)?;
    Ok(removed)
}

/// Removes snapshots that are older than the log's beginning: between them and the log something is missing.
pub(crate) fn remove_older<D: Disk>(disk: &D, begin: LogOffset) -> Result<(), DiskError> {
    for at in list(disk)?.into_iter().filter(|at| *at < begin) {
        remove(disk, at)?;
    }
    Ok(())
}

/// Removes a snapshot, which somebody else may have removed already.
fn remove<D: Disk>(disk: &D, at: LogOffset) -> Result<(), DiskError> {
    match disk.remove(&path_of(at)) {
        Err(DiskError::NotFound { .. }) => Ok(()),
        done => done,
    }
}

/// The offsets of all snapshots, oldest first.
pub(crate) fn list<D: Disk>(disk: &D) -> Result<Vec<LogOffset>, DiskError> {
    Ok(disk.list(DIR)?.iter().filter_map(|name| number_in(name, SUFFIX)).collect())
}

pub(crate) fn path_of(at: LogOffset) -> String {
    format!("{DIR}/{at:020}{SUFFIX}")
}

/// A snapshot file's length, and whether it is whole.
pub(crate) fn check<D: Disk>(disk: &D, at: LogOffset) -> Result<(u64, bool), DiskError> {
    let len = disk.open(&path_of(at))?.len()?;
    Ok((len, read(disk, at)?.is_some()))
}

fn read<D: Disk>(disk: &D, at: LogOffset) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open(&path_of(at))?;
    let mut header = [0; HEADER_BYTES];
    if !read_full(&file, 0, &mut header)? || u32_at(&header, 0) != MAGIC || u32_at(&header, 4) != 0 {
        return Ok(None);
    }
    let len = u64_at(&header, 16);
    if u64_at(&header, 8) != at || file.len()?.checked_sub(HEADER_BYTES as u64) != Some(len) {
        return Ok(None);
    }
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= BYTES_MAX) else { return Ok(None) };
    let mut bytes = vec![0; len];
    let whole = read_full(&file, HEADER_BYTES as u64, &mut bytes)?;
    Ok((whole && crc_of(&header, &bytes) == u32_at(&header, 24)).then_some(bytes))
}

fn write(
    file: &impl DiskFile,
    at: LogOffset,
    fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), SnapshotError> {
    let mut body = Body {
        pieces: Pieces::new(file, HEADER_BYTES as u64),
        len: 0,
        crc: crc32fast::Hasher::new(),
        failed: None,
    };
    let filled = fill(&mut body);
    let Body { mut pieces, len, crc, failed } = body;
    if let Some(error) = failed {
        return Err(error);
    }
    filled.map_err(|error| SnapshotError::Unmade(error.to_string()))?;
    pieces.finish()?;
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[8..16].copy_from_slice(&at.to_be_bytes());
    header[16..24].copy_from_slice(&(len as u64).to_be_bytes());
    let mut of_all = crc32fast::Hasher::new();
    of_all.update(&header[..24]);
    of_all.combine(&crc);
    header[24..28].copy_from_slice(&of_all.finalize().to_be_bytes());
    Ok(file.write_at(0, &[&header])?)
}

/// The bytes of a snapshot on their way into its file.
struct Body<'f, F> {
    pieces: Pieces<'f, F>,
    len: usize,
    crc: crc32fast::Hasher,
    failed: Option<SnapshotError>,
}

impl<F: DiskFile> Body<'_, F> {
    fn add(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.len = self.len.saturating_add(bytes.len());
        if self.len > BYTES_MAX {
            return Err(SnapshotError::TooLong);
        }
        self.crc.update(bytes);
        self.pieces.bytes().extend_from_slice(bytes);
        Ok(self.pieces.pass_on()?)
    }
}

impl<F: DiskFile> io::Write for Body<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).map(|()| bytes.len()).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failed = Some(error);
            told
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn crc_of(header: &[u8; HEADER_BYTES], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..24]);
    hasher.update(bytes);
    hasher.finalize()
}
