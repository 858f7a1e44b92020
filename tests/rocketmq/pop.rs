//! Consumption by POP: official clients against a real server, and the same requests to it and to a real RocketMQ.

use crate::common::{Rocketmq, Server, clients, consumer::Consumer, eventually, oracle::Oracle};
use bytes::BytesMut;
use halley_wire::{
    BrokerCode, ExtValue, Limits, Serialize,
    encode::{self, Request},
    frame,
    pop::{ExtraInfo, QueueOffsets, Retry, parse_offset_info},
    request::{BatchAck, BatchAckMessage, RequestMode, SetMessageRequestMode},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A connection that sends what it is told to.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    opaque: i32,
}

/// A reply.
#[derive(Debug, Clone)]
struct Reply {
    code: i32,
    remark: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A message out of a reply to a pop.
#[derive(Debug, Clone)]
struct Popped {
    topic: String,
    real_topic: String,
    queue: u32,
    offset: u64,
    handle: String,
    body: Vec<u8>,
    reconsume_times: i32,
}

impl Reply {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The messages with their handles, as the Java client makes them (`MQClientAPIImpl.processPopResponse`).
    fn messages(&self, group: &str, broker: &str) -> Vec<Popped> {
        let number = |name: &str| self.field(name).parse::<i64>().unwrap();
        let queues = parse_offset_info(self.field("startOffsetInfo"), self.field("msgOffsetInfo")).unwrap();
        let mut messages = Vec::new();
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let record = halley_model::RecordView::parse(rest).unwrap();
            rest = &rest[record.total_len()..];
            let handle = match record.property("POP_CK") {
                Some(handle) => handle.to_owned(),
                None => {
                    let is_its =
                        |queue: &&QueueOffsets| queue.retry == Retry::Normal && queue.queue == record.queue();
                    let queue = queues.iter().find(is_its).unwrap();
                    assert!(queue.offsets.contains(&record.queue_offset()));
                    ExtraInfo {
                        start_offset: queue.start as i64,
                        pop_time: number("popTime"),
                        invisible_time: number("invisibleTime"),
                        revive_queue: number("reviveQid") as i32,
                        retry: queue.retry,
                        broker_name: broker,
                        queue_id: Some(queue.queue as i32),
                        queue_offset: Some(record.queue_offset() as i64),
                    }
                    .to_string()
                }
            };
            let retry = ExtraInfo::parse(&handle).unwrap().retry;
            messages.push(Popped {
                topic: record.topic().to_owned(),
                real_topic: retry.real_topic(record.topic(), group),
                queue: record.queue(),
                offset: record.queue_offset(),
                handle,
                body: record.body().to_vec(),
                reconsume_times: record.reconsume_times(),
            });
        }
        messages
    }
}

impl Client {
    fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
        Self { stream, input: Vec::new(), opaque: 0 }
    }

    fn ask(&mut self, code: BrokerCode, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(code, fields, body);
        self.receive()
    }

    fn send(&mut self, code: BrokerCode, fields: &[(&str, &str)], body: &[u8]) {
        self.opaque += 1;
        let request = Request { serialize: Serialize::Json, ..Request::new(code, self.opaque) };
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, ExtValue::Text(value))).collect();
        let mut out = BytesMut::new();
        encode::request(&mut out, request, &fields, body).unwrap();
        self.stream.write_all(&out).unwrap();
    }

    fn receive(&mut self) -> Reply {
        loop {
            if let Some((frame, used)) = frame::decode(&self.input, &Limits::default()).unwrap() {
                let reply = Reply {
                    code: frame.code,
                    remark: frame.remark.clone().unwrap_or_default().into_owned(),
                    fields: frame
                        .ext
                        .iter()
                        .map(|(name, value)| (name.into_owned(), value.text().into_owned()))
                        .collect(),
                    body: frame.body.to_vec(),
                };
                let is_reply = frame.is_reply();
                self.input.drain(..used);
                if is_reply {
                    return reply;
                }
                continue;
            }
            let mut part = [0; 65_536];
            let read = self.stream.read(&mut part).unwrap();
            assert!(read > 0, "the server closed the connection");
            self.input.extend_from_slice(&part[..read]);
        }
    }

    fn create_topic(&mut self, topic: &str, queues: u32) {
        let queues = queues.to_string();
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        assert_eq!(self.ask(BrokerCode::UpdateAndCreateTopic, &fields, b"").code, 0);
    }

    fn produce(&mut self, topic: &str, queue: u32, tag: &str, body: &str) {
        let queue = queue.to_string();
        let properties = format!("TAGS\x01{tag}\x02n\x01{}\x02", body.len());
        let fields = [
            ("a", "producers"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        let reply = self.ask(BrokerCode::SendMessageV2, &fields, body.as_bytes());
        assert_eq!(reply.code, 0, "{reply:?}");
    }

    fn pop(&mut self, group: &str, topic: &str, more: &[(&str, &str)]) -> Reply {
        self.send_pop(group, topic, more);
        self.receive()
    }

    /// Defaults, overridden by `more`.
    fn send_pop(&mut self, group: &str, topic: &str, more: &[(&str, &str)]) {
        let born = now().to_string();
        let mut fields = BTreeMap::from([
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", "-1"),
            ("maxMsgNums", "32"),
            ("invisibleTime", "60000"),
            ("pollTime", "0"),
            ("bornTime", &born),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", "*"),
            ("order", "false"),
        ]);
        fields.extend(more.iter().copied());
        let fields: Vec<_> = fields.into_iter().collect();
        self.send(BrokerCode::PopMessage, &fields, b"");
    }

    fn ack(&mut self, group: &str, message: &Popped) -> Reply {
        let (queue, offset) = (message.queue.to_string(), message.offset.to_string());
        let fields = [
            ("consumerGroup", group),
            ("topic", &message.real_topic),
            ("queueId", &queue),
            ("extraInfo", &message.handle),
            ("offset", &offset),
        ];
        self.ask(BrokerCode::AckMessage, &fields, b"")
    }

    fn change(&mut self, group: &str, message: &Popped, invisible: &str) -> Reply {
        let (queue, offset) = (message.queue.to_string(), message.offset.to_string());
        let fields = [
            ("consumerGroup", group),
            ("topic", &message.real_topic),
            ("queueId", &queue),
            ("extraInfo", &message.handle),
            ("offset", &offset),
            ("invisibleTime", invisible),
        ];
        self.ask(BrokerCode::ChangeMessageInvisibleTime, &fields, b"")
    }

    fn committed(&mut self, group: &str, topic: &str, queue: u32) -> i64 {
        let queue = queue.to_string();
        let fields = [("consumerGroup", group), ("topic", topic), ("queueId", &queue)];
        self.ask(BrokerCode::QueryConsumerOffset, &fields, b"").field("offset").parse().unwrap_or(-1)
    }

    fn set_mode(&mut self, topic: &str, group: &str, share: i32) {
        let body = SetMessageRequestMode {
            topic: topic.into(),
            consumer_group: group.into(),
            mode: RequestMode::Pop,
            pop_share_queue_num: share,
        };
        let reply = self.ask(BrokerCode::SetMessageRequestMode, &[], &body.encode());
        assert_eq!(reply.code, 0, "{reply:?}");
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn broker_of(server: &Server) -> (SocketAddr, String) {
    (server.broker, "broker-a".to_owned())
}

#[test]
fn messages_are_hidden_until_acknowledged_or_their_time_is_over() {
    let server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    client.create_topic("T", 2);
    for n in 0..6 {
        client.produce("T", n % 2, "a", &format!("m{n}"));
    }
    let taken = client.pop("g", "T", &[("invisibleTime", "2000"), ("maxMsgNums", "4")]);
    assert_eq!((taken.code, taken.field("restNum")), (0, "2"), "{taken:?}");
    let first = taken.messages("g", &broker);
    let others = client.pop("g", "T", &[]).messages("g", &broker);
    assert_eq!((first.len(), others.len()), (4, 2));
    let bodies: BTreeSet<_> = first.iter().chain(&others).map(|message| message.body.clone()).collect();
    assert_eq!(bodies.len(), 6, "each message once");
    assert_eq!(client.pop("g", "T", &[]).code, 210, "nothing is visible");
    // One acknowledged, one hidden for longer; two come back.
    assert_eq!(client.ack("g", &first[0]).code, 0);
    let changed = client.change("g", &first[1], "60000");
    assert_eq!((changed.code, changed.field("invisibleTime")), (0, "60000"));
    assert_eq!(client.ack("g", &first[1]).code, 0, "a stale handle is answered like another");
    let mut back = Vec::new();
    eventually("messages in the retry topic", || {
        back.extend(client.pop("g", "T", &[]).messages("g", &broker));
        back.len() >= 2
    });
    assert_eq!(back.len(), 2, "{back:?}");
    for message in &back {
        assert_eq!((message.reconsume_times, message.real_topic.as_str()), (1, "%RETRY%g_T"));
        assert_eq!(message.topic, "T", "retried messages come under the topic that was asked for");
        assert!(first[2..].iter().any(|first| first.body == message.body));
        assert_eq!(client.ack("g", message).code, 0);
    }
    assert_eq!(client.committed("g", "%RETRY%g_T", 0), 2);
    // What is not finished holds the committed offset back.
    let committed = |client: &mut Client| client.committed("g", "T", 0) + client.committed("g", "T", 1);
    let before = committed(&mut client);
    assert!(before < 6, "{before}");
    for message in &others {
        assert_eq!(client.ack("g", message).code, 0);
    }
    let mut handle = first[1].clone();
    let renewed = ExtraInfo::parse(&first[1].handle).unwrap();
    let pop_time = changed.field("popTime").parse().unwrap();
    handle.handle = ExtraInfo { pop_time, invisible_time: 60_000, ..renewed }.to_string();
    assert_eq!(client.ack("g", &handle).code, 0);
    assert_eq!(committed(&mut client), 6);
}

#[test]
fn retry_topics_may_have_longer_names_than_clients_may_give() {
    let server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    // RocketMQ's PopConsumerRetryIT has names like these.
    let (topic, group) = (format!("topic-{}", "T".repeat(72)), format!("group-{}", "G".repeat(72)));
    let retry_topic = format!("%RETRY%{group}_{topic}");
    client.create_topic(&topic, 1);
    client.produce(&topic, 0, "a", "m");
    let mut take = |reconsume_times| {
        let mut taken = Vec::new();
        eventually("the message", || {
            taken = client.pop(&group, &topic, &[("invisibleTime", "1000")]).messages(&group, &broker);
            !taken.is_empty()
        });
        assert_eq!((taken.len(), taken[0].reconsume_times), (1, reconsume_times), "{taken:?}");
        assert_eq!((taken[0].topic.as_str(), &*taken[0].body), (topic.as_str(), b"m".as_slice()));
        taken.remove(0)
    };
    assert_eq!(take(0).real_topic, topic);
    assert_eq!(take(1).real_topic, retry_topic);
    let last = take(2);
    assert_eq!(client.ack(&group, &last).code, 0);
    assert_eq!(client.committed(&group, &retry_topic, 0), 2);
}

#[test]
fn waiting_pops_are_woken() {
    let server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut producer = Client::connect(address);
    producer.create_topic("T", 4);
    let mut waiting: Vec<_> = (0..3).map(|_| Client::connect(address)).collect();
    for client in &mut waiting {
        client.send_pop("g", "T", &[("pollTime", "30000"), ("invisibleTime", "1000")]);
    }
    let info = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "-1")];
    let polling =
        |client: &mut Client| client.ask(BrokerCode::PollingInfo, &info, b"").field("pollingNum").to_owned();
    eventually("three pops that wait", || polling(&mut producer) == "3");
    let mut notified = Client::connect(address);
    let born = now().to_string();
    let notification = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "-1"),
        ("pollTime", "30000"),
        ("bornTime", &born),
    ];
    notified.send(BrokerCode::Notification, &notification, b"");
    producer.produce("T", 2, "a", "one");
    // One of the three gets it; nobody acknowledges, so that another gets it from the retry topic, and so on.
    let mut taken: Vec<Popped> = Vec::new();
    for client in &mut waiting {
        taken.extend(client.receive().messages("g", &broker));
    }
    assert_eq!(taken.len(), 3);
    let times: BTreeSet<_> = taken.iter().map(|message| message.reconsume_times).collect();
    assert_eq!(times, BTreeSet::from([0, 1, 2]));
    assert_eq!(notified.receive().code, 0);
    assert_eq!(polling(&mut producer), "0");
    // Without messages the client hears so before its patience ends.
    producer.create_topic("U", 2);
    assert_eq!(producer.pop("g", "U", &[("pollTime", "300"), ("queueId", "1")]).code, 210);
}

#[test]
fn an_ordered_group_gets_one_pop_at_a_time() {
    let server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    client.create_topic("T", 1);
    for n in 0..4 {
        client.produce("T", 0, "a", &format!("m{n}"));
    }
    let ordered =
        |attempt| [("order", "true"), ("attemptId", attempt), ("maxMsgNums", "2"), ("invisibleTime", "1500")];
    let first = client.pop("g", "T", &ordered("a"));
    assert_eq!((first.field("reviveQid"), first.field("orderCountInfo")), ("999", "0 0 0"));
    assert_eq!(client.pop("g", "T", &ordered("b")).code, 210, "blocked");
    let again = client.pop("g", "T", &ordered("a"));
    assert_eq!(again.field("msgOffsetInfo"), "0 0 0,1", "the same attempt gets the same messages");
    // Their time ends, and they come once more, counted.
    let mut waiting = Client::connect(address);
    let poll = [("pollTime", "20000")];
    waiting.send_pop("g", "T", &[&ordered("c")[..], &poll].concat());
    let third = waiting.receive();
    assert_eq!(third.field("msgOffsetInfo"), "0 0 0,1");
    assert_eq!(third.field("orderCountInfo"), "0 qo0%0 1;0 qo0%1 1;0 0 1");
    // Acknowledged, the next two come at once to who waits.
    waiting.send_pop("g", "T", &[&ordered("d")[..], &poll].concat());
    for message in third.messages("g", &broker) {
        assert_eq!(client.ack("g", &message).code, 0);
    }
    assert_eq!(waiting.receive().field("msgOffsetInfo"), "0 0 2,3");
    assert_eq!(client.committed("g", "T", 0), 2);
    let strange = Popped { offset: 1, ..first.messages("g", &broker)[0].clone() };
    assert_eq!(client.ack("g", &strange).code, 0, "acknowledged before");
}

#[test]
fn filters_apply_to_retries_too() {
    let server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    client.create_topic("T", 1);
    for (tag, body) in [("a", "1"), ("b", "22"), ("a", "333"), ("c", "4444")] {
        client.produce("T", 0, tag, body);
    }
    let tagged = client.pop("tags", "T", &[("exp", "a || c")]);
    assert_eq!(tagged.field("msgOffsetInfo"), "0 0 0,2,3");
    let by_sql = [("expType", "SQL92"), ("exp", "n > 1 AND n < 4"), ("invisibleTime", "500")];
    let chosen = client.pop("sql", "T", &by_sql);
    assert_eq!(chosen.field("msgOffsetInfo"), "0 0 1,2");
    let mut back = Vec::new();
    eventually("what was not acknowledged", || {
        let wanted = [("expType", "SQL92"), ("exp", "n = 3")];
        back.extend(client.pop("sql", "T", &wanted).messages("sql", &broker));
        !back.is_empty()
    });
    assert_eq!(back[0].body, b"333");
    assert_eq!(client.pop("sql", "T", &[("expType", "SQL92"), ("exp", "n >")]).code, 23);
}

#[test]
fn what_is_in_flight_survives_an_orderly_stop() {
    let mut server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    client.create_topic("T", 1);
    client.set_mode("T", "g", 3);
    for n in 0..3 {
        client.produce("T", 0, "a", &format!("m{n}"));
    }
    let taken =
        client.pop("g", "T", &[("maxMsgNums", "3"), ("invisibleTime", "10000")]).messages("g", &broker);
    assert_eq!(client.ack("g", &taken[1]).code, 0);
    assert!(server.terminate().success());
    server.restart();
    let mut client = Client::connect(server.broker);
    assert_eq!(client.committed("g", "T", 0), 0);
    assert_eq!(client.pop("g", "T", &[]).code, 210, "they are hidden still");
    assert_eq!(client.ack("g", &taken[0]).code, 0, "a handle outlives the server");
    assert_eq!(client.committed("g", "T", 0), 2);
    let mut back = Vec::new();
    eventually("the third message", || {
        back.extend(client.pop("g", "T", &[]).messages("g", &broker));
        !back.is_empty()
    });
    assert_eq!((back[0].body.as_slice(), back.len()), (&b"m2"[..], 1));
    let modes = client.ask(BrokerCode::GetAllMessageRequestMode, &[], b"").body;
    let modes = halley_wire::body::assignment::decode_modes(&modes).unwrap();
    assert_eq!((modes[0].mode, modes[0].pop_share_queue_num), (RequestMode::Pop, 3));
}

#[test]
fn an_offset_that_someone_else_sets_is_obeyed() {
    let server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    client.create_topic("T", 1);
    for n in 0..6 {
        client.produce("T", 0, "a", &format!("m{n}"));
    }
    let first = client.pop("g", "T", &[("maxMsgNums", "4")]);
    assert_eq!(first.field("msgOffsetInfo"), "0 0 0,1,2,3");
    // Batches are acknowledged by distance from their first.
    let first = first.messages("g", &broker);
    let handle = ExtraInfo::parse(&first[0].handle).unwrap();
    let mut some = BatchAck {
        consumer_group: "g".into(),
        topic: "T".into(),
        retry: "0".into(),
        start_offset: handle.start_offset,
        pop_time: handle.pop_time,
        invisible_time: handle.invisible_time,
        ..BatchAck::default()
    };
    some.set_distances(&[0, 1, 3]);
    let batch = BatchAckMessage { broker_name: broker.clone(), acks: vec![some] };
    assert_eq!(client.ask(BrokerCode::BatchAckMessage, &[], &batch.encode()).code, 0);
    assert_eq!(client.committed("g", "T", 0), 2);
    let set = |client: &mut Client, offset: &str| {
        let fields = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", offset)];
        assert_eq!(client.ask(BrokerCode::UpdateConsumerOffset, &fields, b"").code, 0);
    };
    set(&mut client, "1");
    assert_eq!(client.pop("g", "T", &[("maxMsgNums", "2")]).field("msgOffsetInfo"), "0 0 1,2");
    set(&mut client, "5");
    assert_eq!(client.pop("g", "T", &[]).field("msgOffsetInfo"), "0 0 5");
    assert_eq!(client.ack("g", &first[2]).code, 0, "its handle is stale");
    assert_eq!(client.committed("g", "T", 0), 5);
    // Who asks for no message gets none, and waits.
    client.produce("T", 0, "a", "more");
    assert_eq!(client.pop("g", "T", &[("maxMsgNums", "0"), ("pollTime", "400")]).code, 210);
    let requests = server.metric("halley_remoting_requests_total");
    assert!(requests < 100.0, "{requests}");
}

#[test]
fn binary_headers_have_no_room_for_these_codes() {
    let server = Server::start("");
    let mut client = Client::connect(server.broker);
    // 200050 cut to 16 bits, as a client that is set to such headers sends it.
    let reply = client.ask(BrokerCode::Unknown(3442), &[], b"");
    assert_eq!((reply.code, reply.remark.as_str()), (3, " request type 3442 not supported"));
}

/// A Java consumer whose queues the broker shares out; `None` without clients.
fn consume(server: &Server, more: &[&str]) -> Option<Consumer> {
    let arguments = [&["T", "g", "--pop"], more].concat();
    Some(Consumer::start(Rocketmq::Java5, &clients()?, server, &arguments))
}

fn bodies(messages: &[Value]) -> BTreeSet<String> {
    messages.iter().filter_map(|message| message["body"].as_str().map(str::to_owned)).collect()
}

#[test]
fn java_consumers_pop_and_retry() {
    if clients().is_none() {
        return;
    }
    let server = Server::start("");
    let mut client = Client::connect(server.broker);
    client.create_topic("T", 2);
    client.set_mode("T", "g", 0);
    for n in 0..8 {
        client.produce("T", n % 2, "a", &format!("m{n}"));
    }
    // Two messages are refused once: the client hides them for ten seconds, then they come through the retry topic.
    let mut consumer = consume(&server, &["--fail", "2", "--expect", "8"]).unwrap();
    let messages = consumer.rest();
    assert_eq!((messages.len(), bodies(&messages).len()), (8, 8), "{messages:?}");
    let retried: Vec<_> = messages.iter().filter(|message| message["reconsumeTimes"] == 1).collect();
    assert_eq!(retried.len(), 2, "{messages:?}");
    for message in retried {
        assert_eq!(message["topic"], "T");
        assert_eq!(message["properties"]["ORIGIN_GROUP"], "g");
        assert!(message["properties"]["1ST_POP_TIME"].is_string());
    }
    eventually("everything finished", || {
        client.committed("g", "T", 0) + client.committed("g", "T", 1) == 8
            && client.committed("g", "%RETRY%g_T", 0) == 2
    });
}

#[test]
fn java_consumers_share_one_queue_and_take_over_from_a_killed_one() {
    if clients().is_none() {
        return;
    }
    let server = Server::start("");
    let mut client = Client::connect(server.broker);
    client.create_topic("T", 1);
    client.set_mode("T", "g", 0);
    client.produce("T", 0, "a", "hangs");
    let mut hanging = consume(&server, &["--hang", "--invisible-ms", "5000"]).unwrap();
    let hung = hanging.message();
    // More consumers than queues: each of the others gets some of one queue's messages.
    let mut others = [(); 2].map(|()| consume(&server, &["--invisible-ms", "5000"]).unwrap());
    hanging.kill();
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    let mut back = None;
    for n in 0.. {
        client.produce("T", 0, "a", &format!("m{n}"));
        for (other, seen) in others.iter_mut().zip(&mut seen) {
            while let Some(message) = other.message_within(Duration::from_millis(10)) {
                seen.insert(message["body"].to_string());
                back = back.or_else(|| (message["body"] == hung["body"]).then_some(message));
            }
        }
        if back.is_some() && seen.iter().all(|seen| !seen.is_empty()) {
            break;
        }
        assert!(n < 2000, "the killed consumer's message came back: {back:?}; {seen:?}");
    }
    assert!(back.unwrap()["reconsumeTimes"].as_i64() >= Some(1));
}

#[test]
fn java_consumers_pull_from_queues_that_the_broker_shares_out() {
    if clients().is_none() {
        return;
    }
    let server = Server::start("");
    let mut client = Client::connect(server.broker);
    client.create_topic("T", 4);
    for n in 0..8 {
        client.produce("T", n % 4, "a", &format!("m{n}"));
    }
    // Without a mode the group pulls; which queues are its members' is the broker's to say.
    let mut consumer = consume(&server, &["--expect", "8"]).unwrap();
    assert_eq!(bodies(&consumer.rest()).len(), 8);
}

#[test]
fn kill_9_under_load_loses_nothing() {
    let mut server = Server::start("");
    let (address, broker) = broker_of(&server);
    let mut client = Client::connect(address);
    client.create_topic("T", 2);
    let mut sent = 0_u32;
    let mut acked: BTreeSet<Vec<u8>> = BTreeSet::new();
    for round in 0..4_u32 {
        let mut client = Client::connect(server.broker);
        for turn in 0..60_u32 {
            client.produce("T", sent % 2, "a", &format!("m{sent}"));
            sent += 1;
            let taken = client.pop("g", "T", &[("maxMsgNums", "3"), ("invisibleTime", "400")]);
            // Some are acknowledged, the others come back.
            for (at, message) in taken.messages("g", &broker).iter().enumerate() {
                if !(turn + at as u32 + round).is_multiple_of(3) && client.ack("g", message).code == 0 {
                    acked.insert(message.body.clone());
                }
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        server.kill();
        server.restart();
    }
    let mut client = Client::connect(server.broker);
    eventually("every message acknowledged", || {
        for message in client.pop("g", "T", &[("pollTime", "200")]).messages("g", &broker) {
            if client.ack("g", &message).code == 0 {
                acked.insert(message.body.clone());
            }
        }
        acked.len() == sent as usize
    });
    // And then everything is finished: nothing is left in flight for ever.
    eventually("the end of every queue", || {
        for message in client.pop("g", "T", &[]).messages("g", &broker) {
            client.ack("g", &message);
        }
        client.committed("g", "T", 0) + client.committed("g", "T", 1) == i64::from(sent)
    });
}

/// The same requests to any broker; what it answers, without what differs from run to run.
fn script(address: SocketAddr, suffix: &str) -> String {
    let (topic, group) = (format!("PopScript{suffix}"), format!("pop-script-{suffix}"));
    let mut client = Client::connect(address);
    client.create_topic(&topic, 2);
    for n in 0..5 {
        client.produce(&topic, 0, if n % 2 == 0 { "a" } else { "b" }, &format!("m{n}"));
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut told = String::new();
    let mut tell = |what: &str, reply: &Reply| {
        let mut fields = reply.fields.clone();
        for (name, value) in &mut fields {
            let changes = match name.as_str() {
                "popTime" => value != "0",
                "reviveQid" => value != "999",
                // The sum of a time that was asked for and one that passed.
                "invisibleTime" => what == "ordered, hidden",
                _ => false,
            };
            if changes {
                *value = "…".to_owned();
            }
        }
        let remark = reply.remark.replace(suffix, "…").replace(&address.ip().to_string(), "…");
        let remark = remark.split("See http").next().unwrap_or_default().trim_end().to_owned();
        let remark = remark.split(" consumer:[").next().unwrap_or_default();
        let remark = remark.split(", /").next().unwrap_or_default().to_owned();
        writeln!(told, "{what}: {} {remark:?} {fields:?}, {} messages", reply.code, reply.messages_count())
            .unwrap();
    };
    let one_queue = [("queueId", "0")];
    let with = |more: &[(&'static str, &'static str)]| [&one_queue[..], more].concat();
    tell("no topic", &client.pop(&group, "NoSuchTopic", &[]));
    tell("no queue", &client.pop(&group, &topic, &[("queueId", "2")]));
    tell("too many", &client.pop(&group, &topic, &[("maxMsgNums", "33")]));
    tell("too late", &client.pop(&group, &topic, &[("bornTime", "1000")]));
    tell("bad expression", &client.pop(&group, &topic, &[("expType", "SQL92"), ("exp", "a >")]));
    tell("empty queue", &client.pop(&group, &topic, &[("queueId", "1")]));
    tell("not in the queue", &client.pop(&group, &topic, &with(&[("exp", "zzz")])));
    // The expression passed over everything.
    tell("nothing left", &client.pop(&group, &topic, &with(&[])));
    let other = format!("{group}-2");
    let first = client.pop(&other, &topic, &with(&[("maxMsgNums", "2")]));
    tell("two", &first);
    tell("tagged", &client.pop(&other, &topic, &with(&[("exp", "a")])));
    let messages = first.messages(&other, "broker");
    tell("ack", &client.ack(&other, &messages[0]));
    tell("ack again", &client.ack(&other, &messages[0]));
    tell("change", &client.change(&other, &messages[1], "30000"));
    tell("change with a stale handle", &client.change(&other, &messages[1], "30000"));
    let far = Popped { offset: 99, ..messages[0].clone() };
    tell("ack beyond the end", &client.ack(&other, &far));
    tell("change beyond the end", &client.change(&other, &far, "30000"));
    let end = Popped { offset: 5, ..messages[0].clone() };
    tell("ack at the end", &client.ack(&other, &end));
    tell("change at the end", &client.change(&other, &end, "30000"));
    let strange = Popped { real_topic: "NoSuchTopic".into(), ..messages[0].clone() };
    tell("ack of no topic", &client.ack(&other, &strange));
    tell("change of no topic", &client.change(&other, &strange, "30000"));
    let strange = Popped { queue: 7, ..messages[0].clone() };
    tell("ack of no queue", &client.ack(&other, &strange));
    tell("change of no queue", &client.change(&other, &strange, "30000"));
    let mut some = BatchAck {
        consumer_group: other.clone(),
        topic: topic.clone(),
        retry: "0".into(),
        start_offset: 2,
        pop_time: 5,
        invisible_time: 60_000,
        ..BatchAck::default()
    };
    some.set_distances(&[0, 2]);
    let batch = BatchAckMessage { broker_name: "b".into(), acks: vec![some] };
    tell("batch", &client.ask(BrokerCode::BatchAckMessage, &[], &batch.encode()));
    tell("empty batch", &client.ask(BrokerCode::BatchAckMessage, &[], &BatchAckMessage::default().encode()));
    tell("no batch", &client.ask(BrokerCode::BatchAckMessage, &[], b""));

    let ordered = format!("{group}-3");
    let order = |attempt| with(&[("order", "true"), ("attemptId", attempt), ("maxMsgNums", "2")]);
    let taken = client.pop(&ordered, &topic, &order("a"));
    tell("ordered", &taken);
    tell("ordered, blocked", &client.pop(&ordered, &topic, &order("b")));
    let again = client.pop(&ordered, &topic, &order("a"));
    tell("ordered, the same attempt", &again);
    let messages = again.messages(&ordered, "broker");
    tell("ordered, second ack", &client.ack(&ordered, &messages[1]));
    tell("ordered, strange ack", &client.ack(&ordered, &Popped { offset: 4, ..messages[0].clone() }));
    tell("ordered, hidden", &client.change(&ordered, &messages[0], "100"));
    std::thread::sleep(Duration::from_millis(200));
    let third = client.pop(&ordered, &topic, &order("c"));
    tell("ordered, visible again", &third);
    for message in third.messages(&ordered, "broker") {
        tell("ordered, ack", &client.ack(&ordered, &message));
    }
    tell("ordered, the next", &client.pop(&ordered, &topic, &order("d")));

    let born = now().to_string();
    let mut notify = |group: &str, more: &[(&'static str, &'static str)]| {
        let mut fields = vec![("consumerGroup", group), ("topic", &topic), ("bornTime", &born)];
        fields.extend(
            [("queueId", "0"), ("pollTime", "0")]
                .iter()
                .filter(|(name, _)| more.iter().all(|(other, _)| other != name)),
        );
        fields.extend(more);
        client.ask(BrokerCode::Notification, &fields, b"")
    };
    tell("notification", &notify(&format!("{group}-4"), &[]));
    tell("notification of nothing", &notify(&group, &[]));
    tell("notification of no queue", &notify(&group, &[("queueId", "9")]));
    let asked = [("expType", "TAG"), ("exp", "zzz")];
    tell("notification of no match", &notify(&format!("{group}-4"), &asked));
    let asked = [("expType", "TAG"), ("exp", "b")];
    tell("notification of a match", &notify(&format!("{group}-4"), &asked));
    let info = [("consumerGroup", group.as_str()), ("topic", &topic), ("queueId", "-1")];
    tell("polling", &client.ask(BrokerCode::PollingInfo, &info, b""));
    let fifth = format!("{group}-5");
    let peek = [("consumerGroup", fifth.as_str()), ("topic", &topic), ("queueId", "0"), ("maxMsgNums", "3")];
    tell("peek", &client.ask(BrokerCode::PeekMessage, &peek, b""));
    let peek = [("consumerGroup", group.as_str()), ("topic", &topic), ("queueId", "1"), ("maxMsgNums", "3")];
    tell("peek at nothing", &client.ask(BrokerCode::PeekMessage, &peek, b""));
    tell("set no topic's mode", &{
        let body = SetMessageRequestMode { topic: "NoSuchTopic".into(), ..SetMessageRequestMode::default() };
        client.ask(BrokerCode::SetMessageRequestMode, &[], &body.encode())
    });
    told
}

impl Reply {
    fn messages_count(&self) -> usize {
        let mut rest = &self.body[..];
        let mut count = 0;
        while let Ok(record) = halley_model::RecordView::parse(rest) {
            rest = &rest[record.total_len()..];
            count += 1;
        }
        count
    }
}

/// The same script to both gets the same answers.
#[test]
fn answers_are_those_of_rocketmq() {
    let Some(oracle) = Oracle::start("") else { return };
    let server = Server::start("");
    let suffix = now().to_string();
    let (ours, theirs) = (script(server.broker, &suffix), script(oracle.broker, &suffix));
    let differences: Vec<_> =
        ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours != theirs).collect();
    for (ours, theirs) in &differences {
        eprintln!("Halley:   {ours}\nRocketMQ: {theirs}\n");
    }
    assert!(differences.is_empty());
    assert_eq!(ours.lines().count(), theirs.lines().count());
    for code in [
        BrokerCode::PopMessage,
        BrokerCode::AckMessage,
        BrokerCode::PeekMessage,
        BrokerCode::ChangeMessageInvisibleTime,
        BrokerCode::Notification,
        BrokerCode::PollingInfo,
        BrokerCode::BatchAckMessage,
    ] {
        crate::common::observed::write(
            &serde_json::json!({"compared": {"role": "broker", "code": code.number()}}),
        );
    }
}
