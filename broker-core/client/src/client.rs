//! A peer by its address, connected to when needed.

use crate::{Connection, Error, Options, Reply};
use halley_wire::encode::ExtField;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// A peer. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Client {
    peer: Arc<str>,
    options: Arc<Options>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    failed: Option<Failed>,
}

/// The last attempt to connect failed.
#[derive(Debug)]
struct Failed {
    error: Error,
    wait: Duration,
    again: Instant,
}

impl Client {
    /// A client of `peer`, a `host:port`; nothing is connected yet.
    pub fn new(peer: &str, options: Options) -> Self {
        Self { peer: peer.into(), options: Arc::new(options), state: Arc::default() }
    }

    /// The peer's address.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The connection that stands, or a new one. While the backoff after a failure runs, the failure is told again at once.
    pub async fn connection(&self) -> Result<Connection, Error> {
        // Held while connecting: whoever comes meanwhile gets the same connection.
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some(failed) = state.failed.as_ref().filter(|failed| Instant::now() < failed.again) {
            return Err(failed.error.clone());
        }
        match Connection::open(&self.peer, &self.options).await {
            Ok(connection) => {
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let longer = |failed: &Failed| (failed.wait * 2).min(self.options.backoff_max);
                let wait = state.failed.as_ref().map_or(self.options.backoff_min, longer);
                state.failed = Some(Failed { error: error.clone(), wait, again: Instant::now() + wait });
                Err(error)
            }
        }
    }

    /// Waits out the backoff, if one runs.
    pub async fn wait_backoff(&self) {
        let again = self.state.lock().await.failed.as_ref().map(|failed| failed.again);
        if let Some(again) = again {
            tokio::time::sleep_until(again).await;
        }
    }

    #[cfg(test)]
    pub(crate) async fn backoff(&self) -> Option<Duration> {
        self.state.lock().await.failed.as_ref().map(|failed| failed.wait)
    }

    /// Connects if need be, asks, and waits at most `limit` for the reply, whatever its code.
    pub async fn request(
        &self,
        code: impl Into<i32>,
        fields: &[ExtField<'_>],
        body: &[u8],
        limit: Duration,
    ) -> Result<Reply, Error> {
        self.connection().await?.request(code, fields, body, limit).await
    }

    /// Connects if need be, and sends what wants no reply.
    pub async fn oneway(
        &self,
        code: impl Into<i32>,
        fields: &[ExtField<'_>],
        body: &[u8],
    ) -> Result<(), Error> {
        self.connection().await?.oneway(code, fields, body).await
    }
}
