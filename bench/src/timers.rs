//! Timers: stores many messages that are due over a while, then receives them all and looks how late each was stored
//! where it belongs.

use crate::{
    Error, process,
    remoting::{self, Connection},
    report::{Latency, Report},
};
use bytes::BytesMut;
use clap::Args;
use halley_model::RecordView;
use halley_wire::{Frame, ResponseCode, reply::PullMessageResponse};
use hdrhistogram::Histogram;
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// Sends in flight on a connection.
const WINDOW: u64 = 64;

/// What to store, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The name server
    #[arg(long, default_value = "127.0.0.1:9876")]
    peer: SocketAddr,
    /// Messages in all
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Size of a message's body in bytes
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Connections that send, and queues of the topic
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// Seconds from the beginning until the first message is due; all must be stored by then
    #[arg(long, default_value_t = 60.0)]
    ahead: f64,
    /// Seconds over which the messages are due
    #[arg(long, default_value_t = 20.0)]
    spread: f64,
    /// The server's process, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let began = now();
    let topic = format!("bench_timers_{began}");
    let queues = arguments.connections.max(1);
    let broker = remoting::prepare(arguments.peer, &topic, queues).await?;
    let per_queue = (arguments.messages / u64::from(queues)).max(1).next_multiple_of(WINDOW);
    let first_due = began + (arguments.ahead.max(0.0) * 1000.0) as i64;
    let spread = (arguments.spread.max(0.001) * 1000.0) as i64;
    eprintln!("storing {} timers in {topic}", per_queue * u64::from(queues));
    let each = |queue: u32| {
        let timers = Timers { topic: topic.clone(), queue, count: per_queue, first_due, spread };
        tokio::spawn(async move { timers.store(broker, arguments.size).await })
    };
    for task in (0..queues).map(each).collect::<Vec<_>>() {
        task.await.map_err(Error::new)??;
    }
    let stored_after = now() - began;
    if now() >= first_due {
        return Err(Error::new(format!("storing took {stored_after} ms: give --ahead more time")));
    }

    let usage = |pid: Option<u32>| pid.map(|pid| process::usage(Some(pid))).transpose();
    let (waiting, own_before) = (usage(arguments.server_pid)?, process::usage(None)?);
    eprintln!("all stored after {stored_after} ms, waiting for them");
    tokio::time::sleep(Duration::from_millis((first_due - now()).max(0) as u64)).await;
    let before = usage(arguments.server_pid)?;
    let started = Instant::now();
    let each = |queue: u32| {
        let topic = topic.clone();
        tokio::spawn(async move { receive(broker, &topic, queue, per_queue).await })
    };
    let mut late = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    for task in (0..queues).map(each).collect::<Vec<_>>() {
        late.add(task.await.map_err(Error::new)??).map_err(Error::new)?;
    }
    let (after, own_after) = (usage(arguments.server_pid)?, process::usage(None)?);
    let cpu = before.zip(after).map(|(before, after)| after.cpu.saturating_sub(before.cpu));
    Report {
        load: format!(
            "timers of {} B due over {:.0} s (latency: how late each was stored; memory: all waiting; CPU: delivering)",
            arguments.size, arguments.spread
        ),
        messages: per_queue * u64::from(queues),
        failed: 0,
        seconds: started.elapsed().as_secs_f64(),
        latency_micros: Latency::from(late),
        server_cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
        server_resident_bytes: waiting.map(|usage| usage.resident),
        client_cpu_seconds: own_after.cpu.saturating_sub(own_before.cpu).as_secs_f64(),
        cpu_pressure_percent: process::cpu_pressure(),
    }
    .print(arguments.json);
    Ok(())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The timers of one queue.
struct Timers {
    topic: String,
    queue: u32,
    count: u64,
    first_due: i64,
    spread: i64,
}

impl Timers {
    /// Stores them; each has the time when it is due at the beginning of its body.
    async fn store(&self, broker: SocketAddr, size: usize) -> Result<(), Error> {
        let mut connection = Connection::open(broker).await?;
        let mut body = vec![b'x'; size.max(8)];
        let mut out = BytesMut::new();
        for first in (0..self.count).step_by(WINDOW as usize) {
            out.clear();
            for number in first..first + WINDOW {
                let due = self.first_due + (number as i64 * self.spread) / self.count as i64;
                body[..8].copy_from_slice(&due.to_be_bytes());
                let properties = format!("TIMER_DELIVER_MS\u{1}{due}\u{2}");
                remoting::send(&mut out, &self.topic, self.queue, &properties, &body)?;
            }
            connection.write(&out).await?;
            let mut answered = 0;
            while answered < WINDOW as usize {
                answered += connection.read(remoting::check).await?;
            }
        }
        Ok(())
    }
}

/// Receives `count` messages of a queue; how late each was stored, in microseconds.
async fn receive(broker: SocketAddr, topic: &str, queue: u32, count: u64) -> Result<Histogram<u64>, Error> {
    let mut connection = Connection::open(broker).await?;
    let mut late = Histogram::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    let mut out = BytesMut::new();
    let mut next = 0;
    while next < count as i64 {
        out.clear();
        remoting::pull(&mut out, topic, queue, next, Some(Duration::from_secs(15)))?;
        connection.write(&out).await?;
        while connection.read(|frame| take(frame, &mut next, &mut late)).await? == 0 {}
    }
    Ok(late)
}

fn take(frame: &Frame<'_>, next: &mut i64, late: &mut Histogram<u64>) -> Result<(), Error> {
    let code = ResponseCode::of(frame.code);
    if [ResponseCode::PullNotFound, ResponseCode::PullRetryImmediately, ResponseCode::PullOffsetMoved]
        .contains(&code)
    {
        return Ok(());
    }
    remoting::check(frame)?;
    let mut rest = frame.body;
    while !rest.is_empty() {
        let record = RecordView::parse(rest).map_err(Error::new)?;
        let due = record.body().first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        late.saturating_record(u64::try_from(record.stored() - due).unwrap_or(0) * 1000);
        rest = &rest[record.total_len()..];
    }
    *next = PullMessageResponse::decode(&frame.ext).map_err(Error::new)?.next_begin_offset;
    Ok(())
}
