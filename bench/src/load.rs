//! The shape of a load: who sends when, and what is counted.

use crate::{Error, Shape, process, report::Report};
use hdrhistogram::Histogram;
use std::time::Duration;
use tokio::time::Instant;

/// What one connection measured.
#[derive(Debug)]
pub(crate) struct Measured {
    latencies: Histogram<u64>,
    messages: u64,
    failed: u64,
    window: Window,
}

/// The measured stretch of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Window {
    /// Begins after the warm-up.
    pub(crate) fn of(shape: &Shape) -> Self {
        let begin = Instant::now() + shape.warmup();
        Self { begin, end: begin + shape.duration() }
    }
}

impl Measured {
    pub(crate) fn new(window: Window) -> Self {
        let latencies = Histogram::new_with_bounds(1, 120_000_000, 3).expect("the bounds are in order");
        Self { latencies, messages: 0, failed: 0, window }
    }

    /// `messages` were answered now that were meant to be sent at `intended`.
    pub(crate) fn answered(&mut self, now: Instant, intended: Instant, messages: u64) {
        if now >= self.window.begin && now <= self.window.end {
            self.messages += messages;
            // In microseconds; the bounds hold every latency of a run.
            self.latencies.saturating_record(now.saturating_duration_since(intended).as_micros() as u64);
        }
    }

    /// A request was refused.
    pub(crate) fn failed(&mut self) {
        self.failed += 1;
    }

    fn add(&mut self, other: &Self) -> Result<(), Error> {
        self.messages += other.messages;
        self.failed += other.failed;
        self.latencies.add(&other.latencies).map_err(|error| Error::of("histogram", error))
    }
}

/// Planned times of one connection's requests at a fixed rate.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    next: Instant,
    every: Duration,
}

impl Schedule {
    /// The `index`-th of `connections` that share `rate` requests per second.
    pub(crate) fn new(start: Instant, rate: f64, connections: usize, index: usize) -> Self {
        let every = Duration::from_secs_f64(connections as f64 / rate.max(0.001));
        Self { next: start + every.mul_f64(index as f64 / connections as f64), every }
    }

    /// The planned time of the next request, if it has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        (self.next <= now).then(|| {
            let planned = self.next;
            self.next += self.every;
            planned
        })
    }

    /// When the next request is planned.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }
}

/// Waits for the next planned time, and gives it; in closed loop that is now.
pub(crate) async fn next_planned(schedule: &mut Option<Schedule>) -> Instant {
    let Some(schedule) = schedule else { return Instant::now() };
    tokio::time::sleep_until(schedule.next()).await;
    schedule.due(Instant::now()).unwrap_or_else(Instant::now)
}

/// Runs `connection` for each connection of the shape, and measures the server's CPU time in the same window.
pub(crate) async fn run<F>(
    name: &str,
    shape: &Shape,
    connection: impl Fn(usize, Window) -> F,
) -> Result<Report, Error>
where
    F: Future<Output = Result<Measured, Error>> + Send + 'static,
{
    let window = Window::of(shape);
    let tasks: Vec<_> = (0..shape.connections).map(|index| tokio::spawn(connection(index, window))).collect();
    tokio::time::sleep_until(window.begin).await;
    let usage = |pid| process::usage(pid);
    let server_before = shape.server_pid.map(|pid| usage(Some(pid))).transpose()?;
    let own_before = usage(None)?;
    tokio::time::sleep_until(window.end).await;
    let server_after = shape.server_pid.map(|pid| usage(Some(pid))).transpose()?;
    let own_after = usage(None)?;
    let mut total = Measured::new(window);
    for task in tasks {
        total.add(&task.await.map_err(Error::new)??)?;
    }
    let cpu = server_before.zip(server_after).map(|(before, after)| after.cpu.saturating_sub(before.cpu));
    Ok(Report {
        load: name.to_owned(),
        messages: total.messages,
        failed: total.failed,
        seconds: shape.duration().as_secs_f64(),
        latency_micros: total.latencies.into(),
        server_cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
        server_resident_bytes: server_after.map(|usage| usage.resident),
        client_cpu_seconds: own_after.cpu.saturating_sub(own_before.cpu).as_secs_f64(),
        cpu_pressure_percent: process::cpu_pressure(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_for_every_request_it_delays() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 100.0, 1, 0);
        let window = Window { begin: start, end: start + Duration::from_secs(10) };
        let mut measured = Measured::new(window);
        // The server answers nothing for one second, then everything at once.
        tokio::time::advance(Duration::from_secs(1)).await;
        let now = Instant::now();
        while let Some(planned) = schedule.due(now) {
            measured.answered(now, planned, 1);
        }
        assert_eq!(measured.messages, 101);
        let median = measured.latencies.value_at_quantile(0.5);
        assert!((490_000..=510_000).contains(&median), "{median}");
    }

    #[test]
    fn connections_take_turns() {
        let start = Instant::now();
        let first: Vec<_> = (0..4).map(|index| Schedule::new(start, 40.0, 4, index).next() - start).collect();
        assert_eq!(first, [0, 25, 50, 75].map(Duration::from_millis));
    }
}
