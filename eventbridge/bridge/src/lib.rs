//! From the log through rules to targets.
