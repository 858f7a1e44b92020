//! HTTP targets for CloudEvents.
