//! Broker decisions as pure state machines: topics, groups, offsets, locks, routes.
