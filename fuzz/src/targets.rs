//! The targets, a file for each crate whose decoders they exercise.

pub mod delivery;
pub mod event;
pub mod filter;
pub mod machine;
pub mod model;
pub mod rules;
pub mod store;
pub mod takeover;
pub mod wire;
