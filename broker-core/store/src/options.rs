//! What the owner of a store may choose.

use crate::{canary::Canary, frame, segment};
use std::net::SocketAddr;

/// When a record counts as stored; the weaker first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// After it was handed to the operating system: outlives the process, not a power cut.
    Os,
    /// After it was synced to the disk: outlives a power cut.
    Sync,
}

/// A commit log of RocketMQ's, whose records come before those of the store. It is read, and never written.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The directory of its files, relative to the store's.
    pub dir: String,
    /// Called now and then while its files are read for the first time, with how many bytes of how many are done.
    pub progress: fn(u64, u64),
    /// Longest stretch of it that is indexed as one segment, in bytes; a record at least.
    pub stretch_bytes: u64,
}

impl Foreign {
    /// The log in `dir`, in stretches of 128 MiB.
    pub fn new(dir: impl Into<String>, progress: fn(u64, u64)) -> Self {
        Self { dir: dir.into(), progress, stretch_bytes: 128 << 20 }
    }
}

/// A store's settings. See [`Options::new`] for the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a record counts as stored whose producer does not ask for something else, see [`crate::Staging::ask`].
    pub durability: Durability,
    /// The broker's address, written into each record as its store host.
    pub store_host: SocketAddr,
    /// Largest size of a segment file in bytes, [`Options::SEGMENT_BYTES_MIN`] to 4 GiB − 1.
    pub segment_bytes: u64,
    /// Most bytes of records that may wait to be written; more is refused. While they are being written, as many again
    /// may be staged. At least as many as fit one frame, so that every group can be staged some time.
    pub staged_bytes_max: usize,
    /// Bytes of the newest records kept in memory for readers.
    pub tail_bytes: usize,
    /// A commit log of RocketMQ's that this log goes on from.
    pub foreign: Option<Foreign>,
    /// The planted bug to run with, to prove that it is found.
    #[cfg(feature = "canaries")]
    pub canary: Option<Canary>,
}

impl Options {
    /// Smallest allowed segment, in bytes.
    pub const SEGMENT_BYTES_MIN: u64 = 1024;

    /// Segments of 128 MiB, 64 MiB staged at most, 32 MiB of tail in memory: a tenth of a second at full rate, which is
    /// more than a consumer that keeps up is ever behind.
    pub fn new(durability: Durability, store_host: SocketAddr) -> Self {
        Self {
            durability,
            store_host,
            segment_bytes: 128 << 20,
            staged_bytes_max: 64 << 20,
            tail_bytes: 32 << 20,
            foreign: None,
            #[cfg(feature = "canaries")]
            canary: None,
        }
    }

    /// Longest frame that these segments can hold, in bytes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        let room = self.segment_bytes - segment::START_BYTES as u64;
        usize::try_from(room).map_or(frame::BYTES_MAX, |room| room.min(frame::BYTES_MAX))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.segment_bytes < Self::SEGMENT_BYTES_MIN || self.segment_bytes > u64::from(u32::MAX) {
            return Err(format!(
                "segment_bytes is {}, it must be {} to {}",
                self.segment_bytes,
                Self::SEGMENT_BYTES_MIN,
                u32::MAX
            ));
        }
        if self.staged_bytes_max < self.frame_bytes_max() {
            return Err(format!(
                "staged_bytes_max is {}, it must be at least {}, the longest frame",
                self.staged_bytes_max,
                self.frame_bytes_max()
            ));
        }
        Ok(())
    }

    /// Whether this bug is planted; always `false` without the feature `canaries`.
    pub(crate) fn planted(&self, canary: Canary) -> bool {
        #[cfg(feature = "canaries")]
        return self.canary == Some(canary);
        #[cfg(not(feature = "canaries"))]
        return {
            let _ = canary;
            false
        };
    }
}
