//! CloudEvents over HTTP into the log.
