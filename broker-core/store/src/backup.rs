//! Copies of a store in a place for objects, made while a server writes it, and made into a store again: as of the last copy, or
//! as of a moment before. The reasons are in `docs/adr/0017-backup-beside-the-server.md`.
//!
//! ```text
//! log/<20-digit base>-<length>-<8 hex digits>.seg    the first bytes of a segment, up to the end of a frame with this crc
//! backup/<20-digit ms since 1970>.manifest           what belongs together, see [`Manifest`]
//! ```
//!
//! A segment is append-only and each frame's crc goes on from the one before, so base, length and crc of the last frame tell one
//! such stretch of bytes from all others: the object of that name never has to be copied again. What recovery would keep
//! after a `kill -9` is a consistent store; a copy holds exactly that. The manifest comes last, after a listing that shows
//! every object it names.

mod copy;
mod manifest;
mod restore;
mod tidy;

pub use copy::{Backup, BackupError, backup};
pub use manifest::{Manifest, ManifestError, Stretch};
pub use restore::{RestoreError, Restored, restore};
pub use tidy::{Tidied, tidy};

use crate::objects::{self, Object, ObjectError, Objects};

/// Where stretches of the log lie.
const LOG: &str = "log";
/// Where manifests lie.
const MANIFESTS: &str = "backup";
/// All folders of a backup.
pub const FOLDERS: [&str; 2] = [LOG, MANIFESTS];
/// Longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// All manifests of a place, oldest first. One that is damaged is an error that names it.
pub fn manifests(objects: &dyn Objects) -> Result<Vec<Manifest>, ManifestError> {
    listed(objects)?.iter().map(|object| read(objects, object)).collect()
}

fn listed(objects: &dyn Objects) -> Result<Vec<Object>, ObjectError> {
    let mut all = objects.list(MANIFESTS)?;
    all.retain(|object| object.name.ends_with(manifest::SUFFIX));
    Ok(all)
}

fn read(objects: &dyn Objects, object: &Object) -> Result<Manifest, ManifestError> {
    let damaged = |reason: String| ManifestError::Damaged { name: object.name.clone(), reason };
    let bytes = objects::read_whole(objects, object, MANIFEST_BYTES_MAX)?;
    let found = Manifest::decode(&bytes).map_err(damaged)?;
    match found.name() == object.name {
        true => Ok(found),
        false => Err(damaged("it has the name of another".to_owned())),
    }
}

#[cfg(test)]
mod tests;
