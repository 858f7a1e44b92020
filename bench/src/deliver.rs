//! Posting events to a server and receiving them at an HTTP target that this process serves.
//!
//! The server must have a rule that delivers the bus's events to the target; `--print-config` prints one.

use crate::{
    Error, Shape,
    load::{self, Measured, Schedule, Window},
};
use clap::Args;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::Instant,
};

/// What to post, and where to receive it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The ingress
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// The bus
    #[arg(long, default_value = "default")]
    bus: String,
    /// Where to serve the target
    #[arg(long, default_value = "127.0.0.1:8090")]
    sink: SocketAddr,
    /// Size of an event's data, in bytes
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Print the configuration that the server needs, and end
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Events on their way: by id, whom to tell of the arrival.
type Expected = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let Arguments { address, bus, sink, size, print_config, shape } = arguments;
    if print_config {
        print!("{}", config(&bus, sink));
        return Ok(());
    }
    let expected = Expected::default();
    let listener = TcpListener::bind(sink).await.map_err(|error| Error::of("the target's address", error))?;
    tokio::spawn(receive(listener, expected.clone()));
    let name = format!("deliver, {} events in flight", shape.connections);
    let for_connections = shape.clone();
    let report = load::run(&name, &shape, move |index, window| {
        let (bus, expected, shape) = (bus.clone(), expected.clone(), for_connections.clone());
        async move { connection(address, &bus, size, expected, &shape, index, window).await }
    });
    report.await?.print(shape.json);
    Ok(())
}

fn config(bus: &str, sink: SocketAddr) -> String {
    format!(
        "apiVersion: halley/v1\n\
         targets:\n  bench: {{http: {{url: \"http://{sink}/\", mode: binary}}, limits: {{maxInflight: 256}}}}\n\
         rules:\n  - {{name: bench, from: {{bus: {bus}}}, to: bench}}\n"
    )
}

/// Posts one event after the other, each when the one before has arrived.
async fn connection(
    address: SocketAddr,
    bus: &str,
    size: usize,
    expected: Expected,
    shape: &Shape,
    index: usize,
    window: Window,
) -> Result<Measured, Error> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| Error::of("connect", error))?;
    stream.set_nodelay(true).map_err(Error::new)?;
    let mut schedule = shape.rate.map(|rate| Schedule::new(Instant::now(), rate, shape.connections, index));
    let mut measured = Measured::new(window);
    let data = "x".repeat(size);
    let run = std::process::id();
    for number in 0u64.. {
        if Instant::now() >= window.end {
            break;
        }
        let intended = load::next_planned(&mut schedule).await;
        let id = format!("{run}-{index}-{number}");
        let (tell, arrived) = oneshot::channel();
        expected.lock().expect("no holder panics").insert(id.clone(), tell);
        let request = format!(
            "POST /{bus} HTTP/1.1\r\nhost: {address}\r\nce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /bench\r\n\
             ce-type: com.example.bench\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n{data}"
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| Error::of("write", error))?;
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).await.map_err(|error| Error::of("read", error))?;
        if !answer[..read].starts_with(b"HTTP/1.1 202") {
            measured.failed();
            continue;
        }
        match tokio::time::timeout_at(window.end, arrived).await {
            Ok(Ok(())) => measured.answered(Instant::now(), intended, 1),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Ok(measured)
}

/// The target: answers 204 to everything, and tells who waits for the event.
async fn receive(listener: TcpListener, expected: Expected) {
    while let Ok((stream, _)) = listener.accept().await {
        let expected = expected.clone();
        tokio::spawn(async move {
            // The server closes connections it no longer needs; nothing is lost by that.
            let _ = receive_from(stream, &expected).await;
        });
    }
}

async fn receive_from(mut stream: TcpStream, expected: &Expected) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    loop {
        while let Some((id, used)) = request_of(&input) {
            input.drain(..used);
            let tell = id.and_then(|id| expected.lock().expect("no holder panics").remove(&id));
            if let Some(tell) = tell {
                // Who waited may have ended with the run.
                let _ = tell.send(());
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// The event's id and the bytes of the first request in `input`, once it is complete.
fn request_of(input: &[u8]) -> Option<(Option<String>, usize)> {
    let end = memchr::memmem::find(input, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&input[..end]);
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let used = end.checked_add(length)?;
    (input.len() >= used).then(|| (header("ce-id"), used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_off_the_stream() {
        let input = b"POST / HTTP/1.1\r\nCe-Id: 7\r\nContent-Length: 3\r\n\r\nabcPOST";
        assert_eq!(request_of(input), Some((Some("7".to_owned()), input.len() - 4)));
        assert_eq!(request_of(&input[..40]), None);
        assert_eq!(request_of(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc"), None);
    }
}
