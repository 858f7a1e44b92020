//! YAML configuration compiled into routing plans.
