//! Static topics over two brokers: created and moved by the real `mqadmin` while messages are sent, read by the official Java client.

use crate::common::{
    Rocketmq, Server, clients, eventually,
    mqadmin::{mqadmin_once, tools},
    remoting::{Connection, Reply},
};
use halley_wire::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const TOPIC: &str = "STATIC";

/// Queues of the topic.
const QUEUES: i32 = 3;

/// A name server and two brokers.
struct Cluster {
    names: Server,
    a: Server,
    b: Server,
}

impl Cluster {
    fn start() -> Self {
        let names = Server::start_as("  namesrv: {listen: \"NAMESRV\"}\n  broker: false");
        let broker = |name: &str| {
            Server::start_as(&format!(
                "  broker: {{listen: \"BROKER\", name: {name}, namesrv: [\"{}\"]}}\n  ingress: false",
                names.namesrv
            ))
        };
        let (a, b) = (broker("a"), broker("b"));
        for server in [&a, &b] {
            let address = server.broker.to_string();
            eventually("a known broker", || {
                let reply = ask(names.namesrv, 106, &[], b"");
                String::from_utf8_lossy(&reply.body).contains(&address)
            });
        }
        Self { names, a, b }
    }

    fn mqadmin(&self, jars: &Path, arguments: &[&str]) {
        let text = mqadmin_once(jars, self.names.namesrv, arguments);
        assert!(!text.contains("Exception"), "{arguments:?}: {text}");
    }

    /// Moves all queues to this broker.
    fn move_to(&self, jars: &Path, broker: &str) {
        self.mqadmin(jars, &["remappingStaticTopic", "-t", TOPIC, "-b", broker]);
    }

    fn consume(&self, clients: &Path, group: &str, count: usize) -> Vec<Value> {
        let (namesrv, count) = (self.names.namesrv.to_string(), count.to_string());
        let lines = Rocketmq::Java5
            .run(clients, &["consume", &namesrv, TOPIC, group, "--expect", &count, "--orderly"])
            .unwrap_or_else(|output| panic!("{output}"));
        lines.into_iter().filter(|line| line.get("body").is_some()).collect()
    }
}

fn ask(server: SocketAddr, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Reply {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Connection::open(server).ask(Serialize::Json, code, &fields, body).unwrap().unwrap()
}

/// Asks about a queue of the topic.
fn ask_queue(server: SocketAddr, code: i32, queue: i32, more: &[(&str, &str)]) -> Reply {
    let queue = queue.to_string();
    let fields: Vec<_> =
        [("topic", TOPIC), ("queueId", &queue)].into_iter().chain(more.iter().copied()).collect();
    ask(server, code, &fields, b"")
}

fn offset_of(reply: &Reply) -> i64 {
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    reply.ext["offset"].parse().unwrap()
}

/// Sends to a queue, at whichever broker takes it, one message after the other, until told to stop; what was stored: the number of each
/// message and its offset, -1 where that was not decided yet.
fn send_until(brokers: [SocketAddr; 2], queue: i32, stop: &AtomicBool) -> Vec<(u64, i64)> {
    let mut connections = brokers.map(Connection::open);
    let (mut leader, mut number, mut stored) = (0, 0, Vec::new());
    let (topic, queue_text) = (TOPIC.to_owned(), queue.to_string());
    while !stop.load(Ordering::Relaxed) {
        let fields = [
            ("producerGroup", "p"),
            ("topic", &topic),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", &queue_text),
            ("sysFlag", "0"),
            ("bornTimestamp", "1700000000000"),
            ("flag", "0"),
            ("properties", ""),
            ("reconsumeTimes", "0"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = format!("{queue}:{number}");
        let reply = connections[leader].ask(Serialize::Json, 10, &fields, body.as_bytes()).unwrap().unwrap();
        match reply.code {
            0 => {
                assert_eq!(reply.ext["queueId"], queue_text);
                stored.push((number, reply.ext["queueOffset"].parse().unwrap()));
                number += 1;
            }
            // For a moment nobody leads the queue.
            501 => {
                leader = 1 - leader;
                thread::sleep(Duration::from_millis(1));
            }
            code => panic!("{code}: {:?}", reply.remark),
        }
        if stored.len().is_multiple_of(50) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    stored
}

#[test]
fn queues_move_while_messages_are_sent() {
    let (Some(clients), Some(jars)) = (clients(), tools()) else { return };
    let mut cluster = Cluster::start();
    let brokers = [cluster.a.broker, cluster.b.broker];
    let queues = QUEUES.to_string();
    cluster.mqadmin(&jars, &["updateStaticTopic", "-t", TOPIC, "-qn", &queues, "-b", "a"]);
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..QUEUES)
        .map(|queue| {
            let stop = stop.clone();
            thread::spawn(move || send_until(brokers, queue, &stop))
        })
        .collect();
    cluster.move_to(&jars, "b");
    cluster.move_to(&jars, "a");
    stop.store(true, Ordering::Relaxed);
    let sent: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    let count = sent.iter().map(Vec::len).sum();

    // Everything that was acknowledged arrives, each queue's messages in the order in which they were sent.
    let check = |lines: &[Value]| {
        let mut by_queue: BTreeMap<i64, Vec<(i64, String)>> = BTreeMap::new();
        for line in lines {
            let at = (line["queueOffset"].as_i64().unwrap(), line["body"].as_str().unwrap().to_owned());
            by_queue.entry(line["queueId"].as_i64().unwrap()).or_default().push(at);
        }
        for (queue, sent) in sent.iter().enumerate() {
            let read = &by_queue[&(queue as i64)];
            assert!(read.is_sorted(), "queue {queue}: offsets grow");
            assert_eq!(read.len(), sent.len(), "queue {queue}");
            for ((offset, body), (number, told)) in read.iter().zip(sent) {
                assert_eq!(*body, base64(&format!("{queue}:{number}")));
                assert!(*told == -1 || told == offset, "message {number} of queue {queue}: {told}, {offset}");
            }
        }
    };
    check(&cluster.consume(&clients, "readers", count));

    // Only the leader answers for a queue, and its answers are for the whole of it.
    for queue in 0..QUEUES {
        assert_eq!(ask_queue(cluster.b.broker, 30, queue, &[]).code, 501);
        let (end, begin) =
            (ask_queue(cluster.a.broker, 30, queue, &[]), ask_queue(cluster.a.broker, 31, queue, &[]));
        let sent = &sent[queue as usize];
        let (_, last) = sent.last().unwrap();
        assert_eq!((offset_of(&begin), offset_of(&end)), (0, last + 1));
        let all = ask_queue(cluster.a.broker, 29, queue, &[("timestamp", "0")]);
        assert_eq!(offset_of(&all), 0);
        let none = ask_queue(cluster.a.broker, 29, queue, &[("timestamp", "4000000000000")]);
        assert_eq!(offset_of(&none), last + 1);
        let oldest = ask_queue(cluster.a.broker, 32, queue, &[]);
        assert!(oldest.ext["timestamp"].parse::<i64>().unwrap() > 1_700_000_000_000);
        let committed = ask_queue(cluster.a.broker, 14, queue, &[("consumerGroup", "readers")]);
        assert_eq!(offset_of(&committed), last + 1);
    }

    // An offset in the middle of the queue is kept by the broker that has the part.
    let (_, early) = sent[0][0];
    let commit = [("consumerGroup", "readers"), ("commitOffset", "3")];
    assert_eq!((early, ask_queue(cluster.a.broker, 15, 0, &commit).code), (0, 0));

    // All of it outlives the processes.
    cluster.a.kill();
    assert!(cluster.b.terminate().success());
    cluster.a.restart();
    cluster.b.restart();
    eventually("both brokers serve their parts again", || {
        ask_queue(cluster.a.broker, 31, 0, &[]).code == 0
            && String::from_utf8_lossy(&ask(cluster.names.namesrv, 105, &[("topic", TOPIC)], b"").body)
                .contains("\"topicQueueMappingByBroker\":{\"a\"")
    });
    check(&cluster.consume(&clients, "later", count));

    // The client sends to it as to any other topic.
    let namesrv = cluster.names.namesrv.to_string();
    let sent = Rocketmq::Java5.run(&clients, &["produce", &namesrv, TOPIC, "6"]).unwrap();
    assert!(sent.iter().all(|line| line["status"] == "SEND_OK"), "{sent:?}");
    assert_eq!(cluster.consume(&clients, "later", 6).len(), 6);

    // With the topic its mapping goes.
    cluster.mqadmin(&jars, &["deleteTopic", "-t", TOPIC, "-c", "DefaultCluster"]);
    assert_eq!(ask(cluster.a.broker, 351, &[("topic", TOPIC), ("lo", "true")], b"").code, 17);
    assert_eq!(ask_queue(cluster.b.broker, 30, 0, &[]).code, 0);
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// What a tool says of the topic to broker `a`.
fn set(broker: SocketAddr, epoch: i64, queues: &str, force: bool) -> Reply {
    let body = format!(
        r#"{{"bname":"a","currIdMap":{{}},"dirty":false,"epoch":{epoch},"hostedQueues":{{{queues}}},"scope":"__global__","topic":"{TOPIC}","totalQueues":2}}"#
    );
    let force = force.to_string();
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "2"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("force", &force),
    ];
    ask(broker, 513, &fields, body.as_bytes())
}

#[test]
fn a_waiting_pull_follows_its_queue() {
    let server = Server::start_as(
        "  namesrv: {listen: \"NAMESRV\"}\n  broker: {listen: \"BROKER\", name: a}\n  ingress: false",
    );
    let part = |generation: i32, broker: &str, offset: i64| {
        format!(
            r#"{{"bname":"{broker}","endOffset":-1,"gen":{generation},"logicOffset":{offset},"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}}"#
        )
    };
    let here = format!("0:[{}]", part(0, "a", 0));
    assert_eq!(set(server.broker, 1, &here, false).code, 0);
    let pull = [
        ("consumerGroup", "g"),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "30000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    let broker = server.broker;
    let others = server.metric("halley_parked_pulls");
    let waiting = thread::spawn(move || ask(broker, 11, &pull, b""));
    eventually("a parked pull", || {
        assert!(!waiting.is_finished());
        server.metric("halley_parked_pulls") > others
    });
    let moved = format!("0:[{},{}]", part(0, "a", 0), part(1, "b", 1000));
    assert_eq!(set(server.broker, 2, &moved, false).code, 0);
    let reply = waiting.join().unwrap();
    assert_eq!((reply.code, reply.ext["nextBeginOffset"].as_str()), (20, "0"));
    assert_eq!(ask(broker, 11, &pull, b"").code, 501);
    // What is older, or says otherwise, is refused; so is what is meant for another broker.
    let reply = set(server.broker, 1, &here, false);
    assert_eq!((reply.code, reply.remark.as_deref()), (1, Some("Can't accept data with small epoch 1 < 2")));
    let reply = set(server.broker, 2, &here, false);
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (1, Some("The new leader is different but epoch equal"))
    );
    assert_eq!(set(server.broker, 1, &here, true).code, 0);
    assert_eq!(ask_queue(server.broker, 30, 0, &[]).code, 0);
    // A broker that nobody knows is told as that, and nothing waits for it for ever.
    let moved = format!("0:[{},{}]", part(0, "nobody", 0), part(1, "a", 1000));
    assert_eq!(set(server.broker, 3, &moved, true).code, 0);
    let reply = ask_queue(server.broker, 31, 0, &[]);
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (1, Some("no name server knows the address of broker nobody"))
    );
}
