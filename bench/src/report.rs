//! What a load came to, for people and for machines.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::io::Write;

/// The result of one load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Which load.
    pub(crate) load: String,
    /// Messages answered in the measured time.
    pub(crate) messages: u64,
    /// Requests refused, in the whole run.
    pub(crate) failed: u64,
    /// The measured time.
    pub(crate) seconds: f64,
    pub(crate) latency_micros: Latency,
    /// CPU time of the server in the measured time.
    pub(crate) server_cpu_seconds: Option<f64>,
    /// The server's memory at the end.
    pub(crate) server_resident_bytes: Option<u64>,
    /// CPU time of the generator in the measured time.
    pub(crate) client_cpu_seconds: f64,
    /// See [`crate::process::cpu_pressure`].
    pub(crate) cpu_pressure_percent: Option<f64>,
}

/// Quantiles of the time from the planned sending to the answer, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl From<Histogram<u64>> for Latency {
    fn from(latencies: Histogram<u64>) -> Self {
        Self {
            p50: latencies.value_at_quantile(0.5),
            p99: latencies.value_at_quantile(0.99),
            p999: latencies.value_at_quantile(0.999),
            max: latencies.max(),
        }
    }
}

/// The derived figures that a machine reads beside the raw ones.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    messages_per_second: f64,
    server_cpu_seconds_per_million: Option<f64>,
}

impl Report {
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// CPU seconds that a million messages cost the server, which is also microseconds per message.
    pub(crate) fn cpu_per_million(&self) -> Option<f64> {
        let cpu = self.server_cpu_seconds?;
        (self.messages > 0).then(|| cpu * 1e6 / self.messages as f64)
    }

    /// Prints the result on standard output.
    pub(crate) fn print(&self, json: bool) {
        let mut out = std::io::stdout().lock();
        // A reader that went away is no reason to fail.
        let _ = if json { self.write_json(&mut out) } else { self.write_table(&mut out) };
    }

    fn write_json(&self, out: &mut impl Write) -> std::io::Result<()> {
        let json = Json {
            report: self,
            messages_per_second: self.rate(),
            server_cpu_seconds_per_million: self.cpu_per_million(),
        };
        serde_json::to_writer(&mut *out, &json)?;
        writeln!(out)
    }

    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let latency = self.latency_micros;
        writeln!(out, "{}", self.load)?;
        writeln!(
            out,
            "  rate            {:>12.0} msg/s  ({} in {:.1} s)",
            self.rate(),
            self.messages,
            self.seconds
        )?;
        writeln!(
            out,
            "  latency         {:>12} µs p50   {} µs p99   {} µs p99.9   {} µs max",
            latency.p50, latency.p99, latency.p999, latency.max
        )?;
        if let Some(cpu) = self.cpu_per_million() {
            writeln!(out, "  server CPU      {cpu:>12.2} s per million messages")?;
        }
        if let Some(resident) = self.server_resident_bytes {
            writeln!(out, "  server memory   {:>12.1} MiB resident", resident as f64 / 1048576.0)?;
        }
        let client = self.client_cpu_seconds * 1e6 / self.messages.max(1) as f64;
        writeln!(out, "  generator CPU   {client:>12.2} s per million messages")?;
        if self.failed > 0 {
            writeln!(out, "  refused         {:>12}", self.failed)?;
        }
        match self.cpu_pressure_percent {
            Some(pressure) if pressure > 10.0 => {
                writeln!(out, "  NOISY: tasks waited for a processor {pressure:.0} % of the last ten seconds")
            }
            _ => Ok(()),
        }
    }
}
