//! Popping a backlog: fills a new topic, then takes it all by POP in batches of 32, acknowledges each message, and checks that
//! none is missing, doubled or damaged.

use crate::{
    Error, Shape, process, pull,
    remoting::{self, Connection},
    report::{Latency, Report},
};
use bytes::BytesMut;
use clap::Args;
use halley_model::RecordView;
use halley_wire::{
    BrokerCode, Frame, ResponseCode, Serialize, encode,
    pop::{ExtraInfo, Retry, parse_offset_info},
    reply::PopMessageResponse,
    request::{AckMessage, PopMessage, pop::init_mode},
};
use hdrhistogram::Histogram;
use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// The group that pops.
const GROUP: &str = "bench_pop";

/// What to pop, and where.
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
    let topic = format!("bench_pop_{}", now());
    let broker = remoting::prepare(arguments.peer, &topic, queues).await?;
    let per_queue = (arguments.messages / u64::from(queues)).max(1).next_multiple_of(pull::FILL_BATCH);
    eprintln!("filling {topic} with {} messages", per_queue * u64::from(queues));
    let each = |queue: u32| {
        let topic = topic.clone();
        tokio::spawn(async move { pull::fill(broker, &topic, queue, per_queue, arguments.size).await })
    };
    for task in (0..queues).map(each).collect::<Vec<_>>() {
        task.await.map_err(Error::new)??;
    }

    let (server_before, own_before) = (pull::server_usage(shape)?, process::usage(None)?);
    let started = Instant::now();
    let each = |queue: u32| {
        let topic = topic.clone();
        tokio::spawn(async move { drain(broker, &topic, queue, per_queue).await })
    };
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    let mut messages = 0;
    for task in (0..queues).map(each).collect::<Vec<_>>() {
        let drained = task.await.map_err(Error::new)??;
        messages += drained.taken.len() as u64;
        latencies.add(&drained.latencies).map_err(Error::new)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let (server_after, own_after) = (pull::server_usage(shape)?, process::usage(None)?);
    let cpu = server_before.zip(server_after).map(|(before, after)| after.cpu.saturating_sub(before.cpu));
    let report = Report {
        load: format!(
            "pop a backlog of {} B messages, {queues} queues, batches of 32, each acknowledged (latency per pop and its acknowledgements)",
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

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

struct Drained {
    taken: HashSet<u64>,
    latencies: Histogram<u64>,
}

/// Takes a queue's messages until all were there, as a Java consumer does it: one request for up to 32 messages, one for each
/// acknowledgement.
async fn drain(broker: SocketAddr, topic: &str, queue: u32, count: u64) -> Result<Drained, Error> {
    let mut connection = Connection::open(broker).await?;
    let latencies = Histogram::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    let mut drained = Drained { taken: HashSet::new(), latencies };
    let mut out = BytesMut::new();
    while (drained.taken.len() as u64) < count {
        let header = PopMessage {
            consumer_group: GROUP.into(),
            topic: topic.into(),
            queue_id: queue as i32,
            max_msg_nums: 32,
            invisible_time: 60_000,
            poll_time: 15_000,
            born_time: now(),
            init_mode: init_mode::MIN,
            exp_type: Some("TAG".into()),
            exp: Some("*".into()),
            order: false,
            attempt_id: None,
        };
        out.clear();
        let request = remoting::request(BrokerCode::PopMessage, 1, Serialize::Json);
        encode::request(&mut out, request, &header.fields(), b"").map_err(Error::new)?;
        let asked = Instant::now();
        connection.write(&out).await?;
        let mut handles = Vec::new();
        let taken = &mut drained.taken;
        while connection.read(|frame| take(frame, taken, &mut handles)).await? == 0 {}
        out.clear();
        for (offset, handle) in &handles {
            let header = AckMessage {
                consumer_group: GROUP.into(),
                topic: topic.into(),
                queue_id: queue as i32,
                extra_info: handle.into(),
                offset: *offset,
                lite_topic: None,
            };
            let request = remoting::request(BrokerCode::AckMessage, 2, Serialize::Json);
            encode::request(&mut out, request, &header.fields(), b"").map_err(Error::new)?;
        }
        connection.write(&out).await?;
        let mut answered = 0;
        while answered < handles.len() {
            answered += connection.read(remoting::check).await?;
        }
        drained.latencies.saturating_record(asked.elapsed().as_micros() as u64);
    }
    Ok(drained)
}

/// Takes the messages of a reply, and their handles.
fn take(frame: &Frame<'_>, taken: &mut HashSet<u64>, handles: &mut Vec<(i64, String)>) -> Result<(), Error> {
    match ResponseCode::of(frame.code) {
        ResponseCode::Success => {}
        ResponseCode::PollingTimeout => return Ok(()),
        _ => return remoting::check(frame),
    }
    let header = PopMessageResponse::decode(&frame.ext).map_err(Error::new)?;
    let start = header.start_offset_info.as_deref().unwrap_or_default();
    let offsets = header.msg_offset_info.as_deref().unwrap_or_default();
    let queues =
        parse_offset_info(start, offsets).ok_or_else(|| Error::new("the lists of offsets are odd"))?;
    let mut rest = frame.body;
    while !rest.is_empty() {
        let record = RecordView::parse(rest).map_err(Error::new)?;
        let number = record.body().first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        let offset = record.queue_offset();
        if number != Some(offset) || !record.body_is_intact() || !taken.insert(offset) {
            return Err(Error::new(format!("message {offset} is doubled or damaged")));
        }
        let start = queues.first().map_or(0, |queue| queue.start);
        let handle = ExtraInfo {
            start_offset: start as i64,
            pop_time: header.pop_time,
            invisible_time: header.invisible_time,
            revive_queue: header.revive_queue_id,
            retry: Retry::Normal,
            broker_name: "broker",
            queue_id: Some(record.queue() as i32),
            queue_offset: Some(offset as i64),
        };
        handles.push((offset as i64, handle.to_string()));
        rest = &rest[record.total_len()..];
    }
    Ok(())
}
