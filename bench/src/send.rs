//! Sending messages over Remoting.

use crate::{
    Error, Shape,
    load::{self, Measured, Schedule, Window},
    remoting::{self, Connection},
    report::Report,
};
use bytes::BytesMut;
use clap::{Args, ValueEnum};
use halley_wire::{
    BrokerCode, Frame, Serialize, encode,
    request::{SendForm, SendMessage},
};
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Numbers of requests repeat after so many; far more than are ever in flight.
const OPAQUES: usize = 1 << 16;

/// What to send, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The name server
    #[arg(long, default_value = "127.0.0.1:9876", conflicts_with = "broker")]
    peer: SocketAddr,
    /// A broker without a name server, such as `halley bench floor`; the topic must exist there
    #[arg(long)]
    broker: Option<SocketAddr>,
    /// The topic; it is created
    #[arg(long, default_value = "bench")]
    topic: String,
    /// The topic's queues
    #[arg(long, default_value_t = 8)]
    queues: u32,
    /// Size of a message's body in bytes
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How headers are written
    #[arg(long, value_enum, default_value_t = Header::Rocketmq)]
    serialize: Header,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Header {
    /// Binary, as with `-Drocketmq.serialize.type=ROCKETMQ`
    Rocketmq,
    /// The default of every client
    Json,
}

impl Arguments {
    /// Messages of `size` bytes to the brokers of a name server, as they usually are.
    pub(crate) fn to(peer: SocketAddr, size: usize, shape: Shape) -> Self {
        let topic = "bench".to_owned();
        Self { peer, broker: None, topic, queues: 8, size, serialize: Header::Rocketmq, shape }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    measure(&arguments).await?.print(arguments.shape.json);
    Ok(())
}

/// Sends, and says what it came to.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Report, Error> {
    let broker = match arguments.broker {
        Some(broker) => broker,
        None => remoting::prepare(arguments.peer, &arguments.topic, arguments.queues).await?,
    };
    let shape = arguments.shape.clone();
    let name = match shape.rate {
        None => format!("send {} B, {} × {} in flight", arguments.size, shape.connections, shape.in_flight),
        Some(rate) => {
            format!("send {} B at {rate} msg/s over {} connections", arguments.size, shape.connections)
        }
    };
    let connection = |index, window| {
        let arguments = arguments.clone();
        async move { Sender::open(broker, &arguments).await?.run(&arguments.shape, index, window).await }
    };
    load::run(&name, &shape, connection).await
}

/// One connection with its encoded requests.
pub(crate) struct Sender {
    connection: Connection,
    /// One encoded request per queue; only the number is exchanged.
    templates: Vec<Template>,
    /// When the request of each number was meant to be sent.
    intended: Vec<Instant>,
    next: usize,
    out: BytesMut,
}

/// An encoded request, cut where its number stands.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
    serialize: Serialize,
}

impl Template {
    fn new(arguments: &Arguments, queue: u32, body: &[u8]) -> Result<Self, Error> {
        // A number that stands nowhere else in the request.
        const MARK: i32 = 0x5EED_BEEF;
        let born = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64;
        let header = SendMessage {
            producer_group: "bench".into(),
            topic: arguments.topic.as_str().into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: queue as i32,
            sys_flag: 0,
            born_timestamp: born,
            flag: 0,
            properties: halley_wire::ext::Value::new(""),
            reconsume_times: 0,
            unit_mode: false,
            batch: false,
            max_reconsume_times: None,
            broker_name: None,
        };
        let properties =
            "UNIQ_KEY\u{1}7F000001000018B4AAC2000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";
        let serialize = match arguments.serialize {
            Header::Rocketmq => Serialize::Binary,
            Header::Json => Serialize::Json,
        };
        let request = remoting::request(BrokerCode::SendMessageV2, MARK, serialize);
        let mut bytes = BytesMut::new();
        encode::request(&mut bytes, request, &header.fields(SendForm::Short, properties), body)
            .map_err(Error::new)?;
        let mark = match serialize {
            Serialize::Binary => MARK.to_be_bytes().to_vec(),
            // As many digits as every number then has.
            Serialize::Json => MARK.to_string().into_bytes(),
        };
        let at =
            memchr::memmem::find(&bytes, &mark).ok_or_else(|| Error::new("the request has no number"))?;
        Ok(Self { before: bytes[..at].to_vec(), after: bytes[at + mark.len()..].to_vec(), serialize })
    }

    fn write(&self, opaque: usize, out: &mut BytesMut) {
        out.extend_from_slice(&self.before);
        match self.serialize {
            Serialize::Binary => out.extend_from_slice(&(opaque as i32).to_be_bytes()),
            Serialize::Json => out.extend_from_slice(format!("{:010}", 1_000_000_000 + opaque).as_bytes()),
        }
        out.extend_from_slice(&self.after);
    }
}

impl Sender {
    pub(crate) async fn open(broker: SocketAddr, arguments: &Arguments) -> Result<Self, Error> {
        let body: Vec<u8> = (0..arguments.size).map(|i| b'a' + (i % 26) as u8).collect();
        let templates = (0..arguments.queues.max(1)).map(|queue| Template::new(arguments, queue, &body));
        Ok(Self {
            connection: Connection::open(broker).await?,
            templates: templates.collect::<Result<_, _>>()?,
            intended: vec![Instant::now(); OPAQUES],
            next: 0,
            out: BytesMut::new(),
        })
    }

    async fn run(mut self, shape: &Shape, index: usize, window: Window) -> Result<Measured, Error> {
        // Connections begin at different queues.
        self.next = index;
        let mut measured = Measured::new(window);
        match shape.rate {
            None => self.closed_loop(shape.in_flight.clamp(1, OPAQUES / 2), &mut measured, window).await?,
            Some(rate) => {
                let schedule = Schedule::new(Instant::now(), rate, shape.connections, index);
                self.fixed_rate(schedule, &mut measured, window).await?;
            }
        }
        Ok(measured)
    }

    async fn closed_loop(
        &mut self,
        in_flight: usize,
        measured: &mut Measured,
        window: Window,
    ) -> Result<(), Error> {
        let mut to_send = in_flight;
        while Instant::now() < window.end {
            let now = Instant::now();
            for _ in 0..to_send {
                self.stage(now);
            }
            self.flush().await?;
            to_send = self.replies(measured, window).await?;
        }
        Ok(())
    }

    async fn fixed_rate(
        &mut self,
        mut schedule: Schedule,
        measured: &mut Measured,
        window: Window,
    ) -> Result<(), Error> {
        while Instant::now() < window.end {
            while let Some(planned) = schedule.due(Instant::now()) {
                self.stage(planned);
            }
            self.flush().await?;
            tokio::select! {
                replies = self.replies(measured, window) => { replies?; }
                () = sleep_until(schedule.next()) => {}
            }
        }
        Ok(())
    }

    fn stage(&mut self, intended: Instant) {
        let opaque = self.next % OPAQUES;
        self.intended[opaque] = intended;
        self.templates[self.next % self.templates.len()].write(opaque, &mut self.out);
        self.next += 1;
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if !self.out.is_empty() {
            self.connection.write(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Reads once, at most until the end of the run; how many replies came. A read that is abandoned loses nothing.
    async fn replies(&mut self, measured: &mut Measured, window: Window) -> Result<usize, Error> {
        let intended = &self.intended;
        let take = |frame: &Frame<'_>| {
            let opaque = frame.opaque as usize % 1_000_000_000 % OPAQUES;
            match remoting::check(frame) {
                Ok(()) => measured.answered(Instant::now(), intended[opaque], 1),
                Err(_) => measured.failed(),
            }
            Ok(())
        };
        timeout_at(window.end, self.connection.read(take)).await.unwrap_or(Ok(0))
    }
}
