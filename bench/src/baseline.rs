//! The least an HTTP server can do: the same axum, reading the body and answering 202 without doing anything.

use crate::Error;
use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use clap::Args;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Where to serve.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The address
    #[arg(long, default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
}

/// Serves until the process ends.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| Error::of("listen", error))?;
    let accept = |body: Bytes| async move {
        drop(body);
        StatusCode::ACCEPTED
    };
    let router = Router::new().route("/", post(accept)).route("/{bus}", post(accept));
    axum::serve(listener, router).await.map_err(|error| Error::of("serve", error))
}
