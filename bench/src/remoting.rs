//! A lean Remoting connection: many requests per write, many replies per read.

use crate::Error;
use bytes::{Buf, BytesMut};
use halley_wire::{
    BrokerCode, Frame, NamesrvCode, ResponseCode, Serialize,
    body::TopicRoute,
    encode::{self, ExtField, Request},
    frame,
    request::{CreateTopic, GetRouteInfo, PullMessage, SendForm, SendMessage, pull::flag},
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection to a broker or name server.
pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream =
            TcpStream::connect(address).await.map_err(|error| Error::of(&address.to_string(), error))?;
        stream.set_nodelay(true).map_err(Error::new)?;
        Ok(Self { stream, input: BytesMut::with_capacity(256 * 1024) })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await.map_err(|error| Error::of("write", error))
    }

    /// Reads once, and hands every complete frame to `take`; how many there were.
    pub(crate) async fn read(
        &mut self,
        mut take: impl FnMut(&Frame<'_>) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.input.reserve(64 * 1024);
        if self.stream.read_buf(&mut self.input).await.map_err(|error| Error::of("read", error))? == 0 {
            return Err(Error::new("the server closed the connection"));
        }
        let (mut used, mut frames) = (0, 0);
        let limits = frame::Limits::default();
        while let Some((frame, len)) = frame::decode(&self.input[used..], &limits).map_err(Error::new)? {
            used += len;
            // The server may also ask something of a client.
            if frame.is_reply() {
                frames += 1;
                take(&frame)?;
            }
        }
        self.input.advance(used);
        Ok(frames)
    }

    /// Asks and waits for the answer's body; other codes than success are errors.
    pub(crate) async fn ask(
        &mut self,
        code: impl Into<i32>,
        fields: &[ExtField<'_>],
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = BytesMut::new();
        encode::request(&mut bytes, request(code, 0, Serialize::Json), fields, b"").map_err(Error::new)?;
        self.write(&bytes).await?;
        let mut answer = None;
        while answer.is_none() {
            let take = |frame: &Frame<'_>| {
                check(frame)?;
                answer = Some(frame.body.to_vec());
                Ok(())
            };
            self.read(take).await?;
        }
        Ok(answer.unwrap_or_default())
    }
}

/// A request as a Java client would send it.
pub(crate) fn request(code: impl Into<i32>, opaque: i32, serialize: Serialize) -> Request {
    Request { serialize, language: halley_wire::language::JAVA, ..Request::new(code, opaque) }
}

/// An answer other than success as an error.
pub(crate) fn check(frame: &Frame<'_>) -> Result<(), Error> {
    if ResponseCode::of(frame.code) == ResponseCode::Success {
        return Ok(());
    }
    let remark = frame.remark.as_deref().unwrap_or("no remark");
    Err(Error::new(format!("the broker answered {}: {remark}", frame.code)))
}

/// The broker behind a name server, and the topic on it with that many queues.
pub(crate) async fn prepare(peer: SocketAddr, topic: &str, queues: u32) -> Result<SocketAddr, Error> {
    let mut names = Connection::open(peer).await?;
    let route = GetRouteInfo { topic: "TBW102".into(), accept_standard_json_only: true, zone: None };
    let body = names.ask(NamesrvCode::GetRouteInfoByTopic, &route.fields()).await?;
    let route = TopicRoute::decode(&body).map_err(Error::new)?;
    let address = route.brokers.first().and_then(|broker| broker.addresses.get(&0));
    let address = address.ok_or_else(|| Error::new("the name server knows no master broker"))?;
    let broker = address.parse().map_err(|error| Error::of(address, error))?;
    create(broker, topic, queues).await?;
    Ok(broker)
}

/// Makes sure of a topic on a broker.
pub(crate) async fn create(broker: SocketAddr, topic: &str, queues: u32) -> Result<(), Error> {
    let create = create_header(topic, queues)?;
    Connection::open(broker).await?.ask(BrokerCode::UpdateAndCreateTopic, &create.fields()).await?;
    Ok(())
}

/// The header that creates a topic.
pub(crate) fn create_header(topic: &str, queues: u32) -> Result<CreateTopic<'_>, Error> {
    let queues = i32::try_from(queues).map_err(Error::new)?;
    Ok(CreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: Some("SINGLE_TAG".into()),
        topic_sys_flag: 0,
        order: false,
        attributes: None,
    })
}

/// Appends a request to store one message.
pub(crate) fn send(
    out: &mut BytesMut,
    topic: &str,
    queue: u32,
    properties: &str,
    body: &[u8],
) -> Result<(), Error> {
    send_numbered(out, 1, topic, queue, properties, body)
}

/// The same with a number, which the answer has too.
pub(crate) fn send_numbered(
    out: &mut BytesMut,
    opaque: i32,
    topic: &str,
    queue: u32,
    properties: &str,
    body: &[u8],
) -> Result<(), Error> {
    let header = SendMessage {
        producer_group: "bench".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: i32::try_from(queue).map_err(Error::new)?,
        sys_flag: 0,
        born_timestamp: 0,
        flag: 0,
        properties: halley_wire::ext::Value::new(""),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: None,
        broker_name: None,
    };
    let request = request(BrokerCode::SendMessageV2, opaque, Serialize::Binary);
    encode::request(out, request, &header.fields(SendForm::Short, properties), body).map_err(Error::new)
}

/// Appends a request to pull a batch of 32, which waits so long for a first message.
pub(crate) fn pull(
    out: &mut BytesMut,
    topic: &str,
    queue: u32,
    offset: i64,
    suspend: Option<Duration>,
) -> Result<(), Error> {
    let header = PullMessage {
        consumer_group: "bench".into(),
        topic: topic.into(),
        queue_id: i32::try_from(queue).map_err(Error::new)?,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: flag::SUBSCRIPTION | if suspend.is_some() { flag::SUSPEND } else { 0 },
        commit_offset: 0,
        suspend_timeout_millis: suspend.map_or(0, |suspend| suspend.as_millis() as i64),
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        broker_name: None,
        lite_topic: None,
    };
    let request = request(BrokerCode::PullMessage, 1, Serialize::Binary);
    encode::request(out, request, &header.fields(), b"").map_err(Error::new)
}
