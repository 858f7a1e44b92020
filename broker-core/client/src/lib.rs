//! A small asynchronous Remoting client: what Halley itself asks of brokers and name servers elsewhere.
//!
//! A [`Connection`] is one TCP connection: requests of many tasks share it, each waiting for the reply under its own number.
//! A [`Client`] is a peer by its address: it connects when something is asked, and again after a loss, not faster than its
//! backoff allows. Nothing is sent a second time: whoever asked knows whether that is safe.

#![allow(clippy::disallowed_methods, reason = "a shell: it has clocks and sockets")]

mod client;
mod connection;
mod pending;

pub use client::Client;
pub use connection::{Connection, Reply};

use bytes::BytesMut;
use halley_wire::{Frame, ResponseCode, encode_reply, reply};
use std::{fmt, sync::Arc, time::Duration};

/// Requests of one connection that wait for their replies; more wait for their turn.
pub const IN_FLIGHT_MAX: usize = 1024;

/// Frames of one connection that wait to be written; more wait for their turn.
pub const UNWRITTEN_MAX: usize = 1024;

/// How a client behaves.
#[derive(Clone)]
pub struct Options {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// After a failed attempt to connect, the shortest wait for the next; doubled with each failure.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// What is done with the peer's own requests.
    pub handler: Handler,
}

/// Handles a request that the peer makes on our connection; appends the reply, if there is to be one. It is called by the
/// task that reads the connection, and must not block.
pub type Handler = Arc<dyn Fn(&Frame<'_>, &mut BytesMut) + Send + Sync>;

/// Why a request got no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection; nothing was sent.
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable {
        /// whom
        peer: Arc<str>,
        /// what happened
        reason: Arc<str>,
    },
    /// The connection was lost; whether the request was handled is unknown.
    #[error("the connection to {0} was lost")]
    Lost(Arc<str>),
    /// The reply did not come in time; whether the request was handled is unknown.
    #[error("{peer} did not answer within {limit:?}")]
    TimedOut {
        /// who
        peer: Arc<str>,
        /// how long it had
        limit: Duration,
    },
    /// The request is larger than any peer reads; nothing was sent.
    #[error("{0}")]
    Encode(#[from] halley_wire::EncodeError),
}

impl Default for Options {
    /// 3 s to connect, backoff from 100 ms to 10 s, requests of the peer refused.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            handler: Arc::new(refuse),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect, backoff_min, backoff_max, handler: _ } = self;
        f.debug_struct("Options")
            .field("connect", connect)
            .field("backoff_min", backoff_min)
            .field("backoff_max", backoff_max)
            .finish_non_exhaustive()
    }
}

/// Nobody here serves requests.
fn refuse(frame: &Frame<'_>, out: &mut BytesMut) {
    if !frame.is_oneway() {
        let remark = reply::not_supported(frame.code);
        let code = ResponseCode::RequestCodeNotSupported;
        encode_reply(out, frame.serialize, code, frame.opaque, Some(&remark), &[], b"");
    }
}

#[cfg(test)]
mod tests;
