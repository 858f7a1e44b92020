//! What a sink is: an attempt to deliver one record, and its verdict.
//!
//! Whether a failed attempt may be repeated is the sink's verdict, since only it understands the answer; when it is
//! repeated is the shared policy of `halley-delivery`.

use bytes::Bytes;
use std::{future::Future, sync::Arc, time::Duration};

/// One attempt to deliver a record.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The whole stored record.
    pub record: Bytes,
    /// The cluster that stored it, part of a message's source as an event.
    pub cluster: Arc<str>,
    /// Which attempt this is, from 1.
    pub number: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The target has it.
    Delivered,
    /// It may work later.
    Retry {
        /// what went wrong, for people
        reason: String,
        /// when the target wants to be asked again
        retry_after: Option<Duration>,
    },
    /// It will never work.
    Reject {
        /// what went wrong, for people
        reason: String,
    },
}

/// Where records are delivered.
pub trait Sink: Send + Sync + 'static {
    /// Makes one attempt. It ends within the sink's own timeout; dropping it abandons the attempt.
    fn deliver(&self, attempt: Attempt) -> impl Future<Output = Verdict> + Send;
}
