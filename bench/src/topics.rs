//! Many topics: creates them and stores a message in each of their queues, so that each queue has something to remember.

use crate::{
    Error, process,
    remoting::{self, Connection},
    report::{Latency, Report},
};
use bytes::BytesMut;
use clap::Args;
use halley_wire::{BrokerCode, Serialize, encode};
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use tokio::time::Instant;

/// Requests in flight.
const WINDOW: u32 = 64;

/// What to create, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The name server
    #[arg(long, default_value = "127.0.0.1:9876")]
    peer: SocketAddr,
    /// Topics
    #[arg(long, default_value_t = 100_000)]
    topics: u32,
    /// Queues of each topic
    #[arg(long, default_value_t = 8)]
    queues: u32,
    /// Size of a message's body in bytes
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// The server's process, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let Arguments { topics, queues, size, .. } = arguments;
    let broker = remoting::prepare(arguments.peer, "bench_topics", queues).await?;
    let mut connection = Connection::open(broker).await?;
    let began = Instant::now();
    let name = |topic: u32| format!("bench_topics_{topic:07}");
    in_windows(&mut connection, topics, |out, topic| {
        let name = name(topic);
        let header = remoting::create_header(&name, queues)?;
        let request = remoting::request(BrokerCode::UpdateAndCreateTopic, 1, Serialize::Binary);
        encode::request(out, request, &header.fields(), b"").map_err(Error::new)
    })
    .await?;
    eprintln!("{topics} topics created after {:.1} s", began.elapsed().as_secs_f64());

    let usage = |pid: Option<u32>| pid.map(|pid| process::usage(Some(pid))).transpose();
    let (before, own_before) = (usage(arguments.server_pid)?, process::usage(None)?);
    let (started, body) = (Instant::now(), vec![b'x'; size]);
    let latencies = in_windows(&mut connection, topics * queues, |out, number| {
        remoting::send(out, &name(number / queues), number % queues, "", &body)
    })
    .await?;
    let (after, own_after) = (usage(arguments.server_pid)?, process::usage(None)?);
    let cpu = before.zip(after).map(|(before, after)| after.cpu.saturating_sub(before.cpu));
    Report {
        load: format!("one message of {size} B in each of {queues} queues of {topics} topics"),
        messages: u64::from(topics) * u64::from(queues),
        failed: 0,
        seconds: started.elapsed().as_secs_f64(),
        latency_micros: Latency::from(latencies),
        server_cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
        server_resident_bytes: after.map(|usage| usage.resident),
        client_cpu_seconds: own_after.cpu.saturating_sub(own_before.cpu).as_secs_f64(),
        cpu_pressure_percent: process::cpu_pressure(),
    }
    .print(arguments.json);
    Ok(())
}

/// Makes `count` requests, a window at a time; how long each window took, in microseconds.
async fn in_windows(
    connection: &mut Connection,
    count: u32,
    encode: impl Fn(&mut BytesMut, u32) -> Result<(), Error>,
) -> Result<Histogram<u64>, Error> {
    let mut took = Histogram::new_with_bounds(1, 120_000_000, 3).map_err(Error::new)?;
    let mut out = BytesMut::new();
    for first in (0..count).step_by(WINDOW as usize) {
        out.clear();
        let end = count.min(first + WINDOW);
        for number in first..end {
            encode(&mut out, number)?;
        }
        let started = Instant::now();
        connection.write(&out).await?;
        let mut answered = 0;
        while answered < (end - first) as usize {
            answered += connection.read(remoting::check).await?;
        }
        took.saturating_record(started.elapsed().as_micros() as u64);
    }
    Ok(took)
}
