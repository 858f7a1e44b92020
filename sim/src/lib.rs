//! Deterministic simulation of store, queues and delivery under faults.
