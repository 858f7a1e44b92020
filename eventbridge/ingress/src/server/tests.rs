use super::*;
use bytes::Bytes;
use halley_backend::{Commit, Outgoing, Placed, PullError, Pulled, SendError};
use halley_model::{GroupName, QueueId, QueueOffset, TopicName, property};
use std::sync::{Mutex, atomic::Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpStream,
    task::JoinHandle,
};

const BUSES: &str = "
apiVersion: halley/v1
buses:
  orders: {topic: BUS_orders, queues: 8}
routes:
  - {name: paid, bus: orders, when: [{exact: {type: paid}}], publish: {topic: PAID, tag: '${subject}', keys: ['${id}', 'k']}}
  - {name: all, bus: orders, publish: {topic: ALL}}
targets:
  shop: {http: {url: 'http://127.0.0.1:9/'}}
rules:
  - {name: in-order, from: {bus: orders}, to: shop, delivery: {order: 'key:subject'}}
";

const EVENT: &str =
    "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: paid\r\nce-subject: foobar\r\n";

/// A broker that keeps batches, or refuses them, and may take its time.
struct Broker {
    batches: Mutex<Vec<Vec<Outgoing>>>,
    refusal: Mutex<Option<SendError>>,
    /// One permit for each batch that may be stored.
    gate: Semaphore,
}

impl Backend for Broker {
    async fn ensure_topic(&self, _: &TopicName, _: u32) -> Result<(), SendError> {
        unreachable!("topics are made before the ingress starts")
    }

    fn queues(&self, topic: &TopicName) -> Option<u32> {
        (topic.as_str() == "PAID").then_some(4)
    }

    async fn send(&self, batch: Vec<Outgoing>) -> Result<Vec<Placed>, SendError> {
        self.gate.acquire().await.expect("the gate is never closed").forget();
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        let place = Placed { queue: 0, queue_offset: 0, log_offset: 0 };
        let places = vec![place; batch.len()];
        self.batches.lock().unwrap().push(batch);
        Ok(places)
    }

    async fn pull(
        &self,
        _: &TopicName,
        _: QueueId,
        _: QueueOffset,
        _: usize,
        _: usize,
        _: Duration,
    ) -> Result<Pulled, PullError> {
        unreachable!("the ingress reads nothing")
    }

    fn committed(&self, _: &GroupName, _: &TopicName, _: QueueId) -> Option<Commit> {
        unreachable!("the ingress reads nothing")
    }

    fn commit(&self, _: &GroupName, _: &TopicName, _: QueueId, _: Commit) {
        unreachable!("the ingress reads nothing")
    }

    async fn flush_commits(&self) -> Result<(), SendError> {
        unreachable!("the ingress reads nothing")
    }

    fn cluster(&self) -> &str {
        unreachable!("the ingress asks for no name")
    }
}

/// An ingress, and the switch that stops it.
struct Stage {
    ingress: Arc<Ingress<Broker>>,
    stop: watch::Sender<bool>,
}

impl Stage {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let broker = Broker {
            batches: Mutex::default(),
            refusal: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        };
        let config = halley_rules::load(BUSES).unwrap_or_else(|errors| panic!("{errors:?}"));
        let ingress = Ingress {
            backend: Arc::new(broker),
            config: Arc::new(config),
            limits,
            metrics: IngressMetrics::default(),
            inflight: AtomicUsize::new(0),
        };
        Self { ingress: Arc::new(ingress), stop: watch::Sender::new(false) }
    }

    /// Lets no batch pass until permits are added to the gate.
    fn hold(&self) {
        let all = self.broker().gate.available_permits();
        assert_eq!(self.broker().gate.forget_permits(all), all);
    }

    fn broker(&self) -> &Broker {
        &self.ingress.backend
    }

    fn client(&self) -> (DuplexStream, JoinHandle<hyper::Result<()>>) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let served = tokio::spawn(connection(far, self.ingress.clone(), self.stop.subscribe()));
        (near, served)
    }

    /// What the server answers to these bytes on a connection of their own, until it closes that.
    async fn answer(&self, request: &str) -> String {
        let (mut client, _) = self.client();
        client.write_all(request.as_bytes()).await.unwrap();
        all_of(&mut client).await
    }

    fn batches(&self) -> Vec<Vec<Outgoing>> {
        self.broker().batches.lock().unwrap().clone()
    }

    fn inflight(&self) -> usize {
        self.ingress.inflight.load(Ordering::Relaxed)
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn last_post(path: &str, headers: &str, body: &str) -> String {
    post(path, &format!("Connection: close\r\n{headers}"), body)
}

async fn all_of(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// Reads the head of one answer.
async fn head_of(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap_or_else(|error| panic!("{error} after {head:?}")));
    }
    String::from_utf8(head).unwrap()
}

fn status_of(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test(start_paused = true)]
async fn an_event_and_its_copies_are_one_batch() {
    let stage = Stage::new();
    let answer = stage.answer(&last_post("/orders", EVENT, "hello")).await;
    assert_eq!(status_of(&answer), 202, "{answer}");
    let [batch] = &stage.batches()[..] else { panic!("one send") };
    let attributes = "ce_specversion\u{1}1.0\u{2}ce_id\u{1}1\u{2}ce_source\u{1}/s\u{2}ce_type\u{1}paid\u{2}ce_subject\u{1}foobar\u{2}";
    let tagged = format!("{attributes}TAGS\u{1}foobar\u{2}KEYS\u{1}1 k\u{2}");
    // FNV-1a of "foobar" is 0xBF9CF968: its queue of 8 is 0, and of 4 too; a topic without queues has the first only.
    let expected = [("PAID", &*tagged), ("ALL", attributes), ("BUS_orders", attributes)];
    assert_eq!(batch.len(), expected.len());
    for (record, (topic, properties)) in batch.iter().zip(expected) {
        assert_eq!((record.topic.as_str(), record.queue), (topic, Some(0)));
        assert_eq!(std::str::from_utf8(&record.properties).unwrap(), properties);
        assert_eq!(record.body, "hello");
    }
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_answer_waits_for_the_store() {
    let stage = Stage::new();
    stage.hold();
    let (mut client, _) = stage.client();
    client.write_all(post("/", EVENT, "x").as_bytes()).await.unwrap();
    let early = timeout(Duration::from_secs(600), client.read_u8()).await;
    assert!(early.is_err(), "answered before the batch was stored: {early:?}");
    assert_eq!(stage.inflight(), 1);
    stage.broker().gate.add_permits(1);
    assert_eq!(status_of(&head_of(&mut client).await), 202);
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_stored_by_one_send_or_not_at_all() {
    let stage = Stage::new();
    let event = |id: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
    let headers = "Content-Type: application/cloudevents-batch+json\r\n";
    let bad = format!("[{},{}]", event("1"), event(""));
    assert_eq!(status_of(&stage.answer(&last_post("/", headers, &bad)).await), 400);
    assert!(stage.batches().is_empty());
    let good = format!("[{},{},{}]", event("1"), event("2"), event("3"));
    assert_eq!(status_of(&stage.answer(&last_post("/", headers, &good)).await), 202);
    let sent = stage.batches();
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
    let ids = sent[0].iter().map(|record| property::get(&record.properties, "ce_id").unwrap().to_owned());
    assert_eq!(ids.collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(status_of(&stage.answer(&last_post("/", headers, "[]")).await), 202);
    assert_eq!(stage.batches().len(), 1, "nothing to store, nothing sent");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_said() {
    let stage = Stage::new();
    let topic = TopicName::new("T").unwrap();
    let cases = [
        (SendError::Overloaded { staged: 2, max: 1 }, 429, Some("1")),
        (SendError::Full, 503, Some("10")),
        (SendError::Stopped("sync failed".to_owned()), 503, Some("5")),
        (SendError::NoSuchTopic(topic), 503, Some("5")),
        (SendError::Invalid("too long".to_owned()), 413, None),
    ];
    for (error, status, retry_after) in cases {
        let message = error.to_string();
        *stage.broker().refusal.lock().unwrap() = Some(error);
        let answer = stage.answer(&last_post("/", EVENT, "x")).await;
        assert_eq!(status_of(&answer), status, "{answer}");
        let found = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
        assert_eq!(found, retry_after, "{answer}");
        assert!(answer.contains(&message), "{answer}");
        assert_eq!(stage.inflight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_not_waited_for() {
    let limits =
        Limits { head_time: Duration::from_secs(5), body_time: Duration::from_secs(7), ..Limits::default() };
    let body_time = limits.body_time;
    let stage = Stage::with(limits);
    for unfinished in ["", "POST / HT", "POST / HTTP/1.1\r\nHost: h\r\nce-id: "] {
        let started = tokio::time::Instant::now();
        let answer = stage.answer(unfinished).await;
        assert!(answer.is_empty(), "{answer}");
        assert!(
            started.elapsed() < Duration::from_secs(6),
            "{unfinished:?} held for {:?}",
            started.elapsed()
        );
    }
    let started = tokio::time::Instant::now();
    let short = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n{EVENT}\r\nhalf");
    let answer = stage.answer(&short).await;
    assert_eq!(status_of(&answer), 408, "{answer}");
    assert!(started.elapsed() < body_time + Duration::from_secs(1));
    assert_eq!(stage.inflight(), 0);
    assert!(stage.batches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dripping_does_not_extend_the_time() {
    let limits =
        Limits { head_time: Duration::from_secs(5), body_time: Duration::from_secs(7), ..Limits::default() };
    let stage = Stage::with(limits);
    for start in [
        "POST / HTTP/1.1\r\nx: ".to_owned(),
        format!("POST / HTTP/1.1\r\nContent-Length: 1000\r\n{EVENT}\r\n"),
    ] {
        let (mut client, mut served) = stage.client();
        client.write_all(start.as_bytes()).await.unwrap();
        let mut drops = 0;
        while timeout(Duration::from_secs(1), &mut served).await.is_err() {
            drops += 1;
            assert!(drops < 10, "still served after {drops} s: {start}");
            // Fails once the server has closed.
            let _ = client.write_all(b"x").await;
        }
    }
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_leaves_nothing() {
    let stage = Stage::new();
    let (mut client, served) = stage.client();
    let short = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n{EVENT}\r\nhalf");
    client.write_all(short.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let answer = all_of(&mut client).await;
    assert!(answer.is_empty() || status_of(&answer) == 400, "{answer}");
    let _ = served.await.unwrap();
    assert!(stage.batches().is_empty());
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn bodies_in_work_are_bounded() {
    let stage = Stage::with(Limits { body_bytes: 100, inflight_bytes: 150, ..Limits::default() });
    stage.hold();
    let (mut first, _) = stage.client();
    first.write_all(post("/", EVENT, &"x".repeat(100)).as_bytes()).await.unwrap();
    while stage.inflight() == 0 {
        tokio::task::yield_now().await;
    }
    let answer = stage.answer(&last_post("/", EVENT, &"x".repeat(51))).await;
    assert_eq!(status_of(&answer), 429, "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    // A body of unknown length counts as the longest.
    let chunked = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{EVENT}\r\n1\r\nx\r\n0\r\n\r\n");
    let (mut second, _) = stage.client();
    second.write_all(chunked.as_bytes()).await.unwrap();
    assert_eq!(status_of(&head_of(&mut second).await), 429);
    stage.broker().gate.add_permits(2);
    assert_eq!(status_of(&head_of(&mut first).await), 202);
    assert_eq!(status_of(&stage.answer(&last_post("/", EVENT, &"x".repeat(51))).await), 202);
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn long_bodies_are_refused_however_they_come() {
    let stage = Stage::with(Limits { body_bytes: 10, ..Limits::default() });
    assert_eq!(status_of(&stage.answer(&last_post("/", EVENT, "0123456789")).await), 202);
    assert_eq!(status_of(&stage.answer(&last_post("/", EVENT, "0123456789a")).await), 413);
    let head = format!("POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{EVENT}\r\n");
    let fits = format!("{head}5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n");
    assert_eq!(status_of(&stage.answer(&fits).await), 202);
    let long = format!("{head}5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n");
    assert_eq!(status_of(&stage.answer(&long).await), 413);
    // Announced, never sent: the answer does not wait for it.
    let announced = format!("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n{EVENT}\r\n");
    assert_eq!(status_of(&stage.answer(&announced).await), 413);
    let bodies: Vec<Bytes> = stage.batches().iter().map(|batch| batch[0].body.clone()).collect();
    assert_eq!(bodies, ["0123456789", "0123456789"]);
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_follow_each_other_on_one_connection() {
    let stage = Stage::new();
    let (mut client, _) = stage.client();
    for _ in 0..3 {
        client.write_all(post("/orders", EVENT, "x").as_bytes()).await.unwrap();
        assert_eq!(status_of(&head_of(&mut client).await), 202);
    }
    let pipelined = post("/", EVENT, "a") + &post("/nobus", EVENT, "b") + &last_post("/", EVENT, "c");
    client.write_all(pipelined.as_bytes()).await.unwrap();
    let answers = all_of(&mut client).await;
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["202", "404", "202"], "{answers}");
    assert!(answers.contains("known are: orders, default"), "{answers}");
    assert_eq!(stage.batches().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_web_hook_handshake_allows_whoever_asks() {
    let stage = Stage::new();
    let ask = |headers: &str| format!("OPTIONS /orders HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    let answer = stage.answer(&ask("WebHook-Request-Origin: shop.example\r\n")).await;
    assert_eq!(status_of(&answer), 200, "{answer}");
    for line in ["allow: POST, OPTIONS", "webhook-allowed-origin: shop.example", "webhook-allowed-rate: *"] {
        assert!(answer.lines().any(|found| found == line), "{line} is missing in {answer}");
    }
    assert!(!stage.answer(&ask("")).await.contains("webhook-allowed"));
    let answer = stage.answer("DELETE / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status_of(&answer), 405);
    assert!(answer.contains("allow: POST, OPTIONS\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_answered_or_closed() {
    let stage = Stage::new();
    let many: String = (0..200).map(|index| format!("x{index}: y\r\n")).collect();
    let cases = [
        "\u{16}\u{3}\u{1} no HTTP at all\r\n\r\n".to_owned(),
        "POST / HTTP/9.9\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned(),
        format!("POST / HTTP/1.1\r\n{many}\r\n"),
        format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{EVENT}\r\nzz\r\n"),
    ];
    for request in cases {
        let answer = stage.answer(&request).await;
        assert!(answer.is_empty() || (400..500).contains(&status_of(&answer)), "{request}: {answer}");
    }
    assert!(stage.batches().is_empty());
    assert_eq!(stage.inflight(), 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_what_runs_and_closes_what_waits() {
    let stage = Stage::new();
    let (mut idle, idle_served) = stage.client();
    idle.write_all(post("/", EVENT, "x").as_bytes()).await.unwrap();
    assert_eq!(status_of(&head_of(&mut idle).await), 202);
    stage.hold();
    let (mut busy, busy_served) = stage.client();
    busy.write_all(post("/", EVENT, "x").as_bytes()).await.unwrap();
    while stage.inflight() == 0 {
        tokio::task::yield_now().await;
    }
    let started = tokio::time::Instant::now();
    stage.stop.send_replace(true);
    assert_eq!(all_of(&mut idle).await, "");
    idle_served.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO, "an idle connection is closed at once");
    stage.broker().gate.add_permits(1);
    let answer = all_of(&mut busy).await;
    assert_eq!(status_of(&answer), 202, "{answer}");
    busy_served.await.unwrap().unwrap();
}

/// The whole server on a real port.
async fn server(stage: &Stage) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Ingress { backend, config, limits, metrics, .. } = &*stage.ingress;
    let (backend, config) = (backend.clone(), config.clone());
    let served = serve(listener, backend, config, limits.clone(), metrics.clone(), stage.stop.subscribe());
    (address, tokio::spawn(served))
}

#[tokio::test]
async fn connections_are_bounded() {
    let stage = Stage::with(Limits { connections: 1, ..Limits::default() });
    let (address, _) = server(&stage).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(post("/", EVENT, "x").as_bytes()).await.unwrap();
    assert_eq!(status_of(&head_of(&mut first).await), 202);
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "closed at once");
    assert_eq!(stage.ingress.metrics.turned_away.get(), 1);
    first.write_all(post("/", EVENT, "x").as_bytes()).await.unwrap();
    assert_eq!(status_of(&head_of(&mut first).await), 202);
}

#[tokio::test]
async fn the_server_stops_when_told_or_left() {
    let stage = Stage::with(Limits { drain_time: Duration::ZERO, ..Limits::default() });
    let (address, served) = server(&stage).await;
    stage.hold();
    let mut stuck = TcpStream::connect(address).await.unwrap();
    stuck.write_all(post("/", EVENT, "x").as_bytes()).await.unwrap();
    stage.stop.send_replace(true);
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert!(stage.batches().is_empty());

    let stage = Stage::new();
    let (_, served) = server(&stage).await;
    drop(stage);
    served.await.unwrap();
}
