//! Accepting connections of a listener, each served by a task of its own.

use crate::{
    acks::Acks,
    connection::{self, CloseReason, Service, SessionInfo},
    metrics::BrokerMetrics,
    outbox::Outbox,
};
use halley_machine::ConnectionId;
use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Most connections of one listener; more are closed at once.
const CONNECTIONS_MAX: usize = 16_384;

/// Ids are unique over all listeners of the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Accepts until `shutdown` turns true, then waits for the connections to end.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    acks: Arc<Acks>,
    metrics: Arc<BrokerMetrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while !*shutdown.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = shutdown.changed() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually too many open files: accepting again at once would only spin.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            metrics.broken.inc();
            tracing::warn!(%peer, limit = CONNECTIONS_MAX, "too many connections, the newest is closed");
            continue;
        };
        let id = ConnectionId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let info = SessionInfo { id, peer, outbox: Arc::new(Outbox::default()) };
        let (service, acks, metrics, shutdown) =
            (service.clone(), acks.clone(), metrics.clone(), shutdown.clone());
        connections.spawn(async move {
            let _permit = permit;
            if let Err(reason) = run(stream, info, &*service, &acks, shutdown).await {
                metrics.broken.inc();
                tracing::info!(%peer, %reason, "connection closed");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn run<S: Service>(
    stream: TcpStream,
    info: SessionInfo,
    service: &S,
    acks: &Acks,
    shutdown: watch::Receiver<bool>,
) -> Result<(), CloseReason> {
    stream.set_nodelay(true)?;
    match connection::serve(stream, info, service, acks, shutdown).await {
        // Clients close like this; it is no fault.
        Err(CloseReason::Io(error))
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        result => result,
    }
}
