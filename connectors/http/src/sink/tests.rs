//! Against a server in this process that answers what a test says.

use super::*;
use crate::config::{Mode, RetryOn};
use bytes::Bytes;
use halley_model::{
    RecordBody, property,
    record::{Place, RecordView},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const OK: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

/// A request as it came: the lines of its head, its body, and on which connection.
#[derive(Debug)]
struct Seen {
    head: Vec<String>,
    body: Vec<u8>,
    connection: usize,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A server that answers each request with the same bytes, closing after it where told.
async fn server(answer: &'static str, close: bool) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((socket, _)) = listener.accept().await else { return };
            tokio::spawn(serve(socket, answer, close, connection, tell.clone()));
        }
    });
    (address, seen)
}

async fn serve(
    mut socket: TcpStream,
    answer: &'static str,
    close: bool,
    connection: usize,
    tell: mpsc::UnboundedSender<Seen>,
) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head: Vec<_> =
            String::from_utf8(read[..end].to_vec()).unwrap().lines().map(str::to_owned).collect();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while read.len() < end + 4 + length {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0);
        }
        let body = read[end + 4..end + 4 + length].to_vec();
        read.drain(..end + 4 + length);
        tell.send(Seen { head, body, connection }).unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        if close {
            return;
        }
    }
}

fn record(properties: &[(&str, &str)], body: &[u8]) -> Bytes {
    let mut raw = Vec::new();
    for (key, value) in properties {
        assert!(property::push(&mut raw, key, value));
    }
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let record = RecordBody {
        topic: "ORDERS",
        queue: 3,
        flag: 0,
        system_flag: 0,
        born: 1,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties: &raw,
        dispatched: false,
    };
    let mut out = Vec::new();
    record.encode(&Place { queue_offset: 7, log_offset: 100, stored: 0, store_host: host }, &mut out);
    assert!(RecordView::parse(&out).is_ok());
    out.into()
}

fn paid() -> Bytes {
    let attributes = [
        ("ce_specversion", "1.0"),
        ("ce_id", "a 1"),
        ("ce_source", "/shop"),
        ("ce_type", "order.paid"),
        ("ce_datacontenttype", "application/json"),
        ("TAGS", "not an attribute"),
    ];
    record(&attributes, br#"{"amount": 7}"#)
}

fn sink(address: SocketAddr, mode: Mode, timeout: Duration) -> HttpSink {
    let headers = [("x-team".to_owned(), "billing".to_owned())];
    let url = format!("http://{address}/hook?x=1");
    HttpSink::new(Client::default(), Config::new(&url, mode, timeout, &headers, RetryOn::default()).unwrap())
}

async fn deliver(sink: &HttpSink, record: Bytes) -> Verdict {
    sink.deliver(Attempt { record, cluster: Arc::from("here"), number: 1 }).await
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn binary_mode() {
    let (address, mut seen) = server(OK, false).await;
    assert_eq!(deliver(&sink(address, Mode::Binary, LONG), paid()).await, Verdict::Delivered);
    let request = seen.recv().await.unwrap();
    assert_eq!(request.head[0], "POST /hook?x=1 HTTP/1.1");
    assert_eq!(request.header("host"), Some(address.to_string().as_str()));
    assert_eq!(request.header("ce-specversion"), Some("1.0"));
    assert_eq!(request.header("ce-id"), Some("a%201"));
    assert_eq!(request.header("ce-type"), Some("order.paid"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-team"), Some("billing"));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("halley/")));
    assert!(!request.head.iter().any(|line| line.contains("not an attribute")));
    assert_eq!(request.body, br#"{"amount": 7}"#);
}

#[tokio::test]
async fn structured_mode() {
    let (address, mut seen) = server(OK, false).await;
    assert_eq!(deliver(&sink(address, Mode::Structured, LONG), paid()).await, Verdict::Delivered);
    let request = seen.recv().await.unwrap();
    assert!(request.header("content-type").unwrap().starts_with("application/cloudevents+json"));
    assert_eq!(request.header("ce-id"), None);
    let body = String::from_utf8(request.body).unwrap();
    assert!(body.contains(r#""id":"a 1""#) && body.contains(r#""data":{"amount": 7}"#), "{body}");
}

#[tokio::test]
async fn a_message_becomes_an_event() {
    let (address, mut seen) = server(OK, false).await;
    let message = record(&[("UNIQ_KEY", "AC11"), ("TAGS", "blue"), ("colour", "red")], b"raw");
    assert_eq!(deliver(&sink(address, Mode::Binary, LONG), message).await, Verdict::Delivered);
    let request = seen.recv().await.unwrap();
    assert_eq!(request.header("ce-id"), Some("AC11"));
    assert_eq!(request.header("ce-source"), Some("/rocketmq/here/ORDERS"));
    assert_eq!(request.header("ce-rocketmqtag"), Some("blue"));
    assert_eq!(request.header("ce-rocketmqoffset"), Some("7"));
    assert_eq!(request.header("ce-colour"), None);
    assert_eq!(request.body, b"raw");
}

#[tokio::test]
async fn connections_are_used_again() {
    let (address, mut seen) = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false).await;
    let sink = sink(address, Mode::Binary, LONG);
    for _ in 0..3 {
        assert_eq!(deliver(&sink, paid()).await, Verdict::Delivered);
        assert_eq!(seen.recv().await.unwrap().connection, 0);
    }
}

#[tokio::test]
async fn a_status_with_its_reason() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy";
    let (address, _seen) = server(answer, false).await;
    let expected = Verdict::Retry {
        reason: "answered 503 Service Unavailable: busy".to_owned(),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(deliver(&sink(address, Mode::Binary, LONG), paid()).await, expected);

    // A redirection is not followed: the event would go to a place nobody configured.
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
    let (address, mut seen) = server(answer, false).await;
    let verdict = deliver(&sink(address, Mode::Binary, LONG), paid()).await;
    assert_eq!(verdict, Verdict::Reject { reason: "answered 307 Temporary Redirect".to_owned() });
    assert!(seen.recv().await.is_some() && seen.try_recv().is_err());
}

#[tokio::test]
async fn the_status_decides_even_if_the_body_never_ends() {
    let (address, _seen) = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", false).await;
    assert_eq!(deliver(&sink(address, Mode::Binary, LONG), paid()).await, Verdict::Delivered);
    let (address, _seen) = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut off", true).await;
    assert_eq!(deliver(&sink(address, Mode::Binary, LONG), paid()).await, Verdict::Delivered);
}

#[tokio::test]
async fn no_answer_is_tried_again() {
    async fn check(sink: &HttpSink, said: &str) {
        match deliver(sink, paid()).await {
            Verdict::Retry { reason, retry_after: None } => assert!(reason.contains(said), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    let (closing, _seen) = server("", true).await;
    check(&sink(closing, Mode::Binary, LONG), "no answer: ").await;
    let (garbage, _seen) = server("\u{1}garbage\r\n\r\n", true).await;
    check(&sink(garbage, Mode::Binary, LONG), "no answer: ").await;
    let (silent, _seen) = server("", false).await;
    check(&sink(silent, Mode::Binary, Duration::from_millis(5)), "no answer within 5 ms").await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = unused.local_addr().unwrap();
    drop(unused);
    check(&sink(nobody, Mode::Binary, LONG), "refused").await;
}

#[tokio::test]
async fn what_is_no_record_is_rejected() {
    let (address, _seen) = server(OK, false).await;
    let verdict = deliver(&sink(address, Mode::Binary, LONG), Bytes::from_static(b"no record")).await;
    assert!(matches!(verdict, Verdict::Reject { .. }));
}

#[test]
fn settings_are_checked() {
    let check = |url: &str, name: &str, value: &str| {
        let headers = [(name.to_owned(), value.to_owned())];
        Config::new(url, Mode::Binary, LONG, &headers, RetryOn::default())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(check("https://billing.local/hook", "x-a", "b"), None);
    for url in ["billing.local/hook", "ftp://billing.local", "/hook", "http://", "http://a b"] {
        assert!(check(url, "x-a", "b").is_some_and(|error| error.contains(url)), "{url}");
    }
    assert!(check("http://a", "x a", "b").is_some_and(|error| error.contains("x a")));
    assert!(check("http://a", "x-a", "b\n").is_some_and(|error| error.contains("x-a")));
}
