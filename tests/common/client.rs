//! What tests ask a broker with requests of their own, one at a time.

use super::{
    Server,
    remoting::{Connection, Reply},
};
use halley_model::RecordView;
use halley_wire::Serialize;
use std::{thread, time::Duration};

pub const SUCCESS: i32 = 0;

/// The store reserves its next file at this moment.
const SYSTEM_BUSY: i32 = 2;

/// A client that asks one request after the other.
pub struct Client(Connection);

/// A message to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub queue: u64,
    /// The queues of the topic, where this message makes it.
    pub queues: u64,
    pub properties: &'a str,
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// To the one queue of a topic.
    pub fn new(topic: &'a str, body: &'a [u8]) -> Self {
        Self { topic, queue: 0, queues: 1, properties: "", body }
    }
}

impl Client {
    pub fn of(server: &Server) -> Self {
        Self(Connection::open(server.broker))
    }

    /// `None` where the server is gone.
    pub fn try_ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.ask(Serialize::Json, code, &fields, body).ok()?
    }

    pub fn ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_ask(code, fields, body).unwrap()
    }

    /// `None` where the server is gone.
    pub fn try_send(&mut self, message: Message<'_>) -> Option<Reply> {
        let Message { topic, properties, body, .. } = message;
        let fields = [
            ("a", "producers"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", &message.queues.to_string()),
            ("e", &message.queue.to_string()),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
            ("j", "0"),
        ];
        self.try_ask(310, &fields, body)
    }

    /// Sends, again where the next file is not reserved yet; the queue offset.
    pub fn send(&mut self, message: Message<'_>) -> u64 {
        loop {
            let reply = self.try_send(message).unwrap();
            match reply.code {
                SUCCESS => return reply.ext["queueOffset"].parse().unwrap(),
                SYSTEM_BUSY => thread::sleep(Duration::from_millis(5)),
                _ => panic!("{reply:?}"),
            }
        }
    }

    fn offset(&mut self, code: i32, topic: &str) -> u64 {
        let reply = self.ask(code, &[("topic", topic), ("queueId", "0")], b"");
        assert_eq!(reply.code, SUCCESS, "{reply:?}");
        reply.ext["offset"].parse().unwrap()
    }

    /// The first offset of a topic's first queue, and the one that its next message gets.
    pub fn bounds(&mut self, topic: &str) -> (u64, u64) {
        (self.offset(31, topic), self.offset(30, topic))
    }

    /// At most 32 messages for the group `readers`, without waiting for any.
    pub fn pull(&mut self, topic: &str, queue: u64, offset: u64) -> Reply {
        let fields = [
            ("consumerGroup", "readers"),
            ("topic", topic),
            ("queueId", &queue.to_string()),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", "0"),
            ("subscription", "*"),
            ("expressionType", "TAG"),
        ];
        self.ask(11, &fields, b"")
    }
}

/// The bodies of pulled messages.
pub fn bodies(reply: &Reply) -> Vec<Vec<u8>> {
    let (mut rest, mut bodies) = (&reply.body[..], Vec::new());
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        bodies.push(record.body().to_vec());
        rest = &rest[record.total_len()..];
    }
    bodies
}
