//! Files that are there as a whole or not at all.

use crate::disk::{Disk, DiskError, DiskFile};

/// Writes a file under a temporary name, syncs it, renames it and syncs the directory. A full disk is met before
/// anything is written, and leaves the older file of this name in place.
pub fn write<D: Disk>(disk: &D, dir: &str, path: &str, parts: &[&[u8]]) -> Result<D::File, DiskError> {
    let temporary = format!("{path}.tmp");
    let file = disk.create(&temporary)?;
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if let Err(error) = file.preallocate(len as u64) {
        disk.remove(&temporary)?;
        return Err(error);
    }
    file.write_at(0, parts)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)?;
    drop(file);
    disk.open(path)
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
