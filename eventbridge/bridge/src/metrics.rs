//! What the bridge counts, by rule and target.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

type Labels = Vec<(&'static str, String)>;

/// Upper bounds of latency buckets, in seconds.
const SECONDS: [f64; 12] = [5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The bridge's counters; clones count the same.
#[derive(Debug, Clone)]
pub(crate) struct BridgeMetrics {
    matched: Family<Labels, Counter>,
    delivered: Family<Labels, Counter>,
    retried: Family<Labels, Counter>,
    dead_lettered: Family<Labels, Counter>,
    gone: Family<Labels, Counter>,
    lag: Family<Labels, Gauge>,
    open: Family<Labels, Gauge>,
    full: Family<Labels, Gauge>,
    latency: Family<Labels, Histogram>,
}

impl Default for BridgeMetrics {
    fn default() -> Self {
        Self {
            matched: Family::default(),
            delivered: Family::default(),
            retried: Family::default(),
            dead_lettered: Family::default(),
            gone: Family::default(),
            lag: Family::default(),
            open: Family::default(),
            full: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

/// The counters of one rule.
#[derive(Debug, Clone)]
pub(crate) struct RuleMetrics {
    pub(crate) matched: Counter,
    pub(crate) delivered: Counter,
    pub(crate) retried: Counter,
    pub(crate) dead_lettered: Counter,
    /// Events whose record left the log before they were delivered.
    pub(crate) gone: Counter,
    /// Records of the rule's queues that are not finished.
    pub(crate) lag: Gauge,
    /// Matching events that are not finished.
    pub(crate) open: Gauge,
    /// Queues that are not read on, because too many of their events are not finished.
    pub(crate) full: Gauge,
    pub(crate) latency: Histogram,
}

impl BridgeMetrics {
    pub(crate) fn of(&self, rule: &str, target: &str) -> RuleMetrics {
        let labels = vec![("rule", rule.to_owned()), ("target", target.to_owned())];
        RuleMetrics {
            matched: self.matched.get_or_create(&labels).clone(),
            delivered: self.delivered.get_or_create(&labels).clone(),
            retried: self.retried.get_or_create(&labels).clone(),
            dead_lettered: self.dead_lettered.get_or_create(&labels).clone(),
            gone: self.gone.get_or_create(&labels).clone(),
            lag: self.lag.get_or_create(&labels).clone(),
            open: self.open.get_or_create(&labels).clone(),
            full: self.full.get_or_create(&labels).clone(),
            latency: self.latency.get_or_create(&labels).clone(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("halley_events_matched", "Events that matched a rule", self.matched.clone());
        registry.register("halley_events_delivered", "Events that a target accepted", self.delivered.clone());
        registry.register(
            "halley_delivery_retries",
            "Attempts that failed and are repeated",
            self.retried.clone(),
        );
        let help = "Events written to a dead-letter topic";
        registry.register("halley_events_dead_lettered", help, self.dead_lettered.clone());
        let help = "Events whose record left the log before they were delivered";
        registry.register("halley_events_gone", help, self.gone.clone());
        registry.register("halley_delivery_lag", "Records that a rule has not finished", self.lag.clone());
        let help = "Matching events that are not finished: in flight, or waiting for another attempt";
        registry.register("halley_delivery_open", help, self.open.clone());
        let help = "Queues that are not read on, because too many of their events are not finished";
        registry.register("halley_delivery_full_queues", help, self.full.clone());
        registry.register("halley_delivery_seconds", "Time of one attempt", self.latency.clone());
    }
}
