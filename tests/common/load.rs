//! Producers and readers that note everything in a [`History`], against any broker that speaks Remoting: what is sent to a
//! broker that fails, and read from it.

use super::{
    PATIENCE,
    history::{Answer, Content, Contents, History, Id},
};
use bytes::BytesMut;
use halley_model::{RecordView, property};
use halley_wire::{
    BrokerCode, Frame, ResponseCode,
    encode::{self, ExtField, Request},
    ext, frame,
    reply::{PullMessageResponse, SendMessageResponse},
    request::{PullMessage, SendForm, SendMessage, pull::flag},
};
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long producers wait for the last answers, and readers for a broker that says nothing.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How long a pull waits at the broker.
const SUSPEND: Duration = Duration::from_millis(200);

/// A pause before a broker that refused is asked again.
const PAUSE: Duration = Duration::from_millis(5);

/// What is sent.
#[derive(Debug, Clone)]
pub struct Shape {
    pub topic: String,
    pub queues: u32,
    /// Connections that send, and how many sends each has in flight.
    pub producers: usize,
    pub window: usize,
    /// The size of a body, 8 at least.
    pub bytes: usize,
    /// So many sends in all; then the producers end.
    pub sends: usize,
    /// Delivered so long after, as the producer's clock has it.
    pub delay: Option<Duration>,
}

impl Shape {
    /// Small messages to four queues without end: 4 × 16 in flight.
    pub fn small(topic: &str) -> Self {
        let topic = topic.to_owned();
        Self { topic, queues: 4, producers: 4, window: 16, bytes: 100, sends: usize::MAX, delay: None }
    }
}

/// A history that many threads write.
pub type Shared = Arc<Mutex<History>>;

/// Threads that send and read until they are stopped. They outlive the broker, and connect again.
pub struct Load {
    stop: Arc<AtomicBool>,
    producers: Vec<thread::JoinHandle<()>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// Starts `shape` against a broker. The topic must exist there.
    pub fn start(broker: SocketAddr, shape: &Shape, history: &Shared) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let produce = |_| {
            let producer = Producer { broker, shape: shape.clone(), history: Arc::clone(history) };
            let stop = Arc::clone(&stop);
            thread::spawn(move || producer.run(&stop))
        };
        let producers = (0..shape.producers).map(produce).collect();
        let read = |queue| {
            let (topic, history, stop) = (shape.topic.clone(), Arc::clone(history), Arc::clone(&stop));
            thread::spawn(move || follow(broker, &topic, queue, &history, &stop))
        };
        let readers = (0..shape.queues).map(read).collect();
        Self { stop, producers, readers }
    }

    /// Waits until all of a bounded number of sends are answered, or never will be, then stops reading.
    pub fn wait(mut self) {
        self.producers.drain(..).for_each(|thread| thread.join().unwrap());
        self.stop();
    }

    /// No more is sent; waits for the answers to what was, as long as they may come.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.producers.into_iter().chain(self.readers) {
            thread.join().unwrap();
        }
    }
}

/// How the end of each queue is known, up to which is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is a message that is sent until it is acknowledged: the broker must take messages again by then.
    Probed,
    /// It lies behind all that was acknowledged or received: the broker must serve readers.
    Known,
}

/// Everything that a broker holds of a topic. `Err` says what it could not do in time.
pub fn contents(broker: SocketAddr, shape: &Shape, history: &Shared, end: End) -> Result<Contents, String> {
    let limit = Instant::now() + PATIENCE;
    let queue = |queue| {
        let end = match end {
            End::Probed => probe(broker, shape, queue, history, limit)?,
            End::Known => history.lock().unwrap().end(queue),
        };
        Ok((queue, read_to(broker, &shape.topic, queue, end, limit)?))
    };
    (0..shape.queues).map(queue).collect()
}

/// Sends a message until it is acknowledged; the offset behind it.
fn probe(
    broker: SocketAddr,
    shape: &Shape,
    queue: u32,
    history: &Shared,
    limit: Instant,
) -> Result<u64, String> {
    let shape = Shape { bytes: 16, delay: None, ..shape.clone() };
    loop {
        let id = history.lock().unwrap().sent();
        let asked = Wire::open(broker).and_then(|mut wire| {
            wire.send(&shape, queue, id)?;
            let mut answer = None;
            while answer.is_none() && Instant::now() < limit {
                wire.read(|frame| answer = Some(answer_of(frame, false)))?;
            }
            Ok(answer.unwrap_or(Answer::None))
        });
        if let Ok(answer) = asked {
            history.lock().unwrap().answered(id, answer);
            if let Answer::At((_, offset)) = answer {
                return Ok(offset + 1);
            }
        }
        if Instant::now() > limit {
            return Err(format!("no send to queue {queue} was acknowledged: {asked:?}"));
        }
        thread::sleep(PAUSE);
    }
}

/// Reads a queue from its beginning up to an offset.
fn read_to(
    broker: SocketAddr,
    topic: &str,
    queue: u32,
    end: u64,
    limit: Instant,
) -> Result<Vec<(u64, Content)>, String> {
    let mut messages: Vec<(u64, Content)> = Vec::new();
    let mut next = 0;
    let mut wire = Wire::open(broker).map_err(|error| error.to_string())?;
    while next < end {
        let pulled = wire.pull(topic, queue, next, Duration::ZERO).map_err(|error| error.to_string())?;
        if Instant::now() > limit {
            return Err(format!(
                "queue {queue} cannot be read at {next}, its end is {end}: {:?}",
                pulled.code
            ));
        }
        if pulled.messages.is_empty() {
            thread::sleep(PAUSE);
        }
        messages.extend(pulled.messages);
        next = pulled.next;
    }
    Ok(messages)
}

struct Producer {
    broker: SocketAddr,
    shape: Shape,
    history: Shared,
}

impl Producer {
    fn run(&self, stop: &AtomicBool) {
        // A share of the sends; what is lost with a connection is not sent again.
        let mut left = self.shape.sends / self.shape.producers;
        while left > 0 && !stop.load(Ordering::Relaxed) {
            let sent = Wire::open(self.broker).and_then(|mut wire| self.send(&mut wire, &mut left, stop));
            if sent.is_err() {
                if self.shape.sends < usize::MAX {
                    // Nobody is there any more to take the rest.
                    return;
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Sends on a connection until it is lost, or no more is to be sent and all is answered.
    fn send(&self, wire: &mut Wire, left: &mut usize, stop: &AtomicBool) -> io::Result<()> {
        let mut flying: BTreeMap<i32, Id> = BTreeMap::new();
        let mut deadline = None;
        loop {
            let stopping = stop.load(Ordering::Relaxed) || *left == 0;
            while !stopping && flying.len() < self.shape.window && *left > 0 {
                let id = self.history.lock().unwrap().sent();
                *left -= 1;
                flying.insert(wire.next_opaque(), id);
                wire.send(&self.shape, id as u32 % self.shape.queues, id)?;
            }
            if stopping {
                let until = *deadline.get_or_insert_with(|| Instant::now() + LAST_ANSWERS);
                if flying.is_empty() || Instant::now() > until {
                    return Ok(());
                }
            }
            let mut refused = false;
            let history = &self.history;
            wire.read(|frame| {
                let answer = answer_of(frame, self.shape.delay.is_some());
                refused |= matches!(answer, Answer::Refused(_));
                if let Some(id) = flying.remove(&frame.opaque) {
                    history.lock().unwrap().answered(id, answer);
                }
            })?;
            if refused {
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Reads a queue from where the history ends, as messages come, until it is stopped.
fn follow(broker: SocketAddr, topic: &str, queue: u32, history: &Shared, stop: &AtomicBool) {
    let mut next = history.lock().unwrap().next(queue);
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut wire) = Wire::open(broker) else {
            thread::sleep(PAUSE);
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let Ok(pulled) = wire.pull(topic, queue, next, SUSPEND) else { break };
            if pulled.code == ResponseCode::Success || pulled.code == ResponseCode::PullOffsetMoved {
                next = pulled.next;
            }
            let mut history = history.lock().unwrap();
            for (offset, content) in pulled.messages {
                history.received((queue, offset), content);
            }
        }
    }
}

fn answer_of(frame: &Frame<'_>, is_delayed: bool) -> Answer {
    if ResponseCode::of(frame.code) != ResponseCode::Success {
        return Answer::Refused(frame.code);
    }
    if is_delayed {
        return Answer::Later;
    }
    let reply = SendMessageResponse::decode(&frame.ext).unwrap();
    Answer::At((reply.queue_id as u32, reply.queue_offset as u64))
}

/// A message's number, over and over.
fn body_of(id: Id, bytes: usize) -> Vec<u8> {
    let mut body = id.to_be_bytes().repeat(bytes.div_ceil(8));
    body.truncate(bytes);
    body
}

fn content_of(record: &RecordView<'_>) -> Content {
    let body = record.body();
    let Some(id) = body.first_chunk().map(|id| Id::from_be_bytes(*id)) else { return Content::Damaged };
    if record.body_is_intact() && body == body_of(id, body.len()) {
        Content::Message(id)
    } else {
        Content::Damaged
    }
}

/// What a pull gave.
struct Pulled {
    code: ResponseCode,
    messages: Vec<(u64, Content)>,
    next: u64,
}

/// A connection with many requests in flight.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
    opaque: i32,
}

impl Wire {
    fn open(broker: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(broker)?;
        // Often enough to see that there is to be an end.
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        stream.set_write_timeout(Some(LAST_ANSWERS))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: BytesMut::new(), opaque: 0 })
    }

    /// The number that the next request will have.
    fn next_opaque(&self) -> i32 {
        self.opaque + 1
    }

    fn ask(&mut self, code: BrokerCode, fields: &[ExtField<'_>], body: &[u8]) -> io::Result<()> {
        self.opaque += 1;
        let mut bytes = BytesMut::new();
        encode::request(&mut bytes, Request::new(code, self.opaque), fields, body).unwrap();
        self.stream.write_all(&bytes)
    }

    fn send(&mut self, shape: &Shape, queue: u32, id: Id) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut properties = Vec::new();
        if let Some(delay) = shape.delay {
            property::push(
                &mut properties,
                property::TIMER_DELIVER_MS,
                &(now + delay).as_millis().to_string(),
            );
        }
        property::push(&mut properties, property::WAIT_STORE, "true");
        let properties = String::from_utf8(properties).unwrap();
        let header = SendMessage {
            producer_group: "faults".into(),
            topic: shape.topic.as_str().into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: queue as i32,
            sys_flag: 0,
            born_timestamp: now.as_millis() as i64,
            flag: 0,
            properties: ext::Value::new(""),
            reconsume_times: 0,
            unit_mode: false,
            batch: false,
            max_reconsume_times: None,
            broker_name: None,
        };
        let fields = header.fields(SendForm::Short, &properties);
        self.ask(BrokerCode::SendMessageV2, &fields, &body_of(id, shape.bytes))
    }

    /// One pull, with its reply; an error where that does not come.
    fn pull(&mut self, topic: &str, queue: u32, offset: u64, suspend: Duration) -> io::Result<Pulled> {
        let suspends = if suspend.is_zero() { 0 } else { flag::SUSPEND };
        let header = PullMessage {
            consumer_group: "faults".into(),
            topic: topic.into(),
            queue_id: queue as i32,
            queue_offset: offset as i64,
            max_msg_nums: 32,
            sys_flag: flag::SUBSCRIPTION | suspends,
            commit_offset: 0,
            suspend_timeout_millis: suspend.as_millis() as i64,
            subscription: Some("*".into()),
            sub_version: 0,
            expression_type: Some("TAG".into()),
            max_msg_bytes: None,
            broker_name: None,
            lite_topic: None,
        };
        self.ask(BrokerCode::PullMessage, &header.fields(), b"")?;
        let until = Instant::now() + LAST_ANSWERS;
        let mut pulled = None;
        while pulled.is_none() {
            let opaque = self.opaque;
            self.read(|frame| {
                if frame.opaque == opaque {
                    pulled = Some(Pulled::of(frame, offset));
                }
            })?;
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        pulled.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Reads once, and hands on every reply that is complete. Nothing read in time is no error.
    fn read(&mut self, mut take: impl FnMut(&Frame<'_>)) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        while let Some((frame, used)) = frame::decode(&self.input, &frame::Limits::default()).unwrap() {
            if frame.is_reply() {
                take(&frame);
            }
            let _ = self.input.split_to(used);
        }
        Ok(())
    }
}

impl Pulled {
    fn of(frame: &Frame<'_>, offset: u64) -> Self {
        let code = ResponseCode::of(frame.code);
        let next =
            PullMessageResponse::decode(&frame.ext).map_or(offset, |reply| reply.next_begin_offset as u64);
        let mut messages = Vec::new();
        let mut rest = if code == ResponseCode::Success { frame.body } else { b"" };
        while !rest.is_empty() {
            let record = RecordView::parse(rest).unwrap();
            messages.push((record.queue_offset(), content_of(&record)));
            rest = &rest[record.total_len()..];
        }
        Self { code, messages, next }
    }
}
