//! Bugs planted on purpose. A simulator that does not find them finds nothing.

/// One planted bug. They act only with the feature `canaries`, see [`crate::Options`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// Acknowledges what was written but not yet synced; the sync follows with the next batch. Found under
    /// [`crate::Durability::Sync`] with a power cut.
    AckBeforeSync,
    /// Takes a failed sync for a successful one.
    SyncErrorIgnored,
    /// Tries a failed sync again, and believes it when it then succeeds.
    SyncRetried,
    /// Recovery believes a frame whose crc is wrong.
    TailCrcSkipped,
    /// Frames are not chained, their epochs not compared, and a cut tail is left where it lies: the three walls
    /// against a tail of an earlier life.
    ChainSkipped,
    /// Recovery continues queues where the last segment began, so that offsets are given twice.
    OffsetReused,
    /// Readers see records before they are written.
    IndexAheadOfLog,
    /// A new segment's name is not made durable before it is used.
    RenameUnsynced,
    /// Recovery takes records into their own queues alone, and not into the light ones.
    LightQueuesForgotten,
    /// Old segments are removed before it is durable where the log begins.
    RemovedBeforeMark,
    /// Recovery keeps snapshots that know more than the log does.
    SnapshotAheadOfLog,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeSync,
        Self::SyncErrorIgnored,
        Self::SyncRetried,
        Self::TailCrcSkipped,
        Self::ChainSkipped,
        Self::OffsetReused,
        Self::IndexAheadOfLog,
        Self::RenameUnsynced,
        Self::LightQueuesForgotten,
        Self::RemovedBeforeMark,
        Self::SnapshotAheadOfLog,
    ];
}
