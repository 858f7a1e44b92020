//! CloudEvents over HTTP into the log.
//!
//! `POST /{bus}` and `POST /` take events in binary, structured and batched mode; the answer is 202 once they are
//! stored as the store's policy asks, and then they are in the bus's topic and in that of every matching route, all or
//! none. Every other answer says what was wrong, and means that nothing was stored (but for a 503 of a stopped store,
//! which cannot know).
//!
//! It sits on hyper directly: a request is two system calls and little else, see `docs/adr`.

#![allow(clippy::disallowed_methods, reason = "this is a shell: it has sockets and a clock")]

mod answer;
mod metrics;
mod queue;
mod server;
mod service;

pub use metrics::IngressMetrics;
pub use server::serve;

use std::time::Duration;

/// The ingress's bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest body of a request, in bytes.
    pub body_bytes: usize,
    /// Bytes of all bodies that may be in work at once; more is answered 429.
    pub inflight_bytes: usize,
    /// Most connections; more are closed at once.
    pub connections: usize,
    /// A client has this long to send a request's head; also how long an idle connection is kept.
    pub head_time: Duration,
    /// A client has this long to send a request's body.
    pub body_time: Duration,
    /// When the server stops, running requests have this long.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 * 1024 * 1024,
            inflight_bytes: 256 * 1024 * 1024,
            connections: 16_384,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            drain_time: Duration::from_millis(1500),
        }
    }
}
