//! Compaction topics: the same messages to a real RocketMQ and to Halley, then the same pulls; and the official Java client.

use crate::common::{
    Rocketmq, Server, clients, eventually,
    oracle::Oracle,
    remoting::{Connection, Reply},
};
use halley_model::RecordView;
use halley_wire::Serialize;
use std::net::SocketAddr;

const TOPIC: &str = "COMPACTED";

/// Small files (9 messages of the index each) and frequent compactions.
const SETTINGS: &str =
    "compactionScheduleInternal=500\ncompactionMappedFileSize=46000\ncompactionCqMappedFileSize=460\n";

/// What a pull's reply says: its code, where to go on, the queue's bounds, and the messages' offsets with their bodies.
type Pulled = (i32, [i64; 3], Vec<Message>);
type Message = (u64, Vec<u8>);

/// A broker under test.
struct Broker {
    connection: Connection,
}

impl Broker {
    fn new(address: SocketAddr) -> Self {
        Self { connection: Connection::open(address) }
    }

    fn ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.connection.ask(Serialize::Json, code, &fields, body).unwrap().unwrap()
    }

    fn create_topic(&mut self) {
        let fields = [
            ("topic", TOPIC),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("attributes", "+cleanup.policy=COMPACTION"),
        ];
        let reply = self.ask(17, &fields, b"");
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }

    fn send(&mut self, properties: &str, body: &[u8]) -> Reply {
        let fields = [
            ("producerGroup", "p"),
            ("topic", TOPIC),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", "0"),
            ("sysFlag", "0"),
            ("bornTimestamp", "1700000000000"),
            ("flag", "0"),
            ("properties", properties),
            ("reconsumeTimes", "0"),
        ];
        self.ask(10, &fields, body)
    }

    fn pull(&mut self, offset: i64, most: usize) -> Pulled {
        let (offset, most) = (offset.to_string(), most.to_string());
        let fields = [
            ("consumerGroup", "g"),
            ("topic", TOPIC),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", &most),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        let reply = self.ask(11, &fields, b"");
        let number = |name: &str| reply.ext[name].parse().unwrap();
        let mut messages = Vec::new();
        let mut rest = &reply.body[..];
        while !rest.is_empty() {
            let record = RecordView::parse(rest).unwrap();
            messages.push((record.queue_offset(), record.body().to_vec()));
            rest = &rest[record.total_len()..];
        }
        (reply.code, ["nextBeginOffset", "minOffset", "maxOffset"].map(number), messages)
    }

    /// All that a reader sees who begins at the beginning.
    fn offsets(&mut self) -> Vec<u64> {
        let (mut next, mut offsets) = (0, Vec::new());
        loop {
            let (code, [after, ..], messages) = self.pull(next, 32);
            if code != 0 {
                return offsets;
            }
            offsets.extend(messages.iter().map(|(offset, _)| *offset));
            next = after;
        }
    }
}

/// Messages by key, without a body where `ends`: the end of the key. No client sends such a message, and RocketMQ's broker fails on it.
fn messages(ends: bool) -> Vec<(String, Option<String>)> {
    let key = |number: usize| format!("k{}", number * number % 7);
    let mut all: Vec<_> = (0..58).map(|number| (key(number), Some(format!("body {number}")))).collect();
    all.insert(20, ("k9".to_owned(), Some("to be ended".to_owned())));
    all.insert(30, ("k9".to_owned(), (!ends).then(|| "not yet".to_owned())));
    all.insert(31, ("two keys".to_owned(), Some("are one".to_owned())));
    all
}

fn fill(broker: &mut Broker, ends: bool) {
    for (number, (key, body)) in messages(ends).iter().enumerate() {
        let properties = format!("KEYS\u{1}{key}\u{2}");
        let reply = broker.send(&properties, body.as_deref().unwrap_or_default().as_bytes());
        assert_eq!(reply.code, 0, "message {number}: {:?}", reply.remark);
        assert_eq!((reply.code, reply.ext["queueOffset"].as_str()), (0, number.to_string().as_str()));
    }
}

/// What readers see when all but the last file is compacted.
fn expected(closed: usize, ends: bool) -> Vec<u64> {
    let all = messages(ends);
    let counts = |at: usize| {
        at >= closed || (all[at].1.is_some() && all[at + 1..closed].iter().all(|(key, _)| *key != all[at].0))
    };
    (0..all.len()).filter(|at| counts(*at)).map(|at| at as u64).collect()
}

fn start() -> Server {
    let server = Server::start("");
    let mut broker = Broker::new(server.broker);
    assert_eq!(broker.ask(25, &[], SETTINGS.as_bytes()).code, 0);
    broker.create_topic();
    server
}

#[test]
fn readers_see_what_rocketmqs_see() {
    let Some(oracle) = Oracle::start(SETTINGS) else { return };
    let server = start();
    let (mut real, mut ours) = (Broker::new(oracle.broker), Broker::new(server.broker));
    real.create_topic();
    let refused = real.send("TAGS\u{1}t\u{2}", b"no key");
    let reply = ours.send("TAGS\u{1}t\u{2}", b"no key");
    assert_eq!((reply.code, &reply.remark), (13, &refused.remark));
    assert_eq!(refused.code, 13);
    for broker in [&mut real, &mut ours] {
        fill(broker, false);
        eventually("a compacted queue", || broker.offsets() == expected(54, false));
    }
    for offset in -1..=messages(false).len() as i64 + 2 {
        for most in [1, 3, 32] {
            assert_eq!(ours.pull(offset, most), real.pull(offset, most), "pull of {most} at {offset}");
        }
    }
    for code in [30, 31] {
        let queue = [("topic", TOPIC), ("queueId", "0")];
        assert_eq!(ours.ask(code, &queue, b"").ext["offset"], real.ask(code, &queue, b"").ext["offset"]);
    }
}

#[test]
fn what_is_compacted_stays_so() {
    let Some(clients) = clients() else { return };
    let mut server = start();
    let mut broker = Broker::new(server.broker);
    fill(&mut broker, true);
    let expected = expected(54, true);
    eventually("a compacted queue", || broker.offsets() == expected);
    let namesrv = server.namesrv.to_string();
    let count = expected.len().to_string();
    let read = |group: &str| {
        let arguments = ["consume", &namesrv, TOPIC, group, "--expect", &count, "--orderly"];
        let lines = Rocketmq::Java5.run(&clients, &arguments).unwrap_or_else(|output| panic!("{output}"));
        lines.iter().filter_map(|line| line["queueOffset"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(read("before"), expected);
    // Compacted no further than before, but also no less, before the first compaction of the new process.
    for ordered in [false, true] {
        if ordered {
            assert!(server.terminate().success());
        } else {
            server.kill();
        }
        server.restart();
        let mut broker = Broker::new(server.broker);
        assert_eq!(broker.offsets(), expected);
    }
    assert_eq!(read("after"), expected);
    // Further messages make further files: the seventh ends with offset 62.
    let mut broker = Broker::new(server.broker);
    for number in 0..10 {
        assert_eq!(broker.send("KEYS\u{1}k1\u{2}", format!("more {number}").as_bytes()).code, 0);
    }
    let newest = |offsets: &[u64]| offsets.iter().filter(|offset| **offset >= 61).count();
    eventually("the next file compacted", || {
        let offsets = broker.offsets();
        !offsets.contains(&60) && newest(&offsets) == 9
    });
}
