//! Delivery decisions per target: window, order, backoff, dead letter.
