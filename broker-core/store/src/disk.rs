//! The only way to files: a narrow blocking interface, so that a simulated disk can lose, tear and refuse.
//!
//! Paths are relative to the store's directory and use `/`. What a call changed is *readable* at once and *durable*
//! only after the matching sync: contents and length after [`DiskFile::sync_data`] or [`DiskFile::sync_all`], names
//! after [`Disk::sync_dir`]. A failed sync says nothing about what became durable, and a later successful one
//! does not repair it (the kernel reports a lost page once); whoever sees one must stop trusting the file.

mod real;
mod sim;

pub use real::{RealDisk, RealFile, RealLock};
#[cfg(any(test, feature = "canaries"))]
pub(crate) use sim::Random;
pub use sim::{Crash, SimDisk, SimFile, SimLock};

use std::{ops::Range, sync::Arc};

/// A directory with files.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// A held lock; dropping it lets go.
    type Lock: Send + Sync + 'static;

    /// Makes sure that a directory exists, durably.
    fn create_dir(&self, dir: &str) -> Result<(), DiskError>;
    /// Opens a new file for reading and writing; one that exists is emptied.
    fn create(&self, path: &str) -> Result<Self::File, DiskError>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &str) -> Result<Self::File, DiskError>;
    /// Opens a file that exists, which is not changed.
    fn open_to_read(&self, path: &str) -> Result<Self::File, DiskError>;
    /// The names of the files in a directory, sorted.
    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError>;
    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), DiskError>;
    /// Gives a file another name in the same directory, replacing what has it.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError>;
    /// Locks a file against other processes and other openings; [`DiskError::Locked`] where it is held.
    fn lock(&self, path: &str) -> Result<Self::Lock, DiskError>;
}

/// A file. All calls may be made from several threads at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Writes the parts one after another from `offset` on: all of them, or an error after which any of the bytes
    /// may have been written.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError>;
    /// Reads from `offset`; fewer bytes than asked for only where the file ends.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError>;
    /// Like [`DiskFile::read_at`], of bytes that nobody is expected to want again soon: where the system can, they do not stay
    /// in its cache on account of this call.
    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.read_at(offset, into)
    }
    /// Makes contents durable, and the length where contents need it.
    fn sync_data(&self) -> Result<(), DiskError>;
    /// Makes contents, length and reservation durable.
    fn sync_all(&self) -> Result<(), DiskError>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> Result<(), DiskError>;
    /// Reserves space so that the file has at least `len` bytes, new ones zero, and writing them cannot meet a full
    /// disk. [`DiskError::Full`] where there is no room; the file may then be longer, but can still be used.
    fn preallocate(&self, len: u64) -> Result<(), DiskError>;
    /// Bytes of the file.
    fn len(&self) -> Result<u64, DiskError>;
    /// The stretches from `from` on that may have been written, in order. What is not in them was only reserved, and is zero.
    fn written(&self, from: u64) -> Result<Vec<Range<u64>>, DiskError> {
        let all = from..self.len()?;
        Ok(Some(all).filter(|all| !all.is_empty()).into_iter().collect())
    }
    /// Whether it has no bytes.
    fn is_empty(&self) -> Result<bool, DiskError> {
        self.len().map(|len| len == 0)
    }
}

impl<F: DiskFile> DiskFile for Arc<F> {
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        F::write_at(self, offset, parts)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        F::read_at(self, offset, into)
    }

    fn read_once_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        F::read_once_at(self, offset, into)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        F::sync_data(self)
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        F::sync_all(self)
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        F::truncate(self, len)
    }

    fn preallocate(&self, len: u64) -> Result<(), DiskError> {
        F::preallocate(self, len)
    }

    fn len(&self) -> Result<u64, DiskError> {
        F::len(self)
    }

    fn written(&self, from: u64) -> Result<Vec<Range<u64>>, DiskError> {
        F::written(self, from)
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No room.
    #[error("no room on the disk for {path}")]
    Full {
        /// the file
        path: String,
    },
    /// No such file.
    #[error("{path} does not exist")]
    NotFound {
        /// the file
        path: String,
    },
    /// Somebody else holds the lock.
    #[error("{path} is locked: another process has this store open")]
    Locked {
        /// the lock file
        path: String,
    },
    /// Anything else.
    #[error("{operation} of {path} failed: {reason}")]
    Failed {
        /// what was tried
        operation: &'static str,
        /// the file or directory
        path: String,
        /// what the system said
        reason: String,
    },
}

/// Reads exactly `into.len()` bytes; `false` where the file ends before.
pub(crate) fn read_full(file: &impl DiskFile, offset: u64, into: &mut [u8]) -> Result<bool, DiskError> {
    Ok(file.read_at(offset, into)? == into.len())
}

#[cfg(test)]
mod conformance;
