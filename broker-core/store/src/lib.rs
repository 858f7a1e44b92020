//! The log, its queue index, recovery and snapshots over the trait Disk.
