//! Who this broker is.

use std::{net::SocketAddr, sync::Arc};

/// The broker's names and its address as clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The cluster it belongs to.
    pub(crate) cluster: Arc<str>,
    /// Its own name.
    pub(crate) name: Arc<str>,
    /// The address in routes and message ids.
    pub(crate) address: SocketAddr,
}
