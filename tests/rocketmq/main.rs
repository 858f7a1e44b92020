//! Everything that RocketMQ's clients, tools, brokers and name servers do with a real server. The tests mostly wait, so they are
//! one program, in which several run at a time (`RUST_TEST_THREADS` in `.cargo/config.toml`).

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start processes and read files")]

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod clients;
mod compaction;
mod consumption;
mod differential;
mod kinds_of_topics;
mod light;
mod message_kinds;
mod name_server;
mod pop;
mod query;
mod static_topics;
mod tls;
// Tests begin in the order of their names, and these take longest.
#[path = "takeover.rs"]
mod a_takeover;
