//! Accepting connections, and stopping in order.

use crate::{IngressMetrics, Limits, service::Ingress};
use halley_backend::Backend;
use halley_rules::Config;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

/// Serves events until `shutdown` turns true or its sender is gone, then ends the running requests.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: Arc<B>,
    config: Arc<Config>,
    limits: Limits,
    metrics: IngressMetrics,
    mut shutdown: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let drain_time = limits.drain_time;
    let ingress = Arc::new(Ingress { backend, config, limits, metrics, inflight: AtomicUsize::new(0) });
    let mut connections = JoinSet::new();
    while !*shutdown.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            changed = shutdown.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually too many open files: accepting again at once would only spin.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            ingress.metrics.turned_away.inc();
            continue;
        };
        // Without it small answers wait for the client's acknowledgement; a socket that cannot will soon fail anyway.
        let _ = stream.set_nodelay(true);
        let (ingress, shutdown) = (ingress.clone(), shutdown.clone());
        connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection(stream, ingress, shutdown).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    let ended = timeout(drain_time, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(open = connections.len(), "requests were left when the ingress stopped");
    }
}

/// Serves one client; tests are clients without a socket.
async fn connection<B: Backend>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ingress: Arc<Ingress<B>>,
    mut shutdown: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let head_time = ingress.limits.head_time;
    let service = service_fn(move |request| {
        let ingress = ingress.clone();
        async move { Ok::<_, Infallible>(ingress.handle(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        _ = shutdown.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

#[cfg(test)]
mod tests;
