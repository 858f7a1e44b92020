//! The administrator's HTTP port: liveness, readiness, metrics.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use std::{future::Future, io, sync::Arc};
use tokio::net::TcpListener;

/// What the port tells of.
pub(crate) trait Status: Send + Sync + 'static {
    /// Why the process should be restarted, if it should.
    fn failed(&self) -> Option<String>;

    /// Why the process should get no work now, if it should not.
    fn unready(&self) -> Option<String>;

    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `shutdown` ends.
pub(crate) async fn serve<S: Status>(
    listener: TcpListener,
    status: Arc<S>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|State(status): State<Arc<S>>| async move { verdict(status.failed()) }))
        .route("/readyz", get(|State(status): State<Arc<S>>| async move { verdict(status.unready()) }))
        .route("/metrics", get(metrics::<S>))
        .with_state(status);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

fn verdict(problem: Option<String>) -> (StatusCode, String) {
    match problem {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

async fn metrics<S: Status>(State(status): State<Arc<S>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], status.metrics())
}
