//! Broker decisions as pure state machines: topics, groups, offsets, locks, routes.
//!
//! A machine is given the time and one input, and returns effects for the shell to carry out; it reads no clock,
//! socket, file or random source. What must survive a restart leaves as a [`state::StateRecord`] for the log, and
//! comes back by folding those records.

pub mod assignment;
pub mod attributes;
pub mod compaction;
pub mod counters;
pub mod delay;
pub mod group_configs;
pub mod groups;
pub mod kv_configs;
pub mod lite;
pub mod locks;
pub mod namesrv_settings;
pub mod offsets;
pub mod pace;
pub mod pop;
pub mod pull;
pub mod queue_begins;
pub mod queue_mappings;
pub mod request_modes;
pub mod retention;
pub mod retries;
pub mod routes;
pub mod scrub;
pub mod state;
pub mod taken_over;
pub mod timers;
pub mod topics;
pub mod transactions;

/// A client's connection, unique while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);
