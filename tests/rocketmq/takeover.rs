//! A store that a real RocketMQ 5.5.0 or 4.9.7 wrote goes on in Halley, and Halley's in RocketMQ 5.5.0. Official clients use both.

use crate::common::{
    Rocketmq, Server, clients, eventually,
    oracle::Oracle,
    remoting::{Connection, Reply},
};
use halley_wire::{
    BrokerCode, Serialize,
    pop::{ExtraInfo, Retry, parse_offset_info},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes of a file of RocketMQ's log here: several files come of few messages.
const FILE_BYTES: &str = "65536";

/// A server of either kind, and a Java client.
struct Site<'a> {
    clients: &'a Path,
    namesrv: SocketAddr,
    broker: SocketAddr,
}

impl Site<'_> {
    fn run(&self, command: &str, arguments: &[&str]) -> Vec<Value> {
        let namesrv = self.namesrv.to_string();
        let arguments: Vec<_> = [command, &namesrv].iter().chain(arguments).copied().collect();
        let ran = Rocketmq::Java5.run(self.clients, &arguments);
        ran.unwrap_or_else(|output| panic!("{arguments:?}: {output}"))
    }

    /// A producer of the transactions' group answers so many checks: one that came before it was there comes again half a
    /// minute later, or a minute. Something else happens meanwhile.
    fn answer_checks(&self, count: usize, meanwhile: impl FnOnce()) {
        let text = count.to_string();
        let answers = ["--decide", "commit", "--answer", "commit", "--checks", &text, "--timeout-s", "180"];
        thread::scope(|scope| {
            let asked = scope.spawn(|| self.run("transact", &[&["money", "1"], &answers[..]].concat()));
            meanwhile();
            let asked = asked.join().unwrap();
            let checks = asked.iter().filter(|line| line.get("checked").is_some());
            assert_eq!(checks.count(), count, "{asked:?}");
        });
    }

    fn consume(&self, topic: &str, group: &str, count: usize) -> Vec<Value> {
        let lines = self.run("consume", &[topic, group, "--expect", &count.to_string()]);
        lines.into_iter().filter(|line| line.get("body").is_some()).collect()
    }

    /// Where the queues begin and end, and how far the group is, by queue.
    fn offsets(&self, topic: &str, group: &str) -> BTreeMap<i64, [i64; 3]> {
        let lines = self.run("offsets", &[topic, "--group", group]);
        let numbers = |line: &Value| ["min", "max", "committed"].map(|name| line[name].as_i64().unwrap());
        lines.iter().map(|line| (line["queueId"].as_i64().unwrap(), numbers(line))).collect()
    }

    fn ask(&self, code: BrokerCode, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Connection::open(self.broker).ask(Serialize::Json, code.number(), &fields, body).unwrap().unwrap()
    }

    /// Pops what there is in a topic of one queue: bodies, each with what an acknowledgement needs.
    fn pop(&self, topic: &str, group: &str, invisible_ms: &str) -> Vec<(String, Popped)> {
        let born = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", "-1"),
            ("maxMsgNums", "32"),
            ("invisibleTime", invisible_ms),
            ("pollTime", "0"),
            ("bornTime", &born),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", "*"),
            ("order", "false"),
        ];
        let reply = self.ask(BrokerCode::PopMessage, &fields, b"");
        let field = |name: &str| reply.ext.get(name).map_or("", String::as_str);
        let mut popped = Vec::new();
        let mut rest = &reply.body[..];
        while !rest.is_empty() {
            let record = halley_model::RecordView::parse(rest).unwrap();
            rest = &rest[record.total_len()..];
            let handle = record.property("POP_CK").map_or_else(
                || {
                    let queues = parse_offset_info(field("startOffsetInfo"), field("msgOffsetInfo")).unwrap();
                    let queue = queues.iter().find(|queue| queue.retry == Retry::Normal).unwrap();
                    let info = ExtraInfo {
                        start_offset: queue.start as i64,
                        pop_time: field("popTime").parse().unwrap(),
                        invisible_time: field("invisibleTime").parse().unwrap(),
                        revive_queue: field("reviveQid").parse().unwrap(),
                        retry: queue.retry,
                        broker_name: "broker-a",
                        queue_id: Some(record.queue() as i32),
                        queue_offset: Some(record.queue_offset() as i64),
                    };
                    info.to_string()
                },
                str::to_owned,
            );
            let retry = ExtraInfo::parse(&handle).unwrap().retry;
            let real_topic = retry.real_topic(record.topic(), group);
            let body = String::from_utf8_lossy(record.body()).into_owned();
            let (queue, offset) = (record.queue().to_string(), record.queue_offset().to_string());
            popped.push((body, Popped { real_topic, queue, offset, handle }));
        }
        popped
    }

    fn ack(&self, group: &str, popped: &Popped) {
        let Popped { real_topic, queue, offset, handle } = popped;
        let fields = [
            ("consumerGroup", group),
            ("topic", real_topic),
            ("queueId", queue),
            ("extraInfo", handle),
            ("offset", offset),
        ];
        assert_eq!(self.ask(BrokerCode::AckMessage, &fields, b"").code, 0);
    }

    /// Pops until these bodies came, and only they, and acknowledges them.
    fn pop_exactly(&self, topic: &str, group: &str, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(|body| (*body).to_owned()).collect();
        let mut seen = BTreeSet::new();
        eventually(&format!("{expected:?} again"), || {
            for (body, popped) in self.pop(topic, group, "60000") {
                assert!(expected.contains(&body), "{body} was acknowledged before");
                self.ack(group, &popped);
                seen.insert(body);
            }
            seen == expected
        });
    }

    /// Sends a message that is in light queues, too.
    fn send_to_light(&self, queues: &str, body: &str) {
        let properties = format!("INNER_MULTI_DISPATCH\x01{queues}\x02k\x01v\x02");
        let fields = [
            ("producerGroup", "p"),
            ("topic", "lit"),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", "0"),
            ("sysFlag", "0"),
            ("bornTimestamp", "1700000000000"),
            ("flag", "0"),
            ("properties", &properties),
        ];
        assert_eq!(self.ask(BrokerCode::SendMessage, &fields, body.as_bytes()).code, 0);
    }

    /// The bodies of all messages of a light queue.
    fn light(&self, queue: &str) -> Vec<String> {
        let fields = [
            ("consumerGroup", "g"),
            ("topic", queue),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        let reply = self.ask(BrokerCode::PullMessage, &fields, b"");
        let mut rest = &reply.body[..];
        let mut bodies = Vec::new();
        while !rest.is_empty() {
            let record = halley_model::RecordView::parse(rest).unwrap();
            bodies.push(String::from_utf8_lossy(record.body()).into_owned());
            rest = &rest[record.total_len()..];
        }
        bodies
    }

    fn commit_light(&self, queue: &str, offset: u64) {
        let offset = offset.to_string();
        let fields =
            [("consumerGroup", "%LMQ%g"), ("topic", queue), ("queueId", "0"), ("commitOffset", &offset[..])];
        assert_eq!(self.ask(BrokerCode::UpdateConsumerOffset, &fields, b"").code, 0);
    }

    fn light_committed(&self, queue: &str) -> Option<u64> {
        let fields = [("consumerGroup", "%LMQ%g"), ("topic", queue), ("queueId", "0")];
        self.ask(BrokerCode::QueryConsumerOffset, &fields, b"").ext.get("offset")?.parse().ok()
    }

    fn create_topic(&self, topic: &str, queues: &str) {
        self.run("create-topic", &[topic, "--queues", queues]);
    }
}

struct Popped {
    real_topic: String,
    queue: String,
    offset: String,
    handle: String,
}

/// Switches light queues on; RocketMQ then keeps committed offsets in another file.
const LIGHT: &str = "enableLmq=true\nenableMultiDispatch=true\n";

fn java(store: &Path, more: &str) -> Option<Oracle> {
    java_of("5.5.0", store, more)
}

fn java_of(version: &'static str, store: &Path, more: &str) -> Option<Oracle> {
    let store = store.display();
    let conf = format!(
        "storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\nmappedFileSizeCommitLog={FILE_BYTES}\n\
         transactionCheckInterval=3000\ntransactionCheckMax=1000\n{more}"
    );
    Oracle::start_version(version, &conf)
}

/// The bytes of RocketMQ's files but for the largest.
fn files_of(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![store.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(store).unwrap().display().to_string();
            let metadata = entry.metadata().unwrap();
            match () {
                () if name == "halley" => {}
                () if metadata.is_dir() => dirs.push(path),
                () if metadata.len() < 8 << 20 => _ = files.insert(name, fs::read(path).unwrap()),
                () => {}
            }
        }
    }
    files
}

fn export(data: &Path, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(["export", "--to", "rocketmq", "--json", "--file-size", FILE_BYTES, "--data"])
        .arg(data)
        .arg(out)
        .output()
        .unwrap()
}

/// Why a server does not start on a directory.
fn refusal(store: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("halley.yaml");
    let any = "{listen: \"127.0.0.1:0\"}";
    let text = format!(
        "server:\n  data: {}\n  namesrv: {any}\n  broker: {any}\n  ingress: {any}\n  admin: {any}\n",
        store.display()
    );
    fs::write(&config, text).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_halley")).args(["serve", "--config"]).arg(config).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Queues and offsets of messages.
fn places(messages: &[Value]) -> BTreeSet<(i64, i64)> {
    let number = |message: &Value, name: &str| message[name].as_i64().unwrap();
    messages.iter().map(|message| (number(message, "queueId"), number(message, "queueOffset"))).collect()
}

/// Messages that were delayed for so long were not delivered sooner.
fn check_delayed(messages: &[Value], tag: &str, delay_ms: i64, count: usize) {
    let delayed: Vec<_> = messages.iter().filter(|message| message["tags"] == tag).collect();
    assert_eq!(delayed.len(), count, "{messages:?}");
    for message in delayed {
        let time = |name: &str| message[name].as_i64().unwrap();
        assert!(time("storeTimestamp") >= time("bornTimestamp") + delay_ms, "{message}");
    }
}

#[test]
fn a_stopped_rocketmq_goes_on_in_halley_and_back() {
    let Some(clients) = clients() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let Some(oracle) = java(&store, "") else { return };
    let site = Site { clients: &clients, namesrv: oracle.namesrv, broker: oracle.broker };
    site.create_topic("orders", "4");
    site.create_topic("popped", "1");
    let body = format!("{}-{{i}}", "x".repeat(1000));
    site.run("produce", &["orders", "120", "--tag", "a", "--key", "k{i}", "--body", &body]);
    site.run("produce", &["audit", "9"]);
    assert_eq!(site.consume("orders", "billing", 120).len(), 120);
    site.run("produce", &["orders", "30", "--tag", "b"]);
    site.run("produce", &["popped", "4", "--body", "p{i}"]);
    let popped = site.pop("popped", "workers", "30000");
    assert_eq!(popped.len(), 4, "{:?}", popped.iter().map(|(body, _)| body).collect::<Vec<_>>());
    for (_, popped) in popped.iter().filter(|(body, _)| body == "p0" || body == "p2") {
        site.ack("workers", popped);
    }
    site.run("transact", &["money", "2", "--decide", "unknown"]);
    site.run("transact", &["money", "1", "--decide", "commit"]);
    site.run("transact", &["money", "1", "--decide", "rollback"]);
    site.run("produce", &["later", "2", "--delay-level", "4", "--tag", "level"]);
    site.run("produce", &["later", "2", "--delay-ms", "30000", "--tag", "timer"]);
    let offsets = site.offsets("orders", "billing");
    assert!(refusal(&store).contains("locked"), "while RocketMQ runs Halley does not");
    drop(oracle);
    assert!(fs::read_dir(store.join("commitlog")).unwrap().count() > 2, "the log has several files");
    let before = files_of(&store);

    let mut halley = Server::start_in(&store, "");
    let site = Site { clients: &clients, namesrv: halley.namesrv, broker: halley.broker };
    assert_eq!(site.offsets("orders", "billing"), offsets);
    let found = site.run("query", &["orders", "--key", "k77"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(site.consume("orders", "billing", 30).len(), 30);
    // The producer is asked about the two that it left open.
    site.answer_checks(2, || {
        let delayed = site.consume("later", "sleepers", 4);
        check_delayed(&delayed, "level", 30_000, 2);
        check_delayed(&delayed, "timer", 30_000, 2);
        site.pop_exactly("popped", "workers", &["p1", "p3"]);
    });
    assert_eq!(site.consume("money", "bank", 4).len(), 4);
    assert_eq!(site.consume("audit", "auditors", 9).len(), 9);
    assert!(halley.terminate().success());
    assert!(files_of(&store) == before, "RocketMQ's files are as they were");
    halley.restart();
    site.run("produce", &["orders", "5", "--tag", "c"]);
    site.run("produce", &["popped", "2", "--body", "q{i}"]);
    let popped = site.pop("popped", "workers", "20000");
    assert_eq!(popped.len(), 2);
    site.ack("workers", &popped[0].1);
    let unacknowledged = popped[1].0.clone();
    site.run("transact", &["money", "1", "--decide", "unknown"]);
    site.run("produce", &["later", "1", "--delay-level", "4", "--tag", "level"]);
    site.run("produce", &["later", "1", "--delay-ms", "30000", "--tag", "timer"]);
    let offsets = site.offsets("orders", "billing");

    // And back.
    let out = dir.path().join("out");
    let refused = export(&store, &out);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("locked"));
    assert!(halley.terminate().success());
    let exported = export(&store, &out);
    assert!(exported.status.success(), "{exported:?}");
    let report: Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!(
        (&report["timers"], &report["transactions"], &report["inFlight"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert!(!export(&store, &out).status.success(), "nothing is written over");
    let oracle = java(&out, "").unwrap();
    let site = Site { clients: &clients, namesrv: oracle.namesrv, broker: oracle.broker };
    assert_eq!(site.offsets("orders", "billing"), offsets);
    assert_eq!(site.consume("orders", "billing", 5).len(), 5);
    assert_eq!(places(&site.consume("orders", "fresh", 155)).len(), 155, "every message once");
    site.answer_checks(1, || {
        let delayed = site.consume("later", "sleepers", 2);
        check_delayed(&delayed, "level", 30_000, 1);
        check_delayed(&delayed, "timer", 30_000, 1);
        site.pop_exactly("popped", "workers", &[&unacknowledged]);
    });
    assert_eq!(site.consume("money", "bank", 2).len(), 2);
}

#[test]
fn a_killed_rocketmq_goes_on_in_halley() {
    let Some(clients) = clients() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let Some(oracle) = java(&store, "") else { return };
    let site = Site { clients: &clients, namesrv: oracle.namesrv, broker: oracle.broker };
    site.create_topic("orders", "4");
    let sent = site.run("produce", &["orders", "100", "--body-size", "1500"]);
    assert_eq!(sent.len(), 100);
    site.run("produce", &["later", "3", "--delay-ms", "20000", "--tag", "timer"]);
    site.run("transact", &["money", "1", "--decide", "unknown"]);
    site.run("produce", &["audit", "4"]);
    assert_eq!(site.consume("audit", "auditors", 4).len(), 4);
    // What groups committed is in a file only every five seconds.
    let file = store.join("config/consumerOffset.json");
    eventually("committed offsets in a file", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("audit@auditors"))
    });
    let (orders, audit) = (site.offsets("orders", "nobody"), site.offsets("audit", "auditors"));
    oracle.kill_broker();
    assert!(store.join("abort").exists());
    let before = files_of(&store);

    let mut halley = Server::start_in(&store, "");
    let site = Site { clients: &clients, namesrv: halley.namesrv, broker: halley.broker };
    assert_eq!(site.offsets("audit", "auditors"), audit);
    let ends = |offsets: &BTreeMap<i64, [i64; 3]>| {
        offsets.values().map(|[min, max, _]| (*min, *max)).collect::<Vec<_>>()
    };
    assert_eq!(ends(&site.offsets("orders", "nobody")), ends(&orders));
    assert_eq!(places(&site.consume("orders", "billing", 100)).len(), 100, "every message once");
    check_delayed(&site.consume("later", "sleepers", 3), "timer", 20_000, 3);
    // Also when Halley is killed.
    let offsets = site.offsets("orders", "billing");
    halley.kill();
    halley.restart();
    assert_eq!(site.offsets("orders", "billing"), offsets);
    site.answer_checks(1, || {});
    assert!(halley.terminate().success());
    assert!(files_of(&store) == before, "RocketMQ's files are as they were");
}

#[test]
fn a_killed_rocketmq_4_9_goes_on_in_halley() {
    let Some(clients) = clients() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let Some(oracle) = java_of("4.9.7", &store, "") else { return };
    let site = Site { clients: &clients, namesrv: oracle.namesrv, broker: oracle.broker };
    site.run("produce", &["orders", "60", "--body-size", "1500", "--key", "k{i}"]);
    assert_eq!(site.consume("orders", "billing", 60).len(), 60);
    site.run("produce", &["orders", "20"]);
    site.run("transact", &["money", "2", "--decide", "unknown"]);
    site.run("transact", &["money", "1", "--decide", "commit"]);
    site.run("transact", &["money", "1", "--decide", "rollback"]);
    let file = store.join("config/consumerOffset.json");
    eventually("committed offsets in a file", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("orders@billing"))
    });
    let offsets = site.offsets("orders", "billing");
    site.run("produce", &["later", "2", "--delay-level", "4", "--tag", "level"]);
    oracle.kill_broker();

    let halley = Server::start_in(&store, "");
    let site = Site { clients: &clients, namesrv: halley.namesrv, broker: halley.broker };
    assert_eq!(site.offsets("orders", "billing"), offsets);
    assert_eq!(site.run("query", &["orders", "--key", "k7"]).len(), 1);
    assert_eq!(site.consume("orders", "billing", 20).len(), 20);
    site.answer_checks(2, || {
        check_delayed(&site.consume("later", "sleepers", 2), "level", 30_000, 2);
    });
    assert_eq!(site.consume("money", "bank", 4).len(), 4);
}

#[test]
fn light_queues_go_on_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, out) = (dir.path().join("store"), dir.path().join("out"));
    let Some(oracle) = java(&store, LIGHT) else { return };
    let site = Site { clients: Path::new(""), namesrv: oracle.namesrv, broker: oracle.broker };
    for number in 0..3 {
        site.send_to_light("%LMQ%a,%LMQ%b", &format!("both-{number}"));
    }
    site.send_to_light("%LMQ%b", "b");
    site.commit_light("%LMQ%a", 2);
    let check = |site: &Site<'_>, of_b: &[&str]| {
        assert_eq!(site.light("%LMQ%a"), ["both-0", "both-1", "both-2"]);
        eventually("the newest message", || site.light("%LMQ%b") == of_b);
        assert_eq!(site.light_committed("%LMQ%a"), Some(2));
    };
    check(&site, &["both-0", "both-1", "both-2", "b"]);
    drop(oracle);

    let mut halley = Server::start_in(&store, "");
    let site = Site { clients: Path::new(""), namesrv: halley.namesrv, broker: halley.broker };
    assert_eq!(site.ask(BrokerCode::UpdateBrokerConfig, &[], LIGHT.as_bytes()).code, 0);
    check(&site, &["both-0", "both-1", "both-2", "b"]);
    site.send_to_light("%LMQ%b,%LMQ%c", "new");
    site.commit_light("%LMQ%b", 1);
    assert!(halley.terminate().success());
    halley.restart();
    let site = Site { clients: Path::new(""), namesrv: halley.namesrv, broker: halley.broker };
    check(&site, &["both-0", "both-1", "both-2", "b", "new"]);
    assert!(halley.terminate().success());

    assert!(export(&store, &out).status.success());
    let oracle = java(&out, LIGHT).unwrap();
    let site = Site { clients: Path::new(""), namesrv: oracle.namesrv, broker: oracle.broker };
    check(&site, &["both-0", "both-1", "both-2", "b", "new"]);
    assert_eq!(site.light_committed("%LMQ%b"), Some(1));
    site.send_to_light("%LMQ%c", "newer");
    eventually("a light queue that goes on", || site.light("%LMQ%c") == ["new", "newer"]);
}

#[test]
fn what_halley_does_not_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fs::create_dir_all(store.join("config/consumerOffsets")).unwrap();
    fs::create_dir_all(store.join("commitlog")).unwrap();
    assert!(refusal(&store).contains("RocksDB"));
    fs::remove_dir(store.join("config/consumerOffsets")).unwrap();
    fs::create_dir(store.join("kvStore")).unwrap();
    assert!(refusal(&store).contains("popConsumerKVServiceEnable"));
    fs::remove_dir(store.join("kvStore")).unwrap();
    fs::write(store.join("commitlog/00000000000000000000"), b"a log of something else").unwrap();
    assert!(refusal(&store).contains("topics.json is missing"));
    fs::write(store.join("config/topics.json"), b"{\"topicConfigTable\":{}}").unwrap();
    assert!(refusal(&store).contains("no commit log"));
    fs::remove_dir_all(store.join("commitlog")).unwrap();
    let refused = refusal(&store);
    assert!(refused.contains("storePathCommitLog"), "{refused}");
}
