//! Copying a store while it is used, and making a store of a copy, see [`halley_store::backup`].

use crate::{clock, takeover};
use halley_model::Millis;
use halley_store::{
    backup,
    disk::{DiskError, RealDisk},
    objects::DirObjects,
};
pub use halley_store::{
    backup::{Backup, BackupError, Manifest, ManifestError, RestoreError, Restored, Tidied, manifests},
    objects::Objects,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is no store's directory.
    #[error("{path} holds no store: a store has a folder `log` with segments", path = .0.display())]
    NoStore(PathBuf),
    /// The store began as RocketMQ's.
    #[error(
        "{path} is a directory of RocketMQ's that Halley took over: its older messages are in RocketMQ's files, which are not \
         copied; stop the server and copy the whole directory",
        path = .0.display()
    )]
    RocketMqs(PathBuf),
    /// It does not exist.
    #[error("{path} does not exist", path = .0.display())]
    Nowhere(PathBuf),
    /// A store is restored into a new directory.
    #[error("{path} is not empty: it holds {found}; a store is restored into a new or empty directory", path = .path.display())]
    NotEmpty {
        /// the directory
        path: PathBuf,
        /// something in it
        found: String,
    },
    /// It cannot be read.
    #[error("{path}: {reason}", path = .path.display())]
    Unreadable {
        /// the directory
        path: PathBuf,
        /// what the system said
        reason: io::Error,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A store's directory, a server may have it open.
pub fn source(data: &Path) -> Result<RealDisk, PlaceError> {
    if data.join(takeover::OWN_DIR).join("log").is_dir() {
        return Err(PlaceError::RocketMqs(data.to_owned()));
    }
    match data.join("log").is_dir() {
        true => Ok(RealDisk::new(data)?),
        false => Err(PlaceError::NoStore(data.to_owned())),
    }
}

/// A directory for a store that is to be restored: new, or empty.
pub fn target(data: &Path) -> Result<RealDisk, PlaceError> {
    let unreadable = |reason| PlaceError::Unreadable { path: data.to_owned(), reason };
    let names = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RealDisk::new(data)?),
        names => names.map_err(unreadable)?,
    };
    for entry in names {
        let name = entry.map_err(unreadable)?.file_name();
        // A new file system has it.
        if name != "lost+found" {
            let found = name.to_string_lossy().into_owned();
            return Err(PlaceError::NotEmpty { path: data.to_owned(), found });
        }
    }
    Ok(RealDisk::new(data)?)
}

/// A directory to keep backups in; made where it does not exist. One at a time writes there.
pub fn directory(path: &Path) -> Result<DirObjects<RealDisk>, PlaceError> {
    Ok(DirObjects::to_write(RealDisk::new(path)?, &backup::FOLDERS)?)
}

/// A directory with backups, to read.
pub fn directory_to_read(path: &Path) -> Result<DirObjects<RealDisk>, PlaceError> {
    match path.is_dir() {
        true => Ok(DirObjects::to_read(RealDisk::new(path)?)),
        false => Err(PlaceError::Nowhere(path.to_owned())),
    }
}

/// See [`backup::backup`]. Blocks.
pub fn backup(
    from: &RealDisk,
    to: &dyn Objects,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backup, BackupError> {
    backup::backup(from, to, &clock::now, progress)
}

/// See [`backup::tidy`]; `keep` is how many milliseconds before now are the oldest moments that can be restored, `None` for any. Blocks.
pub fn tidy(to: &dyn Objects, keep: Option<u64>) -> Result<Tidied, ManifestError> {
    let oldest = keep.map(|keep| clock::now().saturating_sub_unsigned(keep));
    backup::tidy(to, oldest)
}

/// See [`backup::restore`]. Blocks.
pub fn restore(
    from: &dyn Objects,
    to: &RealDisk,
    at: Option<Millis>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, RestoreError> {
    backup::restore(from, to, at, progress)
}
