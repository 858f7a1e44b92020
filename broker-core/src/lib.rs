//! The tokio shell of the broker and name server: listeners, dispatch, the log's thread.
//!
//! A connection is one task: it reads what there is, has every complete frame handled in place, stages all sends
//! under one lock, and writes all replies at once ([`connection`]). One thread owns the end of the log
//! ([`log_thread`]). Decisions are the machines' (`halley-machine`), bytes are `halley-wire`'s and the log is
//! `halley-store`'s; here they meet clocks, sockets and threads.

#![allow(clippy::disallowed_methods, reason = "this is the shell: it has clocks, threads and sockets")]

mod acks;
mod announcer;
mod answers;
mod appends;
mod arrivals;
mod ask_client;
mod backend;
pub mod backup;
mod broker;
mod catalog;
mod changes;
mod clock;
mod cold;
mod compactions;
mod connection;
mod delayed;
pub mod export;
mod follow;
mod held;
mod housekeeping;
mod identity;
pub mod inspect;
mod kept;
mod light;
mod lite;
mod log_thread;
mod lookup;
mod members;
mod metrics;
mod name_server;
mod names;
mod opening;
mod outbox;
mod peers;
mod pop;
mod progress;
mod queues;
mod registrar;
mod remoting;
mod request_modes;
mod requests;
mod retention;
mod scrubber;
mod server;
mod settings;
mod state_writer;
mod stats;
mod takeover;
mod tls;
mod transactions;
mod transport;
mod writer;

pub use backend::TopicPolicy;
pub use broker::{Broker, Options, StartError};
pub use halley_machine::{
    retention::{Policy as RetentionPolicy, Watermarks},
    scrub::Policy as ScrubPolicy,
};
pub use halley_store::{Durability, Recovery};
pub use kept::KeptError;
pub use name_server::NameServer;
pub use takeover::TakeoverError;
pub use tls::{Tls, TlsError, TlsFiles, TlsMode};
