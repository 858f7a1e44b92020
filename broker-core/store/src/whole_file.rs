//! Files that are there as a whole or not at all.

use crate::disk::{Disk, DiskError, DiskFile};

/// How many bytes [`Pieces`] collects before it writes them.
const PIECE_BYTES: usize = 1 << 16;

/// Writes a file under a temporary name, syncs it, renames it and syncs the directory. A full disk is met before
/// anything is written, and leaves the older file of this name in place.
pub fn write<D: Disk>(disk: &D, dir: &str, path: &str, parts: &[&[u8]]) -> Result<D::File, DiskError> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    write_with(disk, dir, path, len as u64, |file| file.write_at(0, parts))
}

/// Like [`write`], where `fill` writes the bytes: of a file of `len` bytes, or a longer one, which may then meet the full
/// disk later.
pub(crate) fn write_with<D: Disk, E: From<DiskError>>(
    disk: &D,
    dir: &str,
    path: &str,
    len: u64,
    fill: impl FnOnce(&D::File) -> Result<(), E>,
) -> Result<D::File, E> {
    let temporary = format!("{path}.tmp");
    let file = disk.create(&temporary)?;
    if let Err(error) = file.preallocate(len).map_err(E::from).and_then(|()| fill(&file)) {
        disk.remove(&temporary)?;
        return Err(error);
    }
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)?;
    drop(file);
    Ok(disk.open(path)?)
}

/// Bytes on their way into a file, one behind the other, so that they are never in memory together.
pub(crate) struct Pieces<'f, F> {
    file: &'f F,
    /// Where the bytes not yet written go.
    at: u64,
    bytes: Vec<u8>,
}

impl<'f, F: DiskFile> Pieces<'f, F> {
    /// From this position of the file on.
    pub(crate) fn new(file: &'f F, at: u64) -> Self {
        Self { file, at, bytes: Vec::with_capacity(PIECE_BYTES) }
    }

    /// The bytes not yet written, to add some. [`Pieces::pass_on`] is to be called soon.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes what there is, where it is worth it.
    pub(crate) fn pass_on(&mut self) -> Result<(), DiskError> {
        if self.bytes.len() < PIECE_BYTES { Ok(()) } else { self.finish() }
    }

    /// Writes what there is.
    pub(crate) fn finish(&mut self) -> Result<(), DiskError> {
        self.file.write_at(self.at, &[&self.bytes])?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

/// Reads a file of at most `bytes_max` bytes.
pub fn read<D: Disk>(disk: &D, path: &str, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(path)?;
    let failed = |reason: String| DiskError::Failed { operation: "reading", path: path.to_owned(), reason };
    let len = file.len()?;
    if len > bytes_max {
        return Err(failed(format!("it has {len} bytes, at most {bytes_max} are read")));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|error| failed(error.to_string()))?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
