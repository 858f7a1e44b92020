//! What the ingress counts.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

type ByBus = Family<Vec<(&'static str, String)>, Counter>;

/// Upper bounds of latency buckets, in seconds.
const SECONDS: [f64; 12] = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0];

/// The ingress's counters.
#[derive(Debug, Clone)]
pub struct IngressMetrics {
    events: ByBus,
    refused: ByBus,
    latency: Histogram,
    /// Connections closed because there were too many.
    pub(crate) turned_away: Counter,
}

impl Default for IngressMetrics {
    fn default() -> Self {
        Self {
            events: ByBus::default(),
            refused: ByBus::default(),
            latency: Histogram::new(SECONDS),
            turned_away: Counter::default(),
        }
    }
}

impl IngressMetrics {
    /// Makes the counters known under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("halley_events_in", "Events stored, by bus", self.events.clone());
        registry.register("halley_ingress_refused", "Requests not stored, by status", self.refused.clone());
        let help = "Time from a request's head to its 202";
        registry.register("halley_ingress_seconds", help, self.latency.clone());
        let help = "Connections closed because there were too many";
        registry.register("halley_ingress_turned_away", help, self.turned_away.clone());
    }

    pub(crate) fn stored(&self, bus: &str, events: usize, took: Duration) {
        self.events.get_or_create(&vec![("bus", bus.to_owned())]).inc_by(events as u64);
        self.latency.observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self, status: u16) {
        self.refused.get_or_create(&vec![("status", status.to_string())]).inc();
    }
}
