//! Objects as files of a directory.

use super::{Object, ObjectError, Objects};
use crate::{
    disk::{Disk, DiskError, DiskFile},
    whole_file,
};
use std::io::Read;

/// Bytes on their way into a file at once.
const PIECE_BYTES: usize = 1 << 20;

/// Objects in the directory of a [`Disk`]: a file for each, written under a temporary name, synced, renamed, and its directory
/// synced.
pub struct DirObjects<D: Disk> {
    disk: D,
    /// Keeps other writers out.
    _lock: Option<D::Lock>,
}

impl<D: Disk> DirObjects<D> {
    /// For reading alone: nothing in the directory is changed.
    pub fn to_read(disk: D) -> Self {
        Self { disk, _lock: None }
    }

    /// For writing, too. [`DiskError::Locked`] where somebody else writes. What was not finished in `folders` is removed.
    pub fn to_write(disk: D, folders: &[&str]) -> Result<Self, DiskError> {
        let lock = disk.lock("lock")?;
        for folder in folders {
            disk.create_dir(folder)?;
            for name in disk.list(folder)?.iter().filter(|name| name.ends_with(".tmp")) {
                disk.remove(&format!("{folder}/{name}"))?;
            }
        }
        Ok(Self { disk, _lock: Some(lock) })
    }

    fn open(&self, name: &str) -> Result<D::File, ObjectError> {
        self.disk.open_to_read(name).map_err(|error| match error {
            DiskError::NotFound { .. } => ObjectError::NotFound { name: name.to_owned() },
            error => error.into(),
        })
    }
}

impl<D: Disk> Objects for DirObjects<D> {
    fn put(&self, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError> {
        let folder = folder_of(name);
        self.disk.create_dir(folder)?;
        whole_file::write_with(&self.disk, folder, name, len, |file| fill(file, name, len, from)).map(drop)
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<usize, ObjectError> {
        Ok(self.open(name)?.read_at(at, into)?)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, ObjectError> {
        let names = match self.disk.list(folder) {
            Err(DiskError::NotFound { .. }) => return Ok(Vec::new()),
            names => names?,
        };
        let mut found = Vec::new();
        for name in names.iter().filter(|name| !name.ends_with(".tmp")) {
            let name = format!("{folder}/{name}");
            let len = self.open(&name)?.len()?;
            found.push(Object { name, len });
        }
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), ObjectError> {
        match self.disk.remove(name) {
            Ok(()) | Err(DiskError::NotFound { .. }) => Ok(self.disk.sync_dir(folder_of(name))?),
            Err(error) => Err(error.into()),
        }
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn fill(file: &impl DiskFile, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError> {
    let mut piece = vec![0; PIECE_BYTES.min(len as usize)];
    let mut at = 0;
    while at < len {
        let some = piece.len().min((len - at) as usize);
        from.read_exact(&mut piece[..some]).map_err(|error| ObjectError::failed(name, error))?;
        file.write_at(at, &[&piece[..some]])?;
        at += some as u64;
    }
    Ok(())
}
