//! Accepting connections of a listener, each served by a task of its own.

use crate::{
    acks::Acks,
    connection::{self, CloseReason, IDLE_MAX, STALL_MAX, Service, SessionInfo},
    metrics::BrokerMetrics,
    outbox::Outbox,
    tls::{HANDSHAKE, Tls, TlsMode, TlsStream},
};
use halley_machine::ConnectionId;
use std::{
    io::{self, ErrorKind},
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
    time::timeout,
};

/// Most connections of one listener; more are closed at once.
const CONNECTIONS_MAX: usize = 16_384;

/// Ids are unique over all listeners of the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Accepts until `shutdown` turns true, then waits for the connections to end.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    tls: Tls,
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
        let (service, acks, metrics) = (service.clone(), acks.clone(), metrics.clone());
        let (tls, shutdown) = (tls.clone(), shutdown.clone());
        connections.spawn(async move {
            let _permit = permit;
            if let Err(reason) = run(stream, &tls, info, &*service, &acks, shutdown).await {
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
    tls: &Tls,
    info: SessionInfo,
    service: &S,
    acks: &Acks,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), CloseReason> {
    stream.set_nodelay(true)?;
    let first = tokio::select! {
        first = first_byte(&stream) => first,
        _ = shutdown.changed() => return Ok(()),
    };
    let result = match (first, tls.mode()) {
        // Gone without a word, as what only looks whether the port is open.
        (Ok(None), _) => Ok(()),
        (Err(reason), _) => Err(reason),
        (Ok(Some(HANDSHAKE)), TlsMode::Disabled) => Err(CloseReason::Refused("TLS, which is disabled")),
        (Ok(Some(HANDSHAKE)), TlsMode::Permissive | TlsMode::Enforcing) => {
            match shake_hands(stream, tls).await {
                Ok(stream) => connection::serve(stream, info, service, acks, shutdown).await,
                Err(reason) => Err(reason),
            }
        }
        (Ok(Some(_)), TlsMode::Enforcing) => {
            Err(CloseReason::Refused("a plain connection where TLS is enforced"))
        }
        (Ok(Some(_)), TlsMode::Disabled | TlsMode::Permissive) => {
            connection::serve(stream, info, service, acks, shutdown).await
        }
    };
    match result {
        // Clients close like this; it is no fault.
        Err(CloseReason::Io(error))
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Waits for the first byte, which stays to be read; `None` when the client closed before it.
async fn first_byte(stream: &TcpStream) -> Result<Option<u8>, CloseReason> {
    let mut first = [0];
    match timeout(IDLE_MAX, stream.peek(&mut first)).await {
        Ok(read) => Ok((read? > 0).then_some(first[0])),
        Err(_) => Err(CloseReason::Stalled("nothing was sent for 120 s")),
    }
}

async fn shake_hands(stream: TcpStream, tls: &Tls) -> Result<TlsStream, CloseReason> {
    let settings = tls.settings().ok_or(CloseReason::Refused("TLS without a certificate"))?;
    match timeout(STALL_MAX, TlsStream::accept(stream, settings)).await {
        Ok(accepted) => accepted.map_err(|error| CloseReason::Io(named(error))),
        Err(_) => Err(CloseReason::Stalled("the TLS handshake was not done within 30 s")),
    }
}

fn named(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("TLS handshake: {error}"))
}
