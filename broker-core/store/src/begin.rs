//! The begin mark: where the log begins, once something was removed from it. Byte diagram in `docs/format/log.md`.

use crate::{
    disk::{Disk, DiskError},
    frame::{u32_at, u64_at},
    whole_file,
};
use halley_model::LogOffset;

pub(crate) const PATH: &str = "begin";
const MAGIC: u32 = 0x484C_4231;
/// Stands in place of [`MAGIC`] as long as the log behind it is being restored.
const UNFINISHED: u32 = 0x484C_5231;
const BYTES: usize = 20;

/// Makes durable that the log begins at `begin`. A full disk leaves the mark that was there.
pub(crate) fn write<D: Disk>(disk: &D, begin: LogOffset) -> Result<(), DiskError> {
    put(disk, MAGIC, begin)
}

/// Makes durable that the log is being restored: until there is another mark, or none, nobody opens it.
pub(crate) fn write_unfinished<D: Disk>(disk: &D) -> Result<(), DiskError> {
    put(disk, UNFINISHED, 0)
}

/// Makes durable that the log is whole, and begins at 0.
pub(crate) fn remove<D: Disk>(disk: &D) -> Result<(), DiskError> {
    disk.remove(PATH)?;
    disk.sync_dir("")
}

fn put<D: Disk>(disk: &D, magic: u32, begin: LogOffset) -> Result<(), DiskError> {
    let mut mark = [0; BYTES];
    mark[..4].copy_from_slice(&magic.to_be_bytes());
    mark[8..16].copy_from_slice(&begin.to_be_bytes());
    let crc = crc32fast::hash(&mark[..16]);
    mark[16..].copy_from_slice(&crc.to_be_bytes());
    whole_file::write(disk, "", PATH, &[&mark]).map(drop)
}

/// The mark: `None` where nothing was ever removed, `Err` inside where it is damaged.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<Result<Option<LogOffset>, &'static str>, DiskError> {
    let mark = match whole_file::read(disk, PATH, BYTES as u64 * 2) {
        Err(DiskError::NotFound { .. }) => return Ok(Ok(None)),
        mark => mark?,
    };
    let is_whole =
        mark.len() == BYTES && u32_at(&mark, 4) == 0 && u32_at(&mark, 16) == crc32fast::hash(&mark[..16]);
    Ok(match is_whole.then(|| u32_at(&mark, 0)) {
        Some(MAGIC) => Ok(Some(u64_at(&mark, 8))),
        Some(UNFINISHED) => Err("a restore into this directory did not end: empty it, and restore again"),
        _ => Err("the begin mark is not what was written"),
    })
}
