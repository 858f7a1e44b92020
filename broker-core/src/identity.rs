//! Who this broker is.

use std::{net::SocketAddr, sync::Arc};

/// The broker's names and its address as clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The cluster it belongs to.
    pub(crate) cluster: Arc<str>,
    /// Its own name.
    pub(crate) name: Arc<str>,
    /// Its id among those of its name; 0 is the master.
    pub(crate) id: u64,
    /// The address in routes and message ids.
    pub(crate) address: SocketAddr,
}
