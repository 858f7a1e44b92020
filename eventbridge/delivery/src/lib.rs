//! Delivery decisions per target: window, order, backoff, dead letter.
//!
//! One [`Machine`] belongs to one target. It is fed what was read from the log and how attempts ended, and answers
//! with what to do next: fetch, deliver, dead-letter, persist. It reads no clock and does no I/O; the only chance in it
//! is the jitter of retries, drawn from a generator with a given seed.
//!
//! Promises, each checked by a property test:
//! - every matching event ends delivered or dead-lettered, also over restarts from any persisted cursor;
//! - events of one order key are tried one at a time, in log order, and a retry holds back only its own key;
//! - at most `inflight_max` attempts run at once, a waiting retry is none of them;
//! - what is remembered is bounded per stream; past the bound nothing more is fetched;
//! - an event that ended before the cursor was persisted is not delivered again.

mod canary;
mod cursor;
mod machine;
mod policy;
mod random;
mod stream;

#[cfg(feature = "canaries")]
pub use canary::Canary;
pub use cursor::{Cursor, CursorError, ERROR_BYTES_MAX, GiveUp, METADATA_BYTES_MAX, OpenEvent};
pub use machine::{Checkpoint, Effect, Fetched, Input, Limits, Machine, StreamId, Verdict};
pub use policy::{Backoff, Growth, Jitter, Policy};
pub use stream::Backlog;
