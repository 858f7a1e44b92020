//! Pulling a backlog: fills a new topic, then pulls it all and checks count, order and bodies.

use crate::{
    Error, Shape, process,
    remoting::{self, Connection},
    report::{Latency, Report},
};
use bytes::BytesMut;
use clap::Args;
use halley_model::RecordView;
use halley_wire::{
    BrokerCode, Frame, ResponseCode, Serialize, batch, encode,
    reply::PullMessageResponse,
    request::{SendForm, SendMessage},
};
use hdrhistogram::Histogram;
use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// Messages in one batch while filling.
pub(crate) const FILL_BATCH: u64 = 128;

/// What to pull, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The name server
    #[arg(long, default_value = "127.0.0.1:9876")]
    peer: SocketAddr,
    /// Messages in all
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Size of a message's body in bytes
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[command(flatten)]
    shape: Shape,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let shape = &arguments.shape;
    let queues = u32::try_from(shape.connections.max(1)).map_err(Error::new)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let topic = format!("bench_pull_{now}");
    let broker = remoting::prepare(arguments.peer, &topic, queues).await?;
    let per_queue = (arguments.messages / u64::from(queues)).max(1).next_multiple_of(FILL_BATCH);
    eprintln!("filling {topic} with {} messages", per_queue * u64::from(queues));
    let each = |queue: u32| {
        let topic = topic.clone();
        tokio::spawn(async move { fill(broker, &topic, queue, per_queue, arguments.size).await })
    };
    for task in (0..queues).map(each).collect::<Vec<_>>() {
        task.await.map_err(Error::new)??;
    }

    let (server_before, own_before) = (server_usage(shape)?, process::usage(None)?);
    let started = Instant::now();
    let each = |queue: u32| {
        let topic = topic.clone();
        tokio::spawn(async move { drain(broker, &topic, queue, per_queue).await })
    };
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    let mut messages = 0;
    for task in (0..queues).map(each).collect::<Vec<_>>() {
        let drained = task.await.map_err(Error::new)??;
        messages += drained.messages;
        latencies.add(&drained.latencies).map_err(Error::new)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let (server_after, own_after) = (server_usage(shape)?, process::usage(None)?);
    let cpu = server_before.zip(server_after).map(|(before, after)| after.cpu.saturating_sub(before.cpu));
    let report = Report {
        load: format!(
            "pull a backlog of {} B messages, {queues} queues, batches of 32 (latency per pull)",
            arguments.size
        ),
        messages,
        failed: 0,
        seconds,
        latency_micros: Latency::from(latencies),
        server_cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
        server_resident_bytes: server_after.map(|usage| usage.resident),
        client_cpu_seconds: own_after.cpu.saturating_sub(own_before.cpu).as_secs_f64(),
        cpu_pressure_percent: process::cpu_pressure(),
    };
    report.print(shape.json);
    Ok(())
}

pub(crate) fn server_usage(shape: &Shape) -> Result<Option<process::Usage>, Error> {
    shape.server_pid.map(|pid| process::usage(Some(pid))).transpose()
}

/// Stores `count` messages in batches, each with its number at the beginning of its body.
pub(crate) async fn fill(
    broker: SocketAddr,
    topic: &str,
    queue: u32,
    count: u64,
    size: usize,
) -> Result<(), Error> {
    let mut connection = Connection::open(broker).await?;
    let mut body = vec![b'x'; size.max(8)];
    let mut out = BytesMut::new();
    for first in (0..count).step_by(FILL_BATCH as usize) {
        let mut messages = Vec::new();
        for number in first..first + FILL_BATCH {
            body[..8].copy_from_slice(&number.to_be_bytes());
            batch::push(&mut messages, batch::BatchMessage { flag: 0, body: &body, properties: b"" });
        }
        let header = SendMessage {
            producer_group: "bench".into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: queue as i32,
            sys_flag: 0,
            born_timestamp: 0,
            flag: 0,
            properties: halley_wire::ext::Value::new(""),
            reconsume_times: 0,
            unit_mode: false,
            batch: true,
            max_reconsume_times: None,
            broker_name: None,
        };
        out.clear();
        let request = remoting::request(BrokerCode::SendBatchMessage, 1, Serialize::Binary);
        encode::request(&mut out, request, &header.fields(SendForm::Short, ""), &messages)
            .map_err(Error::new)?;
        connection.write(&out).await?;
        while connection.read(remoting::check).await? == 0 {}
    }
    Ok(())
}

struct Drained {
    messages: u64,
    latencies: Histogram<u64>,
}

/// Pulls a queue to its end, checking that nothing is missing, doubled, out of order or damaged.
async fn drain(broker: SocketAddr, topic: &str, queue: u32, count: u64) -> Result<Drained, Error> {
    let mut connection = Connection::open(broker).await?;
    let latencies = Histogram::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    let mut drained = Drained { messages: 0, latencies };
    let mut out = BytesMut::new();
    while drained.messages < count {
        out.clear();
        remoting::pull(&mut out, topic, queue, drained.messages as i64, None)?;
        let asked = Instant::now();
        connection.write(&out).await?;
        let messages = &mut drained.messages;
        while connection.read(|frame| take(frame, messages)).await? == 0 {}
        drained.latencies.saturating_record(asked.elapsed().as_micros() as u64);
    }
    Ok(drained)
}

/// Checks that a pull's messages are those behind the first `messages`, and counts them.
pub(crate) fn take(frame: &Frame<'_>, messages: &mut u64) -> Result<(), Error> {
    let code = ResponseCode::of(frame.code);
    if code != ResponseCode::Success {
        // A broker may not have indexed yet what it acknowledged: ask again.
        let again = [ResponseCode::PullNotFound, ResponseCode::PullRetryImmediately];
        return if again.contains(&code) { Ok(()) } else { remoting::check(frame) };
    }
    let next = PullMessageResponse::decode(&frame.ext).map_err(Error::new)?.next_begin_offset;
    let mut rest = frame.body;
    while !rest.is_empty() {
        let record = RecordView::parse(rest).map_err(Error::new)?;
        let number = record.body().first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        if record.queue_offset() != *messages || number != Some(*messages) || !record.body_is_intact() {
            return Err(Error::new(format!("message {messages} is missing, doubled or damaged")));
        }
        *messages += 1;
        rest = &rest[record.total_len()..];
    }
    if next != *messages as i64 {
        return Err(Error::new(format!("the broker says to go on at {next}, expected {messages}")));
    }
    Ok(())
}
