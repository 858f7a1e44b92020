//! The log: every durable fact of a broker is a record in it, and everything else is a view of it.
//!
//! [`open`] recovers what a directory holds and gives handles, each for one kind of caller:
//!
//! - [`Log`] stages records in memory, from any thread, and knows how far they are stored;
//! - [`LogIo`] writes what was staged; one thread owns it and calls [`LogIo::run_once`];
//! - [`LogReader`] finds and reads records, from any thread, without disturbing the other two;
//! - [`KeyIndex`] finds records by their keys, and keeps its files in the background;
//! - [`Flusher`] brings written bytes to the medium in the background, where the policy does not wait for it;
//! - [`Scrubber`] reads old segments again, to find decay before somebody needs them;
//! - [`Retention`] removes the oldest segments;
//! - [`Snapshots`] keeps the bytes of views, so that opening need not read the whole log.
//!
//! [`backup`] copies a store, while it is used, to a place for [`objects`], and makes one of such a copy.
//!
//! Promises:
//! 1. What [`Log::acked`] covers is there after a crash: of the process under [`Durability::Os`], of the power under
//!    [`Durability::Sync`].
//! 2. A group of records is stored as a whole or not at all.
//! 3. Readers see a record only once it is acknowledged, and then until retention removes it.
//! 4. Queue offsets are contiguous and never given twice.
//! 5. After a failed write or sync nothing is acknowledged any more. No sync is ever tried again.
//! 6. A full disk refuses new records, keeps old ones readable, and is no reason to restart.
//!
//! How the bytes lie is written down in `docs/format/log.md`. Nothing here reads a clock, starts a thread or touches a
//! file but through [`disk::Disk`].

pub mod backup;
#[cfg(any(test, feature = "canaries"))]
pub mod crash_states;
pub mod disk;
pub mod inspect;
pub mod objects;
pub mod whole_file;

mod ahead;
mod begin;
mod canary;
mod flusher;
mod foreign;
mod frame;
mod hash;
mod index;
mod keys;
mod log;
mod options;
mod reader;
mod recovery;
mod retention;
mod scan;
mod scrub;
mod segment;
mod sequencer;
mod snapshot;
mod tail;
mod writer;

pub use canary::Canary;
pub use flusher::Flusher;
pub use foreign::{BLANK_MAGIC, Scanner as ForeignScanner, Stop as ForeignStop, is_queued};
pub use index::{Arrival, IndexEntry};
pub use keys::{KeyIndex, KeyKind, KeyMatches, KeyQuery};
pub use log::{Log, Poisoned, Staging};
pub use options::{Durability, Foreign, Options};
pub use reader::{Boundary, LogReader, ReadError};
pub use recovery::{Cut, OpenError, Opened, Recovery, open};
pub use retention::{Removable, RemoveError, Removed, Retention};
pub use scrub::{Lost, Scrubbed, Scrubber};
pub use sequencer::{Placed, StageError};
pub use snapshot::{Snapshot, SnapshotError, Snapshots};
pub use writer::{LogIo, Progress};

#[cfg(test)]
mod tests;
