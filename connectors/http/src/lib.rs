//! HTTP targets for CloudEvents, in binary and structured mode (CloudEvents HTTP Protocol Binding 1.0.2).

#![allow(
    clippy::disallowed_methods,
    reason = "this is a shell: Retry-After dates are held against the clock"
)]

mod config;
mod request;
mod retry;
mod service;
mod sink;

pub use config::{Config, ConfigError, Mode, RetryOn};
pub use service::Client;
pub use sink::HttpSink;
