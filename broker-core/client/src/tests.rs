use super::*;
use bytes::Buf;
use halley_wire::{BrokerCode, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const LIMIT: Duration = Duration::from_secs(30);

/// Reads one frame and gives it to `take`.
async fn read_frame<T>(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    take: impl FnOnce(&Frame<'_>) -> T,
) -> T {
    loop {
        if let Some((frame, length)) = frame::decode(input, &frame::Limits::default()).unwrap() {
            let taken = take(&frame);
            input.advance(length);
            return taken;
        }
        assert_ne!(stream.read_buf(input).await.unwrap(), 0);
    }
}

fn reply(opaque: i32, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    encode_reply(&mut out, halley_wire::Serialize::Json, ResponseCode::Success, opaque, None, &[], body);
    out
}

async fn peer() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&listener.local_addr().unwrap().to_string(), Options::default());
    (listener, client)
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (listener, client) = peer().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut input = BytesMut::new();
        let mut asked = Vec::new();
        for _ in 0..2 {
            asked
                .push(read_frame(&mut stream, &mut input, |frame| (frame.opaque, frame.body.to_vec())).await);
        }
        for (opaque, body) in asked.into_iter().rev() {
            stream.write_all(&reply(opaque, &body)).await.unwrap();
        }
        stream
    });
    let ask = |body: &'static [u8]| client.request(BrokerCode::HeartBeat, &[], body, LIMIT);
    let (one, two) = tokio::join!(ask(b"one"), ask(b"two"));
    assert_eq!((&one.unwrap().body()[..], &two.unwrap().body()[..]), (&b"one"[..], &b"two"[..]));
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_lost_connection_is_told_and_replaced() {
    let (listener, client) = peer().await;
    let server = tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        let mut first = first;
        read_frame(&mut first, &mut BytesMut::new(), |_| ()).await;
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        let opaque = read_frame(&mut second, &mut BytesMut::new(), |frame| frame.opaque).await;
        second.write_all(&reply(opaque, b"")).await.unwrap();
        second
    });
    let connection = client.connection().await.unwrap();
    let lost = client.request(BrokerCode::HeartBeat, &[], b"", LIMIT).await;
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    connection.closed().await;
    assert!(!connection.is_open());
    assert!(client.request(BrokerCode::HeartBeat, &[], b"", LIMIT).await.is_ok());
    drop(server.await.unwrap());
}

#[tokio::test]
async fn silence_ends_with_the_limit_and_late_replies_are_dropped() {
    let (listener, client) = peer().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut input = BytesMut::new();
        let late = read_frame(&mut stream, &mut input, |frame| frame.opaque).await;
        let opaque = read_frame(&mut stream, &mut input, |frame| frame.opaque).await;
        stream.write_all(&[reply(late, b"late"), reply(opaque, b"in time")].concat()).await.unwrap();
        stream
    });
    let silent = client.request(BrokerCode::HeartBeat, &[], b"", Duration::from_millis(5)).await;
    assert!(matches!(silent, Err(Error::TimedOut { .. })), "{silent:?}");
    let answered = client.request(BrokerCode::HeartBeat, &[], b"", LIMIT).await.unwrap();
    assert_eq!(&answered.body()[..], b"in time");
    drop(server.await.unwrap());
}

#[tokio::test]
async fn after_a_failure_the_backoff_comes_first() {
    let (listener, client) = peer().await;
    drop(listener);
    assert!(matches!(client.connection().await, Err(Error::Unreachable { .. })));
    assert!(matches!(client.connection().await, Err(Error::Unreachable { .. })));
    let again = client.backoff().await;
    assert_eq!(again, Some(Options::default().backoff_min), "the second answer made no attempt");
    client.wait_backoff().await;
    assert!(client.connection().await.is_err());
    let again = client.backoff().await;
    assert_eq!(again, Some(Options::default().backoff_min * 2));
}

#[tokio::test]
async fn what_was_sent_is_written_before_the_connection_closes() {
    let (listener, client) = peer().await;
    client.oneway(BrokerCode::HeartBeat, &[], b"last words").await.unwrap();
    drop(client);
    let (mut stream, _) = listener.accept().await.unwrap();
    let body = read_frame(&mut stream, &mut BytesMut::new(), |frame| frame.body.to_vec()).await;
    assert_eq!(body, b"last words");
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_peer_may_ask_too() {
    let (listener, client) = peer().await;
    let connection = client.connection().await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut out = BytesMut::new();
    halley_wire::encode::request(&mut out, halley_wire::encode::Request::new(999, 5), &[], b"").unwrap();
    stream.write_all(&out).await.unwrap();
    let (code, opaque) =
        read_frame(&mut stream, &mut BytesMut::new(), |frame| (frame.code, frame.opaque)).await;
    assert_eq!((code, opaque), (ResponseCode::RequestCodeNotSupported.number(), 5));
    drop(connection);
}
