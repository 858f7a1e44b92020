//! Posting CloudEvents over HTTP/1.1 keep-alive connections, one request in flight on each.

use crate::{
    Error, Shape,
    load::{self, Measured, Schedule, Window},
};
use clap::{Args, ValueEnum};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// Events in one request of mode `batch`.
const BATCH: u64 = 100;

/// What to post, and where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The ingress
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// The bus
    #[arg(long, default_value = "default")]
    bus: String,
    /// How events stand in a request
    #[arg(long, value_enum, default_value_t = Mode::Structured)]
    mode: Mode,
    /// Size of an event as structured JSON, in bytes
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Binary,
    Structured,
    Batch,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let request: Arc<[u8]> = request(&arguments).into();
    let events = if arguments.mode == Mode::Batch { BATCH } else { 1 };
    let (address, shape) = (arguments.address, arguments.shape.clone());
    let name = format!("ingress {:?}, {} connections", arguments.mode, shape.connections);
    let report = load::run(&name, &arguments.shape, move |index, window| {
        let (request, shape) = (request.clone(), shape.clone());
        async move { connection(address, &request, events, &shape, index, window).await }
    });
    report.await?.print(arguments.shape.json);
    Ok(())
}

async fn connection(
    address: SocketAddr,
    request: &[u8],
    events: u64,
    shape: &Shape,
    index: usize,
    window: Window,
) -> Result<Measured, Error> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| Error::of("connect", error))?;
    stream.set_nodelay(true).map_err(Error::new)?;
    let mut schedule =
        shape.rate.map(|rate| Schedule::new(Instant::now(), rate / events as f64, shape.connections, index));
    let mut measured = Measured::new(window);
    let mut answer = Vec::with_capacity(4096);
    while Instant::now() < window.end {
        let intended = load::next_planned(&mut schedule).await;
        stream.write_all(request).await.map_err(|error| Error::of("write", error))?;
        let accepted = read_answer(&mut stream, &mut answer).await?;
        if accepted { measured.answered(Instant::now(), intended, events) } else { measured.failed() }
    }
    Ok(measured)
}

/// Reads one answer; whether it is a 202.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<bool, Error> {
    answer.clear();
    loop {
        if let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
            if answer.len() >= end + 4 + length {
                return Ok(head.starts_with("http/1.1 202"));
            }
        }
        if stream.read_buf(answer).await.map_err(|error| Error::of("read", error))? == 0 {
            return Err(Error::new("the server closed the connection"));
        }
    }
}

/// The bytes of one request.
fn request(arguments: &Arguments) -> Vec<u8> {
    let event = event(arguments.size);
    let attributes =
        "ce-specversion: 1.0\r\nce-id: 1234567890\r\nce-source: /bench\r\nce-type: com.example.bench\r\n";
    let (headers, body) = match arguments.mode {
        Mode::Structured => ("content-type: application/cloudevents+json\r\n".to_owned(), event),
        Mode::Binary => (format!("{attributes}content-type: text/plain\r\n"), "x".repeat(arguments.size)),
        Mode::Batch => {
            let events = vec![event; BATCH as usize].join(",");
            ("content-type: application/cloudevents-batch+json\r\n".to_owned(), format!("[{events}]"))
        }
    };
    let head = format!("POST /{} HTTP/1.1\r\nhost: {}\r\n{headers}", arguments.bus, arguments.address);
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A structured event of about `size` bytes whose data looks like an order.
fn event(size: usize) -> String {
    let head = r#"{"specversion":"1.0","id":"1234567890","source":"/shop/1","type":"com.example.bench","subject":"order-1","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","data":{"order":4711,"amount":12.5,"items":["#;
    let tail = "]}}";
    let mut event = head.to_owned();
    let item = r#"{"sku":"A-1234","count":2,"price":6.25}"#;
    while event.len() + item.len() + 1 + tail.len() <= size {
        if !event.ends_with('[') {
            event.push(',');
        }
        event.push_str(item);
    }
    event + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_of_the_size() {
        let event = event(1024);
        assert!((980..=1024).contains(&event.len()), "{}", event.len());
        let parsed: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!(parsed["specversion"], "1.0");
    }
}
