//! Places that keep whole objects under names: a directory, a bucket. An object is there as a whole or not at all, is never
//! changed, only replaced or removed, and is durable once it was put.
//!
//! All calls block: who asks is a command, or a thread that may block on the disk as well
//! ([decision 0017](../../../docs/adr/0017-backup-beside-the-server.md)).

mod dir;
mod memory;

pub use dir::DirObjects;
pub use memory::MemoryObjects;

use crate::disk::DiskError;
use std::io::Read;

/// A place for objects. Names are `folder/name`, of ASCII letters, digits, `-` and `.`; none ends with `.tmp`.
pub trait Objects: Send + Sync {
    /// Puts an object of the `len` bytes that `from` gives, replacing the one of this name. After an error the older one is still
    /// there, or none.
    fn put(&self, name: &str, len: u64, from: &mut dyn Read) -> Result<(), ObjectError>;

    /// Reads from `at`, which lies before the object's end; fewer bytes than asked for only where it ends.
    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<usize, ObjectError>;

    /// All objects of a folder, sorted by name; none where there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<Object>, ObjectError>;

    /// Removes an object; one that is not there is no error.
    fn remove(&self, name: &str) -> Result<(), ObjectError>;
}

/// An object as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its whole name, the folder included.
    pub name: String,
    /// Its bytes.
    pub len: u64,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// No such object.
    #[error("there is no object {name}")]
    NotFound {
        /// its name
        name: String,
    },
    /// The directory refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Anything else.
    #[error("{name}: {reason}")]
    Failed {
        /// the object
        name: String,
        /// what was said
        reason: String,
    },
}

impl ObjectError {
    /// An error that concerns this object.
    pub fn failed(name: &str, reason: impl ToString) -> Self {
        Self::Failed { name: name.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a whole object of at most `bytes_max` bytes; its length is known from [`Objects::list`].
pub(crate) fn read_whole(
    objects: &dyn Objects,
    object: &Object,
    bytes_max: u64,
) -> Result<Vec<u8>, ObjectError> {
    if object.len > bytes_max {
        let reason = format!("it has {} bytes, at most {bytes_max} are read", object.len);
        return Err(ObjectError::failed(&object.name, reason));
    }
    let mut bytes = vec![0; object.len as usize];
    if !bytes.is_empty() && objects.read(&object.name, 0, &mut bytes)? < bytes.len() {
        return Err(ObjectError::failed(&object.name, "it is shorter than its listed length"));
    }
    Ok(bytes)
}

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
