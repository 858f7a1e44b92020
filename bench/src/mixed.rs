//! What one who replays old messages costs those who send and receive new ones: both at a fixed rate, with and without a replay in
//! turn, so that the machine's noise meets both alike.

use crate::{
    Error,
    load::Schedule,
    process,
    pull::{FILL_BATCH, fill, take},
    remoting::{self, Connection},
    report::Latency,
};
use bytes::BytesMut;
use clap::Args;
use halley_model::RecordView;
use halley_wire::{Frame, ResponseCode, reply::PullMessageResponse};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How long a hot consumer waits for messages.
const SUSPEND: Duration = Duration::from_secs(10);

/// Between two phases, so that one does not work off what the other left.
const PAUSE: Duration = Duration::from_millis(500);

/// What to load, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The name server
    #[arg(long, default_value = "127.0.0.1:9876")]
    peer: SocketAddr,
    /// Messages per second that are sent and received
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// Queues of the hot topic, each with a producer and a consumer of its own
    #[arg(long, default_value_t = 4)]
    queues: u32,
    /// Old messages to replay, in GiB of the log; at least a GiB more than the server keeps in memory, to be cold
    #[arg(long, default_value_t = 4.0)]
    backlog: f64,
    /// A topic of old messages that an earlier run made, with the same backlog, size and replays; else one is made
    #[arg(long)]
    replay_topic: Option<String>,
    /// Consumers that replay, each a queue of its own
    #[arg(long, default_value_t = 4)]
    replays: u32,
    /// Pairs of a phase without and a phase with a replay
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Length of a phase, in seconds
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Size of a message's body in bytes
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// The server's process, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let per_message = arguments.size as f64 + 150.0;
    let messages = (arguments.backlog * (1u64 << 30) as f64 / per_message) as u64;
    let replays = arguments.replays.max(1);
    let per_queue = (messages / u64::from(replays)).max(1).next_multiple_of(FILL_BATCH);
    let old = arguments.replay_topic.clone().unwrap_or_else(|| format!("bench_old_{now}"));
    let broker = remoting::prepare(arguments.peer, &old, replays).await?;
    if arguments.replay_topic.is_none() {
        eprintln!("filling --replay-topic {old} with {} messages", per_queue * u64::from(replays));
        let fills = (0..replays).map(|queue| {
            let old = old.clone();
            tokio::spawn(async move { fill(broker, &old, queue, per_queue, arguments.size).await })
        });
        for task in fills.collect::<Vec<_>>() {
            task.await.map_err(Error::new)??;
        }
    }
    let topic = format!("bench_hot_{now}");
    remoting::create(broker, &topic, arguments.queues.max(1)).await?;
    let hot = Arc::new(Hot {
        broker,
        topic,
        size: arguments.size.max(16),
        rate: arguments.rate,
        queues: arguments.queues.max(1),
        epoch: Instant::now(),
        next: (0..arguments.queues.max(1)).map(|_| AtomicI64::new(0)).collect(),
    });
    let length = Duration::from_secs_f64(arguments.seconds.max(0.5));
    // The first phase warms everything up and is not counted.
    phase(&hot, length.min(Duration::from_secs(4)), None, arguments.server_pid).await?;
    let mut result = Mixed::new(&arguments);
    let next = (0..replays).map(|_| Arc::default()).collect();
    let replay = Replay { topic: old.into(), per_queue, next };
    for _ in 0..arguments.pairs.max(1) {
        let without = phase(&hot, length, None, arguments.server_pid).await?;
        let with = phase(&hot, length, Some(&replay), arguments.server_pid).await?;
        result.pairs.push(Pair { without, with });
    }
    result.print(arguments.json);
    Ok(())
}

/// The messages that are sent and received all the time.
struct Hot {
    broker: SocketAddr,
    topic: String,
    size: usize,
    rate: f64,
    queues: u32,
    /// Planned times in bodies count from here.
    epoch: Instant,
    /// Where the consumer of each queue goes on.
    next: Vec<AtomicI64>,
}

/// Who replays.
struct Replay {
    topic: Arc<str>,
    per_queue: u64,
    /// Where the replay of each queue goes on in the next phase.
    next: Vec<Arc<AtomicU64>>,
}

/// What was measured in one phase.
#[derive(Debug, Clone, Serialize)]
struct Phase {
    /// From the planned sending to the answer, in microseconds.
    send: Latency,
    /// From the planned sending to the consumer, in microseconds.
    receive: Latency,
    sent: u64,
    received: u64,
    refused: u64,
    /// Messages replayed per second, and their bytes.
    replayed_per_second: f64,
    replayed_bytes_per_second: f64,
    server_cpu_seconds: Option<f64>,
    server_resident_bytes: Option<u64>,
    cpu_pressure_percent: Option<f64>,
}

struct Measured {
    latencies: Histogram<u64>,
    refused: u64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("the bounds are in order")
}

async fn phase(
    hot: &Arc<Hot>,
    length: Duration,
    replay: Option<&Replay>,
    server: Option<u32>,
) -> Result<Phase, Error> {
    let usage = || server.map(|pid| process::usage(Some(pid))).transpose();
    let (begin, end) = (Instant::now(), Instant::now() + length);
    let over = Arc::new(AtomicBool::new(false));
    let (messages, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let before = usage()?;
    let mut replays = Vec::new();
    for (queue, next) in (0..).zip(replay.iter().flat_map(|replay| &replay.next)) {
        let Some(Replay { topic, per_queue, .. }) = replay else { break };
        let (topic, per_queue, broker) = (topic.clone(), *per_queue, hot.broker);
        let counts = Counts {
            over: over.clone(),
            next: next.clone(),
            messages: messages.clone(),
            bytes: bytes.clone(),
        };
        replays
            .push(tokio::spawn(async move { replay_queue(broker, &topic, queue, per_queue, &counts).await }));
    }
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for queue in 0..hot.queues {
        let (sender, receiver) = (hot.clone(), hot.clone());
        senders.push(tokio::spawn(async move { sender.send(queue, end).await }));
        receivers.push(tokio::spawn(async move { receiver.receive(queue, begin, end).await }));
    }
    let (mut sent, mut received, mut refused) = (histogram(), histogram(), 0);
    for task in senders {
        let measured = task.await.map_err(Error::new)??;
        sent.add(&measured.latencies).map_err(Error::new)?;
        refused += measured.refused;
    }
    for task in receivers {
        received.add(task.await.map_err(Error::new)??).map_err(Error::new)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let after = usage()?;
    over.store(true, Ordering::Relaxed);
    let cpu_pressure_percent = process::cpu_pressure();
    let replayed = (messages.load(Ordering::Relaxed) as f64, bytes.load(Ordering::Relaxed) as f64);
    for task in replays {
        task.await.map_err(Error::new)??;
    }
    sleep(PAUSE).await;
    Ok(Phase {
        sent: sent.len(),
        received: received.len(),
        send: sent.into(),
        receive: received.into(),
        refused,
        replayed_per_second: replayed.0 / seconds,
        replayed_bytes_per_second: replayed.1 / seconds,
        server_cpu_seconds: before
            .zip(after)
            .map(|(before, after)| after.cpu.saturating_sub(before.cpu).as_secs_f64()),
        server_resident_bytes: after.map(|usage| usage.resident),
        cpu_pressure_percent,
    })
}

impl Hot {
    /// Sends one queue's share of the rate.
    async fn send(&self, queue: u32, end: Instant) -> Result<Measured, Error> {
        let mut connection = Connection::open(self.broker).await?;
        let mut schedule = Schedule::new(Instant::now(), self.rate, self.queues as usize, queue as usize);
        let mut measured = Measured { latencies: histogram(), refused: 0 };
        let (mut out, mut body) = (BytesMut::new(), vec![b'x'; self.size]);
        // Numbers repeat long after their answers came.
        let mut intended = vec![Instant::now(); 1 << 16];
        let mut number = 0;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(measured);
            }
            while let Some(planned) = schedule.due(now) {
                let since = planned.saturating_duration_since(self.epoch).as_micros() as u64;
                body[..8].copy_from_slice(&since.to_be_bytes());
                let opaque = number % intended.len();
                intended[opaque] = planned;
                remoting::send_numbered(&mut out, opaque as i32, &self.topic, queue, "", &body)?;
                number += 1;
            }
            if !out.is_empty() {
                connection.write(&out).await?;
                out.clear();
            }
            let answered = |frame: &Frame<'_>| {
                let planned = intended[frame.opaque as usize % (1 << 16)];
                match remoting::check(frame) {
                    Ok(()) => measured.latencies.saturating_record(planned.elapsed().as_micros() as u64),
                    Err(_) => measured.refused += 1,
                }
                Ok(())
            };
            tokio::select! {
                read = timeout_at(end, connection.read(answered)) => { read.unwrap_or(Ok(0))?; }
                () = sleep_until(schedule.next()) => {}
            }
        }
    }

    /// Receives what one queue gets; what was sent in an earlier phase does not count.
    async fn receive(&self, queue: u32, begin: Instant, end: Instant) -> Result<Histogram<u64>, Error> {
        let mut connection = Connection::open(self.broker).await?;
        let (mut latencies, mut out) = (histogram(), BytesMut::new());
        let begin = begin.saturating_duration_since(self.epoch).as_micros() as u64;
        let next = &self.next[queue as usize];
        while Instant::now() < end {
            out.clear();
            remoting::pull(&mut out, &self.topic, queue, next.load(Ordering::Relaxed), Some(SUSPEND))?;
            connection.write(&out).await?;
            let mut take = |frame: &Frame<'_>| {
                let now = self.epoch.elapsed().as_micros() as u64;
                let code = ResponseCode::of(frame.code);
                if [ResponseCode::PullNotFound, ResponseCode::PullRetryImmediately].contains(&code) {
                    return Ok(());
                }
                remoting::check(frame)?;
                let mut rest = frame.body;
                while !rest.is_empty() {
                    let record = RecordView::parse(rest).map_err(Error::new)?;
                    let planned =
                        record.body().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                    if planned >= begin {
                        latencies.saturating_record(now.saturating_sub(planned));
                    }
                    rest = &rest[record.total_len()..];
                }
                let header = PullMessageResponse::decode(&frame.ext).map_err(Error::new)?;
                next.store(header.next_begin_offset, Ordering::Relaxed);
                Ok(())
            };
            loop {
                match timeout_at(end, connection.read(&mut take)).await {
                    Ok(Ok(0)) => {}
                    Ok(Ok(_)) | Err(_) => break,
                    Ok(Err(error)) => return Err(error),
                }
            }
        }
        Ok(latencies)
    }
}

/// What replays share with who measures them.
struct Counts {
    /// The phase is over.
    over: Arc<AtomicBool>,
    /// Where the queue's replay goes on.
    next: Arc<AtomicU64>,
    /// Of all queues.
    messages: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

/// Pulls a queue of so many messages, from its beginning again when it ends, and checks it.
async fn replay_queue(
    broker: SocketAddr,
    topic: &str,
    queue: u32,
    count: u64,
    counts: &Counts,
) -> Result<(), Error> {
    let mut connection = Connection::open(broker).await?;
    let (mut out, mut next) = (BytesMut::new(), counts.next.load(Ordering::Relaxed));
    while !counts.over.load(Ordering::Relaxed) {
        if next >= count {
            next = 0;
        }
        out.clear();
        remoting::pull(&mut out, topic, queue, next as i64, None)?;
        connection.write(&out).await?;
        let before = next;
        let mut len = 0;
        let mut checked = |frame: &Frame<'_>| {
            len += frame.body.len() as u64;
            take(frame, &mut next)
        };
        while connection.read(&mut checked).await? == 0 {}
        counts.messages.fetch_add(next - before, Ordering::Relaxed);
        counts.bytes.fetch_add(len, Ordering::Relaxed);
    }
    counts.next.store(next, Ordering::Relaxed);
    Ok(())
}

/// The result.
#[derive(Debug, Serialize)]
struct Mixed {
    load: String,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Pair {
    without: Phase,
    with: Phase,
}

/// A figure of a phase by its name.
type Figure = (&'static str, fn(&Phase) -> f64);

const LATENCIES: [Figure; 6] = [
    ("send p50", |phase| phase.send.p50 as f64),
    ("send p99", |phase| phase.send.p99 as f64),
    ("send p99.9", |phase| phase.send.p999 as f64),
    ("receive p50", |phase| phase.receive.p50 as f64),
    ("receive p99", |phase| phase.receive.p99 as f64),
    ("receive p99.9", |phase| phase.receive.p999 as f64),
];

impl Mixed {
    fn new(arguments: &Arguments) -> Self {
        let Arguments { rate, size, seconds, replays, backlog, .. } = arguments;
        let load = format!(
            "{rate} msg/s of {size} B sent and received, phases of {seconds} s, {replays} consumers replaying {backlog} GiB"
        );
        Self { load, pairs: Vec::new() }
    }

    fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).expect("figures are JSON"));
            return;
        }
        println!("{}", self.load);
        println!(
            "  min / median / max of {} pairs          without             with a replay        ratio",
            self.pairs.len()
        );
        for (name, figure) in LATENCIES {
            let of = |phase: fn(&Pair) -> &Phase| spread(self.pairs.iter().map(|pair| figure(phase(pair))));
            let without = of(|pair| &pair.without);
            let with = of(|pair| &pair.with);
            let ratio =
                spread(self.pairs.iter().map(|pair| figure(&pair.with) / figure(&pair.without).max(1.0)));
            println!(
                "  {name:<14} µs {:>16} {:>26} {:>24}",
                shown(without, 0),
                shown(with, 0),
                shown(ratio, 2)
            );
        }
        let replay = spread(self.pairs.iter().map(|pair| pair.with.replayed_per_second));
        let mib = spread(self.pairs.iter().map(|pair| pair.with.replayed_bytes_per_second / 1_048_576.0));
        println!("  replayed        {} msg/s, {} MiB/s", shown(replay, 0), shown(mib, 0));
        let cpu = |phase: fn(&Pair) -> &Phase| {
            spread(self.pairs.iter().filter_map(|pair| phase(pair).server_cpu_seconds))
        };
        if self.pairs.iter().any(|pair| pair.with.server_cpu_seconds.is_some()) {
            let (without, with) = (cpu(|pair| &pair.without), cpu(|pair| &pair.with));
            println!("  server CPU      {} s without, {} s with", shown(without, 2), shown(with, 2));
            let memory = self.pairs.iter().filter_map(|pair| pair.with.server_resident_bytes).max();
            println!(
                "  server memory   {:.0} MiB resident at most",
                memory.unwrap_or(0) as f64 / 1_048_576.0
            );
        }
        let refused: u64 = self.pairs.iter().map(|pair| pair.without.refused + pair.with.refused).sum();
        if refused > 0 {
            println!("  refused         {refused}");
        }
        let short = |phase: &Phase| phase.received * 100 < phase.sent * 98;
        if self.pairs.iter().any(|pair| short(&pair.without) || short(&pair.with)) {
            println!("  LATE: consumers had not received all that was sent when a phase ended");
        }
    }
}

/// Least, median and most.
fn spread(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match figures.as_slice() {
        [] => [0.0; 3],
        sorted => [sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]],
    }
}

fn shown([min, median, max]: [f64; 3], digits: usize) -> String {
    format!("{min:.digits$} / {median:.digits$} / {max:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_least_median_and_most() {
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), [1.0, 2.0, 3.0]);
        assert_eq!(shown(spread(std::iter::empty()), 1), "0.0 / 0.0 / 0.0");
    }
}
