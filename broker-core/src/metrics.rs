//! What the broker counts.

use crate::requests::RequestCounts;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// Upper bounds of latency buckets, in seconds: 10 µs to 10 s.
const SECONDS: [f64; 13] = [1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 10.0];

/// The broker's counters.
#[derive(Debug)]
pub(crate) struct BrokerMetrics {
    records: Counter,
    bytes: Counter,
    batches: Histogram,
    /// Requests, whatever the answer.
    pub(crate) requests: RequestCounts,
    /// Records sent to clients that pull.
    pub(crate) pulled: Counter,
    /// Pulls that had to read from disk.
    pub(crate) cold_pulls: Counter,
    /// Reads that wait for their turn on the disk.
    pub(crate) cold_waiting: Gauge,
    /// Reads that met a damaged record.
    pub(crate) damaged_reads: Counter,
    /// Records sent to clients that pop.
    pub(crate) popped: Counter,
    /// Popped records whose time was over, moved to their retry topic.
    pub(crate) revived: Counter,
    /// Sends refused because too much waited for the disk, or it was full.
    pub(crate) refused: Counter,
    /// Connections closed for garbage or a stall.
    pub(crate) broken: Counter,
    /// Connected clients.
    pub(crate) connections: Gauge,
    /// Pulls waiting for records.
    pub(crate) parked: Gauge,
    /// Messages waiting for their time.
    pub(crate) delayed: Gauge,
    /// Transactions not ended.
    pub(crate) transactions: Gauge,
    /// Where the log begins.
    pub(crate) log_begin: Gauge,
    /// Bytes of the log that are there.
    pub(crate) log_bytes: Gauge,
    /// Bytes of the log that were removed.
    pub(crate) removed: Counter,
    /// How full the disk is, in percent.
    pub(crate) disk: Gauge,
    /// Bytes that were read again to find decay.
    pub(crate) scrubbed: Counter,
    /// Places of the log that were found damaged then.
    pub(crate) damage: Counter,
    /// Damaged files that were made again.
    pub(crate) scrub_mended: Counter,
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            bytes: Counter::default(),
            batches: Histogram::new(SECONDS),
            requests: RequestCounts::default(),
            pulled: Counter::default(),
            cold_pulls: Counter::default(),
            cold_waiting: Gauge::default(),
            damaged_reads: Counter::default(),
            popped: Counter::default(),
            revived: Counter::default(),
            refused: Counter::default(),
            broken: Counter::default(),
            connections: Gauge::default(),
            parked: Gauge::default(),
            delayed: Gauge::default(),
            transactions: Gauge::default(),
            log_begin: Gauge::default(),
            log_bytes: Gauge::default(),
            removed: Counter::default(),
            disk: Gauge::default(),
            scrubbed: Counter::default(),
            damage: Counter::default(),
            scrub_mended: Counter::default(),
        }
    }
}

impl BrokerMetrics {
    /// One batch was written (and synced, if the policy asks).
    pub(crate) fn appended(&self, records: u64, bytes: u64, took: Duration) {
        self.records.inc_by(records);
        self.bytes.inc_by(bytes);
        self.batches.observe(took.as_secs_f64());
    }

    /// Makes known what every Remoting listener counts.
    pub(crate) fn register_listener(&self, registry: &mut Registry) {
        self.requests.register(registry);
        registry.register(
            "halley_broken_connections",
            "Connections closed for garbage or a stall",
            self.broken.clone(),
        );
    }

    /// Makes the counters known under their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("halley_log_records", "Records written to the log", self.records.clone());
        registry.register("halley_log_bytes", "Bytes written to the log", self.bytes.clone());
        let help = "Time to write one batch of records, and to sync it where the policy asks";
        registry.register("halley_log_append_seconds", help, self.batches.clone());
        self.register_listener(registry);
        registry.register("halley_pulled_records", "Records sent to pulling clients", self.pulled.clone());
        registry.register("halley_cold_pulls", "Pulls that read from disk", self.cold_pulls.clone());
        let help = "Pulls, pops and fetches that wait for their turn to read from disk";
        registry.register("halley_cold_waiting", help, self.cold_waiting.clone());
        let help = "Reads that met a damaged message";
        registry.register("halley_damaged_reads", help, self.damaged_reads.clone());
        registry.register("halley_popped_records", "Records sent to popping clients", self.popped.clone());
        registry.register(
            "halley_pop_revived_records",
            "Popped records that were not acknowledged in time",
            self.revived.clone(),
        );
        registry.register(
            "halley_refused_sends",
            "Sends refused: overload or full disk",
            self.refused.clone(),
        );
        registry.register("halley_connections", "Connected Remoting clients", self.connections.clone());
        registry.register("halley_parked_pulls", "Pulls waiting for records", self.parked.clone());
        let help = "Delayed messages waiting for their time";
        registry.register("halley_delayed_messages", help, self.delayed.clone());
        registry.register("halley_open_transactions", "Transactions not ended", self.transactions.clone());
        registry.register("halley_log_begin", "Log offset at which the log begins", self.log_begin.clone());
        registry.register("halley_log_kept_bytes", "Bytes of the log that are there", self.log_bytes.clone());
        registry.register(
            "halley_log_removed_bytes",
            "Bytes of the log that were removed",
            self.removed.clone(),
        );
        registry.register("halley_disk_used_percent", "How full the disk of the log is", self.disk.clone());
        let help = "Bytes of the log that were read again to find decay";
        registry.register("halley_scrub_bytes", help, self.scrubbed.clone());
        let help = "Places of the log that were found damaged when it was read again";
        registry.register("halley_scrub_damage", help, self.damage.clone());
        let help = "Damaged indexes that were made again when the log was read again";
        registry.register("halley_scrub_mended", help, self.scrub_mended.clone());
    }
}
