//! Looking at the files of a store, see [`halley_store::inspect`].

use crate::takeover;
use halley_model::LogOffset;
pub use halley_store::inspect::{Cache, Finding, Inspection, SegmentReport, SnapshotReport, Weight};
use halley_store::{
    disk::{DiskError, RealDisk},
    inspect,
};
use std::path::{Path, PathBuf};

/// Why nothing could be seen.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is no store's directory.
    #[error("{path} holds no store: a store has a folder `log` with segments", path = .0.display())]
    NoStore(PathBuf),
    /// A file cannot be read.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// What the files of the store in this directory hold; `progress` hears how many bytes of the log were read, of how many.
/// Of a store that began as RocketMQ's only Halley's own files are looked at. Blocks on the disk.
pub fn store(data: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Inspection, InspectError> {
    inspect::inspect(&disk_of(data)?, progress).map_err(|error| named(data, error))
}

/// The bytes of the record at an address of the log; `None` where no readable one lies there. Blocks on the disk.
pub fn record(data: &Path, at: LogOffset) -> Result<Option<Vec<u8>>, InspectError> {
    inspect::record_at(&disk_of(data)?, at).map_err(|error| named(data, error))
}

fn disk_of(data: &Path) -> Result<RealDisk, InspectError> {
    let beside_rocketmqs = data.join(takeover::OWN_DIR);
    let root = [data.to_owned(), beside_rocketmqs].into_iter().find(|root| root.join("log").is_dir());
    Ok(RealDisk::new(root.ok_or_else(|| InspectError::NoStore(data.to_owned()))?)?)
}

fn named(data: &Path, error: DiskError) -> InspectError {
    match error {
        DiskError::NotFound { .. } => InspectError::NoStore(data.to_owned()),
        error => error.into(),
    }
}
